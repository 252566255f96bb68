/* SPDX-License-Identifier: MIT */
/*
 * test_queue.c - values from one thread to one other: full, empty, round and round;
 * and wake-ups, of which none may be lost.
 *
 * In the threaded tests both sides wait for each other, after pauses drawn at
 * random: in a one-way stream the next value would hide a lost wake-up.
 */
#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "queue.h"

struct value {
	uint64_t number;
	uint32_t check;
};

QUEUE_PROTOTYPE(value)

enum { SLOTS = 8, ROUNDS = 20000, STREAM = 200000 };

static struct value value_of(uint64_t number)
{
	return (struct value){.number = number, .check = (uint32_t)(number * 2654435761u)};
}

static void expect_next(struct value_queue *q, uint64_t number)
{
	struct value v = {0};

	assert_true(value_queue_take(q, &v));
	assert_int_equal(v.number, number);
	assert_int_equal(v.check, value_of(number).check);
}

static bool put(struct value_queue *q, uint64_t number)
{
	struct value v = value_of(number);

	return value_queue_put(q, &v);
}

static int set_up(void **state)
{
	static struct value_queue q;

	*state = &q;
	return value_queue_init(&q, SLOTS);
}

static int tear_down(void **state)
{
	value_queue_destroy(*state);
	return 0;
}

static void a_new_queue_is_empty_and_has_room_for_one_less_than_its_slots(void **state)
{
	struct value v;

	assert_true(value_queue_empty(*state));
	assert_int_equal(value_queue_room(*state), SLOTS - 1);
	assert_false(value_queue_take(*state, &v));
}

static void a_full_queue_refuses_and_keeps_what_it_holds(void **state)
{
	for (uint64_t n = 0; n < SLOTS - 1; n++) {
		assert_int_equal(value_queue_room(*state), SLOTS - 1 - n);
		assert_true(put(*state, n));
	}
	assert_int_equal(value_queue_room(*state), 0);
	assert_false(put(*state, 99));
	assert_false(put(*state, 99));
	for (uint64_t n = 0; n < SLOTS - 1; n++)
		expect_next(*state, n);
	assert_true(value_queue_empty(*state));
}

static void one_taken_makes_room_for_one(void **state)
{
	for (uint64_t n = 0; n < SLOTS - 1; n++)
		assert_true(put(*state, n));
	expect_next(*state, 0);
	assert_int_equal(value_queue_room(*state), 1);
	assert_true(put(*state, 7));
	assert_false(put(*state, 8));
	for (uint64_t n = 1; n < SLOTS; n++)
		expect_next(*state, n);
}

static void order_survives_every_wrap_at_every_level(void **state)
{
	uint64_t in = 0, out = 0;

	for (unsigned round = 0; round < 1000; round++) {
		for (unsigned n = 0; n <= round % (SLOTS - 1); n++)
			assert_true(put(*state, in++));
		while (out < in)
			expect_next(*state, out++);
		assert_true(value_queue_empty(*state));
	}
}

static void values_are_copied_in_and_out(void **state)
{
	struct value v = value_of(1);

	assert_true(value_queue_put(*state, &v));
	v = value_of(2);
	assert_true(value_queue_put(*state, &v));
	expect_next(*state, 1);
	expect_next(*state, 2);
}

/* ---- two threads --------------------------------------------------------------- */

static void *produce_stream(void *q)
{
	for (uint64_t n = 0; n < STREAM;)
		if (put(q, n))
			n++;
		else
			(void)sched_yield();
	return NULL;
}

static void a_stream_between_two_threads_loses_doubles_and_garbles_nothing(void **state)
{
	pthread_t producer;
	struct value v;

	assert_int_equal(pthread_create(&producer, NULL, produce_stream, *state), 0);
	for (uint64_t n = 0; n < STREAM;) {
		if (!value_queue_take(*state, &v)) {
			(void)sched_yield();
			continue;
		}
		assert_int_equal(v.number, n);
		assert_int_equal(v.check, value_of(n).check);
		n++;
	}
	assert_int_equal(pthread_join(producer, NULL), 0);
	assert_true(value_queue_empty(*state));
}

/* What a value points at was written before it was put: the reader must see it. */
static uint64_t written_before[ROUNDS];

static void *produce_pointees(void *q)
{
	for (uint64_t n = 0; n < ROUNDS;) {
		written_before[n] = n + 1;
		if (put(q, n))
			n++;
		else
			(void)sched_yield();
	}
	return NULL;
}

