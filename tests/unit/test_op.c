/* SPDX-License-Identifier: MIT */
/*
 * test_op.c - the ring's promises: nothing that was armed is lost, however full the queues are;
 * and what it refuses.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "op.h"

#define ENTRIES 8u

static struct io_uring ring;

struct counted {
	struct op op;
	unsigned done;
	int res;
	struct counted *next; /* armed when this one completes */
};

static void arm_quick(struct counted *c);

static void on_done(struct op *op, int res, uint32_t flags)
{
	struct counted *c = container_of(op, struct counted, op);

	(void)flags;
	c->done++;
	c->res = res;
	if (c->next)
		arm_quick(c->next);
}

static int set_up(void **state)
{
	(void)state;
	return ring_init(&ring, ENTRIES, 64);
}

static int tear_down(void **state)
{
	(void)state;
	ring_destroy(&ring);
	return 0;
}

/* What completes at once: there is nothing to cancel. */
static void arm_quick(struct counted *c)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_cancel64(sqe, 1, 0);
	op_arm(&c->op, sqe, on_done);
}

static void what_does_not_fit_enters_the_kernel_before(void **state)
{
	struct counted many[3 * ENTRIES + 1] = {0};

	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(many); i++)
		arm_quick(&many[i]);
	assert_int_equal(ring_turn(&ring, 0), 0);
	for (unsigned i = 0; i < UNIT_COUNT(many); i++)
		assert_int_equal(many[i].done, 1);
}

static void a_handler_may_arm_however_full_the_queues_are(void **state)
{
	struct counted first[3 * ENTRIES] = {0}, second[3 * ENTRIES] = {0};

	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(first); i++) {
		first[i].next = &second[i];
		arm_quick(&first[i]);
	}
	assert_int_equal(ring_turn(&ring, 1), 0);
	assert_int_equal(ring_turn(&ring, 1), 0);
	for (unsigned i = 0; i < UNIT_COUNT(first); i++) {
		assert_int_equal(first[i].done, 1);
		assert_int_equal(second[i].done, 1);
		assert_false(second[i].op.in_kernel);
	}
}

static int done_alone(struct io_uring_sqe *sqe)
{
	struct counted c = {0};

	op_arm(&c.op, sqe, on_done);
	assert_int_equal(ring_turn(&ring, 1), 0);
	assert_int_equal(c.done, 1);
	return c.res;
}

/* A filter of system calls does not see what a ring is asked for. */
static void what_nobody_here_asks_for_is_refused(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct io_uring_sqe *sqe;

	(void)state;
	sqe = ring_sqe(&ring);
	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
	assert_int_equal(done_alone(sqe), -EACCES);
	sqe = ring_sqe(&ring);
	io_uring_prep_socket(sqe, AF_INET, SOCK_STREAM, 0, 0);
	assert_int_equal(done_alone(sqe), -EACCES);
	sqe = ring_sqe(&ring);
	io_uring_prep_connect(sqe, -1, (struct sockaddr *)&address, sizeof(address));
	assert_int_equal(done_alone(sqe), -EACCES);
	sqe = ring_sqe(&ring);
	io_uring_prep_sendmsg(sqe, -1, &(struct msghdr){0}, 0);
	assert_int_equal(done_alone(sqe), -EACCES);
	sqe = ring_sqe(&ring);
	io_uring_prep_unlink(sqe, "/nothing", 0);
	assert_int_equal(done_alone(sqe), -EACCES);
	assert_int_equal(io_uring_register_files(&ring, (int[]){-1}, 1), -EACCES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(what_does_not_fit_enters_the_kernel_before),
		T(what_nobody_here_asks_for_is_refused),
		T(a_handler_may_arm_however_full_the_queues_are),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
