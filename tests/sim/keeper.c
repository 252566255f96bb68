/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - the keeper as it is (broker/keeper.c), over processes and signals that are made up.
 *
 *     sim_keeper [--steps N] [--seed FIRST] | sim_keeper --replay SEED
 *
 * A seed decides when a broker serves, dies, ends, hangs or is stopped, which programs lie on disk,
 * what the operator asks for, and which call fails. What the broker itself does is sim.h's matter;
 * here it is a process that may do anything. Between two calls of the keeper's, anything may
 * happen.
 *
 * What must hold:
 *
 *   at most one broker lives; only what exists is signalled or waited for, and a number that was
 *   reaped is another's;
 *   the keeper kills a broker to hand over to a program that can read the state, to end where all
 *   is stored, or if it never comes to serve; never otherwise;
 *   who has served well has a successor at once; who keeps dying, later and later, up to a second;
 *   where there is a watchdog, a broker that serves is never ended by it: not one that is slow,
 *   that was stopped, or that slept with the whole machine; one of which any thread hangs is
 *   ended, and soon enough;
 *   every upgrade that was asked for is told the end of, once; what can't take over is refused,
 *   and what does not come to serve is rolled back;
 *   every reload and report that was asked for is written down, before the broker is told of it;
 *   left alone, somebody serves, by the program that was the last to prove itself, and nobody is
 *   left to be reaped; asked to end, it ends, and leaves no broker behind.
 */
#include "keeper_sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keeper_world w;
struct keeper_sums sums;
jmp_buf become;
jmp_buf failed;
bool tracing;

uint32_t draw(uint32_t n)
{
	uint64_t z = w.dice += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

void trace(const char *what, long number)
{
	if (tracing)
		(void)printf(
			"%12llu us  %s %ld\n", (unsigned long long)(w.now_ns / 1000), what, number);
}

_Noreturn void wrong(const char *what, long number)
{
	(void)snprintf(w.why, sizeof(w.why), "%s (%ld)", what, number);
	trace(w.why, number);
	w.failed = true;
	longjmp(failed, 1);
}

/* ---- a world ------------------------------------------------------------------------------- */

static int no_child(void *argument)
{
	(void)argument;
	wrong("the keeper serves", 0);
}

static void play(void)
{
	static struct keeper k;
	int how, code;

	how = setjmp(become);
	w.dead_early = 0; /* another program knows nothing of those */
	w.ended = 0;
	k = (struct keeper){
		.state = &w.state,
		.child = no_child,
		.stored = w.stored,
		.watchdog_s = w.watchdog_s,
		.path = "famez-server",
		.handed = {.state_fd = -1,
			.back = how == 2 ? "its broker does not come to serve" : NULL,
			.old = {.fd = how == 1 ? OLD_FD : -1}},
	};
	code = keeper_run(&k);
	trace("the keeper ends with", code);
	if (broker() && !w.pending)
		wrong("the keeper ends, and a broker lives", broker()->pid);
	if (!w.stop && w.live.ready)
		wrong("the keeper ends by itself, and somebody was served", code);
	if (w.stop && w.stored && w.live.ready && code != EXIT_SUCCESS)
		wrong("all is stored, and the keeper fails", code);
}

static void judge_rest(void)
{
	look_at_upgrades();
	for (unsigned n = 0; n < PROCESSES; n++)
		if (w.processes[n].life == ZOMBIE)
			wrong("left alone, somebody is not reaped", w.processes[n].pid);
	if (w.runs == STILLBORN || broker()->program != w.runs)
		wrong("a program serves that can't", w.runs);
}

static bool play_world(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.seed = seed;
	w.dice = seed * 0x2545f4914f6cdd1du;
	w.now_ns = 1000 * MS;
	w.steps_max = 200 + draw(4000);
	w.stored = draw(4) == 0;
	w.watchdog_s = draw(3) ? 1 + draw(4) : 0;
	w.last_pid = 100;
	w.head.wish.workers = THREADS - 1;
	w.state = (struct state){
		.live = &w.live, .head = &w.head, .workers = w.workers, .words = w.words, .fd = 5};
	if (setjmp(failed) == 0)
		play();
	if (w.over && setjmp(failed) == 0)
		judge_rest();
	return !w.failed;
}

int main(int argc, char **argv)
{
	uint64_t steps = 1000000, first = 1, done = 0, worlds = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t number = strtoull(argv[i + 1], NULL, 0);

		if (strcmp(argv[i], "--steps") == 0)
			steps = number;
		else
			first = number;
		if (strcmp(argv[i], "--replay") == 0) {
			tracing = true;
			steps = 1;
		}
	}
	for (; done < steps; worlds++) {
		if (!play_world(first + worlds)) {
			(void)printf("FAIL seed %llu: %s; replay: sim_keeper --replay %llu\n",
				(unsigned long long)w.seed, w.why, (unsigned long long)w.seed);
			(void)printf("0 passed, 1 failed\n");
			return 1;
		}
		done += w.steps;
	}
	(void)printf(
		"# %llu worlds, %llu brokers, %llu that hung, %llu stopped for a while, "
		"%llu times the machine slept; upgrades: %llu done, %llu refused, %llu failed, "
		"%llu rolled back\n",
		(unsigned long long)worlds, (unsigned long long)sums.births,
		(unsigned long long)sums.hung, (unsigned long long)sums.stopped,
		(unsigned long long)sums.suspended,
		(unsigned long long)sums.upgrades[STATE_UPGRADE_DONE],
		(unsigned long long)sums.upgrades[STATE_UPGRADE_REFUSED],
		(unsigned long long)sums.upgrades[STATE_UPGRADE_FAILED],
		(unsigned long long)sums.upgrades[STATE_UPGRADE_ROLLED_BACK]);
	(void)printf("ok %llu steps of the keeper from seed %llu on\n1 passed, 0 failed\n",
		(unsigned long long)done, (unsigned long long)first);
	return 0;
}
