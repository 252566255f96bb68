/* SPDX-License-Identifier: MIT */
/*
 * talk.h - commands that ask and wait for answers. See talk.c.
 */
#ifndef CLIENT_TALK_H
#define CLIENT_TALK_H

#include "command.h"

enum outcome talk_who(struct session *s, const struct command *c, const struct words *w);
enum outcome talk_dump(struct session *s, const struct command *c, const struct words *w);
enum outcome talk_ping(struct session *s, const struct command *c, const struct words *w);
enum outcome talk_rfc(struct session *s, const struct command *c, const struct words *w);

#endif
