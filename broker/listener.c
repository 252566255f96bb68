/* SPDX-License-Identifier: MIT */
/*
 * listener.c - the socket that clients come to: its path, its lock, its end.
 *
 * Accepts nobody; that is the registrar's.
 */
#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "sys.h"

/* How often, and how far apart, we look whether a dead server's socket is closed. */
#define ORPHAN_LOOKS   200
#define ORPHAN_LOOK_NS 10000000

/* Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn. */
#define LISTENER_BACKLOG 4096

static int take_activated(struct listener *l, const struct listener_wish *wish, struct why *why)
{
	int count = sd_listen_fds(1);

	if (count <= 0)
		return 0;
	if (count > 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, -1, NULL, 0) <= 0)
		return why_fail(why, -EINVAL,
			"socket: systemd handed over %d descriptors; want one UNIX stream socket "
			"(ListenStream=PATH)",
			count);
	if (wish->mode >= 0 || wish->uid != (uid_t)-1 || wish->gid != (gid_t)-1)
		return why_fail(why, -EPERM,
			"socket: systemd made it, so its mode and owner are SocketMode=, "
			"SocketUser= "
			"and SocketGroup= there");
	l->fd = SD_LISTEN_FDS_START;
	return 1;
}

static void wait_a_moment(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = ORPHAN_LOOK_NS}, NULL);
}

/* A keeper that was killed takes its broker along (keeper.h), which has the lock a little longer.
 */
static bool owner_is_gone(int fd)
{
	struct pollfd end = {.events = POLLIN};
	char text[16] = "";
	long pid;
	bool gone;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	pid = strtol(text, NULL, 10);
	if (pid <= 0 || pid > INT32_MAX)
		return false;
	end.fd = pidfd_open((pid_t)pid, 0);
	if (end.fd < 0)
		return errno == ESRCH;
	/* One that has ended is a process until its parent asks for it. */
	gone = poll(&end, 1, 0) > 0;
	(void)close(end.fd);
	return gone;
}

/* A lock file has a process ID in it, or nothing: FAME-Z's and F.E.E.'s too. What has anything else
 * is somebody's Cargo.lock, and not ours to empty and to remove. */
static bool is_lock(int fd, const struct stat *file)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof(text), 0), digits = 0;

	while (digits < n && text[digits] >= '0' && text[digits] <= '9')
		digits++;
	return S_ISREG(file->st_mode) && file->st_nlink == 1 && file->st_size == n &&
	       (digits == n || (digits == n - 1 && text[digits] == '\n'));
}

/* The lock file holds our process ID, and our flock for as long as we live. */
static int take_lock(struct listener *l, struct why *why)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8], pid[16];
	struct stat ours, there;
	unsigned looks = 0;

	(void)snprintf(path, sizeof(path), "%s.lock", l->path);
	for (;;) {
		int fd = sys_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
		int err, n;

		if (fd < 0)
			return why_fail(why, fd, "socket: cannot open the lock %s: %s%s", path,
				strerror(-fd),
				fd == -ELOOP ? " (famez_server.py leaves a link there when it "
					       "is killed; remove it)"
					     : "");
		do
			err = sys_flock(fd, LOCK_EX | LOCK_NB);
		while (err == -EINTR);
		if (err < 0) {
			bool orphan = err == -EWOULDBLOCK && owner_is_gone(fd);

			(void)close(fd);
			if (orphan && looks++ < ORPHAN_LOOKS) {
				wait_a_moment();
				continue;
			}
			if (err == -EWOULDBLOCK)
				return why_fail(why, -EADDRINUSE,
					"socket: %s is in use by a living server (%s is locked); "
					"stop "
					"it or choose another path with -S",
					l->path, path);
			return why_fail(
				why, err, "socket: cannot lock %s: %s", path, strerror(-err));
		}
		/* The last owner may have removed it between our open and lock. */
		if (fstat(fd, &ours) != 0 || stat(path, &there) != 0 ||
			ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) {
			(void)close(fd);
			continue;
		}
		if (!is_lock(fd, &ours)) {
			(void)close(fd);
			return why_fail(why, -EINVAL,
				"socket: %s is no lock of a server: choose another path with -S, "
				"or remove it",
				path);
		}
		l->lock = fd;
		l->orphan = ours.st_size > 0;
		n = snprintf(pid, sizeof(pid), "%d\n", getpid());
		err = sys_ftruncate(fd, 0);
		if (!err)
			err = sys_write(fd, pid, (size_t)n);
		if (err < 0)
			return why_fail(
				why, err, "socket: cannot write %s: %s", path, strerror(-err));
		return 0;
	}
}

