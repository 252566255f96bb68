/* SPDX-License-Identifier: MIT */
/*
 * upload.h - send a file. See upload.c.
 */
#ifndef CLIENT_UPLOAD_H
#define CLIENT_UPLOAD_H

#include "session.h"

/** upload_send() - send a file to a peer, and wait until it has stored it. */
enum outcome upload_send(struct session *s, uint16_t peer, const char *path, double patience);

#endif
