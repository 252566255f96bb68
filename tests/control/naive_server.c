// SPDX-License-Identifier: MIT
/*
 * naive_server.c - the control of our tests: an ivshmem server as one would write it from the
 * specification alone, in an afternoon.
 *
 * It speaks the protocol and is wrong in every way that matters to a virtual machine: it tells
 * everybody every leave, gives a freed ID to the next comer at once and with new eventfds, and
 * neither checks nor repeats a send. A test of what must not happen to a device has to fail
 * against this program, or it tests nothing.
 *
 * One thread, one poll() loop. It owns its socket path, its memory and all descriptors until it
 * ends by SIGTERM or SIGINT. Never used outside the tests.
 */
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IDS 65536

struct member {
	int sock;
	int id;
	int *bells; /* `vectors` eventfds, ours */
};

static unsigned vectors = 1;
static bool announce_twice; /* every newcomer is announced to everybody a second time */
static bool reuse = true;   /* give the lowest free ID; else count up */

static struct member members[IDS];
static struct pollfd polls[IDS + 1]; /* [0] listens; [i + 1] is members[i] */
static int present;
static bool taken[IDS];
static volatile sig_atomic_t ending;

static void on_end(int sign)
{
	(void)sign;
	ending = 1;
}

/* Sends one message, with fd unless it is -1. What does not go is lost: that is the point. */
static void say(int sock, int64_t value, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = &value, .iov_len = sizeof value};
	struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *head = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof control.bytes;
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(head), &fd, sizeof fd);
	}
	(void)sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_vectors(int sock, const struct member *m)
{
	for (unsigned v = 0; v < vectors; v++)
		say(sock, m->id, m->bells[v]);
}

static int pick_id(void)
{
	static int next;

	if (!reuse)
		return next++ % IDS;
	for (int id = 0; id < IDS; id++) {
		if (!taken[id])
			return id;
	}
	return -1;
}

static void join(int sock, int memory)
{
	struct member *m = &members[present];
	int id = pick_id();

	if (id < 0 || present == IDS) {
		close(sock);
		return;
	}
	*m = (struct member){.sock = sock, .id = id, .bells = calloc(vectors, sizeof(int))};
	if (!m->bells) {
		close(sock);
		return;
	}
	for (unsigned v = 0; v < vectors; v++)
		m->bells[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	taken[id] = true;
	say(sock, 0, -1);
	say(sock, id, -1);
	say(sock, -1, memory);
	for (int round = 0; round < 1 + announce_twice; round++) {
		for (int i = 0; i < present; i++)
			say_vectors(members[i].sock, m);
	}
	for (int i = 0; i <= present; i++)
		say_vectors(sock, &members[i]);
	present++;
	polls[present] = (struct pollfd){.fd = sock, .events = POLLIN};
}

static void leave(int i)
{
	int id = members[i].id;

	for (unsigned v = 0; v < vectors; v++) {
		if (members[i].bells[v] >= 0)
			close(members[i].bells[v]);
	}
	free(members[i].bells);
	close(members[i].sock);
	present--;
	members[i] = members[present];
	polls[i + 1] = polls[present + 1];
	taken[id] = false;
	for (int other = 0; other < present; other++)
		say(members[other].sock, id, -1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || strlen(path) >= sizeof at.sun_path)
		return -1;
	memcpy(at.sun_path, path, strlen(path));
	if (bind(sock, (struct sockaddr *)&at, sizeof at) || listen(sock, 1024)) {
		close(sock);
		return -1;
	}
	return sock;
}

static uint64_t bytes_of(const char *text)
{
	char *end;
	uint64_t bytes = strtoull(text, &end, 0);

	switch (*end) {
	case 'G':
	case 'g':
		return bytes << 30;
	case 'M':
	case 'm':
		return bytes << 20;
	case 'K':
	case 'k':
		return bytes << 10;
	default:
		return bytes;
	}
}

static int usage(void)
{
	fputs("usage: famez-naive-server [-F] -S PATH [-l SIZE] [-n VECTORS]\n"
	      "       [--ids fresh|reuse] [--announce-twice]\n",
		stderr);
	return 2;
}

static void serve(int memory)
{
	while (!ending) {
		if (poll(polls, present + 1, -1) < 0)
			continue; /* a signal: `ending` tells */
		for (int i = present - 1; i >= 0; i--) {
			if (polls[i + 1].revents)
				leave(i);
		}
		if (polls[0].revents) {
			int sock = accept4(polls[0].fd, NULL, NULL, SOCK_CLOEXEC);

			if (sock >= 0)
				join(sock, memory);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"ids", required_argument, NULL, 'i'},
		{"announce-twice", no_argument, NULL, 't'},
		{"socketpath", required_argument, NULL, 'S'},
		{"size", required_argument, NULL, 'l'},
		{"vectors", required_argument, NULL, 'n'},
		{"foreground", no_argument, NULL, 'F'},
		{0},
	};
	struct sigaction end = {.sa_handler = on_end};
	struct rlimit files;
	const char *path = NULL;
	uint64_t bytes = 4 << 20;
	int memory;
	int c;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread. */
	while ((c = getopt_long(argc, argv, "FS:l:n:", options, NULL)) != -1) {
		switch (c) {
		case 'F':
			break;
		case 'S':
			path = optarg;
			break;
		case 'l':
			bytes = bytes_of(optarg);
			break;
		case 'n':
			vectors = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'i':
			reuse = !strcmp(optarg, "reuse");
			break;
		case 't':
			announce_twice = true;
			break;
		default:
			return usage();
		}
	}
	if (!path || vectors < 1 || vectors > 2048)
		return usage();
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* fewer peers, then */
	}
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	memory = memfd_create("naive", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, (off_t)bytes)) {
		perror("famez-naive-server: memory");
		return 1;
	}
	polls[0] = (struct pollfd){.fd = listen_at(path), .events = POLLIN};
	if (polls[0].fd < 0) {
		perror(path);
		return 1;
	}
	serve(memory);
	unlink(path);
	return 0;
}
