/* SPDX-License-Identifier: MIT */
/*
 * doors.c - consoles for others than our own terminal.
 *
 * A socket in the run's folder, which only its owner may enter. Who connects says which node in one
 * byte (1 to 64), and from then on is at its console with all others that are. One that does not
 * read is cut off: nobody waits for it.
 */
#include "doors.h"

#include "run.h"
#include "say.h"
#include "terminal.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address(struct sockaddr_un *at, const char *folder)
{
	*at = (struct sockaddr_un){.sun_family = AF_UNIX};
	if ((size_t)snprintf(at->sun_path, sizeof(at->sun_path), "%s/%s", folder, DOORS_SOCKET) >=
		sizeof(at->sun_path))
		return say("the path of the run's folder is too long for a socket: %s", folder);
	return 0;
}

int doors_open(struct doors *d, const char *folder, unsigned nodes)
{
	struct sockaddr_un at;

	*d = (struct doors){.listener = -1, .nodes = nodes};
	for (unsigned i = 0; i < DOORS_MAX; i++)
		d->all[i].fd = -1;
	if (address(&at, folder))
		return -1;
	d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->listener >= 0 && bind(d->listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
		listen(d->listener, (int)DOORS_MAX) == 0)
		return 0;
	(void)say("%s: %s", at.sun_path, strerror(errno));
	doors_close(d);
	return -1;
}

static void shut(struct door *one)
{
	if (one->fd >= 0)
		(void)close(one->fd); /* what is unread, nobody wants */
	*one = (struct door){.fd = -1};
}

void doors_close(struct doors *d)
{
	for (unsigned i = 0; i < DOORS_MAX; i++)
		shut(&d->all[i]);
	if (d->listener >= 0)
		(void)close(d->listener); /* nothing is written there */
	d->listener = -1;
}

unsigned doors_poll(const struct doors *d, struct pollfd *into)
{
	unsigned count = 0;

	if (d->listener >= 0)
		into[count++] = (struct pollfd){.fd = d->listener, .events = POLLIN};
	for (unsigned i = 0; i < DOORS_MAX; i++)
		if (d->all[i].fd >= 0)
			into[count++] = (struct pollfd){.fd = d->all[i].fd, .events = POLLIN};
	return count;
}

static void let_in(struct doors *d)
{
	int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (unsigned i = 0; fd >= 0 && i < DOORS_MAX; i++)
		if (d->all[i].fd < 0) {
			d->all[i] = (struct door){.fd = fd};
			return;
		}
	if (fd >= 0)
		(void)close(fd); /* there are too many */
}

size_t doors_on(
	struct doors *d, int fd, char *into, size_t size, unsigned *node, struct door **newcomer)
{
	struct door *one = d->all;
	unsigned char which;
	ssize_t count;

	*node = 0;
	*newcomer = NULL;
	if (fd == d->listener) {
		let_in(d);
		return 0;
	}
	while (one < d->all + DOORS_MAX && one->fd != fd)
		one++;
	if (one == d->all + DOORS_MAX)
		return 0;
	count = one->node ? recv(fd, into, size, 0) : recv(fd, &which, 1, 0);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (count > 0 && one->node) {
		*node = one->node;
		return (size_t)count;
	}
	if (count > 0 && which >= 1 && which <= d->nodes) {
		one->node = which;
		*newcomer = one;
	} else {
		shut(one);
	}
	return 0;
}

void door_put(struct door *one, const char *bytes, size_t count)
{
	if (count && send(one->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)count)
		shut(one);
}

void doors_put(struct doors *d, unsigned node, const char *bytes, size_t count)
{
	for (unsigned i = 0; i < DOORS_MAX; i++)
		if (d->all[i].fd >= 0 && d->all[i].node == node)
			door_put(&d->all[i], bytes, count);
}

/* ---- the other side ---------------------------------------------------------------------- */

static int dial(const char *folder)
{
	struct sockaddr_un at;
	int fd;

	if (address(&at, folder))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd); /* nothing was written */
	return -1;
}

/* The only run of ours that answers. */
static int find(void)
{
	char pattern[PATH_MAX];
	unsigned found = 0;
	struct stat st;
	int fd = -1;
	glob_t all;

	(void)snprintf(pattern, sizeof(pattern), "%s/%s*", run_parent(), RUN_FOLDER);
	if (glob(pattern, 0, NULL, &all) == 0)
		for (size_t i = 0; i < all.gl_pathc; i++) {
			int one = lstat(all.gl_pathv[i], &st) == 0 && st.st_uid == geteuid()
					  ? dial(all.gl_pathv[i])
					  : -1;

			if (one < 0)
				continue;
			if (found++)
				(void)close(one); /* nothing was written */
			else
				fd = one;
		}
	globfree(&all);
	if (found == 1)
		return fd;
	if (fd >= 0)
		(void)close(fd); /* the same */
	return found ? say("%u runs are there: say which with --folder", found)
		     : say("there is no run: begin with famez-vm run");
}

struct visit {
	int fd;
	bool over;
};

static void visit_send(void *owner, const char *bytes, size_t count)
{
	struct visit *v = owner;

	v->over |= send(v->fd, bytes, count, MSG_NOSIGNAL) < 0;
}

static bool visit_order(void *owner, char key)
{
	struct visit *v = owner;

	v->over |= key == 'q';
	return !v->over;
}

int doors_visit(const char *folder, unsigned node)
{
	struct visit v = {.fd = folder ? dial(folder) : find()};
	struct terminal_keys keys = {.send = visit_send, .order = visit_order, .owner = &v};
	const unsigned char which = (unsigned char)node;
	char bytes[4096];
	ssize_t count;

	if (v.fd < 0)
		return folder ? (say("no run in %s", folder), 1) : 1;
	(void)fprintf(stderr, "node %u; ^] q leaves\n", node);
	v.over = send(v.fd, &which, 1, MSG_NOSIGNAL) < 0;
	terminal_raw();
	while (!v.over) {
		struct pollfd ready[2] = {
			{.fd = v.fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};

		if (poll(ready, 2, -1) < 0)
			break;
		if (ready[0].revents) {
			count = recv(v.fd, bytes, sizeof(bytes), 0);
			v.over = count <= 0;
			if (count > 0)
				terminal_put(bytes, (size_t)count);
		}
		if (ready[1].revents) {
			count = read(STDIN_FILENO, bytes, sizeof(bytes));
			v.over |= count <= 0;
			if (count > 0)
				terminal_keys(&keys, bytes, (size_t)count);
		}
	}
	terminal_restore();
	(void)close(v.fd); /* all was sent */
	return 0;
}
