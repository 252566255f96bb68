/* SPDX-License-Identifier: MIT */
/*
 * socket.c - a membership over a server's UNIX socket.
 *
 * Owns the socket, the message that is being assembled and its descriptor. What
 * the server's bytes mean is judged in stream.c; the eventfds that come are the
 * store's (bells.c) from then on. The shared memory is mapped here, and its
 * content never touched.
 *
 * One read takes the rest of one message and no more, and what it means is
 * returned at once: so nothing waits in our memory, and the socket is readable
 * whenever there is something to say.
 *
 * The server is not trusted: it can't make us block, allocate more than the
 * protocol's 65,536 IDs and 2,048 vectors need, or keep a descriptor that it
 * had no reason to send.
 */
#include "bells.h"
#include "famez/wire.h"
#include "handle.h"
#include "mail.h"
#include "stream.h"
#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Nothing more comes from the server, and nothing was ever sent to it. */
static void socket_hang_up(struct famez *f)
{
	if (f->held >= 0)
		(void)close(f->held); /* never used */
	f->held = -1;
	handle_close_link(f); /* nothing unwritten */
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

static int socket_connect(
	struct famez *f, const char *path, bool patient, const struct timespec *deadline)
{
	struct sockaddr_un at;
	int err = address(&at, path);

	if (err)
		return err;
	stream_init(&f->stream);
	f->link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (patient ? 0 : SOCK_NONBLOCK), 0);
	if (f->link < 0)
		return -errno;
	if (patient)
		err = dial(f->link, &at, deadline);
	else if (connect(f->link, (const struct sockaddr *)&at, sizeof(at)) < 0)
		err = -errno;
	return err ? err : handle_watch(f, f->link, READY_LINK);
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
	int err = handle_reach(f, id);

	if (!err)
		err = map(f);
	if (err)
		return handle_fails(f, err);
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
	int err = handle_reach(f, id);

	if (err)
		return handle_fails(f, err);
	seat = &f->seats[id];
	if (seat->told == FAMEZ_WIRE_VECTORS_MAX)
		return handle_fails(f, -EPROTO);
	vector = seat->told;
	set = seat->set;
	f->held = -1; /* the store's, from here on */
	err = bells_give(f->bells, &set, id, vector, fd);
	if (err)
		return handle_fails(f, err);
	seat->set = set & BELLS_SETS_MAX;
	seat->told = (vector + 1u) & 0xfff;
	if (id == f->id) {
		err = handle_watch(f, bells_fd(f->bells, set, vector), vector);
		if (err)
			return handle_fails(f, err);
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
		return handle_fails(f, -EMFILE);
	err = handle_reach(f, id);
	if (err)
		return handle_fails(f, err);
	if (f->seats[id].told == FAMEZ_WIRE_VECTORS_MAX)
		return handle_fails(f, -EPROTO);
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
		return handle_fails(f, -ECONNRESET);
	socket_hang_up(f);
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
static int socket_receive(struct famez *f, struct famez_event *event)
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

	count = recvmsg(f->link, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
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
		return handle_fails(f, -EACCES);
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
	return handle_fails(f, -EPROTO);
}

/* Could a write to the eventfd wait? Any peer may have switched it to blocking, and filled it. To
 * ask whether it was switched costs less than to ask whether it is full. */
static bool is_full(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	int flags = fcntl(fd, F_GETFL);

	return (flags < 0 || !(flags & O_NONBLOCK)) && poll(&ready, 1, 0) != 1;
}

static bool socket_can_ring(const struct famez *f, uint16_t peer, uint16_t vector)
{
	return famez_bell_fd(f, peer, vector) >= 0;
}

static int socket_ring(struct famez *f, uint16_t peer, uint16_t vector)
{
	static const uint64_t one = 1;
	int fd = famez_bell_fd(f, peer, vector);

	if (fd < 0)
		return fd;
	if (is_full(fd))
		return -EAGAIN;
	return write(fd, &one, sizeof(one)) < 0 ? -errno : 0;
}

const struct transport transport_socket = {
	.connect = socket_connect,
	.receive = socket_receive,
	.ring = socket_ring,
	.can_ring = socket_can_ring,
	.hang_up = socket_hang_up,
};
