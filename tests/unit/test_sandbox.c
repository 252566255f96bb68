/* SPDX-License-Identifier: MIT */
/*
 * test_sandbox.c - what a process in the sandbox can't do any more, and what its looker does
 * for it. Each test has a process of its own.
 */
#include "unit.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "look.h"
#include "sandbox.h"

#define WORDS 512

static struct sandbox sandbox;
static char *words; /* shared with the processes that are tested */
static pid_t tester;
static char log_path[] = "/tmp/famez-test-sandbox-XXXXXX";

static int set_up(void **state)
{
	struct why why;
	int fd = mkstemp(log_path);

	(void)state;
	tester = getpid();
	words = mmap(NULL, WORDS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || words == MAP_FAILED)
		return -1;
	(void)close(fd);
	return sandbox_compile(&sandbox, SANDBOX_AUTO, NULL, &why);
}

static int tear_down(void **state)
{
	(void)state;
	sandbox_destroy(&sandbox);
	(void)munmap(words, WORDS);
	return unlink(log_path);
}

static void need_seccomp(void)
{
	if (!sandbox.seccomp)
		skip();
}

static void enter(bool with_looker)
{
	const struct look_file log = {log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600};
	struct why why;

	sandbox_words(words, WORDS);
	if ((with_looker && look_start(&sandbox, &log, 1, LOOK_SPARE_MAX)) ||
		sandbox_shed(&sandbox, &why) || sandbox_enter(&sandbox, tester, &why))
		_exit(99);
}

/* How a process ends that does @what in the sandbox, and then exits with 0. */
static int status_of(void (*what)(void), bool with_looker)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		unit_no_core();
		unit_drop_output(STDERR_FILENO);
		words[0] = '\0';
		enter(with_looker);
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void is_refused(void (*what)(void), const char *name)
{
	int status = status_of(what, false);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("%s: status %x and \"%s\"", name, (unsigned)status, words);
	if (!strstr(words, name))
		fail_msg("%s: its last words were \"%s\"", name, words);
}

static void do_execve(void)
{
	char *const argv[] = {(char[]){"true"}, NULL};

	(void)execve("/bin/true", argv, NULL);
}

static void do_fork(void)
{
	if (fork() == 0)
		_exit(0);
}

static void do_socket(void)
{
	(void)socket(AF_INET, SOCK_STREAM, 0);
}

static void do_open(void)
{
	(void)open("/etc/passwd", O_RDONLY);
}

static void do_ptrace(void)
{
	(void)ptrace(PTRACE_ATTACH, tester, NULL, NULL);
}

static void do_read_other(void)
{
	char byte;
	struct iovec io = {&byte, 1};

	(void)process_vm_readv(tester, &io, 1, &io, 1, 0);
}

static void do_kill(void)
{
	(void)kill(tester, 0);
}

static void do_kill_everybody(void)
{
	(void)kill(-1, 0);
}

