/* SPDX-License-Identifier: MIT */
/*
 * fleet.c - N emulated VMs in one process, each a peer of the same fabric.
 *
 * Owns the handles, their common store of eventfds, and one epoll over all of
 * them. Knows nothing of rounds, latency or tables.
 *
 * How a storm ends. The protocol has no "that was all": a VM can't see that the
 * vector it was just told was a peer's last one. But all VMs are ours. So we
 * count what was told, and once the numbers could add up we ask every handle
 * about every VM: as soon as all of them know the same number of vectors of
 * everyone, and for SETTLE_NS nothing more has come, the mesh is complete. Were
 * that ever wrong (everyone is still short of the same vectors), the vectors
 * that come late end the run with a verdict: it can't pass unseen.
 */
#include "fleet.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "limits.h"

#define MS_NS     UINT64_C(1000000)
#define SETTLE_NS (50 * MS_NS)

/* Connects in a row before we look at what has come; more would only fill the server's queue. */
#define STARTS_A_TURN 32u

/* Events of one VM in a row; a VM with a long backlog must not keep the others waiting. */
#define EVENTS_A_VM 512u

#define READY_MAX 256

int fleet_init(struct fleet *fleet, const struct fleet_config *config, struct verdict *verdict)
{
	int err;

	assert(config->peers >= 1 && config->peers <= FLEET_PEERS_MAX);
	assert(config->witnesses_max <= 2 && config->witnesses_max < config->peers);
	*fleet = (struct fleet){.config = *config, .epoll = -1, .verdict = verdict};
	fleet->vms = calloc(config->peers, sizeof(*fleet->vms));
	fleet->vm_of_id = malloc(FLEET_PEERS_MAX * sizeof(*fleet->vm_of_id));
	fleet->told = calloc(FLEET_PEERS_MAX, sizeof(*fleet->told));
	fleet->vectors_of = calloc(FLEET_PEERS_MAX, sizeof(*fleet->vectors_of));
	if (!fleet->vms || !fleet->vm_of_id || !fleet->told || !fleet->vectors_of) {
		err = ENOMEM;
		goto undo;
	}
	for (unsigned i = 0; i < FLEET_PEERS_MAX; i++)
		fleet->vm_of_id[i] = FLEET_NOBODY;
	for (unsigned i = 0; i < config->peers; i++)
		fleet->vms[i].id = FLEET_NOBODY;
	err = -famez_bells_open(&fleet->bells);
	if (err)
		goto undo;
	fleet->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (fleet->epoll < 0) {
		err = errno;
		goto undo;
	}
	return 0;

undo:
	fleet_destroy(fleet);
	return verdict_give(verdict, VERDICT_LOST, "cannot start: %s", strerror(err));
}

void fleet_destroy(struct fleet *fleet)
{
	if (fleet->vms)
		for (unsigned i = fleet->started; i-- > 0;)
			famez_leave(fleet->vms[i].famez);
	if (fleet->epoll >= 0)
		(void)close(fleet->epoll); /* nothing was written through it */
	famez_bells_close(fleet->bells);
	free(fleet->vectors_of);
	free(fleet->told);
	free(fleet->vm_of_id);
	free(fleet->vms);
	*fleet = (struct fleet){.epoll = -1};
}

bool fleet_stalled(const struct fleet *fleet)
{
	return progress_now_ns() - fleet->last_event_ns > fleet->config.patience_ns;
}

static double patience_s(const struct fleet *fleet)
{
	return (double)fleet->config.patience_ns / 1e9;
}

/* The error of a join or of a handle, as a verdict. */
static int failed(struct fleet *fleet, unsigned vm, int err)
{
	unsigned nth = vm + 1, of = fleet->config.peers;
	bool joined = fleet->vms[vm].id != FLEET_NOBODY;

	if (err == -EMFILE || err == -ENFILE)
		return verdict_give(fleet->verdict, VERDICT_DESCRIPTORS,
			"VM %u of %u ran out of descriptors (computed %" PRIu64 ", allowed %" PRIu64
			"): more peers came meanwhile; raise `ulimit -n`",
			nth, of, fleet->descriptors_needed, fleet->descriptors_allowed);
	if (joined)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"VM %u of %u (peer %d) got nonsense from the server: %s", nth, of,
			fleet->vms[vm].id, strerror(-err));
	if (err == -EACCES)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"the server refused VM %u of %u (is it full? its log says why)", nth, of);
	if (err == -ENOENT || err == -ECONNREFUSED)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"no server at %s: %s (start one: famez-server -S %s)", fleet->config.socket,
			strerror(-err), fleet->config.socket);
	return verdict_give(fleet->verdict, VERDICT_NOT_JOINED, "VM %u of %u cannot join at %s: %s",
		nth, of, fleet->config.socket, strerror(-err));
}

