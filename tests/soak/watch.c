// SPDX-License-Identifier: MIT
/*
 * watch.c - looks on while a soak run goes, and says what stands still.
 *
 * A peer like the others, to whom nobody speaks: so it sees the memory, and can ring. The guard
 * is the only judge by the clock in a soak run, and far beyond what anything should take.
 */
#include "watch.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "actor.h"

static const char *const doings[] = {
	[DOING_START] = "starting",
	[DOING_JOIN] = "joining",
	[DOING_EVENTS] = "taking events",
	[DOING_SEND] = "sending",
	[DOING_HEAR] = "taking messages",
	[DOING_WAIT] = "waiting",
};

int watch_open(struct watch *w, struct ledger *ledger)
{
	const struct famez_join how = {.socket = ledger->plan.socket};
	const struct famez_mailbox mailbox = {.name = "watch"};
	size_t bytes;
	int err;

	*w = (struct watch){.ledger = ledger, .progress_ns = now_ns()};
	for (uint32_t seat = 0; seat < SEATS_MAX; seat++)
		w->moved_ns[seat] = now_ns();
	err = famez_join(&w->f, &how);
	if (err) {
		ledger_fail(ledger, "cannot join %s: error %d", how.socket, -err);
		return err;
	}
	w->memory = famez_memory(w->f, &bytes);
	err = famez_mailbox_open(w->f, &mailbox);
	if (!err)
		err = famez_geometry_read(&w->g, w->memory, bytes);
	if (!err && w->g.ids > IDS_MAX)
		err = -E2BIG;
	if (err) {
		ledger_fail(ledger, "no mailbox to talk by: error %d", -err);
		famez_leave(w->f);
	}
	return err;
}

void watch_close(struct watch *w)
{
	famez_leave(w->f);
}

void watch_lane(struct watch *w, uint32_t from, uint32_t to)
{
	struct famez_lane *lane = famez_lane_at(w->memory, &w->g, to, from);
	uint64_t consumed = famez_load_acquire(&lane->consumed);
	uint64_t produced = famez_load_acquire(&lane->produced);
	unsigned char *data = famez_lane_data_at(w->memory, &w->g, to, from);
	uint64_t *head = (uint64_t *)(void *)(data + (consumed & (w->g.lane_bytes - 1) & ~7u));
	uint64_t bits = famez_load_acquire(famez_bitmap_at(w->memory, &w->g, to, from));

	(void)fprintf(stderr,
		"  lane %u -> %u of %u: produced %" PRIu64 ", consumed %" PRIu64
		", head there %#" PRIx64
		", waiting %u, bit %u, receiver asleep %u; messages %" PRIu64 ", rings %" PRIu64
		", full %" PRIu64 ", stale %" PRIu64 ", garbled %" PRIu64 "\n",
		from, to, w->g.lane_bytes, produced, consumed, famez_load_acquire(head),
		famez_load_acquire(&lane->waiting), (unsigned)(bits >> (from % 64) & 1),
		famez_load_acquire(famez_asleep_at(w->memory, &w->g, to, from)),
		famez_load_relaxed(&lane->messages), famez_load_relaxed(&lane->rings),
		famez_load_relaxed(&lane->full), famez_load_relaxed(&lane->stale),
		famez_load_relaxed(&lane->garbled));
}

static void show_entry(struct watch *w, uint32_t id)
{
	struct famez_entry *e = famez_entry_at(w->memory, &w->g, id);

	(void)fprintf(stderr,
		"  ID %u: presence %u, joins %u, join %u, generation %u, speaks %u, heartbeat "
		"%" PRIu64 "\n",
		id, famez_load_relaxed(&e->presence), famez_load_relaxed(&e->joins),
		famez_load_relaxed(&e->join), famez_load_relaxed(&e->generation),
		famez_load_relaxed(&e->speaks), famez_load_relaxed(&e->heartbeat));
}

/* Who is at what, and each lane that has something unread. */
static void show_all(struct watch *w)
{
	struct ledger *l = w->ledger;
	unsigned shown = 0;

	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];
		struct life *life = &l->lives[atomic_load(&s->life)];

		(void)fprintf(stderr, "seat %u: life %u, ID %u, state %u, role %u, %s, ID %u%s\n",
			seat, atomic_load(&s->life), atomic_load(&life->id),
			atomic_load(&life->state), life->role, doings[atomic_load(&s->doing)],
			atomic_load(&s->whom), atomic_load(&s->stopped) ? ", stopped" : "");
		show_entry(w, atomic_load(&life->id) % w->g.ids);
	}
	for (uint32_t to = 1; to < w->g.ids; to++) {
		for (uint32_t from = 1; from < w->g.ids && shown < 100; from++) {
			struct famez_lane *lane = famez_lane_at(w->memory, &w->g, to, from);

			if (famez_load_relaxed(&lane->produced) ==
				famez_load_relaxed(&lane->consumed))
				continue;
			watch_lane(w, from, to);
			shown++;
		}
	}
}

static bool is_guard_content(struct watch *w, uint64_t progress)
{
	struct ledger *l = w->ledger;
	uint64_t now = now_ns(), hang_ns = l->plan.hang_seconds * UINT64_C(1000000000);

	if (progress != w->progress || ledger_phase(l) == PHASE_TALK) {
		w->progress = progress;
		w->progress_ns = now;
	}
	if (now - w->progress_ns > hang_ns) {
		ledger_fail(l, "nothing has come of it for %u s, in phase %u", l->plan.hang_seconds,
			ledger_phase(l));
		show_all(w);
		return false;
	}
	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];
		struct life *life = &l->lives[atomic_load(&s->life)];
		uint64_t beats = look(&s->beats);

		if (beats != w->beats[seat] || atomic_load(&s->stopped) ||
			life->role == ROLE_MUTE || !atomic_load(&s->pid)) {
			w->beats[seat] = beats;
			w->moved_ns[seat] = now;
		}
		if (now - w->moved_ns[seat] <= hang_ns)
			continue;
		ledger_fail(l, "seat %u (ID %u) has been %s, ID %u, for %u s", seat,
			atomic_load(&life->id), doings[atomic_load(&s->doing)],
			atomic_load(&s->whom), l->plan.hang_seconds);
		show_all(w);
		return false;
	}
	return true;
}

bool watch_turn(struct watch *w, uint64_t progress)
{
	struct pollfd ready = {.fd = famez_fd(w->f), .events = POLLIN};
	struct famez_event event;
	int got;

	if (atomic_load(&w->ledger->failed))
		return false;
	while ((got = famez_next(w->f, &event)) == 1) {
		struct famez_message m;

		if (event.kind == FAMEZ_EVENT_LOST)
			ledger_fail(w->ledger, "the server is gone");
		/* Nobody speaks to us, but where somebody scribbles, it may seem so. */
		if (event.kind == FAMEZ_EVENT_MESSAGE && famez_peek(w->f, &m) == 1)
			famez_release(w->f);
	}
	if (got < 0)
		ledger_fail(w->ledger, "the watch: famez_next() gives error %d", -got);
	(void)poll(&ready, 1, 20);
	return is_guard_content(w, progress) && !atomic_load(&w->ledger->failed);
}

void watch_wake(struct watch *w)
{
	for (int id = famez_peer_after(w->f, -1); id >= 0; id = famez_peer_after(w->f, id))
		(void)famez_ring(w->f, (uint16_t)id, 0);
}
