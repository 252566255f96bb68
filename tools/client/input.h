/* SPDX-License-Identifier: MIT */
/*
 * input.h - where commands come from: a prompt or a script. See prompt.c and script.c.
 */
#ifndef CLIENT_INPUT_H
#define CLIENT_INPUT_H

#include "session.h"

/** prompt_run() - commands from a person at a terminal, until quit or end of input. */
enum outcome prompt_run(struct session *s);

/** script_run() - commands from standard input, up to the first that fails, unless it
 * carries on over those. */
enum outcome script_run(struct session *s, bool carry_on);

#endif
