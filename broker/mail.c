/* SPDX-License-Identifier: MIT */
/*
 * mail.c - one worker's share of the server's inbox: its turn, its polling, its sleep.
 *
 * Runs in the worker's thread. Says what is done in a turn and in which order, and makes and
 * frees the share. Who the peers are is in mail_peers.c, what they say in mail_hear.c. Reads
 * no message, writes no lane, touches no socket.
 */
#include "mail.h"

#include <assert.h>
#include <string.h>

#include "heap.h"
#include "sys.h"
#include "worker.h"

/* How long a worker polls at most before it sleeps, and at least or not at all. A wake-up takes
 * some 25 us where the other sleeps on another CPU. */
#define SPIN_MAX_NS 20000u
#define SPIN_MIN_NS 1000u
/* When it does not pay, one sleep in so many is tried with polling again. */
#define SPINS_SKIPPED 64u
/* Looks between two looks at the clock; and lanes that may be in hand. */
#define SPIN_LOOKS 32u
#define SPIN_LANES 16u

/* Threads of the kernel's, per worker, for doorbells that block. */
#define DOORBELL_THREADS 8u

/* ---- what all workers share ------------------------------------------------------------- */

/* Who rings must be told by the vector, or v1 clients can't speak to us. */
static bool slots_served(const struct mailbox *mailbox)
{
	return mailbox->g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER;
}

static void destroy_queues(struct mail_shared *s, unsigned links, unsigned texts)
{
	while (links)
		mail_link_queue_destroy(&s->links[--links]);
	while (texts)
		slot_text_queue_destroy(&s->texts[--texts]);
	free(s->members);
	free(s->texts);
	free(s->links);
	*s = (struct mail_shared){0};
}

int mail_shared_init(struct mail_shared *shared, const struct mailbox *mailbox,
	const struct personality *personality, struct state *state, struct worker *workers)
{
	uint16_t shards = mailbox->layout == LAYOUT_PLAIN || mailbox->g.server_id == FAMEZ_NOBODY
				  ? 0
				  : (uint16_t)mailbox->g.server_shards;
	unsigned links = 0, texts = 0;

	*shared = (struct mail_shared){
		.mailbox = mailbox,
		.personality = personality,
		.state = state,
		.workers = workers,
		.shards = shards,
	};
	if (!shards)
		return 0;
	shared->links = sys_calloc((size_t)shards * shards, sizeof(*shared->links));
	shared->members = sys_calloc((size_t)shards * FAMEZ_GROUPS_MAX, sizeof(*shared->members));
	if (!shared->links || !shared->members)
		goto undo;
	groups_recount(shared);
	for (; links < (unsigned)shards * shards; links++)
		if (mail_link_queue_init(&shared->links[links], LINKS_ROOM))
			goto undo;
	if (!slots_served(mailbox))
		return 0;
	shared->texts = sys_calloc(shards, sizeof(*shared->texts));
	if (!shared->texts)
		goto undo;
	for (; texts < shards; texts++)
		if (slot_text_queue_init(&shared->texts[texts], SLOTS_PASSED))
			goto undo;
	return 0;

undo:
	destroy_queues(shared, links, texts);
	return -ENOMEM;
}

void mail_shared_destroy(struct mail_shared *shared)
{
	destroy_queues(shared, (unsigned)shared->shards * shared->shards,
		shared->texts ? shared->shards : 0);
}

uint64_t mail_bytes(uint32_t ids, uint16_t shards, bool slots)
{
	uint32_t peers = mail_rings(ids, shards);
	uint64_t links = (uint64_t)shards * shards;
	uint64_t bytes = heap_given(links * sizeof(struct mail_link_queue)) +
			 links * heap_given(LINKS_ROOM * sizeof(struct mail_link)) +
			 heap_given((uint64_t)shards * FAMEZ_GROUPS_MAX * sizeof(uint32_t)) +
			 shards * heap_given(peers * sizeof(struct mail_peer));

	if (slots)
		bytes += heap_given(shards * sizeof(struct slot_text_queue)) +
			 shards * heap_given(SLOTS_PASSED * sizeof(struct slot_text)) +
			 slots_bytes(ids);
	return bytes;
}