static void do_map_to_run(void)
{
	(void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_protect(void)
{
	(void)mprotect(words, WORDS, PROT_READ);
}

static void do_new_ring(void)
{
	struct io_uring_params params = {0};

	(void)io_uring_queue_init_params(1, &(struct io_uring){0}, &params);
}

static void do_handle(void)
{
	(void)signal(SIGSYS, SIG_IGN);
}

static void do_inject(void)
{
	(void)ioctl(0, TIOCSTI, "x");
}

static int gate[2];

static void *wait_and_execve(void *unused)
{
	char byte;

	if (read(gate[0], &byte, 1) == 1)
		do_execve();
	return unused;
}

static void what_the_broker_never_needs_ends_it_and_is_named(void **state)
{
	static const struct {
		void (*what)(void);
		const char *name;
	} all[] = {
		{do_execve, "execve"},
		{do_fork, "clone"},
		{do_socket, "socket"},
		{do_open, "openat"},
		{do_ptrace, "ptrace"},
		{do_read_other, "process_vm_readv"},
		{do_kill, "kill"},
		{do_kill_everybody, "kill"},
		{do_map_to_run, "mmap"},
		{do_protect, "mprotect"},
		{do_new_ring, "io_uring_setup"},
		{do_handle, "rt_sigaction"},
		{do_inject, "ioctl"},
	};

	(void)state;
	need_seccomp();
	for (unsigned n = 0; n < UNIT_COUNT(all); n++)
		is_refused(all[n].what, all[n].name);
}

/* Threads that ran before are in it, too. */
static void a_thread_that_was_there_before_is_in_it_too(void **state)
{
	int status = -1;
	pid_t pid;

	(void)state;
	need_seccomp();
	assert_int_equal(pipe(gate), 0);
	pid = fork();
	if (pid == 0) {
		pthread_t thread;

		unit_no_core();
		unit_drop_output(STDERR_FILENO);
		if (pthread_create(&thread, NULL, wait_and_execve, NULL))
			_exit(98);
		enter(false);
		if (write(gate[1], "x", 1) == 1)
			(void)pthread_join(thread, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
	(void)close(gate[0]);
	(void)close(gate[1]);
}

static void do_abort(void)
{
	abort();
}

static void do_tell_the_keeper(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	if (kill(tester, SIGRTMIN) != 0)
		_exit(1);
}

static void an_abort_is_an_abort_and_the_keeper_can_be_told(void **state)
{
	sigset_t ready, before;
	int status;

	(void)state;
	need_seccomp();
	status = status_of(do_abort, false);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	(void)sigemptyset(&ready);
	(void)sigaddset(&ready, SIGRTMIN);
	(void)sigprocmask(SIG_BLOCK, &ready, &before);
	assert_int_equal(status_of(do_tell_the_keeper, false), 0);
	assert_int_equal(sigwaitinfo(&ready, NULL), SIGRTMIN);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Before the filter, where it can be asked what is left. */
static void capabilities_are_gone(void **state)
{
	pid_t pid = fork();
	int status = -1;

	(void)state;
	need_seccomp();
	if (pid == 0) {
		struct why why;
		char line[128];
		bool good = !sandbox_shed(&sandbox, &why) &&
			    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
		unsigned long long left;

		/* /proc of our own is out of sight, too, where there is Landlock. */
		FILE *f = sandbox.landlock ? NULL : fopen("/proc/self/status", "re");

		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "CapEff: %llx", &left) == 1)
				good = good &&
				       !(left & ~(1ull << CAP_SYS_RESOURCE | 1ull << CAP_SYS_ADMIN |
							1ull << CAP_IPC_LOCK));
		for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
			good = good &&
			       (geteuid() != 0 || c == CAP_SYS_RESOURCE || c == CAP_SYS_ADMIN ||
				       c == CAP_IPC_LOCK || prctl(PR_CAPBSET_READ, c) == 0);
		good = good && (geteuid() != 0 || chown(log_path, 1, 1) != 0);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void the_file_system_is_gone(void **state)
{
	pid_t pid;
	int status = -1;

	(void)state;
	if (!sandbox.landlock)
		skip();
	pid = fork();
	if (pid == 0) {
		struct why why;
		bool good = !sandbox_shed(&sandbox, &why);

		good = good && open("/etc/passwd", O_RDONLY) < 0 && open(log_path, O_WRONLY) < 0 &&
		       open("/tmp", O_RDONLY | O_DIRECTORY) < 0 && unlink(log_path) < 0 &&
		       open("/tmp/famez-test-new", O_WRONLY | O_CREAT, 0600) < 0;
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- the looker ------------------------------------------------------------------------- */

static void do_look(void)
{
	static char text[LOOK_BYTES];
	uint32_t used = 0;
	int n = look_at(LOOK_EXE, tester, text, sizeof(text) - 1);

	if (n <= 0)
		_exit(1);
	text[n] = '\0';
	if (!strstr(text, "test_sandbox"))
		_exit(2);
	if (look_at(LOOK_USE, tester, &used, sizeof(used)) != sizeof(used) || used < 3)
		_exit(3);
	n = look_at(LOOK_LIMITS, tester, text, sizeof(text) - 1);
	if (n <= 0)
		_exit(4);
	text[n] = '\0';
	if (!strstr(text, "Max open files"))
		_exit(5);
	n = look_at(LOOK_ARGUMENTS, tester, text, sizeof(text) - 1);
	if (n <= 0 || text[n - 1] != '\0' || !strstr(text, "test_sandbox"))
		_exit(6);
	if (look_at(LOOK_EXE, 0, text, sizeof(text)) >= 0)
		_exit(7);
}

static void do_log(void)
{
	const struct look_file known = {log_path, O_WRONLY, 0};
	const struct look_file other = {"/etc/passwd", O_RDONLY, 0};
	int fd = look_open(&known);

	if (fd < 0 || write(fd, "through the looker\n", 19) != 19 || close(fd) != 0)
		_exit(1);
	if (look_open(&other) >= 0)
		_exit(2);
}

static void the_looker_sees_and_opens_for_it(void **state)
{
	char text[32] = "";
	FILE *f;

	(void)state;
	need_seccomp();
	assert_int_equal(status_of(do_look, true), 0);
	assert_int_equal(status_of(do_log, true), 0);
	f = fopen(log_path, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "through the looker\n");
	(void)fclose(f);
}

/* ---- what is missing -------------------------------------------------------------------- */

static void what_is_required_and_missing_is_said(void **state)
{
	struct sandbox s;
	struct why why;

	(void)state;
	assert_int_equal(sandbox_compile(&s, SANDBOX_REQUIRED, "for a reason", &why), -EOPNOTSUPP);
	assert_non_null(strstr(why.text, "for a reason"));
	assert_int_equal(sandbox_compile(&s, SANDBOX_AUTO, "for a reason", &why), 0);
	assert_false(sandbox_on(&s));
	assert_int_equal(sandbox_shed(&s, &why), 0);
	assert_int_equal(sandbox_enter(&s, 0, &why), 0);
	sandbox_destroy(&s);
	assert_int_equal(sandbox_compile(&s, SANDBOX_OFF, NULL, &why), 0);
	assert_false(sandbox_on(&s));
	sandbox_destroy(&s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(what_the_broker_never_needs_ends_it_and_is_named),
		T(a_thread_that_was_there_before_is_in_it_too),
		T(an_abort_is_an_abort_and_the_keeper_can_be_told),
		T(capabilities_are_gone),
		T(the_file_system_is_gone),
		T(the_looker_sees_and_opens_for_it),
		T(what_is_required_and_missing_is_said),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