static int on_joined(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	struct fleet_vm *v = &fleet->vms[vm];

	if (fleet->vm_of_id[event->peer] != FLEET_NOBODY)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"the server gave ID %u to two VMs, %d and %u", event->peer,
			fleet->vm_of_id[event->peer] + 1, vm + 1);
	v->id = event->peer;
	v->joined_ns = progress_now_ns();
	fleet->vm_of_id[event->peer] = (int32_t)vm;
	fleet->joined++;
	fleet->moved = true;
	return 0;
}

static int on_vector(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	bool ours = fleet->vm_of_id[event->peer] != FLEET_NOBODY;

	if (ours && fleet->complete)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"peer %d was told vector %u of peer %u after the mesh of %u x %u looked "
			"complete",
			fleet->vms[vm].id, event->vector, event->peer, fleet->config.peers,
			fleet->vectors);
	/* A stranger who comes and goes for ever must not keep us waiting for ever. */
	if (ours || fleet->joined < fleet->started)
		fleet->moved = true;
	fleet->notices++;
	fleet->told[event->peer]++;
	if (event->vector >= fleet->vectors_of[event->peer])
		fleet->vectors_of[event->peer] = (uint16_t)(event->vector + 1);
	if (event->peer == fleet->vms[vm].id)
		fleet->vms[vm].opened_ns = progress_now_ns();
	return 0;
}

static int on_left(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	/* Before the mesh is complete it may be the leave of an ID's owner before us. */
	if (!fleet->complete || fleet->vm_of_id[event->peer] == FLEET_NOBODY)
		return 0;
	return verdict_give(fleet->verdict, VERDICT_LOST,
		"peer %d was told that peer %u has left, which is still here", fleet->vms[vm].id,
		event->peer);
}

static void on_doorbell(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	uint64_t awaited = 0;

	if (fleet->on_doorbell)
		awaited = fleet->on_doorbell(
			fleet->on_doorbell_context, vm, event->vector, event->count);
	fleet->moved |= awaited > 0;
	fleet->strays += event->count - awaited;
}

static int pump(struct fleet *fleet, unsigned vm)
{
	struct famez_event event;
	int err = 0;

	for (unsigned n = 0; n < EVENTS_A_VM && err == 0; n++) {
		int got = famez_next(fleet->vms[vm].famez, &event);

		if (got < 0)
			return failed(fleet, vm, got);
		if (got == 0)
			return 0;
		switch (event.kind) {
		case FAMEZ_EVENT_JOINED:
			err = on_joined(fleet, vm, &event);
			break;
		case FAMEZ_EVENT_VECTOR:
			err = on_vector(fleet, vm, &event);
			break;
		case FAMEZ_EVENT_LEFT:
			err = on_left(fleet, vm, &event);
			break;
		case FAMEZ_EVENT_DOORBELL:
			on_doorbell(fleet, vm, &event);
			break;
		case FAMEZ_EVENT_LOST:
			err = verdict_give(fleet->verdict, VERDICT_LOST,
				"the server is gone: it closed the connection of peer %d",
				fleet->vms[vm].id);
			break;
		default: /* only who has opened the mailbox is told more */
			break;
		}
	}
	return err;
}

int fleet_turn(struct fleet *fleet, int timeout_ms)
{
	struct epoll_event ready[READY_MAX];
	int n;

	fleet->moved = false;
	n = epoll_wait(fleet->epoll, ready, READY_MAX, timeout_ms);
	if (n < 0)
		return errno == EINTR ? 0
				      : verdict_give(fleet->verdict, VERDICT_LOST, "epoll_wait: %s",
						strerror(errno));
	for (int i = 0; i < n; i++)
		if (pump(fleet, ready[i].data.u32))
			return -1;
	/* One look at the clock for all of them: a few ms late, for a patience of seconds. */
	if (fleet->moved) {
		fleet->last_event_ns = progress_now_ns();
		if (!fleet->complete)
			fleet->last_notice_ns = fleet->last_event_ns;
	}
	return 0;
}

