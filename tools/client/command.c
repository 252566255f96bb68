/* SPDX-License-Identifier: MIT */
/*
 * command.c - what a user can tell the client to do.
 *
 * A command is a name, its words, and a function that does it. Each says its
 * result through say.c, or one line why not, and returns how it ended. They
 * wait only through session.c, and hold nothing from one call to the next.
 */
#include "command.h"

#include "say.h"
#include "shared.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 1024

/* One peek shows no more than fits a look. */
#define PEEK_MAX     65536
#define PEEK_DEFAULT 64

/* After a peer's first vector the others follow; this is for those that have fewer than us. */
#define QUIET_SECONDS 0.1

struct words {
	unsigned count;
	char *word[WORDS_MAX];
};

struct command {
	const char *name;
	const char *alias; /* NULL: none */
	const char *usage;
	const char *help;
	bool takes_peer;
	enum outcome (*run)(struct session *s, const struct command *c, const struct words *w);
};

static enum outcome usage(const struct command *c)
{
	say_error("usage: %s", c->usage);
	return OUTCOME_USAGE;
}

/* A whole number, decimal or 0x..., up to max. */
static bool number(const char *word, unsigned long long max, unsigned long long *out)
{
	unsigned long long value;
	char *end;

	if (*word < '0' || *word > '9')
		return false;
	errno = 0;
	value = strtoull(word, &end, word[1] == 'x' || word[1] == 'X' ? 16 : 10);
	if (errno || *end || value > max)
		return false;
	*out = value;
	return true;
}

static bool seconds(const char *word, double *out)
{
	double value;
	char *end;

	errno = 0;
	value = strtod(word, &end);
	if (errno || end == word || *end || !isfinite(value) || value < 0 || value > 1e9)
		return false;
	*out = value;
	return true;
}

/* A peer's ID; says what is wrong with it. */
static bool peer_id(const char *word, uint16_t *out)
{
	unsigned long long value;

	if (!number(word, FAMEZ_WIRE_ID_MAX, &value)) {
		say_error("`%s` is no peer ID (0 to %d)", word, FAMEZ_WIRE_ID_MAX);
		return false;
	}
	*out = (uint16_t)value;
	return true;
}

static bool vector_number(const char *word, uint16_t *out)
{
	unsigned long long value;

	if (!number(word, FAMEZ_WIRE_VECTORS_MAX - 1, &value)) {
		say_error("`%s` is no vector (0 to %d)", word, FAMEZ_WIRE_VECTORS_MAX - 1);
		return false;
	}
	*out = (uint16_t)value;
	return true;
}

static enum outcome run_help(struct session *s, const struct command *c, const struct words *w)
{
	(void)s;
	if (w->count != 1)
		return usage(c);
	command_help();
	return OUTCOME_OK;
}

static enum outcome run_id(struct session *s, const struct command *c, const struct words *w)
{
	if (w->count != 1)
		return usage(c);
	say_id(famez_id(s->f));
	return OUTCOME_OK;
}

static enum outcome run_peers(struct session *s, const struct command *c, const struct words *w)
{
	if (w->count != 1)
		return usage(c);
	say_peers(s->f);
	return OUTCOME_OK;
}

/* Rings the vectors from first up to end; a full one is said, and the others rung. */
static enum outcome ring_some(
	struct session *s, uint16_t peer, unsigned first, unsigned end, unsigned *rung)
{
	enum outcome outcome = OUTCOME_OK;

	for (unsigned vector = first; vector < end; vector++) {
		int err = famez_ring(s->f, peer, (uint16_t)vector);

		if (!err) {
			++*rung;
			continue;
		}
		outcome = OUTCOME_FAILED;
		if (err == -EAGAIN)
			say_error("peer %u, vector %u: rung too often without an answer", peer,
				vector);
		else if (err == -EINVAL)
			say_error("peer %u, vector %u: its descriptor was lost", peer, vector);
		else
			say_error("peer %u, vector %u: %s", peer, vector, strerror(-err));
	}
	return outcome;
}

/* Rings all others: this vector, or all of them if it is negative. */
static enum outcome ring_others(struct session *s, int vector)
{
	enum outcome outcome = OUTCOME_OK;
	unsigned rung = 0;

	for (int id = famez_peer_after(s->f, -1); id >= 0; id = famez_peer_after(s->f, id)) {
		unsigned vectors = famez_vectors(s->f, (uint16_t)id);
		unsigned first = vector < 0 ? 0 : (unsigned)vector;
		unsigned end = vector < 0 || first >= vectors ? vectors : first + 1;

		if (id == famez_id(s->f))
			continue;
		if (ring_some(s, (uint16_t)id, first, end, &rung) != OUTCOME_OK)
			outcome = OUTCOME_FAILED;
	}
	say_rang(-1, vector, rung);
	return outcome;
}

