/* SPDX-License-Identifier: MIT */
/*
 * member.c - what a user of the installed libfamez writes: joins, and rings itself.
 *
 * Built by run.sh with nothing but the flags of pkg-config; no part of the build.
 */
#include <famez/peer.h>
#include <famez/wire.h>
#include <poll.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct famez_join how = {.socket = argc > 1 ? argv[1] : NULL, .timeout_ms = 30000};
	struct famez_event event = {0};
	struct famez *f;
	size_t bytes = 0;
	int err = famez_join(&f, &how);

	while (!err && event.kind != FAMEZ_EVENT_DOORBELL) {
		struct pollfd ready = {.fd = famez_fd(f), .events = POLLIN};
		int got = famez_next(f, &event);

		if (got == 0 && poll(&ready, 1, 30000) == 0)
			err = 1;
		if (got < 0)
			err = got;
		if (got == 1 && event.kind == FAMEZ_EVENT_VECTOR && event.peer == famez_id(f))
			err = famez_ring(f, event.peer, event.vector);
	}
	if (err)
		return 1;
	printf("%d %d\n", famez_id(f), famez_memory(f, &bytes) ? (int)(bytes >> 20) : -1);
	famez_leave(f);
	return 0;
}
