/* SPDX-License-Identifier: MIT */
/*
 * kernel.c - the simulated kernel: descriptors, eventfds, signals, /proc.
 *
 * System calls of the broker come here under their own names (the linker's --wrap). Each may
 * be set aside before it does anything. The table of descriptors outlives the process, as it
 * does where a keeper shares it (CLONE_FILES); the heap does not.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct file *table[SIM_FDS_MAX];
static LIST_HEAD(, file) files = LIST_HEAD_INITIALIZER(files);
static uint64_t serials;

/* ---- files ----------------------------------------------------------------------------- */

struct file *kernel_file(int fd)
{
	return fd >= 0 && fd < SIM_FDS_MAX ? table[fd] : NULL;
}

void file_hold(struct file *file)
{
	file->refs++;
}

void file_drop(struct file *file)
{
	assert(file->refs > 0);
	if (--file->refs)
		return;
	if (file->kind == FILE_SOCKET && file->actor) {
		file->actor->socket = NULL;
		actor_hung_up(file->actor);
	}
	if (file->kind == FILE_RING)
		ring_close(file);
	LIST_REMOVE(file, link);
	__real_free(file);
}

int kernel_open(enum file_kind kind)
{
	/* 0 to 2 are somebody's terminal. */
	for (int fd = 3; fd < SIM_FDS_MAX; fd++) {
		if (table[fd])
			continue;
		table[fd] = __real_calloc(1, sizeof(*table[fd]));
		assert(table[fd]);
		table[fd]->kind = kind;
		table[fd]->refs = 1;
		table[fd]->serial = ++serials;
		LIST_INSERT_HEAD(&files, table[fd], link);
		return fd;
	}
	return -1;
}

static uint64_t pending; /* of the process's signals, which are blocked */

void kernel_forget_signals(void)
{
	pending = 0;
}

struct file *kernel_gate(uint32_t id)
{
	struct file *file;

	/* The newest first. */
	LIST_FOREACH(file, &files, link)
	if (file->kind == FILE_LISTENER && id < SIM_IDS_MAX && life_gate(file->text) == id)
		return file->listening && !file->shut_read ? file : NULL;
	return NULL;
}

void kernel_signal(int number)
{
	struct file *file;

	pending |= 1ull << number;
	LIST_FOREACH(file, &files, link)
	if (file->kind == FILE_SIGNAL)
		file->pending |= 1ull << number;
}

void kernel_close_all(void)
{
	for (int fd = 0; fd < SIM_FDS_MAX; fd++) {
		if (table[fd])
			file_drop(table[fd]);
		table[fd] = NULL;
	}
}

void kernel_reset(void)
{
	kernel_close_all();
	assert(LIST_EMPTY(&files));
	serials = 0;
}

/* ---- entering and leaving ---------------------------------------------------------------- */

/* Before a call does anything: others may go on, or the process may die here. */
void kernel_enter(void)
{
	fiber_yield();
}

int kernel_fails(int error)
{
	errno = error;
	return -1;
}

/* ---- descriptors of all kinds ---------------------------------------------------------------- */

int __wrap_close(int fd);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_fcntl(int fd, int command, ...);
ssize_t __wrap_preadv2(int fd, const struct iovec *io, int parts, off_t offset, int flags);
ssize_t __wrap_read(int fd, void *bytes, size_t count);
ssize_t __wrap_write(int fd, const void *bytes, size_t count);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_stat(const char *path, struct stat *st);
ssize_t __wrap_readlink(const char *path, char *link, size_t bytes);

