/* SPDX-License-Identifier: MIT */
/*
 * test_lane_schedules.c - lane.h and inbox.h in schedules drawn at random, on the simulated
 * machine of tests/lanes/sim.h, which reorders, interrupts and kills. What comes out is compared
 * with a plain list of what went in.
 *
 *     test_lane_schedules [--schedules N] [--seed FIRST] [NAME...]
 *
 * A failure prints its seed; --seed SEED --schedules 1 plays it again. With FAMEZ_WEAKEN_x these
 * tests must fail: tests/mutations/ sees to that.
 */
#include "unit.h"

#include "../lanes/sim.h"

enum {
	LANE_BYTES = 128, /* so small that full lanes and wraps are the rule */
	PAYLOAD_MAX = LANE_BYTES / 2 - 8 - 16,
	SENDERS = 2,
	RECEIVER = SENDERS, /* its actor and its ID */
	IDS = 3,
	LIVES = 4,
	MESSAGES = 10, /* of each sender's life, and the one that says that it was the last */
	LOG_MAX = (MESSAGES + 1 + 2 * LIVES) * LIVES * 4,
};

static unsigned schedules = 17000; /* of each test */
static uint64_t first_seed = 1;

static _Alignas(4096) unsigned char memory[5 * 4096];

static const struct famez_geometry geometry = {
	.bytes = sizeof(memory),
	.ids = IDS,
	.lane_bytes = LANE_BYTES,
	.inbox_bytes = 128,
	.inbox_offset = 4096,
	.lane_offset = 2 * 4096UL,
	.data_offset = 3 * 4096UL,
	.server_id = FAMEZ_NOBODY,
	.vectors = 1,
	.server_shards = 1,
};

static uint64_t failing_seed;
static uint32_t ids[IDS] = {0, 1, 2}; /* for actors to point at */

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "seed %llu: %s:%d: %s\n",                                  \
				(unsigned long long)failing_seed, __FILE__, __LINE__, #what);      \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* ---- the oracle: what a sender has said ------------------------------------------------------ */

struct said {
	uint32_t number, bytes;
	uint32_t from, to; /* generations */
	uint32_t batch;
	bool flushed; /* false: its sender died while it flushed this */
};

struct book {
	struct said said[LOG_MAX];
	unsigned count;   /* committed */
	unsigned flushed; /* of these, handed to a flush that has returned */
	unsigned begun;   /* of these, handed to a flush */
	unsigned heard;
	uint32_t batch;
};

static struct book books[IDS][IDS]; /* [receiver][sender] */

static void book_say(struct book *b, struct said s)
{
	CHECK(b->count < LOG_MAX);
	s.batch = b->batch;
	b->said[b->count++] = s;
}

static void book_flush_begins(struct book *b)
{
	b->begun = b->count;
	b->batch++;
}

static void book_flush_ends(struct book *b)
{
	while (b->flushed < b->begun)
		b->said[b->flushed++].flushed = true;
}

/* Its sender is dead: what it had not begun to flush is not to be heard, ever. */
static void book_sender_died(struct book *b)
{
	b->count = b->flushed = b->begun;
	b->batch++;
}

static void book_hear(struct book *b, uint32_t generation, const struct famez_seen *m)
{
	const struct said *s;
	uint64_t word;

	for (;; b->heard++) {
		CHECK(b->heard < b->begun); /* else it was not published */
		s = &b->said[b->heard];
		if (s->to != generation)
			continue;
		memcpy(&word, m->payload, sizeof(word));
		if ((uint32_t)word == s->number && m->from == s->from)
			break;
		/* Of a batch whose flush was cut off all is heard, or nothing. */
		CHECK(!s->flushed);
		CHECK(b->heard == 0 || s[-1].batch != s->batch || s[-1].to != generation ||
			!s[-1].flushed);
	}
	CHECK(m->bytes == s->bytes);
	CHECK(m->kind == FAMEZ_KIND(FAMEZ_TYPE_DATA, s->number & 0xfff));
	for (uint32_t i = 8; i < m->bytes; i++)
		CHECK(((const unsigned char *)m->payload)[i] == (unsigned char)(s->number + i));
	b->said[b->heard].flushed = true;
	for (unsigned i = b->heard + 1; i < b->begun && b->said[i].batch == s->batch; i++)
		b->said[i].flushed = true; /* then the rest of it must come too */
	b->heard++;
}

