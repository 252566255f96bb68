/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez_memory.c - libfamez where memory runs out.
 *
 * The linker leads every allocation of the library, and of this file, through here (--wrap in
 * libfamez.cmake). Most tests go through one call's allocations: the first fails, in another
 * attempt the second, until an attempt has none that fails; how many there must be at least is
 * said, lest nothing be tested. Leaks are the address sanitizer's to find, descriptors left open
 * the fixture's.
 */
#include "mail_fixture.h"

#include <sys/prctl.h>

/* ---- allocations ------------------------------------------------------------------------- */

static unsigned until_scarce; /* the allocation that fails; 0: none does */
static bool none_left;        /* all fail */
static bool failed;

static bool runs_out(void)
{
	bool fails = none_left || until_scarce == 1;

	until_scarce -= until_scarce > 0;
	failed |= fails;
	return fails;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t bytes)
{
	return runs_out() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return runs_out() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return runs_out() ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
	return runs_out() ? NULL : __real_strdup(text);
}

/* The allocation with this number fails, counted from 1 and from here. */
static void scarce_at(unsigned nth)
{
	until_scarce = nth;
	failed = false;
}

/* From here on every allocation fails. */
static void scarce(void)
{
	none_left = true;
	failed = false;
}

/* Enough again. Did any fail meanwhile? */
static bool was_scarce(void)
{
	until_scarce = 0;
	none_left = false;
	return failed;
}

static struct server *server_of(void **state)
{
	return ((struct fabric *)*state)->s;
}

/* ---- joining ----------------------------------------------------------------------------- */

static void a_store_that_gets_no_memory_is_not_opened(void **state)
{
	struct famez_bells *bells = NULL;

	(void)state;
	scarce();
	assert_int_equal(famez_bells_open(&bells), -ENOMEM);
	assert_true(was_scarce());
	assert_null(bells);
	assert_int_equal(famez_bells_open(&bells), 0);
	famez_bells_close(bells);
}

/* Fails at each of its allocations in turn and leaves nothing behind, then does not fail. There
 * are so many allocations at least. */
static struct famez *join_in_the_end(struct server *s,
	int (*join_by)(struct famez **out, const struct famez_join *how), unsigned allocations)
{
	const struct famez_join how = {.socket = s->path};
	unsigned before = open_descriptors();
	struct famez *f = NULL;
	unsigned nth = 1;
	int err;

	for (;; nth++) {
		scarce_at(nth);
		err = join_by(&f, &how);
		if (!was_scarce())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(f);
		assert_int_equal(open_descriptors(), before);
	}
	assert_int_equal(err, 0);
	assert_true(nth > allocations);
	return f;
}

static void who_gets_no_memory_does_not_begin_to_join(void **state)
{
	/* The handle, and the store of its own. */
	famez_leave(join_in_the_end(server_of(state), famez_join_start, 2));
}

/* Lets members in, and waits for each to go, until it is killed. */
static pid_t server_for_all(struct server *s)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child)
		return child;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* where the test fails, it is not our end */
	for (;;) {
		struct pollfd closed = {.fd = accept(s->listener, NULL, NULL), .events = POLLIN};

		say_opening(s, closed.fd, 600);
		(void)poll(&closed, 1, -1);
		close(closed.fd);
	}
}

