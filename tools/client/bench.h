/* SPDX-License-Identifier: MIT */
/*
 * bench.h - how fast are messages to a peer? See bench.c.
 */
#ifndef CLIENT_BENCH_H
#define CLIENT_BENCH_H

#include "session.h"

/** bench_run() - messages of @bytes to a peer that serves, so many seconds there and back, then
 * as many one way. */
enum outcome bench_run(struct session *s, uint16_t peer, size_t bytes, double seconds);

#endif
