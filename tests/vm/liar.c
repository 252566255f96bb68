// SPDX-License-Identifier: MIT
/*
 * liar.c - a guest of famez-stress --vm that lies, in the way that its second argument says.
 *
 *   garbled    answers the start with bytes that mean nothing
 *   early      tells counts before anybody asked for them
 *   forward    answers a question that has not been asked
 *   backward   its counts go back
 *   hasty      says that it has come further than anybody could
 *   deaf       comes along, and takes no message
 *   figures    the same, and tells figures that it has not counted
 *   rude       ends with a verdict of its own, for a terminal to choke on
 *
 * On the host, at the broker's socket: what a guest's program could do is not more.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "words.h"

#include "famez/peer.h"

static struct famez *f;
static int host = -1;
static unsigned companion, vector;

static void tell(const void *bytes, size_t count)
{
	struct famez_to to = {.peer = (uint16_t)host};

	(void)famez_send(f, &to, bytes, count, 0, 1000);
}

static void counts(uint64_t wave, uint64_t step, uint64_t sent)
{
	struct words w;

	words_begin(&w, WORDS_COUNTS);
	w.counts = (struct words_counts){.wave = wave, .step = step, .sent = sent};
	tell(&w, words_bytes(&w));
}

static void figures(void)
{
	struct words w;

	words_begin(&w, WORDS_SERIES);
	w.series.sent = 1000000;
	tell(&w, words_bytes(&w));
	words_begin(&w, WORDS_DONE);
	tell(&w, words_bytes(&w));
}

static void answer(const struct words *w, const char *how)
{
	struct words mine;

	if (w->kind == WORDS_WELCOME) {
		companion = w->welcome.companion;
		vector = w->welcome.vector;
	}
	if (w->kind == WORDS_WELCOME && !strcmp(how, "early"))
		counts(1, 0, 0);
	if (w->kind == WORDS_START && !strcmp(how, "garbled"))
		tell("once upon a time", 16);
	if (w->kind == WORDS_START && !strcmp(how, "rude")) {
		words_begin(&mine, WORDS_VERDICT);
		(void)snprintf(mine.verdict.why, sizeof(mine.verdict.why), "\033[2J\nall is well");
		tell(&mine, words_bytes(&mine));
	}
	if (w->kind != WORDS_STATE)
		return;
	if (!strcmp(how, "forward"))
		counts(w->state.wave + 7, 0, 0);
	else if (!strcmp(how, "backward"))
		counts(w->state.wave, 0, w->state.wave == 1 ? 5 : 4);
	else if (!strcmp(how, "hasty"))
		counts(w->state.wave, UINT32_MAX, 0);
	else if (!strcmp(how, "deaf") || w->state.wave == 1)
		counts(w->state.wave, w->state.all + 1, 0);
	else if (!strcmp(how, "figures"))
		figures();
}

static void turn(const char *how)
{
	struct pollfd fd = {.fd = famez_fd(f), .events = POLLIN};
	struct famez_event event;
	struct famez_message m;
	struct words w;

	while (famez_next(f, &event) > 0) {
		if (event.kind == FAMEZ_EVENT_DOORBELL && companion && event.vector == vector)
			(void)famez_ring(f, (uint16_t)companion, event.vector);
		if (event.kind != FAMEZ_EVENT_MESSAGE || famez_peek(f, &m) != 1)
			continue;
		/* Those of others it takes from their lanes only where it is not to be deaf. */
		if (m.from == host && words_read(&w, m.payload, m.bytes))
			answer(&w, how);
		famez_release(f);
	}
	(void)poll(&fd, 1, 50);
}

int main(int argc, char **argv)
{
	struct famez_join how = {.timeout_ms = 10000};
	struct famez_mailbox mailbox = {.name = "stress-vm"};
	struct words hello;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: liar SOCKET HOW\n");
		return 2;
	}
	how.socket = argv[1];
	if (famez_join(&f, &how) || famez_mailbox_open(f, &mailbox))
		return 1;
	while ((host = famez_who_named(f, WORDS_HOST)) < 0)
		turn(argv[2]);
	words_begin(&hello, WORDS_HELLO);
	tell(&hello, words_bytes(&hello));
	for (;;) /* until famez-stress ends us */
		turn(argv[2]);
}
