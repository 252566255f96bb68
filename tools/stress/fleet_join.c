/* SPDX-License-Identifier: MIT */
/*
 * fleet_join.c - a process's VMs join, and learn of everybody.
 *
 * How a storm ends. The protocol has no "that was all": a VM can't see that the
 * vector it was just told was a peer's last one. But all VMs are the run's. So we
 * count what was told, and once the numbers could add up we ask every handle of ours
 * about every VM: as soon as all of them know the same number of vectors of
 * everyone, and for SETTLE_NS nothing more has come, the mesh is complete. Were
 * that ever wrong (everyone is still short of the same vectors), the vectors
 * that come late end the run with a verdict: it can't pass unseen.
 */
#include "fleet.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "limits.h"

#define MS_NS     INT64_C(1000000)
#define SETTLE_NS (50 * MS_NS)

/* Connects in a row before we look at what has come; more would only fill the server's queue. */
#define STARTS_A_TURN 32u

static double patience_s(const struct fleet *fleet)
{
	return (double)fleet->config.patience_ns / 1e9;
}

/* Returns 0, -EAGAIN (later), or -1 with the verdict filled in. */
static int start(struct fleet *fleet, unsigned vm)
{
	struct famez_join how = {.socket = fleet_socket(fleet, vm)};
	struct fleet_vm *v = fleet_vm(fleet, vm);
	bool first = v == fleet->vms, last = v + 1 == fleet->vms + fleet->mine;
	int err;

	v->witness = (first && fleet->config.witnesses_max > 0) || (last && fleet->witnesses > 1);
	how.bells = v->witness ? NULL : fleet->bells;
	v->started_ns = progress_now_ns();
	err = famez_join_start(&v->famez, &how);
	if (err == -EAGAIN)
		return err;
	if (err)
		return fleet_failed(fleet, vm, err);
	fleet->started++;
	fleet->last_event_ns = v->started_ns;
	return fleet_watch(fleet, vm);
}

/* How far it has come, and what is missing, of one VM's knowledge of another. */
struct gap {
	uint64_t missing; /* vectors, of all VMs of all VMs */
	int who, whom;    /* IDs */
	unsigned knows;   /* so many, of whom, who */
};

/* Among the first `known` VMs of the run, as far as they have joined; once these are all, the
 * server's, too, if it is a peer. */
static void look_for_gaps(const struct fleet *fleet, unsigned known, struct gap *gap)
{
	*gap = (struct gap){0};
	if (known == fleet->board->peers)
		known = board_known(fleet->board);
	for (unsigned k = 0; k < fleet->joined; k++) {
		for (unsigned j = 0; j < known; j++) {
			int id = board_known_id(fleet->board, j);
			unsigned knows;

			if (id == BOARD_NOBODY)
				continue;
			knows = famez_vectors(fleet->vms[k].famez, (uint16_t)id);
			if (knows >= fleet->vectors)
				continue;
			if (gap->missing == 0)
				*gap = (struct gap){0, fleet->vms[k].id, id, knows};
			gap->missing += fleet->vectors - knows;
		}
	}
}

/* The most vectors that anybody was told of one of the run's VMs: what each of them must have. */
static unsigned vectors_seen(const struct fleet *fleet, unsigned known)
{
	unsigned most = 0;

	for (unsigned j = 0; j < known; j++) {
		int id = board_id(fleet->board, j);

		if (id != BOARD_NOBODY && fleet->vectors_of[id] > most)
			most = fleet->vectors_of[id];
	}
	return most;
}

static uint64_t told_of_us(const struct fleet *fleet, unsigned known)
{
	uint64_t sum = 0;

	for (unsigned j = 0; j < known; j++) {
		int id = board_id(fleet->board, j);

		if (id != BOARD_NOBODY)
			sum += fleet->told[id];
	}
	return sum;
}

