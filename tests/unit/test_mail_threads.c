/* SPDX-License-Identifier: MIT */
/*
 * test_mail_threads.c - messages of libfamez between threads: blocking, waking, dying.
 *
 * Each handle belongs to one thread at a time, as peer.h has it; the thread sanitizer watches.
 * Nothing here waits for time to pass: a thread that must be blocked first is seen to be so in
 * the file.
 */
#include "fabric.h"
#include "unit.h"

#include "famez/lane.h"

#include <pthread.h>
#include <sched.h>

#define MESSAGES 20000u

struct party {
	struct famez *f;
	uint16_t to;
	unsigned count; /* to send */
	unsigned seed;
	size_t bytes_max;
	int result; /* of what ended it */
	unsigned received;
};

static void start(pthread_t *thread, void *(*run)(void *), struct party *p)
{
	assert_int_equal(pthread_create(thread, NULL, run, p), 0);
}

/* A payload that says which it is, and of a size that follows from that. */
static size_t make(unsigned char *into, unsigned number, size_t bytes_max)
{
	size_t bytes = 4 + (size_t)number * 7919 % (bytes_max - 3);

	memcpy(into, &number, 4);
	memset(into + 4, (int)(number & 255), bytes - 4);
	return bytes;
}

static bool is_made(const unsigned char *got, size_t bytes, unsigned number, size_t bytes_max)
{
	unsigned char want[4096];

	return bytes == make(want, number, bytes_max) && memcmp(got, want, bytes) == 0;
}

static void pause_at_random(unsigned *seed)
{
	unsigned pause = (unsigned)rand_r(seed) % 64;

	if (pause < 2)
		sched_yield();
	else if (pause < 8)
		for (volatile unsigned i = 0; i < pause * 50; i++)
			;
}

static void *send_all(void *argument)
{
	struct party *p = argument;
	struct famez_to to = {.peer = p->to};
	unsigned char payload[4096];

	for (unsigned i = 0; i < p->count && !p->result; i++) {
		size_t bytes = make(payload, i, p->bytes_max);
		unsigned flags = (unsigned)rand_r(&p->seed) % 4 ? FAMEZ_MORE : 0;

		p->result = famez_send(p->f, &to, payload, bytes, flags, -1);
		pause_at_random(&p->seed);
	}
	if (!p->result)
		p->result = famez_flush(p->f, p->to);
	return NULL;
}

static void *receive_all(void *argument)
{
	struct party *p = argument;
	struct famez_message m;
	unsigned char got[4096];

	while (p->received < p->count && !p->result) {
		int err = famez_recv(p->f, &m, got, sizeof(got), -1);

		if (err != 1)
			p->result = err ? err : -EIO;
		else if (!is_made(got, m.bytes, p->received++, p->bytes_max))
			p->result = -EBADMSG;
		pause_at_random(&p->seed);
	}
	return NULL;
}

static void one_way(void **state, int spin_us)
{
	struct famez_mailbox how = {.name = "n", .spin_us = spin_us};
	struct fabric fab;
	struct party a = {.to = 2, .count = MESSAGES, .seed = 1, .bytes_max = 600};
	struct party b = {.count = MESSAGES, .seed = 2, .bytes_max = 600};
	pthread_t one, other;

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	a.f = fabric_join(&fab, 1);
	b.f = fabric_join(&fab, 2);
	assert_int_equal(famez_mailbox_open(a.f, &how), 0);
	assert_int_equal(famez_mailbox_open(b.f, &how), 0);
	start(&one, send_all, &a);
	start(&other, receive_all, &b);
	pthread_join(one, NULL);
	pthread_join(other, NULL);
	assert_int_equal(a.result, 0);
	assert_int_equal(b.result, 0);
	assert_int_equal(b.received, MESSAGES);
	fabric_end(&fab);
}

static void a_blocking_sender_and_a_sleeping_receiver_wait_for_each_other(void **state)
{
	one_way(state, -1);
}

static void the_same_holds_where_both_poll_first(void **state)
{
	one_way(state, 30);
}

