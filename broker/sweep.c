/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - what a dead broker left open, beside what its state names.
 *
 * Reads nothing that a client sent, sends nothing but refusals.
 */
#include "sweep.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ledger.h"
#include "refusal.h"
#include "sys.h"

/* All numbers there are, and what is known of them. */
struct numbers {
	/* .fd: the number, or -1, the state names it; .revents: POLLNVAL, it is not open */
	struct pollfd *fd;
	unsigned end, named;
};

static bool make_numbers(struct numbers *n, unsigned end)
{
	*n = (struct numbers){.fd = sys_calloc(end, sizeof(*n->fd)), .end = end};
	for (unsigned fd = 0; n->fd && fd < end; fd++)
		n->fd[fd].fd = (int)fd;
	return n->fd != NULL;
}

static void name(struct numbers *n, int fd)
{
	if (fd < 0 || (unsigned)fd >= n->end || n->fd[fd].fd < 0)
		return;
	n->fd[fd].fd = -1;
	n->named++;
}

static bool is_open(const struct numbers *n, unsigned fd)
{
	return !(n->fd[fd].revents & POLLNVAL);
}

/* At those that nobody names, by one system call: it passes over the others. Thousands of them,
 * one for each number, would be most of a successor's start. */
static int look_at_rest(struct numbers *n)
{
	return poll(n->fd, n->end, 0) >= 0 ? 0 : -errno;
}

/* All that are named are open if that makes up how many there are; the folder's size says so since
 * Linux 6.2. */
static bool all_named_are_open(const struct numbers *n)
{
	unsigned count = n->named;
	struct stat st;

	for (unsigned fd = 0; fd < n->end; fd++)
		count += n->fd[fd].fd >= 0 && is_open(n, fd);
	return stat("/proc/self/fd", &st) == 0 && st.st_size == (off_t)count;
}

static bool option_is(int sock, int option, int value)
{
	socklen_t bytes = sizeof(int);
	int is = 0;

	return getsockopt(sock, SOL_SOCKET, option, &is, &bytes) == 0 && is == value;
}

uint64_t sweep_socket_cookie(int sock)
{
	uint64_t cookie = 0;
	socklen_t bytes = sizeof(cookie);

	return getsockopt(sock, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

/* unix(7): a socket that was bound and never connected has nobody behind it. */
static bool is_connected(int sock)
{
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t bytes = sizeof(who);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 && who.uid != (uid_t)-1;
}

/* Who was accepted has the name of the socket that it came to. We make no other connection that has
 * one; so what is named as none of ours now came to an ID's socket that was taken away since. Or it
 * is such a socket, made and not yet written down. */
static bool came_to_us(int sock, const struct state *s, uint32_t *own)
{
	struct sockaddr_un a = {0}, b = {0};
	socklen_t a_bytes = sizeof(a), b_bytes = sizeof(b);

	*own = GATES_NOBODY;
	if (getsockname(sock, (struct sockaddr *)&a, &a_bytes) != 0)
		return false;
	if (getsockname(s->live->listen_fd, (struct sockaddr *)&b, &b_bytes) == 0 &&
		a_bytes == b_bytes && memcmp(&a, &b, a_bytes) == 0)
		return true;
	if (a_bytes <= offsetof(struct sockaddr_un, sun_path) || !a.sun_path[0])
		return false;
	*own = gates_of(&s->rules->gates, &a);
	if (*own == GATES_NOBODY)
		*own = GATES_GONE;
	return is_connected(sock);
}

static bool is_client(int fd, const struct state *s, uint32_t *own)
{
	char byte;

	return option_is(fd, SO_DOMAIN, AF_UNIX) && option_is(fd, SO_TYPE, SOCK_STREAM) &&
	       option_is(fd, SO_ACCEPTCONN, 0) && came_to_us(fd, s, own) &&
	       /* It has not left meanwhile. */
	       recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

static uint64_t bells_count(const struct state *s)
{
	return (uint64_t)s->head->wish.ids_max * s->head->wish.vectors;
}

static void name_bells(const struct state *s, struct numbers *n)
{
	for (uint64_t i = 0; i < bells_count(s); i++)
		name(n, s->bells[i]);
}

static void check_bells(struct state *s)
{
	for (uint64_t i = 0; i < bells_count(s); i++) {
		if (s->bells[i] < 0 || fcntl(s->bells[i], F_GETFD) >= 0)
			continue;
		s->bells[i] = -1;
		state_point();
	}
}

static void check_members(struct state *s, struct numbers *n)
{
	for (uint32_t id = 0; id < s->head->wish.ids_max; id++) {
		int sock = ledger_taken(s, id) ? ledger_sock(s, id) : -1;

		if (sock < 0)
			continue;
		if (sweep_socket_cookie(sock) == s->members[id].cookie)
			name(n, sock);
		else
			ledger_closing(s, id);
	}
}

int sweep(struct state *s, unsigned end, struct sweep_found *found, unsigned max)
{
	const struct state_live *live = s->live;
	struct numbers n;
	unsigned count = 0;
	int err = 0;

	if (!make_numbers(&n, end))
		return -ENOMEM;
	name(&n, live->listen_fd);
	name(&n, live->lock_fd);
	name(&n, live->memory_fd);
	name(&n, live->state_fd);
	name(&n, live->log_fd);
	name(&n, live->exe_fd);
	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		name(&n, live->inherited[i]);
	for (unsigned i = 0; i < gates_end(&s->rules->gates); i++)
		if (gates_fd(&s->rules->gates, i) > 0)
			name(&n, gates_fd(&s->rules->gates, i));
	name_bells(s, &n);
	check_members(s, &n);
	err = look_at_rest(&n);
	if (err)
		goto out;
	if (!all_named_are_open(&n))
		check_bells(s);
	for (int sock = STDERR_FILENO + 1; (unsigned)sock < end; sock++) {
		uint32_t own;

		if (n.fd[sock].fd < 0 || !is_open(&n, (unsigned)sock))
			continue;
		if (!is_client(sock, s, &own))
			(void)close(sock);
		else if (count == max)
			refusal_send_and_close(sock);
		else
			found[count++] = (struct sweep_found){
				.sock = sock,
				.refused = refusal_tagged(sock),
				.own = own,
			};
	}
out:
	free(n.fd);
	return err ? err : (int)count;
}

unsigned sweep_end(uint64_t descriptors)
{
	struct rlimit limit;
	uint64_t end = 2 * descriptors + 1024;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && end > limit.rlim_cur)
		end = limit.rlim_cur;
	return end < INT32_MAX ? (unsigned)end : INT32_MAX;
}

void sweep_inherited(int32_t *numbers, unsigned end)
{
	unsigned count = 0;

	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		numbers[i] = -1;
	for (unsigned fd = STDERR_FILENO + 1; fd < end && count < STATE_INHERITED_MAX; fd++)
		if (fcntl((int)fd, F_GETFD) >= 0)
			numbers[count++] = (int32_t)fd;
}
