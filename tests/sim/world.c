/* SPDX-License-Identifier: MIT */
/*
 * world.c - one seed: who goes next, who dies when, and when all is quiet, the judgement.
 */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct world world;
struct sim_sums sums;

/* Steps after which a world that is left alone must have come to rest. */
#define CALM_STEPS_MAX 400000u

uint32_t draw(uint32_t n)
{
	/* SplitMix64 (Steele, Lea, Flood 2014): any seed is a good one. */
	uint64_t z = world.dice += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

bool world_fault(void)
{
	return !world.calm && world.in_use && world.faults_every && draw(world.faults_every) == 0;
}

/* ---- threads ------------------------------------------------------------------------------- */

static bool may_go(struct fiber *f)
{
	if (!f->used || f->done)
		return false;
	if (world.dying)
		return f->in_kernel;
	return !f->waits || f->wakes(f->wakes_argument);
}

/* Somebody who can go on, goes on. False: nobody can. */
static bool run_one(void)
{
	unsigned from = draw(SIM_FIBERS_MAX);

	for (unsigned n = 0; n < SIM_FIBERS_MAX; n++) {
		struct fiber *f = &fibers[(from + n) % SIM_FIBERS_MAX];

		if (!may_go(f))
			continue;
		fiber_resume(f);
		return true;
	}
	return false;
}

/* ---- deaths ---------------------------------------------------------------------------------- */

static void bury(void)
{
	world.dying = false;
	world.alive = false;
	life_end();
}

static void strike(void)
{
	sums.deaths++;
	sums.deaths_starting += !world.serves;
	sim_trace("the broker is killed");
	world.dying = true;
	for (unsigned n = 0; n < SIM_FIBERS_MAX; n++)
		if (fibers[n].used && fibers[n].in_kernel)
			sums.deaths_in_sends++;
}

/* ---- steps -------------------------------------------------------------------------------------
 */

static struct actor *some_client(void)
{
	unsigned from = draw(SIM_CLIENTS_MAX);

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[(from + n) % SIM_CLIENTS_MAX].used)
			return &actors[(from + n) % SIM_CLIENTS_MAX];
	return NULL;
}

static unsigned some_uid(void)
{
	return world.zoned || world.bound || world.quota || world.rate ? SIM_UID + draw(SIM_UIDS)
								       : SIM_UID;
}

static void somebody_comes(void)
{
	bool device = draw(2);
	bool cramped = device && draw(6) == 0;
	uint32_t gate = SIM_IDS_MAX;
	unsigned here = 0;

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		here += actors[n].used;
	if (here >= world.peers_max && draw(30))
		return;
	/* 64 are kept in reserve (client.h), and 20 its own. */
	if (world.gated && draw(3) == 0)
		gate = draw(2) ? world.bound_id : life_other();
	if (!kernel_gate(gate))
		gate = SIM_IDS_MAX;
	(void)actor_come(
		device, cramped ? 84 + draw(5 * SIM_PEERS_MAX) : SIM_AMPLE_LIMIT, some_uid(), gate);
}

static void pass_time(void)
{
	uint64_t next = ring_next_timer();

	world.now_ns += draw(2000);
	if (next > world.now_ns && draw(20) == 0)
		world.now_ns = next;
}

static void step_of_the_broker(void)
{
	if (world.alive) {
		if (run_one())
			return;
		if (world.dying) {
			bury();
			return;
		}
		if (!ring_look() && ring_next_timer() > world.now_ns)
			world.now_ns = ring_next_timer();
	} else if (draw(4) == 0) {
		life_begin();
		world.alive = true;
	}
}

/* One that starts passes many points at which nobody notices anything, so it is spared more. */
static bool death_is_due(void)
{
	unsigned every = world.serves ? world.deaths_every : 6 * world.deaths_every;

	return world.alive && !world.dying && every && draw(every) == 0;
}

static void step(unsigned eagerness)
{
	uint32_t what = draw(100);
	struct actor *c;

	world.steps++;
	pass_time();
	(void)ring_look();
	if (death_is_due())
		strike();
	if (what < eagerness) {
		somebody_comes();
	} else if (what < 20) {
		c = some_client();
		if (c)
			actor_step(c);
	} else if (what == 20) {
		life_ask(draw(2) ? SIGHUP : SIGUSR1);
	} else if (what == 21) {
		ring_reap();
	} else if (world.mail && what >= 50) {
		voice_step();
	} else {
		step_of_the_broker();
	}
}

/* ---- the quiet time
 * ------------------------------------------------------------------------------ */

