/* SPDX-License-Identifier: MIT */
/*
 * queue.h - small values from one thread to one other, and the wake-up.
 *
 * QUEUE_PROTOTYPE(name) makes `struct name_queue`, of `struct name`, out of CK's
 * single-producer single-consumer ring: bounded, lock-free, values copied in and
 * out. Both ends are private to us, so ck_ring may be trusted here (never in the
 * mailbox file, where it would read its mask from memory that guests write).
 *
 * A wakeup belongs to one consumer, however many queues it reads. The consumer
 *     1. wakeup_sleep()   says that it is going to sleep,
 *     2. looks at all its queues once more,
 *     3. sleeps until the eventfd is readable, unless it found something;
 *     4. wakeup_awake()   when it is up.
 * A producer enqueues, then calls wakeup_ring(). Either it sees the flag of 1, or
 * the consumer sees the value in 2: no wake-up is lost, and while the consumer is
 * busy none costs a system call.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <ck_pr.h>
#include <ck_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "sys.h"

#if defined(__SANITIZE_THREAD__)
#define QUEUE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUEUE_TSAN 1
#endif
#endif

#ifdef QUEUE_TSAN
/* The sanitizer does not see into Concurrency Kit's assembly: it is told of the
 * order, and looks away while values are copied through the ring. */
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static inline void queue_acquire(void *address)
{
	__tsan_acquire(address);
}

static inline void queue_release(void *address)
{
	__tsan_release(address);
}

static inline void queue_unseen_begin(void)
{
	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

static inline void queue_unseen_end(void)
{
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static inline void queue_acquire(void *address)
{
	(void)address;
}

static inline void queue_release(void *address)
{
	(void)address;
}

static inline void queue_unseen_begin(void)
{
}

static inline void queue_unseen_end(void)
{
}
#endif

/*
 * name_queue_init()  room for @count - 1 values; @count a power of two >= 4.
 *                    Returns 0 or -ENOMEM.
 * name_queue_put()   producer only: false where it is full.
 * name_queue_take()  consumer only: false where it is empty.
 * name_queue_room()  producer only: how many puts will succeed.
 * name_queue_empty() either.
 */
#define QUEUE_FUNCTION __attribute__((unused)) static inline

#define QUEUE_PROTOTYPE(name)                                                                      \
	struct name##_queue {                                                                      \
		ck_ring_t ring;                                                                    \
		struct name *values;                                                               \
		char filled, emptied; /* addresses for the sanitizer */                            \
	};                                                                                         \
	CK_RING_PROTOTYPE(name, name)                                                              \
	QUEUE_FUNCTION int name##_queue_init(struct name##_queue *q, unsigned count)               \
	{                                                                                          \
		q->values = sys_calloc(count, sizeof(*q->values));                                 \
		if (!q->values)                                                                    \
			return -ENOMEM;                                                            \
		ck_ring_init(&q->ring, count);                                                     \
		return 0;                                                                          \
	}                                                                                          \
	QUEUE_FUNCTION void name##_queue_destroy(struct name##_queue *q)                           \
	{                                                                                          \
		free(q->values);                                                                   \
		q->values = NULL;                                                                  \
	}                                                                                          \
	QUEUE_FUNCTION bool name##_queue_put(struct name##_queue *q, const struct name *value)     \
	{                                                                                          \
		struct name copy = *value;                                                         \
		bool done;                                                                         \
                                                                                                   \
		queue_acquire(&q->emptied);                                                        \
		queue_release(&q->filled);                                                         \
		queue_unseen_begin();                                                              \
		done = ck_ring_enqueue_spsc_##name(&q->ring, q->values, &copy);                    \
		queue_unseen_end();                                                                \
		return done;                                                                       \
	}                                                                                          \
	QUEUE_FUNCTION bool name##_queue_take(struct name##_queue *q, struct name *value)          \
	{                                                                                          \
		bool done;                                                                         \
                                                                                                   \
		queue_release(&q->emptied);                                                        \
		queue_unseen_begin();                                                              \
		done = ck_ring_dequeue_spsc_##name(&q->ring, q->values, value);                    \
		queue_unseen_end();                                                                \
		if (done)                                                                          \
			queue_acquire(&q->filled);                                                 \
		return done;                                                                       \
	}                                                                                          \
	QUEUE_FUNCTION unsigned name##_queue_room(const struct name##_queue *q)                    \
	{                                                                                          \
		return ck_ring_capacity(&q->ring) - 1 - ck_ring_size(&q->ring);                    \
	}                                                                                          \
	QUEUE_FUNCTION bool name##_queue_empty(const struct name##_queue *q)                       \
	{                                                                                          \
		return ck_ring_size(&q->ring) == 0;                                                \
	}

struct wakeup {
	int fd; /* eventfd, in blocking mode: nobody but us has it */
	_Atomic bool asleep;
};

/** wakeup_init() - returns 0 or -errno of eventfd(2). */
static inline int wakeup_init(struct wakeup *w)
{
	int fd = sys_eventfd(EFD_CLOEXEC);

	if (fd < 0)
		return fd;
	w->fd = fd;
	atomic_init(&w->asleep, false);
	return 0;
}

static inline void wakeup_destroy(struct wakeup *w)
{
	(void)close(w->fd);
}

/** wakeup_force() - wake it, asleep or not: the next sleep ends at once. Any thread. */
static inline void wakeup_force(struct wakeup *w)
{
	uint64_t one = 1;

	(void)!write(w->fd, &one, sizeof(one));
}

/** wakeup_ring() - any producer, after it has put something. */
static inline void wakeup_ring(struct wakeup *w)
{
	/* W0: the value was stored before we look at the flag. Pairs with W1. */
	ck_pr_fence_store_load();
	if (!atomic_load_explicit(&w->asleep, memory_order_seq_cst))
		return;
	/* One of several producers is enough. The counter can't be full, so the
	 * write neither blocks nor fails. */
	if (atomic_exchange_explicit(&w->asleep, false, memory_order_seq_cst))
		wakeup_force(w);
}

/** wakeup_sleep() - consumer: look at the queues once more after this. */
static inline void wakeup_sleep(struct wakeup *w)
{
	/* W1: the flag is seen before we look at the queues. Pairs with W0. */
	atomic_store_explicit(&w->asleep, true, memory_order_seq_cst);
	ck_pr_fence_store_load();
}

/** wakeup_awake() - consumer: from here on nobody need ring. */
static inline void wakeup_awake(struct wakeup *w)
{
	atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
}

#endif
