/* SPDX-License-Identifier: MIT */
/*
 * run.c - a run, from its first join to its last leave, as one process sees it.
 *
 * The order of things: join, mesh, round trips beside bare eventfds, a full round of doorbells,
 * the scenario's doorbells, its messages. Measures nothing itself.
 */
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "famez/mailbox.h"
#include "rounds.h"
#include "server.h"
#include "trips.h"
#include "worker.h"

/* What kind of memory the server gives: the first VM's process looks. */
static int look_at_memory(struct worker *w)
{
	struct famez_geometry g = {0};
	size_t bytes = 0;
	void *memory = famez_memory(w->fleet.vms[0].famez, &bytes);

	w->board->has_mail = famez_geometry_read(&g, memory, bytes) == 0;
	w->board->lane_bytes = w->board->has_mail ? g.lane_bytes : 0;
	if (w->board->has_mail && g.server_id != FAMEZ_NOBODY)
		w->board->server_id = (int)g.server_id;
	if (w->options->with == WITH_MESSAGES && !w->board->has_mail)
		return verdict_give(&w->verdict, VERDICT_NOT_JOINED,
			"this server's memory has no lanes: --with bells");
	return 0;
}

int run_join(struct worker *w)
{
	const struct options *o = w->options;
	unsigned mine = board_share_of(w->board, w->process);
	struct fleet_config config = {
		.sockets = w->sockets,
		.sockets_count = w->sockets_count,
		.devices = o->devices,
		.process = w->process,
		.first = w->process,
		.vectors = o->vectors,
		.mail = options_mail(o),
		.patience_ns = worker_patience_ns(w),
	};

	/* With several processes each has its copies to check: see rounds.h. */
	if (!o->hold && !o->join_only && w->board->processes == 1 && mine > 1 && !o->devices)
		config.witnesses_max = mine > 2 ? 2 : 1;
	if (w->process == 0)
		atomic_store(&w->board->doing, "joining");
	if (fleet_init(&w->fleet, w->board, &config, &w->verdict))
		return -1;
	if (w->process == 0 && (fleet_join_first(&w->fleet, &w->progress) || look_at_memory(w)))
		return -1;
	if (worker_meet(w) || fleet_join_all(&w->fleet, &w->progress))
		return -1;
	fleet_join_times(&w->fleet, &w->mine->joined_ns, &w->mine->opened_ns);
	w->mine->mesh_notices = w->fleet.notices;
	w->mine->begun_ns = w->fleet.begun_ns;
	w->mine->last_notice_ns = w->fleet.last_notice_ns;
	if (worker_meet(w))
		return -1;
	if (w->process == 0) {
		w->board->others = w->fleet.others;
		w->board->descriptors_needed = w->fleet.descriptors_needed;
		atomic_store(&w->board->server_pid, (int)server_pid_of_our_socket(w->sockets[0]));
		atomic_store(&w->board->stage, BOARD_MESH);
	}
	return 0;
}

void run_leave(struct worker *w)
{
	progress_end(&w->progress);
	fleet_destroy(&w->fleet);
	atomic_store(&w->mine->joined, 0);
}

int run_bells(struct worker *w, int (*part)(struct worker *w))
{
	int err = bells_open(&w->bells, &w->fleet);

	if (!err)
		err = part(w);
	bells_close(&w->bells);
	return err || w->verdict.code ? -1 : 0;
}

/* From the next meeting on they take part: no process gets beyond it before we come to it. */
static void let_guests_in(struct worker *w, uint64_t run)
{
	struct board *b = w->board;

	b->guests.begun = w->step;
	b->guests.run = run;
	b->guests.series_first = 0;
	while (w->mine->series[b->guests.series_first].name[0])
		b->guests.series_first++;
	board_arrive(b, b->processes, w->step);
	atomic_store(&b->guests.letters, true);
}

int run_letters(struct worker *w, int (*part)(struct worker *w))
{
	const struct options *o = w->options;
	uint64_t run = o->seed ^ UINT64_C(0x73736572747a6566);
	size_t most;
	int err;

	if (w->process == 0 && w->board->guests.count)
		let_guests_in(w, run);
	err = letters_open(&w->letters, &w->fleet, run, o->peers + w->board->guests.count);

	if (!err) {
		most = letters_bytes_max(&w->letters);
		if (o->size)
			w->letters.bytes = o->size;
		if (o->size > most)
			err = verdict_give(&w->verdict, VERDICT_USAGE,
				"--size %u: this server's lanes take %zu at most", o->size, most);
	}
	if (!err)
		err = worker_meet(w); /* nobody writes to who is not there yet */
	if (!err)
		err = part(w);
	if (!err)
		err = worker_meet(w);
	letters_close(&w->letters);
	return err || w->verdict.code ? -1 : 0;
}

/* Stays until it is told to stop. Whoever rings us meanwhile may: nobody is accounting. */
static int hold(struct worker *w)
{
	if (w->process == 0)
		atomic_store(&w->board->holds, true);
	for (;;) {
		if (worker_look(w))
			return -1;
		if (fleet_turn(&w->fleet, 100000000))
			return -1;
	}
}

/* The doorbells' part, a full round first. */
static int bells_part(struct worker *w)
{
	const struct options *o = w->options;

	if (rounds_run(w) || worker_meet(w))
		return -1;
	if (w->process == 0)
		atomic_store(&w->board->stage, BOARD_ROUND);
	if (o->time_s > 0 && o->scenario->trips && trips_run(w))
		return -1;
	if (o->time_s > 0 && o->scenario->bells && o->with != WITH_MESSAGES)
		return o->scenario->bells(w);
	return 0;
}

static int strays(struct worker *w)
{
	if (w->fleet.strays == 0)
		return 0;
	return verdict_give(&w->verdict, VERDICT_LOST, "%llu rings arrived that nobody here sent%s",
		(unsigned long long)w->fleet.strays,
		w->board->others ? " (other peers are there, was it one of them?)" : "");
}

static int everything(struct worker *w)
{
	const struct options *o = w->options;

	if (run_join(w))
		return -1;
	if (o->hold)
		return hold(w);
	if (o->join_only)
		return 0;
	if (run_bells(w, bells_part))
		return -1;
	if (o->time_s > 0 && o->scenario->all && o->scenario->all(w))
		return -1;
	if (o->scenario->letters && options_mail(o) && w->board->has_mail &&
		run_letters(w, o->scenario->letters))
		return -1;
	/* What the server still had to say, a peer lost for instance, and rings nobody awaited. */
	if (fleet_turn(&w->fleet, 0) || strays(w))
		return -1;
	return worker_meet(w);
}

int worker_run(const struct options *options, struct board *board, unsigned process,
	const char *const *sockets, unsigned sockets_count)
{
	static struct worker w; /* of the one thread that runs this process */
	int err;

	/* ^C is for the parent, which tells us by the board. If it dies so do we. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	w = (struct worker){
		.options = options,
		.board = board,
		.mine = &board->process[process],
		.process = process,
		.sockets = sockets,
		.sockets_count = sockets_count,
		.bells = {.epoll = -1},
		.dice = {options->seed * UINT64_C(0x9e3779b97f4a7c15) + process},
	};
	progress_begin(&w.progress);
	err = everything(&w);
	if (w.verdict.code)
		board_judge(board, &w.verdict);
	run_leave(&w);
	return err ? 1 : 0;
}
