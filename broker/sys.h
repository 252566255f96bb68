/* SPDX-License-Identifier: MIT */
/*
 * sys.h - the broker's system calls, and the seam at which tests make them fail.
 *
 * Every call that can fail while the broker starts, or while somebody joins, goes
 * through here. Each returns a result >= 0, or -errno. In a build with
 * FAMEZ_FAULTS (the target famez-server-faults; never shipped) a plan says which
 * of them fails when:
 *
 *     FAMEZ_FAULT=eventfd:3:EMFILE       the third eventfd() fails, once
 *     FAMEZ_FAULT=sendmsg:1:ETOOMANYREFS:50   the first fifty do
 *     FAMEZ_FAULT=eventfd:3:EMFILE,calloc:1:ENOMEM
 *
 * Two are no errors: LOST, the call says that it was done and was not, and TWICE, it was done
 * twice. Only sendmsg knows them, and relay (a group's message for one member) LOST: so a
 * test can show that whoever accounts for everything finds that out.
 *
 * Otherwise these are the bare calls. Any thread.
 */
#ifndef SYS_H
#define SYS_H

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "point.h"

/* Names as they stand in a plan. */
#define SYS_CALLS(X)                                                                               \
	X(accept)                                                                                  \
	X(bind)                                                                                    \
	X(calloc)                                                                                  \
	X(fchmod)                                                                                  \
	X(lchown)                                                                                  \
	X(clone)                                                                                   \
	X(connect)                                                                                 \
	X(eventfd)                                                                                 \
	X(execve)                                                                                  \
	X(fallocate)                                                                               \
	X(fcntl)                                                                                   \
	X(flock)                                                                                   \
	X(fork)                                                                                    \
	X(fstat)                                                                                   \
	X(ftruncate)                                                                               \
	X(getsockopt)                                                                              \
	X(ioctl)                                                                                   \
	X(listen)                                                                                  \
	X(memfd)                                                                                   \
	X(mmap)                                                                                    \
	X(open)                                                                                    \
	X(pthread)                                                                                 \
	X(readlink)                                                                                \
	X(relay)                                                                                   \
	X(sendmsg)                                                                                 \
	X(setrlimit)                                                                               \
	X(signalfd)                                                                                \
	X(socket)                                                                                  \
	X(uring)                                                                                   \
	X(write)

enum sys_call {
#define SYS_ENUM(name) SYS_##name,
	SYS_CALLS(SYS_ENUM)
#undef SYS_ENUM
		SYS_CALLS_COUNT
};

/* In a plan, besides errors. */
enum { SYS_LOST = 10000, SYS_TWICE };

#ifdef FAMEZ_FAULTS
/* Returns the errno with which this call is to fail, or 0. */
int sys_fault(enum sys_call call);
#else
static inline int sys_fault(enum sys_call call)
{
	(void)call;
	return 0;
}
#endif

/* The same without a plan. */
#define SYS_RESULT_OF(expression)                                                                  \
	({                                                                                         \
		long sys_result_ = (long)(expression);                                             \
		sys_result_ = sys_result_ >= 0 ? sys_result_ : -errno;                             \
		POINT();                                                                           \
		(int)sys_result_;                                                                  \
	})

