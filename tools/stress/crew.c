/* SPDX-License-Identifier: MIT */
/*
 * crew.c - the parent: starts the processes of a run, watches over them, shows how far they are.
 *
 * It has no VM and no eventfd, so whatever may hold up a process, a bell that somebody switched to
 * blocking for instance, the parent sees it and ends the run.
 */
#include "crew.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conductor.h"
#include "figures.h"
#include "progress.h"
#include "worker.h"

#define TICK_NS UINT64_C(20000000)

/* Ticks between two looks at the server. */
#define LOOK_TICKS 5u

/* A process that shows no life for so much longer than our patience hangs. */
#define HANGS_NS UINT64_C(10000000000)

/* After a stop, until those who don't end are killed; the conductor has guests to end. */
#define STOP_NS           UINT64_C(10000000000)
#define STOP_CONDUCTOR_NS UINT64_C(75000000000)

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

struct crew {
	const struct options *o;
	struct board *board;
	struct server *server;
	struct crew_watch *watch;
	struct verdict *verdict;
	pid_t pids[BOARD_PROCESSES_MAX + 1]; /* by place on the board */
	bool started;                        /* all but the conductor, which is first */
	unsigned alive;
	uint64_t stopped_ns; /* when the board was first seen to say stop; 0: it does not */
	struct progress progress;
	struct board_sums last;
	uint64_t last_ns, last_cpu_ns;
	bool said_holding;
	const struct report *report;
	int reported; /* enum board_stage */
};

static int start(struct crew *c, unsigned place)
{
	const char *const own[] = {c->server->socket};
	pid_t pid;

	atomic_store(&c->board->process[place].alive_ns, progress_now_ns());
	pid = fork();
	if (pid == 0) {
		int code;

		if (place == c->board->processes)
			code = conductor_run(c->o, c->board, c->server->socket);
		else if (c->o->sockets_count)
			code = worker_run(
				c->o, c->board, place, c->o->sockets, c->o->sockets_count);
		else
			code = worker_run(c->o, c->board, place, own, 1);
		_exit(code); /* stdio is the parent's */
	}
	if (pid < 0)
		return verdict_give(c->verdict, VERDICT_NOT_JOINED, "fork: %s", strerror(errno));
	c->pids[place] = pid;
	c->alive++;
	return 0;
}

/* Guests have to be there before the VMs are emulated. */
static void start_what_is_due(struct crew *c)
{
	int err = 0;

	if (c->started || board_stopped(c->board))
		return;
	if (c->board->guests.count && c->pids[c->board->processes] == 0) {
		err = start(c, c->board->processes);
	} else if (c->board->guests.count == 0 || atomic_load(&c->board->guests.up)) {
		c->started = true;
		progress_end(&c->progress);
		for (unsigned p = 0; p < c->board->processes && !err; p++)
			err = start(c, p);
	}
	if (err)
		atomic_store(&c->board->stop, true);
}

static void reap(struct crew *c)
{
	int status;

	for (unsigned p = 0; p < board_places(c->board); p++) {
		if (c->pids[p] == 0 || waitpid(c->pids[p], &status, WNOHANG) != c->pids[p])
			continue;
		c->pids[p] = 0;
		c->alive--;
		if (WIFSIGNALED(status) && !atomic_load(&c->board->judged))
			(void)verdict_give(c->verdict, VERDICT_LOST,
				"process %u of %u was ended by signal %d", p + 1,
				c->board->processes, WTERMSIG(status));
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			atomic_store(&c->board->stop, true);
	}
}

static void kill_all(struct crew *c, uint64_t stopped_ns)
{
	unsigned places =
		stopped_ns < STOP_CONDUCTOR_NS ? c->board->processes : board_places(c->board);

	for (unsigned p = 0; p < places; p++)
		if (c->pids[p])
			(void)kill(c->pids[p], SIGKILL); /* our own child, not yet reaped */
}

static void watch_for_hangs(struct crew *c)
{
	uint64_t now_ns = progress_now_ns();
	uint64_t most_ns = (uint64_t)(c->o->patience_s * 1e9) + HANGS_NS;

	if (board_stopped(c->board) && c->stopped_ns == 0)
		c->stopped_ns = now_ns;
	if (c->stopped_ns && now_ns - c->stopped_ns > STOP_NS)
		kill_all(c, now_ns - c->stopped_ns);
	for (unsigned p = 0; p < board_places(c->board) && !c->stopped_ns; p++) {
		uint64_t seen_ns = atomic_load(&c->board->process[p].alive_ns);

		bool ends = p == c->board->processes && atomic_load(&c->board->guests.end);

		if (c->pids[p] == 0 || ends || now_ns < seen_ns + most_ns)
			continue;
		(void)verdict_give(c->verdict, VERDICT_LOST,
			"process %u of %u hangs: it has shown no life for %g s", p + 1,
			c->board->processes, (double)(now_ns - seen_ns) / 1e9);
		atomic_store(&c->board->stop, true);
		kill_all(c, 0);
	}
}

