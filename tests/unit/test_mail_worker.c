/* SPDX-License-Identifier: MIT */
/*
 * test_mail_worker.c - workers' shares of the server's inbox, stepped by hand on one thread.
 *
 * The memory is an anonymous mapping, peers are the two ends of their lanes, and the order in
 * which workers have their turns is the test's.
 */
#include "unit.h"

#include <sys/mman.h>

#include "genz.h"
#include "worker.h"

#define WORKERS    2u
#define IDS        160u
#define SERVER     (IDS - 1u)
#define SERVER_GEN 77u

struct rig {
	struct mailbox mailbox;
	struct bells bells;
	struct state state;
	struct mail_shared mail;
	struct worker_shared shared;
	struct worker workers[WORKERS];
	uint64_t said[IDS]; /* what the registrar has seen of their lanes when they went */
	uint64_t seq;       /* of the last entry in the log */
};

/* A peer's ends of its lanes to and from the server. */
struct speaker {
	struct rig *rig;
	uint32_t id, generation;
	struct famez_tx tx;
	struct famez_rx rx;
};

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

/* The memory is reserved, not taken. */
static struct rig *rig_of(
	const struct personality *who, enum mailbox_layout layout, uint64_t memory_bytes)
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

static struct rig *rig_new(const struct personality *who, enum mailbox_layout layout)
{
	return rig_of(who, layout, UINT64_C(1) << 31);
}

static void rig_free(struct rig *r)
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

static void joins(struct rig *r, uint32_t id)
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

/* The registrar sees that he is gone, and may give the ID to another. */
static void goes(struct rig *r, uint32_t id)
{
	r->said[id] = mailbox_said(&r->mailbox, id);
}

/* Workers are told of it. */
static void is_known_to_have_gone(struct rig *r, uint32_t id)
{
	r->seq++;
	for (unsigned n = 0; n < WORKERS; n++)
		(void)mail_left(&r->workers[n], id, r->seq << 1, r->said[id]);
}

static void leaves(struct rig *r, uint32_t id)
{
	goes(r, id);
	is_known_to_have_gone(r, id);
}

static void start(struct speaker *c, struct rig *r, uint32_t id, uint32_t generation)
{
	const struct famez_geometry *g = &r->mailbox.g;

	*c = (struct speaker){.rig = r, .id = id, .generation = generation};
	famez_tx_open(&c->tx, r->mailbox.base, g, SERVER, id, generation, SERVER_GEN);
	famez_rx_open(&c->rx, r->mailbox.base, g, id, SERVER, generation);
}

static void say(struct speaker *c, uint16_t kind, const void *payload, uint32_t bytes)
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

static void say_link(struct speaker *c, const char *text)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), text, (uint32_t)strlen(text));
}

static void enter(struct speaker *c, unsigned group)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_GROUP_ENTER, group), "", 0);
}

static void say_group(struct speaker *c, unsigned group, const char *text)
{
	say(c, FAMEZ_KIND(FAMEZ_TYPE_GROUP, group), text, (uint32_t)strlen(text));
}

static bool hears(struct speaker *c, const char *text)
{
	struct famez_seen seen;

	if (famez_rx_peek(&c->rx, &seen) != 1)
		return false;
	assert_int_equal(seen.bytes, strlen(text));
	assert_memory_equal(seen.payload, text, seen.bytes);
	(void)famez_rx_release(&c->rx);
	return true;
}

static bool hears_nothing(struct speaker *c)
{
	struct famez_seen seen;

	return famez_rx_peek(&c->rx, &seen) == 0;
}

static bool turn(struct rig *r, unsigned worker)
{
	bool busy = mail_turn(&r->workers[worker]);

	assert_int_equal(ring_turn(&r->workers[worker].ring, 0), 0);
	return busy;
}

static uint64_t rung(struct rig *r, uint32_t id)
{
	return bells_take(bells_fd(&r->bells, id, SERVER));
}

static void sleeps(struct speaker *c, uint32_t number)
{
	famez_store_ordered(
		famez_asleep_at(c->rig->mailbox.base, &c->rig->mailbox.g, c->id, SERVER), number);
}

static bool unread(const struct speaker *c)
{
	return famez_load_relaxed(&c->tx.lane->consumed) != c->tx.at;
}

/* ---- lanes ------------------------------------------------------------------------------- */

static void a_sleeper_is_rung_once_for_the_answers_of_a_turn(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	sleeps(&a, 9);
	for (unsigned n = 0; n < 3; n++)
		say_link(&a, "ping");
	assert_true(turn(r, 0));
	assert_int_equal(rung(r, 4), 1);
	for (unsigned n = 0; n < 3; n++)
		assert_true(hears(&a, "pong"));
	assert_true(hears_nothing(&a));
	assert_false(turn(r, 0));
	rig_free(r);
}

