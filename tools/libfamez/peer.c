/* SPDX-License-Identifier: MIT */
/*
 * peer.c - one membership: the handle behind famez/peer.h.
 *
 * A handle belongs to one thread at a time. It owns its link to the fabric, an
 * epoll descriptor over the link and over its own eventfds, the mapping of the
 * shared memory, and what it knows of each peer. The link is a server's socket
 * (socket.c) or a guest's device (device.c), which transport.h has in common.
 * The eventfds, its own included, are the store's (bells.c). The shared memory's
 * content is never touched here: what a mailbox adds is in messages.c (waiting,
 * events) and mail.c (memory).
 *
 * A membership's life:
 *
 *   JOINING   connected; ID and memory are not yet known
 *   MEMBER    ID and memory are known; link is -1 once the other side is gone
 *   FAILED    could not join; every famez_next() says why
 *
 * One step takes one thing from the link, and returns at once what it means. So
 * nothing waits in our memory, and the epoll descriptor is readable whenever
 * there is something to say. It is asked again only after STREAK things, or when
 * the link has no more; it hands out ready descriptors in turn, so that neither
 * the server nor a ringing peer can starve the other.
 */
#include "famez/peer.h"

#include "bells.h"
#include "famez/wire.h"
#include "handle.h"
#include "mail.h"
#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Things received before the doorbells are looked at again. */
#define STREAK 16

