// SPDX-License-Identifier: MIT
/*
 * doubt.c - is it known, after a death at any instant, which messages were sent?
 *
 *     send_doubt [DEATHS [SEED]]     default: 2000 deaths, a seed of the clock
 *
 * What the broker builds on: sendmmsg(2) writes the msg_len of each message behind sending it,
 * inside the system call. Its array lies in memory that outlives the sender, so a successor reads
 * there how many were sent, and goes on with the next one.
 *
 * A child with two threads sends numbered words, each with a descriptor, to some sockets, as fast
 * as it can. The parent reads them, at times all, at times some, at times none (so that sends are
 * partial: a socket holds 278 of them), kills the child at a random instant, and starts the next
 * one, which goes on from the memory. In every socket the numbers must come one by one: one in
 * doubt would be doubled or missing. At the end, what was counted is what was received.
 *
 * Two controls must fail: a sender that counts by itself after each sendmsg(2), and one that
 * forgets its array. Never looks at the broker's code; waits for nothing but the child's death.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 2u
#define SOCKETS 6u /* of each thread */
#define BATCH   64u
#define NOBODY  UINT32_MAX

/* How a sender knows what it has sent. */
enum way { WAY_ARRAY, WAY_COUNT, WAY_FORGET };

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* One thread's: written by it, and by the successor. */
struct slot {
	_Alignas(4096) _Atomic uint32_t socket; /* being told; stored last */
	uint32_t count;
	struct mmsghdr tell[BATCH];
	struct {
		int64_t word;
		struct iovec io;
		union control control;
	} send[BATCH];
	_Atomic int64_t sent[SOCKETS];
};

/* What the parent has seen of one socket. */
struct reader {
	int64_t next;
	int fd;
	unsigned partial;
};

static struct slot *slots; /* shared, locked */
static int ends[THREADS][SOCKETS];
static int gift; /* the descriptor that goes with each */
static enum way way;
static uint64_t dice;

static uint32_t roll(uint32_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (uint32_t)((dice >> 16) % below);
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---------------------------------------------------------------- the sender */

/* How many at the front were sent. Each is 8 bytes: all or nothing. */
static unsigned told(const struct slot *s)
{
	unsigned k = 0;

	while (k < s->count && s->tell[k].msg_len == sizeof(int64_t))
		k++;
	return k;
}

/* Whatever stands in the slot has happened; again and again the same. */
static void apply(struct slot *s)
{
	uint32_t to = atomic_load(&s->socket);

	if (to == NOBODY)
		return;
	if (way != WAY_FORGET)
		atomic_store(&s->sent[to], s->send[0].word + told(s));
	atomic_store(&s->socket, NOBODY);
}

static void fill(struct slot *s, uint32_t to, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct msghdr *m = &s->tell[i].msg_hdr;
		struct cmsghdr *c;

		s->send[i].word = atomic_load(&s->sent[to]) + i;
		s->send[i].io = (struct iovec){&s->send[i].word, sizeof(int64_t)};
		*m = (struct msghdr){.msg_iov = &s->send[i].io,
			.msg_iovlen = 1,
			.msg_control = &s->send[i].control,
			.msg_controllen = CMSG_LEN(sizeof(int))};
		c = CMSG_FIRSTHDR(m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &gift, sizeof(int));
		s->tell[i].msg_len = 0;
	}
	s->count = count;
}

