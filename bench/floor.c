/* SPDX-License-Identifier: MIT */
/*
 * floor.c - the least that notices can cost: a loop of sendmsg(2), one descriptor each.
 *
 * As many sockets, messages, bytes and eventfds as a mesh of the same size, and the
 * same reader, in a process of its own. No protocol, no membership, no choice. With
 * `unread` nobody reads, so that nothing but the senders runs: that shows what a
 * second thread is worth.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "run.h"
#include "wire.h"

/* An unread socket takes 278 messages of 8 bytes. */
#define UNREAD_MAX 256u

struct floor {
	const struct run *run;
	int *senders, *readers; /* ends of the sockets, run->clients each */
	int *bells;             /* clients x vectors */
	uint32_t rounds;        /* messages to a socket: rounds x vectors */
	pthread_barrier_t start;
};

struct sender {
	struct floor *floor;
	pthread_t thread;
	uint32_t from, to; /* its sockets */
	uint64_t cpu_ns, begun_ns, ended_ns;
	int err;
};

static void *send_all(void *argument)
{
	struct sender *s = argument;
	const struct floor *f = s->floor;
	uint32_t vectors = f->run->vectors;

	(void)pthread_barrier_wait(&s->floor->start);
	s->begun_ns = clock_wall_ns();
	s->cpu_ns = clock_thread_ns();
	for (uint32_t round = 0; round < f->rounds && !s->err; round++)
		for (uint32_t i = s->from; i < s->to && !s->err; i++)
			for (uint32_t v = 0; v < vectors && !s->err; v++)
				s->err = wire_send(f->senders[i], round,
					f->bells[(size_t)round % f->run->clients * vectors + v]);
	s->cpu_ns = clock_thread_ns() - s->cpu_ns;
	s->ended_ns = clock_wall_ns();
	return NULL;
}

/* The reader's whole life; ends when all senders are closed. */
static _Noreturn void read_all(const struct floor *f)
{
	uint32_t open = f->run->clients;
	struct epoll_event events[256];
	int epoll = epoll_create1(0);

	for (uint32_t i = 0; i < f->run->clients; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = f->readers[i]};

		(void)close(f->senders[i]);
		(void)epoll_ctl(epoll, EPOLL_CTL_ADD, f->readers[i], &event);
	}
	while (open) {
		int count = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < count; i++) {
			struct wire_message m;
			int res = 1;

			for (int n = 0; n < 64 && res == 1; n++) {
				res = wire_read(events[i].data.fd, &m);
				if (res == 1 && m.fd >= 0)
					(void)close(m.fd);
			}
			if (res == 1 || res == -EAGAIN)
				continue;
			(void)close(events[i].data.fd);
			open--;
		}
	}
	_exit(0);
}

static int open_all(struct floor *f)
{
	const struct run *r = f->run;
	size_t bells = (size_t)r->clients * r->vectors;

	f->senders = calloc(r->clients, sizeof(int));
	f->readers = calloc(r->clients, sizeof(int));
	f->bells = calloc(bells, sizeof(int));
	if (!f->senders || !f->readers || !f->bells)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->clients; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
			return -errno;
		f->senders[i] = pair[0];
		f->readers[i] = pair[1];
	}
	for (size_t i = 0; i < bells; i++) {
		f->bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (f->bells[i] < 0)
			return -errno;
	}
	return 0;
}

static int send_and_print(struct floor *f)
{
	const struct run *r = f->run;
	uint64_t messages = (uint64_t)f->rounds * r->clients * r->vectors;
	uint64_t cpu_ns = 0, begun_ns = UINT64_MAX, ended_ns = 0;
	struct sender senders[2] = {0};
	int err = 0;

	(void)pthread_barrier_init(&f->start, NULL, r->threads);
	for (uint32_t t = 0; t < r->threads && !err; t++) {
		senders[t].floor = f;
		senders[t].from = r->clients * t / r->threads;
		senders[t].to = r->clients * (t + 1) / r->threads;
		err = -pthread_create(&senders[t].thread, NULL, send_all, &senders[t]);
	}
	if (err)
		return err; /* the process ends, and with it who waits at the barrier */
	for (uint32_t t = 0; t < r->threads; t++) {
		(void)pthread_join(senders[t].thread, NULL);
		err = err ? err : senders[t].err;
		cpu_ns += senders[t].cpu_ns;
		begun_ns = senders[t].begun_ns < begun_ns ? senders[t].begun_ns : begun_ns;
		ended_ns = senders[t].ended_ns > ended_ns ? senders[t].ended_ns : ended_ns;
	}
	(void)pthread_barrier_destroy(&f->start);
	if (err)
		return err;
	(void)printf("{\"scenario\": \"floor\", \"clients\": %u, \"vectors\": %u, \"threads\": %u, "
		     "\"unread\": %s, \"notices\": %" PRIu64 ", \"wall_ns\": %" PRIu64
		     ", \"server_cpu_ns\": %" PRIu64 "}\n",
		r->clients, r->vectors, r->threads, r->unread ? "true" : "false", messages,
		ended_ns - begun_ns, cpu_ns);
	return 0;
}

int floor_run(const struct run *r)
{
	struct floor f = {.run = r, .rounds = r->clients};
	pid_t reader = 0;
	int err = open_all(&f);

	if (err)
		goto out;
	if (r->unread && f.rounds * r->vectors > UNREAD_MAX)
		f.rounds = UNREAD_MAX / r->vectors;
	if (!r->unread) {
		reader = fork();
		if (reader < 0) {
			err = -errno;
			goto out;
		}
		if (reader == 0)
			read_all(&f);
		for (uint32_t i = 0; i < r->clients; i++)
			(void)close(f.readers[i]);
	}
	err = send_and_print(&f);
	for (uint32_t i = 0; i < r->clients; i++)
		(void)close(f.senders[i]);
	if (reader)
		(void)waitpid(reader, NULL, 0);
out: /* the process ends now, and with it what is still open */
	free(f.senders);
	free(f.readers);
	free(f.bells);
	return err;
}
