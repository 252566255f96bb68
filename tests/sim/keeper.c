/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - the keeper as it is (broker/keeper.c), over processes and signals that are made up.
 *
 *     sim_keeper [--steps N] [--seed FIRST] | sim_keeper --replay SEED
 *
 * A seed decides when a broker serves, dies, ends or hangs, which programs lie on disk, what the
 * operator asks for, and which call fails. What the broker itself does is sim.h's matter; here it
 * is a process that may do anything. Between two calls of the keeper's, anything may happen.
 *
 * What must hold:
 *
 *   at most one broker lives; only what exists is signalled or waited for, and a number that was
 *   reaped is another's;
 *   the keeper kills a broker to hand over to a program that can read the state, to end where all
 *   is stored, or if it never comes to serve; never otherwise;
 *   who has served well has a successor at once; who keeps dying, later and later, up to a second;
 *   every upgrade that was asked for is told the end of, once; what can't take over is refused, and
 *   what does not come to serve is rolled back;
 *   every reload and report that was asked for is written down, before the broker is told of it;
 *   left alone, somebody serves, by the program that was the last to prove itself, and nobody is
 *   left to be reaped; asked to end, it ends, and leaves no broker behind.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "haste.h"
#include "keeper.h"
#include "log.h"
#include "oom.h"
#include "watchdog.h"

#define MS             UINT64_C(1000000)
#define PROCESSES      32u
#define QUIET_NS       (40000 * MS) /* more than any limit of the keeper's */
#define SERVED_WELL_NS (100 * MS)   /* as keeper.c has them */
#define PAUSE_FIRST_NS (10 * MS)
#define PAUSE_LAST_NS  (1000 * MS)
#define KEEPER_PID     1
#define OLD_FD         9

enum life { NONE, ALIVE, ZOMBIE };
enum kind { BROKER, CHECKER };
/* What lies on disk, or runs. */
enum program { FINE, STILLBORN, UNREADABLE, NO_PROGRAM, PROGRAMS };

struct proc {
	enum life life;
	enum kind kind;
	pid_t pid;
	enum program program;
	uint64_t born_ns, served_ns;
	uint64_t pending; /* signals, a bit each */
	bool serves, hangs;
	int status;
};

static struct {
	uint64_t seed, dice, now_ns, steps, steps_max;
	struct proc processes[PROCESSES];
	pid_t last_pid;
	uint64_t pending; /* of the keeper's signals */
	struct state_live live;
	char words[STATE_WORDS_BYTES];
	struct state state;
	enum program runs, before, disk;
	bool stored, quiet, in_upgrade, may_become, may_kill, over, failed;
	unsigned asked;      /* upgrades that nobody was told the end of yet, at most */
	uint64_t told;       /* live.upgrades when last looked */
	uint64_t died_ns;    /* the last broker */
	uint64_t uptime_ns;  /* ... how long it had served; 0: not at all */
	unsigned dead_early; /* in a row that had not served well */
	unsigned dead_early_before;
	bool clone_failed;
	uint64_t reloads, reports; /* that the keeper was asked for */
	int stop;
	char why[200];
} w;

static jmp_buf become; /* execve(2): nothing of the program is left */
static jmp_buf failed; /* an invariant is broken */
static bool tracing;
static uint64_t births, upgrades[STATE_UPGRADE_ROLLED_BACK + 1];

