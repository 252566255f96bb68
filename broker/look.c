/* SPDX-License-Identifier: MIT */
/*
 * look.c - what lies outside of the broker, looked at by the caller or by its looker.
 *
 * A request and its reply are one message each, with a token, so that a reply that comes after
 * its request was given up is known for what it is. Understands nothing of what it reads.
 */
#include "look.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "haste.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(sendto), CALL(recvmsg));
SANDBOX_LOOKER(CALL(recvfrom), CALL(sendmsg), CALL(close), CALL(read), CALL(getdents64),
	CALL(readlink), CALL(readlinkat), CALL(newfstatat),
	CALL(openat, {2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY}),
	CALL(openat, {2, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_WRONLY | O_CREAT | O_APPEND}));

/* Counting more would hold up who asks; such a process counts as full. */
#define USE_COUNTED_MAX 65536u

/* A look takes some 10 us; but a process can be in a state in which it can't be looked at, and the
 * machine may be busy. */
#define PATIENCE_S 5

/* Whoever asks one that may hang comes back later, but for a file. */
#define MOMENT_MS   50u
#define FILE_ROUNDS (1000 / MOMENT_MS * PATIENCE_S)

/* What is asked for, beside enum look: the file of that number. */
#define LOOK_FILE 100u

struct request {
	uint64_t token;
	uint32_t what;
	int32_t pid;
	uint32_t bytes;
};

struct reply {
	uint64_t token;
	int32_t result;
};

/* The descriptor that goes with a reply. */
union passed {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static struct look_file known[LOOK_FILES_MAX];
static unsigned known_count;

/* ---- looking ---------------------------------------------------------------------------- */

static int read_text(const char *path, void *to, size_t bytes)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	size_t at = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	do {
		n = read(fd, (char *)to + at, bytes - at);
		if (n > 0)
			at += (size_t)n;
	} while (n > 0 && at < bytes);
	if (n < 0)
		n = -errno;
	(void)close(fd);
	return n < 0 ? (int)n : (int)at;
}

