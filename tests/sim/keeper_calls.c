/* SPDX-License-Identifier: MIT */
/*
 * keeper_calls.c - the calls of the keeper's and of its watchdog's, under their names.
 *
 * Between two of them anything may happen. Each says whether it is one that the keeper may make.
 */
#include "keeper_sim.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "haste.h"
#include "log.h"
#include "oom.h"

/* What is asked for is written down before anybody may die over it, or the keeper waits again. */
static void look_at_errands(void)
{
	if (atomic_load(&w.live.reload.asked) != w.reloads ||
		atomic_load(&w.live.report.asked) != w.reports)
		wrong("what was asked for is not written down", (long)(w.reloads + w.reports));
}

static bool fails(void)
{
	return !w.quiet && w.live.ready && draw(20) == 0;
}

/* ---- the keeper's calls -------------------------------------------------------------------- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *limit);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __wrap_kill(pid_t pid, int number);
pid_t __wrap_fork(void);
pid_t __wrap_getpid(void);
long __wrap_syscall(long number, ...);
int __wrap_sigaction(int number, const struct sigaction *now, struct sigaction *before);
int __wrap_close(int fd);
int __wrap_prctl(int option, ...);

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	(void)clock;
	*t = (struct timespec){
		.tv_sec = (time_t)(w.now_ns / (1000 * MS)),
		.tv_nsec = (long)(w.now_ns % (1000 * MS)),
	};
	return 0;
}

static int take_signal(const sigset_t *set)
{
	for (unsigned n = 0; n < 64; n++) {
		unsigned number = (n + draw(64)) % 64;

		if (!(w.pending >> number & 1))
			continue;
		if (sigismember(set, (int)number) != 1)
			wrong("a signal is not waited for", (long)number);
		w.pending &= ~(UINT64_C(1) << number);
		trace("keeper takes signal", (long)number);
		w.reloads += number == SIGHUP;
		w.reports += number == SIGUSR1;
		return (int)number;
	}
	return 0;
}

/* Here it waits, so the world goes on. */
int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *limit)
{
	uint64_t until = UINT64_MAX;

	(void)info;
	look_at_errands();
	if (limit)
		until = w.now_ns + (uint64_t)limit->tv_sec * 1000 * MS + (uint64_t)limit->tv_nsec;
	for (;;) {
		int number = draw(4) ? take_signal(set) : 0;

		if (number) {
			w.idle = 0;
			return number;
		}
		if (w.now_ns >= until) {
			if (++w.idle > 50)
				wrong("the keeper turns, and there is nothing to do", w.idle);
			errno = EAGAIN;
			return -1;
		}
		if (w.quiet && !w.pending && !w.stop && broker() && broker()->serves &&
			w.now_ns > broker()->served_ns + QUIET_NS &&
			w.now_ns > w.quiet_ns + QUIET_NS) {
			w.over = true;
			longjmp(failed, 1);
		}
		w.idle = 0;
		world_goes_on();
		/* Nobody is there who could do anything. */
		if (!broker() && !w.pending && until != UINT64_MAX && draw(20) == 0)
			w.now_ns = until;
		if (w.quiet && w.steps > w.steps_max + 1000000)
			wrong("left alone, nobody ever serves", (long)w.live.births);
		if (!w.quiet && w.steps >= w.steps_max) {
			trace("all are left alone", 0);
			w.quiet = true;
			w.quiet_ns = w.now_ns;
		}
	}
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	unsigned from = draw(PROCESSES);
	bool any = false;

	(void)id;
	if (type != P_ALL || options != (WEXITED | WNOHANG | WNOWAIT))
		wrong("waitid", options);
	world_goes_on();
	for (unsigned n = 0; n < PROCESSES; n++) {
		const struct proc *p = &w.processes[(from + n) % PROCESSES];

		any |= p->life != NONE;
		if (p->life != ZOMBIE)
			continue;
		info->si_pid = p->pid;
		info->si_code = WIFEXITED(p->status) ? CLD_EXITED : CLD_KILLED;
		info->si_status =
			WIFEXITED(p->status) ? WEXITSTATUS(p->status) : WTERMSIG(p->status);
		return 0;
	}
	info->si_pid = 0;
	if (any)
		return 0;
	errno = ECHILD;
	return -1;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	struct proc *p = process_of(pid);

	if (!p || options || p->life != ZOMBIE)
		wrong("the keeper waits for what has not ended", pid);
	if (status)
		*status = p->status;
	p->life = NONE;
	return pid;
}

/* It may end who hangs, and was asked nearly as long ago as was said, and nobody else. */
static void check_end_by_watchdog(struct proc *p, int number)
{
	uint64_t least = 1000 * MS * w.watchdog_s / WATCHDOG_LOOKS * (WATCHDOG_LOOKS - 1);

	if (!p->serves || !p->stuck)
		wrong("the watchdog ends a broker that serves", p->pid);
	if (p->stopped)
		wrong("the watchdog ends a broker that is stopped", p->pid);
	if (w.now_ns - p->counts_ns < least)
		wrong("the watchdog ends a broker after so many ms",
			(long)((w.now_ns - p->counts_ns) / MS));
	if (number == SIGABRT)
		w.ended++;
	if (number != SIGABRT || !p->stubborn)
		die(p, W_EXITCODE(0, number));
}