static void joining_without_memory_says_so_at_any_stage(void **state)
{
	pid_t child = server_for_all(server_of(state));
	/* What is known of ID 600, too. */
	struct famez *f = join_in_the_end(server_of(state), famez_join, 3);

	assert_int_equal(famez_id(f), 600);
	famez_leave(f);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_join_that_failed_for_want_of_memory_has_failed_for_good(void **state)
{
	struct server *s = server_of(state);
	struct famez *f;
	int end = connect_with(s, &f, NULL);

	say_opening(s, end, 600);
	scarce();
	expect_error(f, -ENOMEM);
	assert_true(was_scarce());
	expect_error(f, -ENOMEM);
	assert_int_equal(famez_id(f), -ENOTCONN);
	assert_true(hung_up(end));
	famez_leave(f);
	close(end);
}

/* ---- what the server tells --------------------------------------------------------------- */

/* Member 1, which has a vector of its own and one of peer 2. */
struct member {
	struct famez *f;
	int end, own, other;
};

static struct member member_new(void **state)
{
	struct member m;

	m.end = join(server_of(state), &m.f, 1);
	m.own = tell_vector(m.end, m.f, 1, 0);
	m.other = tell_vector(m.end, m.f, 2, 0);
	return m;
}

static void member_end(const struct member *m)
{
	famez_leave(m->f);
	close(m->own);
	close(m->other);
	close(m->end);
}

/* The connection is closed; it rings and is rung as before. */
static void expect_only_doorbells(const struct member *m)
{
	assert_true(hung_up(m->end));
	expect_nothing(m->f);
	assert_int_equal(famez_ring(m->f, 2, 0), 0);
	assert_int_equal(rings(m->other), 1);
	assert_int_equal(eventfd_write(m->own, 1), 0);
	expect(m->f, FAMEZ_EVENT_DOORBELL);
}

static void a_vector_that_finds_no_memory_ends_the_connection_but_not_the_doorbells(void **state)
{
	struct famez_event event;
	unsigned nth = 1;
	bool missed = true;

	for (; missed; nth++) {
		struct member m = member_new(state);
		unsigned before = open_descriptors();
		int err;

		say(m.end, 600, m.other);
		scarce_at(nth);
		err = famez_next(m.f, &event);
		missed = was_scarce();
		assert_int_equal(err, missed ? -ENOMEM : 1);
		assert_int_equal(famez_vectors(m.f, 600), missed ? 0 : 1);
		if (missed) {
			assert_int_equal(open_descriptors(), before - 1); /* the socket */
			expect_only_doorbells(&m);
		}
		member_end(&m);
	}
	assert_true(nth > 4); /* its seat, the chain of its sets, its set's vectors */
}

static void a_set_that_cannot_grow_keeps_the_vectors_it_has(void **state)
{
	struct member m = member_new(state);

	say(m.end, 2, m.own);
	scarce();
	expect_error(m.f, -ENOMEM);
	assert_true(was_scarce());
	assert_int_equal(famez_vectors(m.f, 2), 1);
	expect_only_doorbells(&m);
	member_end(&m);
}

static void a_lost_vector_that_finds_no_memory_ends_the_connection(void **state)
{
	struct member m = member_new(state);
	struct rlimit limit;

	say(m.end, 600, m.other);
	limit = open_no_more();
	scarce();
	expect_error(m.f, -ENOMEM);
	assert_true(was_scarce());
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(famez_vectors(m.f, 600), 0);
	expect_only_doorbells(&m);
	member_end(&m);
}

/* Of two handles with a common store, the second is told other eventfds than the first. */
static void who_parts_without_memory_for_it_leaves_the_others_as_they_were(void **state)
{
	struct server *s = server_of(state);
	struct famez_bells *bells;
	struct famez_event event;
	unsigned nth = 1;
	bool missed = true;

	for (; missed; nth++) {
		struct famez *a, *b;
		int end_a, end_b, err, fds[3];

		assert_int_equal(famez_bells_open(&bells), 0);
		end_a = join_with(s, &a, 1, bells);
		end_b = join_with(s, &b, 2, bells);
		for (uint16_t v = 0; v < 2; v++)
			fds[v] = tell_vector(end_a, a, 5, v);
		fds[2] = eventfd_new();
		/* The store has room for one set more, once all its others are used. */
		for (uint16_t peer = 6; peer < 20; peer++)
			close(tell_vector(end_a, a, peer, 0));
		say(end_b, 5, fds[0]);
		expect_vector(b, 5, 0);
		say(end_b, 5, fds[2]);
		scarce_at(nth);
		err = famez_next(b, &event);
		missed = was_scarce();
		assert_int_equal(err, missed ? -ENOMEM : 1);
		assert_int_equal(famez_ring(a, 5, 1), 0);
		assert_int_equal(rings(fds[1]), 1);
		assert_int_equal(famez_ring(b, 5, 0), 0);
		assert_int_equal(rings(fds[0]), 1);
		assert_int_equal(famez_ring(b, 5, 1), missed ? -EINVAL : 0);
		famez_leave(a);
		famez_leave(b);
		famez_bells_close(bells);
		for (unsigned v = 0; v < 3; v++)
			close(fds[v]);
		close(end_a);
		close(end_b);
	}
	assert_true(nth > 3); /* the sets, its set's vectors */
}

/* ---- mailbox ----------------------------------------------------------------------------- */

static void a_mailbox_that_gets_no_memory_is_not_opened_and_can_be_later(void **state)
{
	const struct famez_mailbox how = {.name = "late", .watch = 1, .spin_us = -1};
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_join(fab, 2);
	unsigned before = open_descriptors(), nth = 1;
	struct famez_who who;
	int err;

	for (;; nth++) {
		scarce_at(nth);
		err = famez_mailbox_open(b, &how);
		if (!was_scarce())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(open_descriptors(), before);
		assert_int_equal(famez_who(a, 2, &who), 0);
		assert_int_equal(who.lanes, 0);
		assert_string_equal(who.name, "");
		assert_int_equal(send_text(a, 2, "x"), -EOPNOTSUPP);
		assert_int_equal(
			famez_send(b, &(struct famez_to){.peer = 1}, "x", 1, 0, 0), -EINVAL);
		fabric_settle(b);
		assert_int_equal(famez_ring(a, 2, 0), 0);
		expect(b, FAMEZ_EVENT_DOORBELL);
	}
	/* The post, the mail, its lanes by ID either way, three bitmaps, two lists of peers. */
	assert_true(nth > 9);
	assert_int_equal(err, 0);
	fabric_settle(b);
	assert_int_equal(send_text(a, 2, "there"), 0);
	expect_text(b, 1, "there");
}

static int send_one(struct famez *f)
{
	return send_text(f, 2, "one");
}

static int send_one_patiently(struct famez *f)
{
	return famez_send(f, &(struct famez_to){.peer = 2}, "one", 3, 0, -1);
}

static int send_one_of_many(struct famez *f)
{
	return famez_send(f, &(struct famez_to){.peer = 2}, "one", 3, FAMEZ_MORE, 0);
}

static int claim_one(struct famez *f)
{
	void *room;

	return famez_claim(f, 2, 3, &room);
}

static int enter(struct famez *f)
{
	return famez_group_enter(f, 9);
}

static int leave_group(struct famez *f)
{
	return famez_group_exit(f, 9);
}

static int send_to_group(struct famez *f)
{
	return famez_group_send(f, 9, "one", 3, 0, -1);
}

static void take_all(struct famez *f)
{
	struct famez_event event;

	while (famez_next(f, &event) == 1)
		(void)drain(f);
}

static void the_first_message_needs_memory_and_says_so(void **state)
{
	static int (*const calls[])(struct famez * f) = {send_one, send_one_patiently,
		send_one_of_many, claim_one, enter, leave_group, send_to_group};
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.server = true});
	struct famez *b = fabric_member(fab, 2);

	for (size_t i = 0; i < UNIT_COUNT(calls); i++) {
		struct famez *a = fabric_member(fab, 1);

		scarce();
		assert_int_equal(calls[i](a), -ENOMEM);
		assert_true(was_scarce());
		assert_int_equal(famez_commit(a, &(struct famez_to){.peer = 2}, 1, 0), -EINVAL);
		expect_no_message(b);
		assert_int_equal(calls[i](a), 0);
		/* From then on it needs none. */
		scarce();
		assert_int_equal(calls[i](a), 0);
		assert_false(was_scarce());
		fabric_leave(fab, 1);
		take_all(b);
	}
}