/* All that was flushed for this generation has been heard. */
static bool book_all_heard(const struct book *b, uint32_t generation)
{
	for (unsigned i = b->heard; i < b->begun; i++)
		if (b->said[i].flushed && b->said[i].to == generation)
			return false;
	return true;
}

/* ---- what senders and receivers share -------------------------------------------------------- */

static uint32_t generations[IDS];

static uint32_t generation_of(uint32_t id)
{
	return (uint32_t)sim_load(&generations[id], sizeof(generations[id]), SIM_RELEASE);
}

struct outgoing {
	struct famez_tx tx;
	uint32_t receiver;
	struct book *book;
};

static void outgoing_open(struct outgoing *o, uint32_t receiver, uint32_t sender, uint32_t from)
{
	o->receiver = receiver;
	o->book = &books[receiver][sender];
	famez_tx_open(&o->tx, memory, &geometry, receiver, sender, from, generation_of(receiver));
	CHECK(!o->tx.garbled);
}

static void outgoing_watch(struct outgoing *o)
{
	sim_watch(famez_bitmap_at(memory, &geometry, o->receiver, o->tx.sender), 8);
	sim_watch(famez_asleep_at(memory, &geometry, o->receiver, o->tx.sender), 4);
}

static void outgoing_nudge(struct outgoing *o)
{
	outgoing_watch(o);
	if (famez_nudge(memory, &geometry, o->receiver, o->tx.sender, &o->tx.rung))
		sim_ring(o->receiver);
}

/* False: there was nothing. */
static bool outgoing_publish(struct outgoing *o)
{
	book_flush_begins(o->book);
	if (!famez_tx_flush(&o->tx))
		return false;
	book_flush_ends(o->book);
	return true;
}

static void outgoing_flush(struct outgoing *o)
{
	outgoing_watch(o);
	if (outgoing_publish(o) &&
		famez_nudge(memory, &geometry, o->receiver, o->tx.sender, &o->tx.rung))
		sim_ring(o->receiver);
}

/* One message into the lane. False: it is full. */
static bool outgoing_put(struct outgoing *o, uint32_t number, uint32_t bytes)
{
	unsigned char body[PAYLOAD_MAX + 8] = {0};
	uint64_t *to;
	void *payload;
	uint32_t now = generation_of(o->receiver);
	int err;

	if (now != o->tx.to) {
		o->tx.to = now;
		o->tx.rung = 0;
	}
	err = famez_tx_claim(&o->tx, bytes, &payload);
	if (err) {
		CHECK(err == -EAGAIN);
		return false;
	}
	memcpy(body, &number, sizeof(number));
	for (uint32_t i = 8; i < bytes; i++)
		body[i] = (unsigned char)(number + i);
	to = payload;
	for (uint32_t i = 0; i < bytes; i += 8) {
		uint64_t word;

		memcpy(&word, body + i, sizeof(word));
		famez_store_relaxed(&to[i / 8], word);
	}
	famez_tx_commit(
		&o->tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, number & 0xfff), (uint16_t)o->tx.sender);
	book_say(o->book,
		(struct said){
			.number = number, .bytes = bytes, .from = o->tx.from, .to = o->tx.to});
	return true;
}

struct incoming {
	struct famez_inbox_reader inbox;
	struct famez_rx lanes[IDS];
};

static struct incoming incoming[IDS];

static struct famez_rx *incoming_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	return sender == r->id ? NULL : &incoming[r->id].lanes[sender];
}

static void incoming_ring(struct famez_inbox_reader *r, uint32_t sender)
{
	(void)r;
	sim_ring(sender);
}

static struct incoming *incoming_open(uint32_t id, uint32_t generation)
{
	struct incoming *in = &incoming[id];

	in->inbox = (struct famez_inbox_reader){.base = memory,
		.g = &geometry,
		.id = id,
		.shards = 1,
		.sleep = famez_load_relaxed(famez_asleep_at(memory, &geometry, id, 0)),
		.open = incoming_lane,
		.ring = incoming_ring};
	for (uint32_t s = 0; s < IDS; s++)
		if (s != id)
			famez_rx_open(&in->lanes[s], memory, &geometry, id, s, generation);
	return in;
}

static void incoming_watch(struct incoming *in)
{
	for (uint32_t s = 0; s < IDS; s++)
		if (s != in->inbox.id)
			sim_watch(&famez_lane_at(memory, &geometry, in->inbox.id, s)->waiting, 4);
}

