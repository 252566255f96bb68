/* SPDX-License-Identifier: MIT */
/*
 * process.c - what of a process is its own: heap, threads, and the time.
 *
 * All of it is gone with a death, but for the time.
 */
#include "sim.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- memory ------------------------------------------------------------------------------ */

struct block {
	LIST_ENTRY(block) link;
	_Alignas(64) unsigned char bytes[];
};

static LIST_HEAD(, block) heap = LIST_HEAD_INITIALIZER(heap);

void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *at);

void *__wrap_calloc(size_t count, size_t size)
{
	struct block *b;

	if (!fiber_now())
		return __real_calloc(count, size);
	b = aligned_alloc(64, (sizeof(*b) + count * size + 63) / 64 * 64);
	assert(b);
	memset(b, 0, sizeof(*b) + count * size);
	LIST_INSERT_HEAD(&heap, b, link);
	return b->bytes;
}

void __wrap_free(void *at)
{
	struct block *b;

	if (!fiber_now() || !at) {
		__real_free(at);
		return;
	}
	b = (struct block *)(void *)((unsigned char *)at - offsetof(struct block, bytes));
	LIST_REMOVE(b, link);
	__real_free(b);
}

void process_forget_heap(void)
{
	struct block *b;

	assert(!fiber_now());
	while ((b = LIST_FIRST(&heap))) {
		LIST_REMOVE(b, link);
		__real_free(b);
	}
}

/* ---- threads and time ---------------------------------------------------------------------- */

int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_sem_wait(sem_t *semaphore);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
	static const char *const names[] = {"registrar", "worker 0", "worker 1", "worker 2"};
	unsigned n;

	(void)attributes;
	n = fiber_start(NULL, run, argument);
	fibers[n].name = names[n];
	*thread = n;
	return 0;
}

static bool is_done(void *argument)
{
	return ((struct fiber *)argument)->done;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	(void)result;
	if (!is_done(&fibers[thread]))
		fiber_wait(is_done, &fibers[thread]);
	fibers[thread].used = false;
	return 0;
}

static bool is_posted(void *semaphore)
{
	int value = 0;

	(void)sem_getvalue(semaphore, &value);
	return value > 0;
}

int __wrap_sem_wait(sem_t *semaphore)
{
	if (!is_posted(semaphore))
		fiber_wait(is_posted, semaphore);
	return sem_trywait(semaphore);
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)left;
	world.now_ns += (uint64_t)time->tv_nsec;
	fiber_yield();
	return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	(void)clock;
	/* Who looks at it again and again sees it go on. */
	if (fiber_now())
		world.now_ns += 100;
	*t = (struct timespec){
		.tv_sec = (time_t)(world.now_ns / 1000000000u),
		.tv_nsec = (long)(world.now_ns % 1000000000u),
	};
	return 0;
}
