/* SPDX-License-Identifier: MIT */
/*
 * test_mail_resume.c - the server's messages survive the broker's death: at every store into the
 * state memory, and at random ones.
 *
 * Two workers are stepped by hand on one thread, as in mail_rig.h, by a driver that does
 * one thing or another as a seed has it: peers ask, speak to a group, fill their lanes, read,
 * sleep, come and go; workers have their turns and sleep. state_point() jumps out of a worker
 * where the plan says that it dies: then whatever was private is thrown away, and a successor
 * goes on with the memory, the state and the doorbells.
 *
 * Nobody who sleeps does anything until he is rung, and no clock runs. So a wake-up that is lost
 * shows, where nothing moves any more, as something that was not said or heard. Every answer
 * counts how many there were before it, and every message to the group is numbered: what is lost,
 * doubled or out of order shows when it is read.
 *
 * Options: -s SEED, -n SEEDS.
 */
#include "unit.h"

#include <getopt.h>
#include <inttypes.h>
#include <sys/eventfd.h>

#include "worker.h"

#define WORKERS    2u
#define IDS        10u
#define SERVER     (IDS - 1u)
#define GROUP      70u
#define GENERATION 77u
#define STEPS      400u
#define BULK_BYTES 1500u /* two of them fill a lane of 4 KiB */
#define UNREAD_MAX 24u   /* of one peer's, so that no lane to it is ever full */

/* ---- a broker that may die ---------------------------------------------------------------- */

struct life {
	struct mailbox mailbox;
	struct state state;
	struct bells bells;
	struct mail_shared mail;
	struct worker_shared shared;
	struct worker workers[WORKERS];
	bool asleep[WORKERS];
};

/* What outlives it. */
struct world {
	struct famez_geometry g;
	void *memory, *state_memory;
	int bells[IDS * IDS];
	uint64_t seq;
	struct life *life;
	unsigned lives;
};

static struct world world;

static const struct state_wish wish = {
	.ids_max = IDS,
	.first_id = 1,
	.peers = IDS - 2,
	.server_id = SERVER,
	.vectors = IDS,
	.workers = WORKERS,
	.shards = WORKERS,
};

/* Where it dies: the points until then; 0: not at all. */
static uint64_t fuse, points_passed;
static jmp_buf death;
static bool mortal;

void state_point_reached(void)
{
	points_passed++;
	if (mortal && fuse && --fuse == 0)
		longjmp(death, 1);
}

/* Answers how many questions it was asked, this one too. */
static void count_said(void *memory, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	uint64_t *count = memory;

	(void)scene;
	(void)snprintf(answer->text, sizeof(answer->text), "%s %" PRIu64, text, ++*count);
}

static const struct personality counting = {
	.name = "counting",
	.server_name = "server",
	.server_class = "Server",
	.said = count_said,
};

static void begin_life(void)
{
	struct life *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	world.life = l;
	world.lives++;
	l->mailbox = (struct mailbox){
		.layout = LAYOUT_LANES,
		.base = world.memory,
		.bytes = world.g.bytes,
		.g = world.g,
		.generation = GENERATION,
	};
	state_memory_open(&l->state, world.state_memory);
	bells_init(&l->bells, world.bells, IDS, IDS);
	assert_int_equal(
		mail_shared_init(&l->mail, &l->mailbox, &counting, &l->state, l->workers), 0);
	l->shared = (struct worker_shared){
		.state = &l->state,
		.bells = &l->bells,
		.mailbox = &l->mailbox,
		.mail = &l->mail,
		.ids_max = IDS,
		.server_id = SERVER,
		.vectors = IDS,
		.workers = WORKERS,
	};
	for (uint16_t n = 0; n < WORKERS; n++) {
		struct worker *w = &l->workers[n];

		w->nth = n;
		w->shared = &l->shared;
		assert_int_equal(message_queue_init(&w->inbox, 16), 0);
		assert_int_equal(wakeup_init(&w->wakeup), 0);
		assert_int_equal(ring_init(&w->ring, 64, 256), 0);
	}
}