/* By hand: opendir(3) would take memory, and we run. */
static int count_files(const char *path, uint32_t *files)
{
	_Alignas(struct dirent64) char entries[4096];
	uint32_t count = 0;
	ssize_t bytes = 0;
	int fd;

	fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	while (count < USE_COUNTED_MAX && (bytes = getdents64(fd, entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;

		for (ssize_t at = 0; at < bytes; at += entry->d_reclen) {
			entry = (const void *)(entries + at);
			count += entry->d_name[0] != '.';
		}
	}
	if (bytes < 0)
		bytes = -errno;
	(void)close(fd);
	*files = count < USE_COUNTED_MAX ? count : UINT32_MAX;
	return bytes < 0 ? (int)bytes : 0;
}

static int look_at_use(const char *path, void *to, size_t bytes)
{
	struct stat st;
	uint32_t used;
	int err;

	if (bytes < sizeof(used))
		return -EINVAL;
	/* Since Linux 6.2 the folder's size is the number of descriptors. */
	if (stat(path, &st) == 0 && st.st_size > 0) {
		used = (uint32_t)st.st_size;
	} else {
		err = count_files(path, &used);
		if (err)
			return err;
	}
	memcpy(to, &used, sizeof(used));
	return sizeof(used);
}

static int look_here(uint32_t what, pid_t pid, void *to, size_t bytes)
{
	static const char *const places[] = {"exe", "limits", "fd", "cmdline"};
	char path[40];

	if (pid <= 0 || what >= sizeof(places) / sizeof(*places))
		return -EINVAL;
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, places[what]);
	switch ((enum look)what) {
	case LOOK_EXE:
		return sys_readlink(path, to, bytes);
	case LOOK_USE:
		return look_at_use(path, to, bytes);
	case LOOK_LIMITS:
	case LOOK_ARGUMENTS:
		return read_text(path, to, bytes);
	}
	return -EINVAL;
}

/* ---- asking a looker -------------------------------------------------------------------- */

/* To one looker each. What can hang, a command line (its memory may be somebody's who does not
 * give it) or a file, is never asked of the first. */
static struct line {
	int sock;
	int theirs; /* the other end, until the looker has it in a table of its own; -1 */
	pthread_mutex_t lock;
	uint64_t token;
	struct request late; /* was given up, and is not answered yet; token 0: nothing is */
} lines[1 + LOOK_SPARE_MAX];
static unsigned lines_count; /* 0: we look ourselves */

static int take_descriptor(struct msghdr *message)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The next that the looker says; its first word, of no token, is that it is there. Returns the
 * bytes, or -1 with errno. */
static ssize_t hear(struct line *l, struct reply *reply, void *to, size_t bytes, int *fd, int flags)
{
	struct iovec io[] = {{reply, sizeof(*reply)}, {to, bytes}};
	union passed passed;
	struct msghdr message = {
		.msg_iov = io,
		.msg_iovlen = 2,
		.msg_control = passed.bytes,
		.msg_controllen = sizeof(passed.bytes),
	};
	ssize_t n = recvmsg(l->sock, &message, MSG_CMSG_CLOEXEC | flags);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return n;
	/* And in the sandbox there can't be another. */
	if (n < (ssize_t)sizeof(*reply))
		sandbox_end("the looker is gone");
	*fd = take_descriptor(&message);
	if (l->theirs >= 0)
		(void)close(l->theirs);
	l->theirs = -1;
	return n;
}

/* Until the answer to @token comes: what look_here() or open(2) did there. -ETIMEDOUT: it has not,
 * in @rounds times what the socket waits. */
static int hear_answer(
	struct line *l, uint64_t token, void *to, size_t bytes, unsigned rounds, int flags)
{
	while (rounds) {
		struct reply reply;
		int fd = -1;

		if (hear(l, &reply, to, bytes, &fd, flags) < 0) {
			rounds -= errno != EINTR;
			continue;
		}
		if (reply.token == token)
			return fd >= 0 ? fd : reply.result;
		if (fd >= 0)
			(void)close(fd);
	}
	return -ETIMEDOUT;
}

/* Its lock is held. */
static int ask_there(
	struct line *l, uint32_t what, pid_t pid, void *to, size_t bytes, unsigned rounds)
{
	struct request request = {
		.token = ++l->token, .what = what, .pid = pid, .bytes = (uint32_t)bytes};
	ssize_t n = send(l->sock, &request, sizeof(request), MSG_NOSIGNAL);
	int result;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		sandbox_end("the looker is gone");
	result = n < 0 ? -ETIMEDOUT : hear_answer(l, request.token, to, bytes, rounds, 0);
	if (n > 0 && result == -ETIMEDOUT)
		l->late = request;
	return result;
}

/* What was given up, if it has been answered since. */
static int hear_late(struct line *l, void *to, size_t bytes)
{
	int result = hear_answer(l, l->late.token, to, bytes, 1, MSG_DONTWAIT);

	if (result != -ETIMEDOUT)
		l->late.token = 0;
	return result;
}

/* Has somebody hung in that very look? Then it is not asked for again. */
static bool ask_who_hangs(uint32_t what, pid_t pid, void *to, size_t bytes, int *result)
{
	for (unsigned n = 1; n < lines_count; n++) {
		struct line *l = &lines[n];
		bool same;

		(void)pthread_mutex_lock(&l->lock);
		same = l->late.token && l->late.what == what && l->late.pid == pid;
		if (same)
			*result = hear_late(l, to, bytes);
		(void)pthread_mutex_unlock(&l->lock);
		if (same)
			return true;
	}
	return false;
}

/* Of one that does nothing else; who hangs is left aside. */
static int ask_any(uint32_t what, pid_t pid, void *to, size_t bytes, unsigned rounds)
{
	for (unsigned n = 1; n < lines_count; n++) {
		struct line *l = &lines[n];
		int result = -ETIMEDOUT;
		bool idle;

		if (pthread_mutex_trylock(&l->lock) != 0)
			continue;
		if (l->late.token) {
			uint32_t late = l->late.what;
			int fd = hear_late(l, NULL, 0);

			if (late >= LOOK_FILE && fd >= 0)
				(void)close(fd);
		}
		idle = !l->late.token;
		if (idle)
			result = ask_there(l, what, pid, to, bytes, rounds);
		(void)pthread_mutex_unlock(&l->lock);
		if (idle)
			return result;
	}
	return -ETIMEDOUT;
}

static int ask_first(uint32_t what, pid_t pid, void *to, size_t bytes)
{
	int result;

	(void)pthread_mutex_lock(&lines[0].lock);
	result = ask_there(&lines[0], what, pid, to, bytes, 1);
	(void)pthread_mutex_unlock(&lines[0].lock);
	return result;
}

int look_at(enum look what, pid_t pid, void *to, size_t bytes)
{
	int result;

	bytes = bytes < LOOK_BYTES ? bytes : LOOK_BYTES;
	if (!lines_count)
		return look_here(what, pid, to, bytes);
	if (what != LOOK_ARGUMENTS || lines_count == 1)
		return ask_first(what, pid, to, bytes);
	return ask_who_hangs(what, pid, to, bytes, &result) ? result
							    : ask_any(what, pid, to, bytes, 1);
}

int look_open(const struct look_file *file)
{
	if (!lines_count)
		return sys_open(file->path, file->flags, file->mode);
	for (unsigned i = 0; i < known_count; i++)
		if (strcmp(known[i].path, file->path) == 0)
			return lines_count == 1 ? ask_first(LOOK_FILE + i, 0, NULL, 0)
						: ask_any(LOOK_FILE + i, 0, NULL, 0, FILE_ROUNDS);
	return -EPERM;
}

/* ---- being the looker ------------------------------------------------------------------- */

static int open_known(uint32_t nth)
{
	const struct look_file *file = &known[nth];

	return nth < known_count ? sys_open(file->path, file->flags, file->mode) : -EINVAL;
}

static void answer(int sock, const struct request *request)
{
	static char text[LOOK_BYTES];
	struct reply reply = {.token = request->token};
	struct iovec io[] = {{&reply, sizeof(reply)}, {text, 0}};
	union passed passed = {.bytes = {0}};
	struct msghdr message = {.msg_iov = io, .msg_iovlen = 2};
	int fd = -1;

	if (request->what >= LOOK_FILE) {
		fd = reply.result = open_known(request->what - LOOK_FILE);
	} else {
		reply.result = look_here(request->what, request->pid, text,
			request->bytes < sizeof(text) ? request->bytes : sizeof(text));
		io[1].iov_len = reply.result > 0 ? (size_t)reply.result : 0;
	}
	if (fd >= 0) {
		message.msg_control = passed.bytes;
		message.msg_controllen = sizeof(passed.bytes);
		passed.align = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(&passed.align), &fd, sizeof(fd));
	}
	/* Who does not hear it has given up, or is gone; but a descriptor can be one too many in
	 * flight. */
	if (sendmsg(sock, &message, MSG_NOSIGNAL) < 0 && fd >= 0) {
		reply.result = -errno;
		message.msg_control = NULL;
		message.msg_controllen = 0;
		(void)sendmsg(sock, &message, MSG_NOSIGNAL);
	}
	if (fd >= 0)
		(void)close(fd);
}

