/* SPDX-License-Identifier: MIT */
/*
 * micro_guard.c - famez-bench-guard: each hot path a fixed number of times, for callgrind.
 *
 * To be run by bench/guard, under `valgrind --tool=callgrind --toggle-collect=guard_counts`, and
 * writes a sum under the name of each.
 * Each path is done for one batch before, uncounted: what is done once only, such as finding a
 * function in a shared library, is not what it costs.
 *
 * It is its own clock, which goes on by a microsecond whenever it is looked at: what looks at the
 * time would else do more on a slow day.
 */
#include "micro.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <valgrind/callgrind.h>

/* Instead of clock_gettime(2), in all that this program is linked of. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	static uint64_t us = UINT64_C(1000000000);

	(void)clock;
	us++;
	*time = (struct timespec){
		.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000 * 1000)};
	return 0;
}

static void name_of(char *name, size_t bytes, const struct micro *m, const struct micro_value *v)
{
	int used = snprintf(name, bytes, "%s", m->name);

	if (m->first_name)
		used += snprintf(name + used, bytes - (size_t)used, "/%s:%lld", m->first_name,
			(long long)v->first);
	if (m->second_name)
		(void)snprintf(name + used, bytes - (size_t)used, "/%s:%lld", m->second_name,
			(long long)v->second);
}

/* What goes on in here is counted: callgrind knows it by this name. */
__attribute__((noinline)) void guard_counts(const struct micro *m, void *world, uint32_t times);
void guard_counts(const struct micro *m, void *world, uint32_t times)
{
	m->run(world, times);
	__asm__ volatile("" ::: "memory"); /* so that it is a call, and no jump */
}

static void again(const struct micro *m, void *world)
{
	if (m->reset)
		m->reset(world);
}

static int count(const struct micro *m, const struct micro_value *v)
{
	uint32_t batch = 1024, times = 0, most;
	char name[128];
	void *world;

	name_of(name, sizeof(name), m, v);
	world = m->open(v, &batch);
	if (!world) {
		(void)fprintf(stderr, "famez-bench-guard: %s: %s\n", name, strerror(errno));
		return 1;
	}
	/* To copy much is always the same instruction. */
	most = m->first_is_bytes && v->first > 2048 ? m->guard * 2048 / (uint32_t)v->first
						    : m->guard;
	if (batch > most)
		batch = most;
	m->run(world, batch);
	again(m, world);
	for (; times < most; times += batch) {
		guard_counts(m, world, batch);
		again(m, world);
	}
	CALLGRIND_DUMP_STATS_AT(name);
	/* For who reads the sum: of how many times it is, and what it may grow with. */
	(void)printf("%s %u %lld %s\n", name, times, (long long)v->first,
		m->claim == MICRO_CONSTANT ? "constant"
		: m->claim == MICRO_LOG    ? "log"
		: m->claim == MICRO_LINEAR ? "linear"
					   : "-");
	m->close(world);
	return 0;
}

static int count_all(void)
{
	int failed = 0;

	for (const struct micro *const *theme = micro_themes; *theme; theme++)
		for (const struct micro *m = *theme; m->name; m++) {
			if (!m->guard)
				continue;
			if (!m->first_name)
				failed |= count(m, &(struct micro_value){0});
			for (const struct micro_value *v = m->values; m->first_name && v->first;
				v++)
				failed |= count(m, v);
		}
	return failed;
}

int main(int argc, char **argv)
{
	/* Counts of another compiler, or of another machine's instructions, say nothing. */
	if (argc == 2 && strcmp(argv[1], "--built") == 0) {
#ifdef __clang__
		(void)printf(
			"clang-%d.%d.%d", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
		(void)printf("gcc-%d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
#if defined(__x86_64__) && !defined(__SSE3__) && defined(__OPTIMIZE__)
		(void)puts("-x86-64");
#else
		(void)puts("-other");
#endif
		return 0;
	}
	if (argc != 1) {
		(void)fputs("usage: famez-bench-guard [--built]; bench/guard runs it\n", stderr);
		return 2;
	}
	if (!RUNNING_ON_VALGRIND) {
		(void)fputs("famez-bench-guard: nobody counts; run bench/guard\n", stderr);
		return 2;
	}
	return count_all();
}
