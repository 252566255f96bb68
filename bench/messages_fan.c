/* SPDX-License-Identifier: MIT */
/*
 * messages_fan.c - a message to a group of many, and the least that it could cost.
 *
 * All members are handles of this process; they are asleep when the message comes, so each
 * is written to and rung. What counts is the server's CPU time a member; what it is held
 * against is done here in turn, for as many: one record written and published in a lane of
 * its own, one write to the very eventfd that the server rings.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "famez/lane.h"
#include "famez/peer.h"
#include "messages.h"

#define GROUP       7u
#define BYTES       100u
#define PATIENCE_NS UINT64_C(60000000000)
#define GENERATION  1u

struct fan {
	uint32_t members;
	struct famez_bells *bells;
	struct famez **handles; /* 0 sends, the others are members */
	int *vectors;           /* descriptors that the server rings */
	/* the lanes that are written by hand */
	struct famez_geometry g;
	void *base;
	struct famez_tx *lanes;
};

/* Looks after everybody once, until each is asleep. Returns how many messages were there. */
static uint32_t look_after_all(const struct fan *f)
{
	struct famez_event event;
	struct famez_message m;
	uint32_t count = 0;

	for (uint32_t i = 0; i <= f->members; i++) {
		int got;

		while ((got = famez_next(f->handles[i], &event)) != 0) {
			if (got < 0)
				die("libfamez", got);
			while (event.kind == FAMEZ_EVENT_MESSAGE &&
				famez_peek(f->handles[i], &m) == 1) {
				count += m.type == FAMEZ_MESSAGE_GROUP && m.bytes == BYTES;
				famez_release(f->handles[i]);
			}
		}
	}
	return count;
}

static int all_join(struct fan *f, const char *socket)
{
	const struct famez_join how = {.socket = socket, .timeout_ms = 10000, .bells = f->bells};
	const struct famez_mailbox mailbox = {.name = "member", .spin_us = -1};
	uint64_t give_up = clock_wall_ns() + PATIENCE_NS;
	int err;

	for (uint32_t i = 0; i <= f->members; i++) {
		err = famez_join(&f->handles[i], &how);
		if (!err)
			err = famez_mailbox_open(f->handles[i], &mailbox);
		if (err)
			return err;
		if (i % 64 == 63) /* lest thousands of notices wait in full sockets */
			for (uint32_t k = 0; k < i; k++) {
				struct famez_event event;

				while (famez_next(f->handles[k], &event) > 0)
					continue;
			}
	}
	for (uint32_t i = 0; i <= f->members; i++) {
		uint16_t server = (uint16_t)famez_server_id(f->handles[i]);
		uint16_t own = (uint16_t)famez_id(f->handles[i]);

		while (!famez_vectors(f->handles[i], server) ||
			!famez_vectors(f->handles[i], own)) {
			if (clock_wall_ns() > give_up)
				return -ETIMEDOUT;
			(void)look_after_all(f);
		}
		err = i ? famez_group_enter(f->handles[i], GROUP) : 0;
		if (err)
			return err;
	}
	return 0;
}

/* Sends one, and waits until all have it. */
static int fan_once(const struct fan *f, const void *payload)
{
	uint64_t give_up = clock_wall_ns() + PATIENCE_NS;
	int err = famez_group_send(f->handles[0], GROUP, payload, BYTES, 0, 1000);
	uint32_t got = 0;

	while (!err && got < f->members) {
		got += look_after_all(f);
		if (got < f->members && clock_wall_ns() > give_up)
			err = -ETIMEDOUT;
	}
	return err;
}

static int by_hand_prepare(struct fan *f)
{
	uint32_t ids = f->members + 3;
	uint64_t bytes = 4096;
	int fd = memfd_create("lanes", MFD_CLOEXEC);

	while (bytes < famez_geometry_needs(ids, FAMEZ_LANE_BYTES_MIN))
		bytes *= 2;
	if (fd < 0 || ftruncate(fd, (off_t)bytes) || famez_geometry_of(&f->g, bytes, ids))
		return -EIO;
	f->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (f->base == MAP_FAILED)
		return -errno;
	for (uint32_t i = 1; i <= f->members; i++)
		famez_tx_open(&f->lanes[i], f->base, &f->g, i, ids - 1, GENERATION, GENERATION);
	return 0;
}

