/* SPDX-License-Identifier: MIT */
/*
 * slots.c - v1 clients: one text at a time, in a slot.
 *
 * What stands in a slot is anybody's: a length is read once, and a text copied before it is
 * looked at. Never touches lanes.
 *
 * What is said here is said once at most: texts that wait, and one that was taken and not yet
 * answered, are gone with a broker that dies. Clients repeat what they get no answer to.
 *
 *   their slot:  length 0 ──text, length, ring──▶ full ──we copy, length = 0──▶ length 0
 *   our slot:    the same, the other way round; FREE or one reader's
 */
#include "slots.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bells.h"
#include "genz.h"
#include "heap.h"
#include "log.h"
#include "mail.h"
#include "sys.h"
#include "worker.h"

/* Until the first look whether the reader is done, and between later ones at most. */
#define LOOK_FIRST_NS 100000u
#define LOOK_LAST_NS  20000000u

static_assert(LOOK_LAST_NS < SLOTS_PATIENCE_SLOW_NS, "patience is not used up between looks");

static bool owner(const struct mail *m)
{
	return m->own_slot.targets;
}

int slots_open(struct mail *m)
{
	struct slots *s = &m->own_slot;

	*s = (struct slots){0};
	if (!m->slots || m->worker->nth != 0)
		return 0;
	s->targets = sys_calloc(m->g->ids, sizeof(*s->targets));
	s->waiting = sys_calloc(SLOTS_WAITING, sizeof(*s->waiting));
	if (s->targets && s->waiting)
		return 0;
	slots_close(m);
	return -ENOMEM;
}

void slots_close(struct mail *m)
{
	free(m->own_slot.waiting);
	free(m->own_slot.targets);
	m->own_slot = (struct slots){0};
}

uint64_t slots_bytes(uint32_t ids)
{
	return heap_given(ids * sizeof(struct slot_target)) +
	       heap_given(SLOTS_WAITING * sizeof(struct slot_text));
}

/* ---- the two layouts -------------------------------------------------------------------- */

struct words {
	uint64_t *text_bytes, *last_responder, *peer_sid, *peer_cid;
	char *text;
};

static struct words words_of(const struct mail *m, uint32_t id)
{
	struct famez_slot *slot = famez_slot_at(m->base, id);
	struct famez_slot_old *old = (void *)slot;

	if (m->shared->mailbox->old_slots)
		return (struct words){
			&old->text_bytes,
			&old->last_responder,
			&old->peer_sid,
			&old->peer_cid,
			old->text,
		};
	return (struct words){
		&slot->text_bytes,
		&slot->last_responder,
		&slot->peer_sid,
		&slot->peer_cid,
		slot->text,
	};
}

/* ---- our own slot ----------------------------------------------------------------------- */

static void ring(struct mail *m, struct slot_target *t);

static void on_ring(struct op *op, int res, uint32_t flags)
{
	struct slot_target *t = container_of(op, struct slot_target, ring);

	(void)res;
	(void)flags;
	if (t->ring_again) {
		t->ring_again = false;
		ring(t->mail, t);
	}
}

/* As mail_ring(), for whoever it is: his lanes may be another worker's. */
static void ring(struct mail *m, struct slot_target *t)
{
	static const uint64_t one = 1;
	const struct worker_shared *shared = m->worker->shared;
	uint32_t id = (uint32_t)(t - m->own_slot.targets);
	struct io_uring_sqe *sqe;

	if (!t->present)
		return;
	if (t->ring.in_kernel) {
		t->ring_again = true;
		return;
	}
	t->mail = m;
	sqe = ring_sqe(&m->worker->ring);
	io_uring_prep_write(
		sqe, bells_fd(shared->bells, id, (uint16_t)m->g->server_id), &one, sizeof(one), 0);
	op_arm(&t->ring, sqe, on_ring);
	m->busy = true;
}

static void on_look(struct op *op, int res, uint32_t flags)
{
	/* The turn looks. */
	(void)op;
	(void)res;
	(void)flags;
}

static void look_soon(struct mail *m)
{
	struct slots *s = &m->own_slot;
	struct io_uring_sqe *sqe;

	if (s->look.in_kernel)
		return;
	if (!s->look_ns)
		s->look_ns = LOOK_FIRST_NS;
	s->look_time = (struct __kernel_timespec){.tv_nsec = (long long)s->look_ns};
	s->look_ns = s->look_ns * 2 < LOOK_LAST_NS ? s->look_ns * 2 : LOOK_LAST_NS;
	sqe = ring_sqe(&m->worker->ring);
	io_uring_prep_timeout(sqe, &s->look_time, 0, 0);
	op_arm(&s->look, sqe, on_look);
}