#define SYS_RESULT(name, expression)                                                               \
	({                                                                                         \
		int sys_error_ = sys_fault(SYS_##name);                                            \
		long sys_result_ = sys_error_ ? -1 : (long)(expression);                           \
		sys_result_ = sys_result_ >= 0 ? sys_result_ : -(sys_error_ ? sys_error_ : errno); \
		POINT();                                                                           \
		(int)sys_result_;                                                                  \
	})

static inline void *sys_calloc(size_t count, size_t size)
{
	return sys_fault(SYS_calloc) ? NULL : calloc(count, size);
}

static inline int sys_accept(int fd)
{
	return SYS_RESULT(accept, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

static inline int sys_bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
	return SYS_RESULT(bind, bind(fd, address, bytes));
}

static inline int sys_fchmod(int fd, mode_t mode)
{
	return SYS_RESULT(fchmod, fchmod(fd, mode));
}

static inline int sys_lchown(const char *path, uid_t uid, gid_t gid)
{
	return SYS_RESULT(lchown, lchown(path, uid, gid));
}

/* As fork(2), but with one table of descriptors for both. The C library keeps its thread's number
 * where the kernel writes the new one, if it is told the place; that is all that fork(3) does
 * besides for a process of one thread. Not clone3(2): systemd's RestrictNamespaces= can't see its
 * flags, and has it fail with ENOSYS. Returns -1 with errno. */
static inline int sys_bare_clone_with_files(void)
{
	unsigned long flags = CLONE_FILES | SIGCHLD;
	int *tid = NULL;

	if (prctl(PR_GET_TID_ADDRESS, &tid) == 0 && tid)
		flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
#ifdef __x86_64__ /* clone(2), "C library/kernel differences" */
	return (int)syscall(__NR_clone, flags, NULL, NULL, tid, 0);
#else
	return (int)syscall(__NR_clone, flags, NULL, NULL, 0, tid);
#endif
}

static inline int sys_clone_with_files(void)
{
	return SYS_RESULT(clone, sys_bare_clone_with_files());
}

static inline int sys_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
	return SYS_RESULT(connect, connect(fd, address, bytes));
}

static inline int sys_eventfd(int flags)
{
	return SYS_RESULT(eventfd, eventfd(0, flags));
}

static inline int sys_execve(const char *path, char **argv, char **environment)
{
	return SYS_RESULT(execve, execve(path, argv, environment));
}

static inline int sys_fallocate(int fd, int mode, off_t from, off_t bytes)
{
	return SYS_RESULT(fallocate, fallocate(fd, mode, from, bytes));
}

static inline int sys_fcntl(int fd, int command, long argument)
{
	return SYS_RESULT(fcntl, fcntl(fd, command, argument));
}

static inline int sys_flock(int fd, int operation)
{
	return SYS_RESULT(flock, flock(fd, operation));
}

static inline int sys_fork(void)
{
	return SYS_RESULT(fork, fork());
}

static inline int sys_fstat(int fd, struct stat *st)
{
	return SYS_RESULT(fstat, fstat(fd, st));
}

static inline int sys_ftruncate(int fd, off_t bytes)
{
	return SYS_RESULT(ftruncate, ftruncate(fd, bytes));
}

static inline int sys_getsockopt(int fd, int option, void *value, socklen_t *bytes)
{
	return SYS_RESULT(getsockopt, getsockopt(fd, SOL_SOCKET, option, value, bytes));
}

static inline int sys_ioctl_int(int fd, unsigned long request, int *value)
{
	return SYS_RESULT(ioctl, ioctl(fd, request, value));
}

static inline int sys_listen(int fd, int backlog)
{
	return SYS_RESULT(listen, listen(fd, backlog));
}

static inline int sys_memfd(const char *name, unsigned flags)
{
	return SYS_RESULT(memfd, memfd_create(name, flags));
}

/* Shared, to read and write, and no memory reserved for what nobody writes. */
static inline int sys_mmap(int fd, size_t bytes, void **at)
{
	void *mapped = MAP_FAILED;
	int err = SYS_RESULT(mmap, (mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_NORESERVE, fd, 0)) == MAP_FAILED
					   ? -1
					   : 0);

	if (!err)
		*at = mapped;
	return err;
}

static inline int sys_open(const char *path, int flags, mode_t mode)
{
	return SYS_RESULT(open, open(path, flags, mode));
}

static inline int sys_shm_open(const char *name, int flags, mode_t mode)
{
	return SYS_RESULT(open, shm_open(name, flags, mode));
}

static inline int sys_readlink(const char *path, char *to, size_t bytes)
{
	return SYS_RESULT(readlink, readlink(path, to, bytes));
}

static inline int sys_setrlimit(int resource, const struct rlimit *limit)
{
	return SYS_RESULT(setrlimit, setrlimit(resource, limit));
}

static inline int sys_signalfd(const sigset_t *mask, int flags)
{
	return SYS_RESULT(signalfd, signalfd(-1, mask, flags));
}

static inline int sys_socket(int type)
{
	return SYS_RESULT(socket, socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
}

static inline int sys_write(int fd, const void *bytes, size_t count)
{
	return SYS_RESULT(write, write(fd, bytes, count));
}

static inline int sys_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	int err = sys_fault(SYS_pthread);

	return -(err ? err : pthread_create(thread, NULL, run, argument));
}

static inline int sys_uring_init(
	struct io_uring *ring, unsigned entries, struct io_uring_params *params)
{
	int err = sys_fault(SYS_uring);

	return err ? -err : io_uring_queue_init_params(entries, ring, params);
}

/* How many of @count were sent, or -errno of the first. */
static inline int sys_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
#ifdef FAMEZ_FAULTS
	int fault = sys_fault(SYS_sendmsg);

	if (fault == SYS_LOST) {
		messages->msg_len = (unsigned)messages->msg_hdr.msg_iov->iov_len;
		return 1;
	}
	if (fault == SYS_TWICE)
		(void)sendmmsg(fd, messages, 1, flags);
	else if (fault)
		return -fault;
	count = 1; /* a plan counts messages */
	return SYS_RESULT_OF(sendmmsg(fd, messages, count, flags));
#else
	return SYS_RESULT(sendmsg, sendmmsg(fd, messages, count, flags));
#endif
}

#endif
