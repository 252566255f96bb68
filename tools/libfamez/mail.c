/* SPDX-License-Identifier: MIT */
/*
 * mail.c - the message layer of one membership, as far as it is memory.
 *
 * It owns our ends of the lanes, which are opened when first used; our entry in the directory;
 * the inbox reader; what is known of v1 slots. It makes no system call and never waits: bells
 * are rung through its owner, who also decides when to sleep and for how long (messages.c,
 * peer.c). One thread at a time.
 *
 * What it must hold on to, whatever stands in the file:
 *
 *   - Every loop is bounded by the number of IDs, of lanes in hand, or by DROPS_MAX.
 *   - Where something else was promised (a ring, room, life), the tick looks after it: it
 *     sets right our own entry, nudges who has not read, and looks at what has no bit.
 *
 * Generations keep owners of one ID apart. The lane to a peer is written for the generation
 * that its entry shows when a batch begins; a lane's reader skips what was for another one.
 * A message from a generation that is not the sender's present one is dropped as stale too,
 * once that sender has been told of as gone, or was not known before.
 */
#include "mail.h"

#include "slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(offsetof(struct famez_to, peer) == 0 && offsetof(struct famez_to, type) == 2 &&
		       offsetof(struct famez_to, spoof) == 3,
	"mail_address()");
_Static_assert(offsetof(struct famez_message, bytes) == 8, "mail_extend()");

/* Messages dropped in one look. */
#define DROPS_MAX 256u

/* Looks until the bitmap is looked at, lest new senders starve; or a turn's end. */
#define COLLECT_EVERY 64u

/* Lines that the next lane's turn begins with, fetched from memory before it does. */
#define BEGINNING 12u

/* Unpublished bytes of one lane, at most; or a quarter of it. */
#define UNPUBLISHED_MAX 65536u

#define WORDS(ids) (((size_t)(ids) + 63) / 64)

static bool bit_get(const uint64_t *bits, uint32_t id)
{
	return bits[id / 64] >> (id % 64) & 1;
}

static void bit_set(uint64_t *bits, uint32_t id)
{
	bits[id / 64] |= UINT64_C(1) << (id % 64);
}