int __wrap_close(int fd)
{
	struct file *file;

	kernel_enter();
	file = kernel_file(fd);
	if (!file) {
		sim_wrong("descriptor %d is closed, which is none", fd);
		return kernel_fails(EBADF);
	}
	sim_trace("close(%d)", fd);
	for (unsigned n = 0; file->kind == FILE_LISTENER && !world.stopping && n < SIM_CLIENTS_MAX;
		n++)
		if (actors[n].used && actors[n].phase == PHASE_WAITS &&
			actors[n].gate == life_gate(file->text) &&
			kernel_gate(actors[n].gate) == file)
			sim_wrong("a listening socket is closed while client %d waits there",
				actors[n].pid);
	if (file->kind == FILE_SOCKET && !world.stopping && life_names(fd))
		sim_wrong("socket %d is closed while the state names it", fd);
	table[fd] = NULL;
	file_drop(file);
	return 0;
}

int __wrap_eventfd(unsigned count, int flags)
{
	int fd;

	(void)flags;
	kernel_enter();
	if (world_fault())
		return kernel_fails(EMFILE);
	fd = kernel_open(FILE_EVENT);
	if (fd < 0)
		return kernel_fails(EMFILE);
	table[fd]->count = count;
	sim_trace("eventfd: %d", fd);
	return fd;
}

int __wrap_fcntl(int fd, int command, ...)
{
	if (!fiber_now())
		return 0; /* who counts covered lines writes them down when all is over */
	kernel_enter();
	if (!kernel_file(fd))
		return kernel_fails(EBADF);
	switch (command) {
	case F_GETFD:
		return FD_CLOEXEC;
	case F_SETFD:
	case F_SETFL:
		return 0;
	case F_GETFL:
		return O_RDWR;
	default:
		return kernel_fails(EINVAL);
	}
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

/* Only which are open is ever asked. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	int closed = 0;

	assert(timeout_ms == 0);
	kernel_enter();
	for (nfds_t n = 0; n < count; n++) {
		fds[n].revents = fds[n].fd < 0 || kernel_file(fds[n].fd) ? 0 : POLLNVAL;
		closed += fds[n].revents != 0;
	}
	return closed;
}

static ssize_t take_count(struct file *file, void *bytes)
{
	if (!file->count)
		return kernel_fails(EAGAIN);
	memcpy(bytes, &file->count, sizeof(file->count));
	file->count = 0;
	return sizeof(file->count);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *io, int parts, off_t offset, int flags)
{
	struct file *file;

	(void)parts;
	(void)offset;
	(void)flags;
	kernel_enter();
	file = kernel_file(fd);
	return file && file->kind == FILE_EVENT ? take_count(file, io->iov_base)
						: kernel_fails(EBADF);
}

static bool has_count(void *file)
{
	return ((const struct file *)file)->count > 0;
}

static ssize_t read_signal(struct file *file, void *bytes, size_t count)
{
	struct signalfd_siginfo info = {0};

	assert(count == sizeof(info));
	if (!file->pending)
		return kernel_fails(EAGAIN);
	info.ssi_signo = (uint32_t)__builtin_ctzll(file->pending);
	file->pending &= file->pending - 1;
	pending &= ~(1ull << info.ssi_signo);
	memcpy(bytes, &info, sizeof(info));
	return sizeof(info);
}

static ssize_t read_text(struct file *file, void *bytes, size_t count)
{
	size_t left = strlen(file->text) - file->text_at;
	size_t n = left < count ? left : count;

	memcpy(bytes, file->text + file->text_at, n);
	file->text_at += n;
	return (ssize_t)n;
}

ssize_t __wrap_read(int fd, void *bytes, size_t count)
{
	struct file *file;

	kernel_enter();
	file = kernel_file(fd);
	if (!file)
		return kernel_fails(EBADF);
	switch (file->kind) {
	case FILE_EVENT: /* in blocking mode: a thread's wake-up */
		if (!file->count)
			fiber_wait(has_count, file);
		return take_count(file, bytes);
	case FILE_SIGNAL:
		return read_signal(file, bytes, count);
	case FILE_TEXT:
		return read_text(file, bytes, count);
	default:
		return kernel_fails(EINVAL);
	}
}

ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
	struct file *file;
	uint64_t add;

	kernel_enter();
	file = kernel_file(fd);
	if (!file || file->kind != FILE_EVENT || count != sizeof(add))
		return kernel_fails(EBADF);
	memcpy(&add, bytes, sizeof(add));
	file->count += add;
	return (ssize_t)count;
}