/* The next message, heard. -1: none. */
static int64_t incoming_hear(struct incoming *in, uint32_t generation, uint32_t *sender)
{
	struct famez_seen m;
	struct famez_rx *rx;
	uint64_t word;
	int got = famez_inbox_next(&in->inbox, &m, &rx);

	CHECK(got == 0 || got == 1); /* nobody garbles lanes here */
	if (!got)
		return -1;
	book_hear(&books[in->inbox.id][rx->sender], generation, &m);
	memcpy(&word, m.payload, sizeof(word));
	*sender = rx->sender;
	incoming_watch(in);
	famez_inbox_release(&in->inbox, rx);
	return (uint32_t)word;
}

/* Lanes go out of hand after few looks, or it would never happen in a short life. */
static void incoming_grow_tired(struct incoming *in)
{
	for (uint32_t s = 0; s < IDS; s++)
		if (in->lanes[s].empty < FAMEZ_EMPTY_MAX - 2)
			in->lanes[s].empty = FAMEZ_EMPTY_MAX - 1 - sim_dice(2);
}

/* Nothing to do but wait. False: there is something, after all. */
static bool incoming_rest(struct incoming *in)
{
	incoming_watch(in);
	return !famez_inbox_sleep(&in->inbox);
}

static void rest(void)
{
	sim_wait_for_bell();
}

static void check_that_nothing_was_garbled(void)
{
	for (uint32_t r = 0; r < IDS; r++)
		for (uint32_t s = 0; s < IDS; s++)
			CHECK(!incoming[r].lanes[s].garbled);
}

/* ---- two senders, one receiver, who may die ------------------------------------------------- */

enum { LAST = 0xfff }; /* the number of a sender's last message */

static uint32_t ended[SENDERS]; /* the generation of the sender whose last word was heard */
static bool receiver_may_die, senders_may_die;

static bool ended_is(uint32_t sender, uint32_t generation)
{
	return sim_load(&ended[sender], sizeof(ended[0]), SIM_RELEASE) == generation;
}

static void sender_send(struct outgoing *o, uint32_t number, uint32_t bytes)
{
	while (!outgoing_put(o, number, bytes)) {
		outgoing_flush(o);
		if (famez_tx_wait(&o->tx, bytes))
			continue;
		outgoing_nudge(o);
		if (generation_of(o->receiver) != o->tx.to)
			continue;
		rest();
		sim_empty_bell();
	}
}

static void sender_run(void *argument)
{
	uint32_t id = *(const uint32_t *)argument, generation = generations[id], to;
	unsigned batch = 1 + sim_dice(6);
	struct outgoing o;

	outgoing_open(&o, RECEIVER, id, generation);
	if (famez_tx_unread(&o.tx))
		outgoing_nudge(&o);
	for (uint32_t n = 0; n < MESSAGES; n++) {
		sender_send(&o, n, 8 + sim_dice(PAYLOAD_MAX - 7));
		if (sim_dice(batch) == 0)
			outgoing_flush(&o);
	}
	do {
		sender_send(&o, LAST, 8);
		outgoing_flush(&o);
		to = o.tx.to;
		while (!ended_is(id, generation) && generation_of(RECEIVER) == to) {
			rest();
			sim_empty_bell();
		}
	} while (!ended_is(id, generation));
	CHECK(!o.tx.garbled);
}

static void receiver_run(void *argument)
{
	uint32_t generation = ++generations[RECEIVER], from;
	struct incoming *in = incoming_open(RECEIVER, generation);

	(void)argument;
	for (uint32_t s = 0; s < SENDERS; s++)
		sim_ring(s); /* as one does who watches the directory */
	for (;;) {
		int64_t number;
		bool all = true;

		for (uint32_t s = 0; s < SENDERS; s++)
			all = all && ended_is(s, generations[s]);
		if (all)
			break;
		if (sim_dice(4) == 0)
			(void)famez_inbox_collect(&in->inbox);
		number = incoming_hear(in, generation, &from);
		if (number >= 0) {
			const struct book *b = &books[RECEIVER][from];

			if (number == LAST && b->said[b->heard - 1].from == generations[from]) {
				ended[from] = generations[from];
				sim_ring(from);
			}
			continue;
		}
		if (sim_dice(2))
			incoming_grow_tired(in);
		if (sim_dice(3) == 0 || !incoming_rest(in))
			continue;
		rest();
		famez_inbox_awake(&in->inbox);
		sim_empty_bell();
	}
	for (uint32_t s = 0; s < SENDERS; s++)
		CHECK(book_all_heard(&books[RECEIVER][s], generation));
}

