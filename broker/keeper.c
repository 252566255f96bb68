/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - the process that was started: it holds everything, and keeps a broker alive.
 *
 * Reads of what a broker wrote `ready`, its last words, and its answers (watchdog.h). Never looks
 * at a peer.
 */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "handover.h"
#include "haste.h"
#include "log.h"
#include "oom.h"
#include "sys.h"
#include "watchdog.h"

#define MS UINT64_C(1000000)

/* One that has served for so long has earned a successor at once; otherwise the next one waits,
 * twice as long each time. */
#define SERVED_WELL_NS (100 * MS)
#define PAUSE_FIRST_NS (10 * MS)
#define PAUSE_LAST_NS  (1000 * MS)

/* So many in a row that never came to serve: then it won't get better by itself. */
#define STILLBORN_MAX       5u
#define STILLBORN_PROBATION 3u

/* How long a broker may take until it serves: much more than any needs. And a new program until
 * it has looked at the state. */
#define BEGIN_LIMIT_NS (30000 * MS)
#define CHECK_LIMIT_NS (2000 * MS)

/* What has ended is reaped so long after its successor was started. */
#define REAP_AFTER_NS (500 * MS)

struct keeping {
	struct keeper *k;
	sigset_t signals;
	pid_t broker;  /* 0: none */
	pid_t checker; /* a new program that looks at the state; 0: none */
	uint64_t begun_ns;
	uint64_t served_ns;   /* since when this one serves; 0: not yet */
	uint64_t due_ns;      /* when the next one is to be started, while there is none */
	uint64_t serve_by_ns; /* when it must serve; 0: it need not, or was killed over it */
	uint64_t check_by_ns; /* when the checker must be through; 0: it was killed over it */
	uint64_t reap_ns;     /* when we look who has ended; 0: at the next signal */
	uint64_t pause_ns;
	struct watchdog watchdog;
	unsigned stillborn; /* in a row */
	unsigned restarts;
	int stop; /* the signal that ends us; 0: none yet */
	int code; /* our exit code; -1: we go on */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Has anybody ever been served? Before that a broker that ends has said why. */
static bool in_use(const struct keeping *s)
{
	return s->k->state->live->ready != 0;
}

/* ---- the broker's birth ------------------------------------------------------------------- */

/* Before all others, as long as we are this program. */
static void go_ahead(void)
{
	oom_keep();
	haste_keep();
}

static void be_as_before(void)
{
	oom_as_before();
	haste_as_before();
}

static _Noreturn void be_broker(const struct keeper *k, pid_t keeper)
{
	/* Who is served ends with the keeper: nobody would hold what this one opens. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(EXIT_FAILURE);
	oom_serve();
	exit(k->child(k->argument));
}

static void tell_to_stop(const struct keeping *s)
{
	(void)kill(s->broker, s->stop == SIGINT ? KEEPER_INTERRUPT : KEEPER_STOP);
}

static void begin(struct keeping *s)
{
	struct state_live *live = s->k->state->live;
	pid_t us = getpid(), pid;

	s->due_ns = 0;
	s->begun_ns = now_ns();
	s->served_ns = 0;
	live->births++;
	pid = sys_clone_with_files();
	if (pid == 0)
		be_broker(s->k, us);
	if (pid < 0) {
		log_event(failed, LOG_TEXT("what", "start the broker"),
			LOG_TEXT("error", strerror(-pid)));
		if (!in_use(s))
			(void)fprintf(stderr, "famez-server: the broker does not start: %s\n",
				strerror(-pid));
		if (!in_use(s) || s->stop)
			s->code = EXIT_FAILURE;
		else
			s->due_ns = s->begun_ns + PAUSE_LAST_NS;
		return;
	}
	s->broker = pid;
	s->serve_by_ns = in_use(s) ? s->begun_ns + BEGIN_LIMIT_NS : 0;
	/* It is blocked there, too, and waits. */
	if (s->stop)
		tell_to_stop(s);
}

static void begin_if_due(struct keeping *s)
{
	if (!s->broker && s->due_ns && now_ns() >= s->due_ns)
		begin(s);
}

/* ---- its death ---------------------------------------------------------------------------- */

static void log_death(struct keeping *s, int status)
{
	char *words = s->k->state->words;
	bool killed = WIFSIGNALED(status);
	const char *name = killed ? sigabbrev_np(WTERMSIG(status)) : NULL;

	words[STATE_WORDS_BYTES - 1] = '\0';
	log_event(died, LOG_NUMBER("broker", (uint32_t)s->broker),
		killed ? LOG_TEXT("signal", name ? name : "?")
		       : LOG_NUMBER("code", (uint32_t)WEXITSTATUS(status)),
		LOG_TEXT("served", s->served_ns ? "yes" : "no"),
		LOG_NUMBER("uptime_ms", (now_ns() - s->begun_ns) / MS),
		LOG_NUMBER("restarts", s->restarts), LOG_TEXT("words", words));
	words[0] = '\0';
}

static void schedule_next(struct keeping *s)
{
	uint64_t now = now_ns();

	if (s->served_ns && now - s->served_ns >= SERVED_WELL_NS)
		s->pause_ns = 0;
	s->due_ns = now + s->pause_ns;
	s->pause_ns = s->pause_ns ? 2 * s->pause_ns : PAUSE_FIRST_NS;
	if (s->pause_ns > PAUSE_LAST_NS)
		s->pause_ns = PAUSE_LAST_NS;
}

static void on_serving(struct keeping *s);

static void on_death(struct keeping *s, int status)
{
	bool again = WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_AGAIN && in_use(s);
	bool asked = s->stop && WIFEXITED(status) && !again;
	bool stored = s->stop && s->k->stored;

	if (stored || asked || (!in_use(s) && WIFEXITED(status))) {
		s->broker = 0;
		s->code = stored ? EXIT_SUCCESS : WEXITSTATUS(status);
		return;
	}
	on_serving(s); /* it may have said so just before */
	watchdog_end(&s->watchdog);
	if (again) {
		s->k->state->live->reread = 1;
		s->broker = 0;
		schedule_next(s);
		return;
	}
	log_death(s, status);
	s->broker = 0;
	s->restarts++;
	s->stillborn = s->served_ns ? 0 : s->stillborn + 1;
	if (s->stop || (!in_use(s) && s->stillborn >= STILLBORN_MAX)) {
		s->code = EXIT_FAILURE;
		return;
	}
	if (s->k->handed.old.fd >= 0 && s->stillborn >= STILLBORN_PROBATION) {
		be_as_before();
		handover_back(&s->k->handed, s->k->argv, "its broker does not come to serve");
		go_ahead();
	}
	schedule_next(s);
}

/* ---- upgrade ------------------------------------------------------------------------------ */

static void upgrade_over(const struct keeper *k, enum state_upgrade result, const char *reason)
{
	struct state_live *live = k->state->live;

	(void)snprintf(live->upgrade_reason, sizeof(live->upgrade_reason), "%s", reason);
	live->upgrade_result = result;
	/* Whoever waits for the number then finds the result. */
	(void)atomic_fetch_add_explicit(&live->upgrades, 1, memory_order_release);
}

static void refuse_upgrade(const struct keeper *k, const char *reason, int code)
{
	log_event(upgrade, LOG_TEXT("result", "refused"), LOG_TEXT("reason", reason),
		LOG_TEXT("program", k->path ? k->path : "?"), LOG_NUMBER("code", (uint32_t)code));
	upgrade_over(k, STATE_UPGRADE_REFUSED, reason);
}

/* Before anybody notices anything. */
static void begin_check(struct keeping *s)
{
	int pid;

	if (s->checker || s->stop)
		return;
	if (!s->k->path || s->k->handed.old.fd >= 0) {
		refuse_upgrade(s->k,
			s->k->path ? "another one is under way"
				   : "where the program is, is unknown",
			0);
		return;
	}
	pid = sys_fork();
	if (pid == 0) {
		haste_as_before();
		handover_check(s->k->path, s->k->argv, s->k->state->fd);
	}
	if (pid < 0) {
		refuse_upgrade(s->k, strerror(-pid), 0);
		return;
	}
	s->checker = pid;
	s->check_by_ns = now_ns() + CHECK_LIMIT_NS;
}

static void hand_over(struct keeping *s)
{
	const struct keeper *k = s->k;
	struct handover_file ourselves;
	int err = handover_open(&ourselves);

	if (err) {
		refuse_upgrade(k, strerror(-err), 0);
		return;
	}
	/* It is made for that; a gentler end would be one more path to go wrong. */
	if (s->broker) {
		(void)kill(s->broker, SIGKILL);
		while (waitpid(s->broker, NULL, 0) < 0 && errno == EINTR)
			;
		s->broker = 0;
		watchdog_end(&s->watchdog);
	}
	log_event(upgrade, LOG_TEXT("result", "begins"), LOG_TEXT("program", k->path));
	k->state->live->exe_fd = ourselves.fd;
	be_as_before();
	err = handover_to(k->path, k->argv, k->state->fd, &ourselves, k->descriptors_end);
	k->state->live->exe_fd = -1;
	(void)close(ourselves.fd);
	log_event(upgrade, LOG_TEXT("result", "failed"), LOG_TEXT("error", strerror(-err)));
	upgrade_over(k, STATE_UPGRADE_FAILED, strerror(-err));
	go_ahead();
	begin(s);
}

static void on_checked(struct keeping *s, int status)
{
	s->checker = 0;
	if (s->stop)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == HANDOVER_CHECK_FINE)
		hand_over(s);
	else
		refuse_upgrade(s->k, "the new program can't take over",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* The new program has proved itself. */
static void end_probation(struct keeping *s)
{
	s->k->state->live->exe_fd = -1;
	(void)close(s->k->handed.old.fd);
	s->k->handed.old.fd = -1;
	log_event(upgrade, LOG_TEXT("result", "done"), LOG_TEXT("version", FAMEZ_VERSION));
	upgrade_over(s->k, STATE_UPGRADE_DONE, "");
}

/* ---- what comes in ------------------------------------------------------------------------ */

static void on_serving(struct keeping *s)
{
	const struct state_live *live = s->k->state->live;

	/* Anybody of our user may send the signal. */
	if (!s->broker || s->served_ns || live->ready != live->births)
		return;
	s->served_ns = now_ns();
	if (!s->stop)
		watchdog_begin(&s->watchdog, s->k->watchdog_s, s->served_ns);
	if (s->k->ready)
		s->k->ready(s->k->argument);
	s->k->ready = NULL;
	if (s->k->handed.old.fd >= 0)
		end_probation(s);
}

/* What ends is looked at before it is reaped: all of its threads are gone by then, and what they
 * had in the kernel. Reaping a broker takes the kernel milliseconds where somebody has looked at
 * its descriptors in /proc, so that waits until its successor should serve. */
static void on_ended(struct keeping *s)
{
	siginfo_t ended = {0};

	s->reap_ns = 0;
	while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid) {
		pid_t pid = ended.si_pid;
		int status = ended.si_code == CLD_EXITED ? W_EXITCODE(ended.si_status, 0)
							 : W_EXITCODE(0, ended.si_status);

		ended.si_pid = 0;
		if (pid == s->broker) {
			on_death(s, status);
			begin_if_due(s);
			if (s->broker) {
				s->reap_ns = s->begun_ns + REAP_AFTER_NS;
				return;
			}
		}
		(void)waitpid(pid, NULL, 0);
		if (pid == s->checker)
			on_checked(s, status);
	}
}

static void on_stop(struct keeping *s, int number)
{
	s->stop = number;
	watchdog_end(&s->watchdog);
	if (s->k->stored)
		log_event(stored, LOG_TEXT("signal", number == SIGINT ? "SIGINT" : "SIGTERM"));
	if (s->broker && s->k->stored)
		(void)kill(s->broker, SIGKILL);
	else if (s->broker)
		tell_to_stop(s);
	else if (s->k->stored)
		s->code = EXIT_SUCCESS;
	else
		s->due_ns = now_ns(); /* who waits to be accepted is turned away by a broker */
}

/* Written down first: the broker may be dead, and we have not heard of it; or die over it. */
static void pass_on(const struct keeping *s, int number, struct errand *errand)
{
	errand_ask(errand);
	if (s->broker)
		(void)kill(s->broker, number);
}

static void on_signal(struct keeping *s, int number)
{
	if (number == SIGTERM || number == SIGINT)
		on_stop(s, number);
	else if (number == SIGHUP)
		pass_on(s, number, &s->k->state->live->reload);
	else if (number == SIGUSR1)
		pass_on(s, number, &s->k->state->live->report);
	else if (number == SIGUSR2)
		begin_check(s);
	else if (number == SIGCHLD)
		on_ended(s);
	else if (number == SIGRTMIN)
		on_serving(s);
}

/* When something is to be looked at even if no signal comes; 0: never. */
static uint64_t next_look(const struct keeping *s)
{
	uint64_t next = 0;
	uint64_t times[] = {
		s->broker ? 0 : s->due_ns,
		s->broker && !s->served_ns ? s->serve_by_ns : 0,
		s->checker ? s->check_by_ns : 0,
		s->reap_ns,
		s->watchdog.next_ns,
	};

	for (unsigned i = 0; i < sizeof(times) / sizeof(*times); i++)
		if (times[i] && (!next || times[i] < next))
			next = times[i];
	return next;
}

/* Who has a limit and is beyond it. Once is enough: both are heard of again by SIGCHLD. */
static void kill_late(struct keeping *s, uint64_t now)
{
	if (s->broker && s->serve_by_ns && now >= s->serve_by_ns) {
		s->serve_by_ns = 0;
		on_serving(s); /* it may have said so while we slept */
		if (!s->served_ns)
			(void)kill(s->broker, SIGKILL);
	}
	if (s->checker && s->check_by_ns && now >= s->check_by_ns) {
		s->check_by_ns = 0;
		(void)kill(s->checker, SIGKILL);
	}
}

static void look(struct keeping *s)
{
	uint64_t now = now_ns();

	begin_if_due(s);
	if (s->reap_ns && now >= s->reap_ns)
		on_ended(s);
	if (s->broker)
		watchdog_look(&s->watchdog, s->k->state, s->broker, now);
	kill_late(s, now);
}

void keeper_signals(sigset_t *set)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};

	(void)sigemptyset(set);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		(void)sigaddset(set, numbers[i]);
	(void)sigaddset(set, SIGRTMIN);
	(void)sigaddset(set, KEEPER_STOP);
	(void)sigaddset(set, KEEPER_INTERRUPT);
	(void)sigaddset(set, KEEPER_ASK);
}