uint32_t mail_rings(uint32_t ids, uint16_t shards)
{
	return shards ? (ids + shards - 1) / shards : 0;
}

uint32_t mail_operations(uint32_t ids, uint16_t shards)
{
	/* Rings of its peers, and at the slot's owner those of all; two timeouts. */
	return shards ? mail_rings(ids, shards) + ids + 2 : 0;
}

void mail_link(struct mail *m, uint16_t to, const struct mail_link *link)
{
	struct mail_shared *s = m->shared;
	uint16_t from = m->worker->nth;
	bool done = mail_link_queue_put(&s->links[from * s->shards + to], link);

	assert(done);
	if (to != from)
		wakeup_ring(&s->workers[to].wakeup);
}

/* ---- the turn --------------------------------------------------------------------------- */

static void on_tick(struct op *op, int res, uint32_t flags)
{
	(void)res;
	(void)flags;
	container_of(op, struct mail, tick)->ticked = true;
}

static void arm_tick(struct mail *m)
{
	struct io_uring_sqe *sqe;

	if (m->tick.in_kernel)
		return;
	m->tick_time = (struct __kernel_timespec){
		.tv_sec = (long long)(FAMEZ_TICK_NS / 1000000000u),
		.tv_nsec = (long long)(FAMEZ_TICK_NS % 1000000000u),
	};
	sqe = ring_sqe(&m->worker->ring);
	io_uring_prep_timeout(sqe, &m->tick_time, 0, 0);
	op_arm(&m->tick, sqe, on_tick);
}

/* What stands in directory and slot of the server. */
static void introduce(struct mail *m)
{
	const struct personality *who = m->shared->personality;
	struct famez_slot *slot = famez_slot_at(m->base, m->g->server_id);

	(void)strncpy(slot->name, who->server_name, FAMEZ_NAME_BYTES - 1);
	if (!m->shared->mailbox->old_slots)
		(void)strncpy(slot->cclass, who->server_class, FAMEZ_NAME_BYTES - 1);
	if (m->lanes) {
		struct famez_entry *e = famez_entry_at(m->base, m->g, m->g->server_id);

		(void)strncpy(e->name, who->server_name, FAMEZ_NAME_BYTES - 1);
		(void)strncpy(e->cclass, who->server_class, FAMEZ_NAME_BYTES - 1);
	}
}

static void tick(struct mail *m)
{
	m->ticked = false;
	if (m->lanes && m->worker->nth == 0) {
		struct famez_entry *e = famez_entry_at(m->base, m->g, m->g->server_id);
		_Atomic uint64_t *beats = &m->shared->state->live->heartbeat;
		uint64_t beat = atomic_load_explicit(beats, memory_order_relaxed) + 1;

		atomic_store_explicit(beats, beat, memory_order_relaxed);
		state_point();
		famez_store_relaxed(&e->heartbeat, beat);
	}
	if (m->worker->nth == 0)
		introduce(m); /* in case somebody scribbled there */
	for (uint32_t i = 0; i < m->count; i++)
		if (m->peers[i].present)
			mail_look_after(m, &m->peers[i]);
}

