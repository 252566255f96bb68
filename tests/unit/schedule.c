/* SPDX-License-Identifier: MIT */
/*
 * schedule.c - one random schedule of a whole fabric: the driver, the clients
 * and the judge. One thread; nothing is kept between schedules.
 *
 * Three parts, from the bottom up:
 *
 *   picture   what one client has made of the messages that it received. It sees
 *             values and descriptors, never the broker's structs. It knows how a
 *             QEMU device dies and what a specification's client expects.
 *   account   the membership as it was announced: by the registrar (truth), and as
 *             far as each worker has heard (replica). Plain arrays.
 *   driver    the broker's threads as a pile of queues; picks who goes next.
 *
 * Positions in `struct account` are the judge's own count of changes. A notice has
 * the position of its ID's last change; a client hears of positions in ascending
 * order, whatever it is not told.
 */
#include "schedule.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "membership.h"
#include "roster.h"
#include "view.h"

enum {
	PEERS_MAX = 64,
	IDS_MAX = PEERS_MAX + 4, /* above a first ID of up to 2, and the server's own */
	WORKERS_MAX = 4,
	VECTORS_MAX = 6,
	TOGETHER_MAX = 6,
	LOOK_AHEAD_MAX = 24,
	QUEUE_MAX = 1024,     /* power of two; the driver lets nobody come while one is half full */
	VISITS_MAX = 1000000, /* in a quiet time that ends */
};

/* ---- account ------------------------------------------------------------------------- */

struct account {
	bool present[IDS_MAX];
	uint32_t owner[IDS_MAX];    /* how many have owned this ID */
	uint32_t position[IDS_MAX]; /* of its last change, 0: none */
	uint32_t end;
};

static void account_change(struct account *a, uint32_t id, bool present)
{
	a->present[id] = present;
	a->owner[id] += present;
	a->position[id] = ++a->end;
}

/* ---- picture ------------------------------------------------------------------------- */

/* A descriptor as a client would recognise it. */
struct descriptor {
	enum { NO_DESCRIPTOR, MEMORY, EVENTFD } kind;
	uint32_t id;
	uint16_t vector;
};

struct message {
	int64_t value;
	struct descriptor descriptor;
};

enum phase { AWAITS_VERSION, AWAITS_ID, AWAITS_MEMORY, IN_BACKLOG, IN_OWN, LIVE };

struct picture {
	uint32_t id;
	uint16_t vectors;
	bool device, guarded;
	enum phase phase;
	uint32_t unfinished;         /* ID whose vectors are coming, or IDS_MAX */
	uint32_t room;               /* guarded: descriptors granted and not yet used */
	uint32_t heard;              /* position of the last notice */
	uint32_t opened_at;          /* position up to which changes belong to the backlog */
	uint16_t known[IDS_MAX];     /* vectors that it holds of each ID */
	uint32_t owner[IDS_MAX];     /* whose they were when the first came */
	uint32_t held_back[IDS_MAX]; /* position at which it was held back, 0: was not */
};

/* ---- driver -------------------------------------------------------------------------- */

enum entry_kind { ENTRY_CHANGE, ENTRY_ADOPT, ENTRY_OPENED, ENTRY_GONE };

struct entry {
	enum entry_kind kind;
	uint32_t id;
	bool present;
};

struct queue {
	unsigned head, tail;
	struct entry entries[QUEUE_MAX];
};

struct client {
	bool used;    /* from ADOPT on, until its worker has closed it */
	bool dead;    /* its socket is closed; the worker hasn't noticed */
	bool stalled; /* reads nothing */
	bool opening_told;
	bool announced;
	struct view view;
	struct view_client who;
	unsigned long held[VIEW_HELD_WORDS(IDS_MAX)];
	struct picture picture;
};

struct worker {
	struct roster roster;
	struct account replica;
	struct queue in, out; /* from and to the registrar */
};

struct fabric {
	struct schedule_dice dice;
	enum schedule_bug bug;
	struct schedule_sums *sums;
	char *why;
	bool failed, bug_done;
	bool settling; /* whatever is due is sent */

	uint32_t first_id, peers_max, ids_max;
	uint16_t workers, vectors;
	struct membership membership;
	struct worker worker[WORKERS_MAX];
	struct client client[IDS_MAX];

