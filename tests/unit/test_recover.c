/* SPDX-License-Identifier: MIT */
/*
 * test_recover.c - random histories, cut off by death at any store, any number of times: what a
 * successor makes of the state is what each client has in fact been told.
 *
 * One registrar and one worker, stepped by a die: clients come, are told some of what is due to
 * them, leave. Sending is the kernel's: a word that is in the client's hands is one for which
 * the slot has its length. Whoever judges knows only what reached each client, and the rules:
 * nothing is told twice, vectors come in order, a device hears of no leave.
 */
#include "unit.h"

#include <stdlib.h>

#include "deaths.h"
#include "famez/wire.h"
#include "ledger.h"
#include "membership.h"
#include "recover.h"

#define PEERS     7u
#define SERVER    (PEERS + 1)
#define IDS       (PEERS + 2)
#define VECTORS   3u
#define CLIENTS   64u
#define CALLED    8u /* notices that go at once, at most */
#define NOBODY    UINT32_MAX
#define SOCK_OF   1000 /* of client 0 */
#define STEPS     120u
#define HISTORIES 1500u

enum phase { HEARS_VERSION, HEARS_ID, HEARS_MEMORY, HEARS_PEERS, IS_IN };

/* A client as it sees itself. */
struct client_end {
	bool connected, device, waits; /* waits: accepted by nobody, or by one who died over it */
	enum phase phase;
	uint32_t id;
	uint32_t unfinished; /* whose vectors it is being told */
	uint16_t vector;
	bool holds[IDS];
};

/* What dies with a broker. */
struct broker {
	struct membership membership;
	struct roster roster;
	struct {
		bool served;
		struct view view;
		struct view_client who;
	} peer[IDS];
};

struct world {
	struct state s;
	struct broker b;
	struct client_end client[CLIENTS];
	unsigned came;
	uint64_t dice;
};

static uint32_t draw(struct world *w, uint32_t below)
{
	w->dice = w->dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(w->dice >> 33) % below;
}

/* ---- the clients, who judge ------------------------------------------------------------- */

static void hears_vector(struct client_end *c, uint32_t id)
{
	if (c->unfinished == NOBODY) {
		assert_false(c->holds[id]); /* told twice */
		c->holds[id] = true;
		c->unfinished = id;
		c->vector = 0;
	}
	assert_int_equal(c->unfinished, id);
	if (++c->vector < VECTORS)
		return;
	c->unfinished = NOBODY;
	if (id == c->id)
		c->phase = IS_IN;
}

static void hears(struct client_end *c, int64_t word, bool leave)
{
	switch (c->phase) {
	case HEARS_VERSION:
		assert_int_equal(word, FAMEZ_WIRE_VERSION);
		c->phase = HEARS_ID;
		return;
	case HEARS_ID:
		c->id = (uint32_t)word;
		c->phase = HEARS_MEMORY;
		return;
	case HEARS_MEMORY:
		assert_int_equal(word, FAMEZ_WIRE_MEMORY);
		c->phase = HEARS_PEERS;
		return;
	case HEARS_PEERS:
	case IS_IN:
		assert_in_range(word, 1, IDS - 1);
		if (!leave) {
			hears_vector(c, (uint32_t)word);
			return;
		}
		assert_false(c->device);
		assert_true(c->holds[word]);
		assert_int_equal(c->unfinished, NOBODY);
		c->holds[word] = false;
	}
}

/* ---- the broker ------------------------------------------------------------------------- */

static struct client_end *client_of(struct world *w, uint32_t id)
{
	return &w->client[ledger_sock(&w->s, id) - SOCK_OF];
}

static void serve(struct world *w, uint32_t id)
{
	w->b.peer[id].served = true;
	w->b.peer[id].who = (struct view_client){
		.id = id,
		.vectors = VECTORS,
		.leaves = w->s.members[id].leaves,
		.held = state_held(&w->s, id),
	};
}

static void adopt(struct world *w, uint32_t id)
{
	serve(w, id);
	view_open(&w->b.peer[id].view, &w->b.peer[id].who, &w->b.roster);
}

static void let_in(struct world *w, unsigned nth)
{
	struct client_end *c = &w->client[nth];
	struct client client = {.pid = 1 + (int)nth, .device = c->device, .exe = "?"};
	struct ledger_newcomer newcomer = {
		.client = &client,
		.sock = SOCK_OF + (int)nth,
		.cookie = nth,
		.leaves = !c->device,
	};
	struct intent intent = membership_connected(&w->b.membership, MEMBERSHIP_ANYWHERE);

	if (intent.kind == INTENT_REFUSE) {
		c->connected = c->waits = false;
		return;
	}
	ledger_take(&w->s, intent.id, &newcomer);
	c->waits = false;
	adopt(w, intent.id);
}

