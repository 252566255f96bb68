/* SPDX-License-Identifier: MIT */
/*
 * command.h - what a user can tell the client to do. See command.c.
 */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H

#include "session.h"
#include "words.h"

/** Whom the first word after a command's name means. */
enum command_first {
	COMMAND_NO_PEER,
	COMMAND_PEER,  /* by its ID */
	COMMAND_NAMED, /* by ID or name */
};

struct command {
	const char *name;
	const char *alias; /* NULL: none */
	const char *usage;
	const char *help;
	enum command_first first;
	/* Says its result, or one line why not. Holds nothing from one call to the next. */
	enum outcome (*run)(struct session *s, const struct command *c, const struct words *w);
};

/** command_usage() - say how this one is used. */
enum outcome command_usage(const struct command *c);

/** command_run() - do what the line says: commands with their words, ";" between commands,
 * "#" before a comment. Stops at the first that fails and returns its outcome; why it failed
 * has been said. The line is changed. */
enum outcome command_run(struct session *s, char *line);

/** command_run_words() - one command, its words as they are. */
enum outcome command_run_words(struct session *s, char **words);

/** command_name() - the n-th name that a command is known by, NULL after the last. */
const char *command_name(unsigned n);

/** command_first() - what is the first word after this name? */
enum command_first command_first(const char *name);

/** command_help() - the list of commands, a line each. */
void command_help(void);

/** command_names() - how they are used, with as many on a line as fit. */
void command_names(void);

/** command_cut_short() - waiting has ended: 0 at its deadline, which @what tells; -EINTR. */
enum outcome command_cut_short(int got, const char *what);

#endif
