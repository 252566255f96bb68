/* SPDX-License-Identifier: MIT */
/*
 * process.c - see process.h.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How often we look whether a program has ended. */
#define LOOK_MS 10

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&time, NULL); /* shorter is fine */
}

static bool lets_through(int fd)
{
	return fd <= 0 || fcntl(fd, F_SETFD, 0) == 0;
}

/* In the child. */
static __attribute__((noreturn)) void become(const struct process *how, pid_t parent)
{
	int input = how->input > 0 ? how->input : open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* All that we catch or ignore is the default again, and nothing is blocked. */
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent &&
		(!how->apart || setpgid(0, 0) == 0) && dup2(input, 0) >= 0 &&
		(how->output <= 0 || (dup2(how->output, 1) >= 0 && dup2(how->output, 2) >= 0)) &&
		lets_through(how->keep) && lets_through(how->keep_too) &&
		(!how->folder || chdir(how->folder) == 0) &&
		(!how->notify || setenv("NOTIFY_SOCKET", how->notify, 1) == 0))
		(void)execvp(how->argv[0], how->argv);
	(void)dprintf(2, "%s: %s\n", how->argv[0], strerror(errno));
	_exit(127);
}

pid_t process_start(const struct process *how)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0)
		become(how, parent);
	return pid < 0 ? -errno : pid;
}

int process_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_run(const struct process *how)
{
	pid_t pid = process_start(how);
	int status;

	if (pid < 0)
		return pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return process_code(status);
}

void process_end(pid_t pid, unsigned patience_ms)
{
	int64_t until = now_ms() + patience_ms;
	int signal_now = SIGTERM;

	if (pid <= 0)
		return;
	while (kill(pid, signal_now) == 0 || errno != ESRCH) {
		while (now_ms() < until) {
			pid_t ended = waitpid(pid, NULL, WNOHANG);

			if (ended == pid || (ended < 0 && errno == ECHILD))
				return;
			pause_ms(LOOK_MS);
		}
		signal_now = SIGKILL;
		until = INT64_MAX;
	}
}

static bool runs(const char *path)
{
	return access(path, X_OK) == 0;
}

const char *process_path(const char *name, const char *build, char *to, size_t bytes)
{
	const char *folders = getenv("PATH");
	char us[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", us, sizeof(us) - 1);

	if (length > 0) {
		us[length] = 0;
		*strrchr(us, '/') = 0;
		if ((size_t)snprintf(to, bytes, "%s/%s", us, name) < bytes && runs(to))
			return to;
		if (build && (size_t)snprintf(to, bytes, "%s/%s/%s", us, build, name) < bytes &&
			runs(to))
			return to;
	}
	while (folders && *folders) {
		int here = (int)strcspn(folders, ":");

		if ((size_t)snprintf(to, bytes, "%.*s/%s", here, folders, name) < bytes && here &&
			runs(to))
			return to;
		folders += here;
		folders += *folders == ':';
	}
	return NULL;
}