/* Is there a file at the path, and does somebody listen behind it? */
static int probe(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, err;

	if (lstat(address->sun_path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = sys_socket(SOCK_DGRAM);
	if (fd < 0)
		return fd;
	err = sys_connect(fd, (const struct sockaddr *)address, sizeof(*address));
	(void)close(fd);
	return err == -ECONNREFUSED ? 1 : err < 0 && err != -EPROTOTYPE ? err : -EADDRINUSE;
}

void listener_unlink(const char *path, const struct listener_bound *bound)
{
	struct stat st;

	if (bound->inode && stat(path, &st) == 0 && st.st_dev == bound->device &&
		st.st_ino == bound->inode)
		(void)unlink(path);
}

/* With the mode that is wanted. A socket's own mode is that of the name it is bound to, less the
 * umask: so no other file's is changed, should somebody put a link in its place. */
static int bind_as(int fd, const struct sockaddr_un *address, const struct listener_wish *wish,
	struct why *why)
{
	mode_t umask_before;
	int err = 0;

	if (wish->mode >= 0)
		err = sys_fchmod(fd, (mode_t)wish->mode);
	if (err < 0)
		return why_fail(why, err, "socket: cannot set the mode of %s: %s", wish->path,
			strerror(-err));
	/* There is no other thread yet. */
	umask_before = umask(0);
	if (wish->mode < 0)
		(void)umask(umask_before);
	err = sys_bind(fd, (const struct sockaddr *)address, sizeof(*address));
	(void)umask(umask_before);
	if (err < 0)
		return why_fail(why, err, "socket: cannot bind %s: %s", wish->path, strerror(-err));
	return 0;
}

/* Nobody can connect before listen(2), so there is no moment of the wrong owner. */
static int set_owner(const struct listener_wish *wish, struct why *why)
{
	int err = 0;

	if (wish->uid != (uid_t)-1 || wish->gid != (gid_t)-1)
		err = sys_lchown(wish->path, wish->uid, wish->gid);
	if (err < 0)
		return why_fail(why, err, "socket: cannot give %s to the owner asked for: %s",
			wish->path, strerror(-err));
	return 0;
}

static int make_way(const struct sockaddr_un *address, bool patient, struct why *why)
{
	const char *path = address->sun_path;
	int err = probe(address);

	/* Of a server that was killed the kernel closes what its io_uring held a little
	 * later than the lock. */
	for (unsigned i = 0; err == -EADDRINUSE && patient && i < ORPHAN_LOOKS; i++) {
		wait_a_moment();
		err = probe(address);
	}
	if (err == -EADDRINUSE)
		return why_fail(why, err,
			"socket: %s is in use by a living server; stop it or choose another path",
			path);
	if (err == -ENOTSOCK)
		return why_fail(
			why, err, "socket: %s exists and is no socket; choose another path", path);
	if (err < 0)
		return why_fail(why, err, "socket: %s: %s", path, strerror(-err));
	if (err > 0)
		(void)unlink(path); /* stale; if it stays, bind says so */
	return 0;
}

int listener_bind(const struct listener_wish *wish, bool patient, struct listener_bound *bound,
	struct why *why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct listener_bound b = {.fd = -1};
	struct stat st;
	int err;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", wish->path);
	err = make_way(&address, patient, why);
	if (err)
		return err;
	b.fd = sys_socket(SOCK_STREAM | SOCK_NONBLOCK);
	if (b.fd < 0)
		return why_fail(why, b.fd, "socket: %s", strerror(-b.fd));
	err = bind_as(b.fd, &address, wish, why);
	if (err)
		goto undo_socket;
	if (stat(wish->path, &st) == 0) {
		b.device = st.st_dev;
		b.inode = st.st_ino;
	}
	err = set_owner(wish, why);
	if (err)
		goto undo_name;
	*bound = b;
	return 0;

undo_name:
	listener_unlink(wish->path, &b);
undo_socket:
	(void)close(b.fd);
	return err;
}

static int make(struct listener *l, const struct listener_wish *wish, struct why *why)
{
	struct listener_bound bound = {.fd = -1};
	int err;

	if (strlen(wish->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return why_fail(why, -ENAMETOOLONG,
			"socket: the path %s is too long; at most %zu bytes fit a UNIX socket",
			wish->path, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	err = take_lock(l, why);
	if (!err)
		err = listener_bind(wish, l->orphan, &bound, why);
	if (err)
		return err;
	l->fd = bound.fd;
	l->device = bound.device;
	l->inode = bound.inode;
	return 0;
}

int listener_open(struct listener *l, const struct listener_wish *wish, struct why *why)
{
	int err;

	*l = (struct listener){.fd = -1, .lock = -1, .path = wish->path};
	err = take_activated(l, wish, why);
	if (err == 0)
		err = make(l, wish, why);
	if (err >= 0) {
		err = sys_fcntl(l->fd, F_SETFL, O_RDWR | O_NONBLOCK);
		if (err < 0)
			(void)why_fail(why, err, "socket: fcntl: %s", strerror(-err));
	}
	if (err < 0)
		listener_close(l);
	return err < 0 ? err : 0;
}

int listener_listen_at(int fd)
{
	return sys_listen(fd, LISTENER_BACKLOG);
}

int listener_listen(struct listener *l)
{
	return listener_listen_at(l->fd);
}

void listener_close(struct listener *l)
{
	const struct listener_bound bound = {.device = l->device, .inode = l->inode};
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];

	if (l->lock >= 0) {
		listener_unlink(l->path, &bound);
		(void)snprintf(path, sizeof(path), "%s.lock", l->path);
		(void)unlink(path);
		(void)close(l->lock);
	}
	if (l->fd >= 0)
		(void)close(l->fd);
	*l = (struct listener){.fd = -1, .lock = -1};
}