/* Sends with a short patience; while the other's lane is full it receives. */
static void *exchange_all(void *argument)
{
	struct party *p = argument;
	struct famez_to to = {.peer = p->to};
	struct famez_message m;
	unsigned char payload[4096], got[4096];
	unsigned sent = 0;

	while ((sent < p->count || p->received < p->count) && !p->result) {
		size_t bytes = make(payload, sent, p->bytes_max);
		bool all = sent == p->count;
		int err = all ? -EAGAIN : famez_send(p->f, &to, payload, bytes, 0, 1);

		if (!err) {
			sent++;
			if ((unsigned)rand_r(&p->seed) % 8)
				continue;
		} else if (err != -EAGAIN && err != -ETIMEDOUT) {
			p->result = err;
		}
		pause_at_random(&p->seed);
		while ((err = famez_recv(p->f, &m, got, sizeof(got), all ? -1 : 0)) == 1) {
			if (!is_made(got, m.bytes, p->received++, p->bytes_max))
				p->result = -EBADMSG;
			if (p->received == p->count)
				break;
		}
		if (err < 0)
			p->result = err;
	}
	return NULL;
}

static void two_who_fill_each_others_lanes_both_get_through(void **state)
{
	struct fabric fab;
	struct party p[2];
	pthread_t thread[2];

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	for (uint16_t i = 0; i < 2; i++)
		p[i] = (struct party){.f = fabric_member(&fab, i + 1),
			.to = 2 - i,
			.count = MESSAGES / 4,
			.seed = i,
			.bytes_max = 900};
	for (unsigned i = 0; i < 2; i++)
		start(&thread[i], exchange_all, &p[i]);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(p[i].result, 0);
		assert_int_equal(p[i].received, MESSAGES / 4);
	}
	fabric_end(&fab);
}

/* As a program with a loop of its own does: poll, then famez_next() until 0. */
static void *echo_all(void *argument)
{
	struct party *p = argument;
	struct famez_event event;
	struct famez_message m;
	unsigned char got[4096];

	while (p->received < p->count && !p->result) {
		struct pollfd ready = {.fd = famez_fd(p->f), .events = POLLIN};
		int err;

		while ((err = famez_next(p->f, &event)) == 1) {
			if (event.kind != FAMEZ_EVENT_MESSAGE)
				continue;
			if (famez_recv(p->f, &m, got, sizeof(got), 0) != 1)
				p->result = -EIO;
			else
				p->received++;
			if (famez_send(
				    p->f, &(struct famez_to){.peer = m.from}, got, m.bytes, 0, 0))
				p->result = -EIO;
		}
		if (err)
			p->result = err;
		pause_at_random(&p->seed);
		if (p->received < p->count)
			(void)poll(&ready, 1, -1);
	}
	return NULL;
}

static void *ask_all(void *argument)
{
	struct party *p = argument;
	struct famez_message m;
	unsigned char payload[4096], got[4096];

	while (p->received < p->count && !p->result) {
		size_t bytes = make(payload, p->received, p->bytes_max);

		p->result =
			famez_send(p->f, &(struct famez_to){.peer = p->to}, payload, bytes, 0, -1);
		pause_at_random(&p->seed);
		if (!p->result && famez_recv(p->f, &m, got, sizeof(got), -1) != 1)
			p->result = -EIO;
		if (!p->result && !is_made(got, m.bytes, p->received++, p->bytes_max))
			p->result = -EBADMSG;
	}
	return NULL;
}

static void a_question_is_always_answered_however_sleepily(void **state)
{
	struct fabric fab;
	struct party p[3];
	pthread_t thread[3];

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	for (uint16_t i = 0; i < 3; i++)
		p[i] = (struct party){.f = fabric_member(&fab, i + 1),
			.to = 3,
			.count = MESSAGES / 4,
			.seed = i,
			.bytes_max = 100};
	p[2].count = MESSAGES / 2;
	for (unsigned i = 0; i < 3; i++)
		start(&thread[i], i == 2 ? echo_all : ask_all, &p[i]);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(p[i].result, 0);
		assert_int_equal(p[i].received, p[i].count);
	}
	fabric_end(&fab);
}

/* ---- dying --------------------------------------------------------------------------------- */

static void wait_until_blocked(struct fabric *fab, uint16_t from, uint16_t to)
{
	const uint32_t *waiting = &famez_lane_at(fab->base, &fab->g, to, from)->waiting;

	while (!famez_load_acquire(waiting))
		sched_yield(); /* until the test's guard ends it */
}

enum death { LEAVES, DIES, DIES_UNANNOUNCED };

