/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-client: be a peer of a fabric by hand or from a script.
 *
 * Reads the options, joins, and hands over to whoever reads commands: the
 * arguments, a prompt, or a script on standard input. The exit code says how
 * it went; see enum outcome.
 */
#include "bus.h"
#include "command.h"
#include "input.h"
#include "say.h"
#include "session.h"
#include "size.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_OF_ROOT    "/run/famez.sock"
#define SOCKET_OF_QEMU    "/tmp/ivshmem_socket"
#define SOCKET_IN_RUNTIME "famez.sock"

/* With the NUL. */
#define SOCKET_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)

#define JOIN_TIMEOUT_SECONDS 10
#define RECEIVE_MAX_DEFAULT  (UINT64_C(1) << 30)

enum { OPT_VERSION = 256, OPT_CLASS, OPT_RECEIVE, OPT_RECEIVE_MAX };

static const struct option options[] = {
	{"class", required_argument, NULL, OPT_CLASS},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, 'j'},
	{"name", required_argument, NULL, 'n'},
	{"receive", required_argument, NULL, OPT_RECEIVE},
	{"receive-max", required_argument, NULL, OPT_RECEIVE_MAX},
	{"retry", no_argument, NULL, 'r'},
	{"socketpath", required_argument, NULL, 'S'},
	{"time", no_argument, NULL, 'T'},
	{"timeout", required_argument, NULL, 't'},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static void print_help(void)
{
	printf("usage: famez-client [-jrTv] [-S PATH] [-n NAME] [-t SECONDS] [COMMAND ...]\n"
	       "Be a peer of an ivshmem fabric. Without COMMAND: a prompt, or a script from\n"
	       "standard input. Several commands: one argument with \";\" between them.\n"
	       "  -S, --socketpath PATH  the server's socket (default: famez-server's own)\n"
	       "  -n, --name NAME        what others call us; --class CLASS: what we are\n"
	       "  --receive DIR          store files that come; --receive-max BYTES: of all\n"
	       "  -j, --json    one object a line        -T, --time     when events came\n"
	       "  -r, --retry   join until it works      -t, --timeout  of joining, default %d\n"
	       "  -v, --verbose show events always       -h, --help     this; --version\n"
	       "Commands (`help` explains; PEER: ID, name or server; PEERS: or all, others):\n",
		JOIN_TIMEOUT_SECONDS);
	command_names();
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

/* Fit for the directory, and for lines in which blanks and commas part words? */
static bool name_fits(const char *name)
{
	size_t length = strlen(name);

	for (const char *at = name; *at; at++)
		if (*at <= ' ' || *at > '~' || *at == ',')
			return false;
	return length >= 1 && length <= 31;
}

/* One argument is a line as at the prompt; of several each is a word. */
static enum outcome run_words(struct session *s, char **words)
{
	enum outcome outcome = words[1] ? command_run_words(s, words) : command_run(s, words[0]);

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
	/* Whoever has a name is there from the beginning. */
	if (s->name || s->receive)
		outcome = letters_need(s);
	if (outcome != OUTCOME_OK) {
		session_leave(s);
		return outcome;
	}
	if (*words) {
		outcome = run_words(s, words);
	} else if (isatty(STDIN_FILENO)) {
		s->loud = true;
		s->at_prompt = true;
		letters_want(s);
		greet(s);
		outcome = prompt_run(s);
	} else {
		s->loud |= as_ivshmem_client;
		outcome = script_run(s, as_ivshmem_client);
	}
	if (s->f)
		letters_linger(s);
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
	bool timed = false;
	int option;

	bus_explain("famez-client");
	(void)setlocale(LC_CTYPE, ""); /* for the line editor; C will do as well */
	s.socket = default_socket(as_ivshmem_client);
	s.join_timeout_ms = JOIN_TIMEOUT_SECONDS * 1000;
	s.retry = as_ivshmem_client;
	s.cclass = "Client";
	s.receive_max = RECEIVE_MAX_DEFAULT;
	(void)sigprocmask(SIG_BLOCK, NULL, &s.waiting_mask); /* only asks */

	opterr = 0;
	/* "+": the first word that is no option begins the command. */
	while ((option = getopt_long(argc, argv, "+:hjn:rS:Tt:v", options, NULL)) != -1) {
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
		case 'n':
		case OPT_CLASS:
			if (!name_fits(optarg) ||
				(option == 'n' && strchr("-0123456789", *optarg))) {
				say_error("%s: 1 to 31 printable characters without blanks and "
					  "commas, a name not beginning with a digit",
					optarg);
				return OUTCOME_USAGE;
			}
			if (option == 'n')
				s.name = optarg;
			else
				s.cclass = optarg;
			break;
		case OPT_RECEIVE:
			s.receive = optarg;
			break;
		case OPT_RECEIVE_MAX:
			if (size_parse(optarg, &s.receive_max))
				break;
			say_error("--receive-max %s: bytes are wanted, such as 64M", optarg);
			return OUTCOME_USAGE;
		case 'r':
			s.retry = true;
			break;
		case 'S':
			s.socket = optarg;
			if (*optarg && strlen(optarg) < SOCKET_PATH_BYTES)
				break;
			say_error("--socketpath '%.40s': a path of 1 to %zu bytes is wanted",
				optarg, SOCKET_PATH_BYTES - 1);
			return OUTCOME_USAGE;
		case 'T':
			timed = true;
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
	say_init(json, timed);
	return finish(serve(&s, argv + optind, as_ivshmem_client));
}