static void a_worker_leaves_others_shares_alone(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 5);
	start(&a, r, 5, 1);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(hears_nothing(&a));
	(void)turn(r, 1);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void who_speaks_before_he_joined_is_heard_when_he_has(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	start(&a, r, 4, 1);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	assert_true(hears_nothing(&a));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	/* The next owner of the ID, whose lane is known. */
	leaves(r, 4);
	start(&a, r, 4, 2);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	assert_true(hears_nothing(&a));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void a_new_owner_who_overtakes_the_log_keeps_what_he_did(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	const struct message left = {.kind = MESSAGE_LEFT, .id = 4};
	struct speaker old, new, other;
	struct message m;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&old, r, 4, 1);
	start(&other, r, 6, 1);
	say_link(&old, "ping");
	(void)turn(r, 0);
	/* The registrar said that he left, and gave the ID to another, who enters a group. */
	goes(r, 4);
	assert_true(message_queue_put(&w->inbox, &left));
	start(&new, r, 4, 2);
	enter(&new, 7);
	assert_true(turn(r, 0));
	assert_true(unread(&new));
	assert_int_equal(w->mail.counts.memberships, 0);
	assert_true(message_queue_take(&w->inbox, &m));
	is_known_to_have_gone(r, 4);
	joins(r, 4);
	(void)turn(r, 0);
	assert_int_equal(w->mail.counts.memberships, 1);
	say_group(&other, 7, "hello");
	(void)turn(r, 0);
	/* The answer to the old one is not for him. */
	assert_true(hears(&new, "hello"));
	rig_free(r);
}

static void of_who_left_only_what_he_said_to_groups_counts(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a, b;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	enter(&b, 7);
	say_link(&a, "ping");
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	say_link(&a, "ping");
	say_group(&a, 7, "farewell");
	enter(&a, 7);
	leaves(r, 4);
	(void)turn(r, 0);
	(void)turn(r, 0);
	assert_true(hears(&b, "farewell"));
	assert_true(hears_nothing(&a));
	assert_int_equal(r->workers[0].mail.counts.memberships, 1);
	rig_free(r);
}

static void report_of(struct rig *r, unsigned worker, struct report_mail *line)
{
	struct report_mail lines[WORKERS] = {0};
	struct report report = {.mail = lines};

	r->shared.report = &report;
	mail_report(&r->workers[worker]);
	r->shared.report = NULL;
	*line = lines[worker];
}

static void what_the_last_owner_left_unread_counts_for_nobody(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker old, new, member;
	struct report_mail line;

	(void)state;
	joins(r, 6);
	start(&member, r, 6, 1);
	enter(&member, 9);
	(void)turn(r, 0);
	/* Nobody has heard of him yet when he is gone. */
	start(&old, r, 4, 1);
	enter(&old, 7);
	say_group(&old, 9, "farewell");
	say_link(&old, "ping");
	joins(r, 4);
	leaves(r, 4);
	/* The next owner is quick. */
	start(&new, r, 4, 2);
	enter(&new, 8);
	joins(r, 4);
	while (turn(r, 0))
		;
	/* It said nothing to group 7, and asked nothing. */
	assert_int_equal(r->workers[0].mail.counts.memberships, 2);
	assert_int_equal(atomic_load(&r->mail.members[7]), 0);
	assert_true(hears_nothing(&new));
	assert_true(hears(&member, "farewell"));
	assert_int_equal(r->workers[0].mail.counts.sent, 1);
	report_of(r, 0, &line);
	assert_int_equal(line.received, 3); /* two are members, and a farewell */
	assert_int_equal(line.stale, 2);
	rig_free(r);
}

static void what_one_says_who_was_never_told_of_is_not_the_next_one_s(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker old, new;

	(void)state;
	/* It had its ID, spoke at once, and was gone before it was announced. */
	start(&old, r, 4, 1);
	enter(&old, 7);
	say_link(&old, "ping");
	goes(r, 4);
	start(&new, r, 4, 2);
	say_link(&new, "ping");
	assert_false(turn(r, 0));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&new, "pong"));
	assert_int_equal(r->workers[0].mail.counts.sent, 1);
	assert_int_equal(r->workers[0].mail.counts.received, 1);
	assert_int_equal(r->workers[0].mail.counts.stale, 2);
	rig_free(r);
}

