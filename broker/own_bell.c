/* SPDX-License-Identifier: MIT */
/*
 * own_bell.c - the server's own doorbells: it is a peer too, and is rung.
 *
 * Vector v belongs to worker v modulo shards: the one that reads what rings it announces.
 * Where there is no inbox, modulo workers. Never touches sockets.
 *
 * A bell is emptied when its poll has completed, and only then do we look: whoever rings
 * after that rings anew.
 */
#include "own_bell.h"

#include <errno.h>
#include <poll.h>

static void arm(struct own_bell *bell);

static void on_rung(struct op *op, int res, uint32_t flags)
{
	struct own_bell *bell = container_of(op, struct own_bell, op);
	const struct worker_shared *shared = bell->worker->shared;

	(void)flags;
	if (res < 0 && res != -ENOMEM && res != -EINTR && res != -EAGAIN)
		return; /* nothing that a repetition mends */
	mail_ringing(bell->worker, bell->vector);
	/* None, if a peer was faster: then it was not for us. */
	bell->rung += bells_take(bells_fd(shared->bells, shared->server_id, bell->vector));
	mail_rung(bell->worker, bell->vector);
	arm(bell);
}

static void arm(struct own_bell *bell)
{
	const struct worker_shared *shared = bell->worker->shared;
	struct io_uring_sqe *sqe = ring_sqe(&bell->worker->ring);

	io_uring_prep_poll_add(
		sqe, bells_fd(shared->bells, shared->server_id, bell->vector), POLLIN);
	op_arm(&bell->op, sqe, on_rung);
}

/* Of how many workers that hear bells. */
static uint32_t hearers(const struct worker *w)
{
	return w->shared->mail->shards ? w->shared->mail->shards : w->shared->workers;
}

/* The first vector that this worker hears; beyond all of them if it hears none. */
static uint32_t first_vector(const struct worker *w)
{
	return w->nth < hearers(w) ? w->nth : w->shared->vectors;
}

void own_bells_arm(struct worker *w)
{
	if (!w->shared->own_bells)
		return;
	for (uint32_t v = first_vector(w); v < w->shared->vectors; v += hearers(w)) {
		struct own_bell *bell = &w->shared->own_bells[v];

		*bell = (struct own_bell){.worker = w, .vector = (uint16_t)v};
		arm(bell);
	}
}

void own_bells_report(const struct worker *w)
{
	if (!w->shared->own_bells)
		return;
	for (uint32_t v = first_vector(w); v < w->shared->vectors; v += hearers(w))
		w->shared->report->rung[v] = w->shared->own_bells[v].rung;
}