static bool clients_go_on(void)
{
	bool any = false;

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		struct actor *c = &actors[n];

		c->stalled = false;
		while (c->used && actor_read(c) && !world.failed)
			any = true;
	}
	return any;
}

/* Who wants an ID that is kept for it and is taken waits for that, for a while: even one that has
 * left meanwhile. */
#define QUIET_TIMERS       20u
#define QUIET_TIMERS_BOUND 1200u

/* Lets all come to rest. @timers: whatever is due is waited for, too. */
static void settle_with(bool timers_too)
{
	unsigned steps = 0, timers = 0, rounds = world.mail ? 1 + draw(8) : 0;
	bool any;

	world.calm = true;
	if (!world.alive) {
		life_begin();
		world.alive = true;
	}
	while (!world.failed) {
		if (++steps > CALM_STEPS_MAX) {
			sim_wrong("all is quiet, and the broker never comes to rest");
			return;
		}
		world.steps++;
		world.now_ns += 1000;
		if (world.dying && !run_one()) {
			bury();
			life_begin();
			world.alive = true;
			continue;
		}
		ring_reap();
		any = run_one();
		any = ring_look() || any;
		any = voices_go_on() || any;
		if (any || world.dying)
			continue;
		/* Before any timer: whatever is to be heard, nobody waits for a tick to hear of. */
		voices_judge();
		if (rounds && rounds-- && voices_speak())
			continue;
		if (clients_go_on()) {
			timers = 0;
			continue;
		}
		/* Retries and the moment after a leave: a few of them, then nothing is due. */
		if (!timers_too || !ring_next_timer() ||
			++timers > (world.bound ? QUIET_TIMERS_BOUND : QUIET_TIMERS))
			return;
		world.now_ns = ring_next_timer();
	}
}

static void settle(void)
{
	settle_with(true);
}

/* Amid everything a moment without deaths, faults and sluggards: what was said is heard. */
static void hold_still(void)
{
	sim_trace("all hold still");
	settle_with(false);
	world.calm = false;
}

/* One more of this user comes. True: it was let in. */
static bool comes(unsigned uid, uint32_t gate)
{
	uint64_t refused = sums.refused;

	(void)actor_come(draw(2), SIM_AMPLE_LIMIT, uid, gate);
	settle();
	return sums.refused == refused;
}

/* The ID that is kept is there for its user, a free one for who has peers left to have, and no
 * more than that. */
static void fill_up_by_rules(void)
{
	const unsigned uid = SIM_UID + 2; /* no ID is ever kept for it */
	unsigned here = 0, kept = 0;

	if (world.bound && !actor_has(world.bound_id) &&
		(!world.quota || actors_of(SIM_BOUND_UID) < world.quota) &&
		!comes(SIM_BOUND_UID, world.gated ? world.bound_id : SIM_IDS_MAX))
		sim_wrong("ID %u is free, and user %u is refused", world.bound_id, SIM_BOUND_UID);
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		here += actors[n].used;
	if (world.bound)
		kept = !actor_has(world.bound_id) + 1;
	for (; !world.failed && here + kept < world.peers_max; here++) {
		bool may = !world.quota || actors_of(uid) < world.quota;

		if (comes(uid, SIM_IDS_MAX) == may)
			continue;
		sim_wrong(may ? "user %u has %u peers of %u, and is refused"
			      : "user %u has %u peers of %u, and one more is let in",
			uid, actors_of(uid), world.quota);
		return;
	}
	if (!world.failed)
		actors_judge();
}

/* Every ID must be there to be had, and one more must not. */
static void fill_up(void)
{
	unsigned here = 0, more;
	uint64_t refused;

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		here += actors[n].used;
	more = world.peers_max - here;
	refused = sums.refused;
	while (more--)
		(void)actor_come(draw(2), SIM_AMPLE_LIMIT, SIM_UID, SIM_IDS_MAX);
	settle();
	/* An ID that strangers could ring stays free. */
	if (!world.failed && sums.refused != refused && !world.zoned)
		sim_wrong("there is room for %u, and one was refused", world.peers_max);
	if (!world.failed)
		actors_judge();
	(void)actor_come(true, SIM_AMPLE_LIMIT, SIM_UID, SIM_IDS_MAX);
	settle();
	if (!world.failed && sums.refused != refused + 1 && !world.zoned)
		sim_wrong("one more than %u was not refused", world.peers_max);
}

