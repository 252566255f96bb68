/* SPDX-License-Identifier: MIT */
/*
 * op.h - an operation that the kernel carries out for us, and what comes next.
 *
 * An op is a struct inside its owner; its address is the user_data of the
 * submission, and arming it names the function that gets the result. What an op
 * points at (itself, buffers) must stay put while `in_kernel`.
 *
 * A ring belongs to the thread that made it.
 */
#ifndef OP_H
#define OP_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op {
	void (*done)(struct op *op, int res, uint32_t flags);
	bool in_kernel;
};

#define container_of(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/**
 * ring_init() - a ring for @sends submissions at once and @completions waiting.
 * Takes what the kernel offers to keep completions on our own thread
 * (DEFER_TASKRUN: 6.1, SINGLE_ISSUER: 6.0, COOP_TASKRUN: 5.19; io_uring_setup(2)).
 * The kernel refuses (-EACCES) what none of us ever submits; op.c has the list.
 * Returns 0 or -errno of io_uring_setup(2) or io_uring_register(2).
 */
int ring_init(struct io_uring *ring, unsigned sends, unsigned completions);
void ring_destroy(struct io_uring *ring);

/** ring_sqe() - an empty submission; submits what is queued where none is left. */
struct io_uring_sqe *ring_sqe(struct io_uring *ring);

/** op_arm() - the submission @sqe is @op's; @done gets its result. */
static inline void op_arm(
	struct op *op, struct io_uring_sqe *sqe, void (*done)(struct op *, int, uint32_t))
{
	op->done = done;
	op->in_kernel = true;
	io_uring_sqe_set_data(sqe, op);
}

/**
 * ring_turn() - submit what is queued, wait for @wait completions, and hand every
 * completion there is to its op. Submissions without an op complete unseen.
 * Returns 0 or -errno of io_uring_enter(2) that no retry mends.
 */
int ring_turn(struct io_uring *ring, unsigned wait);

#endif