static void one_who_only_said_something_to_a_group_is_heard_though_gone(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker one, member;

	(void)state;
	joins(r, 6);
	start(&member, r, 6, 1);
	enter(&member, 9);
	(void)turn(r, 0);
	start(&one, r, 4, 1);
	say_group(&one, 9, "hello");
	joins(r, 4);
	leaves(r, 4);
	while (turn(r, 0))
		;
	assert_true(hears(&member, "hello"));
	rig_free(r);
}

static void a_position_that_makes_no_sense_silences_nobody(void **state)
{
	static const uint64_t said[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 40, 12345};
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	for (uint32_t n = 0; n < UNIT_COUNT(said); n++) {
		uint64_t *produced =
			&famez_lane_at(r->mailbox.base, &r->mailbox.g, SERVER, 4)->produced;
		uint64_t was = *produced;

		*produced = said[n];
		goes(r, 4);
		*produced = was;
		joins(r, 4);
		start(&a, r, 4, n + 1);
		/* Of a lane's worth it may be thought that others said it. */
		for (uint64_t asked = 0; asked < a.tx.bytes && !hears(&a, "pong"); asked += 24) {
			say_link(&a, "ping");
			(void)turn(r, 0);
		}
		say_link(&a, "ping!EZT=1");
		(void)turn(r, 0);
		assert_true(hears(&a, "pong!EZT=2"));
		leaves(r, 4);
	}
	rig_free(r);
}

static void what_was_meant_for_a_server_before_is_counted_however_much_it_is(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const unsigned count = 3 * FAMEZ_SKIPS_MAX;
	struct report_mail line;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	a.tx.to = SERVER_GEN - 1;
	for (unsigned n = 0; n < count; n++)
		say_link(&a, "ping");
	a.tx.to = SERVER_GEN;
	say_link(&a, "ping!EZT=1");
	while (turn(r, 0) || !mail_sleep(&r->workers[0]))
		;
	assert_true(hears(&a, "pong!EZT=2"));
	report_of(r, 0, &line);
	assert_int_equal(line.stale, count);
	assert_int_equal(line.received, 1);
	rig_free(r);
}

static void a_message_that_comes_while_it_falls_asleep_keeps_it_awake(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	uint32_t *asleep;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	asleep = famez_asleep_at(r->mailbox.base, &r->mailbox.g, SERVER, 4);
	assert_false(turn(r, 0));
	say_link(&a, "ping");
	assert_false(mail_sleep(w));
	mail_awake(w);
	assert_int_equal(*asleep, 0);
	(void)turn(r, 0);
	(void)turn(r, 0);
	assert_true(mail_sleep(w));
	assert_int_not_equal(*asleep, 0);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void polling_is_given_up_while_it_is_in_vain(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const struct message joined = {.kind = MESSAGE_JOINED, .id = 8};
	struct worker *w = &r->workers[0];
	struct speaker a;
	struct message m;
	unsigned vain = 0;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	w->mail.spins = true;
	assert_false(mail_poll(w, UINT64_MAX)); /* nobody has said anything */
	say_link(&a, "ping");
	(void)turn(r, 0);
	say_link(&a, "ping");
	assert_true(mail_poll(w, UINT64_MAX));
	(void)turn(r, 0);
	while (w->mail.spin_ns) {
		assert_false(mail_poll(w, UINT64_MAX));
		vain++;
	}
	assert_true(vain > 1 && vain < 20);
	/* One in many is tried again, and pays. */
	say_link(&a, "ping");
	while (!mail_poll(w, UINT64_MAX))
		;
	assert_int_not_equal(w->mail.spin_ns, 0);
	(void)turn(r, 0);
	/* The registrar, and the time that others have waited, end it. */
	assert_true(message_queue_put(&w->inbox, &joined));
	assert_true(mail_poll(w, UINT64_MAX));
	assert_true(message_queue_take(&w->inbox, &m));
	say_link(&a, "ping");
	assert_false(mail_poll(w, worker_now_ns()));
	rig_free(r);
}

static void a_doorbell_that_blocks_holds_up_nobody_and_rings_in_the_end(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const uint64_t most = UINT64_MAX - 1;
	struct speaker a, b;
	int bell;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	bell = bells_fd(&r->bells, 4, SERVER);
	assert_int_equal(write(bell, &most, sizeof(most)), sizeof(most));
	assert_int_equal(fcntl(bell, F_SETFL, O_RDWR), 0);
	for (uint32_t n = 1; n <= 20; n++) {
		sleeps(&a, n);
		sleeps(&b, n);
		say_link(&a, "ping");
		say_link(&b, "ping");
		(void)turn(r, 0);
		(void)turn(r, 0);
		assert_true(hears(&a, "pong"));
		assert_true(hears(&b, "pong"));
	}
	while (rung(r, 6))
		;
	assert_int_equal(rung(r, 4), most);
	/* The write that waited, then the one that it kept waiting. */
	for (uint64_t rings = 0; rings < 2;) {
		assert_int_equal(ring_turn(&r->workers[0].ring, 0), 0);
		rings += rung(r, 4);
	}
	rig_free(r);
}

static void a_tick_rings_again_whoever_left_his_answer_unread(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct mail *m = &r->workers[0].mail;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	sleeps(&a, 1);
	say_link(&a, "ping");
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 1);
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 0);
	m->ticked = true;
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 1);
	assert_true(hears(&a, "pong"));
	(void)famez_rx_publish(&a.rx);
	m->ticked = true;
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 0);
	assert_int_equal(famez_entry_at(r->mailbox.base, &r->mailbox.g, SERVER)->heartbeat, 2);
	rig_free(r);
}

