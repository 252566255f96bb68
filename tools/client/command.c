/* SPDX-License-Identifier: MIT */
/*
 * command.c - what a user can tell the client to do: the table of commands, and
 * what lines are made of.
 *
 * A command is a name, its words, and a function that does it. The functions
 * stand together by what they need: doorbells.c any ivshmem server, messages.c
 * and talk.c a mailbox, memory.c the shared memory alone. They wait only
 * through session.c.
 */
#include "command.h"

#include "doorbells.h"
#include "memory.h"
#include "messages.h"
#include "say.h"
#include "talk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 78

static enum outcome run_help(struct session *s, const struct command *c, const struct words *w)
{
	(void)s;
	if (w->count != 1)
		return command_usage(c);
	command_help();
	return OUTCOME_OK;
}

static enum outcome run_quit(struct session *s, const struct command *c, const struct words *w)
{
	(void)s;
	return w->count == 1 ? OUTCOME_QUIT : command_usage(c);
}

static const struct command commands[] = {
	{"peers", NULL, "peers", "members and their vectors", COMMAND_NO_PEER, doorbells_peers},
	{"ring", "int", "ring PEER|all VECTOR|all", "ring; `all` peers are all but us",
		COMMAND_PEER, doorbells_ring},
	{"watch", NULL, "watch [--count N] [--for SECONDS]", "show what comes", COMMAND_NO_PEER,
		doorbells_watch},
	{"wait", NULL, "wait [VECTOR] [--timeout SECONDS]", "wait until we are rung",
		COMMAND_NO_PEER, doorbells_wait},
	{"await", NULL, "await PEER [--timeout SECONDS]", "wait until a peer is here",
		COMMAND_NAMED, doorbells_await},
	{"id", NULL, "id", "our own ID", COMMAND_NO_PEER, doorbells_id},
	{"who", NULL, "who [--now]", "the directory: names, and who lives", COMMAND_NO_PEER,
		talk_who},
	{"send", NULL, "send [--link|--hex|--file F] PEERS TEXT", "say something", COMMAND_NAMED,
		messages_send},
	{"spoof", NULL, "spoof FROM PEERS TEXT", "say it in another's name", COMMAND_NAMED,
		messages_spoof},
	{"link", NULL, "link PEERS TEXT", "say it on the link level", COMMAND_NAMED, messages_link},
	{"ping", NULL, "ping PEERS [N] [--timeout SECONDS]", "time until `pong` comes back",
		COMMAND_NAMED, talk_ping},
	{"rfc", NULL, "rfc", "ask the server for component IDs", COMMAND_NO_PEER, talk_rfc},
	{"dump", NULL, "dump", "server: print your table; and ours", COMMAND_NO_PEER, talk_dump},
	{"group", NULL, "group enter|exit|send N [TEXT]", "groups 1 to 4095", COMMAND_NO_PEER,
		messages_group},
	{"serve", NULL, "serve [--for SECONDS]", "be the other side of bench", COMMAND_NO_PEER,
		messages_serve},
	{"bench", NULL, "bench PEER [--bytes N] [--seconds S]", "measure messages", COMMAND_NAMED,
		messages_bench},
	{"memory", NULL, "memory", "size of the shared memory", COMMAND_NO_PEER, memory_size},
	{"peek", NULL, "peek OFFSET [COUNT]", "show bytes of the shared memory", COMMAND_NO_PEER,
		memory_peek},
	{"poke", NULL, "poke OFFSET HEX ...", "write bytes to the shared memory", COMMAND_NO_PEER,
		memory_poke},
	{"help", "?", "help", "this list", COMMAND_NO_PEER, run_help},
	{"quit", "exit", "quit", "leave the fabric", COMMAND_NO_PEER, run_quit},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum outcome command_usage(const struct command *c)
{
	say_error("usage: %s", c->usage);
	return OUTCOME_USAGE;
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(name, commands[i].name) ||
			(commands[i].alias && !strcmp(name, commands[i].alias)))
			return &commands[i];
	return NULL;
}

const char *command_name(unsigned n)
{
	if (n < COMMANDS)
		return commands[n].name;
	n -= COMMANDS;
	for (size_t i = 0; i < COMMANDS; i++)
		if (commands[i].alias && n-- == 0)
			return commands[i].alias;
	return NULL;
}

enum command_first command_first(const char *name)
{
	const struct command *c = find(name);

	return c ? c->first : COMMAND_NO_PEER;
}

void command_help(void)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		const char *alias = commands[i].alias;

		say_note("  %-38s %s%s%s%s", commands[i].usage, commands[i].help,
			alias ? " (or: " : "", alias ? alias : "", alias ? ")" : "");
	}
}

void command_names(void)
{
	char line[COLUMNS + 1];
	size_t used = 0;

	for (size_t i = 0; i < COMMANDS; i++) {
		const char *alias = commands[i].alias;
		char one[COLUMNS + 1];
		int length = snprintf(one, sizeof(one), "  %s%s%s%s%s", commands[i].usage,
			alias ? " (or: " : "", alias ? alias : "", alias ? ")" : "",
			i + 1 < COMMANDS ? ";" : "");

		if (used + (size_t)length > COLUMNS) {
			say_note("%s", line);
			used = 0;
		}
		memcpy(line + used, one, (size_t)length + 1);
		used += (size_t)length;
	}
	say_note("%s", line);
}

static enum outcome run(struct session *s, const struct words *w)
{
	const struct command *c;
	enum outcome outcome;

	if (!w->count)
		return OUTCOME_OK;
	c = find(w->word[0]);
	if (!c) {
		say_error("no such command: %s (`help` lists them)", w->word[0]);
		return OUTCOME_USAGE;
	}
	session_pump(s);
	if (!s->f)
		return OUTCOME_NOT_JOINED;
	outcome = c->run(s, c, w);
	session_pump(s);
	return outcome;
}

enum outcome command_run(struct session *s, char *line)
{
	while (line) {
		struct words w;
		int err = words_cut(&w, &line);
		enum outcome outcome;

		if (err == -E2BIG)
			say_error("more than %d words", WORDS_MAX);
		else if (err)
			say_error("a quote without its end");
		if (err)
			return OUTCOME_USAGE;
		outcome = run(s, &w);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_OK;
}

enum outcome command_run_words(struct session *s, char **words)
{
	struct words w = {0};

	for (; *words; words++) {
		if (w.count == WORDS_MAX) {
			say_error("more than %d words", WORDS_MAX);
			return OUTCOME_USAGE;
		}
		w.word[w.count++] = *words;
	}
	return run(s, &w);
}

enum outcome command_cut_short(int got, const char *what)
{
	if (got == -EINTR) {
		say_interrupted();
		return OUTCOME_FAILED;
	}
	say_error("%s", what);
	return OUTCOME_TIMED_OUT;
}