/* As a death does it: nothing is finished. */
static void end_life(void)
{
	struct life *l = world.life;

	mortal = false;
	for (unsigned n = 0; n < WORKERS; n++) {
		struct worker *w = &l->workers[n];

		assert_int_equal(w->mail.counts.dropped + w->mail.counts.garbled, 0);
		ring_destroy(&w->ring);
		if (w->mail.peers)
			mail_close(w);
		wakeup_destroy(&w->wakeup);
		message_queue_destroy(&w->inbox);
	}
	mail_shared_destroy(&l->mail);
	free(l);
	world.life = NULL;
}

/* Until one lives to serve. */
static void succeed(void)
{
	for (;;) {
		begin_life();
		if (setjmp(death) == 0) {
			mortal = true;
			for (unsigned n = 0; n < WORKERS; n++)
				assert_int_equal(mail_open(&world.life->workers[n]), 0);
			mortal = false;
			return;
		}
		end_life();
	}
}

/* Runs @act, and sees to a successor where it dies of it. */
static void live(void (*act)(unsigned worker, uint32_t id), unsigned worker, uint32_t id)
{
	if (setjmp(death) == 0) {
		mortal = true;
		act(worker, id);
		mortal = false;
		return;
	}
	end_life();
	succeed();
}

/* ---- workers ------------------------------------------------------------------------------ */

static void turn(unsigned n, uint32_t id)
{
	struct worker *w = &world.life->workers[n];

	(void)id;
	w->mail.ticked = false;
	(void)mail_turn(w);
	state_point();
	assert_int_equal(ring_turn(&w->ring, 0), 0);
}

static void sleep_if_idle(unsigned n, uint32_t id)
{
	struct worker *w = &world.life->workers[n];

	turn(n, id);
	if (mail_sleep(w))
		world.life->asleep[n] = true;
	else
		mail_awake(w);
	state_point();
	assert_int_equal(ring_turn(&w->ring, 0), 0);
}

static bool bell_rings(uint32_t id, uint32_t vector)
{
	return bells_take(world.bells[id * IDS + vector]) > 0;
}

/* It sleeps no longer if it was rung, or another worker has something for it. */
static void wake_if_rung(unsigned n, uint32_t id)
{
	struct worker *w = &world.life->workers[n];
	bool rung = !groups_idle(&w->mail);

	(void)id;
	for (uint32_t vector = n; vector < SERVER; vector += WORKERS)
		if (bell_rings(SERVER, vector)) {
			state_point();
			mail_rung(w, (uint16_t)vector);
			rung = true;
		}
	if (!rung)
		return;
	world.life->asleep[n] = false;
	mail_awake(w);
}

static void step_worker(unsigned n, bool may_sleep)
{
	if (world.life->asleep[n])
		live(wake_if_rung, n, 0);
	if (!world.life->asleep[n])
		live(may_sleep ? sleep_if_idle : turn, n, 0);
}

/* ---- peers -------------------------------------------------------------------------------- */

struct speaker {
	struct famez_tx tx;
	struct famez_rx rx;
	uint32_t id, generation, sleep;
	unsigned unread; /* at most, of what was or will be said to it */
	bool here, member, asleep;
	bool waits;           /* for room */
	uint64_t said, heard; /* questions and answers */
	uint64_t owed_bulk;   /* messages of BULK_BYTES that had no room */
	uint64_t group_said;
	uint64_t group_heard[IDS]; /* of each sender's, the last */
};

static struct speaker speakers[IDS];

static bool put(struct speaker *c, uint16_t kind, const void *payload, size_t bytes)
{
	void *room = NULL;

	if (famez_tx_claim(&c->tx, bytes, &room))
		return false;
	memcpy(room, payload, bytes);
	famez_tx_commit(&c->tx, bytes, kind, (uint16_t)c->id);
	return true;
}

static void flush(struct speaker *c)
{
	if (famez_tx_flush(&c->tx) &&
		famez_nudge(world.memory, &world.g, SERVER, c->id, &c->tx.rung))
		assert_int_equal(eventfd_write(world.bells[SERVER * IDS + c->id], 1), 0);
}

/* What did not fit is said later, when it was rung for room: nothing else until then. */
static void say_bulk(struct speaker *c)
{
	static const char bulk[BULK_BYTES];

	while (c->owed_bulk) {
		if (put(c, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), bulk, sizeof(bulk))) {
			c->owed_bulk--;
			flush(c);
		} else if (!famez_tx_wait(&c->tx, sizeof(bulk))) {
			c->waits = true;
			return;
		}
	}
	c->waits = false;
}

