/* SPDX-License-Identifier: MIT */
/*
 * test_log.c - one line an event: its shape in text and JSON, odd bytes, the flood.
 */
#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "log_line.h"
#include "log_ring.h"

static const uint64_t noon_ns = UINT64_C(1795348800) * 1000000000 + 123456789;

static void expect_line(bool json, const struct log_field *fields, const char *want)
{
	char line[2048];
	size_t length = log_format(line, sizeof(line), json, noon_ns, LOG_join, fields);

	assert_true(length > 0 && length < sizeof(line));
	assert_int_equal(line[length - 1], '\n');
	line[length - 1] = '\0';
	assert_string_equal(line, want);
}

#define FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {NULL, NULL, 0}})

static void a_text_line_is_time_level_event_and_fields(void **state)
{
	(void)state;
	expect_line(false, FIELDS(LOG_NUMBER("id", 3), LOG_TEXT("exe", "qemu-system-x86_64")),
		"2026-11-22T12:00:00.123456Z info event=join id=3 exe=qemu-system-x86_64");
}

static void a_json_line_is_one_object(void **state)
{
	(void)state;
	expect_line(true, FIELDS(LOG_NUMBER("id", 3), LOG_TEXT("exe", "qemu")),
		"{\"time\":\"2026-11-22T12:00:00.123456Z\",\"level\":\"info\",\"event\":\"join\","
		"\"id\":3,\"exe\":\"qemu\"}");
}

static void the_largest_number_is_written_whole(void **state)
{
	(void)state;
	expect_line(false, FIELDS(LOG_NUMBER("n", UINT64_MAX)),
		"2026-11-22T12:00:00.123456Z info event=join n=18446744073709551615");
}

static void texts_with_spaces_are_quoted(void **state)
{
	(void)state;
	expect_line(false, FIELDS(LOG_TEXT("why", "no room")),
		"2026-11-22T12:00:00.123456Z info event=join why=\"no room\"");
	expect_line(false, FIELDS(LOG_TEXT("why", "")),
		"2026-11-22T12:00:00.123456Z info event=join why=\"\"");
	expect_line(false, FIELDS(LOG_TEXT("why", "a=b")),
		"2026-11-22T12:00:00.123456Z info event=join why=\"a=b\"");
}

/* Whatever a client calls itself: one line, printable, and quotes that pair. */
static void check_tame(bool json, const char *text)
{
	char line[4096];
	size_t length = log_format(line, sizeof(line), json, noon_ns, LOG_join,
		FIELDS(LOG_TEXT("exe", text), LOG_NUMBER("last", 7)));
	unsigned quotes = 0;

	assert_true(length > 0 && length < sizeof(line));
	for (size_t n = 0; n + 1 < length; n++) {
		unsigned char c = (unsigned char)line[n];

		assert_true(c >= 0x20 && c != 0x7f);
		if (json)
			assert_true(c < 0x80 || (unsigned char)text[0] >= 0x80);
		if (c == '\\')
			n++; /* whatever is escaped */
		else
			quotes += c == '"';
	}
	assert_int_equal(line[length - 1], '\n');
	assert_int_equal(quotes % 2, 0);
	line[length - 1] = '\0';
	assert_non_null(strstr(line, json ? "\"last\":7}" : " last=7"));
}

static void odd_bytes_never_break_a_line(void **state)
{
	(void)state;
	for (unsigned c = 1; c < 256; c++) {
		char text[] = {(char)c, 'x', (char)c, '\0'};

		check_tame(false, text);
		check_tame(true, text);
	}
	check_tame(false, "\"\\\"\\\\\" event=drop id=1");
	check_tame(true, "\",\"event\":\"drop");
	check_tame(false, "a\nb\r\tc\x1b[31m");
	check_tame(true, "\xff\xfe\xc3\x28");
}

static void a_line_too_long_is_cut_and_still_one_line(void **state)
{
	static char text[5000];
	char line[256];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	for (size_t bytes = 128; bytes <= sizeof(line); bytes++)
		for (unsigned json = 0; json < 2; json++) {
			size_t length;

			memset(line, 0x55, sizeof(line));
			length = log_format(line, bytes, json, noon_ns, LOG_join,
				FIELDS(LOG_TEXT("a", text), LOG_TEXT("b", text)));
			assert_true(length > 0 && length <= bytes);
			assert_ptr_equal(memchr(line, '\n', length), line + length - 1);
			for (size_t n = bytes; n < sizeof(line); n++)
				assert_int_equal(line[n], 0x55);
		}
}

static void an_event_without_fields_is_a_line_too(void **state)
{
	static const struct log_field none[] = {{NULL, NULL, 0}};
	char line[256];

	(void)state;
	line[log_format(line, sizeof(line), false, 0, LOG_report_end, none)] = '\0';
	assert_string_equal(line, "1970-01-01T00:00:00.000000Z notice event=report-end\n");
}

