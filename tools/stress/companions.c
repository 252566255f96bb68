/* SPDX-License-Identifier: MIT */
/*
 * companions.c - doorbells with guests: each guest has an emulated VM for a partner.
 *
 * Owns the companions' memberships. One thread, the conductor's, which waits for our epoll in its
 * own.
 */
#include "companions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "famez/mailbox.h"
#include "progress.h"

/* A guest's QEMU may not know the companion yet: a ring that it drops is not told of. So the first
 * one is rung again; nothing counts before it was answered. */
#define AGAIN_NS UINT64_C(200000000)

#define READY_MAX 32

/* In the epoll's events: whose, and whether it is the bell or the socket. */
#define BELL UINT64_C(0x100000000)

static int fails(struct companions *c, const char *what, int err)
{
	return verdict_give(
		c->verdict, VERDICT_NOT_JOINED, "a VM's companion %s: %s", what, strerror(-err));
}

/* A vector that nobody rings for mail. Where every sender has a vector of his own it is a
 * companion's: these send none. */
static int choose_vector(struct companions *c)
{
	const struct famez *f = c->all[0].famez;
	struct famez_geometry g = {0};
	size_t bytes = 0;
	void *memory = famez_memory(f, &bytes);

	if (famez_geometry_read(&g, memory, bytes))
		return verdict_give(c->verdict, VERDICT_NOT_JOINED,
			"--vm needs a server whose memory has lanes: what is measured is told by "
			"messages");
	c->vector = g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER ? (unsigned)famez_id(f) : 1;
	if (c->vector < g.vectors)
		return 0;
	return verdict_give(
		c->verdict, VERDICT_NOT_JOINED, "--vm needs --vectors 2 or more: one is for mail");
}

/* Its own vectors must be there before its bell is listened to. */
static int open_one(struct companions *c, unsigned k, const char *socket)
{
	struct famez_join how = {.socket = socket, .timeout_ms = (int)(c->patience_ns / 1000000)};
	struct companion *one = &c->all[k];
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = k};
	uint64_t until_ns = progress_now_ns() + c->patience_ns;
	struct famez_event told;
	int err = famez_join(&one->famez, &how), bell = -1;

	if (err)
		return fails(c, "cannot join", err);
	if (k == 0 && choose_vector(c))
		return -1;
	while (!err && bell < 0) {
		struct epoll_event ready;

		while (famez_next(one->famez, &told) > 0)
			continue;
		bell = famez_bell_fd(
			one->famez, (uint16_t)famez_id(one->famez), (uint16_t)c->vector);
		if (bell < 0 && progress_now_ns() > until_ns)
			err = -ETIMEDOUT;
		(void)epoll_wait(c->epoll, &ready, 1, bell < 0); /* a millisecond */
	}
	if (!err)
		err = famez_listen(one->famez, 0);
	if (!err && epoll_ctl(c->epoll, EPOLL_CTL_ADD, famez_fd(one->famez), &event))
		err = -errno;
	event.data.u64 |= BELL;
	if (!err && epoll_ctl(c->epoll, EPOLL_CTL_ADD, bell, &event))
		err = -errno;
	return err ? fails(c, "has no bells", err) : 0;
}

int companions_open(struct companions *c, struct board *board, const char *socket,
	uint64_t patience_ns, struct verdict *verdict)
{
	*c = (struct companions){.board = board, .verdict = verdict, .patience_ns = patience_ns};
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->all = calloc(board->guests.count, sizeof(*c->all));
	if (c->epoll < 0 || c->all == NULL)
		return verdict_give(verdict, VERDICT_LOST, "no companions: %s", strerror(errno));
	for (unsigned k = 0; k < board->guests.count; k++)
		c->all[k].guest = BOARD_NOBODY;
	for (unsigned k = 0; k < board->guests.count; k++)
		if (open_one(c, k, socket))
			return -1;
	return 0;
}

void companions_close(struct companions *c)
{
	for (unsigned k = 0; c->all && k < c->board->guests.count; k++)
		famez_leave(c->all[k].famez);
	if (c->epoll >= 0)
		(void)close(c->epoll); /* nothing was written through it */
	free(c->all);
	*c = (struct companions){.epoll = -1};
}

void companions_meet(struct companions *c, unsigned k, int id)
{
	c->all[k].guest = id;
}

static struct board_series *series_of(const struct companions *c)
{
	struct board_process *mine = &c->board->process[c->board->processes];
	struct board_series *s;

