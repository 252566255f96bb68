/* SPDX-License-Identifier: MIT */
/*
 * test_mail_batch_threads.c - a thread that sends and one that reads by batches.
 */
#include "mail_batch.h"

#include <pthread.h>
#include <sched.h>

#define STRESS_MESSAGES 200000u
#define STRESS_SEED     20261127u

struct party {
	struct famez *f;
	unsigned seed; /* of its pauses */
	unsigned done;
	unsigned larger; /* batches of more than one */
	int result;      /* of what ended it */
};

/* Mostly small, all sizes at times; known to both from its number. */
static size_t stress_bytes(unsigned number)
{
	unsigned seed = STRESS_SEED + number * PRIME;
	unsigned one = (unsigned)rand_r(&seed), other = (unsigned)rand_r(&seed);

	return one % 16 ? other % 100 : other % (PAYLOAD_MAX + 1);
}

static void pause_at_random(unsigned *seed)
{
	unsigned pause = (unsigned)rand_r(seed) % 128;

	if (pause < 2)
		sched_yield();
	else if (pause < 8)
		for (volatile unsigned i = 0; i < pause * 50; i++)
			;
}

static void *send_all(void *argument)
{
	struct party *p = argument;
	struct famez_to to = {.peer = 2};
	unsigned char payload[PAYLOAD_MAX + 8];

	for (; p->done < STRESS_MESSAGES && !p->result; p->done++) {
		size_t bytes = stress_bytes(p->done);
		unsigned flags = (unsigned)rand_r(&p->seed) % 4 ? FAMEZ_MORE : 0;

		make(payload, p->done, bytes);
		p->result = famez_send(p->f, &to, payload, bytes, flags, -1);
		pause_at_random(&p->seed);
	}
	if (!p->result)
		p->result = famez_flush(p->f, 2);
	return NULL;
}

/* What waits is famez_await(), and the batch begins with what that found. */
static void *receive_all(void *argument)
{
	struct party *p = argument;
	struct famez_message m[BATCH_MAX];

	while (p->done < STRESS_MESSAGES && !p->result) {
		unsigned most = 1 + (unsigned)rand_r(&p->seed) % BATCH_MAX;
		int got = famez_peek_batch(p->f, m, most);

		if (!got) {
			got = famez_await(p->f, m, -1);
			if (got == 1)
				got = famez_peek_batch(p->f, m, most);
		}
		if (got <= 0)
			p->result = got ? got : -EIO;
		for (int i = 0; i < got && !p->result; i++, p->done++)
			if (!is_made(&m[i], p->done, stress_bytes(p->done)))
				p->result = -EBADMSG;
		p->larger += got > 1;
		famez_release(p->f);
		pause_at_random(&p->seed);
	}
	return NULL;
}

static void a_thread_that_sends_and_one_that_reads_by_batches_lose_nothing(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct party a = {.seed = STRESS_SEED + 1}, b = {.seed = STRESS_SEED + 2};
	struct famez_message m[2];
	pthread_t one, other;

	fprintf(stderr, "seed %u\n", STRESS_SEED);
	a.f = fabric_member(fab, 1);
	b.f = fabric_member(fab, 2);
	assert_int_equal(pthread_create(&one, NULL, send_all, &a), 0);
	assert_int_equal(pthread_create(&other, NULL, receive_all, &b), 0);
	pthread_join(one, NULL);
	pthread_join(other, NULL);
	assert_int_equal(a.result, 0);
	assert_int_equal(b.result, 0);
	assert_int_equal(a.done, STRESS_MESSAGES);
	assert_int_equal(b.done, STRESS_MESSAGES);
	assert_true(b.larger > 0);
	assert_int_equal(take(fab, b.f, m, 2), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_thread_that_sends_and_one_that_reads_by_batches_lose_nothing),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
