/* SPDX-License-Identifier: MIT */
/*
 * log.c - one line an event, and never a thread held up by it.
 *
 * The logger thread owns the file. Other threads own the producing end of one
 * ring each (log_ring.h), and their rate limits. Knows nothing of what the events mean.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "haste.h"
#include "heap.h"
#include "log_line.h"
#include "log_ring.h"
#include "look.h"
#include "queue.h"
#include "sandbox_calls.h"
#include "state.h"
#include "sys.h"

SANDBOX_BROKER(CALL(close), CALL(dup3), CALL(read), CALL(write));

/* Of an event that a client can cause at will: so many at once, and so many a
 * second in the long run, per thread. */
#define FLOOD_BURST      50
#define FLOOD_PER_SECOND 10

/* At the end, how long the last lines may take to be written. */
#define STOP_PATIENCE_S 2

struct log_limit {
	uint64_t filled_ns; /* when `left` was last topped up */
	uint32_t left;
	uint32_t suppressed;
};

struct log_source {
	struct log_ring *ring;
	struct log_limit limits[LOG_EVENTS_COUNT];
	uint64_t before; /* the logger's: where what the broker before us put ends */
};

static struct log_config config = {.level = LOG_LEVEL_NOTICE};
static int file = STDERR_FILENO;
static bool hurried; /* log_hurry() */

/* Before there is a state. */
static struct log_memory nowhere;
static struct log_memory *memory = &nowhere;

static pthread_t logger;
static bool started;
static _Atomic bool stuck; /* the logger hangs in a write; nothing more is logged */
static unsigned sources_count;
static struct log_source *sources;
static struct wakeup wake;
static _Atomic bool stopping;
static _Atomic unsigned reopens_asked, reopens_done;
static struct wakeup *_Atomic reopened; /* rung when they are as many */
static _Atomic uint64_t dropped;
static _Atomic bool asked;
static void (*asked_print)(void *);
static void *asked_argument;

/* Which queue is this thread's; NULL: write directly. */
static _Thread_local struct log_source *source;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A log that can't be written is no reason to stop. */
static void lose_line(void)
{
	atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

/* A pipe that takes anything takes PIPE_BUF bytes (pipe(7)), and a line is less. */
static bool would_block(void)
{
	struct pollfd p = {.fd = file, .events = POLLOUT};

	return poll(&p, 1, 0) <= 0;
}

/* Who dies over a line may have written half of it, and leaves that to be known. */
static void set_unfinished(bool is)
{
	atomic_store_explicit(&memory->unfinished, is, memory_order_relaxed);
	state_point();
}

static void write_out(const char *text, size_t bytes)
{
	size_t left = bytes;

	if (hurried && would_block()) {
		lose_line();
		return;
	}
	/* What comes behind half of a line would be lost with it. */
	if (atomic_load_explicit(&memory->unfinished, memory_order_relaxed) &&
		sys_write(file, "\n", 1) != 1) {
		lose_line();
		return;
	}
	set_unfinished(true);
	while (left) {
		int n = sys_write(file, text, left);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			lose_line();
			break;
		}
		text += n;
		left -= (size_t)n;
	}
	if (!left || left == bytes)
		set_unfinished(false);
}

static void emit(enum log_event event, const struct log_field *fields)
{
	char line[LOG_LINE_BYTES];
	size_t bytes =
		log_format(line, sizeof(line), config.json, now_ns(CLOCK_REALTIME), event, fields);

	if (!source) {
		write_out(line, bytes);
		return;
	}
	if (!log_ring_put(source->ring, line, (uint32_t)bytes)) {
		lose_line();
		return;
	}
	wakeup_ring(&wake);
}

/* Top up what an event has earned since; is a line of it allowed now? */
static bool top_up(struct log_limit *limit)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC), earned;

	if (!limit->filled_ns) {
		limit->filled_ns = now;
		limit->left = FLOOD_BURST;
	}
	earned = (now - limit->filled_ns) * FLOOD_PER_SECOND / 1000000000u;
	if (earned) {
		limit->filled_ns = now;
		limit->left = earned + limit->left < FLOOD_BURST ? (uint32_t)earned + limit->left
								 : FLOOD_BURST;
	}
	return limit->left > 0;
}

