/* SPDX-License-Identifier: MIT */
/*
 * schedule.c - one random schedule of a whole fabric: the driver, which picks who goes next.
 * One thread; nothing is kept between schedules. The world is schedule_world.h's.
 */
#include "schedule_world.h"

#include <string.h>

/* ---- the registrar ----------------------------------------------------------------------- */

static void announce(struct fabric *f, uint32_t id, bool present)
{
	account_change(&f->truth, id, present);
	for (uint16_t n = 0; n < f->workers; n++)
		queue_put(&f->worker[n].in,
			(struct entry){.kind = ENTRY_CHANGE, .id = id, .present = present});
}

static void check_worker(struct fabric *f, const struct intent *i, uint32_t together)
{
	unsigned least = f->load[0];

	for (uint16_t n = 1; n < f->workers; n++)
		if (f->load[n] < least)
			least = f->load[n];
	if (i->worker >= f->workers) {
		wrong(f, "peer %u was given to worker %u of %u", i->id, i->worker, f->workers);
		return;
	}
	if (together == MEMBERSHIP_ANYWHERE) {
		if (f->load[i->worker] != least)
			wrong(f, "peer %u was given to a busier worker", i->id);
		return;
	}
	if (f->worker_of_group[together] >= 0 && f->worker_of_group[together] != i->worker)
		wrong(f, "peer %u was parted from its group", i->id);
	f->worker_of_group[together] = i->worker;
}

static void registrar_accepts(struct fabric *f)
{
	uint32_t together = draw(f, 2) ? MEMBERSHIP_ANYWHERE : draw(f, TOGETHER_MAX);
	struct intent i = membership_connected(&f->membership, together);
	const bool full = f->free_count == 0;

	if (i.kind != (full ? INTENT_REFUSE : INTENT_ADOPT)) {
		wrong(f, "%u IDs are free, and the intent is %d", f->free_count, (int)i.kind);
		return;
	}
	if (full) {
		f->refused++;
		return;
	}
	if (i.id != f->free_ids[0]) {
		wrong(f, "ID %u was given, and %u was free longest", i.id, f->free_ids[0]);
		return;
	}
	check_worker(f, &i, together);
	if (f->failed)
		return;
	memmove(f->free_ids, f->free_ids + 1, --f->free_count * sizeof(f->free_ids[0]));
	f->state[i.id] = OPENING;
	f->worker_of[i.id] = i.worker;
	f->load[i.worker]++;
	for (uint32_t id = 0; id < f->ids_max; id++)
		if (f->client[id].used && f->client[id].picture.phase < LIVE &&
			f->client[id].picture.known[i.id])
			f->sums->reuses_under_opening++;
	queue_put(&f->worker[i.worker].in, (struct entry){.kind = ENTRY_ADOPT, .id = i.id});
}