static void ask(struct speaker *c)
{
	char text[32];

	if (c->owed_bulk || c->unread >= UNREAD_MAX)
		return;
	(void)snprintf(text, sizeof(text), "%" PRIu64, c->said + 1);
	if (!put(c, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), text, strlen(text)))
		return;
	c->said++;
	c->unread++;
}

static bool group_has_room(const struct speaker *c)
{
	for (uint32_t id = 1; id < SERVER; id++)
		if (&speakers[id] != c && speakers[id].member && speakers[id].unread >= UNREAD_MAX)
			return false;
	return true;
}

static void say_to_group(struct speaker *c)
{
	const uint64_t nth = c->group_said + 1;

	if (c->owed_bulk || !group_has_room(c) ||
		!put(c, FAMEZ_KIND(FAMEZ_TYPE_GROUP, GROUP), &nth, sizeof(nth)))
		return;
	c->group_said = nth;
	for (uint32_t id = 1; id < SERVER; id++)
		if (&speakers[id] != c && speakers[id].member)
			speakers[id].unread++;
}

static void hear_one(struct speaker *c, const struct famez_seen *seen)
{
	char text[64], expected[64];
	uint64_t nth;

	if (FAMEZ_KIND_TYPE(seen->kind) == FAMEZ_TYPE_GROUP) {
		assert_int_equal(seen->bytes, sizeof(nth));
		memcpy(&nth, seen->payload, sizeof(nth));
		assert_true(seen->origin < SERVER);
		assert_int_equal(nth, c->group_heard[seen->origin] + 1);
		c->group_heard[seen->origin] = nth;
		return;
	}
	c->heard++;
	assert_true(seen->bytes < sizeof(text));
	memcpy(text, seen->payload, seen->bytes);
	text[seen->bytes] = '\0';
	(void)snprintf(expected, sizeof(expected), "%" PRIu64 " %" PRIu64, c->heard, c->heard);
	assert_string_equal(text, expected);
}

static void hear_all(struct speaker *c)
{
	struct famez_seen seen;
	int got;

	while ((got = famez_rx_peek(&c->rx, &seen)) == 1) {
		hear_one(c, &seen);
		c->unread--;
		if (famez_rx_release(&c->rx))
			fail_msg("nobody waits for room in its lane");
	}
	assert_int_equal(got, 0);
}

static uint32_t *asleep_word(const struct speaker *c)
{
	return famez_asleep_at(world.memory, &world.g, c->id, SERVER);
}

/* R1, R3. */
static void sleep_if_all_heard(struct speaker *c)
{
	hear_all(c);
	famez_store_ordered(asleep_word(c), ++c->sleep);
	if (famez_rx_idle(&c->rx) & FAMEZ_IDLE_MORE)
		famez_store_relaxed(asleep_word(c), 0u);
	else
		c->asleep = true;
}

/* It sleeps, or waits for room, until it is rung. */
static void wake_peer_if_rung(struct speaker *c)
{
	if (!bell_rings(c->id, SERVER))
		return;
	c->asleep = false;
	famez_store_relaxed(asleep_word(c), 0u);
	hear_all(c);
	say_bulk(c);
}

/* ---- who comes and goes: the registrar's part ---------------------------------------------- */

static void tell_joined(unsigned n, uint32_t id)
{
	(void)n;
	for (unsigned w = 0; w < WORKERS; w++)
		mail_joined(&world.life->workers[w], id, world.seq << 1 | 1,
			world.life->state.members[id].said);
}

static void tell_left(unsigned n, uint32_t id)
{
	(void)n;
	for (unsigned w = 0; w < WORKERS; w++)
		(void)mail_left(&world.life->workers[w], id, world.seq << 1,
			world.life->state.members[id].said);
}

/* Each worker that slept is rung for it. */
static void tell_all(void (*tell)(unsigned, uint32_t), uint32_t id)
{
	for (unsigned n = 0; n < WORKERS; n++) {
		world.life->asleep[n] = false;
		mail_awake(&world.life->workers[n]);
	}
	live(tell, 0, id);
}

