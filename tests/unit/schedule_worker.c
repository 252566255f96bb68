/* SPDX-License-Identifier: MIT */
/*
 * schedule_worker.c - one worker of a schedule, and its clients: what it hears from the
 * registrar, what it sends, where the bugs strike that the driver can be given.
 */
#include "schedule_world.h"

#include <string.h>

static struct message message_of(struct fabric *f, const struct client *c, const struct notice *n)
{
	struct message m = {.value = n->id, .descriptor = {EVENTFD, n->id, n->vector}};

	switch (n->kind) {
	case NOTICE_VERSION:
		return (struct message){0};
	case NOTICE_ID:
		return (struct message){.value = c->who.id};
	case NOTICE_MEMORY:
		return (struct message){.value = -1, .descriptor = {.kind = MEMORY}};
	case NOTICE_VECTOR:
		if (has_bug(f, SCHEDULE_WRONG_EVENTFD))
			m.descriptor.vector ^= 1;
		if (has_bug(f, SCHEDULE_VECTORS_REVERSED))
			m.descriptor.vector = (uint16_t)(f->vectors - 1 - n->vector);
		return m;
	case NOTICE_LEAVE:
		return (struct message){.value = n->id};
	}
	wrong(f, "peer %u has a notice of no kind", c->who.id);
	return (struct message){0};
}

static void open_client(struct fabric *f, struct worker *w, uint32_t id)
{
	struct client *c = &f->client[id];
	struct account *a = &w->replica;
	bool device = draw(f, 2);

	if (c->used || a->present[id]) {
		wrong(f, "ID %u has two owners", id);
		return;
	}
	*c = (struct client){.used = true};
	memset(c->held, (int)draw(f, 256), sizeof(c->held)); /* view_open() must clear it */
	c->who = (struct view_client){
		.id = id,
		.vectors = f->vectors,
		.leaves = !device,
		.guarded = draw(f, 3) == 0,
		.held = c->held,
	};
	c->picture = (struct picture){
		.id = id,
		.vectors = f->vectors,
		.device = device,
		.guarded = c->who.guarded,
		.unfinished = IDS_MAX,
		.opened_at = a->end,
	};
	if (has_bug(f, SCHEDULE_LEAVES_TO_DEVICES))
		c->who.leaves = true;
	if (has_bug(f, SCHEDULE_NO_LEAVES_TO_PLAIN))
		c->who.leaves = false;
	if (has_bug(f, SCHEDULE_GUARD_OFF))
		c->who.guarded = false;
	view_open(&c->view, &c->who, &w->roster);
	if (c->who.guarded) {
		/* A guarded client is let in only where its own vectors fit. */
		c->picture.room = f->vectors + draw(f, 2) * draw(f, 40);
		view_grant(&c->view, c->picture.room);
	}
	if (view_opened(&c->view))
		wrong(f, "peer %u's opening is over before it began", id);
}

void worker_closes(struct fabric *f, struct worker *w, uint32_t id)
{
	struct client *c = &f->client[id];

	if (!c->announced)
		f->sums->crashes_opening++;
	c->used = false;
	if (!bug_strikes(f, SCHEDULE_LEAVE_UNHEARD))
		queue_put(&w->out, (struct entry){.kind = ENTRY_GONE, .id = id});
}

static void check_grant_helps(struct fabric *f, struct worker *w, struct client *c)
{
	struct view copy = c->view;
	struct notice n;

	if (view_next(&copy, &c->who, &w->roster, &n) != VIEW_NOTICE)
		wrong(f, "peer %u has been granted its room and still wants some", c->who.id);
}

/* The view itself, not a copy of it, stands before a peer for which there is no room. */
static void give_room(struct fabric *f, struct worker *w, struct client *c, bool generous)
{
	uint32_t wanted = view_room_wanted(&c->view, &c->who);
	uint32_t due = c->picture.phase == IN_BACKLOG ? 2u * f->vectors : f->vectors;
	uint32_t id;

	if (!c->who.guarded)
		wrong(f, "peer %u is not guarded and wants room", c->who.id);
	if (wanted != due)
		wrong(f, "peer %u wants room for %u instead of %u", c->who.id, wanted, due);
	if (c->picture.room >= due)
		wrong(f, "peer %u has room for %u and wants more", c->who.id, c->picture.room);
	if (!generous && draw(f, 3) == 0) {
		id = judge_next(f, &c->picture);
		if (id == IDS_MAX) {
			wrong(f, "peer %u wants room for nobody", c->who.id);
			return;
		}
		view_hold_back(&c->view, &c->who, &w->roster);
		c->picture.held_back[id] = judge_replica(f, &c->picture)->position[id];
		c->picture.heard = c->picture.held_back[id];
		f->sums->held_back++;
	} else if (!generous && draw(f, 3) == 0) {
		uint32_t some = draw(f, 2u * f->vectors + 1);

		view_grant(&c->view, some);
		c->picture.room += some;
	} else {
		uint32_t missing = due > c->picture.room ? due - c->picture.room : 0;

		view_grant(&c->view, missing);
		c->picture.room += missing;
		check_grant_helps(f, w, c);
	}
}

/* Walking on from where the commit left off must yield what was walked past before. */
static void check_rest(struct fabric *f, struct worker *w, struct client *c,
	const struct notice *rest, unsigned count)
{
	struct view copy = c->view;
	struct notice n;

	f->sums->looked_ahead_again++;
	for (unsigned i = 0; i < count; i++)
		if (view_next(&copy, &c->who, &w->roster, &n) != VIEW_NOTICE ||
			n.kind != rest[i].kind || n.id != rest[i].id ||
			n.vector != rest[i].vector) {
			wrong(f, "peer %u is told something else after a commit", c->who.id);
			return;
		}
}