static uint32_t draw(uint32_t n)
{
	uint64_t z = w.dice += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

static void trace(const char *what, long number)
{
	if (tracing)
		(void)printf(
			"%12llu us  %s %ld\n", (unsigned long long)(w.now_ns / 1000), what, number);
}

static _Noreturn void wrong(const char *what, long number)
{
	(void)snprintf(w.why, sizeof(w.why), "%s (%ld)", what, number);
	trace(w.why, number);
	w.failed = true;
	longjmp(failed, 1);
}

/* ---- processes ----------------------------------------------------------------------------- */

static struct proc *process_of(pid_t pid)
{
	for (unsigned n = 0; n < PROCESSES; n++)
		if (w.processes[n].life != NONE && w.processes[n].pid == pid)
			return &w.processes[n];
	return NULL;
}

static struct proc *broker(void)
{
	for (unsigned n = 0; n < PROCESSES; n++)
		if (w.processes[n].life == ALIVE && w.processes[n].kind == BROKER)
			return &w.processes[n];
	return NULL;
}

static void die(struct proc *p, int status)
{
	trace(p->kind == BROKER ? "broker dies" : "checker dies", p->pid);
	p->life = ZOMBIE;
	p->status = status;
	w.pending |= UINT64_C(1) << SIGCHLD;
	if (p->kind != BROKER) {
		w.may_become = status == W_EXITCODE(HANDOVER_CHECK_FINE, 0);
		return;
	}
	w.died_ns = w.now_ns;
	w.uptime_ns = p->serves ? w.now_ns - p->served_ns : 0;
	/* The keeper hears of both a little later. */
	w.dead_early_before = w.dead_early;
	w.dead_early = w.uptime_ns >= SERVED_WELL_NS / 2 ? 0 : w.dead_early + 1;
	w.clone_failed = false;
}

static pid_t make(enum kind kind)
{
	for (unsigned n = 0; n < PROCESSES; n++) {
		struct proc *p = &w.processes[n];

		if (p->life != NONE)
			continue;
		*p = (struct proc){
			.life = ALIVE,
			.kind = kind,
			.pid = ++w.last_pid,
			.program = kind == BROKER ? w.runs : w.disk,
			.born_ns = w.now_ns,
			.hangs = !w.quiet && draw(60) == 0,
		};
		trace(kind == BROKER ? "broker is born" : "checker is born", p->pid);
		return p->pid;
	}
	wrong("nobody reaps the dead", PROCESSES);
}

static void serve(struct proc *p)
{
	trace("broker serves", p->pid);
	p->serves = true;
	p->served_ns = w.now_ns;
	w.live.ready = w.live.births;
	w.pending |= UINT64_C(1) << SIGRTMIN;
}

static void step_of_broker(struct proc *p)
{
	bool stop = p->pending & (UINT64_C(1) << KEEPER_STOP | UINT64_C(1) << KEEPER_INTERRUPT);

	if (!w.quiet && draw(12) == 0)
		die(p, draw(4) ? W_EXITCODE(0, SIGKILL) : W_EXITCODE(0, SIGABRT));
	else if (!w.quiet && w.live.ready && draw(40) == 0)
		die(p, W_EXITCODE(draw(2) ? 1 : KEEPER_AGAIN, 0));
	else if (p->program == STILLBORN && draw(3) == 0)
		die(p, W_EXITCODE(0, SIGSEGV));
	else if (p->program == STILLBORN || p->hangs)
		return;
	else if (!p->serves && draw(3) == 0)
		serve(p);
	else if (p->serves && stop)
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

static void look_at_upgrades(void)
{
	uint64_t told = atomic_load(&w.live.upgrades);

	if (told == w.told)
		return;
	if (told - w.told > w.asked)
		wrong("an upgrade is told the end of that nobody asked for", (long)told);
	w.asked -= (unsigned)(told - w.told);
	w.told = told;
	upgrades[w.live.upgrade_result]++;
	trace("upgrade ends with", w.live.upgrade_result);
}

/* What is asked for is written down before anybody may die over it, or the keeper waits again. */
static void look_at_errands(void)
{
	if (atomic_load(&w.live.reload.asked) != w.reloads ||
		atomic_load(&w.live.report.asked) != w.reports)
		wrong("what was asked for is not written down", (long)(w.reloads + w.reports));
}

static void world_goes_on(void)
{
	w.steps++;
	w.now_ns += draw(3 * MS);
	look_at_upgrades();
	if (draw(3))
		somebody_goes();
	else if (!w.quiet && draw(30) == 0)
		operator_asks();
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
	uint64_t until = UINT64_MAX, quiet_until = w.now_ns + QUIET_NS;

	(void)info;
	look_at_errands();
	if (limit)
		until = w.now_ns + (uint64_t)limit->tv_sec * 1000 * MS + (uint64_t)limit->tv_nsec;
	for (;;) {
		int number = draw(4) ? take_signal(set) : 0;

		if (number)
			return number;
		if (w.now_ns >= until) {
			errno = EAGAIN;
			return -1;
		}
		if (w.quiet && !w.pending && !w.stop && broker() && broker()->serves &&
			w.now_ns > quiet_until) {
			w.over = true;
			longjmp(failed, 1);
		}
		world_goes_on();
		/* Nobody is there who could do anything. */
		if (!broker() && !w.pending && until != UINT64_MAX && draw(20) == 0)
			w.now_ns = until;
		if (w.quiet && w.steps > w.steps_max + 1000000)
			wrong("left alone, nobody ever serves", (long)w.live.births);
		if (!w.quiet && w.steps >= w.steps_max) {
			trace("all are left alone", 0);
			w.quiet = true;
			quiet_until = w.now_ns + QUIET_NS;
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

int __wrap_kill(pid_t pid, int number)
{
	struct proc *p = pid > 0 ? process_of(pid) : NULL;

	if (!p)
		wrong("somebody else is sent a signal", pid);
	trace("keeper signals", pid);
	look_at_errands();
	if (p->life == ZOMBIE)
		return 0;
	if (number == SIGKILL && p->kind == BROKER && !w.may_kill && !(w.stop && w.stored) &&
		(p->serves || w.now_ns - p->born_ns < 30000 * MS))
		wrong("a broker is killed that did no harm", pid);
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
	if (w.uptime_ns >= 2 * SERVED_WELL_NS && !w.clone_failed &&
		w.now_ns - w.died_ns > SERVED_WELL_NS)
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
	births++;
	w.in_upgrade = false;
	return make(BROKER);
}

pid_t __wrap_fork(void)
{
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

/* Its rules are tested elsewhere (tests/unit/test_watchdog.c); here there is none. */
void watchdog_begin(struct watchdog *watchdog, unsigned seconds, uint64_t now)
{
	(void)watchdog;
	(void)seconds;
	(void)now;
}

void watchdog_end(struct watchdog *watchdog)
{
	(void)watchdog;
}

void watchdog_look(struct watchdog *watchdog, struct state *state, pid_t broker, uint64_t now)
{
	(void)watchdog;
	(void)state;
	(void)broker;
	(void)now;
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
	k = (struct keeper){
		.state = &w.state,
		.child = no_child,
		.stored = w.stored,
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
	w.last_pid = 100;
	w.state = (struct state){.live = &w.live, .words = w.words, .fd = 5};
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
	(void)printf("# %llu worlds, %llu brokers; upgrades: %llu done, %llu refused, %llu failed, "
		     "%llu rolled back\n",
		(unsigned long long)worlds, (unsigned long long)births,
		(unsigned long long)upgrades[STATE_UPGRADE_DONE],
		(unsigned long long)upgrades[STATE_UPGRADE_REFUSED],
		(unsigned long long)upgrades[STATE_UPGRADE_FAILED],
		(unsigned long long)upgrades[STATE_UPGRADE_ROLLED_BACK]);
	(void)printf("ok %llu steps of the keeper from seed %llu on\n1 passed, 0 failed\n",
		(unsigned long long)done, (unsigned long long)first);
	return 0;
}
