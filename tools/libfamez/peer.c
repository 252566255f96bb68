/* SPDX-License-Identifier: MIT */
/*
 * peer.c - one membership: the handle behind famez/peer.h.
 *
 * A handle belongs to one thread at a time. It owns its socket, an epoll
 * descriptor over the socket and over its own eventfds, the mapping of the
 * shared memory, and what it knows of each peer. The eventfds, its own
 * included, are the store's (bells.c); what the server's bytes mean is judged
 * in stream.c. The shared memory's content is never touched here: what a mailbox
 * adds is in messages.c (waiting, events) and mail.c (memory).
 *
 * A membership's life:
 *
 *   JOINING   connected; the server has not yet told ID and memory
 *   MEMBER    ID and memory are known; sock is -1 once the server is gone
 *   FAILED    could not join; every famez_next() says why
 *
 * One read takes the rest of one message and no more, and what it means is
 * returned at once. So nothing waits in our memory, and the epoll descriptor
 * is readable whenever there is something to say. It is asked again only after
 * STREAK messages, or when the socket is empty; it hands out ready descriptors
 * in turn, so that neither the server nor a ringing peer can starve the other.
 *
 * The server is not trusted: it can't make us block, allocate more than the
 * protocol's 65,536 IDs and 2,048 vectors need, or keep a descriptor that it
 * had no reason to send.
 */
#include "famez/peer.h"

#include "bells.h"
#include "famez/wire.h"
#include "handle.h"
#include "mail.h"
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Messages received before the doorbells are looked at again. */
#define STREAK 16

/* What epoll returns for the socket and the mailbox's descriptors; a vector is returned for what
 * it is. */
#define READY_SOCKET    FAMEZ_WIRE_VECTORS_MAX
#define READY_TIMER     (FAMEZ_WIRE_VECTORS_MAX + 1)
#define READY_CALL_BACK (FAMEZ_WIRE_VECTORS_MAX + 2)

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

/* Nothing more comes from the server, and nothing was ever sent to it. */
static void hang_up(struct famez *f)
{
	if (f->held >= 0)
		(void)close(f->held); /* never used */
	f->held = -1;
	if (f->sock < 0)
		return;
	/* A forked child may hold the socket too, and then close() alone would
	 * leave it in the set, readable for ever. */
	(void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, f->sock, NULL);
	(void)close(f->sock); /* nothing unwritten */
	f->sock = -1;
	f->streak = 0;
}

/* The server is not to be had any more, for this reason. */
static int fails(struct famez *f, int err)
{
	hang_up(f);
	if (f->state == JOINING) {
		f->state = FAILED;
		f->error = err;
	}
	return err;
}

static int watch(struct famez *f, int fd, uint32_t what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

	return epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int address(struct sockaddr_un *at, const char *path)
{
	size_t length = path ? strlen(path) : 0;

	*at = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* An empty name would be an address of the abstract namespace. */
	if (!length)
		return -ENOENT;
	if (length >= sizeof(at->sun_path))
		return -ENAMETOOLONG;
	memcpy(at->sun_path, path, length);
	return 0;
}

/* UNIX sockets connect at once, or wait for room in the listener's queue, which
 * poll(2) can't wait for: so SO_SNDTIMEO bounds that. */
static int dial(int sock, const struct sockaddr_un *at, const struct timespec *deadline)
{
	for (;;) {
		int ms = handle_remaining_ms(deadline);
		struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};

		if (ms == 0)
			return -ETIMEDOUT;
		if (ms > 0 &&
			setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
			return -errno;
		if (connect(sock, (const struct sockaddr *)at, sizeof(*at)) == 0)
			return 0;
		if (errno != EINTR && (errno != EAGAIN || !deadline))
			return -errno;
	}
}

/* A connected handle. @patient: wait for the server to accept us. */
static int start(struct famez **out, const struct famez_join *how, bool patient,
	const struct timespec *deadline)
{
	struct sockaddr_un at;
	struct famez *f;
	int err = address(&at, how->socket);

	if (err)
		return err;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->state = JOINING;
	f->held = -1;
	stream_init(&f->stream);
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
	f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (patient ? 0 : SOCK_NONBLOCK), 0);
	if (f->sock < 0) {
		err = -errno;
		goto undo_epoll;
	}
	if (patient)
		err = dial(f->sock, &at, deadline);
	else if (connect(f->sock, (const struct sockaddr *)&at, sizeof(at)) < 0)
		err = -errno;
	if (!err)
		err = watch(f, f->sock, READY_SOCKET);
	if (err)
		goto undo_socket;
	*out = f;
	return 0;

undo_socket:
	(void)close(f->sock); /* nothing unwritten */
undo_epoll:
	(void)close(f->epoll); /* nothing unwritten */
undo_bells:
	if (f->bells_ours)
		famez_bells_close(f->bells);
undo_handle:
	assert(err < 0);
	free(f);
	return err;
}

