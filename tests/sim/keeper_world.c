/* SPDX-License-Identifier: MIT */
/*
 * keeper_world.c - what happens around the keeper: brokers, programs, an operator, the machine.
 */
#include "keeper_sim.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

/* ---- processes ----------------------------------------------------------------------------- */

struct proc *process_of(pid_t pid)
{
	for (unsigned n = 0; n < PROCESSES; n++)
		if (w.processes[n].life != NONE && w.processes[n].pid == pid)
			return &w.processes[n];
	return NULL;
}

struct proc *broker(void)
{
	for (unsigned n = 0; n < PROCESSES; n++)
		if (w.processes[n].life == ALIVE && w.processes[n].kind == BROKER)
			return &w.processes[n];
	return NULL;
}

void die(struct proc *p, int status)
{
	static const char *const names[] = {"broker dies", "checker dies", "looker dies"};

	trace(names[p->kind], p->pid);
	p->life = ZOMBIE;
	p->status = status;
	w.pending |= UINT64_C(1) << SIGCHLD;
	if (p->kind == LOOKER)
		return;
	if (p->kind == CHECKER) {
		w.may_become = status == W_EXITCODE(HANDOVER_CHECK_FINE, 0);
		return;
	}
	w.died_ns = w.now_ns;
	w.died_slept_ns = w.slept_ns;
	w.uptime_ns = p->serves ? w.now_ns - p->served_ns : 0;
	/* The keeper hears of both a little later. */
	w.dead_early_before = w.dead_early;
	w.dead_early = w.uptime_ns >= SERVED_WELL_NS / 2 ? 0 : w.dead_early + 1;
	if (w.uptime_doubtful)
		w.dead_early = 0;
	w.clone_failed = false;
}

pid_t make(enum kind kind)
{
	for (unsigned n = 0; n < PROCESSES; n++) {
		struct proc *p = &w.processes[n];

		if (p->life != NONE)
			continue;
		/* Before anybody was served, whoever starts us has a limit for that. */
		*p = (struct proc){
			.life = ALIVE,
			.kind = kind,
			.pid = ++w.last_pid,
			.program = kind == BROKER ? w.runs : w.disk,
			.born_ns = w.now_ns,
			.hangs = !w.quiet && (kind != BROKER || w.live.ready) && draw(60) == 0,
			.stubborn = draw(4) == 0,
			.disturbed_ns = w.now_ns,
		};
		w.uptime_doubtful &= kind != BROKER;
		trace(kind == BROKER ? "broker is born" : "somebody is born", p->pid);
		return p->pid;
	}
	wrong("nobody reaps the dead", PROCESSES);
}

static void serve(struct proc *p)
{
	trace("broker serves", p->pid);
	p->serves = true;
	p->served_ns = p->disturbed_ns = w.now_ns;
	/* Each thread has had a turn. */
	p->asked = atomic_load(&w.live.asked);
	atomic_store(&w.live.answered, p->asked);
	for (unsigned n = 1; n < THREADS; n++)
		atomic_store(&w.workers[n - 1].answered, p->asked);
	w.live.ready = w.live.births;
	w.pending |= UINT64_C(1) << SIGRTMIN;
}

/* It is asked whether it turns. Each thread answers in a turn of its own, if it comes to one. */
static void answer(struct proc *p)
{
	uint64_t bit = UINT64_C(1) << KEEPER_ASK;

	if (!(p->stuck & 1) && p->pending & bit) {
		p->pending &= ~bit;
		p->asked = atomic_load(&w.live.asked);
		atomic_store(&w.live.answered, p->asked);
		return;
	}
	for (unsigned n = 1; n < THREADS; n++)
		if (!(p->stuck >> n & 1) && p->asked && draw(2))
			atomic_store(&w.workers[n - 1].answered, p->asked);
}

/* What a watchdog is for, and what is none of its business. */
static bool goes_wrong(struct proc *p)
{
	if (p->stopped) {
		if (!w.quiet && draw(400))
			return true;
		trace("broker goes on", p->pid);
		p->stopped = false;
		p->disturbed_ns = w.now_ns;
	} else if (!w.quiet && !w.stop && draw(1500) == 0) {
		trace("broker is stopped", p->pid);
		sums.stopped++;
		p->stopped = true;
		return true;
	}
	if (p->stuck && w.stop && draw(50) == 0) {
		die(p, W_EXITCODE(0, SIGKILL)); /* whoever asked has no patience */
		return true;
	}
	if (!p->stuck && p->serves && w.watchdog_s && !w.quiet && !w.stop && draw(600) == 0) {
		p->stuck = 1 + draw((1u << THREADS) - 1);
		p->disturbed_ns = w.now_ns;
		sums.hung++;
		trace("broker hangs", (long)p->stuck);
	}
	return false;
}