/* Returns 0, -EAGAIN (later), or -1 with the verdict filled in. */
static int start(struct fleet *fleet, unsigned vm)
{
	struct famez_join how = {.socket = fleet->config.socket};
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = vm};
	struct fleet_vm *v = &fleet->vms[vm];
	int err;

	v->witness = (vm == 0 && fleet->config.witnesses_max > 0) ||
		     (vm + 1 == fleet->config.peers && fleet->witnesses > 1);
	how.bells = v->witness ? NULL : fleet->bells;
	v->started_ns = progress_now_ns();
	err = famez_join_start(&v->famez, &how);
	if (err == -EAGAIN)
		return err;
	if (err)
		return failed(fleet, vm, err);
	fleet->started++;
	fleet->last_event_ns = v->started_ns;
	if (epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, famez_fd(v->famez), &event))
		return failed(fleet, vm, -errno);
	return 0;
}

/* How far it has come, and what is missing, of one VM's knowledge of another. */
struct gap {
	uint64_t missing; /* vectors, of all VMs of all VMs */
	unsigned who, whom;
	unsigned knows; /* so many, of whom, who */
};

static void look_for_gaps(const struct fleet *fleet, struct gap *gap)
{
	*gap = (struct gap){0};
	for (unsigned i = 0; i < fleet->joined; i++) {
		for (unsigned j = 0; j < fleet->joined; j++) {
			unsigned knows =
				famez_vectors(fleet->vms[i].famez, (uint16_t)fleet->vms[j].id);

			if (knows >= fleet->vectors)
				continue;
			if (gap->missing == 0)
				*gap = (struct gap){0, i, j, knows};
			gap->missing += fleet->vectors - knows;
		}
	}
}

/* The most vectors that anybody was told of one of us: what each of us must have. */
static unsigned vectors_seen(const struct fleet *fleet)
{
	unsigned most = 0;

	for (unsigned i = 0; i < fleet->started; i++) {
		int id = fleet->vms[i].id;

		if (id != FLEET_NOBODY && fleet->vectors_of[id] > most)
			most = fleet->vectors_of[id];
	}
	return most;
}

static uint64_t told_of_us(const struct fleet *fleet)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < fleet->started; i++)
		if (fleet->vms[i].id != FLEET_NOBODY)
			sum += fleet->told[fleet->vms[i].id];
	return sum;
}

/* 0 while it is not, 1 once it is, -1 with the verdict filled in. */
static int mesh_is_complete(struct fleet *fleet)
{
	uint64_t n = fleet->started;
	struct gap gap;

	if (fleet->joined < fleet->started)
		return 0;
	fleet->vectors = vectors_seen(fleet);
	if (fleet->config.vectors && fleet->vectors > fleet->config.vectors)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"the server gives %u vectors or more, --vectors asks for %u",
			fleet->vectors, fleet->config.vectors);
	if (fleet->config.vectors)
		fleet->vectors = fleet->config.vectors;
	if (fleet->vectors == 0 || told_of_us(fleet) < n * n * fleet->vectors)
		return 0;
	if (progress_now_ns() - fleet->last_notice_ns < SETTLE_NS)
		return 0;
	look_for_gaps(fleet, &gap);
	return gap.missing == 0;
}

static int stalled_in_join(struct fleet *fleet, unsigned peers)
{
	struct gap gap;

	if (fleet->joined == fleet->started && fleet->started < peers)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"%u of %u VMs are in, and for %g s the server took no more connections",
			fleet->joined, fleet->config.peers, patience_s(fleet));
	if (fleet->joined < fleet->started)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"%u of %u VMs are in, then nothing came for %g s", fleet->joined,
			fleet->config.peers, patience_s(fleet));
	if (fleet->vectors == 0)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"joined, but no vector was told for %g s", patience_s(fleet));
	look_for_gaps(fleet, &gap);
	return verdict_give(fleet->verdict, VERDICT_LOST,
		"the mesh is incomplete: %" PRIu64 " of %" PRIu64
		" vectors were never told, then nothing came for %g s (first: peer %d knows %u of "
		"the %u vectors of peer %d)",
		gap.missing, (uint64_t)fleet->joined * fleet->joined * fleet->vectors,
		patience_s(fleet), fleet->vms[gap.who].id, gap.knows, fleet->vectors,
		fleet->vms[gap.whom].id);
}

