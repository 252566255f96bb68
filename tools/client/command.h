/* SPDX-License-Identifier: MIT */
/*
 * command.h - what a user can tell the client to do. See command.c.
 */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H

#include "session.h"

/** command_run() - do what the line says: commands with their words, ";" between commands,
 * "#" before a comment. Stops at the first that fails and returns its outcome; why it failed
 * has been said. The line is changed. */
enum outcome command_run(struct session *s, char *line);

/** command_name() - the n-th name that a command is known by, NULL after the last. */
const char *command_name(unsigned n);

/** command_takes_peer() - is the first word after this name a peer? */
bool command_takes_peer(const char *name);

/** command_help() - the list of commands. */
void command_help(void);

#endif
