/* SPDX-License-Identifier: MIT */
/*
 * transport.h - how a membership is had: over a server's socket (socket.c), or through the
 * driver of a guest's device (device.c).
 *
 * A transport owns the handle's `link`, whatever stands behind it, and what it writes into the
 * seats of others; peer.c chooses it by the path, and knows nothing else of it. Neither touches
 * what is in the shared memory, but for the directory that device.c reads.
 */
#ifndef FAMEZ_TRANSPORT_H
#define FAMEZ_TRANSPORT_H

#include "famez/peer.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct transport {
	/**
	 * connect() - a link in f->link, readable while receive() may have something.
	 * @patient: wait for the other side to take us, until @deadline (NULL: for ever).
	 * Returns 0 or -errno; what it had begun then, hang_up() and disconnect() end.
	 */
	int (*connect)(
		struct famez *f, const char *path, bool patient, const struct timespec *deadline);
	/** receive() - one thing that the link has to tell: as famez_next(), but 0 means only that
	 * this step had nothing. */
	int (*receive)(struct famez *f, struct famez_event *event);
	/** ring() - as famez_ring(). */
	int (*ring)(struct famez *f, uint16_t peer, uint16_t vector);
	/** can_ring() - would ring() find this vector? It is below famez_vectors(). */
	bool (*can_ring)(const struct famez *f, uint16_t peer, uint16_t vector);
	/** rung() - a vector of ours was; NULL: that says nothing of who is there. */
	void (*rung)(struct famez *f);
	/** claim() - we are to be who reads and writes our part of the mailbox, or no longer.
	 * Returns 0 or -errno. NULL: nobody else could be. */
	int (*claim)(struct famez *f, bool ours);
	/** hang_up() - nothing more is heard from the link; rings may go on. Also more than once.
	 */
	void (*hang_up)(struct famez *f);
	/** disconnect() - after hang_up(): the end. NULL: there is no more to it. */
	void (*disconnect)(struct famez *f);
};

extern const struct transport transport_socket, transport_device;

#endif