static void apply_change(struct fabric *f, struct worker *w, uint32_t id, bool present)
{
	const struct roster_change *last;

	roster_append(&w->roster, id, present);
	account_change(&w->replica, id, present);
	last = roster_after(&w->roster, w->roster.end - 1);
	if (!last || last->id != id || last->present != present)
		wrong(f, "the roster is wrong about %u", id);
	if (!present && has_bug(f, SCHEDULE_IDS_REUSED_NAIVELY))
		for (uint32_t other = 0; other < f->ids_max; other++)
			if (f->client[other].used && f->worker_of[other] == w - f->worker)
				f->client[other].held[id / VIEW_WORD_BITS] &=
					~(1ul << id % VIEW_WORD_BITS);
}

/* Sends the first @sent of @count notices and commits them. */
static void send_and_commit(struct fabric *f, struct worker *w, struct client *c,
	const struct notice *notices, unsigned sent, unsigned count)
{
	unsigned commit = sent;

	for (unsigned i = 0; i < sent; i++) {
		struct message m = message_of(f, c, &notices[i]);

		if (has_bug(f, SCHEDULE_MEMORY_LATE) && notices[i].kind == NOTICE_MEMORY &&
			i + 1 < sent) {
			struct message next = message_of(f, c, &notices[++i]);

			judge_receive(f, &c->picture, &next);
		}
		judge_receive(f, &c->picture, &m);
	}
	if (sent && bug_strikes(f, SCHEDULE_COMMITS_TOO_LITTLE))
		commit--;
	if (sent < count && bug_strikes(f, SCHEDULE_COMMITS_TOO_MUCH))
		commit++;
	if (has_bug(f, SCHEDULE_LOG_MOVES_IN_SEND) && queue_count(&w->in) &&
		w->in.entries[w->in.head % QUEUE_MAX].kind == ENTRY_CHANGE) {
		struct entry e = queue_take(&w->in);

		apply_change(f, w, e.id, e.present);
	}
	view_commit(&c->view, &c->who, &w->roster, commit);
}

static void check_announce(struct fabric *f, struct worker *w, struct client *c)
{
	bool early = has_bug(f, SCHEDULE_ANNOUNCED_EARLY) && c->picture.phase >= IN_BACKLOG;

	if (view_opened(&c->view) != (c->picture.phase == LIVE))
		wrong(f, "peer %u's opening is over too early or too late", c->who.id);
	if (c->picture.phase == LIVE && !c->opening_told) {
		c->opening_told = true;
		f->openings[c->who.id]++;
	}
	if (!c->announced && (view_opened(&c->view) || early)) {
		c->announced = true;
		queue_put(&w->out, (struct entry){.kind = ENTRY_OPENED, .id = c->who.id});
	}
}

bool worker_visits(
	struct fabric *f, struct worker *w, struct client *c, unsigned most, bool generous)
{
	struct notice notices[LOOK_AHEAD_MAX];
	unsigned long held[VIEW_HELD_WORDS(IDS_MAX)];
	struct view copy = c->view;
	enum view_says says = VIEW_NOTICE;
	unsigned count = 0, sent;

	memcpy(held, c->held, sizeof(held));
	while (count < most &&
		(says = view_next(&copy, &c->who, &w->roster, &notices[count])) == VIEW_NOTICE)
		count++;
	if (memcmp(held, c->held, sizeof(held)) != 0)
		wrong(f, "looking ahead changed what peer %u holds", c->who.id);
	if (count == 0) {
		if (draw(f, 2))
			c->view = copy; /* both are allowed: to pass over, or to stay */
		if (says == VIEW_WANTS_ROOM)
			give_room(f, w, c, generous);
		return says == VIEW_WANTS_ROOM;
	}
	sent = f->settling ? count : draw(f, count + 1);
	send_and_commit(f, w, c, notices, sent, count);
	if (sent < count && f->bug == SCHEDULE_NONE && draw(f, 4) == 0)
		check_rest(f, w, c, notices + sent, count - sent);
	check_announce(f, w, c);
	return true;
}

void worker_hears(struct fabric *f, struct worker *w)
{
	struct entry e = queue_take(&w->in);

	if (e.kind == ENTRY_ADOPT) {
		open_client(f, w, e.id);
		return;
	}
	if (bug_strikes(f, SCHEDULE_LOG_ENTRY_LOST))
		return;
	if (queue_count(&w->in) && w->in.entries[w->in.head % QUEUE_MAX].kind == ENTRY_CHANGE &&
		bug_strikes(f, SCHEDULE_LOG_ENTRIES_SWAPPED)) {
		struct entry later = queue_take(&w->in);

		roster_append(&w->roster, later.id, later.present);
		roster_append(&w->roster, e.id, e.present);
		account_change(&w->replica, e.id, e.present);
		account_change(&w->replica, later.id, later.present);
		return;
	}
	apply_change(f, w, e.id, e.present);
}

void worker_rewinds(struct fabric *f, struct client *c)
{
	struct picture *p = &c->picture;
	bool missing = false;

	for (uint32_t id = 0; id < f->ids_max; id++)
		missing |=
			p->held_back[id] && p->held_back[id] == judge_replica(f, p)->position[id];
	if (!view_rewind(&c->view, &c->who)) {
		/* Amid a peer's vectors it waits for their end. */
		if (p->phase == LIVE && p->device && missing && p->unfinished == IDS_MAX)
			wrong(f, "device %u lacks peers and cannot be rewound", p->id);
		return;
	}
	if (p->phase != LIVE || !p->device)
		wrong(f, "peer %u was rewound, and must not be", p->id);
	f->sums->rewinds++;
	p->heard = 0;
	memset(p->held_back, 0, sizeof(p->held_back));
}