/* The kernel takes some of the slot: the word and its length at once. */
static unsigned kernel_sends(struct world *w, uint32_t id, unsigned count)
{
	struct state_worker *slot = &w->s.workers[0];
	unsigned sent = draw(w, count + 1);

	for (unsigned i = 0; i < sent; i++) {
		hears(client_of(w, id), slot->send[i].word, slot->after[i].held < 0);
		slot->tell[i].msg_len = FAMEZ_WIRE_BYTES;
		state_point();
	}
	return sent;
}

static int64_t word_of(const struct notice *n)
{
	return n->kind == NOTICE_VERSION  ? FAMEZ_WIRE_VERSION
	       : n->kind == NOTICE_MEMORY ? FAMEZ_WIRE_MEMORY
					  : (int64_t)n->id;
}

/* Returns whether anything was due. */
static bool tell(struct world *w, uint32_t id)
{
	struct view *view = &w->b.peer[id].view, ahead = *view;
	bool was_open = view_opened(view);
	unsigned count = 0, sent;
	struct notice n;

	while (count < CALLED &&
		view_next(&ahead, &w->b.peer[id].who, &w->b.roster, &n) == VIEW_NOTICE) {
		struct state_after after = {.view = ahead, .leave = n.kind == NOTICE_LEAVE};

		after.held = (int8_t)view_effect(&n, &after.held_id);
		state_tell_fill(&w->s, 0, count++, word_of(&n), -1, &after);
	}
	if (!count)
		return false;
	state_tell_begin(&w->s, 0, id, count);
	sent = kernel_sends(w, id, count);
	assert_int_equal(state_tell_sent(&w->s, 0), sent);
	state_tell_apply(&w->s, 0);
	if (sent)
		*view = w->s.workers[0].after[sent - 1].view;
	if (!was_open && view_opened(view)) {
		(void)membership_opened(&w->b.membership, id);
		ledger_join(&w->s, id);
		roster_append(&w->b.roster, id, true);
	}
	return true;
}

static void let_go(struct world *w, uint32_t id)
{
	struct intent intent;

	w->b.peer[id].served = false;
	ledger_closing(&w->s, id);
	intent = membership_gone(&w->b.membership, id);
	ledger_leave(&w->s, id, 0);
	ledger_free(&w->s, id);
	if (intent.kind == INTENT_LEAVE)
		roster_append(&w->b.roster, id, false);
}

static void comes(struct world *w)
{
	if (w->came == CLIENTS)
		return;
	w->client[w->came++] = (struct client_end){
		.connected = true,
		.waits = true,
		.device = draw(w, 2),
		.unfinished = NOBODY,
	};
}

static void any_step(void *argument)
{
	struct world *w = argument;
	uint32_t id = 1 + draw(w, PEERS);

	switch (draw(w, 8)) {
	case 0:
		comes(w);
		return;
	case 1:
		for (unsigned nth = 0; nth < w->came; nth++)
			if (w->client[nth].waits) {
				let_in(w, nth);
				return;
			}
		return;
	case 2:
		if (!w->b.peer[id].served || draw(w, 2))
			return;
		client_of(w, id)->connected = false;
		let_go(w, id);
		return;
	default:
		if (w->b.peer[id].served)
			(void)tell(w, id);
	}
}

/* ---- its successor ---------------------------------------------------------------------- */

static uint64_t nothing_said(void *argument, uint32_t id)
{
	(void)argument;
	(void)id;
	return 0;
}

static void seen(void *argument, uint32_t id)
{
	unsigned *told = argument;

	told[id]++;
}

static void begin(struct world *w)
{
	w->b = (struct broker){0};
	assert_int_equal(membership_init(&w->b.membership, 1, PEERS, 1), 0);
	assert_int_equal(roster_init(&w->b.roster, IDS), 0);
}

static void end(struct world *w)
{
	membership_destroy(&w->b.membership);
	roster_destroy(&w->b.roster);
}

static void finish(void *argument)
{
	struct world *w = argument;
	unsigned told[IDS] = {0};
	struct recover_mailbox mailbox = {nothing_said, seen, seen, told};
	struct recover_found found;

	recover_redo(&w->s);
	recover_finish(&w->s, &mailbox, &found);
}

static void resume(struct world *w)
{
	struct recover_plan plan;

	begin(w);
	assert_int_equal(membership_restore(&w->b.membership, &w->s), 0);
	assert_int_equal(recover_plan(&plan, &w->s), 0);
	for (uint32_t i = 0; i < plan.changes; i++)
		roster_restore(
			&w->b.roster, plan.order[i].id, plan.order[i].seq, plan.order[i].present);
	recover_plan_free(&plan);
	for (uint32_t id = 1; id <= PEERS; id++) {
		struct view view;
		bool leave;

		if (!ledger_taken(&w->s, id))
			continue;
		switch (recover_how(&w->s, id, &view, &leave)) {
		case RECOVER_ADOPT:
			adopt(w, id);
			break;
		case RECOVER_RESUME:
			serve(w, id);
			w->b.peer[id].view = view;
			break;
		case RECOVER_KEEP:
			fail_msg("nobody scribbled");
		}
	}
}

