/* SPDX-License-Identifier: MIT */
/*
 * doorbells.h - commands that work against any ivshmem server. See doorbells.c.
 */
#ifndef CLIENT_DOORBELLS_H
#define CLIENT_DOORBELLS_H

#include "command.h"

enum outcome doorbells_id(struct session *s, const struct command *c, const struct words *w);
enum outcome doorbells_peers(struct session *s, const struct command *c, const struct words *w);
enum outcome doorbells_ring(struct session *s, const struct command *c, const struct words *w);
enum outcome doorbells_watch(struct session *s, const struct command *c, const struct words *w);
enum outcome doorbells_wait(struct session *s, const struct command *c, const struct words *w);
enum outcome doorbells_await(struct session *s, const struct command *c, const struct words *w);

#endif