static void step_of_broker(struct proc *p)
{
	bool stop = p->pending & (UINT64_C(1) << KEEPER_STOP | UINT64_C(1) << KEEPER_INTERRUPT);

	if (goes_wrong(p))
		return;
	if (w.watchdog_s)
		answer(p);
	if (!w.quiet && draw(w.watchdog_s ? 600 : 12) == 0)
		die(p, draw(4) ? W_EXITCODE(0, SIGKILL) : W_EXITCODE(0, SIGABRT));
	else if (!w.quiet && w.live.ready && draw(w.watchdog_s ? 2000 : 40) == 0)
		die(p, W_EXITCODE(draw(2) ? 1 : KEEPER_AGAIN, 0));
	else if (p->program == STILLBORN && draw(3) == 0)
		die(p, W_EXITCODE(0, SIGSEGV));
	else if (p->program == STILLBORN || p->hangs)
		return;
	else if (!p->serves && draw(3) == 0)
		serve(p);
	else if (p->serves && stop && !p->stuck)
		die(p, W_EXITCODE(0, 0));
}

static void step_of_checker(struct proc *p)
{
	if (p->hangs || draw(2))
		return;
	if (p->program == NO_PROGRAM)
		die(p, W_EXITCODE(127, 0));
	else if (p->program == UNREADABLE)
		die(p, draw(2) ? W_EXITCODE(1, 0) : W_EXITCODE(0, SIGKILL));
	else
		die(p, W_EXITCODE(HANDOVER_CHECK_FINE, 0));
}

static void somebody_goes(void)
{
	struct proc *p = &w.processes[draw(PROCESSES)];

	for (unsigned n = 0; n < PROCESSES; n++, p++) {
		if (p == w.processes + PROCESSES)
			p = w.processes;
		if (p->life != ALIVE)
			continue;
		if (p->kind == BROKER)
			step_of_broker(p);
		else
			step_of_checker(p);
		return;
	}
}

static void operator_asks(void)
{
	static const int numbers[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGUSR2};
	int number = draw(200) ? numbers[draw(4)] : draw(2) ? SIGTERM : SIGINT;

	if (number == SIGUSR2) {
		w.disk = (enum program)draw(PROGRAMS);
		w.asked++;
	} else if (number == SIGTERM || number == SIGINT) {
		w.stop = number;
	} else if (draw(8) == 0) {
		number = draw(2) ? SIGRTMIN : SIGCHLD; /* anybody of our user may send them */
	}
	trace("operator sends", number);
	w.pending |= UINT64_C(1) << number;
}

void look_at_upgrades(void)
{
	uint64_t told = atomic_load(&w.live.upgrades);

	if (told == w.told)
		return;
	if (told - w.told > w.asked)
		wrong("an upgrade is told the end of that nobody asked for", (long)told);
	w.asked -= (unsigned)(told - w.told);
	w.told = told;
	sums.upgrades[w.live.upgrade_result]++;
	trace("upgrade ends with", w.live.upgrade_result);
}

/* Suspended, or a VM that was paused: for nobody does anything happen, but for the clock. */
static void sleep_for_long(void)
{
	uint64_t ns = draw(100000) * MS;

	trace("the machine sleeps for so many ms", (long)(ns / MS));
	sums.suspended++;
	w.now_ns += ns;
	w.slept_ns += ns;
	/* Its birth, or its death, may not be known yet. */
	w.uptime_doubtful = true;
	w.dead_early = 0;
	for (unsigned n = 0; n < PROCESSES; n++) {
		w.processes[n].disturbed_ns = w.now_ns;
		/* A shorter sleep may fall between two looks. */
		if (ns > 2 * watchdog_look_ns())
			w.processes[n].counts_ns = w.now_ns;
	}
}

/* Each twice as long after each broker that was ended, up to 16 times. */
uint64_t watchdog_look_ns(void)
{
	return 1000 * MS * w.watchdog_s / WATCHDOG_LOOKS << (w.ended < 4 ? w.ended : 4);
}

/* Of which a thread hangs has been ended, and what it says of itself is no excuse. A look, as
 * many as the watchdog needs, one that comes too late, and one more if it does not die of the
 * first signal. */
static void check_watchdog(void)
{
	const struct proc *p = broker();
	uint64_t look;

	if (!p || !p->stuck || p->stopped || w.stop || !w.watchdog_s)
		return;
	look = watchdog_look_ns();
	if (w.now_ns - p->disturbed_ns > (WATCHDOG_LOOKS + 4) * look + 500 * MS)
		wrong("a broker hangs and nobody ends it, for so many ms",
			(long)((w.now_ns - p->disturbed_ns) / MS));
}

void world_goes_on(void)
{
	w.steps++;
	w.now_ns += draw(3 * MS);
	if (!w.quiet && draw(3000) == 0)
		sleep_for_long();
	look_at_upgrades();
	check_watchdog();
	if (draw(3))
		somebody_goes();
	else if (!w.quiet && draw(30) == 0)
		operator_asks();
}
