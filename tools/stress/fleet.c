/* SPDX-License-Identifier: MIT */
/*
 * fleet.c - the emulated VMs of one process, each a peer of the same fabric.
 *
 * Owns the handles, their common store of eventfds, and one epoll over all of
 * them. How they join is in fleet_join.c. Knows nothing of rounds, latency or tables.
 */
#include "fleet.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

/* Events of one VM in a row; a VM with a long backlog must not keep the others waiting. */
#define EVENTS_A_VM 512u

#define READY_MAX 256

int fleet_init(struct fleet *fleet, struct board *board, const struct fleet_config *config,
	struct verdict *verdict)
{
	int err;

	*fleet = (struct fleet){.config = *config, .board = board, .epoll = -1, .verdict = verdict};
	fleet->mine = board_share_of(board, config->process);
	assert(config->witnesses_max <= 2 && config->witnesses_max < fleet->mine + 1);
	fleet->vms = calloc(fleet->mine, sizeof(*fleet->vms));
	fleet->more = calloc(fleet->mine, sizeof(*fleet->more));
	fleet->told = calloc(FLEET_PEERS_MAX, sizeof(*fleet->told));
	fleet->vectors_of = calloc(FLEET_PEERS_MAX, sizeof(*fleet->vectors_of));
	if (!fleet->vms || !fleet->more || !fleet->told || !fleet->vectors_of) {
		err = ENOMEM;
		goto undo;
	}
	for (unsigned k = 0; k < fleet->mine; k++)
		fleet->vms[k].id = FLEET_NOBODY;
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
	for (unsigned k = fleet->vms ? fleet->started : 0; k-- > 0;) {
		struct fleet_vm *v = &fleet->vms[k];

		if (v->id != FLEET_NOBODY) {
			atomic_store(&fleet->board->vm_of_id[v->id], BOARD_NOBODY);
			atomic_store(&fleet->board->ids[fleet_number(fleet, k)], BOARD_NOBODY);
		}
		famez_leave(v->famez);
	}
	if (fleet->epoll >= 0)
		(void)close(fleet->epoll); /* nothing was written through it */
	famez_bells_close(fleet->bells);
	free(fleet->vectors_of);
	free(fleet->told);
	free(fleet->more);
	free(fleet->vms);
	*fleet = (struct fleet){.epoll = -1};
}

bool fleet_stalled(const struct fleet *fleet)
{
	return progress_now_ns() - fleet->last_event_ns > fleet->config.patience_ns;
}

/* The error of a join or of a handle, as a verdict. */
int fleet_failed(struct fleet *fleet, unsigned vm, int err)
{
	unsigned nth = vm + 1, of = fleet->board->peers;
	bool joined = fleet_vm(fleet, vm)->id != FLEET_NOBODY;

	if (err == -EMFILE || err == -ENFILE)
		return verdict_give(fleet->verdict, VERDICT_DESCRIPTORS,
			"VM %u of %u ran out of descriptors (computed %" PRIu64 ", allowed %" PRIu64
			"): more peers came meanwhile; raise `ulimit -n`",
			nth, of, fleet->descriptors_needed, fleet->descriptors_allowed);
	if (joined)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"VM %u of %u (peer %d) got nonsense from the server: %s", nth, of,
			fleet_vm(fleet, vm)->id, strerror(-err));
	if (err == -EACCES)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"the server refused VM %u of %u (is it full? its log says why)", nth, of);
	if (err == -ENOENT || err == -ECONNREFUSED)
		return verdict_give(fleet->verdict, VERDICT_NOT_JOINED,
			"no server at %s: %s (start one: famez-server -S %s)",
			fleet_socket(fleet, vm), strerror(-err), fleet_socket(fleet, vm));
	return verdict_give(fleet->verdict, VERDICT_NOT_JOINED, "VM %u of %u cannot join at %s: %s",
		nth, of, fleet_socket(fleet, vm), strerror(-err));
}

/* The run's VM that has this ID, or BOARD_NOBODY. */
static int vm_of(const struct fleet *fleet, uint16_t id)
{
	return atomic_load_explicit(&fleet->board->vm_of_id[id], memory_order_acquire);
}

