/* SPDX-License-Identifier: MIT */
/*
 * store.c - systemd's descriptor store as the keeper's keeper.
 *
 * Writes nothing into the state. A descriptor that changed hands while it was being stored has the
 * right name all the same: its number.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "haste.h"
#include "ledger.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(sendmsg), CALL(read), CALL(write), CALL(close));

#define NAME       "famez-"
#define NAME_STATE "famez-state-"

/* A systemd that takes nothing for so long does not hold up our end. */
#define SEND_LIMIT_S 1

bool store_offered(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

/* ---- putting back ------------------------------------------------------------------------- */

/* The number that a name stands for, or -1. */
static int number_of(const char *name, bool *state)
{
	long number;
	char *end;

	*state = strncmp(name, NAME_STATE, strlen(NAME_STATE)) == 0;
	if (strncmp(name, NAME, strlen(NAME)) != 0)
		return -1;
	number = strtol(name + strlen(*state ? NAME_STATE : NAME), &end, 10);
	return *end || number <= STDERR_FILENO || number > INT32_MAX / 2 ? -1 : (int)number;
}

/* All of them are moved out of the way first: one's number may be another's place. */
static int move_up(int first, int count, int above)
{
	int moved = 0;

	for (int fd = first; fd < first + count; fd++) {
		int up = fcntl(fd, F_DUPFD_CLOEXEC, above + moved);

		(void)close(fd);
		/* In order, each at the next number: nothing else is open up there. */
		if (up != above + moved++)
			return -EMFILE;
	}
	return 0;
}

static void put_back(int fd, int number)
{
	struct pollfd end = {.fd = fd};

	/* One that has hung up counts as closed, and another may have its number by now. */
	if (number >= 0 && !(poll(&end, 1, 0) > 0 && (end.revents & POLLHUP)))
		(void)dup3(fd, number, O_CLOEXEC);
}

static void put_all_back(struct store_passed *p, char **names, int count, int above)
{
	for (int i = 0; i < count; i++) {
		bool state;
		int number = number_of(names[i], &state);

		if (state)
			p->state_fd = number;
		if (number < 0 && p->activated < 0 &&
			sd_is_socket_unix(above + i, SOCK_STREAM, 1, NULL, 0) > 0) {
			p->activated = above + i;
			continue;
		}
		put_back(above + i, number);
		(void)close(above + i);
	}
}

void store_take(struct store_passed *p)
{
	int count, above = SD_LISTEN_FDS_START;
	struct rlimit limit;
	char **names = NULL;
	bool ours = false;

	*p = (struct store_passed){.state_fd = -1, .activated = -1};
	count = sd_listen_fds_with_names(0, &names);
	for (int i = 0; i < count; i++) {
		bool state;
		int number = number_of(names[i], &state);

		ours |= state;
		above = number > above ? number : above;
	}
	if (ours) {
		if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
			limit.rlim_cur = limit.rlim_max;
			(void)setrlimit(RLIMIT_NOFILE, &limit);
		}
		above += count + 1;
		if (move_up(SD_LISTEN_FDS_START, count, above) == 0)
			put_all_back(p, names, count, above);
		(void)sd_listen_fds(1); /* forgotten: they have other numbers now */
	}
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* ---- storing ------------------------------------------------------------------------------ */

static void store_fd(const struct store *s, const char *prefix, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	char text[64];
	struct iovec io = {.iov_base = text};
	struct msghdr message = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	if (fd < 0)
		return;
	io.iov_len = (size_t)snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s%d\n", prefix, fd);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	/* What is closed by now need not be stored; without systemd there is nobody to tell. */
	while (sendmsg(s->notify, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void store_bells(const struct store *s, uint32_t id)
{
	const struct state_wish *wish = &s->state->head->wish;

	for (uint16_t vector = 0; vector < wish->vectors; vector++)
		store_fd(s, NAME, s->state->bells[(size_t)id * wish->vectors + vector]);
}

/* Bells first: an owner without them would be rung in vain. */
static void store_owner(const struct store *s, uint32_t id)
{
	store_bells(s, id);
	if (ledger_taken(s->state, id))
		store_fd(s, NAME, ledger_sock(s->state, id));
}

/* The state last: what it names is there. */
static void store_all(const struct store *s)
{
	const struct state_live *live = s->state->live;

	store_fd(s, NAME, live->memory_fd);
	store_fd(s, NAME, live->listen_fd);
	store_fd(s, NAME, live->lock_fd);
	for (unsigned n = 0; n < gates_end(&s->state->rules->gates); n++)
		if (gates_fd(&s->state->rules->gates, n) > 0)
			store_fd(s, NAME, gates_fd(&s->state->rules->gates, n));
	for (uint32_t id = 0; id < s->state->head->wish.ids_max; id++)
		store_owner(s, id);
	store_fd(s, NAME_STATE, live->state_fd);
}

static void *run(void *argument)
{
	const struct store *s = argument;
	uint32_t id;

	haste_end();
	store_all(s);
	while (read(s->taker, &id, sizeof(id)) == sizeof(id))
		store_owner(s, id);
	return NULL;
}

static int connect_to_systemd(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval limit = {.tv_sec = SEND_LIMIT_S};
	socklen_t bytes;
	int fd, err;

	if (!path || strlen(path) >= sizeof(address.sun_path))
		return -EINVAL;
	bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) +
			    (*path == '@' ? 0 : 1));
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = sys_socket(SOCK_DGRAM);
	if (fd < 0)
		return fd;
	err = sys_connect(fd, (const struct sockaddr *)&address, bytes);
	if (err < 0) {
		(void)close(fd);
		return err;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

int store_start(struct store *s, struct state *state)
{
	int ends[2], err;

	*s = (struct store){.state = state};
	s->notify = connect_to_systemd();
	if (s->notify < 0)
		return s->notify;
	if (pipe2(ends, O_CLOEXEC) != 0) {
		err = -errno;
		goto undo_notify;
	}
	s->taker = ends[0];
	s->orders = ends[1];
	/* The registrar waits for nobody. */
	err = sys_fcntl(s->orders, F_SETFL, O_NONBLOCK);
	if (!err)
		err = -pthread_create(&s->thread, NULL, run, s);
	if (err)
		goto undo_pipe;
	s->running = true;
	return 0;

undo_pipe:
	(void)close(s->taker);
	(void)close(s->orders);
undo_notify:
	(void)close(s->notify);
	return err;
}

void store_add(struct store *s, uint32_t id)
{
	/* Where 16,000 wait, this one is left to the next broker, which stores all. */
	if (s->running)
		(void)!write(s->orders, &id, sizeof(id));
}

void store_stop(struct store *s)
{
	if (!s->running)
		return;
	(void)close(s->orders);
	(void)pthread_join(s->thread, NULL);
	(void)close(s->taker);
	(void)close(s->notify);
	s->running = false;
}
