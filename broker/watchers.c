/* SPDX-License-Identifier: MIT */
/*
 * watchers.c - who wants to be told of joins and leaves by a ring, and is rung.
 *
 * Never waits for one, whatever its owner has made of its doorbell.
 */
#include "watchers.h"

#include <errno.h>

#include "refusal.h"
#include "sys.h"

/* Rings of one turn: half of what the ring holds, so that the completion queue has room. */
#define WATCHERS_BATCH REFUSALS_MAX

/* Threads of the kernel's that wait in doorbells which were made to block, and are full. */
#define WATCHERS_THREADS 8u

static void ring_one(struct watchers *w, struct watcher *one);

static void on_rung(struct op *op, int res, uint32_t flags)
{
	struct watcher *one = container_of(op, struct watcher, ring);

	(void)res; /* an eventfd that can't be rung is its owner's loss */
	(void)flags;
	if (!one->again)
		return;
	one->again = false;
	ring_one(one->watchers, one);
}

/* By the ring, since a peer may have made its eventfd blocking, and full: then the kernel
 * waits, not we, and only this one is not rung any more. */
static void ring_one(struct watchers *w, struct watcher *one)
{
	static const uint64_t count = 1;
	const struct famez_geometry *g = &w->mailbox->g;
	uint32_t id = (uint32_t)(one - w->all) + w->first_id;
	uint32_t vector = g->server_id == FAMEZ_NOBODY ? 0 : famez_vector_of(g, g->server_id);
	struct io_uring_sqe *sqe;

	if (one->ring.in_kernel) {
		/* It may have woken the peer already, which then missed what came since. */
		one->again = true;
		return;
	}
	one->watchers = w;
	sqe = ring_sqe(w->ring);
	io_uring_prep_write(
		sqe, bells_fd(w->bells, id, (uint16_t)vector), &count, sizeof(count), 0);
	op_arm(&one->ring, sqe, on_rung);
}

int watchers_init(struct watchers *w, struct io_uring *ring, const struct bells *bells,
	const struct mailbox *mailbox, uint32_t first_id, uint32_t peers)
{
	*w = (struct watchers){
		.ring = ring,
		.bells = bells,
		.mailbox = mailbox,
		.first_id = first_id,
		.peers = peers,
		.all = sys_calloc(peers, sizeof(*w->all)),
	};
	return w->all ? 0 : -ENOMEM;
}

void watchers_destroy(struct watchers *w)
{
	free(w->all);
}

void watchers_limit(struct watchers *w)
{
	(void)io_uring_register_iowq_max_workers(w->ring, (unsigned[]){0, WATCHERS_THREADS});
}

/* Who is not reached in this turn is in one of the next; a change meanwhile begins another round.
 */
void watchers_ring(struct watchers *w)
{
	unsigned rung = 0;

	if (w->changed && w->mailbox->layout == LAYOUT_LANES)
		w->left = w->peers;
	w->changed = false;
	for (; w->left && rung < WATCHERS_BATCH; w->left--) {
		uint32_t at = w->next;

		w->next = at + 1 < w->peers ? at + 1 : 0;
		if (!mailbox_watches(w->mailbox, at + w->first_id))
			continue;
		ring_one(w, &w->all[at]);
		rung++;
	}
}
