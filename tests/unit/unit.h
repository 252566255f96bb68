/* SPDX-License-Identifier: MIT */
/*
 * unit.h - runs a cmocka group the way tests/run.sh wants to read it.
 *
 * Every test runs in a process of its own, so that one which aborts, hangs or
 * leaks fails alone: it prints `ok NAME` or `FAIL NAME: why`, and the program
 * ends with `N passed, N failed`. Arguments that are no options pick the tests
 * whose names contain them. What a test says on standard error is shown only where
 * it failed, and cmocka's own chatter not at all.
 *
 * unit_dies() is for rules that only our own bugs can break: they must abort.
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A test that takes longer hangs; no statement about speed. */
#define UNIT_HANG_SECONDS 900

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline void unit_drop_output(int fd)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, fd) < 0)
		_exit(99);
	close(null);
}

/* What a failed test said on standard error, which was kept in @kept. */
static inline void unit_tell(int kept)
{
	char line[4096];
	off_t at = 0;
	ssize_t bytes;

	while ((bytes = pread(kept, line, sizeof(line), at)) > 0) {
		(void)fwrite(line, 1, (size_t)bytes, stderr);
		at += bytes;
	}
	fflush(stderr);
}

static inline void unit_no_core(void)
{
	const struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none); /* a core file more is no failure */
}

/* Runs one test in this process. Returns its exit status. */
static inline int unit_run_here(const struct CMUnitTest *test, int kept)
{
	int failed;

	alarm(UNIT_HANG_SECONDS);
	unit_drop_output(STDOUT_FILENO);
	if (dup2(kept, STDERR_FILENO) < 0)
		return 99;
	cmocka_set_message_output(CM_OUTPUT_STDOUT);
	failed = _cmocka_run_group_tests(test->name, test, 1, NULL, NULL);
	return failed ? 1 : 0;
}

static inline bool unit_run_one(const struct CMUnitTest *test)
{
	int kept = memfd_create("stderr", MFD_CLOEXEC);
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = kept < 0 ? -1 : fork();
	if (child == 0)
		exit(unit_run_here(test, kept));
	if (child < 0 || waitpid(child, &status, 0) != child) {
		printf("FAIL %s: cannot run it in a process of its own\n", test->name);
		if (kept >= 0)
			close(kept);
		return false;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		unit_tell(kept);
	close(kept);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("ok %s\n", test->name);
		return true;
	}
	if (WIFSIGNALED(status))
		printf("FAIL %s: died of signal %d (%s)\n", test->name, WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		printf("FAIL %s: exit status %d, see standard error\n", test->name,
			WEXITSTATUS(status));
	return false;
}

static inline bool unit_picked(const char *name, int argc, char **argv)
{
	bool any = false;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-') {
			i++; /* an option of the test's own, with its value */
			continue;
		}
		any = true;
		if (strstr(name, argv[i]))
			return true;
	}
	return !any;
}

/* Runs the tests that the arguments pick. Returns the exit status for main(). */
static inline int unit_run(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	unsigned passed = 0, failed = 0;

	for (size_t i = 0; i < count; i++) {
		if (!unit_picked(tests[i].name, argc, argv))
			continue;
		if (unit_run_one(&tests[i]))
			passed++;
		else
			failed++;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Does @act(@argument) abort, as an assertion does? */
static inline bool unit_dies(void (*act)(void *argument), void *argument)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		unit_no_core();
		unit_drop_output(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		act(argument);
		_exit(0);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif
