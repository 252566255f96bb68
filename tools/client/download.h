/* SPDX-License-Identifier: MIT */
/*
 * download.h - files that come. See download.c.
 */
#ifndef CLIENT_DOWNLOAD_H
#define CLIENT_DOWNLOAD_H

#include "letters.h"

#include <stdbool.h>
#include <stdint.h>

/** download_open() - take files from now on, into s->receive. Returns 0 or -errno. */
int download_open(struct session *s);

/** download_close() - what is unfinished is removed. */
void download_close(struct session *s);

/** download_handle() - is this a part of a file? Then it has been dealt with. */
bool download_handle(struct session *s, const struct letter *l);

/** download_gone() - what came from other generations of this peer will not be finished. */
void download_gone(struct session *s, uint16_t peer, uint32_t generation);

#endif