bool mail_turn(struct worker *w)
{
	struct mail *m = &w->mail;
	bool more = false;

	if (!m->slots && !m->lanes)
		return false;
	if (mailbox_lost(m->shared->mailbox)) {
		m->slots = m->lanes = false;
		return false;
	}
	m->spent = 0;
	m->busy = false;
	m->took = false;
	if (m->ticked)
		tick(m);
	if (m->lanes)
		more = mail_take_lanes(m);
	/* What is passed on frees lanes that may have more of the same. */
	if (groups_turn(m))
		more = true;
	if (m->slots) {
		mail_take_slots(m);
		slots_turn(m);
	}
	arm_tick(m);
	return more || m->busy;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Is there something in a lane that we have in hand, or from other threads of ours? */
static bool has_come(const struct worker *w)
{
	const struct mail *m = &w->mail;
	const struct famez_rx *rx = m->reader.last;

	for (uint32_t n = m->reader.in_hand; n; n--) {
		rx = rx->next;
		if (famez_load_relaxed(famez_head_at(rx->data, rx->bytes, rx->at)))
			return true;
	}
	return !message_queue_empty(&w->inbox) || !groups_idle(m) || !slots_idle(m) ||
	       atomic_load_explicit(&w->any_thread.stop, memory_order_relaxed);
}

bool mail_poll(struct worker *w, uint64_t until_ns)
{
	struct mail *m = &w->mail;
	uint64_t now = worker_now_ns(), until;

	if (!m->spins || !m->took || !m->reader.in_hand || m->reader.in_hand > SPIN_LANES)
		return false;
	if (!m->spin_ns && ++m->spins_skipped < SPINS_SKIPPED)
		return false;
	m->spins_skipped = 0;
	until = now + (m->spin_ns ? m->spin_ns : SPIN_MAX_NS);
	if (until > until_ns)
		return false; /* others have waited long enough */
	do {
		for (unsigned look = 0; look < SPIN_LOOKS; look++) {
			if (has_come(w)) {
				m->spin_ns = m->spin_ns && m->spin_ns * 2 < SPIN_MAX_NS
						     ? m->spin_ns * 2
						     : SPIN_MAX_NS;
				return true;
			}
			relax();
		}
	} while (worker_now_ns() < until);
	m->spin_ns /= 2;
	if (m->spin_ns < SPIN_MIN_NS)
		m->spin_ns = 0;
	return false;
}

bool mail_sleep(struct worker *w)
{
	struct mail *m = &w->mail;

	if ((m->slots && !slots_idle(m)) || ((m->slots || m->lanes) && !groups_idle(m)))
		return false;
	if (!m->lanes)
		return true;
	/* Whoever goes on for us must not sleep under a number that somebody has rung for. */
	m->shared->state->workers[w->nth].sleep = famez_inbox_next_sleep(&m->reader);
	state_point();
	return !famez_inbox_sleep(&m->reader);
}

void mail_awake(struct worker *w)
{
	if (w->mail.lanes)
		famez_inbox_awake(&w->mail.reader);
}

void mail_report(const struct worker *w)
{
	struct report_mail *line;

	if (w->nth >= w->mail.shared->shards)
		return;
	line = &w->shared->report->mail[w->nth];
	*line = w->mail.counts;
	for (uint32_t i = 0; i < w->mail.count; i++)
		line->stale += w->mail.peers[i].rx.stale;
	if (w->nth == 0)
		line->groups = groups_count(&w->mail);
}

/* ---- the beginning and the end ---------------------------------------------------------- */

/* A doorbell that was made to block, and is full, holds a thread of the kernel's until it is
 * read; who needs no thread (nearly all) waits for none of these. */
static void bound_threads(struct worker *w)
{
	unsigned most[2] = {0, DOORBELL_THREADS}; /* of bounded work: as it is */

	(void)io_uring_register_iowq_max_workers(&w->ring, most);
}

int mail_open(struct worker *w)
{
	struct mail_shared *shared = w->shared->mail;
	const struct mailbox *mailbox = shared->mailbox;
	struct mail *m = &w->mail;
	int err;

	*m = (struct mail){.worker = w, .shared = shared};
	if (w->nth >= shared->shards)
		return 0;
	m->base = mailbox->base;
	m->g = &mailbox->g;
	m->lanes = mailbox->layout == LAYOUT_LANES;
	m->slots = slots_served(mailbox);
	m->count = mail_rings(m->g->ids, shared->shards);
	err = mail_peers_open(m);
	if (err)
		return err;
	groups_open(m);
	err = slots_open(m);
	if (err)
		goto undo_peers;
	m->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	m->spin_ns = SPIN_MAX_NS;
	bound_threads(w);
	if (w->nth == 0)
		introduce(m);
	mail_resume(m);
	return 0;

undo_peers:
	mail_peers_close(m);
	return err;
}

void mail_close(struct worker *w)
{
	struct mail *m = &w->mail;

	slots_close(m);
	mail_peers_close(m);
}