static void tell_suppressed(struct log_limit *limit, enum log_event event)
{
	const struct log_field fields[] = {
		LOG_TEXT("of", log_kinds[event].name),
		LOG_NUMBER("lines", limit->suppressed),
		{NULL, NULL, 0},
	};

	if (!limit->suppressed)
		return;
	limit->suppressed = 0;
	emit(LOG_suppressed, fields);
}

static bool within_limit(enum log_event event)
{
	struct log_limit *limit;

	if (!source || !log_kinds[event].flood)
		return true;
	limit = &source->limits[event];
	if (!top_up(limit)) {
		limit->suppressed++;
		return false;
	}
	limit->left--;
	tell_suppressed(limit, event);
	return true;
}

bool log_suppressed(void)
{
	for (unsigned event = 0; source && event < LOG_EVENTS_COUNT; event++)
		if (source->limits[event].suppressed)
			return true;
	return false;
}

void log_settle(void)
{
	for (unsigned event = 0; source && event < LOG_EVENTS_COUNT; event++)
		if (source->limits[event].suppressed && top_up(&source->limits[event]))
			tell_suppressed(&source->limits[event], event);
}

void log_fields(enum log_event event, const struct log_field *fields)
{
	assert(event < LOG_EVENTS_COUNT);
	if (!stuck && log_kinds[event].level <= config.level && within_limit(event))
		emit(event, fields);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

struct look_file log_file(const char *path)
{
	return (struct look_file){path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640};
}

static int open_file(void)
{
	struct look_file wanted = log_file(config.file);

	return config.file ? look_open(&wanted) : STDERR_FILENO;
}

int log_open(const struct log_config *wanted, int fd)
{
	config = *wanted;
	if (fd < 0)
		fd = open_file();
	if (fd < 0)
		return fd;
	file = fd;
	return 0;
}

int log_descriptor(void)
{
	return file;
}

void log_hurry(void)
{
	hurried = true;
}

/* The file stays as it is where the new one can't be opened. */
static void reopen_now(void)
{
	int fd = open_file();

	if (fd < 0) {
		log_event(failed, LOG_TEXT("what", "reopen the log"), LOG_TEXT("file", config.file),
			LOG_TEXT("error", strerror(-fd)));
		return;
	}
	/* The keeper writes there, too, and knows the number. */
	if (fd != file) {
		(void)dup3(fd, file, O_CLOEXEC);
		(void)close(fd);
	}
	set_unfinished(false);
	log_event(reopened, LOG_TEXT("file", config.file ? config.file : "stderr"));
}

/* Before each line: one that was queued after log_reopen() is for the new file, and who sees it
 * sees `reopens_asked`. What was queued before may be in either. */
static void reopen_if_asked(void)
{
	unsigned now = atomic_load(&reopens_asked);
	struct wakeup *done;

	if (now == atomic_load_explicit(&reopens_done, memory_order_relaxed))
		return;
	reopen_now();
	atomic_store(&reopens_done, now);
	done = atomic_load(&reopened);
	if (done)
		wakeup_ring(done);
}

static void tell_damaged(void)
{
	lose_line();
	log_event(failed, LOG_TEXT("what", "read what a broker had not logged yet"),
		LOG_TEXT("error", "damaged"));
}

/* Up to where the thread had come when it began; one that goes on logging does not keep the others'
 * lines waiting. */
static bool write_until(struct log_source *s, uint64_t until)
{
	char line[LOG_LINE_BYTES];
	bool any = false;

	while (atomic_load_explicit(&s->ring->taken, memory_order_relaxed) < until) {
		uint64_t end;
		int bytes = log_ring_next(s->ring, line, &end);

		reopen_if_asked();
		if (bytes > 0)
			write_out(line, (size_t)bytes);
		else
			tell_damaged();
		log_ring_taken(s->ring, end);
		any = true;
	}
	return any;
}

static bool write_queued(void)
{
	bool any = false;

	for (unsigned i = 0; i < sources_count; i++)
		any |= write_until(&sources[i],
			atomic_load_explicit(&sources[i].ring->put, memory_order_acquire));
	return any;
}

static void print_what_was_asked_for(void)
{
	void (*print)(void *) = asked_print;
	void *argument = asked_argument;

	/* From here on the next one may be asked for. */
	atomic_store_explicit(&asked, false, memory_order_release);
	print(argument);
}

static void *run(void *unused)
{
	(void)unused;
	haste_end();
	/* What the broker before us had to say comes first. */
	for (unsigned i = 0; i < sources_count; i++)
		(void)write_until(&sources[i], sources[i].before);
	for (;;) {
		/* In this order: what was wanted before it, a new file or a line, is seen too. */
		bool stop = atomic_load(&stopping);
		bool print = atomic_load_explicit(&asked, memory_order_acquire);
		bool any;
		uint64_t rings;

		reopen_if_asked();
		any = write_queued();
		if (print)
			print_what_was_asked_for();
		if (any || print)
			continue;
		if (stop)
			return NULL;
		wakeup_sleep(&wake);
		if (!write_queued() && !atomic_load(&stopping) && log_reopened() &&
			!atomic_load(&asked))
			(void)!read(wake.fd, &rings, sizeof(rings));
		wakeup_awake(&wake);
	}
}

void log_share(struct log_memory *lines)
{
	memory = lines ? lines : &nowhere;
}

int log_start(unsigned threads)
{
	sigset_t all, old;
	int err;

	assert(!started && memory != &nowhere);
	hurried = false;
	sources = sys_calloc(threads, sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	err = wakeup_init(&wake);
	if (err)
		goto undo_sources;
	for (sources_count = 0; sources_count < threads; sources_count++) {
		struct log_source *one = &sources[sources_count];

		one->ring = &memory->ring[sources_count];
		if (!log_ring_resume(one->ring))
			tell_damaged();
		one->before = atomic_load_explicit(&one->ring->put, memory_order_relaxed);
	}
	atomic_store(&stopping, false);
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox's, which says what was refused */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = sys_thread(&logger, run, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		goto undo_wakeup;
	started = true;
	return 0;

undo_wakeup:
	wakeup_destroy(&wake);
undo_sources:
	free(sources);
	sources = NULL;
	return err;
}

uint64_t log_bytes(unsigned threads)
{
	return heap_given(threads * sizeof(*sources));
}

void log_thread(unsigned nth)
{
	assert(nth < sources_count);
	source = &sources[nth];
}

/* Has the logger ended within these seconds? */
static bool joined(time_t seconds)
{
	struct timespec until;
#ifdef __SANITIZE_THREAD__ /* gcc 12's takes a join by that clock for none */
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	return pthread_timedjoin_np(logger, NULL, &until) == 0;
#else
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	return pthread_clockjoin_np(logger, NULL, CLOCK_MONOTONIC, &until) == 0;
#endif
}

bool log_stop(void)
{
	if (!started)
		return true;
	atomic_store(&stopping, true);
	wakeup_force(&wake);
	started = false;
	source = NULL;
	/* A pipe that nobody reads holds up the logger, not our end. */
	if (!joined(STOP_PATIENCE_S)) {
		stuck = true;
		return false;
	}
	wakeup_destroy(&wake);
	free(sources);
	sources = NULL;
	return true;
}

void log_reopen(struct wakeup *done)
{
	atomic_store(&reopened, done);
	(void)atomic_fetch_add(&reopens_asked, 1);
	wakeup_force(&wake);
}

bool log_reopened(void)
{
	return atomic_load(&reopens_asked) == atomic_load(&reopens_done);
}

void log_ask(void (*print)(void *), void *argument)
{
	assert(!atomic_load_explicit(&asked, memory_order_acquire));
	asked_print = print;
	asked_argument = argument;
	atomic_store_explicit(&asked, true, memory_order_release);
	wakeup_force(&wake);
}