static unsigned next_death(uint32_t id, bool may)
{
	/* The last life is spared, or nobody would say the last word. */
	return may && generations[id] < LIVES ? 1 + sim_dice(400) : 0;
}

static void someone_died(unsigned actor)
{
	if (actor == RECEIVER) {
		sim_begin(actor, receiver_run, NULL, next_death(actor, receiver_may_die));
		return;
	}
	if (ended[actor] == generations[actor])
		return; /* it has said all, and was heard: the receiver may be done */
	book_sender_died(&books[RECEIVER][actor]);
	generations[actor]++;
	sim_begin(actor, sender_run, &ids[actor], next_death(actor, senders_may_die));
}

static void forget_all(void)
{
	memset(memory, 0, sizeof(memory));
	memset(generations, 0, sizeof(generations));
	memset(ended, 0, sizeof(ended));
	memset(incoming, 0, sizeof(incoming));
	for (uint32_t r = 0; r < IDS; r++)
		for (uint32_t s = 0; s < IDS; s++) {
			books[r][s].count = books[r][s].flushed = books[r][s].begun = 0;
			books[r][s].heard = books[r][s].batch = 0;
		}
}

static void begin_schedule(uint64_t seed)
{
	failing_seed = seed;
	forget_all();
	sim_reset(seed);
}

static void play_to_its_end(void)
{
	if (!sim_run()) {
		fprintf(stderr, "seed %llu: a wake-up was lost\n",
			(unsigned long long)failing_seed);
		exit(1);
	}
	check_that_nothing_was_garbled();
}

static void play_senders_and_receiver(uint64_t seed)
{
	begin_schedule(seed);
	sim.died = someone_died;
	for (uint32_t s = 0; s < SENDERS; s++) {
		generations[s] = 1;
		sim_begin(s, sender_run, &ids[s], next_death(s, senders_may_die));
	}
	sim_begin(RECEIVER, receiver_run, NULL, next_death(RECEIVER, receiver_may_die));
	play_to_its_end();
}

static void play_all(bool senders_die, bool receiver_dies)
{
	senders_may_die = senders_die;
	receiver_may_die = receiver_dies;
	for (unsigned n = 0; n < schedules; n++)
		play_senders_and_receiver(first_seed + n);
}

/* Two who live to the end. */
static void play_pairs(void (*one)(void *id), void (*other)(void *id))
{
	for (uint64_t seed = first_seed; seed < first_seed + schedules; seed++) {
		begin_schedule(seed);
		generations[0] = generations[1] = 1;
		sim_begin(0, one, &ids[0], 0);
		sim_begin(1, other, &ids[1], 0);
		play_to_its_end();
	}
}

static void two_senders_and_a_receiver_lose_double_and_garble_nothing(void **state)
{
	(void)state;
	play_all(false, false);
}

static void of_a_sender_who_dies_anywhere_whole_batches_are_heard_and_the_next_goes_on(void **state)
{
	(void)state;
	play_all(true, false);
}

static void after_a_receiver_died_anywhere_the_next_hears_all_that_is_meant_for_it(void **state)
{
	(void)state;
	play_all(false, true);
}

static void everybody_may_die_anywhere(void **state)
{
	(void)state;
	play_all(true, true);
}

/* ---- two peers, who both send and receive and wait for each other ---------------------------- */

enum { EXCHANGED = 16 };

