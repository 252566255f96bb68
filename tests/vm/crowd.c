// SPDX-License-Identifier: MIT
/*
 * crowd.c - many raw ivshmem clients in one process, told what to do by lines.
 *
 * The device tests need a thousand other peers that are told of everybody and
 * can be rung, for less than a second of work: too much for Python. Owns its
 * clients' sockets, their own eventfds, and one copy of everybody else's. Never
 * sends a byte to the server and never maps the memory. One thread. Between
 * commands it reads nothing: to the server these are clients that don't read.
 *
 *   crowd SOCKET VECTORS
 *
 * Each command is answered by one line ("progress" lines may precede it):
 *
 *   join N        N more clients, each reads its opening only  -> joined N
 *   come N        N more, each reads up to the memory only     -> came N
 *   full P        until each client holds P x VECTORS eventfds -> full P
 *   ids           the clients' IDs                             -> ids A B C...
 *   ring ID V     ring somebody once                           -> rung 1, or 0 if unknown
 *   rung          own vectors rung since the last look         -> rung COUNT
 *   leave N       close the N oldest clients, unread           -> left N
 *   churn N       N times: join, wait for our own last vector, close -> churned N
 *   vanish N      N times: connect, close at once              -> vanished N
 *   quit, or end of input: ends with 0
 *
 * What the server may never do (a wrong version, a descriptor missing in the
 * opening, a refusal, an end of file) ends the process with a sentence on
 * stderr and status 1.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 4096
#define IDS_MAX     65536
#define VECTORS_MAX 64

enum client_state { CLIENT_VERSION, CLIENT_ID, CLIENT_MEMORY, CLIENT_IN };

struct client {
	enum client_state state;
	int sock;               /* ours until client_close() */
	int id;                 /* valid from CLIENT_MEMORY on */
	unsigned held;          /* eventfds told, of everybody */
	uint16_t *told;         /* per peer ID: how many of them */
	int bells[VECTORS_MAX]; /* our own eventfds, told[id] of them */
};

static const char *server_path;
static unsigned vectors;
static int epoll_fd;
static struct client *clients[CLIENTS_MAX];
static unsigned clients_first, clients_end; /* the living are in between */
static int bells[IDS_MAX][VECTORS_MAX];     /* 0: not known yet */

static void die(const char *why, long number)
{
	(void)fprintf(stderr, "crowd: %s (%ld)\n", why, number);
	exit(1);
}

static void client_close(struct client *c)
{
	if (c->state == CLIENT_IN)
		for (unsigned v = 0; v < c->told[c->id]; v++)
			close(c->bells[v]);
	close(c->sock);
	free(c->told);
	free(c);
}

static struct client *client_open(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct epoll_event want = {.events = EPOLLIN};
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		die("no memory", 0);
	c->told = calloc(IDS_MAX, sizeof(*c->told));
	if (!c->told)
		die("no memory", 0);
	c->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->sock < 0)
		die("socket", errno);
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", server_path);
	if (connect(c->sock, (struct sockaddr *)&to, sizeof(to)))
		die("connect", errno);
	want.data.ptr = c;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->sock, &want))
		die("epoll_ctl", errno);
	return c;
}

static void client_told(struct client *c, int64_t id, int fd)
{
	unsigned v;

	if (id < 0 || id >= IDS_MAX)
		die("a peer's ID is out of range", (long)id);
	if (fd < 0) {
		if (id == c->id)
			die("we were told that we have left", (long)id);
		c->held -= c->told[id];
		c->told[id] = 0;
		return;
	}
	v = c->told[id]++;
	if (v >= vectors)
		die("one vector too many for peer", (long)id);
	c->held++;
	if (id == c->id) {
		c->bells[v] = fd;
		return;
	}
	if (bells[id][v])
		close(fd); /* an ID owns its eventfds: we have this one */
	else
		bells[id][v] = fd;
}

static void client_on_message(struct client *c, int64_t value, int fd)
{
	switch (c->state) {
	case CLIENT_VERSION:
		if (value != 0 || fd >= 0)
			die("refused, or a wrong version", (long)value);
		c->state = CLIENT_ID;
		break;
	case CLIENT_ID:
		if (value < 0 || value >= IDS_MAX || fd >= 0)
			die("an ID was expected", (long)value);
		c->id = (int)value;
		c->state = CLIENT_MEMORY;
		break;
	case CLIENT_MEMORY:
		if (value != -1 || fd < 0)
			die("the memory was expected", (long)value);
		close(fd);
		c->state = CLIENT_IN;
		break;
	case CLIENT_IN:
		client_told(c, value, fd);
		break;
	}
}