	if (c->measuring == 0 || c->measuring == BOARD_TRIPS)
		return NULL;
	s = &mine->with_guests[c->measuring - 1];
	if (s->name[0] == '\0') {
		memcpy(s->name, c->board->process[0].series[c->measuring - 1].name,
			sizeof(s->name));
		histogram_init(&s->latency);
	}
	return s;
}

static int ask(struct companions *c, struct companion *one, uint64_t now_ns)
{
	int err = famez_ring(one->famez, (uint16_t)one->guest, (uint16_t)c->vector);

	/* Neither may know of the other yet. */
	if (err && !one->met && (err == -ENOTCONN || err == -EINVAL))
		err = 0;
	if (err)
		return verdict_give(c->verdict, VERDICT_LOST,
			"the VM with ID %d cannot be rung: %s", one->guest, strerror(-err));
	one->asked = true;
	one->asked_ns = now_ns;
	return 0;
}

static void answered(struct companions *c, struct companion *one, uint64_t now_ns)
{
	struct board_series *s = series_of(c);

	one->asked = false;
	if (!one->met) {
		one->met = true;
		return;
	}
	c->rung += 2;
	if (s) {
		s->sent += 2;
		s->heard += 2;
	}
	if (c->measuring == 0 || one->asked_ns < c->clock_ns)
		return;
	if (s)
		s->counted += 2;
	histogram_record(s ? &s->latency : &c->board->guests.trips, now_ns - one->asked_ns);
}

static int hear(struct companions *c, struct companion *one)
{
	int bell = famez_bell_fd(one->famez, (uint16_t)famez_id(one->famez), (uint16_t)c->vector);
	uint64_t now_ns = progress_now_ns(), count;

	if (bell < 0 || read(bell, &count, sizeof(count)) != sizeof(count))
		return 0;
	if (one->asked)
		answered(c, one, now_ns);
	/* The first one may have been rung more than once, and so be answered. */
	else if (one->guest != BOARD_NOBODY && c->measuring)
		return verdict_give(c->verdict, VERDICT_LOST,
			"the VM with ID %d rang back when nobody had rung it", one->guest);
	return 0;
}

/* Joins and leaves are not ours to judge; but they must not wait for us. */
static int attend(struct companions *c, struct companion *one)
{
	struct famez_event told;
	int got;

	while ((got = famez_next(one->famez, &told)) > 0)
		if (told.kind == FAMEZ_EVENT_LOST)
			return verdict_give(c->verdict, VERDICT_LOST,
				"the server is gone: it closed the connection of a VM's companion");
	return got ? fails(c, "was told nonsense", got) : 0;
}

/* The scenario has begun another part, or ended one; that takes effect once all was answered. */
static void follow(struct companions *c, uint64_t now_ns, uint64_t warm_up_ns)
{
	unsigned wanted = atomic_load(&c->board->guests.bells);
	struct board_series *s = series_of(c);

	for (unsigned k = 0; k < c->board->guests.count; k++)
		if (wanted == c->measuring || c->all[k].asked)
			return;
	if (s && now_ns > c->clock_ns)
		s->ns += now_ns - c->clock_ns;
	c->measuring = wanted;
	c->clock_ns = now_ns + warm_up_ns;
	(void)series_of(c);
	atomic_store(&c->board->guests.bells_seen, wanted);
}

int companions_turn(struct companions *c, uint64_t warm_up_ns)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(c->epoll, ready, READY_MAX, 0);
	uint64_t now_ns;

	for (int i = 0; i < n; i++) {
		struct companion *one = &c->all[(uint32_t)ready[i].data.u64];

		if (ready[i].data.u64 & BELL ? hear(c, one) : attend(c, one))
			return -1;
	}
	now_ns = progress_now_ns();
	follow(c, now_ns, warm_up_ns);
	for (unsigned k = 0; k < c->board->guests.count; k++) {
		struct companion *one = &c->all[k];
		bool goes_on = c->measuring && atomic_load(&c->board->guests.bells) == c->measuring;

		if (one->guest == BOARD_NOBODY)
			continue;
		if (one->asked && one->met && now_ns - one->asked_ns > c->patience_ns)
			return verdict_give(c->verdict, VERDICT_LOST,
				"1 doorbell of the VM with ID %d did not come back within %g s",
				one->guest, (double)c->patience_ns / 1e9);
		if (one->met ? goes_on && !one->asked
			     : !one->asked || now_ns - one->asked_ns > AGAIN_NS)
			if (ask(c, one, now_ns))
				return -1;
	}
	return 0;
}