static void registrar_hears(struct fabric *f, struct worker *w)
{
	struct entry e = queue_take(&w->out);
	struct intent i;

	if (e.kind == ENTRY_OPENED) {
		i = membership_opened(&f->membership, e.id);
		if (i.kind != INTENT_JOIN || i.id != e.id)
			wrong(f, "peer %u has opened, and the intent is %d", e.id, (int)i.kind);
		f->state[e.id] = PRESENT;
		f->joins++;
		announce(f, e.id, true);
		return;
	}
	i = membership_gone(&f->membership, e.id);
	if (i.kind != (f->state[e.id] == PRESENT ? INTENT_LEAVE : INTENT_NONE))
		wrong(f, "peer %u is gone, and the intent is %d", e.id, (int)i.kind);
	if (f->state[e.id] == PRESENT) {
		f->leaves++;
		announce(f, e.id, false);
	}
	f->state[e.id] = GONE;
	f->load[f->worker_of[e.id]]--;
	f->free_ids[f->free_count++] = e.id;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* A client that somebody serves, or IDS_MAX. */
static uint32_t pick_client(struct fabric *f)
{
	uint32_t from = f->first_id + draw(f, f->peers_max);

	for (uint32_t n = 0; n < f->peers_max; n++) {
		uint32_t id = f->first_id + (from - f->first_id + n) % f->peers_max;

		if (f->client[id].used)
			return id;
	}
	return IDS_MAX;
}

static void step_client(struct fabric *f, uint32_t id)
{
	struct client *c = &f->client[id];

	switch (draw(f, 24)) {
	case 0:
		c->stalled = !c->stalled;
		return;
	case 1:
	case 4:
	case 5:
		c->dead = true;
		return;
	case 2:
		worker_rewinds(f, c);
		return;
	case 3:
		/* Any copy can be thrown away, and nothing sent of what it yielded. */
		view_commit(&c->view, &c->who, &worker_of(f, id)->roster, 0);
		return;
	default:
		break;
	}
	if (c->dead && draw(f, 2))
		worker_closes(f, worker_of(f, id), id);
	else if (!c->dead && !c->stalled)
		(void)worker_visits(f, worker_of(f, id), c, 1 + draw(f, LOOK_AHEAD_MAX), false);
}

static bool queues_are_long(const struct fabric *f)
{
	for (uint16_t n = 0; n < f->workers; n++)
		if (queue_count(&f->worker[n].in) + 4 * PEERS_MAX > QUEUE_MAX)
			return true;
	return false;
}

static void step(struct fabric *f, unsigned eagerness)
{
	uint32_t what = draw(f, 16), id;
	struct worker *w = &f->worker[draw(f, f->workers)];

	f->sums->steps++;
	if (what < eagerness && !queues_are_long(f)) {
		registrar_accepts(f);
	} else if (what < 7) {
		for (unsigned n = draw(f, 8); n > 0 && queue_count(&w->in) && !f->failed; n--)
			worker_hears(f, w);
	} else if (what < 10) {
		for (unsigned n = draw(f, 6); n > 0 && queue_count(&w->out) && !f->failed; n--)
			registrar_hears(f, w);
	} else {
		id = pick_client(f);
		if (id != IDS_MAX)
			step_client(f, id);
	}
}

/* ---- the quiet time -------------------------------------------------------------------------- */

static bool deliver_everything(struct fabric *f)
{
	bool any = false;

	for (uint16_t n = 0; n < f->workers; n++) {
		struct worker *w = &f->worker[n];

		while (queue_count(&w->out) && !f->failed) {
			registrar_hears(f, w);
			any = true;
		}
	}
	for (uint16_t n = 0; n < f->workers; n++) {
		struct worker *w = &f->worker[n];

		while (queue_count(&w->in) && !f->failed) {
			worker_hears(f, w);
			any = true;
		}
	}
	return any;
}

static void settle(struct fabric *f, bool generous)
{
	unsigned visits = 0;
	bool any = true;

	f->settling = true;
	while (any && !f->failed) {
		any = deliver_everything(f);
		for (uint32_t id = 0; id < f->ids_max && !f->failed; id++) {
			struct client *c = &f->client[id];

			if (!c->used)
				continue;
			c->stalled = false;
			if (c->dead) {
				worker_closes(f, worker_of(f, id), id);
				any = true;
			}
			while (c->used && !f->failed &&
				worker_visits(f, worker_of(f, id), c, LOOK_AHEAD_MAX, generous)) {
				any = true;
				if (++visits > VISITS_MAX)
					wrong(f, "peer %u is never told everything", id);
			}
		}
	}
}

/* Nobody is short of room any more: everybody must know everybody after all. */
static void bring_back_the_held_back(struct fabric *f)
{
	for (uint32_t id = 0; id < f->ids_max; id++)
		if (f->client[id].used && !f->failed)
			worker_rewinds(f, &f->client[id]);
	settle(f, true);
	judge_all(f);
	for (uint32_t id = 0; id < f->ids_max; id++)
		for (uint32_t other = 0; other < f->ids_max && f->client[id].used; other++)
			if (f->client[id].picture.device && f->client[id].picture.held_back[other])
				wrong(f, "device %u has room and still lacks %u", id, other);
}

static bool set_up(struct fabric *f)
{
	static const uint32_t most[] = {4, 8, 8, 12, 24, PEERS_MAX};
	bool server_is_a_peer = draw(f, 2);

	f->first_id = draw(f, 3);
	f->peers_max = 1 + draw(f, most[draw(f, sizeof(most) / sizeof(most[0]))]);
	f->ids_max = f->first_id + f->peers_max + 1;
	f->workers = (uint16_t)(1 + draw(f, WORKERS_MAX));
	f->vectors = (uint16_t)(1 + draw(f, VECTORS_MAX));
	if (membership_init(&f->membership, f->first_id, f->peers_max, f->workers))
		return false;
	for (uint16_t n = 0; n < f->workers; n++)
		if (roster_init(&f->worker[n].roster, f->ids_max))
			return false;
	for (uint32_t n = 0; n < f->peers_max; n++)
		f->free_ids[f->free_count++] = f->first_id + n;
	for (unsigned n = 0; n < TOGETHER_MAX; n++)
		f->worker_of_group[n] = -1;
	if (server_is_a_peer) {
		f->openings[f->ids_max - 1] = 1;
		announce(f, f->ids_max - 1, true);
	}
	return true;
}

bool schedule_play(struct schedule_dice dice, enum schedule_bug bug, struct schedule_sums *sums,
	char why[SCHEDULE_WHY_BYTES])
{
	static struct fabric f;
	unsigned steps, eagerness;

	f = (struct fabric){.dice = dice, .bug = bug, .sums = sums, .why = why};
	if (!set_up(&f)) {
		wrong(&f, "no memory");
		return false;
	}
	steps = f.dice.bytes ? UINT32_MAX : 20 + draw(&f, 100 + 40 * f.peers_max);
	eagerness = 1 + draw(&f, 3);
	for (unsigned n = 0; n < steps && !f.failed && (!f.dice.bytes || f.dice.left); n++)
		step(&f, eagerness);
	settle(&f, false);
	if (!f.failed)
		judge_all(&f);
	if (!f.failed)
		bring_back_the_held_back(&f);
	sums->schedules++;
	sums->joins += f.joins;
	sums->leaves += f.leaves;
	sums->refused += f.refused;
	membership_destroy(&f.membership);
	for (uint16_t n = 0; n < f.workers; n++)
		roster_destroy(&f.worker[n].roster);
	return !f.failed;
}
