/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c - asks the broker whether it still turns, and ends one that does not.
 *
 * Reads its answers, and from /proc whether it is stopped. Never ends a broker that has not
 * come to serve yet: that has a limit of its own (keeper.c).
 */
#include "watchdog.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "keeper.h"
#include "sys.h"

#define S_NS UINT64_C(1000000000)

/* Doublings of the time, at most. */
#define PATIENCE_MAX 4u

void watchdog_begin(struct watchdog *w, unsigned seconds, uint64_t now)
{
	unsigned patience = w->ended < PATIENCE_MAX ? w->ended : PATIENCE_MAX;

	w->interval_ns = (seconds * S_NS / WATCHDOG_LOOKS) << patience;
	w->next_ns = seconds ? now + w->interval_ns : 0;
	w->missed = 0;
}

void watchdog_end(struct watchdog *w)
{
	w->next_ns = 0;
}

enum watchdog_says watchdog_judge(struct watchdog *w, uint64_t now, bool answered, bool excused)
{
	bool late = now - w->next_ns > w->interval_ns / 2;

	w->next_ns = now + w->interval_ns;
	if (answered || excused || late) {
		w->missed = 0;
		return answered ? WATCHDOG_ASK : WATCHDOG_WAIT;
	}
	if (++w->missed < WATCHDOG_LOOKS)
		return WATCHDOG_WAIT;
	if (w->missed > WATCHDOG_LOOKS)
		return WATCHDOG_KILL;
	w->ended++;
	return WATCHDOG_ABORT;
}

/* Who has not answered: -1 nobody, 0 the registrar, else a worker's number from 1 on. */
static int who_is_missing(const struct state *s)
{
	uint64_t asked = atomic_load_explicit(&s->live->asked, memory_order_relaxed);

	for (unsigned w = 0; w < s->head->wish.workers; w++)
		if (atomic_load_explicit(&s->workers[w].answered, memory_order_relaxed) != asked)
			return atomic_load_explicit(&s->live->answered, memory_order_relaxed) ==
					       asked
				       ? (int)w + 1
				       : 0;
	return atomic_load_explicit(&s->live->answered, memory_order_relaxed) == asked ? -1 : 0;
}

/* The kernel's own lines: a name has no newline there. */
static bool says_stopped(pid_t pid)
{
	char path[32], text[1024] = "";
	const char *tracer;
	ssize_t n = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		(void)close(fd);
	}
	if (n <= 0)
		return true;
	tracer = strstr(text, "\nTracerPid:\t");
	return strstr(text, "\nState:\tT") || strstr(text, "\nState:\tt") ||
	       (tracer && strncmp(tracer, "\nTracerPid:\t0\n", 14) != 0);
}

/* By a process with a table of descriptors of its own: one who has taken over the broker could put
 * something into ours on which a read waits for ever. Who can't look must not kill. */
static bool is_stopped(pid_t pid)
{
	pid_t looks = fork();
	int status = 0;

	if (looks == 0)
		_exit(says_stopped(pid) ? EXIT_SUCCESS : EXIT_FAILURE);
	while (looks > 0 && waitpid(looks, &status, 0) < 0 && errno == EINTR)
		;
	return looks < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FAILURE;
}

static void end(const struct watchdog *w, struct state *state, pid_t broker, int missing)
{
	char who[24] = "the registrar";

	if (missing > 0)
		(void)snprintf(who, sizeof(who), "worker %d", missing - 1);
	(void)snprintf(state->words, STATE_WORDS_BYTES, "watchdog: %s did not answer for %llu s",
		who, (unsigned long long)(w->interval_ns * WATCHDOG_LOOKS / S_NS));
	/* One that dumps its memory, where that is allowed, since somebody will want to know. */
	(void)kill(broker, SIGABRT);
}

void watchdog_look(struct watchdog *w, struct state *state, pid_t broker, uint64_t now)
{
	int missing;

	if (!w->next_ns || now < w->next_ns)
		return;
	missing = who_is_missing(state);
	switch (watchdog_judge(w, now, missing < 0, missing >= 0 && is_stopped(broker))) {
	case WATCHDOG_WAIT:
		return;
	case WATCHDOG_ASK:
		(void)atomic_fetch_add_explicit(&state->live->asked, 1, memory_order_relaxed);
		(void)kill(broker, KEEPER_ASK);
		return;
	case WATCHDOG_ABORT:
		end(w, state, broker, missing);
		return;
	case WATCHDOG_KILL:
		(void)kill(broker, SIGKILL);
	}
}