/* Of whomever a vector more was told than everybody has, that was told twice. */
static int nobody_has_more(struct fleet *fleet)
{
	for (unsigned k = 0; k < fleet->joined; k++) {
		const struct famez *f = fleet->vms[k].famez;

		for (int id = famez_peer_after(f, -1); id >= 0; id = famez_peer_after(f, id))
			if (famez_vectors(f, (uint16_t)id) > fleet->vectors)
				return verdict_give(fleet->verdict, VERDICT_LOST,
					"peer %d was told %u vectors of peer %d, where everybody "
					"has %u: told twice?",
					fleet->vms[k].id, famez_vectors(f, (uint16_t)id), id,
					fleet->vectors);
	}
	return 0;
}

/* 0 while it is not, 1 once it is, -1 with the verdict filled in. */
static int mesh_is_complete(struct fleet *fleet, unsigned known)
{
	struct gap gap;

	if (fleet->joined < fleet->started)
		return 0;
	fleet->vectors = vectors_seen(fleet, known);
	if (fleet->config.vectors && fleet->vectors > fleet->config.vectors)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"the server gives %u vectors or more, --vectors asks for %u",
			fleet->vectors, fleet->config.vectors);
	if (fleet->config.vectors)
		fleet->vectors = fleet->config.vectors;
	if (fleet->vectors == 0 ||
		told_of_us(fleet, known) < (uint64_t)fleet->started * known * fleet->vectors)
		return 0;
	if (progress_now_ns() - fleet->last_notice_ns < SETTLE_NS)
		return 0;
	if (known > 1 && board_sum(fleet->board).joined < known)
		return 0;
	look_for_gaps(fleet, known, &gap);
	return gap.missing ? 0 : nobody_has_more(fleet) ? -1 : 1;
}

static int stalled_in_join(struct fleet *fleet, unsigned known)
{
	unsigned joined = board_sum(fleet->board).joined;
	struct gap gap;

	if (fleet->joined == fleet->started && fleet->started < fleet->mine && known > 1)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"%u of %u VMs are in, and for %g s the server took no more connections",
			joined, fleet->board->peers, patience_s(fleet));
	if (fleet->joined < fleet->started || joined < known)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"%u of %u VMs are in, then nothing came for %g s", joined,
			fleet->board->peers, patience_s(fleet));
	if (fleet->vectors == 0)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"joined, but no vector was told for %g s", patience_s(fleet));
	look_for_gaps(fleet, known, &gap);
	return verdict_give(fleet->verdict, VERDICT_LOST,
		"the mesh is incomplete: %" PRIu64 " of %" PRIu64
		" vectors were never told, then nothing came for %g s (first: peer %d knows %u of "
		"the %u vectors of peer %d)",
		gap.missing, (uint64_t)fleet->joined * known * fleet->vectors, patience_s(fleet),
		gap.who, gap.knows, fleet->vectors, gap.whom);
}

/* Starts VMs until `count` of ours are started, and waits until those know the first `known`
 * of the run. */
static int join_up_to(
	struct fleet *fleet, unsigned count, unsigned known, struct progress *progress)
{
	struct board_process *mine = &fleet->board->process[fleet->config.process];

	fleet->last_event_ns = fleet->last_notice_ns = progress_now_ns();
	for (;;) {
		uint64_t goal = (uint64_t)count * known * fleet->vectors;
		int err = 0, done;

		atomic_store_explicit(&mine->alive_ns, progress_now_ns(), memory_order_relaxed);
		if (board_stopped(fleet->board))
			return -1;
		for (unsigned n = 0; n < STARTS_A_TURN && fleet->started < count && !err; n++)
			err = start(fleet, fleet_number(fleet, fleet->started));
		if (err == -1)
			return -1;
		/* Nothing tells us when the server's queue has room again: look every ms. */
		if (fleet_turn(fleet, fleet->started == count ? 10 * MS_NS : err ? MS_NS : 0))
			return -1;
		if (fleet->started == count) {
			done = mesh_is_complete(fleet, known);
			if (done)
				return done < 0 ? -1 : 0;
		}
		if (fleet_stalled(fleet))
			return stalled_in_join(fleet, known);
		if (fleet->config.process == 0 && progress_due(progress)) {
			uint64_t now_ns = progress_now_ns();
			double s = (double)(now_ns - fleet->begun_ns) / 1e9;
			struct board_sums sums = board_sum(fleet->board);

			progress_show(progress,
				"joining: %u of %u VMs up, %.0f %% of the mesh, %.0f notices/s",
				sums.joined, fleet->board->peers,
				goal ? 100.0 * (double)told_of_us(fleet, known) / (double)goal
				     : 0.0,
				s > 0 ? (double)sums.notices / s : 0.0);
		}
	}
}

