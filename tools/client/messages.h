/* SPDX-License-Identifier: MIT */
/*
 * messages.h - commands that say something. See messages.c.
 */
#ifndef CLIENT_MESSAGES_H
#define CLIENT_MESSAGES_H

#include "command.h"

enum outcome messages_send(struct session *s, const struct command *c, const struct words *w);
enum outcome messages_link(struct session *s, const struct command *c, const struct words *w);
enum outcome messages_spoof(struct session *s, const struct command *c, const struct words *w);
enum outcome messages_group(struct session *s, const struct command *c, const struct words *w);
enum outcome messages_serve(struct session *s, const struct command *c, const struct words *w);
enum outcome messages_bench(struct session *s, const struct command *c, const struct words *w);

#endif