/* Rings one peer: this vector, or all of them if it is negative. */
static enum outcome ring_peer(struct session *s, uint16_t peer, int vector)
{
	unsigned vectors = famez_vectors(s->f, peer);
	enum outcome outcome;
	unsigned rung = 0;

	if (!vectors) {
		say_error("there is no peer %u (`peers` lists them)", peer);
		return OUTCOME_FAILED;
	}
	if (vector >= (int)vectors) {
		say_error("peer %u has no vector %d, only 0 to %u", peer, vector, vectors - 1);
		return OUTCOME_FAILED;
	}
	if (vector < 0)
		outcome = ring_some(s, peer, 0, vectors, &rung);
	else
		outcome = ring_some(s, peer, (unsigned)vector, (unsigned)vector + 1, &rung);
	if (rung)
		say_rang(peer, vector, rung);
	return outcome;
}

static enum outcome run_ring(struct session *s, const struct command *c, const struct words *w)
{
	bool others = w->count >= 2 && !strcmp(w->word[1], "all");
	uint16_t vector = 0;
	uint16_t peer = 0;
	bool all;

	if (w->count != 3 && !(w->count == 2 && others))
		return usage(c);
	if (!others && !peer_id(w->word[1], &peer))
		return OUTCOME_USAGE;
	all = w->count == 2 || !strcmp(w->word[2], "all");
	if (!all && !vector_number(w->word[2], &vector))
		return OUTCOME_USAGE;
	return others ? ring_others(s, all ? -1 : vector) : ring_peer(s, peer, all ? -1 : vector);
}

/* Waiting was cut short: by its deadline, by Ctrl-C. */
static enum outcome cut_short(int got, const char *what)
{
	if (got == -EINTR) {
		say_interrupted();
		return OUTCOME_FAILED;
	}
	say_error("%s", what);
	return OUTCOME_TIMED_OUT;
}

/* Rings that came before anybody asked. */
static unsigned long long show_pending(struct session *s)
{
	unsigned long long shown = 0;

	for (unsigned vector = 0; vector < FAMEZ_WIRE_VECTORS_MAX; vector++) {
		if (!s->pending[vector])
			continue;
		say_event_doorbell(vector, s->pending[vector]);
		s->pending[vector] = 0;
		shown++;
	}
	return shown;
}

/* Is this event one that session_show() shows? */
static bool is_shown(const struct session *s, const struct famez_event *event)
{
	return event->kind == FAMEZ_EVENT_DOORBELL || event->kind == FAMEZ_EVENT_LEFT ||
	       event->kind == FAMEZ_EVENT_LOST ||
	       (event->kind == FAMEZ_EVENT_VECTOR && event->vector == 0 &&
		       event->peer != famez_id(s->f));
}

static enum outcome run_watch(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long most = ULLONG_MAX;
	unsigned long long shown;
	struct timespec deadline;
	struct famez_event event;
	bool counted = false;
	bool timed = false;
	double span;

	for (unsigned i = 1; i < w->count; i += 2) {
		bool last = i + 1 == w->count;

		if (!last && !strcmp(w->word[i], "--count") &&
			number(w->word[i + 1], ULLONG_MAX - 1, &most)) {
			counted = true;
		} else if (!last && !strcmp(w->word[i], "--for") &&
			   seconds(w->word[i + 1], &span)) {
			deadline = session_deadline(span);
			timed = true;
		} else {
			return usage(c);
		}
	}
	if (s->at_prompt)
		say_note(timed ? "watching; Ctrl-C ends it early" : "watching; Ctrl-C ends it");
	shown = show_pending(s);
	if (s->gone && !s->told_gone) {
		session_show(s, &(struct famez_event){.kind = FAMEZ_EVENT_LOST});
		shown++;
	}
	while (shown < most) {
		int got = session_next(s, &event, timed ? &deadline : NULL);

		if (got == 0)
			return counted ? cut_short(0, "timed out before so many events")
				       : OUTCOME_OK;
		if (got < 0) {
			say_interrupted(); /* which is how a person ends it */
			return OUTCOME_OK;
		}
		if (!is_shown(s, &event))
			continue;
		session_show(s, &event);
		if (event.kind == FAMEZ_EVENT_DOORBELL)
			s->pending[event.vector] = 0;
		shown++;
	}
	return OUTCOME_OK;
}

/* The vector that has rung and that is asked for, -1 if none has. */
static int rung_vector(const struct session *s, int asked)
{
	if (asked >= 0)
		return s->pending[asked] ? asked : -1;
	for (int vector = 0; vector < FAMEZ_WIRE_VECTORS_MAX; vector++)
		if (s->pending[vector])
			return vector;
	return -1;
}