static void *send_for_ever(void *argument)
{
	unsigned thread = (unsigned)(uintptr_t)argument;
	struct slot *s = &slots[thread];

	for (unsigned turn = 0;; turn++) {
		uint32_t to = turn % SOCKETS;

		fill(s, to, 1 + turn * 7 % BATCH);
		if (way == WAY_COUNT) { /* the first control: one by one, and we count */
			while (sendmsg(ends[thread][to], &s->tell[0].msg_hdr,
				       MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(int64_t)) {
				atomic_fetch_add(&s->sent[to], 1);
				s->send[0].word++;
			}
			continue;
		}
		atomic_store(&s->socket, to);
		(void)sendmmsg(ends[thread][to], s->tell, s->count, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (way == WAY_FORGET) /* the second one: the result, not the array */
			atomic_store(&s->sent[to], s->send[0].word + told(s));
		apply(s);
	}
	return NULL;
}

/* As the keeper starts its child: one table of descriptors for both, the memory at its place. */
static pid_t start(void)
{
	pid_t parent = getpid();
	long pid =
		syscall(SYS_clone, (unsigned long)(CLONE_FILES | SIGCHLD), NULL, NULL, NULL, NULL);

	if (pid)
		return (pid_t)pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(2);
	if (mlock(slots, THREADS * sizeof(*slots)) != 0)
		_exit(3);
	for (unsigned t = 0; t < THREADS; t++)
		apply(&slots[t]);
	for (unsigned t = 1; t < THREADS; t++) {
		pthread_t thread;

		/* NOLINTNEXTLINE(performance-no-int-to-ptr): a number */
		if (pthread_create(&thread, NULL, send_for_ever, (void *)(uintptr_t)t) != 0)
			_exit(4);
	}
	send_for_ever(NULL);
	_exit(5);
}

/* ---------------------------------------------------------------- the reader */

/* One message, if there is one. Returns 1, 0 if none, -1 if it is not the one that must come. */
static int take(struct reader *r)
{
	int64_t word;
	union control control;
	struct iovec io = {&word, sizeof(word)};
	struct msghdr m = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(r->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;
	int fd;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	c = CMSG_FIRSTHDR(&m);
	if (n != sizeof(word) || !c || c->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	(void)close(fd);
	if (word != r->next)
		return -1;
	r->next++;
	return 1;
}

static int take_all(struct reader readers[], unsigned most)
{
	for (unsigned i = 0; i < THREADS * SOCKETS; i++) {
		int got = 1;

		for (unsigned k = 0; k < most && got > 0; k++)
			got = take(&readers[i]);
		if (got < 0)
			return -1;
	}
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct figures {
	unsigned deaths, in_slot, partial;
	uint64_t messages;
};

/* Returns 0, or -1 at the first message in doubt. */
static int run(enum way how, unsigned deaths, int sign, struct figures *f)
{
	struct reader readers[THREADS * SOCKETS] = {0};
	int result = 0;

	*f = (struct figures){0};
	way = how;
	memset(slots, 0, THREADS * sizeof(*slots));
	for (unsigned t = 0; t < THREADS; t++) {
		atomic_store(&slots[t].socket, NOBODY);
		for (unsigned i = 0; i < SOCKETS; i++) {
			int pair[2];

			if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
				die("socketpair");
			ends[t][i] = pair[0];
			readers[t * SOCKETS + i].fd = pair[1];
		}
	}
	while (result == 0 && f->deaths < deaths) {
		pid_t child = start();
		uint64_t end = now_ns() + roll(1500) * UINT64_C(1000);
		unsigned most = (unsigned[]){0, 1, 40, 1000}[roll(4)];
		int status;

		if (child < 0)
			die("clone");
		do
			result = take_all(readers, most);
		while (result == 0 && now_ns() < end);
		(void)kill(child, sign);
		if (waitpid(child, &status, 0) != child)
			die("waitpid");
		if (!WIFSIGNALED(status)) {
			(void)fprintf(stderr, "the sender ended by itself: %x\n", (unsigned)status);
			exit(2);
		}
		f->deaths++;
		for (unsigned t = 0; t < THREADS; t++) {
			if (atomic_load(&slots[t].socket) == NOBODY)
				continue;
			f->in_slot++;
			f->partial += told(&slots[t]) > 0 && told(&slots[t]) < slots[t].count;
		}
	}
	for (unsigned t = 0; t < THREADS; t++)
		apply(&slots[t]);
	if (result == 0)
		result = take_all(readers, UINT32_MAX);
	for (unsigned i = 0; i < THREADS * SOCKETS; i++) {
		f->messages += (uint64_t)readers[i].next;
		if (atomic_load(&slots[i / SOCKETS].sent[i % SOCKETS]) != readers[i].next)
			result = -1;
		(void)close(readers[i].fd);
		(void)close(ends[i / SOCKETS][i % SOCKETS]);
	}
	return result;
}

static unsigned failed, passed;

static void judge(const char *name, bool good, const struct figures *f)
{
	(void)printf("# %u deaths, %u inside a slot, %u of them in the middle; %llu messages\n",
		f->deaths, f->in_slot, f->partial, (unsigned long long)f->messages);
	(void)printf("%s %s\n", good ? "ok" : "FAIL", name);
	(void)fflush(stdout);
	*(good ? &passed : &failed) += 1;
}

int main(int argc, char **argv)
{
	unsigned deaths = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : now_ns() % 1000000;
	struct figures f;
	int result;

	dice = seed * 0x9E3779B97F4A7C15u + 1;
	(void)printf("# seed %llu\n", (unsigned long long)seed);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	gift = eventfd(0, EFD_CLOEXEC);
	slots = mmap(NULL, THREADS * sizeof(*slots), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (gift < 0 || slots == MAP_FAILED)
		die("start");
	result = run(WAY_ARRAY, deaths, SIGKILL, &f);
	judge("sendmmsg leaves no message in doubt when its caller is killed", result == 0, &f);
	judge("some deaths were between a message and the next, and some sends partial",
		deaths < 500 || (f.in_slot > 0 && f.partial > 0), &f);
	for (unsigned i = 0; i < 2; i++) {
		result = run(WAY_ARRAY, deaths / 10, (int[]){SIGSEGV, SIGABRT}[i], &f);
		judge((const char *[]){"nor by a segmentation fault", "nor by an abort"}[i],
			result == 0, &f);
	}
	result = run(WAY_COUNT, deaths, SIGKILL, &f);
	judge("control: who counts by itself after each send is seen to be in doubt", result != 0,
		&f);
	result = run(WAY_FORGET, deaths, SIGKILL, &f);
	judge("control: who keeps only the result of sendmmsg is seen to be in doubt", result != 0,
		&f);
	(void)printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
