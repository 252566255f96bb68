/* SPDX-License-Identifier: MIT */
/*
 * trespass.c - a broker that does what its sandbox forbids, so that tests see what becomes of it.
 *
 * A name that is not in the list ends the program: a test must not pass because it was misspelt.
 */
#include "trespass.h"

#ifdef FAMEZ_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "op.h"

static int do_execve(void)
{
	char *const argv[] = {(char[]){"true"}, NULL};

	return execve("/bin/true", argv, NULL);
}

static int do_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static int do_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int do_shadow(void)
{
	return open("/etc/shadow", O_WRONLY);
}

static int do_ptrace(void)
{
	return (int)ptrace(PTRACE_ATTACH, 1, NULL, NULL);
}

static int do_process_vm_readv(void)
{
	char byte;
	struct iovec io = {&byte, 1};

	return (int)process_vm_readv(getpid(), &io, 1, &io, 1, 0);
}

static int do_kill(void)
{
	return kill(1, SIGTERM);
}

static int do_mprotect(void)
{
	static char page[8192];

	return mprotect(page + 4096 - ((uintptr_t)page & 4095), 4096, PROT_READ | PROT_EXEC);
}

static int do_urgency(void)
{
	return sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1});
}

/* The registrar never comes back. */
static int do_hang(void)
{
	static volatile bool hanging = true;

	while (hanging)
		(void)sched_yield();
	return 0;
}

/* Worker 1 never comes back from its next turn: it turns in place, or waits for ever. */
enum stuck { NOBODY, SPINS, WAITS };
static _Atomic(enum stuck) worker_1;

static int do_hang_worker(void)
{
	atomic_store(&worker_1, SPINS);
	return 0;
}

static int do_block_worker(void)
{
	atomic_store(&worker_1, WAITS);
	return 0;
}

void trespass_in_turn(unsigned nth)
{
	enum stuck stuck = nth == 1 ? atomic_load(&worker_1) : NOBODY;
	sem_t never;

	if (stuck == WAITS && sem_init(&never, 0, 0) == 0)
		(void)sem_wait(&never);
	if (stuck != NOBODY)
		(void)do_hang();
}

static int do_fault(void)
{
	static volatile uintptr_t place = 0x10;

	*(volatile int *)place = 1; /* NOLINT(performance-no-int-to-ptr): a fault is wanted */
	return 0;
}

static int do_io_uring_setup(void)
{
	struct io_uring ring;
	int res = io_uring_queue_init(4, &ring, 0);

	errno = -res;
	return res < 0 ? -1 : 0;
}

/* What no filter of system calls sees: nobody dies of it. */
static int open_by(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	io_uring_prep_openat(ring_sqe(ring), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	res = io_uring_submit_and_wait(ring, 1);
	if (res >= 0)
		res = io_uring_peek_cqe(ring, &cqe);
	if (res >= 0) {
		res = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	errno = -res;
	return res < 0 ? -1 : 0;
}

static const struct {
	const char *name;
	int (*what)(void);
} all[] = {
	{"execve", do_execve},
	{"fork", do_fork},
	{"socket", do_socket},
	{"shadow", do_shadow},
	{"ptrace", do_ptrace},
	{"process_vm_readv", do_process_vm_readv},
	{"kill", do_kill},
	{"mprotect", do_mprotect},
	{"urgency", do_urgency},
	{"io_uring_setup", do_io_uring_setup},
	{"hang", do_hang},
	{"hang-worker", do_hang_worker},
	{"block-worker", do_block_worker},
	{"fault", do_fault},
};

void trespass(uint64_t births, struct io_uring *ring)
{
	const char *name = getenv("FAMEZ_TRESPASS");
	int res = 0;
	bool known;

	if (!name || births > 1)
		return;
	errno = 0;
	known = strcmp(name, "ring") == 0;
	if (known)
		res = open_by(ring);
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (strcmp(name, all[i].name) != 0)
			continue;
		known = true;
		res = all[i].what();
	}
	if (!known)
		abort();
	(void)fprintf(stderr, "# trespass: %s\n", res < 0 ? strerrorname_np(errno) : "done");
}

#endif
