/* SPDX-License-Identifier: MIT */
/*
 * gates.h - sockets of bound IDs: whoever comes by one gets that ID, and no other.
 *
 * Names are made and taken away by a process that may: main() at the start and at the end, and a
 * broker whose predecessor was asked to read changed rules (keeper.h, KEEPER_AGAIN), before it has
 * its sandbox. What there is stands in the state memory, so every broker listens at the same
 * sockets; which path one has the kernel knows (getsockname(2)), and so is not believed to
 * whoever can write the state.
 *
 * One thread; while there is no broker, or by it before it has others.
 */
#ifndef GATES_H
#define GATES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "binds.h"
#include "listener.h"
#include "why.h"

/* No ID: who came by the fabric's own socket. */
#define GATES_NOBODY UINT32_MAX
/* Nobody's ID either: who came by a socket that is no more. It is refused. */
#define GATES_GONE (UINT32_MAX - 1)

struct gate {
	_Atomic int32_t fd; /* listens; 0: there is none. Stored last, and cleared first */
	uint32_t id;
	uint64_t device, inode; /* of the socket file that was made */
};

/* In the state memory: plain bytes. */
struct gates {
	_Atomic uint32_t end; /* places from this one on were never in use */
	struct gate gate[BINDS_MAX];
};

/**
 * gates_change() - make the sockets that @binds names and that are missing, then take away those
 * that it does not name. Returns 0; or -errno with one line in @why, -EADDRINUSE where a living
 * server has the path, and then all is as it was. May be cut short and done again.
 */
int gates_change(struct gates *gates, const struct binds *binds, const struct listener_wish *wish,
	bool patient, struct why *why);

/** gates_listen() - from now on clients can connect. Returns 0 or -errno of listen(2). */
int gates_listen(const struct gates *gates);

/** gates_count() - how many there are. */
unsigned gates_count(const struct gates *gates);

/** gates_end() - places to look at; at most BINDS_MAX. */
static inline unsigned gates_end(const struct gates *gates)
{
	uint32_t end = atomic_load_explicit(&gates->end, memory_order_acquire);

	return end < BINDS_MAX ? end : BINDS_MAX;
}

/** gates_fd() - of the @nth place; 0: there is none. */
static inline int gates_fd(const struct gates *gates, unsigned nth)
{
	return atomic_load_explicit(&gates->gate[nth].fd, memory_order_acquire);
}

/** gates_of() - the ID of whose socket @name is; GATES_NOBODY: of none. */
uint32_t gates_of(const struct gates *gates, const struct sockaddr_un *name);

/** gates_close() - remove them all. */
void gates_close(struct gates *gates);

#endif