int keeper_run(struct keeper *k)
{
	/* What the program before us left unreaped is reaped first of all. */
	struct keeping s = {.k = k, .code = -1, .reap_ns = 1};

	keeper_signals(&s.signals);
	/* An earlier program may have ignored it, and then nothing is heard of. */
	(void)sigaction(SIGCHLD,
		&(struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP}, NULL);
	if (k->handed.back) {
		k->state->live->exe_fd = -1;
		log_event(upgrade, LOG_TEXT("result", "rolled-back"),
			LOG_TEXT("reason", k->handed.back));
		upgrade_over(k, STATE_UPGRADE_ROLLED_BACK, k->handed.back);
	}
	go_ahead();
	begin(&s);
	while (s.code < 0) {
		uint64_t next = next_look(&s), now = now_ns();
		uint64_t wait = next > now ? next - now : 0;
		const struct timespec limit = {
			.tv_sec = (time_t)(wait / (1000 * MS)),
			.tv_nsec = (long)(wait % (1000 * MS)),
		};
		int number = sigtimedwait(&s.signals, NULL, next ? &limit : NULL);

		if (number > 0)
			on_signal(&s, number);
		if (s.code < 0) /* or a broker that is due would be left behind */
			look(&s);
	}
	if (s.checker)
		(void)kill(s.checker, SIGKILL);
	return s.code;
}
