/* SPDX-License-Identifier: MIT */
/*
 * micro_rig.c - see micro_rig.h.
 */
#include "micro_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "genz.h"

static void lay_out(struct rig *r)
{
	struct mailbox *m = &r->mailbox;
	uint64_t bytes = 4096;

	while (bytes < famez_geometry_needs(r->ids, FAMEZ_LANE_BYTES_MIN))
		bytes *= 2;
	m->layout = LAYOUT_LANES;
	m->bytes = bytes;
	m->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	micro_must(m->base != MAP_FAILED);
	micro_must(famez_geometry_of(&m->g, bytes, r->ids) == 0);
	m->g.server_id = r->server;
	m->g.vectors = 1;
	m->g.server_shards = 1;
	m->generation = RIG_GENERATION;
	m->lost_fd = -1;
}

static void keep_state(struct rig *r)
{
	const struct state_wish wish = {
		.ids_max = r->ids,
		.first_id = 1,
		.peers = r->ids - 2,
		.server_id = r->server,
		.vectors = 1,
		.workers = 1,
		.shards = 1,
	};
	void *memory = aligned_alloc(4096, state_bytes(&wish));

	micro_must(memory);
	memset(memory, 0, state_bytes(&wish));
	state_memory_init(&r->state, memory, &wish);
	bells_init(&r->bells, r->state.bells, r->ids, 1);
	for (uint32_t id = 0; id < r->ids; id++)
		r->bells.fds[id] = r->bell;
}

static void hire(struct rig *r)
{
	struct worker *w = &r->worker;

	r->shared = (struct worker_shared){
		.state = &r->state,
		.bells = &r->bells,
		.mailbox = &r->mailbox,
		.mail = &r->mail,
		.memory_fd = r->bell, /* some descriptor */
		.ids_max = r->ids,
		.server_id = r->server,
		.vectors = 1,
		.workers = 1,
		.leaves_never = true,
		.peers = calloc(r->ids, sizeof(struct peer)),
		.registrar = &r->registrar,
		.registrar_starves = &r->starves,
	};
	w->shared = &r->shared;
	w->cpu = -1;
	for (unsigned place = 0; place < PLACES; place++)
		TAILQ_INIT(&w->places[place]);
	LIST_INIT(&w->accounts);
	micro_must(r->shared.peers && wakeup_init(&r->registrar) == 0);
	micro_must(message_queue_init(&w->inbox, MESSAGE_TO_WORKER) == 0);
	micro_must(message_queue_init(&w->outbox, MESSAGE_TO_WORKER) == 0);
	micro_must(wakeup_init(&w->wakeup) == 0);
	micro_must(roster_init(&w->roster, r->ids) == 0);
	micro_must(mail_shared_init(&r->mail, &r->mailbox, &genz_fee, &r->state, w) == 0);
	micro_must(ring_init(&w->ring, worker_submissions(r->ids, 1), 4096) == 0);
	micro_must(mail_open(w) == 0);
}

struct rig *rig_new(uint32_t peers)
{
	struct rig *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ids = peers + 2;
	r->server = peers + 1;
	r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->bell < 0) {
		free(r);
		return NULL;
	}
	lay_out(r);
	keep_state(r);
	hire(r);
	return r;
}

void rig_free(struct rig *r)
{
	struct worker *w = &r->worker;

	ring_destroy(&w->ring);
	mail_close(w);
	mail_shared_destroy(&r->mail);
	roster_destroy(&w->roster);
	wakeup_destroy(&w->wakeup);
	message_queue_destroy(&w->outbox);
	message_queue_destroy(&w->inbox);
	wakeup_destroy(&r->registrar);
	free(r->shared.peers);
	free(r->state.head);
	micro_must(munmap(r->mailbox.base, r->mailbox.bytes) == 0);
	(void)close(r->bell);
	free(r);
}

void rig_join(struct rig *r, struct speaker *s, uint32_t id)
{
	const struct famez_geometry *g = &r->mailbox.g;

	*s = (struct speaker){.rig = r, .id = id};
	r->seq++;
	mail_joined(&r->worker, id, r->seq << 1 | 1, 0);
	famez_tx_open(&s->tx, r->mailbox.base, g, r->server, id, 1, RIG_GENERATION);
	famez_rx_open(&s->rx, r->mailbox.base, g, id, r->server, 1);
}

void rig_say(struct speaker *s, uint16_t kind, const void *payload, uint32_t bytes)
{
	struct rig *r = s->rig;
	void *room = NULL;

	micro_must(famez_tx_claim(&s->tx, bytes, &room) == 0);
	memcpy(room, payload, bytes);
	famez_tx_commit(&s->tx, bytes, kind, (uint16_t)s->id);
	micro_must(famez_tx_flush(&s->tx));
	(void)famez_nudge(r->mailbox.base, &r->mailbox.g, r->server, s->id, &s->rung);
}

unsigned rig_hear(struct speaker *s)
{
	struct famez_seen seen;
	unsigned count = 0;

	while (famez_rx_peek(&s->rx, &seen) == 1) {
		micro_uses(*(const unsigned char *)seen.payload);
		(void)famez_rx_release(&s->rx);
		count++;
	}
	return count;
}

void rig_turns(struct rig *r)
{
	bool busy;

	do {
		busy = mail_turn(&r->worker);
		micro_must(ring_turn(&r->worker.ring, 0) == 0);
	} while (busy);
}
