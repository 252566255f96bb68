/* SPDX-License-Identifier: MIT */
/*
 * ring.c - the simulated io_uring, below the broker's own op.c.
 *
 * Submissions wait until what they wait for is there, and then complete in any order, some
 * time later. What a dead process had under way completes nothing any more, but still refers
 * to its files, until its ring's descriptor is closed and the kernel has come round to it.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_MAX = 256, ENTRIES = 1024, RINGS_MAX = 128 };

struct pending {
	uint8_t opcode; /* 0 (IORING_OP_NOP): free */
	bool multishot;
	short events;
	struct file *file;
	uint64_t data;
	void *buffer;
	uint64_t due_ns;
};

struct sim_ring {
	struct io_uring *user; /* NULL: its process is dead, or it is closed */
	bool closed;
	unsigned sq_head, sq_tail, cq_head, cq_tail;
	struct io_uring_sqe sqes[ENTRIES];
	struct io_uring_cqe cqes[ENTRIES];
	struct pending ops[OPS_MAX];
	unsigned ops_used; /* so many at most, from the first */
};

static struct sim_ring *rings[RINGS_MAX];

int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *params);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
unsigned __wrap_io_uring_peek_batch_cqe(
	struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned *values);
int __wrap_io_uring_register(unsigned fd, unsigned what, const void *argument, unsigned count);
int __wrap_close(int fd);

static struct sim_ring *sim_of(struct io_uring *ring)
{
	return (struct sim_ring *)ring->sq.ring_ptr;
}

int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
	struct sim_ring *r;
	unsigned at = 0;
	int fd;

	(void)entries;
	fiber_yield();
	r = __real_calloc(1, sizeof(*r));
	assert(r);
	while (at < RINGS_MAX && rings[at])
		at++;
	fd = kernel_open(FILE_RING);
	assert(fd >= 0 && at < RINGS_MAX);
	rings[at] = r;
	kernel_file(fd)->ring = r;
	*ring = (struct io_uring){
		.sq =
			{
				.khead = &r->sq_head,
				.ktail = &r->sq_tail,
				.sqes = r->sqes,
				.ring_ptr = r,
				.ring_mask = ENTRIES - 1,
				.ring_entries = ENTRIES,
			},
		.cq =
			{
				.khead = &r->cq_head,
				.ktail = &r->cq_tail,
				.cqes = r->cqes,
				.ring_mask = ENTRIES - 1,
				.ring_entries = ENTRIES,
			},
		.flags = params->flags,
		.ring_fd = fd,
		.enter_ring_fd = fd,
	};
	r->user = ring;
	params->features = IORING_FEAT_CQE_SKIP | IORING_FEAT_NODROP;
	return 0;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	(void)__wrap_close(ring->ring_fd);
	/* The end of a ring is waited for: nothing of it is under way any more. */
	ring_reap();
}

void ring_close(struct file *file)
{
	file->ring->user = NULL;
	file->ring->closed = true;
}

static void let_go(struct pending *op)
{
	struct file *file = op->file;

	*op = (struct pending){0};
	if (file)
		file_drop(file);
}

void ring_reap(void)
{
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		struct sim_ring *r = rings[i];

		if (!r || !r->closed)
			continue;
		rings[i] = NULL;
		for (unsigned n = 0; n < r->ops_used; n++)
			let_go(&r->ops[n]);
		__real_free(r);
	}
}

void ring_forget_dead(void)
{
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (rings[i])
			rings[i]->user = NULL;
}

void ring_reset(void)
{
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (rings[i])
			rings[i]->closed = true;
	ring_reap();
}

/* ---- completions ----------------------------------------------------------------------------- */

static void post(struct sim_ring *r, uint64_t data, int res, unsigned flags)
{
	assert(r->cq_tail - r->cq_head < ENTRIES);
	r->cqes[r->cq_tail++ % ENTRIES] =
		(struct io_uring_cqe){.user_data = data, .res = res, .flags = flags};
}

static bool takes_more(const struct file *socket)
{
	/* unix_writable() of the kernel's: at most a quarter full. */
	return !socket->actor || socket->shut_write ||
	       socket->actor->count * 4 <= world.socket_words;
}

static bool is_there(const struct pending *op)
{
	const struct file *f = op->file;

	switch (f->kind) {
	case FILE_EVENT:
		return f->count > 0;
	case FILE_SIGNAL:
		return f->pending != 0;
	case FILE_LISTENER:
		return actor_next_waiting(f) != NULL;
	case FILE_SOCKET:
		return takes_more(f);
	default:
		return true;
	}
}

/* What an operation comes to now: false if it must wait. */
static bool comes_to(struct pending *op, int *res)
{
	struct file *f = op->file;

	switch (op->opcode) {
	case IORING_OP_TIMEOUT:
		*res = -ETIME;
		return world.now_ns >= op->due_ns;
	case IORING_OP_POLL_ADD:
		*res = op->events;
		return !op->multishot && is_there(op);
	case IORING_OP_READ:
		*res = sizeof(f->count);
		if (f->kind != FILE_EVENT || !f->count)
			return false;
		memcpy(op->buffer, &f->count, sizeof(f->count));
		f->count = 0;
		return true;
	case IORING_OP_WRITE:
		*res = sizeof(f->count);
		f->count++;
		return true;
	case IORING_OP_RECV:
		if (f->shut_read || !f->actor) {
			*res = 0;
			return true;
		}
		*res = 1;
		return f->actor->spoke;
	default:
		assert(!"an operation that nobody submits");
		return false;
	}
}