/* ---- the logger --------------------------------------------------------------- */

static char path[] = "/tmp/famez-unit-log-XXXXXX";

/* As the state's: of two threads, and there for whoever is forked. */
static struct log_memory *shared;

static int set_up(void **state)
{
	int fd;

	(void)state;
	shared = mmap(NULL, log_memory_bytes(2), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	if (shared == MAP_FAILED)
		return -1;
	log_share(shared);
	memcpy(path + sizeof(path) - 7, "XXXXXX", 7);
	fd = mkstemp(path);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

static unsigned lines_with(const char *word)
{
	static char text[1 << 20];
	FILE *f = fopen(path, "re");
	unsigned count = 0;

	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
		count += strstr(line, word) != NULL;
	return count;
}

static void open_log(enum log_level level)
{
	struct log_config config = {.file = path, .level = level};

	assert_int_equal(log_open(&config, -1), 0);
}

static void lines_above_the_level_are_left_out(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	log_event(stop, LOG_NUMBER("n", 1));
	log_event(join, LOG_NUMBER("n", 2));
	log_event(drop, LOG_NUMBER("n", 3));
	assert_int_equal(lines_with("event=stop"), 1);
	assert_int_equal(lines_with("event=join"), 0);
	assert_int_equal(lines_with("event=drop"), 1);
}

static void what_is_queued_is_written_before_the_logger_ends(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(2), 0);
	log_thread(1);
	for (unsigned n = 0; n < 100; n++)
		log_event(report, LOG_NUMBER("n", n));
	log_stop();
	assert_int_equal(lines_with("event=report") + log_dropped(), 100);
	log_event(stop, LOG_NUMBER("n", 1));
	assert_int_equal(lines_with("event=stop"), 1);
}

/* Lines travel in pieces: each length once, so also those that just fill one. */
static void a_line_of_any_length_arrives_whole(void **state)
{
	char text[LOG_LINE_BYTES], want[LOG_LINE_BYTES + 32];

	(void)state;
	for (unsigned length = 1; length < LOG_LINE_BYTES - 80; length++) {
		memset(text, 'a' + (int)(length % 26), length);
		text[length] = '\0';
		(void)snprintf(want, sizeof(want), " event=stop t=%s end=1", text);
		open_log(LOG_LEVEL_NOTICE);
		assert_int_equal(log_start(1), 0);
		log_thread(0);
		log_event(stop, LOG_TEXT("t", text), LOG_NUMBER("end", 1));
		log_stop();
		assert_int_equal(lines_with(want), 1);
		assert_int_equal(lines_with("event="), length);
	}
}

#define CHATTER_LINES 5000u

/* As fast as it can, beyond what the logger keeps up with; @argument: number and letter. */
static void *chatter(void *argument)
{
	unsigned nth = *(unsigned *)argument;
	char text[301];

	log_thread(nth);
	for (unsigned n = 0; n < CHATTER_LINES; n++) {
		unsigned length = 1 + n % (unsigned)(sizeof(text) - 1);

		memset(text, nth ? 'b' : 'a', length);
		text[length] = '\0';
		log_event(stop, LOG_TEXT("t", text), LOG_NUMBER("length", length),
			LOG_NUMBER("end", nth));
	}
	return NULL;
}

/* The line's text is as long as it says, and all of one letter. */
static bool is_whole(const char *line)
{
	const char *text = strstr(line, " event=stop t=");
	char letter, rest[64];
	size_t length;

	if (!text)
		return false;
	text += strlen(" event=stop t=");
	letter = *text;
	length = strspn(text, letter == 'a' ? "a" : "b");
	(void)snprintf(rest, sizeof(rest), " length=%zu end=%d", length, letter == 'b');
	return strcmp(text + length, rest) == 0;
}

static void lines_of_several_threads_neither_mix_nor_break_when_some_are_lost(void **state)
{
	static char text[2 * CHATTER_LINES * LOG_LINE_BYTES];
	unsigned nth[] = {0, 1}, lines = 0;
	uint64_t lost = log_dropped();
	pthread_t threads[2];
	FILE *f;

	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(2), 0);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(pthread_create(&threads[n], NULL, chatter, &nth[n]), 0);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(pthread_join(threads[n], NULL), 0);
	log_stop();
	f = fopen(path, "re");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line; lines++)
		if (!is_whole(line))
			fail_msg("\"%s\"", line);
	assert_true(lines > 0);
	assert_int_equal(lines + (log_dropped() - lost), 2 * CHATTER_LINES);
}

