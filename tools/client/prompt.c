/* SPDX-License-Identifier: MIT */
/*
 * prompt.c - commands from a person at a terminal: line editing, history,
 * completion, and events as they come.
 *
 * While libedit waits for a key it asks us (get_key), and we wait for the
 * fabric too: an event wipes the line being typed, is printed, and the line is
 * drawn again. SIGINT is blocked but while we wait, so that Ctrl-C is never
 * missed: at the prompt it empties the line, in a command it ends the waiting.
 */
#include "command.h"
#include "escape.h"
#include "input.h"
#include "say.h"

#include <errno.h>
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 500

/* libedit tells handlers nothing but its own handle and, for some, a pointer it keeps. */
struct prompt {
	struct session *session;
	EditLine *edit;
	History *history;
	mbstate_t shift; /* of a character that came half */
};

static const char *text(EditLine *edit)
{
	(void)edit;
	return "famez> ";
}

static void on_interrupt(int number)
{
	(void)number; /* it has done its work by ending ppoll() */
}

static void wipe_line(void)
{
	fputs("\r\033[K", stdout);
	(void)fflush(stdout); /* a dead terminal ends the input, too */
}

/* Shows what has come, above the line that is being typed; that is left alone if it is nothing. */
static void show_events(struct prompt *p)
{
	(void)say_above(wipe_line);
	session_pump(p->session);
	if (say_above(NULL))
		return;
	(void)fflush(stdout);
	el_set(p->edit, EL_REFRESH);
}

/* One character for libedit. Returns 1, 0 at the end, or -1 with errno set. */
static int get_key(EditLine *edit, wchar_t *out)
{
	struct prompt *p;

	el_get(edit, EL_CLIENTDATA, &p);
	for (;;) {
		bool readable = false;
		ssize_t got;
		char byte;
		int err = session_poll(p->session, STDIN_FILENO, &readable);

		if (err) {
			errno = -err;
			return -1;
		}
		if (!readable) {
			show_events(p);
			if (!p->session->f)
				return 0;
			continue;
		}
		got = read(STDIN_FILENO, &byte, 1);
		if (got <= 0)
			return (int)got;
		switch (mbrtowc(out, &byte, 1, &p->shift)) {
		case (size_t)-2:
			continue;
		case (size_t)-1:
			memset(&p->shift, 0, sizeof(p->shift));
			continue;
		default:
			return 1;
		}
	}
}

/* Where the cursor stands: in which word of a command, and what is typed of it. */
struct spot {
	char command[32]; /* the command's name, if the word is not that itself */
	int word;
	const char *typed;
	size_t length;
};

static void find_spot(struct spot *spot, const LineInfo *info)
{
	const char *at = info->buffer;

	*spot = (struct spot){.typed = info->cursor};
	while (spot->typed > info->buffer && !strchr(" ;", spot->typed[-1]))
		spot->typed--;
	spot->length = (size_t)(info->cursor - spot->typed);
	while (at < spot->typed) {
		size_t length = strcspn(at, " ;");

		if (length && spot->word++ == 0)
			snprintf(spot->command, sizeof(spot->command), "%.*s", (int)length, at);
		at += length;
		if (*at++ == ';')
			spot->word = 0;
	}
}

/* What *state counts below: IDs, from here on the names of IDs, from there on words. */
#define NAMES (FAMEZ_WIRE_ID_MAX + 2)
#define WORDS (2 * NAMES)

/* Something that could stand there; begin with *state 0, until it returns NULL. */
static const char *candidate(struct prompt *p, const struct spot *spot, int *state)
{
	static const char *const words[] = {"server", "all", "others"};
	struct famez *f = p->session->f;
	enum command_first first;
	static char text[128];

	if (spot->word == 0)
		return command_name((unsigned)(*state)++);
	first = command_first(spot->command);
	if (spot->word != 1 || first == COMMAND_NO_PEER)
		return NULL;
	if (*state < NAMES) {
		*state = famez_peer_after(f, *state - 1) + 1;
		if (*state) {
			snprintf(text, sizeof(text), "%d", *state - 1);
			return text;
		}
		*state = NAMES;
	}
	if (first != COMMAND_NAMED || !p->session->mail.open)
		return NULL;
	while (*state < WORDS) {
		struct famez_who who;
		int id = famez_who_after(f, *state - NAMES - 1);

		*state = id < 0 ? WORDS : NAMES + id + 1;
		/* A name that would have to be spelled out is none that one can type. */
		if (id >= 0 && !famez_who(f, (uint16_t)id, &who) && who.name[0] &&
			!strcmp(escape_name(text, sizeof(text), who.name), who.name))
			return text;
	}
	if (*state - WORDS >= (int)(sizeof(words) / sizeof(words[0])))
		return NULL;
	return words[(*state)++ - WORDS];
}