/* Takes "--timeout S" at the word i. */
static bool timeout(const struct words *w, unsigned i, struct timespec *deadline)
{
	double span;

	if (i + 2 != w->count || strcmp(w->word[i], "--timeout") != 0 ||
		!seconds(w->word[i + 1], &span))
		return false;
	*deadline = session_deadline(span);
	return true;
}

static enum outcome run_wait(struct session *s, const struct command *c, const struct words *w)
{
	struct timespec deadline;
	struct famez_event event;
	uint16_t vector = 0;
	int asked = -1;
	bool timed;
	unsigned i = 1;

	if (i < w->count && w->word[i][0] != '-') {
		if (!vector_number(w->word[i++], &vector))
			return OUTCOME_USAGE;
		asked = vector;
	}
	timed = i < w->count;
	if (timed && !timeout(w, i, &deadline))
		return usage(c);
	if (asked >= (int)famez_vectors(s->f, (uint16_t)famez_id(s->f))) {
		say_error("this client has no vector %d", asked);
		return OUTCOME_FAILED;
	}
	for (;;) {
		int rung = rung_vector(s, asked);
		int got;

		if (rung >= 0) {
			say_event_doorbell((unsigned)rung, s->pending[rung]);
			s->pending[rung] = 0;
			return OUTCOME_OK;
		}
		got = session_next(s, &event, timed ? &deadline : NULL);
		if (got <= 0)
			return cut_short(got, "timed out: nobody rang");
		if (s->loud && (event.kind != FAMEZ_EVENT_DOORBELL ||
				       (asked >= 0 && event.vector != asked)))
			session_show(s, &event);
	}
}

static enum outcome run_await(struct session *s, const struct command *c, const struct words *w)
{
	struct timespec deadline;
	struct timespec quiet;
	struct famez_event event;
	bool timed = w->count > 2;
	uint16_t peer;

	if (w->count < 2 || (timed && !timeout(w, 2, &deadline)))
		return usage(c);
	if (!peer_id(w->word[1], &peer))
		return OUTCOME_USAGE;
	for (;;) {
		unsigned vectors = famez_vectors(s->f, peer);
		int got;

		if (vectors &&
			(s->gone || vectors >= famez_vectors(s->f, (uint16_t)famez_id(s->f))))
			break;
		if (s->gone) {
			say_error("the server is gone, so peer %u can't come", peer);
			return OUTCOME_FAILED;
		}
		quiet = session_deadline(QUIET_SECONDS);
		got = session_next(s, &event, vectors ? &quiet : (timed ? &deadline : NULL));
		if (got == 0 && vectors)
			break;
		if (got <= 0)
			return cut_short(got, "timed out: that peer has not come");
		if (s->loud)
			session_show(s, &event);
	}
	say_present(peer, famez_vectors(s->f, peer));
	return OUTCOME_OK;
}

static enum outcome run_memory(struct session *s, const struct command *c, const struct words *w)
{
	size_t bytes = 0;

	if (w->count != 1)
		return usage(c);
	(void)famez_memory(s->f, &bytes); /* we are in, so there is one */
	say_memory(bytes);
	return OUTCOME_OK;
}

/* Is this range inside the shared memory? Says so if not. */
static bool inside(
	struct session *s, unsigned long long offset, unsigned long long count, unsigned char **at)
{
	size_t bytes = 0;
	unsigned char *memory = famez_memory(s->f, &bytes);

	if (offset >= bytes || count > bytes - offset) {
		say_error("%llu bytes at %llu are beyond the shared memory's %zu", count, offset,
			bytes);
		return false;
	}
	*at = memory + offset;
	return true;
}

static enum outcome shrunk(int err)
{
	say_error("the shared memory can't be used there: %s",
		err == -EFAULT ? "somebody has made its file smaller" : strerror(-err));
	return OUTCOME_FAILED;
}