static void a_lane_that_makes_no_sense_keeps_nobody_else_waiting(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker bad, good;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&bad, r, 4, 1);
	start(&good, r, 6, 1);
	say_link(&bad, "ping");
	(void)turn(r, 0);
	for (unsigned n = 0; n < 100; n++) {
		famez_store_relaxed(famez_head_at(bad.tx.data, bad.tx.bytes, bad.tx.at),
			UINT64_C(0x77777777) + n);
		say_link(&good, "ping");
		(void)turn(r, 0);
		assert_true(hears(&good, "pong"));
	}
	assert_true(r->workers[0].mail.counts.garbled >= 100);
	while (turn(r, 0))
		;
	say_link(&bad, "ping");
	(void)turn(r, 0);
	assert_true(hears(&bad, "pong"));
	assert_true(hears(&bad, "pong"));
	rig_free(r);
}

static void memory_that_is_lost_is_not_served(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	say_link(&a, "ping");
	atomic_store(&r->mailbox.lost, true);
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	assert_true(hears_nothing(&a));
	leaves(r, 4);
	rig_free(r);
}

/* ---- groups ------------------------------------------------------------------------------ */

static void a_record_stays_until_every_worker_has_passed_it_on(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, here, there;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	joins(r, 7);
	start(&sender, r, 4, 1);
	start(&here, r, 6, 1);
	start(&there, r, 7, 1);
	enter(&sender, 9);
	enter(&here, 9);
	enter(&there, 9);
	(void)turn(r, 0);
	(void)turn(r, 1);
	say_group(&sender, 9, "one");
	say_group(&sender, 9, "two");
	while (turn(r, 0))
		;
	assert_true(hears(&here, "one"));
	assert_true(hears_nothing(&here));
	assert_true(mail_sleep(&r->workers[0]));
	assert_true(unread(&sender));
	mail_awake(&r->workers[0]);
	assert_false(mail_sleep(&r->workers[1]));
	mail_awake(&r->workers[1]);
	(void)turn(r, 1);
	assert_true(hears(&there, "one"));
	assert_false(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	for (unsigned n = 0; n < 3; n++) {
		while (turn(r, 0))
			;
		while (turn(r, 1))
			;
	}
	assert_true(hears(&here, "two"));
	assert_true(hears(&there, "two"));
	assert_true(hears_nothing(&sender));
	assert_true(mail_sleep(&r->workers[0]));
	assert_false(unread(&sender));
	rig_free(r);
}

static void no_more_is_under_way_than_there_is_room_for(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker senders[LINKS_RELAYS_MAX + 10], member;
	unsigned heard = 0;

	(void)state;
	joins(r, 1);
	start(&member, r, 1, 1);
	enter(&member, 4095);
	(void)turn(r, 1);
	for (uint32_t n = 0; n < UNIT_COUNT(senders); n++) {
		joins(r, 2 * n + 2);
		start(&senders[n], r, 2 * n + 2, 1);
		say_group(&senders[n], 4095, "hello");
	}
	while (turn(r, 0))
		;
	assert_int_equal(r->workers[0].mail.groups.relays, LINKS_RELAYS_MAX);
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	for (unsigned n = 0; n < 6; n++) {
		while (turn(r, 1))
			;
		while (turn(r, 0))
			;
	}
	while (hears(&member, "hello"))
		heard++;
	assert_int_equal(heard, UNIT_COUNT(senders));
	assert_int_equal(r->workers[0].mail.groups.relays, 0);
	assert_int_equal(r->workers[0].mail.counts.received, UNIT_COUNT(senders));
	rig_free(r);
}

static void members_who_leave_while_it_is_passed_on_are_left_out(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, leaver, stayer;

	(void)state;
	joins(r, 4);
	joins(r, 5);
	joins(r, 7);
	start(&sender, r, 4, 1);
	start(&leaver, r, 5, 1);
	start(&stayer, r, 7, 1);
	enter(&leaver, 3);
	enter(&stayer, 3);
	(void)turn(r, 1);
	say_group(&sender, 3, "hello");
	(void)turn(r, 0);
	leaves(r, 5);
	leaves(r, 4);
	(void)turn(r, 1);
	assert_true(hears_nothing(&leaver));
	assert_true(hears(&stayer, "hello"));
	while (turn(r, 0))
		;
	assert_int_equal(r->workers[0].mail.groups.relays, 0);
	rig_free(r);
}

static void who_leaves_is_in_no_group_any_more_whichever_these_were(void **state)
{
	static const unsigned groups[] = {1, 2, 63, 64, 65, 2048, FAMEZ_GROUPS_MAX - 1};
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a, b;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	for (size_t i = 0; i < UNIT_COUNT(groups); i++) {
		enter(&a, groups[i]);
		enter(&b, groups[i]);
	}
	(void)turn(r, 0);
	assert_int_equal(groups_count(&r->workers[0].mail), UNIT_COUNT(groups));
	leaves(r, 4);
	assert_int_equal(r->workers[0].mail.counts.memberships, UNIT_COUNT(groups));
	leaves(r, 6);
	assert_int_equal(r->workers[0].mail.counts.memberships, 0);
	assert_int_equal(groups_count(&r->workers[0].mail), 0);
	rig_free(r);
}

static void how_long_it_took_to_forget_who_left_is_said(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	struct speaker many, few, none;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	joins(r, 8);
	start(&many, r, 4, 1);
	start(&few, r, 6, 1);
	start(&none, r, 8, 1);
	for (unsigned group = 63; group < FAMEZ_GROUPS_MAX; group += 64)
		enter(&many, group);
	enter(&few, 1);
	enter(&few, 63);
	enter(&few, 64);
	enter(&none, 5);
	say(&none, FAMEZ_KIND(FAMEZ_TYPE_GROUP_EXIT, 5), "", 0);
	(void)turn(r, 0);
	/* Of those of whom it is long, few are taken in a turn. */
	assert_int_equal(mail_left(w, 4, 2000, 0), FAMEZ_GROUPS_MAX / 64);
	assert_int_equal(mail_left(w, 6, 2002, 0), 2);
	assert_int_equal(mail_left(w, 8, 2004, 0), 0);
	assert_int_equal(mail_left(w, 5, 2006, 0), 0); /* another worker's */
	rig_free(r);
}

static void large_messages_to_many_are_spread_over_turns(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, members[70];
	uint32_t bytes = famez_payload_max(&r->mailbox.g);
	char *payload = calloc(1, bytes);
	unsigned turns = 0;

	(void)state;
	assert_non_null(payload);
	joins(r, 4);
	start(&sender, r, 4, 1);
	for (uint32_t n = 0; n < UNIT_COUNT(members); n++) {
		joins(r, 2 * n + 6);
		start(&members[n], r, 2 * n + 6, 1);
		enter(&members[n], 3);
	}
	while (turn(r, 0))
		;
	/* A worker that copied everything in one turn would keep others waiting. */
	assert_true(UNIT_COUNT(members) * bytes > UINT64_C(2) * MAIL_TURN_BYTES);
	say(&sender, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 3), payload, bytes);
	while (unread(&sender)) {
		uint64_t copies = r->workers[0].mail.counts.group_copies;

		if (!turn(r, 0))
			assert_true(mail_sleep(&r->workers[0]));
		copies = r->workers[0].mail.counts.group_copies - copies;
		assert_true(copies * bytes < MAIL_TURN_BYTES + 2 * bytes);
		turns++;
	}
	assert_int_equal(r->workers[0].mail.counts.group_copies, UNIT_COUNT(members));
	assert_true(turns >= 2);
	free(payload);
	rig_free(r);
}