static void a_flood_of_one_event_is_cut_short_and_counted(void **state)
{
	unsigned written;

	(void)state;
	open_log(LOG_LEVEL_INFO);
	assert_int_equal(log_start(1), 0);
	log_thread(0);
	for (unsigned n = 0; n < 100000; n++)
		log_event(refuse, LOG_NUMBER("n", n));
	log_event(stop, LOG_NUMBER("n", 1));
	log_stop();
	written = lines_with("event=refuse");
	assert_true(written > 0 && written < 50000);
	assert_int_equal(lines_with("event=stop") + log_dropped() > 0, 1);
}

static void a_log_that_was_rotated_is_opened_anew(void **state)
{
	char moved[64];

	(void)state;
	(void)snprintf(moved, sizeof(moved), "%s.1", path);
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(1), 0);
	log_thread(0);
	assert_int_equal(rename(path, moved), 0);
	log_reopen(NULL);
	log_stop();
	log_event(stop, LOG_NUMBER("n", 1));
	assert_int_equal(unlink(moved), 0);
	assert_int_equal(lines_with("event=stop"), 1);
}

/* The log is a pipe, which somebody reads who comes later. */
static void make_pipe(void)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
}

/* What is in it now, as a text. */
static void read_pipe(int fd, char *text, size_t room)
{
	ssize_t bytes;

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	bytes = read(fd, text, room - 1);
	assert_true(bytes > 0);
	text[bytes] = '\0';
}

static void what_is_logged_after_a_rotation_is_in_the_new_file_though_lines_wait(void **state)
{
	int pipe, room, waiting = 0;
	char text[65536];

	(void)state;
	make_pipe();
	pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(pipe >= 0);
	room = fcntl(pipe, F_SETPIPE_SZ, 4096);
	assert_in_range(room, 1, LOG_RING_BYTES / 4);
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(1), 0);
	log_thread(0);
	for (int bytes = 0; bytes < 2 * room; bytes += 40)
		log_event(stop, LOG_TEXT("t", "early"));
	/* The logger has begun with them, and there is no room for the rest. */
	while (waiting < room - LOG_LINE_BYTES)
		assert_int_equal(ioctl(pipe, FIONREAD, &waiting), 0);
	assert_int_equal(unlink(path), 0);
	log_reopen(NULL);
	log_event(stop, LOG_TEXT("t", "late"));
	read_pipe(pipe, text, sizeof(text));
	log_stop();
	assert_int_equal(lines_with("t=late"), 1);
	assert_int_equal(log_dropped(), 0);
	close(pipe);
}

static void print_the_report(void *argument)
{
	(void)argument;
	log_event(report_end, LOG_NUMBER("peers", 1));
}

static void what_was_logged_before_a_report_was_asked_for_stands_before_it(void **state)
{
	char text[4096], *line, *report;
	int pipe;

	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(1), 0);
	log_thread(0);
	/* The logger waits until somebody opens the other end. */
	make_pipe();
	log_reopen(NULL);
	log_event(stop, LOG_NUMBER("n", 1));
	log_ask(print_the_report, NULL);
	pipe = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(pipe >= 0);
	log_stop();
	read_pipe(pipe, text, sizeof(text));
	line = strstr(text, "event=stop");
	report = strstr(text, "event=report-end");
	assert_non_null(line);
	assert_non_null(report);
	assert_true(line < report);
	close(pipe);
}

/* A broker: more than the pipe takes, which nobody reads, and then its death. */
static _Noreturn void say_much_and_die(int pipe)
{
	struct pollfd some = {.fd = pipe, .events = POLLIN};

	log_thread(1);
	for (unsigned n = 0; n < 100; n++)
		log_event(stop, LOG_TEXT("t", "early"), LOG_NUMBER("n", n));
	log_thread(0);
	log_event(stop, LOG_TEXT("t", "early"), LOG_NUMBER("n", 100));
	(void)poll(&some, 1, -1); /* the logger has begun with them */
	(void)kill(getpid(), SIGKILL);
	_exit(0);
}

