/* SPDX-License-Identifier: MIT */
/*
 * mail_rig.c - see mail_rig.h.
 */
#include "mail_rig.h"

#include <sys/mman.h>

static const struct state_wish wish = {
	.ids_max = IDS,
	.first_id = 1,
	.peers = IDS - 2,
	.server_id = SERVER,
	.vectors = IDS,
	.workers = WORKERS,
	.shards = WORKERS,
};

static void *state_memory(void)
{
	void *memory = aligned_alloc(4096, state_bytes(&wish));

	assert_non_null(memory);
	return memset(memory, 0, state_bytes(&wish));
}

struct rig *rig_of(const struct personality *who, enum mailbox_layout layout, uint64_t memory_bytes)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct mailbox *m = &r->mailbox;

	assert_non_null(r);
	m->layout = layout;
	m->bytes = memory_bytes;
	m->base = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(m->base, MAP_FAILED);
	assert_int_equal(famez_geometry_of(&m->g, m->bytes, IDS), 0);
	m->g.server_id = SERVER;
	m->g.vectors = IDS;
	m->g.server_shards = WORKERS;
	m->g.features = FAMEZ_FEATURE_VECTOR_IS_SENDER;
	m->generation = SERVER_GEN;
	state_memory_init(&r->state, state_memory(), &wish);
	bells_init(&r->bells, r->state.bells, IDS, IDS);
	assert_int_equal(mail_shared_init(&r->mail, m, who, &r->state, r->workers), 0);
	r->shared = (struct worker_shared){
		.bells = &r->bells,
		.mailbox = m,
		.mail = &r->mail,
		.ids_max = IDS,
		.server_id = SERVER,
		.vectors = IDS,
		.workers = WORKERS,
	};
	for (uint16_t n = 0; n < WORKERS; n++) {
		struct worker *w = &r->workers[n];

		w->nth = n;
		w->shared = &r->shared;
		assert_int_equal(message_queue_init(&w->inbox, MESSAGE_TO_WORKER), 0);
		assert_int_equal(wakeup_init(&w->wakeup), 0);
		assert_int_equal(ring_init(&w->ring, worker_submissions(IDS, WORKERS), 1024), 0);
		assert_int_equal(mail_open(w), 0);
	}
	return r;
}

struct rig *rig_new(const struct personality *who, enum mailbox_layout layout)
{
	return rig_of(who, layout, UINT64_C(1) << 31);
}

void rig_free(struct rig *r)
{
	for (unsigned n = 0; n < WORKERS; n++) {
		struct worker *w = &r->workers[n];

		ring_destroy(&w->ring);
		mail_close(w);
		wakeup_destroy(&w->wakeup);
		message_queue_destroy(&w->inbox);
	}
	mail_shared_destroy(&r->mail);
	bells_destroy(&r->bells); /* in the state */
	free(r->state.head);
	assert_int_equal(munmap(r->mailbox.base, r->mailbox.bytes), 0);
	free(r);
}

void joins(struct rig *r, uint32_t id)
{
	/* One eventfd is enough: the one that the server rings. */
	int *bell = &r->bells.fds[(size_t)id * IDS + SERVER];

	if (*bell < 0)
		*bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(*bell >= 0);
	r->seq++;
	for (unsigned n = 0; n < WORKERS; n++)
		mail_joined(&r->workers[n], id, r->seq << 1 | 1, r->said[id]);
}

void goes(struct rig *r, uint32_t id)
{
	r->said[id] = mailbox_said(&r->mailbox, id);
}

void is_known_to_have_gone(struct rig *r, uint32_t id)
{
	r->seq++;
	for (unsigned n = 0; n < WORKERS; n++)
		(void)mail_left(&r->workers[n], id, r->seq << 1, r->said[id]);
}

void leaves(struct rig *r, uint32_t id)
{
	goes(r, id);
	is_known_to_have_gone(r, id);
}

void start(struct speaker *c, struct rig *r, uint32_t id, uint32_t generation)
{
	const struct famez_geometry *g = &r->mailbox.g;

	*c = (struct speaker){.rig = r, .id = id, .generation = generation};
	famez_tx_open(&c->tx, r->mailbox.base, g, SERVER, id, generation, SERVER_GEN);
	famez_rx_open(&c->rx, r->mailbox.base, g, id, SERVER, generation);
}

void say(struct speaker *c, uint16_t kind, const void *payload, uint32_t bytes)
{
	void *room = NULL;

	if (famez_tx_claim(&c->tx, bytes, &room) || !room) {
		fail();
		return;
	}
	memcpy(room, payload, bytes);
	famez_tx_commit(&c->tx, bytes, kind, (uint16_t)c->id);
	assert_true(famez_tx_flush(&c->tx));
	(void)famez_nudge(c->rig->mailbox.base, &c->rig->mailbox.g, SERVER, c->id, &c->tx.rung);
}

void say_link(struct speaker *c, const char *text)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), text, (uint32_t)strlen(text));
}

void enter(struct speaker *c, unsigned group)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_GROUP_ENTER, group), "", 0);
}

void say_group(struct speaker *c, unsigned group, const char *text)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_GROUP, group), text, (uint32_t)strlen(text));
}

bool hears(struct speaker *c, const char *text)
{
	struct famez_seen seen;

	if (famez_rx_peek(&c->rx, &seen) != 1)
		return false;
	assert_int_equal(seen.bytes, strlen(text));
	assert_memory_equal(seen.payload, text, seen.bytes);
	(void)famez_rx_release(&c->rx);
	return true;
}

bool hears_nothing(struct speaker *c)
{
	struct famez_seen seen;

	return famez_rx_peek(&c->rx, &seen) == 0;
}

bool turn(struct rig *r, unsigned worker)
{
	bool busy = mail_turn(&r->workers[worker]);

	assert_int_equal(ring_turn(&r->workers[worker].ring, 0), 0);
	return busy;
}

uint64_t rung(struct rig *r, uint32_t id)
{
	return bells_take(bells_fd(&r->bells, id, SERVER));
}

void sleeps(struct speaker *c, uint32_t number)
{
	famez_store_ordered(
		famez_asleep_at(c->rig->mailbox.base, &c->rig->mailbox.g, c->id, SERVER), number);
}

bool unread(const struct speaker *c)
{
	return famez_load_relaxed(&c->tx.lane->consumed) != c->tx.at;
}