static void peer_run(void *argument)
{
	uint32_t id = *(const uint32_t *)argument, other = 1 - id, from;
	struct incoming *in = incoming_open(id, 1);
	struct outgoing o;
	uint32_t sent = 0, heard = 0, bytes = 8;
	unsigned batch = 1 + sim_dice(6);

	outgoing_open(&o, other, id, 1);
	while (sent < EXCHANGED || heard < EXCHANGED) {
		bool full = false;

		if (sim_dice(4) == 0)
			(void)famez_inbox_collect(&in->inbox);
		while (sim_dice(8) && incoming_hear(in, 1, &from) >= 0)
			heard++;
		/* Nobody is more than a few ahead of what he heard: so both must wait. */
		while (sent < EXCHANGED && sent <= heard + 4 && !full && sim_dice(8)) {
			full = !outgoing_put(&o, sent, bytes);
			if (full)
				break;
			sent++;
			bytes = 8 + sim_dice(PAYLOAD_MAX - 7);
			if (sim_dice(batch) == 0)
				outgoing_flush(&o);
		}
		outgoing_flush(&o);
		if (sim_dice(2))
			incoming_grow_tired(in);
		if (heard >= EXCHANGED && sent >= EXCHANGED)
			break;
		if (sim_dice(2) == 0)
			continue;
		if (!full && sent < EXCHANGED && sent <= heard + 4)
			continue;
		if (full && famez_tx_wait(&o.tx, bytes))
			continue;
		if (full)
			outgoing_nudge(&o);
		if (!incoming_rest(in))
			continue;
		rest();
		famez_inbox_awake(&in->inbox);
		sim_empty_bell();
	}
	CHECK(!o.tx.garbled);
}

static void two_peers_who_wait_for_each_other_miss_no_wake_up(void **state)
{
	(void)state;
	play_pairs(peer_run, peer_run);
}

/* ---- a lane alone, whose receiver polls and never sleeps ------------------------------------- */

static void waiting_sender_run(void *argument)
{
	unsigned batch = 1 + sim_dice(6);
	struct outgoing o;

	(void)argument;
	outgoing_open(&o, 1, 0, 1);
	for (uint32_t n = 0; n < EXCHANGED; n++) {
		uint32_t bytes = 8 + sim_dice(PAYLOAD_MAX - 7);

		while (!outgoing_put(&o, n, bytes)) {
			(void)outgoing_publish(&o);
			if (famez_tx_wait(&o.tx, bytes))
				continue;
			rest();
			sim_empty_bell();
		}
		if (sim_dice(batch) && n + 1 < EXCHANGED)
			continue;
		(void)outgoing_publish(&o);
	}
}

static void polling_receiver_run(void *argument)
{
	struct famez_rx *rx = &incoming[1].lanes[0];
	bool looked = false;
	unsigned polls = 0;
	struct famez_seen m;

	(void)argument;
	famez_rx_open(rx, memory, &geometry, 1, 0, 1);
	for (uint32_t heard = 0; heard < EXCHANGED;) {
		int got = famez_rx_peek(rx, &m);

		CHECK(got == 0 || got == 1);
		if (got) {
			book_hear(&books[1][0], 1, &m);
			sim_watch(&rx->lane->waiting, 4);
			if (famez_rx_release(rx))
				sim_ring(0);
			heard++;
			looked = false;
			polls = 0;
		} else if (!looked) {
			/* One careful look when it has read all, and no more until there is more.
			 */
			sim_watch(&rx->lane->waiting, 4);
			if (famez_rx_idle(rx) & FAMEZ_IDLE_RING)
				sim_ring(0);
			looked = true;
		} else if (sim.actors[0].waits && !sim.actors[0].rung && ++polls > 1000) {
			fprintf(stderr, "seed %llu: the sender was not woken\n",
				(unsigned long long)failing_seed);
			exit(1);
		}
	}
}

static void a_sender_who_waits_is_woken_by_one_careful_look_of_a_receiver_who_polls(void **state)
{
	(void)state;
	play_pairs(waiting_sender_run, polling_receiver_run);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_senders_and_a_receiver_lose_double_and_garble_nothing),
		cmocka_unit_test(
			of_a_sender_who_dies_anywhere_whole_batches_are_heard_and_the_next_goes_on),
		cmocka_unit_test(
			after_a_receiver_died_anywhere_the_next_hears_all_that_is_meant_for_it),
		cmocka_unit_test(everybody_may_die_anywhere),
		cmocka_unit_test(two_peers_who_wait_for_each_other_miss_no_wake_up),
		cmocka_unit_test(
			a_sender_who_waits_is_woken_by_one_careful_look_of_a_receiver_who_polls),
	};

#ifdef __SANITIZE_THREAD__
	schedules = 500; /* nothing here runs in parallel; that it can be built so is enough */
#endif
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--schedules") == 0)
			schedules = (unsigned)strtoul(argv[i + 1], NULL, 0);
		if (strcmp(argv[i], "--seed") == 0)
			first_seed = strtoull(argv[i + 1], NULL, 0);
	}
	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