/* ---- /proc ------------------------------------------------------------------------------------
 */

/* The client whose /proc/PID/WHAT this is, if there is one. */
static struct actor *proc_of(const char *path, const char *what)
{
	char name[16];
	int pid;

	/* NOLINTNEXTLINE(cert-err34-c): the broker's own */
	if (sscanf(path, "/proc/%d/%15s", &pid, name) != 2 || strcmp(name, what) != 0)
		return NULL;
	return actor_by_pid(pid);
}

int __wrap_open(const char *path, int flags, ...)
{
	struct actor *c = proc_of(path, "limits");
	int fd;

	if (!fiber_now())
		return __real_open(path, flags, 0644);
	kernel_enter();
	if ((!c && strcmp(path, LIFE_ZONE_FILE) != 0 && strcmp(path, LIFE_BIND_FILE) != 0) ||
		world_fault())
		return kernel_fails(c ? EMFILE : ENOENT);
	fd = kernel_open(FILE_TEXT);
	assert(fd >= 0);
	if (!c && strcmp(path, LIFE_BIND_FILE) == 0) {
		life_binds(table[fd]->text, sizeof(table[fd]->text));
		return fd;
	}
	if (!c) {
		(void)snprintf(table[fd]->text, sizeof(table[fd]->text), "%s", life_zones);
		return fd;
	}
	(void)snprintf(table[fd]->text, sizeof(table[fd]->text),
		"Limit                     Soft Limit           Hard Limit           Units\n"
		"Max open files            %-20u %-20u files\n",
		c->limit, c->limit);
	return fd;
}

static off_t count_open(void)
{
	off_t count = 0;

	for (unsigned fd = 0; fd < SIM_FDS_MAX; fd++)
		count += table[fd] != NULL;
	return count;
}

int __wrap_stat(const char *path, struct stat *st)
{
	struct actor *c;

	kernel_enter();
	if (strcmp(path, "/proc/self/fd") == 0) {
		*st = (struct stat){.st_mode = S_IFDIR | 0500, .st_size = count_open()};
		return 0;
	}
	c = proc_of(path, "fd");
	if (!c)
		return kernel_fails(ENOENT);
	*st = (struct stat){.st_mode = S_IFDIR | 0500, .st_size = 20 + (off_t)c->held};
	return 0;
}

ssize_t __wrap_readlink(const char *path, char *link, size_t bytes)
{
	struct actor *c;
	const char *exe;

	kernel_enter();
	c = proc_of(path, "exe");
	if (!c)
		return kernel_fails(ENOENT);
	exe = c->device ? "/usr/bin/qemu-system-x86_64" : "/usr/bin/ivshmem-client";
	assert(bytes > strlen(exe));
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): nor does the kernel */
	memcpy(link, exe, strlen(exe));
	return (ssize_t)strlen(exe);
}

/* ---- signals --------------------------------------------------------------------------------- */

int __wrap_signalfd(int fd, const sigset_t *signals, int flags);

int __wrap_signalfd(int fd, const sigset_t *signals, int flags)
{
	int number;

	(void)fd;
	(void)signals;
	(void)flags;
	kernel_enter();
	number = kernel_open(FILE_SIGNAL);
	if (number >= 0)
		table[number]->pending = pending;
	return number;
}

unsigned kernel_count(enum file_kind kind)
{
	unsigned count = 0;

	for (int fd = 0; fd < SIM_FDS_MAX; fd++)
		count += table[fd] && table[fd]->kind == kind;
	return count;
}

int __wrap_listen(int fd, int backlog);

int __wrap_listen(int fd, int backlog)
{
	(void)backlog;
	kernel_enter();
	if (!kernel_file(fd))
		return kernel_fails(EBADF);
	kernel_file(fd)->listening = true;
	return 0;
}