static void come(struct speaker *c)
{
	struct state *state = &world.life->state;
	uint64_t group_said = c->group_said;
	uint32_t id = c->id, generation = c->generation + 1, sleep = c->sleep;
	uint64_t heard[IDS];

	memcpy(heard, c->group_heard, sizeof(heard));
	*c = (struct speaker){.id = id, .generation = generation, .here = true};
	/* What he says to the group is numbered over all owners of the ID. */
	c->group_said = group_said;
	c->sleep = sleep;
	memcpy(c->group_heard, heard, sizeof(heard));
	state->members[id].said = mailbox_said(&world.life->mailbox, id);
	atomic_store(&state->members[id].change, ++world.seq << 1 | 1);
	tell_all(tell_joined, id);
	famez_store_relaxed(asleep_word(c), 0u);
	famez_tx_open(&c->tx, world.memory, &world.g, SERVER, id, generation, GENERATION);
	famez_rx_open(&c->rx, world.memory, &world.g, id, SERVER, generation);
}

static void go(struct speaker *c)
{
	struct state *state = &world.life->state;

	flush(c);
	c->here = c->member = c->asleep = c->waits = false;
	c->owed_bulk = 0;
	state->members[c->id].said = mailbox_said(&world.life->mailbox, c->id);
	atomic_store(&state->members[c->id].change, ++world.seq << 1);
	tell_all(tell_left, c->id);
}

/* ---- the driver --------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 11) % below);
}

static bool all_is_quiet(void)
{
	for (unsigned n = 0; n < WORKERS; n++)
		if (!world.life->asleep[n] || !groups_idle(&world.life->workers[n].mail))
			return false;
	for (uint32_t i = 0; i < IDS * IDS; i++) {
		eventfd_t count;

		if (world.bells[i] >= 0 && eventfd_read(world.bells[i], &count) == 0) {
			assert_int_equal(eventfd_write(world.bells[i], count), 0);
			return false;
		}
	}
	return true;
}

/* Until nothing moves any more; then all was said and heard. */
static void settle_all(void)
{
	unsigned rounds = 0;

	for (uint32_t id = 1; id < SERVER; id++) {
		struct speaker *c = &speakers[id];

		if (!c->here)
			continue;
		flush(c);
		if (!c->asleep && !c->waits)
			sleep_if_all_heard(c);
	}
	do {
		for (unsigned n = 0; n < WORKERS; n++)
			step_worker(n, true);
		for (uint32_t id = 1; id < SERVER; id++) {
			struct speaker *c = &speakers[id];

			if (!c->here)
				continue;
			wake_peer_if_rung(c);
			if (!c->asleep && !c->waits)
				sleep_if_all_heard(c);
		}
		assert_true(rounds++ < 10000);
	} while (!all_is_quiet());
	for (uint32_t id = 1; id < SERVER; id++) {
		struct speaker *c = &speakers[id];

		if (!c->here)
			continue;
		assert_false(c->waits);
		assert_int_equal(c->heard, c->said);
		for (uint32_t other = 1; c->member && other < SERVER; other++)
			if (other != id)
				assert_int_equal(c->group_heard[other], speakers[other].group_said);
		c->unread = 0;
	}
}

/* Only where all is settled, or who is to get what would be anybody's guess. */
static void change_membership(struct speaker *c)
{
	settle_all();
	assert_true(put(c,
		FAMEZ_KIND(c->member ? FAMEZ_TYPE_GROUP_EXIT : FAMEZ_TYPE_GROUP_ENTER, GROUP), "",
		0));
	ask(c);
	flush(c);
	c->member = !c->member;
	for (uint32_t other = 1; other < SERVER; other++)
		c->group_heard[other] = speakers[other].group_said;
	settle_all();
}

static void come_or_go(struct speaker *c)
{
	if (!c->here) {
		come(c);
		return;
	}
	/* What it says last is for the group, and is passed on though it has gone. */
	settle_all();
	for (unsigned n = draw(3); n; n--)
		say_to_group(c);
	go(c);
	settle_all();
}

static void step(void)
{
	struct speaker *c = &speakers[1 + draw(SERVER - 1)];
	uint32_t what = draw(100);

	if (what < 35) {
		step_worker(draw(WORKERS), draw(3) == 0);
		return;
	}
	if (!c->here) {
		if (what < 45)
			come_or_go(c);
		return;
	}
	if (what < 60) {
		for (unsigned n = 1 + draw(6); n; n--) {
			if (draw(3))
				ask(c);
			else
				say_to_group(c);
		}
		flush(c);
	} else if (what < 70) {
		flush(c);
		if (!c->owed_bulk) {
			c->owed_bulk = 1 + draw(6);
			say_bulk(c);
		}
	} else if (what < 80) {
		if (!c->asleep)
			hear_all(c);
	} else if (what < 88) {
		if (!c->asleep && !c->waits)
			sleep_if_all_heard(c);
	} else if (what < 96) {
		wake_peer_if_rung(c);
	} else if (what < 98) {
		change_membership(c);
	} else {
		come_or_go(c);
	}
}

