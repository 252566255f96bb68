/* SPDX-License-Identifier: MIT */
/*
 * sim.h - runs the real lane.h and inbox.h on a machine that reorders, stepped by hand.
 *
 * Included instead of famez/inbox.h. Every access to a shared word, as those headers make it,
 * comes in here: then the schedule, drawn from a seed, may let another actor go on, and decides
 * when a store reaches memory. So one thread plays senders and receivers on processors that
 * reorder more than x86 does:
 *
 *   - Each actor has a store buffer; an ordered store waits until it is in memory. Either the
 *     others leave the buffer in order, and loads overtake them, as on x86. Or relaxed stores
 *     leave it in any order, a release store after all that were before it, and an ordered load
 *     waits for the release stores, as on ARM. The seed says which.
 *   - A relaxed load of a word that the wake-up protocols look at may give the value that it had
 *     when the actor began what it is doing. Only builds with FAMEZ_WEAKEN_x have such loads.
 *   - A doorbell is a flag. An actor who waits for it goes on when it was rung. Where all wait
 *     and something is left to do, a wake-up was lost.
 *
 * An actor can be killed at any access; what is in its buffer still reaches memory.
 */
#ifndef SIM_H
#define SIM_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "famez/atomic.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifdef __SANITIZE_THREAD__
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

enum { SIM_ACTORS = 4, SIM_BUFFER = 12, SIM_WATCHED = 4, SIM_STACK = 128 * 1024 };
enum sim_order { SIM_RELAXED, SIM_RELEASE, SIM_ORDERED };

struct sim_store {
	void *word;
	uint64_t value;
	uint32_t bytes;
	bool release;
};

struct sim_actor {
	void (*run)(void *argument);
	void *argument;
	ucontext_t context;
	void *fiber;
	bool started, done, waits, rung;
	unsigned accesses; /* so far */
	unsigned dies_at;  /* the access before which it dies; 0: never */
	struct sim_store buffer[SIM_BUFFER];
	unsigned stores;
	struct {
		const void *word;
		uint64_t value; /* when what the actor is doing began */
	} watched[SIM_WATCHED];
	unsigned watches;
};

static struct {
	struct sim_actor actors[SIM_ACTORS];
	unsigned count, now;
	uint64_t dice;
	unsigned restless; /* an actor is interrupted every so many accesses */
	unsigned idle;     /* a store reaches memory every so many accesses */
	bool in_order;     /* x86's kind of machine */
	ucontext_t scheduler;
	void *scheduler_fiber;
	void (*died)(unsigned actor); /* may start it anew */
} sim;

static _Alignas(64) unsigned char sim_stacks[SIM_ACTORS][SIM_STACK];

static uint32_t sim_dice(uint32_t sides)
{
	sim.dice ^= sim.dice << 13;
	sim.dice ^= sim.dice >> 7;
	sim.dice ^= sim.dice << 17;
	return (uint32_t)(sim.dice >> 32) % sides;
}

/* ---- memory ------------------------------------------------------------------------------ */

static uint64_t sim_read(const void *word, uint32_t bytes)
{
	return bytes == 8 ? __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED)
			  : __atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED);
}

static void sim_write(void *word, uint64_t value, uint32_t bytes)
{
	if (bytes == 8)
		__atomic_store_n((uint64_t *)word, value, __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint32_t *)word, (uint32_t)value, __ATOMIC_RELAXED);
}

/* May this store of the buffer be the next to reach memory? */
static bool sim_may_drain(const struct sim_actor *a, unsigned which)
{
	if (sim.in_order || a->buffer[which].release)
		return which == 0;
	for (unsigned i = 0; i < which; i++)
		if (a->buffer[i].word == a->buffer[which].word)
			return false;
	return true;
}

static void sim_drain_one(struct sim_actor *a, unsigned which)
{
	struct sim_store s = a->buffer[which];

	memmove(&a->buffer[which], &a->buffer[which + 1],
		(a->stores - which - 1) * sizeof(a->buffer[0]));
	a->stores--;
	sim_write(s.word, s.value, s.bytes);
}

static void sim_drain(struct sim_actor *a)
{
	while (a->stores)
		sim_drain_one(a, 0);
}