/* Lanes for messages of 2 MiB, which takes more than one turn to copy once; and a group of
 * @members, of worker 0, that somebody has said one to. */
struct crowd {
	struct rig *r;
	struct speaker sender, members[3];
	char *payload;
	uint32_t bytes;
};

static void crowd_new(struct crowd *c, unsigned members)
{
	c->r = rig_of(&genz_fee, LAYOUT_LANES, UINT64_C(1) << 37);
	c->bytes = famez_payload_max(&c->r->mailbox.g);
	assert_true(c->bytes > UINT64_C(3) * MAIL_TURN_BYTES);
	c->payload = malloc(c->bytes);
	assert_non_null(c->payload);
	for (uint32_t i = 0; i < c->bytes; i++)
		c->payload[i] = (char)(i * 31 + i / 4096);
	joins(c->r, 4);
	start(&c->sender, c->r, 4, 1);
	for (uint32_t n = 0; n < members; n++) {
		joins(c->r, 2 * n + 6);
		start(&c->members[n], c->r, 2 * n + 6, 1);
		enter(&c->members[n], 3);
	}
	while (turn(c->r, 0))
		;
	say(&c->sender, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 3), c->payload, c->bytes);
}

static void crowd_free(struct crowd *c)
{
	free(c->payload);
	rig_free(c->r);
}