static void look_at_server(struct crew *c)
{
	struct server_use use;

	if (c->server->watched == 0)
		c->server->watched = atomic_load(&c->board->server_pid);
	use = server_look(c->server);
	if (use.memory_bytes > c->watch->memory_max_bytes)
		c->watch->memory_max_bytes = use.memory_bytes;
	if (use.processes)
		c->watch->after = use;
	if (c->watch->seen_ns == 0 && board_sum(c->board).sent > 0) {
		c->watch->before = use;
		c->watch->seen_ns = progress_now_ns();
	}
}

/* p50 and p99 of what is measured now, from all processes' last snapshots. */
static void show_quantiles(struct crew *c, char *text, size_t bytes)
{
	static struct histogram all;

	text[0] = '\0';
	if (board_have_snapshots(c->board)) {
		histogram_init(&all);
		for (unsigned p = 0; p < c->board->processes; p++)
			histogram_merge(&all, &c->board->process[p].snapshot);
		if (all.count)
			(void)snprintf(text, bytes, ", p50 %s p99 %s",
				figures_duration(histogram_quantile(&all, 0.5)).s,
				figures_duration(histogram_quantile(&all, 0.99)).s);
	}
	board_want_snapshots(c->board);
}

static void show(struct crew *c)
{
	struct board_sums s = board_sum(c->board);
	uint64_t now_ns = progress_now_ns();
	double seconds = (double)(now_ns - c->last_ns) / 1e9;
	const char *doing = atomic_load(&c->board->doing);
	const struct server_use *use = &c->watch->after;
	char quantiles[96], server[48] = "";

	if (use->processes && c->last_cpu_ns)
		(void)snprintf(server, sizeof(server), ", broker %.0f %% %.1f MiB",
			100.0 * (double)(use->cpu_ns - c->last_cpu_ns) / (seconds * 1e9),
			(double)use->memory_bytes / 1048576);
	show_quantiles(c, quantiles, sizeof(quantiles));
	/* Joins have a line of their own: fleet_join.c. */
	if (doing && strcmp(doing, "booting") == 0)
		progress_show(&c->progress, "booting real VMs: %u of %u up", s.joined,
			c->board->guests.count);
	else if (doing && strcmp(doing, "joining") != 0)
		progress_show(&c->progress, "%s: %u up, %s/s%s%s", doing, s.joined,
			figures_grouped((uint64_t)((double)(s.heard - c->last.heard) / seconds)).s,
			quantiles, server);
	c->last = s;
	c->last_ns = now_ns;
	c->last_cpu_ns = use->cpu_ns;
}

/* What is complete is printed at once. */
static void report_stages(struct crew *c)
{
	int stage = atomic_load(&c->board->stage);

	if (c->o->hold || stage == c->reported)
		return;
	progress_end(&c->progress);
	if (c->reported < BOARD_MESH)
		report_mesh(c->report);
	if (stage >= BOARD_ROUND)
		report_round(c->report);
	c->reported = stage;
}

static void listen_to_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL); /* cannot fail: valid signals, valid action */
	(void)sigaction(SIGTERM, &action, NULL);
}

int crew_run(const struct options *o, struct board *board, struct server *server,
	struct crew_watch *watch, const struct report *report, struct verdict *verdict)
{
	const struct timespec tick = {0, TICK_NS};
	struct crew c = {.o = o,
		.board = board,
		.server = server,
		.watch = watch,
		.verdict = verdict,
		.report = report,
		.last_ns = progress_now_ns()};

	unsigned ticks = 0;

	*watch = (struct crew_watch){0};
	listen_to_signals();
	progress_begin(&c.progress);
	start_what_is_due(&c);
	while (c.alive > 0) {
		(void)nanosleep(
			&tick, NULL); /* a signal ends it early, and that is what it is for */
		if (ended)
			atomic_store(&board->stop, true);
		reap(&c);
		start_what_is_due(&c);
		if (c.started && c.alive == (c.pids[board->processes] != 0))
			atomic_store(&board->guests.end, true);
		watch_for_hangs(&c);
		if (!c.said_holding && atomic_load(&board->holds)) {
			c.said_holding = true;
			printf("holding %u peers\n", board->peers);
			(void)fflush(stdout);
		}
		report_stages(&c);
		if (++ticks % LOOK_TICKS == 0)
			look_at_server(&c);
		if (progress_due(&c.progress))
			show(&c);
	}
	report_stages(&c);
	look_at_server(&c);
	if (watch->seen_ns)
		watch->seen_ns = progress_now_ns() - watch->seen_ns;
	progress_end(&c.progress);
	if (atomic_load(&board->told))
		(void)verdict_give(verdict, board->verdict.code, "%s", board->verdict.why);
	if (ended && !o->hold)
		(void)verdict_give(verdict, VERDICT_LOST, "ended by a signal");
	return verdict->code ? -1 : 0;
}