static void sim_drain_releases(struct sim_actor *a)
{
	for (unsigned i = a->stores; i-- > 0;) {
		if (!a->buffer[i].release)
			continue;
		for (unsigned n = 0; n <= i; n++)
			sim_drain_one(a, 0);
		return;
	}
}

static void sim_to_scheduler(void)
{
	struct sim_actor *a = &sim.actors[sim.now];

#ifdef __SANITIZE_THREAD__
	__tsan_switch_to_fiber(sim.scheduler_fiber, 0);
#endif
	(void)swapcontext(&a->context, &sim.scheduler);
}

/* Between any two accesses: somebody else's turn, some store's arrival, or death. */
static struct sim_actor *sim_access(void)
{
	struct sim_actor *a = &sim.actors[sim.now];

	a->accesses++;
	if (a->accesses == a->dies_at) {
		sim_drain(a);
		a->done = true;
		sim_to_scheduler();
		abort(); /* nobody comes back to the dead */
	}
	if (sim_dice(sim.idle) == 0) {
		struct sim_actor *other = &sim.actors[sim_dice(sim.count)];
		unsigned which = other->stores ? sim_dice(other->stores) : 0;

		if (other->stores && sim_may_drain(other, which))
			sim_drain_one(other, which);
	}
	if (sim_dice(sim.restless) == 0)
		sim_to_scheduler();
	return a;
}

static void sim_seen(struct sim_actor *a, const void *word, uint64_t value)
{
	for (unsigned i = 0; i < a->watches; i++)
		if (a->watched[i].word == word)
			a->watched[i].value = value;
}

static uint64_t sim_load(const void *word, uint32_t bytes, enum sim_order order)
{
	struct sim_actor *a = sim_access();
	uint64_t value;

	if (order == SIM_ORDERED && !sim.in_order)
		sim_drain_releases(a);
	value = sim_read(word, bytes);
	for (unsigned i = a->stores; i-- > 0;)
		if (a->buffer[i].word == word)
			return a->buffer[i].value;
	for (unsigned i = 0; order == SIM_RELAXED && i < a->watches; i++)
		if (a->watched[i].word == word && sim_dice(2))
			return a->watched[i].value;
	sim_seen(a, word, value);
	return value;
}

static void sim_store(void *word, uint64_t value, uint32_t bytes, enum sim_order order)
{
	struct sim_actor *a = sim_access();

	if (order == SIM_ORDERED) {
		sim_drain(a);
		sim_write(word, value, bytes);
		return;
	}
	if (a->stores == SIM_BUFFER)
		sim_drain_one(a, 0);
	a->buffer[a->stores++] = (struct sim_store){word, value, bytes, order == SIM_RELEASE};
}

enum sim_change { SIM_OR, SIM_AND, SIM_SET };

/* A locked instruction: in memory at once; relaxed, without what was stored before it. */
static uint64_t sim_change(
	void *word, uint64_t operand, uint32_t bytes, enum sim_change change, int order)
{
	struct sim_actor *a = sim_access();
	uint64_t before, after;

	if (order != __ATOMIC_RELAXED)
		sim_drain(a);
	before = sim_read(word, bytes);
	after = change == SIM_OR    ? before | operand
		: change == SIM_AND ? before & operand
				    : operand;
	sim_write(word, after, bytes);
	sim_seen(a, word, after);
	return before;
}

#undef famez_load_relaxed
#undef famez_load_acquire
#undef famez_load_ordered
#undef famez_store_relaxed
#undef famez_store_release
#undef famez_store_ordered
#define SIM_LOAD(word, order)            ((__typeof__(*(word)))sim_load((word), sizeof(*(word)), order))
#define famez_load_relaxed(word)         SIM_LOAD(word, SIM_RELAXED)
#define famez_load_acquire(word)         SIM_LOAD(word, SIM_RELEASE)
#define famez_load_ordered(word)         SIM_LOAD(word, SIM_ORDERED)
#define famez_store_relaxed(word, value) sim_store((word), (value), sizeof(*(word)), SIM_RELAXED)
#define famez_store_release(word, value) sim_store((word), (value), sizeof(*(word)), SIM_RELEASE)
#define famez_store_ordered(word, value) sim_store((word), (value), sizeof(*(word)), SIM_ORDERED)
#define __atomic_fetch_or(word, v, o)    sim_change((word), (v), sizeof(*(word)), SIM_OR, (o))
#define __atomic_fetch_and(word, v, o)   sim_change((word), (v), sizeof(*(word)), SIM_AND, (o))
#define __atomic_exchange_n(word, v, o)  sim_change((word), (v), sizeof(*(word)), SIM_SET, (o))