static void what_a_dead_broker_had_not_written_its_successor_writes_first(void **state)
{
	char text[65536], want[64];
	const char *at = text;
	int pipe, room, status;
	unsigned twice = 0;
	size_t bytes;
	pid_t broker;
	FILE *f;

	(void)state;
	make_pipe();
	pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(pipe >= 0);
	room = fcntl(pipe, F_SETPIPE_SZ, 4096);
	assert_in_range(room, 1, 4096);
	open_log(LOG_LEVEL_NOTICE);
	broker = fork();
	if (broker == 0) {
		if (log_start(2) == 0)
			say_much_and_die(pipe);
		_exit(1);
	}
	assert_int_equal(waitpid(broker, &status, 0), broker);
	assert_true(WIFSIGNALED(status));
	read_pipe(pipe, text, sizeof(text));
	assert_null(strstr(text, " n=99\n"));
	close(pipe);
	assert_int_equal(unlink(path), 0);
	open_log(LOG_LEVEL_NOTICE);
	assert_int_equal(log_start(2), 0);
	log_thread(0);
	log_event(stop, LOG_TEXT("t", "late"), LOG_NUMBER("n", 101));
	log_stop();
	assert_int_equal(log_dropped(), 0);
	bytes = strlen(text);
	f = fopen(path, "re");
	assert_non_null(f);
	text[bytes + fread(text + bytes, 1, sizeof(text) - 1 - bytes, f)] = '\0';
	(void)fclose(f);
	/* Each is there, and whole. Those that were put by one thread are in their order, and what
	 * the successor says comes behind all of them. */
	for (unsigned n = 0; n < 100; n++) {
		(void)snprintf(want, sizeof(want), " notice event=stop t=early n=%u\n", n);
		at = strstr(at, want);
		assert_non_null(at);
		twice += strstr(at + 1, want) != NULL;
	}
	/* It may have died when a line was written, and not noted. */
	assert_in_range(twice, 0, 1);
	at = strstr(text, " n=100\n");
	assert_non_null(at);
	assert_true(strstr(text, "t=late n=101\n") > at);
	assert_true(strstr(text, "t=late n=101\n") > strstr(text, " n=99\n"));
}

static void half_a_line_of_a_dead_broker_has_a_line_of_its_own(void **state)
{
	int fd;

	(void)state;
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	shared->unfinished = 1;
	open_log(LOG_LEVEL_NOTICE);
	log_event(stop, LOG_NUMBER("n", 1));
	assert_int_equal(lines_with("half"), 1);
	assert_int_equal(lines_with("event=stop n=1"), 1);
	assert_int_equal(lines_with("half2"), 0);
	assert_int_equal(shared->unfinished, 0);
	/* "half", the line, and nothing behind it. */
	assert_int_equal(lines_with(""), 3);
}

static void what_a_dead_broker_left_and_makes_no_sense_is_said_and_passed_over(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	shared->ring[0].put = 64;
	shared->ring[1].put = 3;
	assert_int_equal(log_start(2), 0);
	log_thread(1);
	log_event(stop, LOG_NUMBER("n", 1));
	log_stop();
	assert_int_equal(lines_with("event=failed"), 2);
	assert_int_equal(lines_with("event=stop n=1"), 1);
}

static void limit_files(rlim_t bytes)
{
	const struct rlimit limit = {bytes, RLIM_INFINITY};

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_line_that_a_full_disk_cut_short_spoils_no_other(void **state)
{
	(void)state;
	open_log(LOG_LEVEL_NOTICE);
	(void)signal(SIGXFSZ, SIG_IGN);
	limit_files(70); /* one, and the beginning of another */
	log_event(stop, LOG_NUMBER("n", 1));
	log_event(stop, LOG_NUMBER("n", 2));
	log_event(stop, LOG_NUMBER("n", 3));
	assert_int_equal(log_dropped(), 2);
	limit_files(RLIM_INFINITY);
	log_event(stop, LOG_NUMBER("n", 4));
	log_event(stop, LOG_NUMBER("n", 5));
	assert_int_equal(lines_with("Z notice event=stop n="), 3);
	/* The half one has a line of its own; and there is nothing behind the last. */
	assert_int_equal(lines_with(""), 5);
}

static void a_file_that_cannot_be_opened_is_an_error(void **state)
{
	struct log_config config = {.file = "/proc/no/such/log", .level = LOG_LEVEL_NOTICE};

	(void)state;
	assert_true(log_open(&config, -1) < 0);
}

#define T(name)  cmocka_unit_test(name)
#define TF(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_text_line_is_time_level_event_and_fields),
		T(a_json_line_is_one_object),
		T(the_largest_number_is_written_whole),
		T(texts_with_spaces_are_quoted),
		T(odd_bytes_never_break_a_line),
		T(a_line_too_long_is_cut_and_still_one_line),
		T(an_event_without_fields_is_a_line_too),
		TF(lines_above_the_level_are_left_out),
		TF(what_is_queued_is_written_before_the_logger_ends),
		TF(a_line_of_any_length_arrives_whole),
		TF(lines_of_several_threads_neither_mix_nor_break_when_some_are_lost),
		TF(a_flood_of_one_event_is_cut_short_and_counted),
		TF(a_log_that_was_rotated_is_opened_anew),
		TF(what_is_logged_after_a_rotation_is_in_the_new_file_though_lines_wait),
		TF(what_was_logged_before_a_report_was_asked_for_stands_before_it),
		TF(what_a_dead_broker_had_not_written_its_successor_writes_first),
		TF(half_a_line_of_a_dead_broker_has_a_line_of_its_own),
		TF(what_a_dead_broker_left_and_makes_no_sense_is_said_and_passed_over),
		TF(a_line_that_a_full_disk_cut_short_spoils_no_other),
		T(a_file_that_cannot_be_opened_is_an_error),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