static enum outcome run_peek(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long count = PEEK_DEFAULT;
	unsigned long long offset;
	unsigned char *bytes;
	unsigned char *at;
	size_t size = 0;
	int err;

	if (w->count < 2 || w->count > 3 || !number(w->word[1], ULLONG_MAX, &offset))
		return usage(c);
	if (w->count == 3 && (!number(w->word[2], PEEK_MAX, &count) || !count)) {
		say_error("`%s` bytes: 1 to %d can be shown", w->word[2], PEEK_MAX);
		return OUTCOME_USAGE;
	}
	(void)famez_memory(s->f, &size);
	if (w->count == 2 && offset < size && count > size - offset)
		count = size - offset;
	if (!inside(s, offset, count, &at))
		return OUTCOME_FAILED;
	bytes = malloc(count);
	if (!bytes) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	err = shared_read(bytes, at, count);
	if (!err)
		say_peek(offset, bytes, count);
	free(bytes);
	return err ? shrunk(err) : OUTCOME_OK;
}

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at =
		digit ? strchr(digits, digit | ('A' <= digit && digit <= 'F' ? 32 : 0)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The bytes that the words from the second on spell in hexadecimal; NULL after saying why not. */
static unsigned char *hex_bytes(const struct words *w, size_t *count)
{
	unsigned char *bytes;
	size_t room = 0;
	size_t n = 0;

	for (unsigned i = 2; i < w->count; i++)
		room += strlen(w->word[i]) / 2 + 1;
	bytes = malloc(room);
	if (!bytes) {
		say_error("out of memory");
		return NULL;
	}
	for (unsigned i = 2; i < w->count; i++) {
		for (const char *at = w->word[i]; *at; at += 2) {
			int high = hex_digit(at[0]);
			int low = high < 0 ? -1 : hex_digit(at[1]);

			if (low < 0) {
				say_error("`%s` is not bytes, two hexadecimal digits each",
					w->word[i]);
				free(bytes);
				return NULL;
			}
			bytes[n++] = (unsigned char)(high << 4 | low);
		}
	}
	*count = n;
	return bytes;
}

static enum outcome run_poke(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long offset;
	unsigned char *bytes;
	unsigned char *at;
	size_t count;
	int err;

	if (w->count < 3 || !number(w->word[1], ULLONG_MAX, &offset))
		return usage(c);
	bytes = hex_bytes(w, &count);
	if (!bytes)
		return OUTCOME_USAGE;
	if (!inside(s, offset, count, &at)) {
		free(bytes);
		return OUTCOME_FAILED;
	}
	err = shared_write(at, bytes, count);
	free(bytes);
	if (err)
		return shrunk(err);
	say_poke(offset, count);
	return OUTCOME_OK;
}

static enum outcome run_quit(struct session *s, const struct command *c, const struct words *w)
{
	(void)s;
	return w->count == 1 ? OUTCOME_QUIT : usage(c);
}

static const struct command commands[] = {
	{"peers", "dump", "peers", "peers and their vectors", false, run_peers},
	{"ring", "int", "ring PEER|all VECTOR|all", "ring; `all` peers are all but us", true,
		run_ring},
	{"watch", NULL, "watch [--count N] [--for SECONDS]", "show doorbells, joins and leaves",
		false, run_watch},
	{"wait", NULL, "wait [VECTOR] [--timeout SECONDS]", "wait until we are rung", false,
		run_wait},
	{"await", NULL, "await PEER [--timeout SECONDS]", "wait until a peer is here", true,
		run_await},
	{"id", NULL, "id", "our own ID", false, run_id},
	{"memory", NULL, "memory", "size of the shared memory", false, run_memory},
	{"peek", NULL, "peek OFFSET [COUNT]", "show bytes of the shared memory", false, run_peek},
	{"poke", NULL, "poke OFFSET HEX ...", "write bytes to the shared memory", false, run_poke},
	{"help", "?", "help", "this list", false, run_help},
	{"quit", "exit", "quit", "leave the fabric", false, run_quit},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

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

bool command_takes_peer(const char *name)
{
	const struct command *c = find(name);

	return c && c->takes_peer;
}

void command_help(void)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		const char *alias = commands[i].alias;

		say_note("  %-35s %s%s%s%s", commands[i].usage, commands[i].help,
			alias ? " (or: " : "", alias ? alias : "", alias ? ")" : "");
	}
}

static enum outcome run_one(struct session *s, char *text)
{
	const struct command *c;
	struct words w;
	char *rest;

	w.count = 0;
	for (char *word = strtok_r(text, " \t\r\n", &rest); word;
		word = strtok_r(NULL, " \t\r\n", &rest)) {
		if (w.count == WORDS_MAX) {
			say_error("more than %d words", WORDS_MAX);
			return OUTCOME_USAGE;
		}
		w.word[w.count++] = word;
	}
	if (!w.count)
		return OUTCOME_OK;
	c = find(w.word[0]);
	if (!c) {
		say_error("no such command: %s (`help` lists them)", w.word[0]);
		return OUTCOME_USAGE;
	}
	return c->run(s, c, &w);
}

enum outcome command_run(struct session *s, char *line)
{
	char *rest = line;
	char *text;

	line[strcspn(line, "#")] = '\0';
	while ((text = strsep(&rest, ";"))) {
		enum outcome outcome;

		session_pump(s);
		if (!s->f)
			return OUTCOME_NOT_JOINED;
		outcome = run_one(s, text);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_OK;
}
