/* SPDX-License-Identifier: MIT */
/* example SOCKET NAME [PEER TEXT] - joins as NAME, sends TEXT to PEER, prints what it gets. */
#include <famez/peer.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct famez_join how = {.socket = argc > 1 ? argv[1] : NULL, .timeout_ms = 10000};
	struct famez_mailbox mailbox = {.name = argc > 2 ? argv[2] : NULL};
	struct famez_event event = {0};
	struct famez_message m;
	struct famez_who who;
	struct famez *f = NULL;
	int peer, got = famez_join(&f, &how);

	if (!got)
		got = famez_mailbox_open(f, &mailbox);
	if (!got && argc > 4 && (peer = got = famez_who_named(f, argv[3])) >= 0)
		got = famez_send(f, &(struct famez_to){.peer = (uint16_t)peer}, argv[4],
			strlen(argv[4]), 0, 1000);
	while (got >= 0 && event.kind != FAMEZ_EVENT_LOST) {
		struct pollfd ready = {.fd = famez_fd(f), .events = POLLIN};

		got = famez_next(f, &event);
		while (famez_peek(f, &m) == 1) {
			if (famez_who(f, m.from, &who) == 0)
				printf("%s: %.*s\n", who.name, (int)m.bytes,
					(const char *)m.payload);
			famez_release(f);
			fflush(stdout);
		}
		if (got == 0)
			poll(&ready, 1, -1); /* famez_next() was the last that we asked */
	}
	famez_leave(f);
	return got < 0 && fprintf(stderr, "example: %s\n", strerror(-got));
}