/* Starts VMs until `peers` of them are started, and waits until those know each other. */
static int join_up_to(struct fleet *fleet, unsigned peers, struct progress *progress)
{
	fleet->last_event_ns = fleet->last_notice_ns = progress_now_ns();
	for (;;) {
		uint64_t goal = (uint64_t)peers * peers * fleet->vectors;
		int err = 0, done;

		for (unsigned n = 0; n < STARTS_A_TURN && fleet->started < peers && !err; n++)
			err = start(fleet, fleet->started);
		if (err == -1)
			return -1;
		/* Nothing tells us when the server's queue has room again: look every ms. */
		if (fleet_turn(fleet, fleet->started == peers ? 10 : err ? 1 : 0))
			return -1;
		if (fleet->started == peers) {
			done = mesh_is_complete(fleet);
			if (done)
				return done < 0 ? -1 : 0;
		}
		if (fleet_stalled(fleet))
			return stalled_in_join(fleet, peers);
		if (progress_due(progress)) {
			uint64_t now_ns = progress_now_ns();
			double s = (double)(now_ns - fleet->begun_ns) / 1e9;

			progress_show(progress,
				"joining: %u of %u VMs up, %.0f %% of the mesh, %.0f notices/s",
				fleet->joined, fleet->config.peers,
				goal ? 100.0 * (double)told_of_us(fleet) / (double)goal : 0.0,
				s > 0 ? (double)fleet->notices / s : 0.0);
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
	for (unsigned i = 0; i < fleet->joined; i++) {
		const struct fleet_vm *v = &fleet->vms[i];

		for (unsigned j = 0; j < fleet->joined && !v->witness; j++) {
			uint16_t id = (uint16_t)fleet->vms[j].id;

			if (famez_bell_fd(v->famez, id, 0) != fleet_bell(fleet, j, 0))
				return verdict_give(fleet->verdict, VERDICT_LOST,
					"peer %d was sent other eventfds of peer %u than peer %d",
					v->id, id, fleet->vms[1].id);
		}
	}
	return 0;
}

/* Counts who is there besides us, as the first VM sees it. */
static uint64_t count_others(struct fleet *fleet)
{
	const struct famez *f = fleet->vms[0].famez;
	uint64_t vectors = 0;

	fleet->others = 0;
	for (int id = famez_peer_after(f, -1); id >= 0; id = famez_peer_after(f, id)) {
		if (fleet->vm_of_id[id] != FLEET_NOBODY)
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
		.peers = fleet->config.peers,
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

int fleet_join(struct fleet *fleet, struct progress *progress)
{
	progress_begin(progress);
	fleet->vectors = fleet->config.vectors;
	if (fleet->vectors == 0)
		(void)limits_raise(0); /* the first VM will tell how many we need */
	else if (budget(fleet, 0))
		return -1;
	fleet->begun_ns = progress_now_ns();
	if (join_up_to(fleet, 1, progress))
		return -1;
	if (budget(fleet, count_others(fleet)))
		return -1;
	if (fleet->config.peers > 1) {
		fleet->begun_ns = progress_now_ns();
		fleet->notices = 0;
		if (join_up_to(fleet, fleet->config.peers, progress))
			return -1;
	}
	fleet->complete = true;
	(void)count_others(fleet);
	progress_end(progress);
	return all_were_sent_the_same(fleet);
}

int fleet_bell(const struct fleet *fleet, unsigned vm, unsigned vector)
{
	/* Asked of the second VM, which is no witness: witnesses are the first and the third or
	 * later. */
	const struct fleet_vm *asked = &fleet->vms[fleet->config.peers > 1];

	return famez_bell_fd(asked->famez, (uint16_t)fleet->vms[vm].id, (uint16_t)vector);
}

void fleet_join_times(const struct fleet *fleet, struct histogram *joined, struct histogram *opened)
{
	for (unsigned i = 0; i < fleet->joined; i++) {
		const struct fleet_vm *v = &fleet->vms[i];

		histogram_record(joined, v->joined_ns - v->started_ns);
		if (v->opened_ns)
			histogram_record(opened, v->opened_ns - v->started_ns);
	}
}