/* Takes one message. Returns false when there is none now. */
static bool client_read(struct client *c, int flags)
{
	union {
		char space[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	int64_t value;
	struct iovec iov = {.iov_base = &value, .iov_len = sizeof(value)};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *cm;
	int fd = -1;
	ssize_t got = recvmsg(c->sock, &m, flags | MSG_CMSG_CLOEXEC);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got < 0)
		die("recvmsg", errno);
	if (got == 0)
		die("the server closed on client", c->state == CLIENT_IN ? c->id : -1);
	if (got != sizeof(value))
		die("a message was split", (long)got);
	if (m.msg_flags & MSG_CTRUNC)
		die("a descriptor was lost", (long)value);
	cm = CMSG_FIRSTHDR(&m);
	if (cm) {
		if (cm->cmsg_len != CMSG_LEN(sizeof(int)))
			die("more than one descriptor in a message", (long)cm->cmsg_len);
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
	}
	client_on_message(c, value, fd);
	return true;
}

static void read_all(void)
{
	struct epoll_event seen[256];
	int count = epoll_wait(epoll_fd, seen, 256, -1);

	if (count < 0 && errno != EINTR)
		die("epoll_wait", errno);
	for (int i = 0; i < count; i++)
		for (unsigned burst = 0; burst < 64; burst++)
			if (!client_read(seen[i].data.ptr, MSG_DONTWAIT))
				break;
}

/* Joins, and reads the opening: it ends with our own last vector. */
static struct client *client_join(void)
{
	struct client *c = client_open();

	while (c->state != CLIENT_IN || c->told[c->id] != vectors)
		client_read(c, 0);
	return c;
}

static void do_join(unsigned count)
{
	if (count > CLIENTS_MAX - clients_end)
		die("too many clients", count);
	for (unsigned i = 0; i < count; i++)
		clients[clients_end++] = client_join();
	printf("joined %u\n", count);
}

static void do_come(unsigned count)
{
	if (count > CLIENTS_MAX - clients_end)
		die("too many clients", count);
	for (unsigned i = 0; i < count; i++) {
		struct client *c = client_open();

		while (c->state != CLIENT_IN)
			client_read(c, 0);
		clients[clients_end++] = c;
	}
	printf("came %u\n", count);
}

static void do_full(unsigned peers)
{
	for (unsigned i = clients_first; i < clients_end; i++)
		while (clients[i]->held != peers * vectors)
			read_all();
	printf("full %u\n", peers);
}

static void do_ids(void)
{
	printf("ids");
	for (unsigned i = clients_first; i < clients_end; i++)
		printf(" %d", clients[i]->id);
	printf("\n");
}

static bool ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, 0) == 1 && (p.revents & events);
}

static void do_ring(unsigned id, unsigned v)
{
	uint64_t one = 1;
	bool known = id < IDS_MAX && v < vectors && bells[id][v];

	/* A device that refused an eventfd leaves it blocking: look first. */
	if (known && ready(bells[id][v], POLLOUT) &&
		write(bells[id][v], &one, sizeof(one)) != sizeof(one))
		die("ring", errno);
	printf("rung %d\n", known);
}

static void do_rung(void)
{
	unsigned count = 0;
	uint64_t rings;

	for (unsigned i = clients_first; i < clients_end; i++) {
		struct client *c = clients[i];

		for (unsigned v = 0; v < c->told[c->id]; v++)
			if (ready(c->bells[v], POLLIN) &&
				read(c->bells[v], &rings, sizeof(rings)) == sizeof(rings))
				count++;
	}
	printf("rung %u\n", count);
}

static void do_leave(unsigned count)
{
	if (count > clients_end - clients_first)
		die("so many are not here", count);
	for (unsigned i = 0; i < count; i++)
		client_close(clients[clients_first++]);
	printf("left %u\n", count);
}

static void do_churn(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		client_close(client_join());
		if ((i + 1) % 10000 == 0)
			printf("progress %u\n", i + 1);
	}
	printf("churned %u\n", count);
}

static void do_vanish(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		client_close(client_open());
	printf("vanished %u\n", count);
}

static bool run(char *line)
{
	unsigned n = 0;
	unsigned v = 0;
	char word[16];
	int got = sscanf(line, "%15s %u %u", word, &n, &v); /* NOLINT(cert-err34-c): our own test */

	if (got < 1)
		die("a command was expected", got);
	if (!strcmp(word, "quit"))
		return false;
	if (!strcmp(word, "join"))
		do_join(n);
	else if (!strcmp(word, "come"))
		do_come(n);
	else if (!strcmp(word, "full"))
		do_full(n);
	else if (!strcmp(word, "ids"))
		do_ids();
	else if (!strcmp(word, "ring"))
		do_ring(n, v);
	else if (!strcmp(word, "rung"))
		do_rung();
	else if (!strcmp(word, "leave"))
		do_leave(n);
	else if (!strcmp(word, "churn"))
		do_churn(n);
	else if (!strcmp(word, "vanish"))
		do_vanish(n);
	else
		die("unknown command", n);
	return true;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	char line[128];

	if (argc != 3)
		die("usage: crowd SOCKET VECTORS", argc);
	server_path = argv[1];
	vectors = (unsigned)strtoul(argv[2], NULL, 10);
	if (vectors < 1 || vectors > VECTORS_MAX)
		die("vectors", vectors);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		die("getrlimit", errno);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit", errno);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1", errno);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin) && run(line))
		;
	return 0;
}