	/* The judge's own idea of the registrar. */
	struct account truth;
	uint32_t free_ids[PEERS_MAX]; /* in the order in which they must be given */
	unsigned free_count;
	enum { GONE, OPENING, PRESENT } state[IDS_MAX];
	uint16_t worker_of[IDS_MAX];
	uint32_t openings[IDS_MAX]; /* owners of an ID that have received their whole opening */
	unsigned load[WORKERS_MAX];
	int worker_of_group[TOGETHER_MAX];
	uint64_t joins, leaves, refused;
};

static void wrong(struct fabric *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void wrong(struct fabric *f, const char *format, ...)
{
	va_list arguments;

	if (f->failed)
		return;
	f->failed = true;
	va_start(arguments, format);
	(void)vsnprintf(f->why, SCHEDULE_WHY_BYTES, format, arguments);
	va_end(arguments);
}

/* A number below @n. */
static uint32_t draw(struct fabric *f, uint32_t n)
{
	struct schedule_dice *d = &f->dice;
	uint64_t z;

	if (d->bytes) {
		if (d->left == 0)
			return 0;
		d->left--;
		return *d->bytes++ % n;
	}
	/* SplitMix64 (Steele, Lea, Flood 2014): any seed is a good one. */
	z = d->seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

static bool has_bug(struct fabric *f, enum schedule_bug bug)
{
	return f->bug == bug;
}

/* A bug that strikes once, at a moment drawn. */
static bool bug_strikes(struct fabric *f, enum schedule_bug bug)
{
	if (f->bug != bug || f->bug_done || draw(f, 4))
		return false;
	f->bug_done = true;
	return true;
}

static unsigned queue_count(const struct queue *q)
{
	return q->tail - q->head;
}

static void queue_put(struct queue *q, struct entry e)
{
	assert(queue_count(q) < QUEUE_MAX);
	q->entries[q->tail++ % QUEUE_MAX] = e;
}

static struct entry queue_take(struct queue *q)
{
	assert(queue_count(q));
	return q->entries[q->head++ % QUEUE_MAX];
}

/* ---- what a client makes of a message ------------------------------------------------- */

static const struct account *replica_of(struct fabric *f, const struct picture *p)
{
	return &f->worker[f->worker_of[p->id]].replica;
}

/* Descriptors are used up one by one; whatever exceeds the grant finds none left. */
static void picture_pays(struct picture *p)
{
	if (p->room)
		p->room--;
}

static void check_position(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = replica_of(f, p);

	if (a->position[id] < p->heard)
		wrong(f, "peer %u was told of %u after a later change", p->id, id);
	p->heard = a->position[id];
	if (p->phase == IN_BACKLOG && a->position[id] > p->opened_at)
		wrong(f, "peer %u was told in its backlog of %u, which came later", p->id, id);
}

static void check_room_for(struct fabric *f, const struct picture *p, uint32_t id)
{
	uint32_t wanted = p->phase == IN_BACKLOG ? 2u * p->vectors : p->vectors;

	if (p->guarded && p->room < wanted)
		wrong(f, "peer %u has room for %u and was sent %u's %u vectors", p->id, p->room, id,
			p->vectors);
}

static void first_vector(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = replica_of(f, p);

	if (!a->present[id])
		wrong(f, "peer %u was told of %u, which is not there", p->id, id);
	if (f->openings[id] < a->owner[id])
		wrong(f, "peer %u was told of %u, whose opening is not over", p->id, id);
	check_position(f, p, id);
	check_room_for(f, p, id);
	p->owner[id] = a->owner[id];
	p->held_back[id] = 0;
}

/* At its first own vector: has everybody been announced who was there and still is? */
static void check_backlog(struct fabric *f, const struct picture *p)
{
	const struct account *a = replica_of(f, p);

	for (uint32_t id = 0; id < f->ids_max; id++)
		if (id != p->id && a->present[id] && a->position[id] <= p->opened_at &&
			!p->held_back[id] && p->known[id] != p->vectors)
			wrong(f, "peer %u got its own vectors before those of %u", p->id, id);
}

static void receive_vector(struct fabric *f, struct picture *p, const struct message *m)
{
	uint32_t id = (uint32_t)m->value;

	if (p->unfinished != IDS_MAX && p->unfinished != id) {
		wrong(f, "peer %u was told of %u amid the vectors of %u", p->id, id, p->unfinished);
		return;
	}
	if (p->known[id] == p->vectors) {
		wrong(f, "peer %u was told twice of %u", p->id, id);
		return;
	}
	if (m->descriptor.kind != EVENTFD || m->descriptor.id != id ||
		m->descriptor.vector != p->known[id]) {
		wrong(f, "peer %u expected vector %u of %u, got %u of %u", p->id, p->known[id], id,
			m->descriptor.vector, m->descriptor.id);
		return;
	}
	if (id == p->id && p->known[id] == 0) {
		if (p->phase != IN_BACKLOG)
			wrong(f, "peer %u was told its own vectors out of turn", id);
		check_backlog(f, p);
		p->phase = IN_OWN;
	} else if (id != p->id && p->known[id] == 0) {
		if (p->phase == IN_OWN)
			wrong(f, "peer %u was told of %u amid its own vectors", p->id, id);
		first_vector(f, p, id);
	}
	picture_pays(p);
	p->unfinished = ++p->known[id] < p->vectors ? id : IDS_MAX;
	if (id == p->id && p->known[id] == p->vectors)
		p->phase = LIVE;
}

static void receive_leave(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = replica_of(f, p);

	if (p->device)
		wrong(f, "device %u was told that %u left", p->id, id);
	if (p->phase != LIVE)
		wrong(f, "peer %u was told in its opening that %u left", p->id, id);
	if (p->unfinished != IDS_MAX)
		wrong(f, "peer %u was told that %u left amid vectors", p->id, id);
	if (p->known[id] == 0)
		wrong(f, "peer %u was told that %u left, which it does not know", p->id, id);
	if (a->present[id] && a->owner[id] == p->owner[id])
		wrong(f, "peer %u was told that %u left, which is there", p->id, id);
	check_position(f, p, id);
	p->known[id] = 0;
}

static void receive(struct fabric *f, struct picture *p, const struct message *m)
{
	const struct descriptor *d = &m->descriptor;

	f->sums->notices++;
	switch (p->phase) {
	case AWAITS_VERSION:
		if (m->value != 0 || d->kind != NO_DESCRIPTOR)
			wrong(f, "peer %u's first message is no version", p->id);
		p->phase = AWAITS_ID;
		return;
	case AWAITS_ID:
		if (m->value != p->id || d->kind != NO_DESCRIPTOR)
			wrong(f, "peer %u's second message is not its ID", p->id);
		p->phase = AWAITS_MEMORY;
		return;
	case AWAITS_MEMORY:
		if (m->value != -1 || d->kind != MEMORY)
			wrong(f, "peer %u's third message is not the memory", p->id);
		p->phase = IN_BACKLOG;
		return;
	default:
		break;
	}
	if (m->value < 0 || m->value >= f->ids_max)
		wrong(f, "peer %u was told of the odd ID %lld", p->id, (long long)m->value);
	else if (d->kind == NO_DESCRIPTOR)
		receive_leave(f, p, (uint32_t)m->value);
	else
		receive_vector(f, p, m);
}

/* ---- a worker and one of its clients --------------------------------------------------- */

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

static void close_client(struct fabric *f, struct worker *w, uint32_t id)
{
	struct client *c = &f->client[id];

	if (!c->announced)
		f->sums->crashes_opening++;
	c->used = false;
	if (!bug_strikes(f, SCHEDULE_LEAVE_UNHEARD))
		queue_put(&w->out, (struct entry){.kind = ENTRY_GONE, .id = id});
}

/* Whom the client would be told of next: the judge's own answer. */
static uint32_t next_to_announce(struct fabric *f, const struct picture *p)
{
	const struct account *a = replica_of(f, p);
	uint32_t best = IDS_MAX;

	for (uint32_t id = 0; id < f->ids_max; id++) {
		bool knows = p->known[id] && (p->device || p->owner[id] == a->owner[id]);

		/* A leave and what follows it have one position; hence "not before". */
		if (id == p->id || !a->present[id] || knows || a->position[id] < p->heard ||
			p->held_back[id] == a->position[id])
			continue;
		if (best == IDS_MAX || a->position[id] < a->position[best])
			best = id;
	}
	return best;
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
		id = next_to_announce(f, &c->picture);
		if (id == IDS_MAX) {
			wrong(f, "peer %u wants room for nobody", c->who.id);
			return;
		}
		view_hold_back(&c->view, &c->who, &w->roster);
		c->picture.held_back[id] = replica_of(f, &c->picture)->position[id];
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
	roster_append(&w->roster, id, present);
	account_change(&w->replica, id, present);
	if (roster_present(&w->roster, id) != present)
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

			receive(f, &c->picture, &next);
		}
		receive(f, &c->picture, &m);
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

/* One visit to a client: look up to @most notices ahead, send some. Returns: was anything due? */
static bool visit(
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

static void worker_hears(struct fabric *f, struct worker *w)
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

static struct worker *worker_of(struct fabric *f, uint32_t id)
{
	return &f->worker[f->worker_of[id]];
}

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

static void rewind_client(struct fabric *f, struct client *c)
{
	struct picture *p = &c->picture;
	bool missing = false;

	for (uint32_t id = 0; id < f->ids_max; id++)
		missing |= p->held_back[id] && p->held_back[id] == replica_of(f, p)->position[id];
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
		rewind_client(f, c);
		return;
	case 3:
		/* Any copy can be thrown away, and nothing sent of what it yielded. */
		view_commit(&c->view, &c->who, &worker_of(f, id)->roster, 0);
		return;
	default:
		break;
	}
	if (c->dead && draw(f, 2))
		close_client(f, worker_of(f, id), id);
	else if (!c->dead && !c->stalled)
		(void)visit(f, worker_of(f, id), c, 1 + draw(f, LOOK_AHEAD_MAX), false);
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

/* ---- the quiet time, and the judgement --------------------------------------------------------
 */

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
				close_client(f, worker_of(f, id), id);
				any = true;
			}
			while (c->used && !f->failed &&
				visit(f, worker_of(f, id), c, LOOK_AHEAD_MAX, generous)) {
				any = true;
				if (++visits > VISITS_MAX)
					wrong(f, "peer %u is never told everything", id);
			}
		}
	}
}

static void judge_peer(struct fabric *f, const struct client *c, uint32_t id)
{
	const struct picture *p = &c->picture;
	const bool there = f->truth.present[id];
	const bool held_back = p->held_back[id] && p->held_back[id] == f->truth.position[id];

	if (p->known[id] != 0 && p->known[id] != p->vectors)
		wrong(f, "peer %u has half of %u", p->id, id);
	if (id == p->id)
		return;
	if (view_holds(&c->who, id) != (p->known[id] != 0))
		wrong(f, "peer %u's held bit of %u is wrong", p->id, id);
	if (there && !held_back && !p->known[id])
		wrong(f, "peer %u lacks %u", p->id, id);
	if (there && held_back && p->known[id])
		wrong(f, "peer %u still knows the last owner of %u, whom it has no room for", p->id,
			id);
	if (!p->device && !there && p->known[id])
		wrong(f, "peer %u still knows %u, which has left", p->id, id);
	if (!p->device && there && p->known[id] && p->owner[id] != f->truth.owner[id])
		wrong(f, "peer %u takes %u for the ID's last owner", p->id, id);
}

static void judge(struct fabric *f)
{
	const struct membership *m = &f->membership;
	uint32_t present = 0;

	for (uint32_t id = f->first_id; id < f->first_id + f->peers_max; id++) {
		const struct client *c = &f->client[id];

		present += f->state[id] == PRESENT;
		if (c->used != (f->state[id] == PRESENT))
			wrong(f, "nothing moves, and peer %u is stuck", id);
		if (!c->used)
			continue;
		if (c->picture.phase != LIVE)
			wrong(f, "nothing moves, and peer %u's opening is not over", id);
		for (uint32_t other = 0; other < f->ids_max; other++)
			judge_peer(f, c, other);
	}
	if (m->present != present || m->opening != 0 || m->joins != f->joins ||
		m->leaves != f->leaves || m->refused != f->refused)
		wrong(f, "the counters are wrong");
}

/* Nobody is short of room any more: everybody must know everybody after all. */
static void bring_back_the_held_back(struct fabric *f)
{
	for (uint32_t id = 0; id < f->ids_max; id++)
		if (f->client[id].used && !f->failed)
			rewind_client(f, &f->client[id]);
	settle(f, true);
	judge(f);
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
		judge(&f);
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
