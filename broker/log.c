/* SPDX-License-Identifier: MIT */
/*
 * log.c - one line an event, and never a thread held up by it.
 *
 * The logger thread owns the file. Other threads own the producing end of one
 * queue each, and their rate limits. Knows nothing of what the events mean.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "haste.h"
#include "heap.h"
#include "look.h"
#include "queue.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(close), CALL(dup3), CALL(read), CALL(write));

/* Of an event that a client can cause at will: so many at once, and so many a
 * second in the long run, per thread. */
#define FLOOD_BURST      50
#define FLOOD_PER_SECOND 10

/* At the end, how long the last lines may take to be written. */
#define STOP_PATIENCE_S 2

/* What a line is cut into: most take two or three, and would waste the rest of a place for
 * the longest. */
struct log_piece {
	uint8_t bytes;
	bool more; /* the next one goes on with the line */
	char text[LOG_PIECE_BYTES];
};

QUEUE_PROTOTYPE(log_piece)

struct log_limit {
	uint64_t filled_ns; /* when `left` was last topped up */
	uint32_t left;
	uint32_t suppressed;
};

struct log_source {
	struct log_piece_queue queue;
	struct log_limit limits[LOG_EVENTS_COUNT];
	/* the logger's: of a line whose last piece is still on its way */
	char line[LOG_LINE_BYTES];
	size_t line_bytes;
};

static const struct {
	const char *name;
	enum log_level level;
	bool flood;
} events[] = {
#define LOG_EVENT(name, text, level, flood) {text, LOG_LEVEL_##level, flood},
	LOG_EVENTS(LOG_EVENT)
#undef LOG_EVENT
};

static struct log_config config = {.level = LOG_LEVEL_NOTICE};
static int file = STDERR_FILENO;
static bool hurried;   /* log_hurry() */
static bool cut_short; /* `file` ends with half of a line: the disk was full */

static pthread_t logger;
static bool started;
static _Atomic bool stuck; /* the logger hangs in a write; nothing more is logged */
static unsigned sources_count;
static struct log_source *sources;
static struct wakeup wake;
static _Atomic bool stopping;
static _Atomic unsigned reopens_asked, reopens_done;
static struct wakeup *reopened; /* rung when they are as many */
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

/* Append, and note where it did not fit: a line cut short stays a line. */
__attribute__((format(printf, 4, 5))) static size_t put(
	char *line, size_t at, size_t bytes, const char *format, ...)
{
	va_list arguments;
	int n;

	if (at >= bytes)
		return at;
	va_start(arguments, format);
	n = vsnprintf(line + at, bytes - at, format, arguments);
	va_end(arguments);
	assert(n >= 0);
	return at + (size_t)n < bytes ? at + (size_t)n : bytes;
}

/* The same without a format, which takes many times as long: most of a line. No NUL: the line's
 * last part brings one. */
static size_t put_bytes(char *line, size_t at, size_t bytes, const char *text, size_t count)
{
	if (at >= bytes || count >= bytes - at)
		return bytes;
	memcpy(line + at, text, count);
	return at + count;
}

static size_t put_text(char *line, size_t at, size_t bytes, const char *text)
{
	return put_bytes(line, at, bytes, text, strlen(text));
}

static size_t put_number(char *line, size_t at, size_t bytes, uint64_t number)
{
	char digits[20];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return put_bytes(line, at, bytes, digits + first, sizeof(digits) - first);
}

/* Between quotes; and no end. */
static bool is_shown_as_it_is(char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static bool plain_text(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!is_shown_as_it_is(*text) || *text == ' ' || *text == '=')
			return false;
	return true;
}

static size_t put_quoted(char *line, size_t at, size_t bytes, const char *text)
{
	at = put_text(line, at, bytes, "\"");
	while (*text) {
		unsigned char c = (unsigned char)*text;
		size_t plain = 0;

		while (is_shown_as_it_is(text[plain]))
			plain++;
		if (plain)
			at = put_bytes(line, at, bytes, text, plain);
		else if (c == '"' || c == '\\')
			at = put(line, at, bytes, "\\%c", c);
		else
			at = put(line, at, bytes, "\\u%04x", c);
		text += plain ? plain : 1;
	}
	return put_text(line, at, bytes, "\"");
}

static size_t put_field(
	char *line, size_t at, size_t bytes, bool json, const struct log_field *field)
{
	at = put_text(line, at, bytes, json ? ",\"" : " ");
	at = put_text(line, at, bytes, field->key);
	at = put_text(line, at, bytes, json ? "\":" : "=");
	if (!field->text)
		return put_number(line, at, bytes, field->number);
	if (!json && plain_text(field->text))
		return put_text(line, at, bytes, field->text);
	return put_quoted(line, at, bytes, field->text);
}

