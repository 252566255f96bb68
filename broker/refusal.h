/* SPDX-License-Identifier: MIT */
/*
 * refusal.h - who is not let in: version -1, and then the close.
 *
 * A silent close would leave a QEMU spinning for ever. And a close right behind the -1
 * freezes a running one that plugs a device in: its main loop sees the hang-up, drops the
 * socket with what was not read, and the device waits for the version from then on. So a
 * device that is refused keeps its socket, shut for sending, until it closes its own end;
 * so many at a time, the oldest goes first.
 *
 * The struct belongs to the registrar; refusal_send_and_close() is for any thread.
 */
#ifndef REFUSAL_H
#define REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

#include "op.h"

#define REFUSALS_MAX 64u

struct refusal {
	struct op receive;
	int sock;
	bool used;
	bool shut;    /* its end was asked for */
	uint64_t nth; /* the smallest is the oldest */
	char received[8];
};

struct refusals {
	struct io_uring *ring; /* the registrar's */
	uint64_t count;        /* kept since start */
	struct refusal kept[REFUSALS_MAX];
};

void refusals_init(struct refusals *r, struct io_uring *ring);

/** refusals_destroy() - after the ring: close what is kept. */
void refusals_destroy(struct refusals *r);

/** refusals_add() - refuse the client of @sock, which is ours from here on. */
void refusals_add(struct refusals *r, int sock, bool device);

/**
 * refusal_tag() - before the first byte of a refusal: whoever finds the socket after our death
 * sees that nobody may be told anything else there. refusal_tagged() - was it?
 */
void refusal_tag(int sock);
bool refusal_tagged(int sock);

/** refusal_send() - tag it, then -1 into @sock, if it takes it. In the opening it is never right,
 * neither as version nor as ID nor, without a descriptor, as memory: the client gives up. */
void refusal_send(int sock);

/** refusal_send_and_close() - at our end, where nobody can be waited for. */
void refusal_send_and_close(int sock);

#endif
