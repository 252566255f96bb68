/* SPDX-License-Identifier: MIT */
/*
 * gbench.h - Google Benchmark for programs in C.
 *
 * A benchmark is a C function. It is registered with gbench_add(), told what it is to be run
 * with (gbench_arg() and so on), and called by gbench_main() once for each argument, thread
 * count and repetition, with a run to loop in:
 *
 *      static void copies(struct gbench_run *run, void *unused)
 *      {
 *              static char from[4096], to[4096];
 *              size_t bytes = (size_t)gbench_value(run, 0);
 *
 *              (void)unused;
 *              while (gbench_keep(run, 16))
 *                      for (unsigned i = 0; i < 16; i++) {
 *                              memcpy(to, from, bytes);
 *                              gbench_clobber();
 *                      }
 *              gbench_bytes(run, gbench_iterations(run) * bytes);
 *      }
 *      ...
 *      gbench_range(gbench_add("copies", copies, NULL), 64, 4096);
 *      return gbench_main(argc, argv);
 *
 * gbench_keep() takes how many iterations follow, so that a call into C++ is made once for
 * many; what is measured is then the C compiler's loop and nothing else.
 *
 * gbench.cc is the other side, and the only C++ here. Everything belongs to the main thread, but
 * for what takes a run: that belongs to the thread that was handed it. Nothing throws, and
 * nothing is freed by the caller: benchmarks live as long as the program.
 */
#ifndef BENCH_GBENCH_H
#define BENCH_GBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gbench;     /* a benchmark that was registered */
struct gbench_run; /* one run of it in one thread */

typedef void gbench_function(struct gbench_run *run, void *argument);

/** How its time grows with what gbench_complexity_of() was told; _FIT: find out which. */
enum gbench_order {
	GBENCH_O_NONE,
	GBENCH_O_1,
	GBENCH_O_LOG_N,
	GBENCH_O_N,
	GBENCH_O_N_LOG_N,
	GBENCH_O_N_SQUARED,
	GBENCH_O_FIT,
};

/** What a counter's value means, and how it is shown. */
enum gbench_counter {
	GBENCH_PLAIN,         /* as it is; several threads' are added */
	GBENCH_AVERAGE,       /* the average of the threads' */
	GBENCH_PER_SECOND,    /* divided by the time */
	GBENCH_PER_ITERATION, /* divided by the iterations */
};

/* ---- registering: before gbench_main() ---------------------------------------------------- */

/**
 * gbench_add() - a benchmark more. @name is copied; slashes part it into groups.
 * @argument is handed to @function as it is. Returns it, for the calls below.
 */
struct gbench *gbench_add(const char *name, gbench_function *function, void *argument);

/** gbench_arg() - run it with this value; each call is a run more. */
void gbench_arg(struct gbench *b, int64_t value);

/** gbench_args() - run it with these @count values at once. */
void gbench_args(struct gbench *b, const int64_t *values, size_t count);

/** gbench_range() - run it with @from, @from * multiplier, ..., @to; the multiplier is 8, or what
 * gbench_multiplier() said before. */
void gbench_range(struct gbench *b, int64_t from, int64_t to);
void gbench_multiplier(struct gbench *b, int multiplier);

/** gbench_value_names() - before the values come: how each of a run's @count values is shown. */
void gbench_value_names(struct gbench *b, const char *const *names, size_t count);

/** gbench_threads() - run it in so many threads at once, which start together. */
void gbench_threads(struct gbench *b, int threads);

/** gbench_real_time() - what counts is the clock, not this process's processor time: for what
 * sleeps. */
void gbench_real_time(struct gbench *b);

/** gbench_complexity() - fit the runs' times to @order, and say how well that does. */
void gbench_complexity(struct gbench *b, enum gbench_order order);

/* ---- in a run ---------------------------------------------------------------------------- */

/**
 * gbench_keep() - false: it is over. True: do @count iterations. Measuring begins with the first
 * call, at which all threads wait for each other, and ends with the last. If a run does not loop
 * until it is told false, it must have called gbench_skip().
 */
bool gbench_keep(struct gbench_run *run, uint64_t count);

/** gbench_pause(), gbench_resume() - what lies between them is not measured. Costs some 100 ns
 * itself, which is. */
void gbench_pause(struct gbench_run *run);
void gbench_resume(struct gbench_run *run);

/** gbench_skip() - this run is an error, as @why says; it is shown as one, others go on. */
void gbench_skip(struct gbench_run *run, const char *why);

/** gbench_value() - the @nth value of this run. */
int64_t gbench_value(const struct gbench_run *run, unsigned nth);

/** gbench_iterations() - after the loop: how many were done. Each thread does as many. */
uint64_t gbench_iterations(const struct gbench_run *run);

/** gbench_thread() - 0 .. gbench_thread_count() - 1. */
int gbench_thread(const struct gbench_run *run);
int gbench_thread_count(const struct gbench_run *run);

/* What this run (this thread of it) did in all: */
void gbench_items(struct gbench_run *run, uint64_t items);
void gbench_bytes(struct gbench_run *run, uint64_t bytes);
void gbench_complexity_of(struct gbench_run *run, uint64_t n);
void gbench_label(struct gbench_run *run, const char *text);
void gbench_count(
	struct gbench_run *run, const char *name, double value, enum gbench_counter means);

/** gbench_clobber() - the compiler must have all memory written by here. */
static inline void gbench_clobber(void)
{
	__asm__ volatile("" ::: "memory");
}

/* ---- running ----------------------------------------------------------------------------- */

/**
 * gbench_main() - takes Google Benchmark's own options (--benchmark_filter=REGEX,
 * --benchmark_format=console|json|csv, --benchmark_out=FILE, --benchmark_repetitions=N,
 * --benchmark_min_time=S, --benchmark_list_tests) and runs what was registered.
 * Returns the exit status: 0; 1 if a run was an error; 2 if an argument is none of its own.
 */
int gbench_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