/* Never returns. */
static void be_looker(const struct sandbox *s, int sock, pid_t broker)
{
	struct reply here = {.token = 0};
	struct iovec io = {&here, sizeof(here)};
	const struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
	struct request request;
	ssize_t n;
	int null;

	POINT_NEVER();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "famez-looker");
	if (getppid() != broker)
		_exit(EXIT_SUCCESS);
	/* What the broker closes must be closed: sockets of clients, and whatever whoever
	 * started it waits for the end of. A table of our own begins without what lies above our
	 * socket: copying thousands, only to close them, would take a millisecond from a broker
	 * that is about to serve. */
	if (close_range((unsigned)sock + 1, ~0u, CLOSE_RANGE_UNSHARE) != 0)
		_exit(EXIT_FAILURE);
	if (sock != 3)
		(void)dup3(sock, 3, O_CLOEXEC);
	(void)close_range(4, ~0u, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			(void)close(fd);
	if (sandbox_enter_looker(s))
		_exit(EXIT_FAILURE);
	(void)sendmsg(3, &message, MSG_NOSIGNAL);
	while ((n = recv(3, &request, sizeof(request), 0)) > 0 || (n < 0 && errno == EINTR))
		if (n == (ssize_t)sizeof(request)) {
			haste_look();
			answer(3, &request);
		}
	_exit(EXIT_SUCCESS);
}

static int start_one(struct line *l, const struct sandbox *s, const struct timeval *patience)
{
	pid_t broker = getpid();
	int ends[2], pid, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return -errno;
	if (setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, patience, sizeof(*patience)) != 0 ||
		setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, patience, sizeof(*patience)) != 0) {
		err = -errno;
		goto undo_ends;
	}
	/* Bare: behind it a planned death (point.h) could be the looker's. */
	err = -sys_fault(SYS_clone);
	pid = err ? -1 : sys_bare_clone_with_files();
	if (pid == 0)
		be_looker(s, ends[1], broker);
	if (pid < 0) {
		err = err ? err : -errno;
		goto undo_ends;
	}
	*l = (struct line){.sock = ends[0], .theirs = ends[1], .lock = PTHREAD_MUTEX_INITIALIZER};
	return 0;

undo_ends:
	(void)close(ends[0]);
	(void)close(ends[1]);
	return err;
}

int look_start(
	const struct sandbox *s, const struct look_file *files, unsigned count, unsigned spare)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_S};
	static const struct timeval moment = {.tv_usec = (suseconds_t)MOMENT_MS * 1000};
	int err = 0;

	assert(!lines_count && count <= LOOK_FILES_MAX && spare <= LOOK_SPARE_MAX);
	memcpy(known, files, count * sizeof(*files));
	known_count = count;
	for (unsigned n = 0; !err && n < 1 + spare; n++) {
		err = start_one(&lines[n], s, n ? &moment : &patience);
		lines_count += !err;
	}
	/* Those that were started end with us. */
	if (err)
		lines_count = 0;
	return err;
}

int look_await(void)
{
	unsigned tries = 1000 / MOMENT_MS * PATIENCE_S;
	int fd = -1, err = 0;

	for (unsigned n = 0; n < lines_count && !err; n++) {
		struct line *l = &lines[n];

		(void)pthread_mutex_lock(&l->lock);
		while (l->theirs >= 0 && !err) {
			struct reply reply;

			if (hear(l, &reply, NULL, 0, &fd, 0) < 0 && errno != EINTR &&
				(n == 0 || !--tries))
				err = -ETIMEDOUT;
		}
		(void)pthread_mutex_unlock(&l->lock);
	}
	return err;
}