static void fill(struct mail *m, const struct slot_text *t)
{
	struct words w = words_of(m, m->g->server_id);

	memcpy(w.text, t->text, t->bytes);
	w.text[t->bytes] = '\0';
	famez_store_relaxed(w.last_responder, (uint64_t)t->to);
	famez_store_release(w.text_bytes, (uint64_t)t->bytes);
}

/* Has the reader of our slot had his time? He is told of once. */
static bool overdue(struct mail *m)
{
	struct slots *s = &m->own_slot;
	struct slot_target *t = &s->targets[s->reader];
	uint64_t patience = t->slow ? SLOTS_PATIENCE_SLOW_NS : SLOTS_PATIENCE_NS;

	if (s->overdue || !s->reader || !t->present)
		return true;
	if (worker_now_ns() - s->since_ns < patience)
		return false;
	s->overdue = true;
	t->slow = true;
	m->counts.stuck++;
	log_event(slot_stuck, LOG_NUMBER("id", s->reader), LOG_NUMBER("waiting", s->count));
	return true;
}

/* Is our slot free, or can it be? */
static bool vacant(struct mail *m)
{
	struct slots *s = &m->own_slot;
	uint64_t *bytes = words_of(m, m->g->server_id).text_bytes;

	if (!famez_load_acquire(bytes)) {
		if (s->reader)
			s->targets[s->reader].slow = false;
		s->reader = 0;
		return true;
	}
	if (!overdue(m))
		return false;
	/* Not silently: overdue() has logged and counted it. But only where somebody else
	 * wants the slot, or a VM that was stopped for a moment would miss its answer. */
	if (!s->count && s->reader && s->targets[s->reader].present)
		return false;
	famez_store_relaxed(bytes, UINT64_C(0));
	s->reader = 0;
	return true;
}

/* For the first of those that wait: 1 it can be told, 0 not yet, -1 it is gone. */
static int wanted(const struct mail *m)
{
	const struct slots *s = &m->own_slot;
	const struct slot_text *first = &s->waiting[s->first];
	const struct slot_target *t = &s->targets[first->to];
	int32_t ahead = (int32_t)(first->joins - t->joins);

	/* The worker that answers may be ahead of us in the log. */
	if (ahead > 0)
		return 0;
	return ahead == 0 && t->present ? 1 : -1;
}

static void pop(struct slots *s)
{
	s->targets[s->waiting[s->first].to].waiting--;
	s->first = (s->first + 1) % SLOTS_WAITING;
	s->count--;
}

static void say_next(struct mail *m)
{
	struct slots *s = &m->own_slot;
	const struct slot_text *first = &s->waiting[s->first];

	fill(m, first);
	s->reader = first->to;
	s->since_ns = worker_now_ns();
	s->overdue = false;
	s->look_ns = LOOK_FIRST_NS;
	m->counts.slots_sent++;
	ring(m, &s->targets[s->reader]);
	pop(s);
}

static void wait_in_line(struct mail *m, const struct slot_text *t)
{
	struct slots *s = &m->own_slot;

	struct slot_target *target = &s->targets[t->to];

	/* Who reads nothing, and says much, does not take up the line. */
	if (s->count == SLOTS_WAITING || target->waiting == SLOTS_EACH) {
		m->counts.dropped++;
		log_event(unread, LOG_NUMBER("id", t->to));
		return;
	}
	target->waiting++;
	s->waiting[(s->first + s->count++) % SLOTS_WAITING] = *t;
}

void slots_turn(struct mail *m)
{
	struct slots *s = &m->own_slot;
	struct slot_text passed;

	if (!owner(m))
		return;
	for (uint16_t from = 1; from < m->shared->shards; from++)
		while (s->count < SLOTS_WAITING &&
			slot_text_queue_take(&m->shared->texts[from], &passed))
			wait_in_line(m, &passed);
	while (s->count) {
		int now = wanted(m);

		if (now < 0) {
			pop(s);
			continue;
		}
		if (!now || !vacant(m))
			break;
		say_next(m);
	}
	if (s->reader)
		(void)vacant(m);
	/* The reader does not ring when he is done. */
	if (s->count || (s->reader && !s->overdue))
		look_soon(m);
}

bool slots_idle(const struct mail *m)
{
	if (!owner(m))
		return true;
	for (uint16_t from = 1; from < m->shared->shards; from++)
		if (!slot_text_queue_empty(&m->shared->texts[from]))
			return m->own_slot.count == SLOTS_WAITING;
	return true;
}

void slots_resume(struct mail *m)
{
	const struct state_member *members = m->shared->state->members;
	struct slots *s = &m->own_slot;
	struct words w;
	uint64_t reader;

	if (!owner(m))
		return;
	for (uint32_t id = 0; id < m->g->ids; id++) {
		uint64_t change = atomic_load_explicit(&members[id].change, memory_order_acquire);

		s->targets[id].joins = change > 0; /* as mail_peer.joins */
		s->targets[id].present = change & 1 && id != m->g->server_id;
	}
	/* Nobody else should write there; who does so can have a peer rung for nothing. */
	w = words_of(m, m->g->server_id);
	reader = famez_load_relaxed(w.last_responder);
	if (!famez_load_acquire(w.text_bytes) || reader >= m->g->ids || !s->targets[reader].present)
		return;
	s->reader = (uint32_t)reader;
	s->since_ns = worker_now_ns();
	ring(m, &s->targets[reader]);
}

void slots_joined(struct mail *m, uint32_t id)
{
	if (!owner(m))
		return;
	m->own_slot.targets[id].joins++;
	m->own_slot.targets[id].present = true;
	m->own_slot.targets[id].slow = false;
}

void slots_left(struct mail *m, uint32_t id)
{
	if (owner(m))
		m->own_slot.targets[id].present = false;
}

/* ---- what they say ---------------------------------------------------------------------- */

static void say(struct mail *m, struct mail_peer *p, const char *text)
{
	struct slot_text t = {.to = p->id, .joins = p->joins, .bytes = (uint16_t)strlen(text)};

	memcpy(t.text, text, t.bytes + 1u);
	if (owner(m)) {
		wait_in_line(m, &t);
		return;
	}
	if (!slot_text_queue_put(&m->shared->texts[m->worker->nth], &t)) {
		m->counts.dropped++;
		log_event(unread, LOG_NUMBER("id", p->id));
		return;
	}
	wakeup_ring(&m->shared->workers[0].wakeup);
}

void slots_hear(struct mail *m, struct mail_peer *p)
{
	struct words w = words_of(m, p->id);
	uint64_t bytes = famez_load_acquire(w.text_bytes);
	struct personality_answer answer;
	char text[PERSONALITY_TEXT_BYTES];

	/* Before its length is 0: from then on it may speak to somebody else. */
	m->shared->state->mail[p->id].rung = 0;
	state_point();
	if (!bytes)
		return;
	if (bytes > sizeof(text) - 1)
		bytes = sizeof(text) - 1;
	memcpy(text, w.text, bytes);
	text[bytes] = '\0';
	/* As the guest driver does, which shows its users who said something. */
	famez_store_relaxed(w.peer_sid, (uint64_t)GENZ_SID);
	famez_store_relaxed(w.peer_cid, (uint64_t)p->id * GENZ_CID_FACTOR);
	famez_store_release(w.text_bytes, UINT64_C(0));
	m->counts.slots_received++;
	mail_hear(m, p, text, &answer);
	mail_settle(m, p, p->rx.at);
	if (answer.text[0])
		say(m, p, answer.text);
}

/* As far as the directory says; it is about himself that he could lie. */
static bool speaks_lanes(const struct mail *m, const struct mail_peer *p)
{
	const struct famez_entry *e;

	if (!m->lanes)
		return false;
	e = famez_entry_at(m->base, m->g, p->id);
	return famez_load_relaxed(&e->join) == famez_load_relaxed(&e->joins) &&
	       famez_load_relaxed(&e->speaks) & FAMEZ_SPEAKS_LANES;
}

/* Before it is said: once at most. */
static void done_greeting(struct mail *m, struct mail_peer *p)
{
	p->greeting = 0;
	p->touched = true;
	mail_settle(m, p, p->rx.at);
}

bool slots_greet(struct mail *m, struct mail_peer *p)
{
	const struct personality *who = m->shared->personality;
	struct personality_scene scene = {.server_id = m->g->server_id, .peer_id = p->id};
	struct personality_answer answer = {.text = ""};

	if (speaks_lanes(m, p)) {
		done_greeting(m, p);
		return true;
	}
	if (!famez_load_relaxed(&famez_slot_at(m->base, p->id)->name[0]))
		return false;
	who->greet(p->memory, &scene, &answer);
	done_greeting(m, p);
	if (answer.text[0])
		say(m, p, answer.text);
	return true;
}