static int on_joined(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	struct board *board = fleet->board;
	struct board_process *mine = &board->process[fleet->config.process];
	struct fleet_vm *v = fleet_vm(fleet, vm);
	int32_t before = BOARD_NOBODY;

	if (!atomic_compare_exchange_strong(&board->vm_of_id[event->peer], &before, (int32_t)vm))
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"the server gave ID %u to two VMs, %d and %u", event->peer, before + 1,
			vm + 1);
	v->id = event->peer;
	v->joined_ns = progress_now_ns();
	atomic_store(&board->ids[vm], event->peer);
	fleet->joined++;
	atomic_store(&mine->joined, fleet->joined);
	fleet->moved = true;
	return 0;
}

static int on_vector(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	struct fleet_vm *v = fleet_vm(fleet, vm);
	bool ours = vm_of(fleet, event->peer) != BOARD_NOBODY;

	if (ours && fleet->complete)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"peer %d was told vector %u of peer %u after the mesh of %u x %u looked "
			"complete",
			v->id, event->vector, event->peer, fleet->board->peers, fleet->vectors);
	/* A stranger who comes and goes for ever must not keep us waiting for ever. */
	if (ours || (!fleet->complete && board_sum(fleet->board).joined < fleet->board->peers))
		fleet->moved = true;
	fleet->notices++;
	fleet->told[event->peer]++;
	if (event->vector >= fleet->vectors_of[event->peer])
		fleet->vectors_of[event->peer] = (uint16_t)(event->vector + 1);
	if (event->peer == v->id)
		v->opened_ns = progress_now_ns();
	return 0;
}

static int on_left(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	/* Before the mesh is complete it may be the leave of an ID's owner before us. */
	if (!fleet->complete || vm_of(fleet, event->peer) == BOARD_NOBODY)
		return 0;
	return verdict_give(fleet->verdict, VERDICT_LOST,
		"peer %d was told that peer %u has left, which is still here",
		fleet_vm(fleet, vm)->id, event->peer);
}

void fleet_stray(struct fleet *fleet, uint64_t count)
{
	if (fleet->config.devices)
		return; /* interrupts coalesce, and the driver has rings of its own */
	fleet->strays += count;
	atomic_store(&fleet->board->process[fleet->config.process].strays, fleet->strays);
}

static void on_doorbell(struct fleet *fleet, unsigned vm, const struct famez_event *event)
{
	uint64_t awaited = 0;

	if (fleet->on_doorbell)
		awaited = fleet->on_doorbell(fleet->context, vm, event->vector, event->count);
	fleet->moved |= awaited > 0;
	if (event->count > awaited)
		fleet_stray(fleet, event->count - awaited);
}

/* To be pumped once more by the next turn. */
static void fleet_go_on(struct fleet *fleet, unsigned vm)
{
	for (unsigned k = 0; k < fleet->unfinished; k++)
		if (fleet->more[k] == vm)
			return;
	fleet->more[fleet->unfinished++] = vm;
}

int fleet_pump(struct fleet *fleet, unsigned vm)
{
	struct famez_event event;
	int err = 0;

	for (unsigned n = 0; n < EVENTS_A_VM && err == 0; n++) {
		int got = famez_next(fleet_vm(fleet, vm)->famez, &event);

		if (got < 0)
			return fleet_failed(fleet, vm, got);
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
				fleet_vm(fleet, vm)->id);
			break;
		case FAMEZ_EVENT_MESSAGE:
		case FAMEZ_EVENT_ROOM:
			fleet->moved = true;
			err = fleet->on_mail ? fleet->on_mail(fleet->context, vm,
						       event.kind == FAMEZ_EVENT_MESSAGE)
					     : 0;
			if (err || fleet->on_mail)
				break;
			return 0; /* nobody takes it: it would come for ever */
		case FAMEZ_EVENT_GARBLED:
			err = verdict_give(fleet->verdict, VERDICT_LOST,
				"the lane from peer %u to peer %d made no sense", event.peer,
				fleet_vm(fleet, vm)->id);
			break;
		default: /* who comes and goes, of the directory: nobody asked for it */
			break;
		}
	}
	/* With a mailbox the descriptor tells nothing before we were told that there is none. */
	if (!err && fleet->on_mail)
		fleet_go_on(fleet, vm);
	return err;
}

