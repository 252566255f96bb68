/* SPDX-License-Identifier: MIT */
/*
 * handover.c - one program becomes another in the same process, and may become the first again.
 *
 * Knows nothing of what is behind the descriptors.
 */
#include "handover.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

static const char *const names[] = {
	"FAMEZ_STATE", "FAMEZ_PROGRAM", "FAMEZ_OLD", "FAMEZ_END", "FAMEZ_BACK"};

static void clear_environment(void)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		(void)unsetenv(names[i]);
}

/* All that is open stays so: also what no record names yet, such as a socket that was just
 * accepted. What nobody needs the next broker closes. */
static void keep_open(unsigned end)
{
	for (unsigned fd = STDERR_FILENO + 1; fd < end; fd++)
		(void)fcntl((int)fd, F_SETFD, 0);
}

static void close_at_exec(void)
{
	(void)syscall(__NR_close_range, STDERR_FILENO + 1u, ~0u, CLOSE_RANGE_CLOEXEC);
}

static void set_number(const char *name, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	(void)setenv(name, text, 1);
}

static void hand(const char *path, int state_fd, const struct handover_file *old, unsigned end)
{
	char text[64];

	set_number("FAMEZ_STATE", (uint64_t)state_fd);
	set_number("FAMEZ_END", end);
	(void)setenv("FAMEZ_PROGRAM", path, 1);
	(void)snprintf(
		text, sizeof(text), "%d:%" PRIu64 ":%" PRIu64, old->fd, old->device, old->inode);
	(void)setenv("FAMEZ_OLD", text, 1);
	keep_open(end);
}

bool handover_take(struct handover *h)
{
	const char *state = getenv("FAMEZ_STATE"), *old = getenv("FAMEZ_OLD");
	const char *end = getenv("FAMEZ_END");
	char *next;

	*h = (struct handover){.state_fd = -1, .old = {.fd = -1}};
	if (!state || !old || !end)
		return false;
	/* The strings stay where they are when the environment forgets them. */
	h->path = getenv("FAMEZ_PROGRAM");
	h->back = getenv("FAMEZ_BACK");
	h->state_fd = (int)strtol(state, NULL, 10);
	h->descriptors_end = (unsigned)strtoul(end, NULL, 10);
	h->old.fd = (int)strtol(old, &next, 10);
	h->old.device = strtoull(*next ? next + 1 : next, &next, 10);
	h->old.inode = strtoull(*next ? next + 1 : next, NULL, 10);
	clear_environment();
	close_at_exec();
	/* It is what we are. */
	if (h->back && h->old.fd >= 0) {
		(void)close(h->old.fd);
		h->old.fd = -1;
	}
	return true;
}

int handover_open(struct handover_file *ourselves)
{
	struct stat st;
	int fd = sys_open("/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) != 0) {
		(void)close(fd);
		return -EIO;
	}
	*ourselves = (struct handover_file){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
	return 0;
}

int handover_to(const char *path, char **argv, int state_fd, const struct handover_file *ourselves,
	unsigned descriptors_end)
{
	int err;

	hand(path, state_fd, ourselves, descriptors_end);
	err = sys_execve(path, argv, environ);
	clear_environment();
	close_at_exec();
	return err;
}

void handover_back(const struct handover *h, char **argv, const char *reason)
{
	struct stat st;

	if (h->old.fd < 0 || fstat(h->old.fd, &st) != 0 || st.st_dev != h->old.device ||
		st.st_ino != h->old.inode)
		return;
	hand(h->path, h->state_fd, &h->old, h->descriptors_end);
	(void)setenv("FAMEZ_BACK", reason, 1);
	(void)fexecve(h->old.fd, argv, environ);
	clear_environment();
	close_at_exec();
}

void handover_check(const char *path, char **argv, int state_fd)
{
	char option[] = HANDOVER_CHECK_OPTION, number[16];
	size_t argc = 0;
	sigset_t none;
	char **all;

	while (argv[argc])
		argc++;
	all = calloc(argc + 3, sizeof(*all));
	if (!all)
		_exit(EXIT_FAILURE);
	/* First, since its own options may end with "--". */
	all[0] = argv[0];
	all[1] = option;
	all[2] = number;
	memcpy(all + 3, argv + 1, (argc - 1) * sizeof(*all));
	(void)snprintf(number, sizeof(number), "%d", state_fd);
	(void)fcntl(state_fd, F_SETFD, 0); /* in a table of our own */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execv(path, all);
	_exit(127);
}