static void a_message_waits_until_there_is_memory_for_its_lane(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m;
	char into[8];

	assert_int_equal(send_text(a, 2, "one"), 0);
	scarce();
	assert_int_equal(famez_peek(b, &m), 0);
	assert_true(was_scarce());
	scarce();
	assert_int_equal(famez_recv(b, &m, into, sizeof(into), 1), 0);
	assert_true(was_scarce());
	scarce();
	fabric_settle(b);
	assert_true(was_scarce());
	/* Nobody rings a second time: the tick finds it. */
	wait_readable(b);
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "one");
	expect_no_message(b);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_store_that_gets_no_memory_is_not_opened),
		T(who_gets_no_memory_does_not_begin_to_join),
		T(joining_without_memory_says_so_at_any_stage),
		T(a_join_that_failed_for_want_of_memory_has_failed_for_good),
		T(a_vector_that_finds_no_memory_ends_the_connection_but_not_the_doorbells),
		T(a_set_that_cannot_grow_keeps_the_vectors_it_has),
		T(a_lost_vector_that_finds_no_memory_ends_the_connection),
		T(who_parts_without_memory_for_it_leaves_the_others_as_they_were),
		T(a_mailbox_that_gets_no_memory_is_not_opened_and_can_be_later),
		T(the_first_message_needs_memory_and_says_so),
		T(a_message_waits_until_there_is_memory_for_its_lane),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