int __wrap_kill(pid_t pid, int number)
{
	struct proc *p = pid > 0 ? process_of(pid) : NULL;

	if (!p)
		wrong("somebody else is sent a signal", pid);
	trace("keeper signals", pid);
	look_at_errands();
	if (p->life == ZOMBIE)
		return 0;
	if (w.watching && number != KEEPER_ASK) {
		check_end_by_watchdog(p, number);
		return 0;
	}
	if (number == SIGKILL && p->kind == BROKER && !w.may_kill && !(w.stop && w.stored) &&
		(p->serves || w.now_ns - p->born_ns < 30000 * MS))
		wrong("a broker is killed that did no harm", pid);
	if (number == KEEPER_ASK)
		p->counts_ns = w.now_ns;
	if (number == SIGKILL)
		die(p, W_EXITCODE(0, SIGKILL));
	else
		p->pending |= UINT64_C(1) << number;
	return 0;
}

/* As many in a row as died before they had served well: at once, then 10 ms, 20, ... */
static void check_pause(void)
{
	uint64_t least = 0;

	if (!w.died_ns || w.in_upgrade)
		return;
	if (w.dead_early > 1)
		least = PAUSE_FIRST_NS << (w.dead_early - 2 < 7 ? w.dead_early - 2 : 7);
	if (least > PAUSE_LAST_NS)
		least = PAUSE_LAST_NS;
	if (w.uptime_ns >= 2 * SERVED_WELL_NS && !w.clone_failed && !w.uptime_doubtful &&
		w.now_ns - w.died_ns - (w.slept_ns - w.died_slept_ns) > SERVED_WELL_NS)
		wrong("who has served well has no successor for so many ms",
			(long)((w.now_ns - w.died_ns) / MS));
	if (!w.stop && w.now_ns - w.died_ns < least)
		wrong("a broker that keeps dying is started too soon",
			(long)((w.now_ns - w.died_ns) / MS));
}

long __wrap_syscall(long number, ...)
{
	(void)number; /* clone(2): there is no other */
	if (broker())
		wrong("a second broker is started", broker()->pid);
	check_pause();
	if (fails()) {
		trace("clone fails", EAGAIN);
		w.clone_failed = true;
		errno = EAGAIN;
		return -1;
	}
	sums.births++;
	w.in_upgrade = false;
	return make(BROKER);
}

/* Whether the broker is stopped: whoever was made to look has looked. */
static pid_t look_for_watchdog(void)
{
	struct proc *p = broker();
	bool fails = draw(50) == 0;
	pid_t pid;

	/* Who can't look, or sees it stopped, begins anew. */
	if (p && (fails || p->stopped))
		p->disturbed_ns = p->counts_ns = w.now_ns;
	if (fails)
		return -1;
	pid = make(LOOKER);
	die(process_of(pid), W_EXITCODE(broker() && broker()->stopped ? 0 : 1, 0));
	return pid;
}

pid_t __wrap_fork(void)
{
	if (w.watching)
		return look_for_watchdog();
	if (fails()) {
		errno = ENOMEM;
		return -1;
	}
	return make(CHECKER);
}

pid_t __wrap_getpid(void)
{
	return KEEPER_PID;
}

int __wrap_sigaction(int number, const struct sigaction *now, struct sigaction *before)
{
	(void)number;
	(void)now;
	(void)before;
	return 0;
}

int __wrap_close(int fd)
{
	if (fd != OLD_FD)
		wrong("a descriptor is closed that is not the keeper's", fd);
	return 0;
}

int __wrap_prctl(int option, ...)
{
	return option == PR_GET_TID_ADDRESS ? -1 : 0;
}

void log_fields(enum log_event event, const struct log_field *fields)
{
	(void)event;
	(void)fields;
}

void oom_keep(void)
{
}

void oom_serve(void)
{
}

void oom_as_before(void)
{
}

void haste_keep(void)
{
}

void haste_as_before(void)
{
}

void __real_watchdog_look(struct watchdog *dog, struct state *state, pid_t pid, uint64_t now);
void __wrap_watchdog_look(struct watchdog *dog, struct state *state, pid_t pid, uint64_t now);

void __wrap_watchdog_look(struct watchdog *dog, struct state *state, pid_t pid, uint64_t now)
{
	w.watching = true;
	__real_watchdog_look(dog, state, pid, now);
	w.watching = false;
}

int handover_open(struct handover_file *ourselves)
{
	world_goes_on();
	if (fails())
		return -ENOENT;
	*ourselves = (struct handover_file){.fd = OLD_FD};
	if (!w.may_become)
		wrong("the keeper is to become a program that can't take over", w.disk);
	w.may_kill = true;
	return 0;
}

int handover_to(const char *path, char **argv, int state_fd, const struct handover_file *ourselves,
	unsigned descriptors_end)
{
	(void)path;
	(void)argv;
	(void)state_fd;
	(void)ourselves;
	(void)descriptors_end;
	w.may_kill = false;
	w.in_upgrade = true;
	if (w.dead_early > w.dead_early_before)
		w.dead_early = w.dead_early_before; /* it was made to die */
	if (broker())
		wrong("a program is changed while its broker lives", broker()->pid);
	if (w.disk == NO_PROGRAM || fails())
		return -ENOEXEC;
	/* It may have been exchanged since it was asked: then it goes back by itself (main.c). */
	if (w.disk == UNREADABLE)
		longjmp(become, 2);
	w.before = w.runs;
	w.runs = w.disk;
	trace("the keeper becomes program", w.runs);
	longjmp(become, 1);
}

void handover_back(const struct handover *h, char **argv, const char *reason)
{
	(void)argv;
	(void)reason;
	if (h->old.fd != OLD_FD)
		wrong("there is nothing to go back to", h->old.fd);
	w.runs = w.before;
	w.in_upgrade = true;
	trace("the keeper becomes again program", w.runs);
	longjmp(become, 2);
}

_Noreturn void handover_check(const char *path, char **argv, int state_fd)
{
	(void)path;
	(void)argv;
	(void)state_fd;
	wrong("the keeper asks itself", 0);
}