/* The same by hand. Returns CPU time of both parts. */
static void by_hand(
	const struct fan *f, const void *payload, uint64_t *lanes_ns, uint64_t *bells_ns)
{
	uint64_t one = 1, begun = clock_thread_ns();

	for (uint32_t i = 1; i <= f->members; i++) {
		struct famez_tx *tx = &f->lanes[i];
		uint32_t rung = 0;
		void *room;

		if (famez_tx_claim(tx, BYTES, &room))
			die("a lane", EAGAIN);
		memcpy(room, payload, BYTES);
		famez_tx_commit(tx, BYTES, FAMEZ_KIND(FAMEZ_TYPE_GROUP, GROUP), 1);
		(void)famez_tx_flush(tx);
		(void)famez_nudge(f->base, &f->g, i, f->g.ids - 1, &rung);
	}
	*lanes_ns += clock_thread_ns() - begun;
	begun = clock_thread_ns();
	for (uint32_t i = 1; i <= f->members; i++)
		if (write(f->vectors[i], &one, sizeof(one)) != sizeof(one))
			die("an eventfd", errno);
	*bells_ns += clock_thread_ns() - begun;
	for (uint32_t i = 1; i <= f->members; i++) /* all was read */
		famez_store_release(&f->lanes[i].lane->consumed, f->lanes[i].at);
}

static int open_all(struct fan *f, const char *socket)
{
	const struct rlimit many = {1u << 20, 1u << 20};
	int err;

	(void)setrlimit(RLIMIT_NOFILE, &many); /* joining says it if that was not enough */
	f->handles = calloc(f->members + 1, sizeof(struct famez *));
	f->vectors = calloc(f->members + 1, sizeof(int));
	f->lanes = calloc(f->members + 1, sizeof(*f->lanes));
	if (!f->handles || !f->vectors || !f->lanes)
		return -ENOMEM;
	err = famez_bells_open(&f->bells);
	if (!err)
		err = all_join(f, socket);
	for (uint32_t i = 0; !err && i <= f->members; i++) {
		int id = famez_id(f->handles[i]);

		/* The vector that the server rings: its own ID, or 0 where there are too few. */
		f->vectors[i] = famez_bell_fd(f->handles[i], (uint16_t)id, 0);
		if (f->vectors[i] < 0)
			err = f->vectors[i];
	}
	return err ? err : by_hand_prepare(f);
}

int messages_fan(const char *socket, pid_t server, uint32_t members, uint32_t milliseconds)
{
	struct fan f = {.members = members};
	unsigned char *payload = payload_make(BYTES);
	uint64_t server_ns = 0, lanes_ns = 0, bells_ns = 0, before, end_ns;
	uint32_t rounds = 0;
	int err = socket && server ? open_all(&f, socket) : -EDESTADDRREQ;

	if (!err)
		err = fan_once(&f, payload); /* everybody is in, and has opened the lane */
	end_ns = clock_wall_ns() + milliseconds * UINT64_C(1000000);
	while (!err && (clock_wall_ns() < end_ns || rounds < 10)) {
		before = clock_settled_ns(server);
		for (int i = 0; !err && i < 10; i++)
			err = fan_once(&f, payload);
		server_ns += clock_settled_ns(server) - before;
		for (int i = 0; !err && i < 10; i++) {
			by_hand(&f, payload, &lanes_ns, &bells_ns);
			(void)look_after_all(&f);
		}
		rounds += 10;
	}
	if (!err)
		(void)printf("{\"scenario\": \"fan\", \"members\": %u, \"messages\": %u, "
			     "\"server_cpu_ns\": %" PRIu64 ", \"lanes_ns\": %" PRIu64
			     ", \"bells_ns\": %" PRIu64 "}\n",
			members, rounds, server_ns, lanes_ns, bells_ns);
	/* The process ends now, and with it what is still open. */
	free(f.handles);
	free(f.vectors);
	free(f.lanes);
	free(payload);
	return err;
}
