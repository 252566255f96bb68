/* SPDX-License-Identifier: MIT */
/*
 * doors.h - consoles for others than our own terminal: `famez-vm console N`. See doors.c.
 */
#ifndef VM_DOORS_H
#define VM_DOORS_H

#include <poll.h>
#include <stddef.h>

/** The socket's name in the run's folder. */
#define DOORS_SOCKET "console"

/** At most so many at once. */
#define DOORS_MAX 16u

struct door {
	int fd;        /* -1: free */
	unsigned node; /* 0: it has not said which yet */
};

struct doors {
	int listener; /* -1: closed */
	unsigned nodes;
	struct door all[DOORS_MAX];
};

/** doors_open() - listen in the run's folder. Says why it fails. Returns 0 or -1. */
int doors_open(struct doors *d, const char *folder, unsigned nodes);
void doors_close(struct doors *d);

/** doors_poll() - what is to be waited for; at most DOORS_MAX + 1. Returns how many. */
unsigned doors_poll(const struct doors *d, struct pollfd *into);

/** doors_on() - one of those is readable. @said: somebody types to this node: bytes in @into, @size
 * at most. Returns how many bytes; *@node 0: nothing to type. *@newcomer: who is to be shown what
 * the console said last, or NULL. */
size_t doors_on(
	struct doors *d, int fd, char *into, size_t size, unsigned *node, struct door **newcomer);

/** door_put() - to one; who does not read is cut off. */
void door_put(struct door *one, const char *bytes, size_t count);

/** doors_put() - a node's console said this: to all that look at it. */
void doors_put(struct doors *d, unsigned node, const char *bytes, size_t count);

/** doors_visit() - the other side: be at a node's console, until ^] q or its end. @folder: of the
 * run; NULL: the only one that there is. Returns an exit code. */
int doors_visit(const char *folder, unsigned node);

#endif