size_t log_format(char *line, size_t bytes, bool json, uint64_t time_ns, enum log_event event,
	const struct log_field *fields)
{
	static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
	/* Room that every line needs at its end, however long its fields are. */
	const size_t room = bytes - 3;
	const char *level = levels[events[event].level];
	time_t seconds = (time_t)(time_ns / 1000000000u);
	unsigned micros = (unsigned)(time_ns / 1000u % 1000000u);
	char day[32];
	struct tm tm;
	size_t at;

	(void)gmtime_r(&seconds, &tm);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	at = put(line, 0, room,
		json ? "{\"time\":\"%s.%06uZ\",\"level\":\"%s\",\"event\":\"%s\""
		     : "%s.%06uZ %s event=%s",
		day, micros, level, events[event].name);
	for (; fields->key; fields++) {
		size_t end = put_field(line, at, room, json, fields);

		/* A field that does not fit whole is left out: the line stays
		 * valid. One byte less than full is the last that surely fits. */
		if (end >= room)
			break;
		at = end;
	}
	return put(line, at, bytes, json ? "}\n" : "\n");
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

static void write_out(const char *text, size_t bytes)
{
	size_t left = bytes;

	if (hurried && would_block()) {
		lose_line();
		return;
	}
	/* What comes behind half of a line would be lost with it. */
	if (cut_short && sys_write(file, "\n", 1) != 1) {
		lose_line();
		return;
	}
	cut_short = false;
	while (left) {
		int n = sys_write(file, text, left);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			lose_line();
			cut_short = left < bytes;
			return;
		}
		text += n;
		left -= (size_t)n;
	}
}

/* All of it or nothing: the logger must find the end of every line that it has begun. */
static bool put_pieces(struct log_piece_queue *queue, const char *text, size_t bytes)
{
	struct log_piece piece = {.more = true};
	bool done = true;

	if (log_piece_queue_room(queue) < (bytes + LOG_PIECE_BYTES - 1) / LOG_PIECE_BYTES)
		return false;
	for (size_t at = 0; at < bytes; at += piece.bytes) {
		piece.more = bytes - at > LOG_PIECE_BYTES;
		piece.bytes = (uint8_t)(piece.more ? LOG_PIECE_BYTES : bytes - at);
		memcpy(piece.text, text + at, piece.bytes);
		done = log_piece_queue_put(queue, &piece);
		assert(done);
	}
	return done;
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
	if (!put_pieces(&source->queue, line, bytes)) {
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
		LOG_TEXT("of", events[event].name),
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

	if (!source || !events[event].flood)
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
	if (!stuck && events[event].level <= config.level && within_limit(event))
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
	cut_short = false;
	log_event(reopened, LOG_TEXT("file", config.file ? config.file : "stderr"));
}

/* Before each line: one that was queued after log_reopen() is for the new file, and who sees it
 * sees `reopens_asked`. What was queued before may be in either. */
static void reopen_if_asked(void)
{
	unsigned now = atomic_load(&reopens_asked);

	if (now == atomic_load_explicit(&reopens_done, memory_order_relaxed))
		return;
	reopen_now();
	atomic_store(&reopens_done, now);
	if (reopened)
		wakeup_ring(reopened);
}

static void append(struct log_source *s, const struct log_piece *piece)
{
	assert(s->line_bytes + piece->bytes <= sizeof(s->line));
	memcpy(s->line + s->line_bytes, piece->text, piece->bytes);
	s->line_bytes += piece->bytes;
	if (piece->more)
		return;
	reopen_if_asked();
	write_out(s->line, s->line_bytes);
	s->line_bytes = 0;
}

/* All that was queued when it began; a thread that goes on logging does not keep the others'
 * lines waiting. */
static bool write_queued(void)
{
	struct log_piece piece;
	bool any = false;

	for (unsigned i = 0; i < sources_count; i++) {
		for (unsigned n = 0;
			n < LOG_QUEUE_PIECES && log_piece_queue_take(&sources[i].queue, &piece);
			n++) {
			append(&sources[i], &piece);
			any = true;
		}
	}
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

int log_start(unsigned threads)
{
	sigset_t all, old;
	int err;

	assert(!started);
	hurried = false;
	sources = sys_calloc(threads, sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	err = wakeup_init(&wake);
	if (err)
		goto undo_sources;
	for (sources_count = 0; sources_count < threads; sources_count++) {
		err = log_piece_queue_init(&sources[sources_count].queue, LOG_QUEUE_PIECES);
		if (err)
			goto undo_queues;
	}
	atomic_store(&stopping, false);
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox's, which says what was refused */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = sys_thread(&logger, run, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		goto undo_queues;
	started = true;
	return 0;

undo_queues:
	while (sources_count)
		log_piece_queue_destroy(&sources[--sources_count].queue);
	wakeup_destroy(&wake);
undo_sources:
	free(sources);
	sources = NULL;
	return err;
}

uint64_t log_bytes(unsigned threads)
{
	return heap_given(threads * sizeof(*sources)) +
	       threads * heap_given(LOG_QUEUE_PIECES * sizeof(struct log_piece));
}

void log_thread(unsigned nth)
{
	assert(nth < sources_count);
	source = &sources[nth];
}

bool log_stop(void)
{
	struct timespec patience;

	if (!started)
		return true;
	atomic_store(&stopping, true);
	wakeup_force(&wake);
	started = false;
	source = NULL;
	/* A pipe that nobody reads holds up the logger, not our end. */
	(void)clock_gettime(CLOCK_MONOTONIC, &patience);
	patience.tv_sec += STOP_PATIENCE_S;
	if (pthread_clockjoin_np(logger, NULL, CLOCK_MONOTONIC, &patience) != 0) {
		stuck = true;
		return false;
	}
	while (sources_count)
		log_piece_queue_destroy(&sources[--sources_count].queue);
	wakeup_destroy(&wake);
	free(sources);
	sources = NULL;
	return true;
}

void log_reopen(struct wakeup *done)
{
	reopened = done;
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