int handle_remaining_ms(const struct timespec *deadline)
{
	struct timespec now;
	int64_t ms;

	if (!deadline)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (deadline->tv_sec - now.tv_sec) * INT64_C(1000) +
	     (deadline->tv_nsec - now.tv_nsec + 999999) / 1000000;
	if (ms <= 0)
		return 0;
	return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

int handle_fails(struct famez *f, int err)
{
	f->transport->hang_up(f);
	if (f->state == JOINING) {
		f->state = FAILED;
		f->error = err;
	}
	return err;
}

int handle_watch(struct famez *f, int fd, uint32_t what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

	return epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void handle_close_link(struct famez *f)
{
	if (f->link < 0)
		return;
	/* A forked child may hold it too, and then close() alone would leave it in the set,
	 * readable for ever. */
	(void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, f->link, NULL);
	(void)close(f->link); /* nothing unwritten */
	f->link = -1;
	f->streak = 0;
}

/* A character device is the driver's; a socket, or what is not there, the server's. */
static const struct transport *transport_of(const char *path)
{
	struct stat st;

	if (path && stat(path, &st) == 0 && S_ISCHR(st.st_mode))
		return &transport_device;
	return &transport_socket;
}

/* A connected handle. @patient: wait for the server to accept us. */
static int start(struct famez **out, const struct famez_join *how, bool patient,
	const struct timespec *deadline)
{
	struct famez *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->state = JOINING;
	f->transport = transport_of(how->socket);
	f->link = f->held = -1;
	f->bells = how->bells;
	if (!f->bells) {
		err = famez_bells_open(&f->bells);
		if (err)
			goto undo_handle;
		f->bells_ours = true;
	}
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll < 0) {
		err = -errno;
		goto undo_bells;
	}
	err = f->transport->connect(f, how->socket, patient, deadline);
	if (err) {
		famez_leave(f);
		return err;
	}
	*out = f;
	return 0;

undo_bells:
	if (f->bells_ours)
		famez_bells_close(f->bells);
undo_handle:
	assert(err < 0);
	free(f);
	return err;
}

int famez_join_start(struct famez **out, const struct famez_join *how)
{
	return start(out, how, false, NULL);
}

/* Waits for JOINED, which is always the first event. */
static int wait_joined(struct famez *f, const struct timespec *deadline)
{
	struct pollfd ready = {.fd = f->epoll, .events = POLLIN};
	struct famez_event event;

	for (;;) {
		int got = famez_next(f, &event);
		int ms = handle_remaining_ms(deadline);

		if (got != 0)
			return got < 0 ? got : 0;
		if (ms == 0)
			return -ETIMEDOUT;
		if (poll(&ready, 1, ms) < 0 && errno != EINTR)
			return -errno;
	}
}

int famez_join(struct famez **out, const struct famez_join *how)
{
	struct timespec deadline;
	struct famez *f;
	int err;

	if (how->timeout_ms) {
		clock_gettime(CLOCK_MONOTONIC, &deadline);
		deadline.tv_sec += how->timeout_ms / 1000;
		deadline.tv_nsec += how->timeout_ms % 1000 * 1000000L;
	}
	err = start(&f, how, true, how->timeout_ms ? &deadline : NULL);
	if (err)
		return err;
	err = wait_joined(f, how->timeout_ms ? &deadline : NULL);
	if (err) {
		famez_leave(f);
		return err;
	}
	*out = f;
	return 0;
}

void famez_leave(struct famez *f)
{
	if (!f)
		return;
	if (f->post)
		messages_close(f);
	f->transport->hang_up(f);
	if (f->transport->disconnect)
		f->transport->disconnect(f);
	for (uint32_t id = 0; id < f->seats_size; id++)
		if (f->seats[id].set)
			bells_drop(f->bells, f->seats[id].set);
	free(f->seats);
	if (f->memory)
		munmap(f->memory, f->bytes);
	(void)close(f->epoll); /* nothing unwritten */
	if (f->bells_ours)
		famez_bells_close(f->bells);
	free(f);
}

int handle_reach(struct famez *f, uint16_t id)
{
	uint32_t size = f->seats_size ? f->seats_size : 16;
	struct seat *seats;

	while (size <= id)
		size *= 2;
	if (size == f->seats_size)
		return 0;
	seats = realloc(f->seats, size * sizeof(*seats));
	if (!seats)
		return -ENOMEM;
	memset(seats + f->seats_size, 0, (size - f->seats_size) * sizeof(*seats));
	f->seats = seats;
	f->seats_size = size;
	return 0;
}

/* Reads one of our own eventfds, which any peer may have switched to blocking:
 * RWF_NOWAIT returns all the same if someone else has emptied it meanwhile. */
static int take_doorbell(struct famez *f, uint16_t vector, struct famez_event *event)
{
	uint64_t count;
	struct iovec into = {.iov_base = &count, .iov_len = sizeof(count)};
	int fd = bells_fd(f->bells, f->seats[f->id].set, vector);

	if (preadv2(fd, &into, 1, -1, RWF_NOWAIT) != (ssize_t)sizeof(count))
		return 0;
	if (f->transport->rung)
		f->transport->rung(f);
	if (f->post && mail_rung(f->post->mail, vector, count))
		return 0;
	*event = (struct famez_event){
		.kind = FAMEZ_EVENT_DOORBELL, .vector = vector, .count = count};
	return 1;
}

/* What is to be looked at next; 0 when nothing is ready. */
static int look(struct famez *f, uint32_t *what, int timeout_ms)
{
	struct epoll_event ready;
	int count;

	if (f->streak) {
		f->streak--;
		*what = READY_LINK;
		return 1;
	}
	count = epoll_wait(f->epoll, &ready, 1, timeout_ms);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	if (count > 0) {
		*what = ready.data.u32;
		if (*what == READY_LINK)
			f->streak = STREAK - 1;
	}
	return count;
}

int handle_step(struct famez *f, struct famez_event *event, int timeout_ms, bool *idle)
{
	uint32_t what = 0;
	int got;

	*idle = false;
	if (f->state == FAILED)
		return f->error;
	got = look(f, &what, timeout_ms);
	*idle = got == 0;
	if (got <= 0)
		return got;
	if (what == READY_LINK)
		return f->transport->receive(f, event);
	if (what == READY_TIMER)
		messages_tick(f);
	else if (what != READY_CALL_BACK) /* that only woke who waited outside */
		return take_doorbell(f, (uint16_t)what, event);
	return 0;
}

int famez_next(struct famez *f, struct famez_event *event)
{
	if (f->post)
		return messages_next(f, event);
	for (unsigned step = 0; step < HANDLE_STEPS_MAX; step++) {
		bool idle;
		int got = handle_step(f, event, 0, &idle);

		if (got != 0 || idle)
			return got;
	}
	return 0;
}

int famez_fd(const struct famez *f)
{
	return f->epoll;
}

int famez_id(const struct famez *f)
{
	return f->state == MEMBER ? f->id : -ENOTCONN;
}

void *famez_memory(const struct famez *f, size_t *bytes)
{
	if (f->memory)
		*bytes = f->bytes;
	return f->memory;
}

unsigned famez_vectors(const struct famez *f, uint16_t peer)
{
	return peer < f->seats_size ? f->seats[peer].told : 0;
}

int famez_peer_after(const struct famez *f, int id)
{
	for (int64_t next = (int64_t)id + 1; next < f->seats_size; next++)
		if (f->seats[next].told || (f->state == MEMBER && next == f->id))
			return (int)next;
	return -1;
}

int famez_bell_fd(const struct famez *f, uint16_t peer, uint16_t vector)
{
	int fd = -1;

	if (!famez_vectors(f, peer))
		return -ENOTCONN;
	if (f->seats[peer].set)
		fd = bells_fd(f->bells, f->seats[peer].set, vector);
	/* A shared store may know vectors that this handle was not told of yet. */
	return fd >= 0 && vector < f->seats[peer].told ? fd : -EINVAL;
}

int famez_listen(struct famez *f, int listen)
{
	int err = 0;

	if (f->state != MEMBER)
		return -ENOTCONN;
	if (f->post)
		return -EBUSY;
	for (uint16_t vector = 0; vector < famez_vectors(f, f->id) && !err; vector++) {
		int fd = famez_bell_fd(f, f->id, vector);

		if (fd < 0)
			continue; /* it was lost, and nobody listens to it */
		if (listen)
			err = handle_watch(f, fd, vector);
		else if (epoll_ctl(f->epoll, EPOLL_CTL_DEL, fd, NULL))
			err = -errno;
		/* As was asked for already. */
		if (err == -EEXIST || err == -ENOENT)
			err = 0;
	}
	return err;
}

int famez_ring(struct famez *f, uint16_t peer, uint16_t vector)
{
	return f->transport->ring(f, peer, vector);
}
