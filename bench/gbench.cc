// SPDX-License-Identifier: MIT
//
// gbench.cc - see gbench.h. Passes on, and decides nothing.

#include "gbench.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <string>
#include <vector>

// Some run was an error: the library shows that, and keeps no account of it.
static std::atomic<bool> skipped{false};

// These are the library's own things, under a name that C knows.
static benchmark::internal::Benchmark *made(struct gbench *b)
{
	return reinterpret_cast<benchmark::internal::Benchmark *>(b);
}

static benchmark::State &state_of(struct gbench_run *run)
{
	return *reinterpret_cast<benchmark::State *>(run);
}

static const benchmark::State &state_of(const struct gbench_run *run)
{
	return *reinterpret_cast<const benchmark::State *>(run);
}

extern "C" {

struct gbench *gbench_add(const char *name, gbench_function *function, void *argument)
{
	auto run = [function, argument](benchmark::State &state) {
		function(reinterpret_cast<struct gbench_run *>(&state), argument);
	};

	return reinterpret_cast<struct gbench *>(benchmark::RegisterBenchmark(name, run));
}

void gbench_arg(struct gbench *b, int64_t value)
{
	made(b)->Arg(value);
}

void gbench_args(struct gbench *b, const int64_t *values, size_t count)
{
	made(b)->Args(std::vector<int64_t>(values, values + count));
}

void gbench_range(struct gbench *b, int64_t from, int64_t to)
{
	made(b)->Range(from, to);
}

void gbench_multiplier(struct gbench *b, int multiplier)
{
	made(b)->RangeMultiplier(multiplier);
}

void gbench_value_names(struct gbench *b, const char *const *names, size_t count)
{
	made(b)->ArgNames(std::vector<std::string>(names, names + count));
}

void gbench_threads(struct gbench *b, int threads)
{
	made(b)->Threads(threads);
}

void gbench_real_time(struct gbench *b)
{
	made(b)->UseRealTime();
}

void gbench_complexity(struct gbench *b, enum gbench_order order)
{
	switch (order) {
	case GBENCH_O_NONE:
		break;
	case GBENCH_O_1:
		made(b)->Complexity(benchmark::o1);
		break;
	case GBENCH_O_LOG_N:
		made(b)->Complexity(benchmark::oLogN);
		break;
	case GBENCH_O_N:
		made(b)->Complexity(benchmark::oN);
		break;
	case GBENCH_O_N_LOG_N:
		made(b)->Complexity(benchmark::oNLogN);
		break;
	case GBENCH_O_N_SQUARED:
		made(b)->Complexity(benchmark::oNSquared);
		break;
	case GBENCH_O_FIT:
		made(b)->Complexity(benchmark::oAuto);
		break;
	}
}

bool gbench_keep(struct gbench_run *run, uint64_t count)
{
	return state_of(run).KeepRunningBatch(static_cast<benchmark::IterationCount>(count));
}

void gbench_pause(struct gbench_run *run)
{
	state_of(run).PauseTiming();
}

void gbench_resume(struct gbench_run *run)
{
	state_of(run).ResumeTiming();
}

void gbench_skip(struct gbench_run *run, const char *why)
{
	skipped = true;
	state_of(run).SkipWithError(why);
}

int64_t gbench_value(const struct gbench_run *run, unsigned nth)
{
	return state_of(run).range(nth);
}

uint64_t gbench_iterations(const struct gbench_run *run)
{
	return static_cast<uint64_t>(state_of(run).iterations());
}

int gbench_thread(const struct gbench_run *run)
{
	return state_of(run).thread_index();
}

int gbench_thread_count(const struct gbench_run *run)
{
	return state_of(run).threads();
}

void gbench_items(struct gbench_run *run, uint64_t items)
{
	state_of(run).SetItemsProcessed(static_cast<int64_t>(items));
}

void gbench_bytes(struct gbench_run *run, uint64_t bytes)
{
	state_of(run).SetBytesProcessed(static_cast<int64_t>(bytes));
}

void gbench_complexity_of(struct gbench_run *run, uint64_t n)
{
	state_of(run).SetComplexityN(static_cast<int64_t>(n));
}

void gbench_label(struct gbench_run *run, const char *text)
{
	state_of(run).SetLabel(text);
}

void gbench_count(struct gbench_run *run, const char *name, double value, enum gbench_counter means)
{
	benchmark::Counter::Flags flags = benchmark::Counter::kDefaults;

	switch (means) {
	case GBENCH_PLAIN:
		break;
	case GBENCH_AVERAGE:
		flags = benchmark::Counter::kAvgThreads;
		break;
	case GBENCH_PER_SECOND:
		flags = benchmark::Counter::kIsRate;
		break;
	case GBENCH_PER_ITERATION:
		flags = benchmark::Counter::kAvgIterations;
		break;
	}
	state_of(run).counters[name] = benchmark::Counter(value, flags);
}

int gbench_main(int argc, char **argv)
{
	benchmark::Initialize(&argc, argv);
	if (benchmark::ReportUnrecognizedArguments(argc, argv))
		return 2;
	benchmark::RunSpecifiedBenchmarks();
	benchmark::Shutdown();
	return skipped ? 1 : 0;
}
}
