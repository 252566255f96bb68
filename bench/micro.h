/* SPDX-License-Identifier: MIT */
/*
 * micro.h - the hot paths of broker and library, each as a function that does it so many times.
 *
 * One table of them, and two programs that go through it: famez-bench-micro has Google Benchmark
 * say how long each takes (micro.c), famez-bench-guard does each a fixed number of times, for
 * callgrind to count its instructions (micro_guard.c). So what is timed is what is guarded.
 *
 * A path is looked at in a world of its own: memory, handles, a worker that is stepped by hand.
 * It is made from constants and a fixed seed, never from the clock, so that the same code does
 * the same each time. docs/benchmarks.md lists the hot paths, and which of these shows each.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MICRO_VALUES_MAX 10u

/* Each with up to two values; the first is what its cost may grow with. */
struct micro_value {
	int64_t first, second;
};

/* How the cost of one time grows with the first value: a claim, which is shown with the fit, and
 * which bench/guard checks by the count of instructions. */
enum micro_claim {
	MICRO_NO_CLAIM,
	MICRO_CONSTANT, /* the same for all */
	MICRO_LOG,
	MICRO_LINEAR, /* at most proportional */
};

struct micro {
	const char *name;                            /* THEME/PATH */
	const char *first_name, *second_name;        /* NULL: it has no such value */
	struct micro_value values[MICRO_VALUES_MAX]; /* up to one whose first is 0 */
	enum micro_claim claim;
	bool first_is_bytes; /* of a payload that is moved each time */
	bool sleeps;         /* what counts is the clock, not processor time */
	uint32_t guard; /* times that are counted; 0: it says nothing (threads, or all kernel) */

	/**
	 * open() - the world for this value. *batch: how many times are done until reset(), 1024
	 * unless it says otherwise. NULL with errno: it can't be had here.
	 */
	void *(*open)(const struct micro_value *value, uint32_t *batch);
	/** run() - what is measured, @times times. */
	void (*run)(void *world, uint32_t times);
	/** beside() - what a second thread does at the same time; NULL: there is none. */
	void (*beside)(void *world, uint32_t times);
	/** reset() - after each batch, not measured; NULL: nothing to do. */
	void (*reset)(void *world);
	void (*close)(void *world);
	/** counted() - so many of `counts` in the whole life of the world; shown for each time. */
	uint64_t (*counted)(const void *world);
	const char *counts;
};

/* By theme; each ends with one without a name. */
extern const struct micro micro_lanes[];
extern const struct micro micro_inbox[];
extern const struct micro micro_library[];
extern const struct micro micro_wakes[];
extern const struct micro micro_membership[];
extern const struct micro micro_server[];
extern const struct micro micro_tools[];

/** micro_themes - all of them, NULL at the end. */
extern const struct micro *const micro_themes[];

/** micro_must() - the world itself is broken: says @what, and ends the program with 1. */
#define micro_must(good) ((good) ? (void)0 : micro_broken(#good, __FILE__, __LINE__))
__attribute__((noreturn)) void micro_broken(const char *what, const char *file, int line);

/** micro_uses() - the compiler must compute this. */
static inline void micro_uses(uint64_t value)
{
	__asm__ volatile("" ::"r"(value));
}

#define MICRO_COUNT(array) (sizeof(array) / sizeof(*(array)))

#endif
