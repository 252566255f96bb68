/* SPDX-License-Identifier: MIT */
/*
 * scripted.h - a server that says whatever a test wants, for tests of libfamez.
 *
 * The test is the server itself: it listens on a socket of its own, lets a handle connect, and
 * sends it bytes and descriptors. After each test no descriptor may be open that was not open
 * before.
 */
#ifndef SCRIPTED_H
#define SCRIPTED_H

#include "unit.h"

#include "famez/peer.h"
#include "famez/wire.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DESCRIPTORS_MAX 16
#define MEMORY_BYTES    8192

/* The server's side. */
struct server {
	char folder[32];
	char path[64];
	int listener;
	int memory;
	unsigned open_before;
};

static inline unsigned open_descriptors(void)
{
	DIR *all = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(all);
	while (readdir(all))
		count++;
	closedir(all);
	return count;
}

/* Lets this process open no more descriptors; returns the limit to put back. */
static inline struct rlimit open_no_more(void)
{
	struct rlimit limit, none;
	int next = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)next;
	close(next);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	return limit;
}

static inline int set_up(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->open_before = open_descriptors();
	strcpy(s->folder, "/tmp/famez-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/sock", s->folder);
	memcpy(at.sun_path, s->path, sizeof(s->path));
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(s->listener, 100), 0);
	s->memory = memfd_create("memory", MFD_CLOEXEC);
	assert_int_equal(ftruncate(s->memory, MEMORY_BYTES), 0);
	*state = s;
	return 0;
}

static inline int tear_down(void **state)
{
	struct server *s = *state;
	unsigned still_open;

	if (s->listener >= 0)
		close(s->listener);
	close(s->memory);
	unlink(s->path);
	rmdir(s->folder);
	still_open = open_descriptors();
	if (still_open != s->open_before)
		fprintf(stderr, "%u descriptors open before, %u after\n", s->open_before,
			still_open);
	assert_int_equal(still_open, s->open_before);
	free(s);
	return 0;
}

static inline void send_bytes(int to, const void *bytes, size_t count, const int *fds, unsigned n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)] = {0};
	struct iovec what = {.iov_base = (void *)bytes, .iov_len = count};
	struct msghdr msg = {.msg_iov = &what, .msg_iovlen = 1};

	assert_true(n <= DESCRIPTORS_MAX);
	if (n) {
		struct cmsghdr *part;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		part = CMSG_FIRSTHDR(&msg);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(part), fds, sizeof(int) * n);
	}
	assert_int_equal(sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT), count);
}

/* One message; no descriptor if fd is -1. */
static inline void say(int to, int64_t value, int fd)
{
	uint64_t wire = htole64((uint64_t)value);

	send_bytes(to, &wire, sizeof(wire), &fd, fd >= 0);
}

static inline int eventfd_new(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* How often the eventfd was rung, which it then forgets. */
static inline uint64_t rings(int fd)
{
	uint64_t count = 0;

	(void)!read(fd, &count, sizeof(count));
	return count;
}

/* A handle that has connected and was told nothing yet; returns the server's end. */
static inline int connect_with(struct server *s, struct famez **f, struct famez_bells *bells)
{
	struct famez_join how = {.socket = s->path, .bells = bells};
	int end;

	assert_int_equal(famez_join_start(f, &how), 0);
	end = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(end >= 0);
	return end;
}

static inline struct famez_event expect(struct famez *f, enum famez_event_kind kind)
{
	struct famez_event event = {0};

	assert_int_equal(famez_next(f, &event), 1);
	assert_int_equal(event.kind, kind);
	return event;
}

static inline void expect_nothing(struct famez *f)
{
	struct famez_event event;

	assert_int_equal(famez_next(f, &event), 0);
}

static inline void expect_error(struct famez *f, int err)
{
	struct famez_event event;

	assert_int_equal(famez_next(f, &event), err);
}

static inline void expect_vector(struct famez *f, uint16_t peer, uint16_t vector)
{
	struct famez_event event = expect(f, FAMEZ_EVENT_VECTOR);

	assert_int_equal(event.peer, peer);
	assert_int_equal(event.vector, vector);
}

static inline void say_opening(struct server *s, int end, uint16_t id)
{
	say(end, FAMEZ_WIRE_VERSION, -1);
	say(end, id, -1);
	say(end, FAMEZ_WIRE_MEMORY, s->memory);
}

/* A member with this ID and without vectors. */
static inline int join_with(
	struct server *s, struct famez **f, uint16_t id, struct famez_bells *bells)
{
	int end = connect_with(s, f, bells);

	say_opening(s, end, id);
	assert_int_equal(expect(*f, FAMEZ_EVENT_JOINED).peer, id);
	return end;
}

static inline int join(struct server *s, struct famez **f, uint16_t id)
{
	return join_with(s, f, id, NULL);
}

/* Tells a vector and returns the eventfd behind it. */
static inline int tell_vector(int end, struct famez *f, uint16_t peer, uint16_t vector)
{
	int fd = eventfd_new();

	say(end, peer, fd);
	expect_vector(f, peer, vector);
	return fd;
}

/* Has the client hung up? Where it did so with bytes unread, that is a reset. */
static inline bool hung_up(int end)
{
	char byte;

	ssize_t got = recv(end, &byte, 1, MSG_DONTWAIT);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

static inline bool readable(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	return poll(&ready, 1, 0) == 1;
}

static inline void make_blocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
}

#endif
