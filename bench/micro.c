/* SPDX-License-Identifier: MIT */
/*
 * micro.c - famez-bench-micro: how long each hot path takes, by Google Benchmark.
 *
 * Registers all that the themes have. Takes Google Benchmark's options, see gbench_main(); the
 * exit status is 1 if one of them could not be had here.
 */
#include "micro.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "gbench.h"

/* Of the benchmark that runs now: one at a time. Thread 0 makes it, all wait for that in their
 * first gbench_keep(), and nobody uses it after the last one. */
static struct {
	void *_Atomic world;
	uint32_t batch;
} now;

static void open_world(struct gbench_run *run, const struct micro *m)
{
	const struct micro_value value = {m->first_name ? gbench_value(run, 0) : 0,
		m->second_name ? gbench_value(run, 1) : 0};
	void *world;

	now.batch = 1024;
	world = m->open(&value, &now.batch);
	if (!world)
		gbench_skip(run, strerror(errno));
	atomic_store(&now.world, world);
}

static void close_world(struct gbench_run *run, const struct micro *m)
{
	void *world = atomic_load(&now.world);
	uint64_t times = gbench_iterations(run);

	if (!world)
		return;
	gbench_items(run, times);
	if (m->first_is_bytes)
		gbench_bytes(run, times * (uint64_t)gbench_value(run, 0));
	if (m->claim != MICRO_NO_CLAIM)
		gbench_complexity_of(run, (uint64_t)gbench_value(run, 0));
	if (m->counted)
		gbench_count(run, m->counts, (double)m->counted(world), GBENCH_PER_ITERATION);
	m->close(world);
}

static void run_one(struct gbench_run *run, void *argument)
{
	const struct micro *m = argument;

	open_world(run, m);
	while (gbench_keep(run, now.batch)) {
		m->run(now.world, now.batch);
		if (!m->reset)
			continue;
		gbench_pause(run);
		m->reset(now.world);
		gbench_resume(run);
	}
	close_world(run, m);
}

/* The same in two threads, each with its part. */
static void run_two(struct gbench_run *run, void *argument)
{
	const struct micro *m = argument;
	bool first = gbench_thread(run) == 0;
	bool begun = false;

	if (first)
		open_world(run, m);
	/* A batch of which the other one is not told would be one too many for it: always 1024. */
	while (gbench_keep(run, 1024)) {
		if (!begun && !atomic_load(&now.world)) {
			gbench_skip(run, "there is no world for it");
			continue;
		}
		begun = true;
		(first ? m->run : m->beside)(now.world, 1024);
	}
	if (first)
		close_world(run, m);
}

static void add(const struct micro *m)
{
	static const enum gbench_order orders[] = {
		[MICRO_CONSTANT] = GBENCH_O_1,
		[MICRO_LOG] = GBENCH_O_LOG_N,
		[MICRO_LINEAR] = GBENCH_O_N,
	};
	struct gbench *b = gbench_add(m->name, m->beside ? run_two : run_one, (void *)m);

	if (m->first_name)
		gbench_value_names(b, (const char *const[]){m->first_name, m->second_name},
			m->second_name ? 2 : 1);
	for (const struct micro_value *v = m->values; m->first_name && v->first; v++)
		gbench_args(b, (const int64_t[]){v->first, v->second}, m->second_name ? 2 : 1);
	if (m->beside)
		gbench_threads(b, 2);
	if (m->sleeps || m->beside)
		gbench_real_time(b);
	if (m->claim != MICRO_NO_CLAIM)
		gbench_complexity(b, orders[m->claim]);
}

int main(int argc, char **argv)
{
	for (const struct micro *const *theme = micro_themes; *theme; theme++)
		for (const struct micro *m = *theme; m->name; m++)
			add(m);
	return gbench_main(argc, argv);
}