bool ring_look(void)
{
	bool any = false;

	for (unsigned i = 0; i < RINGS_MAX; i++) {
		struct sim_ring *r = rings[i];

		if (!r || !r->user)
			continue;
		for (unsigned n = 0; n < r->ops_used; n++) {
			struct pending *op = &r->ops[n];
			int res;

			/* In any order, and some time later. */
			if (op->opcode == IORING_OP_NOP || (!world.calm && draw(3) == 0) ||
				!comes_to(op, &res))
				continue;
			post(r, op->data, res, 0);
			let_go(op);
			any = true;
		}
	}
	return any;
}

void ring_actor_read(struct file *file)
{
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		struct sim_ring *r = rings[i];

		if (!r || !r->user)
			continue;
		for (unsigned n = 0; n < r->ops_used; n++)
			if (r->ops[n].multishot && r->ops[n].file == file && takes_more(file))
				post(r, r->ops[n].data, POLLOUT, IORING_CQE_F_MORE);
	}
}

uint64_t ring_next_timer(void)
{
	uint64_t next = 0;

	for (unsigned i = 0; i < RINGS_MAX; i++) {
		struct sim_ring *r = rings[i];

		if (!r || !r->user)
			continue;
		for (unsigned n = 0; n < r->ops_used; n++)
			if (r->ops[n].opcode == IORING_OP_TIMEOUT &&
				(!next || r->ops[n].due_ns < next))
				next = r->ops[n].due_ns;
	}
	return next;
}

/* ---- submissions -------------------------------------------------------------------------------
 */

static void cancel(struct sim_ring *r, const struct io_uring_sqe *sqe)
{
	for (unsigned n = 0; n < r->ops_used; n++) {
		if (r->ops[n].opcode == IORING_OP_NOP || r->ops[n].data != sqe->addr)
			continue;
		post(r, r->ops[n].data, -ECANCELED, 0);
		let_go(&r->ops[n]);
		post(r, sqe->user_data, 0, 0);
		return;
	}
	post(r, sqe->user_data, -ENOENT, 0);
}

static struct pending *free_op(struct sim_ring *r)
{
	for (unsigned n = 0; n < r->ops_used; n++)
		if (r->ops[n].opcode == IORING_OP_NOP)
			return &r->ops[n];
	assert(r->ops_used < OPS_MAX);
	return &r->ops[r->ops_used++];
}

static void take(struct sim_ring *r, const struct io_uring_sqe *sqe)
{
	const struct __kernel_timespec *time;
	struct pending *op;

	if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
		cancel(r, sqe);
		return;
	}
	op = free_op(r);
	*op = (struct pending){.opcode = sqe->opcode, .data = sqe->user_data};
	if (sqe->opcode == IORING_OP_TIMEOUT) {
		time = (const void *)(uintptr_t)sqe->addr; /* NOLINT(performance-no-int-to-ptr) */
		op->due_ns = world.now_ns + (uint64_t)time->tv_sec * 1000000000u +
			     (uint64_t)time->tv_nsec;
		return;
	}
	op->file = kernel_file(sqe->fd);
	if (!op->file) {
		sim_wrong("descriptor %d is used, which is none", sqe->fd);
		op->opcode = IORING_OP_NOP;
		post(r, sqe->user_data, -EBADF, 0);
		return;
	}
	file_hold(op->file);
	op->buffer = (void *)(uintptr_t)sqe->addr; /* NOLINT(performance-no-int-to-ptr) */
	op->events = (short)sqe->poll32_events;
	op->multishot = sqe->opcode == IORING_OP_POLL_ADD && sqe->len & IORING_POLL_ADD_MULTI;
	if (op->multishot && is_there(op))
		post(r, op->data, POLLOUT, IORING_CQE_F_MORE);
}

static int submit(struct io_uring *ring)
{
	struct sim_ring *r = sim_of(ring);
	int count = 0;

	fiber_yield();
	if (world_fault() && draw(8) == 0)
		return -EIO; /* nothing that a repetition mends */
	for (; ring->sq.sqe_head != ring->sq.sqe_tail; count++)
		take(r, &r->sqes[ring->sq.sqe_head++ % ENTRIES]);
	r->sq_head = ring->sq.sqe_head;
	return count;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return submit(ring);
}

static bool has_completions(void *argument)
{
	const struct sim_ring *r = argument;

	return r->cq_tail != r->cq_head;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait)
{
	int count = submit(ring);

	assert(wait == 1);
	if (count >= 0 && !has_completions(sim_of(ring)))
		fiber_wait(has_completions, sim_of(ring));
	return count;
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	return submit(ring);
}

unsigned __wrap_io_uring_peek_batch_cqe(
	struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count)
{
	struct sim_ring *r = sim_of(ring);
	unsigned n = 0;

	while (n < count && n < r->cq_tail - r->cq_head) {
		cqes[n] = &r->cqes[(r->cq_head + n) % ENTRIES];
		n++;
	}
	return n;
}

int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned *values)
{
	(void)ring;
	(void)values;
	return 0;
}

int __wrap_io_uring_register(unsigned fd, unsigned what, const void *argument, unsigned count)
{
	(void)fd;
	(void)what;
	(void)argument;
	(void)count;
	return 0;
}
