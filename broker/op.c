/* SPDX-License-Identifier: MIT */
/*
 * op.c - the io_uring under registrar and workers: set-up and the turn.
 *
 * Knows no operation; each brings its own handler.
 */
#include "op.h"

#include <assert.h>
#include <errno.h>

#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(io_uring_enter));

/* All that our rings are ever asked for. Whoever takes this process over can't have them open a
 * file or connect to somebody, which a filter of system calls (sandbox.c) would not see. */
static const uint8_t operations[] = {
	IORING_OP_ASYNC_CANCEL,
	IORING_OP_POLL_ADD,
	IORING_OP_READ,
	IORING_OP_RECV,
	IORING_OP_TIMEOUT,
	IORING_OP_WRITE,
};

#define OPERATIONS (sizeof(operations) / sizeof(*operations))

/* A ring takes restrictions while it is not enabled yet (io_uring_register(2), 5.10). */
static int restrict_and_enable(struct io_uring *ring)
{
	struct io_uring_restriction allowed[OPERATIONS + 1] = {0};
	int err;

	for (unsigned i = 0; i < OPERATIONS; i++) {
		allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[i].sqe_op = operations[i];
	}
	/* And no flag of a submission, as none is named. */
	allowed[OPERATIONS].opcode = IORING_RESTRICTION_REGISTER_OP;
	allowed[OPERATIONS].register_op = IORING_REGISTER_IOWQ_MAX_WORKERS;
	/* Plainly: liburing 2.3 forgot to export its functions for these two. */
	err = io_uring_register(
		(unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed, OPERATIONS + 1);
	if (err < 0)
		return err;
	err = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return err < 0 ? err : 0;
}

int ring_init(struct io_uring *ring, unsigned sends, unsigned completions)
{
	static const unsigned wishes[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int err = -EINVAL;

	for (unsigned i = 0; i < sizeof(wishes) / sizeof(*wishes) && err == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = wishes[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
				 IORING_SETUP_R_DISABLED,
			.cq_entries = completions,
		};

		err = sys_uring_init(ring, sends, &params);
		/* A completion may be late, never lost (NODROP: 5.5). With kernels before 5.17
		 * (CQE_SKIP) nobody has tried us. */
		if (!err && !(params.features & IORING_FEAT_CQE_SKIP)) {
			io_uring_queue_exit(ring);
			return -ENOSYS;
		}
	}
	if (err)
		return err;
	err = restrict_and_enable(ring);
	if (err)
		io_uring_queue_exit(ring);
	return err;
}

void ring_destroy(struct io_uring *ring)
{
	io_uring_queue_exit(ring);
}

struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
	while (io_uring_sq_space_left(ring) == 0) {
		int res = io_uring_submit(ring);

		/* The kernel is short of memory or has a full completion queue:
		 * both pass without our help. */
		assert(res >= 0 || res == -EAGAIN || res == -EBUSY || res == -EINTR);
	}
	return io_uring_get_sqe(ring);
}

/* Completions taken out of the queue at once. */
#define TURN_COMPLETIONS 64
#define TURN_ROUNDS      64

int ring_turn(struct io_uring *ring, unsigned wait)
{
	struct io_uring_cqe *ready[TURN_COMPLETIONS], done[TURN_COMPLETIONS];
	unsigned count, rounds = 0;
	int res =
		wait ? io_uring_submit_and_wait(ring, wait) : io_uring_submit_and_get_events(ring);

	if (res < 0 && res != -EINTR && res != -EAGAIN && res != -EBUSY)
		return res;
	do {
		/* Handlers submit; their places in the queue must be free again,
		 * or a full completion queue would wait for itself. */
		count = io_uring_peek_batch_cqe(ring, ready, TURN_COMPLETIONS);
		for (unsigned i = 0; i < count; i++)
			done[i] = *ready[i];
		io_uring_cq_advance(ring, count);
		for (unsigned i = 0; i < count; i++) {
			struct op *op = io_uring_cqe_get_data(&done[i]);

			if (!op)
				continue;
			op->in_kernel = done[i].flags & IORING_CQE_F_MORE;
			op->done(op, done[i].res, done[i].flags);
		}
		/* Handlers arm what completes at once again (a doorbell that is rung
		 * without end): what is left comes with the next turn. */
	} while (count && ++rounds < TURN_ROUNDS);
	return 0;
}