int fleet_turn(struct fleet *fleet, int64_t timeout_ns)
{
	struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
	struct epoll_event ready[READY_MAX];
	int n;

	unsigned again = fleet->unfinished;

	fleet->moved = false;
	fleet->unfinished = 0;
	/* Fills up again from the front, never beyond where we read. */
	for (unsigned k = 0; k < again; k++)
		if (!fleet_vm(fleet, fleet->more[k])->deaf && fleet_pump(fleet, fleet->more[k]))
			return -1;
	if (fleet->unfinished)
		timeout = (struct timespec){0};
	n = epoll_pwait2(fleet->epoll, ready, READY_MAX, &timeout, NULL);
	if (n < 0)
		return errno == EINTR ? 0
				      : verdict_give(fleet->verdict, VERDICT_LOST,
						"epoll_pwait2: %s", strerror(errno));
	for (int i = 0; i < n; i++)
		if (fleet_pump(fleet, ready[i].data.u32))
			return -1;
	/* One look at the clock for all of them: a few ms late, for a patience of seconds. */
	if (fleet->moved) {
		struct board_process *mine = &fleet->board->process[fleet->config.process];

		fleet->last_event_ns = progress_now_ns();
		if (!fleet->complete)
			fleet->last_notice_ns = fleet->last_event_ns;
		atomic_store_explicit(&mine->notices, fleet->notices, memory_order_relaxed);
	}
	return 0;
}

int fleet_watch(struct fleet *fleet, unsigned vm)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = vm};

	return epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, famez_fd(fleet_vm(fleet, vm)->famez), &event)
		       ? fleet_failed(fleet, vm, -errno)
		       : 0;
}

static void unwatch(struct fleet *fleet, unsigned vm)
{
	/* It is in there. */
	(void)epoll_ctl(fleet->epoll, EPOLL_CTL_DEL, famez_fd(fleet_vm(fleet, vm)->famez), NULL);
}

int fleet_apart(struct fleet *fleet, bool apart)
{
	if (fleet->apart == apart)
		return 0;
	fleet->apart = apart;
	for (unsigned k = 0; k < fleet->joined; k++) {
		unsigned vm = fleet_number(fleet, k);
		int err = famez_listen(fleet->vms[k].famez, !apart);

		if (err)
			return fleet_failed(fleet, vm, err);
		if (fleet->vms[k].deaf)
			continue;
		if (apart)
			unwatch(fleet, vm);
		else if (fleet_watch(fleet, vm))
			return -1;
	}
	return 0;
}

int fleet_glance(struct fleet *fleet, unsigned count)
{
	for (; count > 0; count--) {
		fleet->looked_at = fleet->looked_at + 1 < fleet->joined ? fleet->looked_at + 1 : 0;
		if (!fleet->vms[fleet->looked_at].deaf &&
			fleet_pump(fleet, fleet_number(fleet, fleet->looked_at)))
			return -1;
	}
	return 0;
}

int fleet_deafen(struct fleet *fleet, unsigned vm, bool deaf)
{
	struct fleet_vm *v = fleet_vm(fleet, vm);

	if (v->deaf == deaf)
		return 0;
	v->deaf = deaf;
	if (fleet->apart)
		return 0;
	if (!deaf)
		return fleet_watch(fleet, vm);
	unwatch(fleet, vm);
	return 0;
}

int fleet_bell(const struct fleet *fleet, unsigned vm, unsigned vector)
{
	/* Asked of our second VM, which is no witness: witnesses are the first and the third or
	 * later. */
	const struct fleet_vm *asked = &fleet->vms[fleet->mine > 1];

	return famez_bell_fd(asked->famez, (uint16_t)board_id(fleet->board, vm), (uint16_t)vector);
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
