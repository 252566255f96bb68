/* SPDX-License-Identifier: MIT */
/*
 * listener.h - the socket that clients come to: its path, its lock, its end.
 *
 * A living server's socket is never stolen, and never even connected to (QEMU's own
 * server ends when a client leaves in its opening): whether someone listens is asked
 * with a datagram socket, which can connect to no stream socket but is told so only if
 * there is one. Two servers that start at once are told apart by a lock file beside
 * the socket.
 *
 * Main thread, at start and at the end only.
 */
#ifndef LISTENER_H
#define LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "why.h"

struct listener {
	int fd;
	bool orphan; /* a server that had this path died without removing its lock */
	int lock;    /* -1: the socket was handed to us by systemd */
	const char *path;
	dev_t device; /* of the socket file that we made */
	ino_t inode;
};

/* What was made of a wish. */
struct listener_bound {
	int fd;
	uint64_t device, inode; /* of the socket file; inode 0: not known */
};

struct listener_wish {
	const char *path; /* borrowed */
	int mode;         /* -1: as the umask has it */
	uid_t uid;        /* (uid_t)-1: not changed */
	gid_t gid;
};

/**
 * listener_open() - take the socket from systemd (sd_listen_fds(3)), or make it; nobody
 * can connect yet. Returns 0 or -errno, -EADDRINUSE where a living server has it; @why
 * then says in one line what was wrong and what would be right.
 */
int listener_open(struct listener *l, const struct listener_wish *wish, struct why *why);

/**
 * listener_bind() - make a socket at the path, with mode and owner; nobody can connect yet. A
 * socket that nobody listens at is replaced. @patient: a server that was killed may still be
 * letting go of it. @wish's path fits a UNIX socket. Returns 0; or -errno, with one line in @why
 * and nothing made.
 */
int listener_bind(const struct listener_wish *wish, bool patient, struct listener_bound *bound,
	struct why *why);

/** listener_unlink() - remove the name, if what is there is what was made. */
void listener_unlink(const char *path, const struct listener_bound *bound);

/** listener_listen_at() - as listener_listen(), for a bound socket. */
int listener_listen_at(int fd);

/** listener_listen() - from now on clients can connect. Returns 0 or -errno of listen(2). */
int listener_listen(struct listener *l);

/** listener_close() - remove what we made. */
void listener_close(struct listener *l);

#endif