static void make_world(void)
{
	uint64_t bytes = 1;

	while (bytes < famez_geometry_needs(IDS, FAMEZ_LANE_BYTES_MIN))
		bytes *= 2;
	world = (struct world){0};
	world.memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(world.memory, MAP_FAILED);
	assert_int_equal(famez_geometry_of(&world.g, bytes, IDS), 0);
	world.g.server_id = SERVER;
	world.g.vectors = IDS;
	world.g.server_shards = WORKERS;
	world.g.features = FAMEZ_FEATURE_VECTOR_IS_SENDER;
	world.state_memory = aligned_alloc(4096, state_bytes(&wish));
	assert_non_null(world.state_memory);
	memset(world.state_memory, 0, state_bytes(&wish));
	state_memory_init(&(struct state){0}, world.state_memory, &wish);
	world.seq = 1;
	for (uint32_t i = 0; i < IDS * IDS; i++)
		world.bells[i] = -1;
	memset(speakers, 0, sizeof(speakers));
	for (uint32_t id = 1; id < SERVER; id++) {
		speakers[id].id = id;
		world.bells[SERVER * IDS + id] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		world.bells[id * IDS + SERVER] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(world.bells[SERVER * IDS + id] >= 0);
		assert_true(world.bells[id * IDS + SERVER] >= 0);
	}
	succeed();
}

static void unmake_world(void)
{
	end_life();
	for (uint32_t i = 0; i < IDS * IDS; i++)
		if (world.bells[i] >= 0)
			(void)close(world.bells[i]);
	free(world.state_memory);
	(void)munmap(world.memory, world.g.bytes);
}

static void begin_run(uint64_t seed)
{
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	make_world();
	for (uint32_t id = 1; id < SERVER; id += 2) {
		come(&speakers[id]);
		if (id % 4 == 1)
			change_membership(&speakers[id]);
	}
	for (uint32_t id = 2; id < SERVER; id += 4) {
		come(&speakers[id]);
		change_membership(&speakers[id]);
	}
}

/* ---- tests -------------------------------------------------------------------------------- */

static uint64_t first_seed = 1010, seeds = 60;

/* With @fuse_at points until it dies, or none. Returns how many it passed. */
static uint64_t run(uint64_t seed, uint64_t fuse_at, unsigned steps)
{
	(void)fprintf(stderr, "seed %" PRIu64 ", dies at point %" PRIu64 "\n", seed, fuse_at);
	fuse = fuse_at;
	points_passed = 0;
	begin_run(seed);
	for (unsigned n = 0; n < steps; n++)
		step();
	settle_all();
	assert_int_equal(world.lives, fuse_at && !fuse ? 2 : 1);
	unmake_world();
	return points_passed;
}

static void a_death_at_any_point_loses_doubles_and_reorders_nothing(void **state)
{
	uint64_t points = run(first_seed, 0, STEPS / 4);

	(void)state;
	assert_true(points > 1000);
	for (uint64_t at = 1; at <= points; at++)
		(void)run(first_seed, at, STEPS / 4);
}

static void many_deaths_lose_double_and_reorder_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		(void)fprintf(stderr, "seed %" PRIu64 "\n", seed);
		fuse = 0;
		begin_run(seed);
		for (unsigned n = 0; n < STEPS * 4; n++) {
			/* Often enough before the successor has got anywhere. */
			if (!fuse)
				fuse = 1 + draw(draw(4) ? 400 : 40);
			step();
		}
		fuse = 0;
		settle_all();
		assert_true(world.lives > 20);
		unmake_world();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_death_at_any_point_loses_doubles_and_reorders_nothing),
		cmocka_unit_test(many_deaths_lose_double_and_reorder_nothing),
	};
	int option;

	while ((option = getopt(argc, argv, "s:n:")) != -1) {
		if (option == 's')
			first_seed = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			seeds = strtoull(optarg, NULL, 10);
	}
	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