/* How many candidates fit what is typed, and how far they agree; prints them if asked. */
static unsigned matches(
	struct prompt *p, const struct spot *spot, char *common, size_t size, bool list)
{
	const char *found;
	unsigned count = 0;
	int state = 0;

	while ((found = candidate(p, spot, &state))) {
		size_t same = 0;

		if (strncmp(found, spot->typed, spot->length) != 0)
			continue;
		if (list)
			printf("%s  ", found);
		if (count++ == 0)
			snprintf(common, size, "%s", found);
		while (common[same] && common[same] == found[same])
			same++;
		common[same] = '\0';
	}
	return count;
}

/* Completes as far as it is certain; where it isn't, lists what could follow. */
static unsigned char complete(EditLine *edit, int key)
{
	char common[128] = "";
	struct spot spot;
	unsigned count;
	struct prompt *p;

	(void)key;
	el_get(edit, EL_CLIENTDATA, &p);
	find_spot(&spot, el_line(edit));
	count = matches(p, &spot, common, sizeof(common), false);
	if (count > 1 && strlen(common) == spot.length) {
		putchar('\n');
		matches(p, &spot, common, sizeof(common), true);
		putchar('\n');
		(void)fflush(stdout); /* a dead terminal ends the input, too */
		return CC_REDISPLAY;
	}
	if (!count || el_insertstr(edit, common + spot.length) < 0)
		return CC_ERROR;
	if (count == 1 && el_insertstr(edit, " ") < 0)
		return CC_ERROR;
	return CC_REFRESH;
}

static int prompt_open(struct prompt *p, struct session *s)
{
	HistEvent event;

	*p = (struct prompt){.session = s};
	p->history = history_init();
	if (!p->history)
		return -ENOMEM;
	p->edit = el_init("famez-client", stdin, stdout, stderr);
	if (!p->edit) {
		history_end(p->history);
		return -ENOMEM;
	}
	history(p->history, &event, H_SETSIZE, HISTORY_LINES);
	history(p->history, &event, H_SETUNIQUE, 1);
	el_set(p->edit, EL_CLIENTDATA, p);
	el_set(p->edit, EL_PROMPT, text);
	el_set(p->edit, EL_EDITOR, "emacs");
	el_set(p->edit, EL_HIST, history, p->history);
	el_set(p->edit, EL_GETCFN, get_key);
	/* el_set() would copy the two strings, and leak the copies. */
	el_wset(p->edit, EL_ADDFN, L"complete", L"complete commands and peers", complete);
	el_set(p->edit, EL_BIND, "^I", "complete", NULL);
	el_set(p->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_source(p->edit, NULL); /* ~/.editrc, where there is one */
	return 0;
}

static void prompt_close(struct prompt *p)
{
	el_end(p->edit);
	history_end(p->history);
}

static enum outcome loop(struct prompt *p)
{
	struct session *s = p->session;

	while (s->f) {
		HistEvent event;
		enum outcome outcome;
		const char *line;
		char *copy;
		int count = 0;

		line = el_gets(p->edit, &count);
		if (!line && count < 0 && errno == EINTR) {
			say_note("^C (`quit` leaves)");
			el_reset(p->edit);
			continue;
		}
		if (!line || count <= 0) {
			putchar('\n');
			return s->f ? OUTCOME_OK : OUTCOME_NOT_JOINED;
		}
		if (line[strspn(line, " \t\n")] != '\0')
			history(p->history, &event, H_ENTER, line);
		copy = strdup(line);
		if (!copy) {
			say_error("out of memory");
			return OUTCOME_FAILED;
		}
		outcome = command_run(s, copy);
		free(copy);
		if (outcome == OUTCOME_QUIT)
			return OUTCOME_OK;
	}
	return OUTCOME_NOT_JOINED;
}

enum outcome prompt_run(struct session *s)
{
	struct sigaction interrupt = {.sa_handler = on_interrupt};
	enum outcome outcome;
	struct prompt p;
	sigset_t set;

	/* sigprocmask() and sigaction() fail for wrong arguments only. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, &s->waiting_mask);
	(void)sigaction(SIGINT, &interrupt, NULL);
	if (prompt_open(&p, s)) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	outcome = loop(&p);
	prompt_close(&p);
	return outcome;
}