/* As the sweep finds them: who is named by nobody's record is a newcomer. */
static void find_newcomers(struct world *w)
{
	for (unsigned nth = 0; nth < w->came; nth++) {
		struct client_end *c = &w->client[nth];
		bool named = false;

		for (uint32_t id = 1; id <= PEERS; id++)
			named |= ledger_taken(&w->s, id) &&
				 ledger_sock(&w->s, id) == SOCK_OF + (int)nth;
		c->waits = c->connected && !named;
		if (c->waits)
			assert_int_equal(c->phase, HEARS_VERSION); /* or it would hear it twice */
	}
}

static void judge_what_is_known(struct world *w)
{
	uint32_t present = 0;

	for (uint32_t id = 1; id <= PEERS; id++) {
		const struct client_end *c;

		if (!ledger_taken(&w->s, id))
			continue;
		c = client_of(w, id);
		assert_true(c->connected);
		assert_int_equal(ledger_present(&w->s, id), c->phase == IS_IN);
		present += c->phase == IS_IN;
		for (uint32_t other = 1; other < IDS; other++)
			assert_int_equal(c->holds[other], view_holds(&w->b.peer[id].who, other));
	}
	assert_int_equal(w->b.membership.present, present);
	assert_int_equal(w->b.roster.end, w->s.seq);
}

static void succeed(struct world *w, unsigned deaths)
{
	end(w);
	while (deaths--)
		(void)dies(1 + draw(w, 12), finish, w);
	finish(w);
	resume(w);
	find_newcomers(w);
	judge_what_is_known(w);
}

/* ---- histories -------------------------------------------------------------------------- */

static void settle(struct world *w)
{
	for (bool more = true; more;) {
		more = false;
		for (unsigned nth = 0; nth < w->came; nth++)
			if (w->client[nth].waits)
				let_in(w, nth);
		for (uint32_t id = 1; id <= PEERS; id++)
			if (w->b.peer[id].served)
				more |= tell(w, id);
	}
}

static void judge_the_end(struct world *w)
{
	judge_what_is_known(w);
	for (uint32_t id = 1; id <= PEERS; id++) {
		if (!w->b.peer[id].served)
			continue;
		for (uint32_t other = 1; other < IDS; other++) {
			bool there = other == SERVER || ledger_present(&w->s, other);

			if (there || !client_of(w, id)->device)
				assert_int_equal(client_of(w, id)->holds[other], there);
		}
	}
}

static void one_history(uint64_t seed)
{
	static const struct state_wish wish = {
		.memory_bytes = 1 << 20,
		.ids_max = IDS,
		.first_id = 1,
		.server_id = SERVER,
		.peers = PEERS,
		.vectors = VECTORS,
		.workers = 1,
	};
	static struct world w;
	void *memory = aligned_alloc(4096, state_bytes(&wish));

	assert_non_null(memory);
	memset(memory, 0, state_bytes(&wish));
	w = (struct world){.dice = seed};
	state_memory_init(&w.s, memory, &wish);
	finish(&w); /* with nobody here it comes to nothing */
	resume(&w);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned nth = draw(&w, 4) ? 0 : 1 + draw(&w, 30);

		if (dies(nth, any_step, &w))
			succeed(&w, draw(&w, 3));
		else
			death.left = 0;
	}
	settle(&w);
	judge_the_end(&w);
	end(&w);
	free(memory);
}

static void whoever_dies_when_nobody_is_told_anything_twice_or_not_at_all(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= HISTORIES; seed++)
		one_history(seed);
}

static void ids_are_given_in_the_same_order_as_if_nobody_had_died(void **state)
{
	static const struct state_wish wish = {
		.ids_max = IDS,
		.first_id = 1,
		.server_id = SERVER,
		.peers = PEERS,
		.vectors = VECTORS,
		.workers = 1,
	};
	static struct world w;
	void *memory = aligned_alloc(4096, state_bytes(&wish));

	(void)state;
	memset(memory, 0, state_bytes(&wish));
	w = (struct world){.dice = 1};
	state_memory_init(&w.s, memory, &wish);
	begin(&w);
	for (unsigned i = 0; i < 3; i++) {
		comes(&w);
		let_in(&w, i);
	}
	let_go(&w, 3);
	let_go(&w, 1);
	end(&w);
	resume(&w);
	/* Those that nobody has had yet, then who was free longest. */
	for (uint32_t id = 4; id <= PEERS; id++)
		assert_int_equal(membership_connected(&w.b.membership, MEMBERSHIP_ANYWHERE).id, id);
	assert_int_equal(membership_connected(&w.b.membership, MEMBERSHIP_ANYWHERE).id, 3);
	assert_int_equal(membership_connected(&w.b.membership, MEMBERSHIP_ANYWHERE).id, 1);
	assert_int_equal(
		membership_connected(&w.b.membership, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
	end(&w);
	free(memory);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_dies_when_nobody_is_told_anything_twice_or_not_at_all),
		cmocka_unit_test(ids_are_given_in_the_same_order_as_if_nobody_had_died),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