static void what_was_written_before_a_put_is_seen_after_the_take(void **state)
{
	pthread_t producer;
	struct value v;

	assert_int_equal(pthread_create(&producer, NULL, produce_pointees, *state), 0);
	for (uint64_t n = 0; n < ROUNDS;) {
		if (!value_queue_take(*state, &v)) {
			(void)sched_yield();
			continue;
		}
		assert_int_equal(written_before[v.number], n + 1);
		n++;
	}
	assert_int_equal(pthread_join(producer, NULL), 0);
}

/* ---- wake-ups -------------------------------------------------------------------- */

struct side {
	struct value_queue in;
	struct wakeup wakeup;
	struct side *other;
	uint32_t dice;
};

static void pause_at_random(struct side *s)
{
	s->dice = s->dice * 1664525u + 1013904223u;
	for (uint32_t n = s->dice >> 24; n > 0 && n < 64; n--)
		ck_pr_stall();
	if (s->dice >> 28 == 0)
		(void)sched_yield();
}

/* The consumer's four steps, as queue.h tells them. */
static uint64_t wait_for_value(struct side *s)
{
	uint64_t rung;
	struct value v;

	for (;;) {
		if (value_queue_take(&s->in, &v))
			return v.number;
		pause_at_random(s);
		wakeup_sleep(&s->wakeup);
		pause_at_random(s);
		if (value_queue_empty(&s->in)) {
			struct pollfd p = {.fd = s->wakeup.fd, .events = POLLIN};

			if (poll(&p, 1, 60 * 1000) != 1)
				return UINT64_MAX; /* a lost wake-up */
			(void)!read(s->wakeup.fd, &rung, sizeof(rung));
		}
		wakeup_awake(&s->wakeup);
	}
}

static void say(struct side *to, uint64_t number)
{
	assert_true(put(&to->in, number));
	wakeup_ring(&to->wakeup);
}

static void *answer(void *argument)
{
	struct side *s = argument;

	for (uint64_t n = 0; n < ROUNDS; n++) {
		uint64_t heard = wait_for_value(s);

		pause_at_random(s);
		say(s->other, heard + 1);
	}
	return NULL;
}

static void no_wake_up_is_lost_between_two_who_wait_for_each_other(void **state)
{
	static struct side a, b;
	pthread_t thread;

	(void)state;
	a.other = &b;
	b.other = &a;
	a.dice = 1;
	b.dice = 2;
	assert_int_equal(value_queue_init(&a.in, SLOTS), 0);
	assert_int_equal(value_queue_init(&b.in, SLOTS), 0);
	assert_int_equal(wakeup_init(&a.wakeup), 0);
	assert_int_equal(wakeup_init(&b.wakeup), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer, &b), 0);
	for (uint64_t n = 0; n < ROUNDS; n++) {
		pause_at_random(&a);
		say(&b, 10 * n);
		assert_int_equal(wait_for_value(&a), 10 * n + 1);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	wakeup_destroy(&a.wakeup);
	wakeup_destroy(&b.wakeup);
	value_queue_destroy(&a.in);
	value_queue_destroy(&b.in);
}

static bool readable(const struct wakeup *w)
{
	struct pollfd p = {.fd = w->fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void ringing_someone_awake_costs_no_system_call(void **state)
{
	struct wakeup w;

	(void)state;
	assert_int_equal(wakeup_init(&w), 0);
	wakeup_ring(&w);
	assert_false(readable(&w));
	wakeup_sleep(&w);
	wakeup_awake(&w);
	wakeup_ring(&w);
	assert_false(readable(&w));
	wakeup_destroy(&w);
}

static void a_sleeper_is_rung_once_however_many_ring(void **state)
{
	struct wakeup w;
	uint64_t count = 0;

	(void)state;
	assert_int_equal(wakeup_init(&w), 0);
	wakeup_sleep(&w);
	for (unsigned n = 0; n < 5; n++)
		wakeup_ring(&w);
	assert_true(readable(&w));
	assert_int_equal(read(w.fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	wakeup_destroy(&w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_new_queue_is_empty_and_has_room_for_one_less_than_its_slots),
		T(a_full_queue_refuses_and_keeps_what_it_holds),
		T(one_taken_makes_room_for_one),
		T(order_survives_every_wrap_at_every_level),
		T(values_are_copied_in_and_out),
		T(a_stream_between_two_threads_loses_doubles_and_garbles_nothing),
		T(what_was_written_before_a_put_is_seen_after_the_take),
		cmocka_unit_test(no_wake_up_is_lost_between_two_who_wait_for_each_other),
		cmocka_unit_test(ringing_someone_awake_costs_no_system_call),
		cmocka_unit_test(a_sleeper_is_rung_once_however_many_ring),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