static void bit_clear(uint64_t *bits, uint32_t id)
{
	bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/* ---- bells ------------------------------------------------------------------------------- */

SELDOM static void ring_at(struct mail *m, uint16_t peer, uint16_t vector)
{
	int err = m->ring(m->owner, peer, vector);

	/* Any other failure is a bell that was rung before, and not heard yet. */
	if (err == -ENOTCONN || err == -EINVAL) {
		bit_set(m->owed, peer);
		m->unheard = true;
	}
}

static void ring(struct mail *m, uint32_t peer)
{
	uint32_t vector = peer == m->g.server_id ? famez_server_vector_of(&m->g, m->id)
						 : famez_vector_of(&m->g, m->id);

	ring_at(m, (uint16_t)peer, (uint16_t)vector);
}

void mail_known(struct mail *m, uint16_t peer)
{
	if (peer >= m->g.ids || !bit_get(m->owed, peer))
		return;
	bit_clear(m->owed, peer);
	ring(m, peer); /* where this was not the vector, it is owed again */
}

static void on_ring(struct famez_inbox_reader *r, uint32_t sender)
{
	/* The reader is part of us. */
	ring((struct mail *)(void *)((char *)r - offsetof(struct mail, reader)), sender);
}

/* ---- our entry --------------------------------------------------------------------------- */

/* The words that others go by. Said again with each tick, in case somebody scribbled there. */
static void say_who_we_are(struct mail *m)
{
	struct famez_entry *e = m->entry;

	famez_store_relaxed(&e->generation, m->generation);
	famez_store_relaxed(&e->join, m->join);
	famez_store_relaxed(&e->watches, (uint32_t)(m->watch || m->blocked || m->waiting));
	famez_store_relaxed(&e->heartbeat, ++m->heartbeat);
	famez_store_release(&e->speaks, FAMEZ_SPEAKS_LANES);
}

void mail_blocked(struct mail *m, bool blocked)
{
	if (m->blocked == blocked)
		return;
	m->blocked = blocked;
	famez_store_relaxed(&m->entry->watches, (uint32_t)(m->watch || m->blocked || m->waiting));
}

/* Tells those who asked for it that somebody has started anew. Joins and leaves are the
 * server's to tell. */
static void announce(struct mail *m)
{
	for (uint32_t id = 1; id < m->g.ids; id++) {
		struct famez_entry *e = famez_entry_at(m->base, &m->g, id);

		if (id == m->id || famez_load_relaxed(&e->presence) != FAMEZ_PRESENT)
			continue;
		if (famez_load_relaxed(&e->watches))
			ring(m, id);
	}
}

/* ---- open and close ---------------------------------------------------------------------- */

static struct famez_rx *on_open(struct famez_inbox_reader *r, uint32_t sender);

static bool is_name(const char *name)
{
	size_t length = name ? strnlen(name, FAMEZ_NAME_BYTES) : 0;

	if (!length || length == FAMEZ_NAME_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

/* A generation that this ID did not have lately, and never 0. */
static uint32_t next_generation(const struct famez_entry *e)
{
	uint32_t generation = famez_load_relaxed(&e->generation) + 1;

	return generation ? generation : 1;
}

static void free_all(struct mail *m)
{
	while (m->in_all) {
		struct mail_in *in = m->in_all;

		m->in_all = in->next;
		free(in);
	}
	while (m->out_all) {
		struct mail_out *out = m->out_all;

		m->out_all = out->next;
		free(out);
	}
	directory_destroy(&m->directory);
	free(m->owed);
	free(m->texts);
	free(m->out);
	free(m->in);
	free(m);
}

static void move_in(struct mail *m, const struct famez_mailbox *how)
{
	const char *cclass = how->cclass ? how->cclass : "Client";
	struct famez_entry *e = m->entry;
	struct slot slot;

	famez_store_release(&e->speaks, 0u);
	m->join = famez_load_relaxed(&e->joins);
	m->generation = next_generation(e);
	m->heartbeat = famez_load_relaxed(&e->heartbeat);
	memset(e->name, 0, sizeof(e->name));
	memset(e->cclass, 0, sizeof(e->cclass));
	memcpy(e->name, how->name, strlen(how->name));
	memcpy(e->cclass, cclass, strlen(cclass));
	slot_at(&slot, m->base, &m->g, m->id);
	slot_name(&slot, how->name, cclass);
	m->reader = (struct famez_inbox_reader){
		.base = m->base,
		.g = &m->g,
		.id = m->id,
		.shards = 1,
		.sleep = famez_load_relaxed(&famez_inbox_at(m->base, &m->g, m->id)->asleep[0]),
		.open = on_open,
		.ring = on_ring,
	};
	/* An earlier owner may have died asleep. */
	famez_store_relaxed(&famez_inbox_at(m->base, &m->g, m->id)->asleep[0], 0u);
	say_who_we_are(m);
}

int mail_open(struct mail **out, const struct mail_place *place, const struct famez_mailbox *how)
{
	struct famez_geometry g;
	struct mail *m;
	int err;

	if (!is_name(how->name) || (how->cclass && !is_name(how->cclass)))
		return -EINVAL;
	err = famez_geometry_read(&g, place->base, place->bytes);
	if (err)
		return err == -ENOENT ? -EOPNOTSUPP : -EPROTO;
	/* IDs of 16 bits; 0 is nobody's, and the last one the server's. */
	if (g.ids > UINT16_MAX + 1u || !place->id || place->id >= g.ids - 1)
		return -EPROTO;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->open.to = MAIL_CLOSED;
	m->base = place->base;
	m->g = g;
	m->id = place->id;
	m->entry = famez_entry_at(m->base, &m->g, m->id);
	m->ring = place->ring;
	m->owner = place->owner;
	m->watch = how->watch || place->watches;
	m->in = calloc(g.ids, sizeof(struct mail_in *));
	m->out = calloc(g.ids, sizeof(struct mail_out *));
	m->texts = calloc(WORDS(g.ids), sizeof(uint64_t));
	m->owed = calloc(WORDS(g.ids), sizeof(uint64_t));
	err = directory_init(&m->directory, m->base, &m->g, m->id, how->watch);
	if (err || !m->in || !m->out || !m->texts || !m->owed) {
		free_all(m);
		return -ENOMEM;
	}
	m->changes = famez_load_relaxed(&famez_header_at(m->base)->changes);
	move_in(m, how);
	announce(m);
	*out = m;
	return 0;
}

void mail_close(struct mail *m)
{
	struct famez_entry *e = m->entry;
	struct slot slot;

	mail_flush_all(m);
	if (mail_is_ours(m)) {
		/* First, so that whoever is woken below finds us gone. */
		famez_store_ordered(&e->speaks, 0u);
		famez_store_relaxed(&e->watches, 0u);
		slot_at(&slot, m->base, &m->g, m->id);
		slot_name(&slot, "", "");
		(void)famez_inbox_collect(&m->reader); /* who filled a lane that we never read */
		for (struct mail_in *in = m->in_all; in; in = in->next)
			if (famez_rx_publish(&in->rx))
				ring(m, in->rx.sender);
		famez_inbox_awake(&m->reader);
	}
	free_all(m);
}

/* ---- sending ----------------------------------------------------------------------------- */

void mail_wake(struct mail *m, struct mail_out *out)
{
	famez_store_relaxed(&out->tx.lane->rings, ++out->tx.rings);
	ring(m, out->peer);
}

static void nudge(struct mail *m, struct mail_out *out)
{
	if (famez_nudge(m->base, &m->g, out->peer, m->id, &out->tx.rung))
		mail_wake(m, out);
}

void mail_flush_all(struct mail *m)
{
	while (m->unflushed) {
		struct mail_out *out = m->unflushed;

		m->unflushed = out->next_unflushed;
		out->unflushed = false;
		mail_publish(m, out);
	}
}

static struct mail_out *open_out(struct mail *m, uint32_t peer, uint32_t to)
{
	struct mail_out *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	famez_tx_open(&out->tx, m->base, &m->g, peer, m->id, m->generation, to);
	out->entry = famez_entry_at(m->base, &m->g, peer);
	out->limit = out->tx.bytes / 4 < UNPUBLISHED_MAX ? out->tx.bytes / 4 : UNPUBLISHED_MAX;
	out->sent = out->tx.messages;
	out->peer = (uint16_t)peer;
	out->next = m->out_all;
	m->out_all = out;
	m->out[peer] = out;
	return out;
}

/* The lane to a peer, for the generation that is there now. */
static int reach(struct mail *m, uint32_t peer, struct mail_out **to)
{
	struct mail_out *out;
	struct presence is;

	if (!peer || peer >= m->g.ids)
		return -EINVAL;
	out = m->out[peer];
	/* A batch goes to whom it was begun for. */
	if (out && mail_has_batch(out)) {
		*to = out;
		return 0;
	}
	if (!mail_is_ours(m))
		return -ENOTCONN;
	is = directory_look(&m->directory, peer);
	if (!is.lanes)
		return is.present ? -EOPNOTSUPP : -ENOTCONN;
	if (!out) {
		out = open_out(m, peer, is.generation);
		if (!out)
			return -ENOMEM;
	}
	if (out->tx.to != is.generation) {
		out->tx.to = is.generation;
		out->tx.rung = 0;
	}
	/* If these are other words than those just judged, the next look finds that out. */
	out->broker_word = is.joins * (UINT64_C(1) << 32) + is.presence;
	out->peer_word = is.generation * (UINT64_C(1) << 32) + is.joins;
	*to = out;
	return 0;
}

int mail_claim(struct mail *m, uint32_t peer, size_t bytes, void **payload)
{
	struct mail_out *out;
	int err;

	m->claim = NULL;
	m->open.to = MAIL_CLOSED;
	err = reach(m, peer, &out);
	if (!err)
		err = famez_tx_claim(&out->tx, bytes, payload);
	if (!err)
		m->claim = out;
	return err;
}

int mail_flush(struct mail *m, uint32_t peer)
{
	if (!peer || peer >= m->g.ids)
		return -ENOTCONN;
	if (m->out[peer])
		mail_publish(m, m->out[peer]);
	return directory_look(&m->directory, peer).present ? 0 : -ENOTCONN;
}

static uint64_t size_wanted(const struct famez_tx *tx, uint64_t bytes)
{
	uint64_t size = famez_round_up(bytes + sizeof(struct famez_record), FAMEZ_RECORD_ALIGN);
	uint64_t left = tx->bytes - (tx->at & (tx->bytes - 1));

	return size < left ? size : left;
}

bool mail_has_room(struct mail *m, uint16_t peer, size_t bytes)
{
	struct famez_tx *tx = &m->out[peer]->tx;

	return famez_tx_room(tx, size_wanted(tx, bytes));
}

uint64_t mail_sent(struct mail *m, uint16_t peer)
{
	struct mail_out *out = m->out[peer];
	uint64_t before = out->sent;

	out->sent = out->tx.messages;
	return out->sent - before;
}

bool mail_ask(struct mail *m, uint16_t peer, size_t bytes)
{
	struct mail_out *out = m->out[peer];

	mail_publish(m, out);
	nudge(m, out);
	out->asked += !famez_load_relaxed(&out->tx.lane->waiting);
	return famez_tx_wait(&out->tx, bytes);
}

void mail_want_room(struct mail *m, uint16_t peer, size_t bytes)
{
	struct mail_out *out = m->out[peer];

	out->wants = bytes;
	if (out->waits)
		return;
	out->waits = true;
	out->next_waiting = m->waiting;
	m->waiting = out;
	famez_store_relaxed(&m->entry->watches, 1u);
}

/* Is it worth trying again? Also where the receiver has gone: trying tells. */
static bool is_over(struct mail *m, struct mail_out *out)
{
	return mail_has_room(m, out->peer, out->wants) ||
	       directory_look(&m->directory, out->peer).generation != out->tx.to;
}

static int next_room(struct mail *m, struct famez_event *event)
{
	struct slot slot;

	for (struct mail_out **link = &m->waiting; *link; link = &(*link)->next_waiting) {
		struct mail_out *out = *link;

		if (!is_over(m, out))
			continue;
		*link = out->next_waiting;
		out->waits = false;
		*event = (struct famez_event){.kind = FAMEZ_EVENT_ROOM, .peer = out->peer};
		return 1;
	}
	if (m->text_wants) {
		slot_at(&slot, m->base, &m->g, m->id);
		if (famez_load_acquire(slot.text_bytes) == 0 ||
			!directory_look(&m->directory, m->text_wants).present) {
			*event = (struct famez_event){
				.kind = FAMEZ_EVENT_ROOM, .peer = m->text_wants};
			m->text_wants = 0;
			return 1;
		}
	}
	return 0;
}

int mail_text(struct mail *m, uint16_t peer, uint16_t speaker, const void *text, size_t bytes)
{
	struct presence is = directory_look(&m->directory, peer);
	struct famez_who who;
	struct slot slot;
	int err;

	if (!speaker || speaker >= m->g.ids)
		return -EINVAL;
	if (!(m->g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER) || is.lanes)
		return -EOPNOTSUPP;
	/* Who had lanes a moment ago reads no slots; perhaps somebody scribbled on its entry. */
	if (m->out[peer] && m->out[peer]->broker_word >> 32 == is.joins)
		return -EOPNOTSUPP;
	err = directory_who(&m->directory, peer, &who);
	if (err)
		return err;
	if (!who.slot)
		return -EOPNOTSUPP;
	if (!bytes)
		return -EMSGSIZE;
	slot_at(&slot, m->base, &m->g, speaker);
	/* Nobody will take a text whose reader has gone. */
	if (speaker == m->id && m->text_to && famez_load_acquire(slot.text_bytes)) {
		struct presence was = directory_look(&m->directory, m->text_to);

		if (!was.present || was.lanes || was.joins != m->text_joins)
			famez_store_release(slot.text_bytes, UINT64_C(0));
	}
	err = slot_put(&slot, text, bytes);
	if (err)
		return err;
	if (speaker == m->id) {
		m->text_to = peer;
		m->text_joins = is.joins;
	}
	ring_at(m, peer, speaker);
	return 0;
}

/* ---- receiving --------------------------------------------------------------------------- */

static struct famez_rx *on_open(struct famez_inbox_reader *r, uint32_t sender)
{
	struct mail *m = (struct mail *)(void *)((char *)r - offsetof(struct mail, reader));
	struct mail_in *in = m->in[sender];

	if (in)
		return &in->rx;
	in = calloc(1, sizeof(*in));
	if (!in)
		return NULL; /* its bit stays */
	famez_rx_open(&in->rx, m->base, &m->g, m->id, sender, m->generation);
	in->garbled = in->rx.garbled;
	in->next = m->in_all;
	m->in_all = in;
	m->in[sender] = in;
	return &in->rx;
}

/* Is this message one that its sender's ID now stands for, and one for users? */
static bool is_welcome(struct mail *m, struct mail_in *in, const struct famez_seen *seen)
{
	unsigned type = FAMEZ_KIND_TYPE(seen->kind);

	if (seen->from != in->from || !seen->from) { /* nobody's generation is 0 */
		struct presence is = directory_look(&m->directory, in->rx.sender);

		/* Last words of who has gone are welcome, until there is another. */
		if (is.lanes && is.generation != seen->from) {
			in->rx.stale++;
			famez_store_relaxed(&in->rx.lane->stale, in->rx.stale);
			return false;
		}
		in->from = seen->from;
	}
	return type == FAMEZ_TYPE_DATA || type == FAMEZ_TYPE_LINK ||
	       (type == FAMEZ_TYPE_GROUP && in->rx.sender == m->g.server_id);
}

void mail_slow(struct mail *m)
{
	uint64_t taken = m->quick_at - m->quick_from;

	m->quick_end = m->quick_from = m->quick_at;
	if (!taken)
		return;
	m->reader.turn += taken;
	m->quick->fresh = m->fresh = true;
}

static void mail_go_on(struct mail *m, struct mail_in *in)
{
	const struct famez_rx *rx = &in->rx, *next = rx->next;

	m->quick = in;
	m->quick_from = m->quick_at = rx->at + rx->size;
	m->quick_end = m->quick_at;
	if (m->reader.turn < FAMEZ_TURN_BYTES)
		m->quick_end += FAMEZ_TURN_BYTES - m->reader.turn;
	if (m->reader.turn != rx->size || next == rx)
		return;
	/* Its turn has just begun: by its end, what the next one begins with will be here. */
	for (unsigned i = 0; i < BEGINNING; i++)
		__builtin_prefetch(
			next->data + ((next->at + i * UINT64_C(64)) & (next->bytes - 1)));
}

/* The next text of a v1 slot. */
SELDOM static bool fetch_text(struct mail *m, struct famez_message *into)
{
	for (uint32_t looks = 0; m->texts_count && looks < m->g.ids; looks++) {
		uint32_t id = m->texts_at;
		struct slot slot;
		size_t bytes;
		int got;

		m->texts_at = m->texts_at + 1 < m->g.ids ? m->texts_at + 1 : 1;
		if (!id || !bit_get(m->texts, id))
			continue;
		bit_clear(m->texts, id);
		m->texts_count--;
		slot_at(&slot, m->base, &m->g, id);
		got = slot_take(&slot, m->text, &bytes);
		if (got < 0)
			m->text_garbled = id;
		if (got <= 0)
			continue;
		m->holds_text = true;
		*into = m->message = (struct famez_message){
			.from = (uint16_t)id,
			.origin = (uint16_t)id,
			.type = FAMEZ_MESSAGE_LINK,
			.slot = 1,
			.bytes = bytes,
			.payload = m->text,
		};
		return true;
	}
	return false;
}

int mail_peek(struct mail *m, struct famez_message *into)
{
	bool collected = false;

	if (m->held) {
		const struct famez_rx *rx = m->held;

		mail_tell(into, rx, m->held_bytes, m->held_more,
			rx->data + (rx->at & (rx->bytes - 1)) + sizeof(struct famez_record));
		return 1;
	}
	if (m->holds_text) {
		*into = m->message;
		return 1;
	}
	mail_slow(m);
	if (m->reader.turn >= FAMEZ_TURN_BYTES || ++m->since_collected >= COLLECT_EVERY) {
		m->since_collected = 0;
		(void)famez_inbox_collect(&m->reader);
		if (m->texts_count && fetch_text(m, into))
			return 1;
	}
	for (unsigned drops = 0; drops < DROPS_MAX; drops++) {
		struct famez_seen seen;
		struct famez_rx *rx;
		struct mail_in *in;
		int got = famez_inbox_next(&m->reader, &seen, &rx);

		if (!got) {
			if (collected || !famez_inbox_collect(&m->reader))
				break;
			collected = true;
			continue;
		}
		in = (struct mail_in *)rx;
		if (got < 0) {
			m->garbled = true;
			continue;
		}
		in->fresh = m->fresh = true;
		if (is_welcome(m, in, &seen)) {
			m->held = rx;
			m->held_bytes = seen.bytes;
			m->held_more =
				seen.from | (uint64_t)seen.kind << 32 | (uint64_t)seen.origin << 48;
			mail_tell(into, rx, seen.bytes, m->held_more, seen.payload);
			mail_go_on(m, in);
			m->taken++;
			return 1;
		}
		famez_inbox_release(&m->reader, rx);
	}
	return m->texts_count && fetch_text(m, into);
}

uint64_t mail_taken(struct mail *m)
{
	uint64_t taken;

	mail_slow(m);
	taken = m->taken;
	m->taken = 0;
	return taken;
}

static int next_garbled(struct mail *m, struct famez_event *event)
{
	if (m->text_garbled) {
		*event = (struct famez_event){
			.kind = FAMEZ_EVENT_GARBLED, .peer = (uint16_t)m->text_garbled};
		m->text_garbled = 0;
		return 1;
	}
	if (!m->garbled)
		return 0;
	for (struct mail_in *in = m->in_all; in; in = in->next) {
		if (in->garbled == in->rx.garbled)
			continue;
		in->garbled = in->rx.garbled;
		in->fresh = m->fresh = true; /* its sender may have rung for what is lost */
		*event = (struct famez_event){
			.kind = FAMEZ_EVENT_GARBLED, .peer = (uint16_t)in->rx.sender};
		return 1;
	}
	m->garbled = false;
	return 0;
}

/* ---- events ------------------------------------------------------------------------------ */

int mail_event(struct mail *m, struct famez_event *event)
{
	struct famez_message unused; /* it is held, and will be peeked at again */

	if (next_garbled(m, event) || next_room(m, event))
		return 1;
	if (directory_next(&m->directory, event)) {
		/* What is still in the lane of who was there before is not to be taken for
		 * the words of who is there now. */
		if (m->in[event->peer]) {
			mail_slow(m);
			m->in[event->peer]->from = 0;
		}
		return 1;
	}
	if (!mail_peek(m, &unused))
		return next_garbled(m, event);
	*event = (struct famez_event){.kind = FAMEZ_EVENT_MESSAGE};
	return 1;
}

/* Is there room that somebody was promised to be told of? */
static bool is_room(struct mail *m)
{
	struct slot slot;

	for (struct mail_out *out = m->waiting; out; out = out->next_waiting)
		if (mail_ask(m, out->peer, out->wants))
			return true;
	if (!m->text_wants)
		return false;
	slot_at(&slot, m->base, &m->g, m->id);
	return !famez_load_acquire(slot.text_bytes);
}

bool mail_may_tell(const struct mail *m)
{
	/* Who waits for room is told too if its peer has gone. */
	return m->waiting || m->text_wants || m->text_garbled || directory_is_due(&m->directory);
}

bool mail_sleep(struct mail *m, bool events)
{
	bool stay;

	mail_slow(m);
	mail_flush_all(m);
	if (m->texts_count || m->held || m->holds_text || (events && is_room(m)))
		return true;
	stay = famez_inbox_sleep(&m->reader);
	if (stay)
		m->garbled = true; /* perhaps that is why */
	return stay || (events && m->garbled);
}

/* Has this lane something, or was there something since its sender rang? */
static bool has_news(struct mail *m, uint32_t sender)
{
	uint64_t bits = famez_load_ordered(famez_bitmap_at(m->base, &m->g, m->id, sender));
	struct mail_in *in = m->in[sender];
	bool fresh;

	if (!in)
		return bits >> (sender % 64) & 1;
	fresh = in->fresh;
	in->fresh = false;
	return fresh || (bits >> (sender % 64) & 1 && !in->rx.in_hand) ||
	       famez_load_acquire(famez_head_at(in->rx.data, in->rx.bytes, in->rx.at));
}

/* Has the receiver of this lane rung because there is room? */
static bool has_answered(struct mail_out *out, uint64_t rings)
{
	if (!out || !out->asked)
		return false;
	out->asked = out->asked > rings ? out->asked - (uint32_t)rings : 0;
	return true;
}

static bool has_text(struct mail *m, uint32_t sender)
{
	struct slot slot;

	slot_at(&slot, m->base, &m->g, sender);
	if (!famez_load_acquire(slot.text_bytes) || directory_look(&m->directory, sender).lanes)
		return false;
	if (!bit_get(m->texts, sender)) {
		bit_set(m->texts, sender);
		m->texts_count++;
	}
	return true;
}

bool mail_rung(struct mail *m, uint16_t vector, uint64_t rings)
{
	struct famez_message unused; /* it is held, and will be peeked at again */
	uint64_t changes = famez_load_acquire(&famez_header_at(m->base)->changes);
	bool mail = changes != m->changes;

	mail_slow(m);
	m->changes = changes;
	directory_again(&m->directory, mail);
	if (m->g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER) {
		if (!vector || vector >= m->g.ids)
			return false;
		/* All of them: each forgets what it has told. */
		mail |= has_news(m, vector);
		mail |= has_answered(m->out[vector], rings);
		mail |= has_text(m, vector);
		return mail;
	}
	if (vector)
		return false;
	mail |= m->fresh;
	m->fresh = false;
	for (struct mail_out *out = m->out_all; out; out = out->next)
		mail |= has_answered(out, rings);
	return mail | (mail_peek(m, &unused) != 0);
}

void mail_tick(struct mail *m)
{
	mail_slow(m);
	if (!mail_is_ours(m))
		return;
	say_who_we_are(m);
	for (struct mail_out *out = m->out_all; out; out = out->next) {
		if (!famez_tx_unread(&out->tx))
			continue;
		out->tx.rung = 0; /* it may have been told that it was awake */
		nudge(m, out);
	}
	for (struct mail_in *in = m->in_all; in; in = in->next) {
		if (in->rx.in_hand || in->rx.size)
			continue;
		if (famez_rx_idle(&in->rx) & FAMEZ_IDLE_RING)
			ring(m, in->rx.sender);
		if (famez_load_relaxed(famez_head_at(in->rx.data, in->rx.bytes, in->rx.at)))
			famez_inbox_take(&m->reader, &in->rx);
	}
	m->garbled = true;
	directory_again(&m->directory, true);
}