static bool hears_it(struct crowd *c, struct speaker *member)
{
	struct famez_seen seen;

	if (famez_rx_peek(&member->rx, &seen) != 1)
		return false;
	assert_int_equal(seen.bytes, c->bytes);
	assert_memory_equal(seen.payload, c->payload, c->bytes);
	assert_int_equal(seen.origin, 4);
	(void)famez_rx_release(&member->rx);
	return true;
}

static void one_large_message_is_copied_piece_by_piece_and_others_are_served_between(void **state)
{
	struct crowd c;
	const uint64_t *spent;
	unsigned turns = 0, served = 0;

	(void)state;
	crowd_new(&c, 3);
	spent = &c.r->workers[0].mail.spent;
	while (unread(&c.sender)) {
		joins(c.r, 20 + 2 * turns);
		start(&c.members[0], c.r, 20 + 2 * turns, 1);
		say_link(&c.members[0], "ping");
		if (!turn(c.r, 0))
			assert_true(mail_sleep(&c.r->workers[0]));
		/* What the registrar and others want is looked at after every turn. */
		assert_true(*spent <= MAIL_TURN_BYTES + MAIL_COPY_COST);
		served += hears(&c.members[0], "pong");
		turns++;
		assert_true(turns < 40);
	}
	assert_true(turns >= UINT64_C(3) * c.bytes / MAIL_TURN_BYTES);
	assert_int_equal(served, turns);
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 3);
	for (uint32_t n = 0; n < 3; n++) {
		famez_rx_open(
			&c.members[n].rx, c.r->mailbox.base, &c.r->mailbox.g, 2 * n + 6, SERVER, 1);
		assert_true(hears_it(&c, &c.members[n]));
		assert_true(hears_nothing(&c.members[n]));
	}
	crowd_free(&c);
}

static void what_a_member_asks_in_the_middle_of_a_message_is_answered_behind_it(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 1);
	assert_true(turn(c.r, 0));
	say_link(&c.members[0], "ping!EZT=1");
	say_link(&c.members[0], "ping!EZT=3");
	assert_true(turn(c.r, 0));
	assert_true(hears_nothing(&c.members[0]));
	while (turn(c.r, 0))
		;
	assert_true(hears_it(&c, &c.members[0]));
	assert_true(hears(&c.members[0], "pong!EZT=2"));
	assert_true(hears(&c.members[0], "pong!EZT=4"));
	assert_true(hears_nothing(&c.members[0]));
	/* Entering, the message, two questions: none of them twice. */
	assert_int_equal(c.r->workers[0].mail.counts.received, 4);
	crowd_free(&c);
}

static void who_starts_anew_in_the_middle_of_a_message_gets_none_of_it(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 1);
	assert_true(turn(c.r, 0));
	start(&c.members[0], c.r, 6, 2);
	say_link(&c.members[0], "ping");
	while (turn(c.r, 0))
		;
	assert_true(hears(&c.members[0], "pong"));
	assert_true(hears_nothing(&c.members[0]));
	assert_false(unread(&c.sender));
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 0);
	crowd_free(&c);
}

static void an_id_s_next_owner_gets_nothing_of_a_message_that_the_last_one_got_half_of(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 2);
	assert_true(turn(c.r, 0));
	/* He asked, which waits; and then he is gone. */
	say_link(&c.members[0], "ping");
	assert_true(turn(c.r, 0));
	leaves(c.r, 6);
	joins(c.r, 6);
	start(&c.members[0], c.r, 6, 2);
	say_link(&c.members[0], "ping!EZT=1");
	assert_true(turn(c.r, 0));
	assert_true(hears(&c.members[0], "pong!EZT=2"));
	while (turn(c.r, 0))
		;
	assert_true(hears_nothing(&c.members[0]));
	assert_true(hears_it(&c, &c.members[1]));
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 1);
	assert_false(unread(&c.sender));
	crowd_free(&c);
}