/*
 * The common store compares every eventfd that arrives, and keeps a peer's
 * eventfds a second time, all of them, for somebody who was sent another one for
 * any vector. So where all were sent the same, the first vector tells.
 */
static int all_were_sent_the_same(struct fleet *fleet)
{
	const struct board *board = fleet->board;

	for (unsigned k = 0; k < fleet->joined; k++) {
		const struct fleet_vm *v = &fleet->vms[k];

		for (unsigned j = 0;
			j < board_known(board) && !v->witness && !fleet->config.devices; j++) {
			uint16_t id = (uint16_t)board_known_id(board, j);

			if (famez_bell_fd(v->famez, id, 0) !=
				famez_bell_fd(fleet->vms[fleet->mine > 1].famez, id, 0))
				return verdict_give(fleet->verdict, VERDICT_LOST,
					"peer %d was sent other eventfds of peer %u than peer %d",
					v->id, id, fleet->vms[1].id);
		}
	}
	return 0;
}

/* Counts who is there besides the run's VMs, as our first VM sees it. */
static uint64_t count_others(struct fleet *fleet)
{
	const struct famez *f = fleet->vms[0].famez;
	uint64_t vectors = 0;

	fleet->others = 0;
	for (int id = famez_peer_after(f, -1); id >= 0; id = famez_peer_after(f, id)) {
		if (atomic_load(&fleet->board->vm_of_id[id]) != BOARD_NOBODY)
			continue;
		fleet->others++;
		vectors += famez_vectors(f, (uint16_t)id);
	}
	return vectors;
}

/* Room for all? Fewer witnesses than asked for, if need be; none at all is not enough. */
static int budget(struct fleet *fleet, uint64_t other_vectors)
{
	struct limits_need need = {
		.peers = fleet->board->peers,
		.processes = fleet->board->processes,
		.mail = fleet->config.mail,
		.vectors = fleet->vectors,
		.other_vectors = other_vectors,
		.copies = 1 + fleet->config.witnesses_max,
	};

	fleet->descriptors_needed = limits_descriptors(&need);
	fleet->descriptors_allowed = limits_raise(fleet->descriptors_needed);
	while (need.copies > 2 && fleet->descriptors_needed > fleet->descriptors_allowed) {
		need.copies--;
		fleet->descriptors_needed = limits_descriptors(&need);
	}
	if (fleet->descriptors_needed > fleet->descriptors_allowed)
		return limits_explain(&need, fleet->descriptors_allowed, fleet->verdict);
	fleet->witnesses = (unsigned)need.copies - 1;
	return 0;
}

int fleet_join_first(struct fleet *fleet, struct progress *progress)
{
	struct board *board = fleet->board;

	progress_begin(progress);
	fleet->vectors = fleet->config.vectors;
	if (fleet->vectors == 0)
		(void)limits_raise(0); /* the first VM will tell how many we need */
	else if (budget(fleet, 0))
		return -1;
	fleet->begun_ns = progress_now_ns();
	if (join_up_to(fleet, 1, 1, progress))
		return -1;
	board->other_vectors = count_others(fleet);
	board->vectors = fleet->vectors;
	if (fleet->vectors > board->vectors_max)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"the server gives %u vectors, more than the protocol has", fleet->vectors);
	return 0;
}

int fleet_join_all(struct fleet *fleet, struct progress *progress)
{
	struct board *board = fleet->board;

	fleet->vectors = board->vectors;
	if (budget(fleet, board->other_vectors))
		return -1;
	fleet->begun_ns = progress_now_ns();
	fleet->notices = 0;
	if (join_up_to(fleet, fleet->mine, board->peers, progress))
		return -1;
	fleet->complete = true;
	(void)count_others(fleet);
	progress_end(progress);
	return all_were_sent_the_same(fleet);
}
