/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-client: be a peer of a fabric by hand or from a script.
 *
 * Reads the options, joins, and hands over to whoever reads commands: the
 * arguments, a prompt, or a script on standard input. The exit code says how
 * it went; see enum outcome.
 */
#include "command.h"
#include "input.h"
#include "say.h"
#include "session.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_OF_ROOT    "/run/famez.sock"
#define SOCKET_OF_QEMU    "/tmp/ivshmem_socket"
#define SOCKET_IN_RUNTIME "famez.sock"

#define JOIN_TIMEOUT_SECONDS 10

enum { OPT_VERSION = 256 };

static const struct option options[] = {
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, 'j'},
	{"retry", no_argument, NULL, 'r'},
	{"socketpath", required_argument, NULL, 'S'},
	{"timeout", required_argument, NULL, 't'},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static void print_help(void)
{
	printf("usage: famez-client [-jrv] [-S PATH] [-t SECONDS] [COMMAND ...]\n"
	       "Be a peer of an ivshmem fabric. Without COMMAND: a prompt, or a script from\n"
	       "standard input. Several commands: one argument with \";\" between them.\n"
	       "  -S, --socketpath PATH  the server's socket (default: famez-server's own)\n"
	       "  -j, --json             results and events as JSON, one object a line\n"
	       "  -r, --retry            try to join until it works; join again if cut off\n"
	       "  -t, --timeout SECONDS  give up joining after so long (default %d, 0 never)\n"
	       "  -v, --verbose          show events also where no command asks for them\n"
	       "  -h, --help             this; --version\n"
	       "Commands:\n",
		JOIN_TIMEOUT_SECONDS);
	command_help();
	printf("Exit: 0 done, 1 failed, 2 wrong usage, 3 could not join, 4 timed out\n");
}

/* Where famez-server listens unless told otherwise. */
static const char *default_socket(bool as_ivshmem_client)
{
	static char path[PATH_MAX];
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (as_ivshmem_client)
		return SOCKET_OF_QEMU;
	if (geteuid() == 0 || !runtime || !*runtime)
		return SOCKET_OF_ROOT;
	snprintf(path, sizeof(path), "%s/%s", runtime, SOCKET_IN_RUNTIME);
	return path;
}

static bool timeout_ms(const char *word, int *out)
{
	double seconds;
	char *end;

	errno = 0;
	seconds = strtod(word, &end);
	if (errno || end == word || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e6)
		return false;
	*out = (int)ceil(seconds * 1000);
	return true;
}

/* One line of all words, as the user would have typed it at the prompt. */
static char *joined(char **words)
{
	size_t bytes = 1;
	char *line;
	char *at;

	for (char **word = words; *word; word++)
		bytes += strlen(*word) + 1;
	line = malloc(bytes);
	if (!line)
		return NULL;
	at = line;
	for (char **word = words; *word; word++) {
		at = stpcpy(at, *word);
		*at++ = ' ';
	}
	*at = '\0';
	return line;
}

static enum outcome run_words(struct session *s, char **words)
{
	char *line = joined(words);
	enum outcome outcome;

	if (!line) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	outcome = command_run(s, line);
	free(line);
	return outcome == OUTCOME_QUIT ? OUTCOME_OK : outcome;
}

static void greet(const struct session *s)
{
	unsigned others = 0;

	for (int id = famez_peer_after(s->f, -1); id >= 0; id = famez_peer_after(s->f, id))
		others += id != famez_id(s->f);
	say_note("Peer %d at %s, %u other%s here. `help` lists the commands.", famez_id(s->f),
		s->socket, others, others == 1 ? "" : "s");
}

static enum outcome serve(struct session *s, char **words, bool as_ivshmem_client)
{
	enum outcome outcome;

	outcome = session_join(s);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (*words) {
		outcome = run_words(s, words);
	} else if (isatty(STDIN_FILENO)) {
		s->loud = true;
		s->at_prompt = true;
		greet(s);
		outcome = prompt_run(s);
	} else {
		s->loud |= as_ivshmem_client;
		outcome = script_run(s, as_ivshmem_client);
	}
	session_leave(s);
	return outcome;
}

/* The exit code: what was done but could not be told has failed, too. */
static int finish(enum outcome outcome)
{
	bool lost = ferror(stdout) || fflush(stdout);

	if (lost)
		say_error("not all output could be written");
	return outcome == OUTCOME_OK && lost ? OUTCOME_FAILED : (int)outcome;
}

int main(int argc, char **argv)
{
	static struct session s;
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "famez-client";
	bool as_ivshmem_client = !strcmp(name, "ivshmem-client");
	bool json = false;
	int option;

	(void)setlocale(LC_CTYPE, ""); /* for the line editor; C will do as well */
	s.socket = default_socket(as_ivshmem_client);
	s.join_timeout_ms = JOIN_TIMEOUT_SECONDS * 1000;
	s.retry = as_ivshmem_client;
	(void)sigprocmask(SIG_BLOCK, NULL, &s.waiting_mask); /* only asks */

	opterr = 0;
	/* "+": the first word that is no option begins the command. */
	while ((option = getopt_long(argc, argv, "+:hjrS:t:v", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			print_help();
			return finish(OUTCOME_OK);
		case OPT_VERSION:
			printf("famez-client %s\n", FAMEZ_VERSION);
			return finish(OUTCOME_OK);
		case 'j':
			json = true;
			break;
		case 'r':
			s.retry = true;
			break;
		case 'S':
			s.socket = optarg;
			break;
		case 't':
			if (timeout_ms(optarg, &s.join_timeout_ms))
				break;
			say_error("--timeout %s: seconds are wanted, such as 2.5", optarg);
			return OUTCOME_USAGE;
		case 'v':
			s.loud = true;
			break;
		case ':':
			say_error("option %s needs a value (--help lists them)", argv[optind - 1]);
			return OUTCOME_USAGE;
		default:
			if (!strncmp(argv[optind - 1], "--", 2))
				say_error("no such option, or not so: %s (--help lists them)",
					argv[optind - 1]);
			else
				say_error("no option -%c (--help lists them)", optopt);
			return OUTCOME_USAGE;
		}
	}
	say_init(json);
	return finish(serve(&s, argv + optind, as_ivshmem_client));
}