/* Who joins too often is let in again later. */
static void come_later(void)
{
	unsigned here = 0;

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		here += actors[n].used;
	world.now_ns += 2000000000u;
	if (world.zoned || world.bound || world.quota || here >= world.peers_max)
		return;
	if (!comes(SIM_UID + draw(SIM_UIDS), SIM_IDS_MAX) && !world.failed)
		sim_wrong("somebody may join %u times a second, and not after two seconds",
			world.rate);
}

static void come_to_rest(void)
{
	sim_trace("all are left alone");
	settle();
	if (!world.failed)
		actors_judge();
	if (!world.failed && world.rate) {
		come_later();
	} else if (!world.failed && (world.bound || world.quota)) {
		if (!world.zoned) /* an ID that strangers could ring stays free */
			fill_up_by_rules();
	} else if (!world.failed) {
		fill_up();
	}
	if (!world.failed)
		life_check();
}

/* It is asked to end, in the middle of everything: whoever is in its opening must be refused. */
static void stop(void)
{
	unsigned steps = 0;

	world.deaths_every = world.faults_every = 0;
	while (!world.failed && (!world.serves || world.dying))
		step(1);
	world.stopping = true;
	life_stop();
	while (!world.failed && world.alive && !fibers[0].done) {
		if (++steps > CALM_STEPS_MAX)
			sim_wrong("the broker does not end");
		step(1);
	}
	/* One that dies over it has no successor, and nobody is told. */
	if (!world.alive)
		return;
	life_end();
	kernel_close_all();
	ring_reset();
	world.calm = true;
	while (!world.failed && clients_go_on())
		;
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (actors[n].used && actors[n].phase != PHASE_WAITS)
			sim_wrong("the broker has ended, and client %d waits", actors[n].pid);
}

static void set_up(uint64_t seed)
{
	static const unsigned deaths[] = {0, 3000, 600, 200, 60, 25};
	static const unsigned words[] = {6, 12, 40, SIM_SOCKET_WORDS};

	world = (struct world){.seed = seed, .dice = seed * 0x2545f4914f6cdd1du};
	world.first_id = draw(2);
	world.peers_max = 1 + draw(SIM_PEERS_MAX);
	world.vectors = (uint16_t)(1 + draw(SIM_VECTORS_MAX));
	world.workers = (uint16_t)(1 + draw(SIM_WORKERS_MAX));
	world.ids_max = world.first_id + world.peers_max + 1;
	world.server_id = draw(2) ? world.ids_max - 1 : UINT32_MAX;
	world.deaths_every = deaths[draw(sizeof(deaths) / sizeof(*deaths))];
	world.zoned = draw(3) == 0;
	world.mail = draw(2);
	if (world.mail) {
		static const unsigned touches[] = {0, 5, 20, 60};

		world.first_id = 1;
		world.ids_max = 1 + world.peers_max + 1;
		world.server_id = draw(8) ? world.ids_max - 1 : UINT32_MAX;
		world.fat = draw(4) == 0;
		world.touch_every = touches[draw(4)];
	}
	world.bound = draw(4) == 0;
	world.gated = world.bound && draw(2);
	world.bound_id = world.first_id + draw(world.peers_max);
	world.quota = draw(4) ? 0 : 1 + draw(4);
	world.rate = draw(6) ? 0 : 1 + draw(6);
	world.drops_stalled = draw(4) == 0;
	world.faults_every = draw(3) ? 0 : 50 + draw(200);
	world.socket_words = words[draw(sizeof(words) / sizeof(*words))];
	world.steps_max = (world.mail ? 4 : 1) * (UINT64_C(500) + draw(6000));
	world.now_ns = 1000000000u;
	sim_trace("seed %llu: %u peers from %u, %u vectors, %u workers, server %d, dies every %u, "
		  "faults every %u",
		(unsigned long long)seed, world.peers_max, world.first_id, world.vectors,
		world.workers, (int)world.server_id, world.deaths_every, world.faults_every);
}

bool world_play(uint64_t seed)
{
	unsigned eagerness;

	set_up(seed);
	eagerness = 1 + draw(6);
	life_open();
	while (world.steps < world.steps_max && !world.failed) {
		step(eagerness);
		if (world.mail && draw(500) == 0)
			hold_still();
	}
	if (draw(6) == 0)
		stop();
	else
		come_to_rest();
	sums.worlds++;
	sums.steps += world.steps;
	world.calm = true;
	fibers_forget();
	process_forget_heap();
	actors_reset();
	life_close();
	kernel_close_all();
	ring_reset();
	kernel_reset();
	return !world.failed;
}