int handle_watch(struct famez *f, int timer, int call_back)
{
	int err = watch(f, timer, READY_TIMER);

	return err ? err : watch(f, call_back, READY_CALL_BACK);
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
	hang_up(f);
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

/* Makes room for what we know of this peer. */
static int reach(struct famez *f, uint16_t id)
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

/* Maps the memory whose descriptor is held; the mapping outlives it. */
static int map(struct famez *f)
{
	struct stat file;
	void *memory;

	if (fstat(f->held, &file) < 0)
		return -errno;
	if (file.st_size <= 0)
		return -EPROTO;
	memory = mmap(NULL, (size_t)file.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->held, 0);
	if (memory == MAP_FAILED)
		return errno == ENOMEM ? -ENOMEM : -EPROTO;
	(void)close(f->held); /* not ours to flush */
	f->held = -1;
	f->memory = memory;
	f->bytes = (size_t)file.st_size;
	return 0;
}

static int on_memory(struct famez *f, uint16_t id, struct famez_event *event)
{
	int err = reach(f, id);

	if (!err)
		err = map(f);
	if (err)
		return fails(f, err);
	f->state = MEMBER;
	f->id = id;
	*event = (struct famez_event){.kind = FAMEZ_EVENT_JOINED, .peer = id};
	return 1;
}

static int on_vector(struct famez *f, uint16_t id, struct famez_event *event)
{
	int fd = f->held;
	struct seat *seat;
	uint32_t set;
	uint16_t vector;
	int err = reach(f, id);

	if (err)
		return fails(f, err);
	seat = &f->seats[id];
	if (seat->told == FAMEZ_WIRE_VECTORS_MAX)
		return fails(f, -EPROTO);
	vector = seat->told;
	set = seat->set;
	f->held = -1; /* the store's, from here on */
	err = bells_give(f->bells, &set, id, vector, fd);
	if (err)
		return fails(f, err);
	seat->set = set & BELLS_SETS_MAX;
	seat->told = (vector + 1u) & 0xfff;
	if (id == f->id) {
		err = watch(f, bells_fd(f->bells, set, vector), vector);
		if (err)
			return fails(f, err);
	}
	if (f->post)
		mail_known(f->post->mail, id);
	*event = (struct famez_event){.kind = FAMEZ_EVENT_VECTOR, .peer = id, .vector = vector};
	return 1;
}

/* The vector is there and counts, but we can't ring it. */
static int on_lost(struct famez *f, uint16_t id)
{
	int err;

	if (f->state == JOINING)
		return fails(f, -EMFILE);
	err = reach(f, id);
	if (err)
		return fails(f, err);
	if (f->seats[id].told == FAMEZ_WIRE_VECTORS_MAX)
		return fails(f, -EPROTO);
	f->seats[id].told++;
	return -EMFILE;
}

static int on_left(struct famez *f, uint16_t id, struct famez_event *event)
{
	if (id >= f->seats_size || !f->seats[id].told)
		return 0; /* it left before we heard of it */
	if (f->seats[id].set)
		bells_drop(f->bells, f->seats[id].set);
	f->seats[id] = (struct seat){0};
	*event = (struct famez_event){.kind = FAMEZ_EVENT_LEFT, .peer = id};
	return 1;
}

static int on_closed(struct famez *f, struct famez_event *event)
{
	if (f->state == JOINING)
		return fails(f, -ECONNRESET);
	hang_up(f);
	*event = (struct famez_event){.kind = FAMEZ_EVENT_LOST};
	return 1;
}

/* Keeps the first descriptor of the message being assembled, closes all others.
 * Returns whether there was one. */
static bool take_descriptors(struct famez *f, struct msghdr *msg)
{
	struct cmsghdr *part;
	bool any = false;

	for (part = CMSG_FIRSTHDR(msg); part; part = CMSG_NXTHDR(msg, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
			any = true;
			if (f->held < 0)
				f->held = fd;
			else
				(void)close(fd); /* surplus, never used */
		}
	}
	return any;
}

/* Receives up to the end of one message. Returns as famez_next(), but 0 means
 * only that this step had nothing to tell. */
static int receive(struct famez *f, struct famez_event *event)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	unsigned char bytes[FAMEZ_WIRE_BYTES];
	struct iovec into = {.iov_base = bytes, .iov_len = stream_wants(&f->stream)};
	/* Room for one descriptor to the byte, so that the kernel drops surplus
	 * ones instead of handing them to us: CMSG_SPACE() would fit two. */
	struct msghdr msg = {.msg_iov = &into,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_LEN(sizeof(int))};
	ssize_t count;
	uint16_t id = 0;
	bool any;

	count = recvmsg(f->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
		f->streak = 0;
		return 0;
	}
	if (count <= 0)
		return on_closed(f, event);
	any = take_descriptors(f, &msg);

	switch (stream_put(
		&f->stream, bytes, (size_t)count, any, !any && (msg.msg_flags & MSG_CTRUNC), &id)) {
	case STREAM_PART:
	case STREAM_VERSION:
	case STREAM_ID:
		return 0;
	case STREAM_REFUSED:
		return fails(f, -EACCES);
	case STREAM_MEMORY:
		return on_memory(f, id, event);
	case STREAM_VECTOR:
		return on_vector(f, id, event);
	case STREAM_LEFT:
		return on_left(f, id, event);
	case STREAM_LOST:
		return on_lost(f, id);
	case STREAM_NONSENSE:
		break;
	}
	return fails(f, -EPROTO);
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
		*what = READY_SOCKET;
		return 1;
	}
	count = epoll_wait(f->epoll, &ready, 1, timeout_ms);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	if (count > 0) {
		*what = ready.data.u32;
		if (*what == READY_SOCKET)
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
	if (what == READY_SOCKET)
		return receive(f, event);
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

/* Could a write to the eventfd wait? Any peer may have switched it to blocking, and filled it. To
 * ask whether it was switched costs less than to ask whether it is full. */
static bool is_full(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	int flags = fcntl(fd, F_GETFL);

	return (flags < 0 || !(flags & O_NONBLOCK)) && poll(&ready, 1, 0) != 1;
}

int famez_ring(struct famez *f, uint16_t peer, uint16_t vector)
{
	static const uint64_t one = 1;
	int fd = famez_bell_fd(f, peer, vector);

	if (fd < 0)
		return fd;
	if (is_full(fd))
		return -EAGAIN;
	return write(fd, &one, sizeof(one)) < 0 ? -errno : 0;
}