static void a_sender_that_leaves_in_the_middle_of_its_message_is_still_heard(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 2);
	assert_true(turn(c.r, 0));
	leaves(c.r, 4);
	joins(c.r, 4);
	start(&c.sender, c.r, 4, 2);
	say_link(&c.sender, "ping");
	while (turn(c.r, 0))
		;
	assert_true(hears_it(&c, &c.members[0]));
	assert_true(hears_it(&c, &c.members[1]));
	assert_true(hears(&c.sender, "pong"));
	crowd_free(&c);
}

static void one_who_starts_anew_with_each_message_takes_no_long_turn(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct mail *m = &r->workers[0].mail;
	struct speaker c, member;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&c, r, 4, 1);
	start(&member, r, 6, 1);
	enter(&member, 3);
	(void)turn(r, 0);
	for (unsigned n = 0; n < 64; n++) {
		c.tx.from = n + 1;
		enter(&c, FAMEZ_GROUPS_MAX - 1);
	}
	say_group(&c, 3, "hello");
	/* Each time all groups are looked through. */
	assert_true(turn(r, 0));
	assert_true(unread(&c));
	assert_in_range(m->counts.received, 2, 32);
	while (turn(r, 0))
		;
	assert_int_equal(m->counts.received, 66);
	assert_true(hears(&member, "hello"));
	rig_free(r);
}

static void what_was_put_into_the_server_s_lane_is_not_taken_for_its_own(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct famez_tx forged;
	struct speaker c;
	void *room;

	(void)state;
	joins(r, 4);
	start(&c, r, 4, 1);
	famez_tx_open(&forged, r->mailbox.base, &r->mailbox.g, 4, SERVER, SERVER_GEN, 1);
	while (!famez_tx_claim(&forged, 0, &room)) {
		famez_tx_commit(&forged, 0, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), SERVER);
		assert_true(famez_tx_flush(&forged));
	}
	/* Nor walked over, record by record, by whom others wait for. */
	forged.lane->produced = 0;
	say_link(&c, "ping");
	(void)turn(r, 0);
	assert_true(hears(&c, "pong"));
	rig_free(r);
}

/* ---- slots ------------------------------------------------------------------------------- */

static void put_slot(struct rig *r, uint32_t id, const char *text)
{
	struct famez_slot *slot = famez_slot_at(r->mailbox.base, id);

	memcpy(slot->text, text, strlen(text));
	slot->text_bytes = strlen(text);
	mail_rung(&r->workers[id % WORKERS], (uint16_t)id);
}

static bool slot_says(struct rig *r, uint32_t to, const char *text)
{
	struct famez_slot *slot = famez_slot_at(r->mailbox.base, SERVER);

	if (slot->text_bytes != strlen(text) || memcmp(slot->text, text, strlen(text)) != 0 ||
		slot->last_responder != to)
		return false;
	slot->text_bytes = 0;
	return true;
}

static void another_worker_s_answer_goes_by_the_one_slot(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 5);
	put_slot(r, 5, "ping");
	(void)turn(r, 1);
	assert_int_equal(famez_slot_at(r->mailbox.base, 5)->text_bytes, 0);
	assert_false(mail_sleep(&r->workers[0]));
	(void)turn(r, 0);
	assert_int_equal(rung(r, 5), 1);
	assert_true(slot_says(r, 5, "pong"));
	rig_free(r);
}

static void an_answer_to_who_left_is_not_for_the_id_s_next_owner(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 5);
	joins(r, 7);
	put_slot(r, 5, "ping!EZT=1");
	(void)turn(r, 1);
	leaves(r, 5);
	joins(r, 5);
	put_slot(r, 7, "ping!EZT=5");
	(void)turn(r, 1);
	(void)turn(r, 0);
	assert_int_equal(rung(r, 5), 0);
	assert_int_equal(rung(r, 7), 1);
	assert_true(slot_says(r, 7, "pong!EZT=6"));
	rig_free(r);
}

static void a_slot_that_rang_before_its_owner_joined_is_heard_when_he_has(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	put_slot(r, 4, "ping");
	(void)turn(r, 0);
	assert_int_not_equal(famez_slot_at(r->mailbox.base, 4)->text_bytes, 0);
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(slot_says(r, 4, "pong"));
	rig_free(r);
}

static void answers_wait_for_the_slot_in_order(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	for (uint32_t id = 2; id < 12; id += 2) {
		joins(r, id);
		put_slot(r, id, "ping");
	}
	for (uint32_t id = 2; id < 12; id += 2) {
		(void)turn(r, 0);
		assert_true(slot_says(r, id, "pong"));
	}
	assert_int_equal(r->workers[0].mail.counts.slots_sent, 5);
	assert_int_equal(r->workers[0].mail.counts.stuck, 0);
	rig_free(r);
}