#include "famez/inbox.h"

/* ---- what actors do ------------------------------------------------------------------------ */

/* A word that a weakened load may have read as early as this. */
static void sim_watch(const void *word, uint32_t bytes)
{
	struct sim_actor *a = &sim.actors[sim.now];
	unsigned i = 0;

	while (i < a->watches && a->watched[i].word != word)
		i++;
	assert(i < SIM_WATCHED);
	if (i == a->watches)
		a->watches++;
	a->watched[i].word = word;
	a->watched[i].value = sim_read(word, bytes);
}

static void sim_ring(unsigned actor)
{
	(void)sim_access();
	sim.actors[actor].rung = true;
}

static void sim_empty_bell(void)
{
	sim_access()->rung = false;
}

static void sim_wait_for_bell(void)
{
	struct sim_actor *a = sim_access();

	a->waits = true;
	while (!a->rung)
		sim_to_scheduler();
	a->waits = false;
}

/* ---- the schedule -------------------------------------------------------------------------- */

static void sim_main(void)
{
	struct sim_actor *a = &sim.actors[sim.now];

	a->run(a->argument);
	a->done = true;
	sim_to_scheduler();
	abort();
}

/* An actor begins, or, once it has died, its next life does. */
static void sim_begin(unsigned actor, void (*run)(void *argument), void *argument, unsigned dies_at)
{
	struct sim_actor *a = &sim.actors[actor];
	void *fiber = a->fiber;

	(void)fiber;
#ifdef __SANITIZE_ADDRESS__
	ASAN_UNPOISON_MEMORY_REGION(sim_stacks[actor], SIM_STACK);
#endif
#ifdef __SANITIZE_THREAD__
	if (fiber)
		__tsan_destroy_fiber(fiber);
	fiber = __tsan_create_fiber(0);
#endif
	memset(a, 0, sizeof(*a));
	a->fiber = fiber;
	a->run = run;
	a->argument = argument;
	a->dies_at = dies_at;
	(void)getcontext(&a->context);
	a->context.uc_stack.ss_sp = sim_stacks[actor];
	a->context.uc_stack.ss_size = SIM_STACK;
	makecontext(&a->context, sim_main, 0);
	if (actor >= sim.count)
		sim.count = actor + 1;
}

static void sim_reset(uint64_t seed)
{
	sim.count = 0;
	sim.dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (unsigned i = 0; i < 8; i++)
		(void)sim_dice(2);
	sim.restless = 1u << (1 + sim_dice(5));
	sim.idle = 1u << (1 + sim_dice(6));
	sim.in_order = sim_dice(2);
	sim.died = NULL;
}

/* Lets them run until all are done. False: somebody waits for ever. */
static bool sim_run(void)
{
#ifdef __SANITIZE_THREAD__
	sim.scheduler_fiber = __tsan_get_current_fiber();
#endif
	for (;;) {
		unsigned ready[SIM_ACTORS], count = 0;
		bool all_done = true;

		for (unsigned i = 0; i < sim.count; i++) {
			const struct sim_actor *a = &sim.actors[i];

			all_done = all_done && a->done;
			if (!a->done && (!a->waits || a->rung))
				ready[count++] = i;
		}
		if (all_done)
			return true;
		if (!count)
			return false;
		sim.now = ready[sim_dice(count)];
#ifdef __SANITIZE_THREAD__
		__tsan_switch_to_fiber(sim.actors[sim.now].fiber, 0);
#endif
		(void)swapcontext(&sim.scheduler, &sim.actors[sim.now].context);
		if (sim.actors[sim.now].done && sim.actors[sim.now].dies_at && sim.died &&
			sim.actors[sim.now].accesses == sim.actors[sim.now].dies_at)
			sim.died(sim.now);
	}
}

#endif