static void block_until(void **state, enum death how)
{
	struct fabric fab;
	struct party a = {.to = 2, .count = UINT32_MAX, .bytes_max = 600};
	pthread_t thread;

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	a.f = fabric_member(&fab, 1);
	(void)fabric_member(&fab, 2);
	start(&thread, send_all, &a);
	wait_until_blocked(&fab, 1, 2);
	if (how == LEAVES) {
		/* The server need not say anything. */
		famez_leave(fab.member[2]);
		pthread_join(thread, NULL);
		assert_true(a.result == -ENOTCONN || a.result == -EOPNOTSUPP);
		fab.member[2] = NULL;
		fabric_gone(&fab, 2);
	} else {
		struct famez *dead = fab.member[2];

		mailbox_file_leave(fab.base, &fab.g, 2);
		if (how == DIES)
			say(fab.end[1], 2, -1);
		pthread_join(thread, NULL);
		assert_int_equal(a.result, -ENOTCONN);
		famez_leave(dead);
		fab.member[2] = NULL;
		fabric_gone(&fab, 2);
	}
	fabric_end(&fab);
}

static void a_receiver_that_leaves_releases_who_waits_for_it(void **state)
{
	block_until(state, LEAVES);
}

static void a_receiver_that_dies_releases_who_waits_for_it(void **state)
{
	block_until(state, DIES);
}

static void a_death_that_nobody_announces_is_noticed_all_the_same(void **state)
{
	block_until(state, DIES_UNANNOUNCED);
}

static void who_waits_for_a_receiver_that_starts_anew_goes_on_with_that_one(void **state)
{
	struct fabric fab;
	struct party a = {.to = 2, .count = 300, .bytes_max = 600};
	struct famez_entry *e;
	struct famez_seen m;
	struct famez_rx rx;
	unsigned number, last = 0, count = 0;
	pthread_t thread;

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	a.f = fabric_member(&fab, 1);
	(void)fabric_member(&fab, 2);
	start(&thread, send_all, &a);
	wait_until_blocked(&fab, 1, 2);
	/* As a guest's driver does: the membership stays, the generation does not. */
	e = famez_entry_at(fab.base, &fab.g, 2);
	famez_store_release(&e->generation, e->generation + 1);
	famez_rx_open(&rx, fab.base, &fab.g, 2, 1, e->generation);
	while (last != 299) {
		bool waits;

		if (famez_rx_peek(&rx, &m) != 1) {
			waits = famez_rx_idle(&rx) & FAMEZ_IDLE_RING;
			sched_yield();
		} else {
			memcpy(&number, m.payload, 4);
			assert_true(!count || number == last + 1);
			last = number;
			count++;
			waits = famez_rx_release(&rx);
		}
		if (waits)
			assert_int_equal(write(fab.bell[1][2], &(uint64_t){1}, 8), 8);
	}
	pthread_join(thread, NULL);
	assert_int_equal(a.result, 0);
	assert_true(rx.stale > 0);
	assert_int_equal(rx.stale + count, 300);
	fabric_end(&fab);
}

static void membership_met_while_a_send_waits_is_told_afterwards(void **state)
{
	struct fabric fab;
	struct party a = {.to = 2, .count = 400, .bytes_max = 600};
	struct party b = {.count = 400, .bytes_max = 600};
	struct famez_event event;
	pthread_t thread;
	int fd = eventfd_new();
	unsigned told = 0;

	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	a.f = fabric_member(&fab, 1);
	b.f = fabric_member(&fab, 2);
	start(&thread, send_all, &a);
	wait_until_blocked(&fab, 1, 2);
	for (unsigned v = 0; v < 150; v++)
		say(fab.end[1], 4, fd);
	(void)receive_all(&b);
	pthread_join(thread, NULL);
	assert_int_equal(a.result, 0);
	assert_int_equal(b.result, 0);
	while (famez_next(a.f, &event) == 1) {
		if (event.kind == FAMEZ_EVENT_DOORBELL)
			continue; /* there was room, and it came late */
		assert_int_equal(event.kind, FAMEZ_EVENT_VECTOR);
		assert_int_equal(event.peer, 4);
		assert_int_equal(event.vector, told++);
	}
	assert_int_equal(told, 150);
	close(fd);
	fabric_end(&fab);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_blocking_sender_and_a_sleeping_receiver_wait_for_each_other),
		T(the_same_holds_where_both_poll_first),
		T(two_who_fill_each_others_lanes_both_get_through),
		T(a_question_is_always_answered_however_sleepily),
		T(a_receiver_that_leaves_releases_who_waits_for_it),
		T(a_receiver_that_dies_releases_who_waits_for_it),
		T(a_death_that_nobody_announces_is_noticed_all_the_same),
		T(who_waits_for_a_receiver_that_starts_anew_goes_on_with_that_one),
		T(membership_met_while_a_send_waits_is_told_afterwards),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