static void answers_beyond_what_may_wait_are_dropped_and_counted(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	for (uint32_t id = 2; id < SERVER; id += 2)
		joins(r, id);
	for (unsigned n = 0; n <= SLOTS_EACH; n++)
		for (uint32_t id = 2; id < SERVER; id += 2) {
			put_slot(r, id, "ping");
			(void)turn(r, 0);
		}
	/* One is in the slot. */
	assert_int_equal(r->workers[0].mail.counts.dropped,
		(SERVER - 1) / 2 * (SLOTS_EACH + 1) - SLOTS_WAITING - 1);
	rig_free(r);
}

static void one_who_reads_nothing_and_says_much_leaves_others_their_place(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 4);
	joins(r, 6);
	for (unsigned n = 0; n < SLOTS_WAITING; n++) {
		put_slot(r, 4, "ping");
		(void)turn(r, 0);
	}
	put_slot(r, 6, "ping!EZT=1");
	for (unsigned n = 0; n <= SLOTS_EACH; n++) {
		(void)turn(r, 0);
		assert_true(slot_says(r, 4, "pong"));
	}
	(void)turn(r, 0);
	assert_true(slot_says(r, 6, "pong!EZT=2"));
	/* Once it reads, it is served as before. */
	put_slot(r, 4, "ping!EZT=7");
	(void)turn(r, 0);
	assert_true(slot_says(r, 4, "pong!EZT=8"));
	rig_free(r);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sleeper_is_rung_once_for_the_answers_of_a_turn),
		cmocka_unit_test(a_worker_leaves_others_shares_alone),
		cmocka_unit_test(who_speaks_before_he_joined_is_heard_when_he_has),
		cmocka_unit_test(a_new_owner_who_overtakes_the_log_keeps_what_he_did),
		cmocka_unit_test(of_who_left_only_what_he_said_to_groups_counts),
		cmocka_unit_test(what_the_last_owner_left_unread_counts_for_nobody),
		cmocka_unit_test(what_one_says_who_was_never_told_of_is_not_the_next_one_s),
		cmocka_unit_test(one_who_only_said_something_to_a_group_is_heard_though_gone),
		cmocka_unit_test(a_position_that_makes_no_sense_silences_nobody),
		cmocka_unit_test(what_was_meant_for_a_server_before_is_counted_however_much_it_is),
		cmocka_unit_test(a_message_that_comes_while_it_falls_asleep_keeps_it_awake),
		cmocka_unit_test(polling_is_given_up_while_it_is_in_vain),
		cmocka_unit_test(a_doorbell_that_blocks_holds_up_nobody_and_rings_in_the_end),
		cmocka_unit_test(a_tick_rings_again_whoever_left_his_answer_unread),
		cmocka_unit_test(a_lane_that_makes_no_sense_keeps_nobody_else_waiting),
		cmocka_unit_test(memory_that_is_lost_is_not_served),
		cmocka_unit_test(a_record_stays_until_every_worker_has_passed_it_on),
		cmocka_unit_test(no_more_is_under_way_than_there_is_room_for),
		cmocka_unit_test(members_who_leave_while_it_is_passed_on_are_left_out),
		cmocka_unit_test(who_leaves_is_in_no_group_any_more_whichever_these_were),
		cmocka_unit_test(how_long_it_took_to_forget_who_left_is_said),
		cmocka_unit_test(large_messages_to_many_are_spread_over_turns),
		cmocka_unit_test(
			one_large_message_is_copied_piece_by_piece_and_others_are_served_between),
		cmocka_unit_test(
			what_a_member_asks_in_the_middle_of_a_message_is_answered_behind_it),
		cmocka_unit_test(who_starts_anew_in_the_middle_of_a_message_gets_none_of_it),
		cmocka_unit_test(
			an_id_s_next_owner_gets_nothing_of_a_message_that_the_last_one_got_half_of),
		cmocka_unit_test(a_sender_that_leaves_in_the_middle_of_its_message_is_still_heard),
		cmocka_unit_test(another_worker_s_answer_goes_by_the_one_slot),
		cmocka_unit_test(an_answer_to_who_left_is_not_for_the_id_s_next_owner),
		cmocka_unit_test(a_slot_that_rang_before_its_owner_joined_is_heard_when_he_has),
		cmocka_unit_test(answers_wait_for_the_slot_in_order),
		cmocka_unit_test(answers_beyond_what_may_wait_are_dropped_and_counted),
		cmocka_unit_test(one_who_reads_nothing_and_says_much_leaves_others_their_place),
		cmocka_unit_test(one_who_starts_anew_with_each_message_takes_no_long_turn),
		cmocka_unit_test(what_was_put_into_the_server_s_lane_is_not_taken_for_its_own),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
