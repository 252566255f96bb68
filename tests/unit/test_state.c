/* SPDX-License-Identifier: MIT */
/*
 * test_state.c - the state memory and membership's ledger: what each store leaves, were it the
 * last; who can read it; what is made of a record that somebody scribbled over.
 */
#include "unit.h"

#include <stdlib.h>

#include "deaths.h"
#include "famez/wire.h"
#include "ledger.h"
#include "recover.h"

#define PEERS  6u
#define SERVER 7u

static const struct state_wish wish = {
	.memory_bytes = 1 << 20,
	.ids_max = PEERS + 2,
	.first_id = 1,
	.server_id = SERVER,
	.peers = PEERS,
	.vectors = 2,
	.workers = 2,
	.shards = 2,
};

static void *memory_new(struct state *s)
{
	void *memory = aligned_alloc(4096, state_bytes(&wish));

	assert_non_null(memory);
	memset(memory, 0, state_bytes(&wish));
	state_memory_init(s, memory, &wish);
	return memory;
}

static const struct client client = {.pid = 17, .uid = 1000, .device = true, .exe = "qemu"};

static void take(struct state *s, uint32_t id)
{
	const struct ledger_newcomer newcomer = {
		.client = &client,
		.sock = 40 + (int)id,
		.cookie = 100 + id,
		.said = 64,
		.worker = 1,
	};

	ledger_take(s, id, &newcomer);
}

static struct view some_view(uint64_t told)
{
	return (struct view){.told = told, .telling = ROSTER_NOBODY, .step = VIEW_LIVE};
}

/* ---- who can read it -------------------------------------------------------------------- */

static void a_memory_is_found_again_at_another_address(void **state)
{
	uint64_t bytes = state_bytes(&wish);
	void *other = aligned_alloc(4096, bytes);
	struct state s, there;
	void *memory = memory_new(&s);

	(void)state;
	take(&s, 3);
	ledger_join(&s, 3);
	take(&s, 4);
	ledger_closing(&s, 4);
	ledger_leave(&s, 4, 0);
	ledger_free(&s, 4);
	memcpy(other, memory, bytes);
	free(memory);
	assert_null(state_memory_check(other, bytes));
	state_memory_open(&there, other);
	assert_true(ledger_present(&there, 3));
	assert_int_equal(ledger_sock(&there, 3), 43);
	assert_int_equal(there.seq, 2); /* the server's own entry is the first */
	assert_int_equal(there.freed, 1);
	free(other);
}

static void another_version_size_or_a_damaged_head_is_not_read(void **unused)
{
	struct state s;
	struct state_head *h = memory_new(&s);
	uint64_t bytes = state_bytes(&wish);

	(void)unused;
	assert_null(state_memory_check(h, bytes));
	assert_non_null(state_memory_check(h, bytes - 4096));
	h->wish.peers++;
	assert_non_null(state_memory_check(h, bytes));
	h->wish.peers--;
	h->version++;
	assert_string_equal(state_memory_check(h, bytes), "it is of another version");
	h->version--;
	h->magic++;
	assert_string_equal(state_memory_check(h, bytes), "it is no state of a famez-server");
	free(h);
}

/* ---- the slot --------------------------------------------------------------------------- */

#define NOTICES 4u
#define TOLD    2u /* the ID that is being told of others */

/* Two vectors of 3, a leave of 5, a vector of 6. */
static void fill(struct state *s)
{
	static const struct {
		uint32_t id;
		int8_t held;
	} notices[NOTICES] = {{3, 1}, {3, 0}, {5, -1}, {6, 1}};

	for (unsigned i = 0; i < NOTICES; i++) {
		struct state_after after = {
			.view = some_view(100 + i),
			.held_id = notices[i].id,
			.held = notices[i].held,
			.leave = notices[i].held < 0,
		};

		state_tell_fill(s, 1, i, notices[i].id, -1, &after);
	}
}

static void judge(const struct state *s, unsigned sent)
{
	const unsigned long *held = state_held(s, TOLD);
	struct view view;
	bool leave;

	assert_true(state_view_get(s, TOLD, &view, &leave));
	assert_int_equal(view.told, sent ? 100 + sent - 1 : 7);
	assert_int_equal(leave, sent == 3);
	assert_int_equal(held[0] >> 3 & 1, sent >= 1);
	assert_int_equal(held[0] >> 5 & 1, sent < 3);
	assert_int_equal(held[0] >> 6 & 1, sent >= 4);
	assert_int_equal(s->workers[1].tell_id, STATE_NOBODY);
}

struct told {
	struct state s;
	unsigned sent;
};

static void told_set_up(struct told *t, unsigned sent)
{
	struct view before = some_view(7);

	(void)memory_new(&t->s);
	t->sent = sent;
	take(&t->s, TOLD);
	state_view_put(&t->s, TOLD, &before, false);
	state_held(&t->s, TOLD)[0] = 1u << 5;
}

static void tell(void *argument)
{
	struct told *t = argument;

	fill(&t->s);
	state_tell_begin(&t->s, 1, TOLD, NOTICES);
	for (unsigned i = 0; i < t->sent; i++) {
		t->s.workers[1].tell[i].msg_len = FAMEZ_WIRE_BYTES; /* the kernel does */
		state_point();
	}
	state_tell_apply(&t->s, 1);
}

static void redo(void *argument)
{
	recover_redo(argument);
}

/* How many the kernel says it has sent for the slot, whatever the slot's state. */
static unsigned sent_of(const struct state *s)
{
	unsigned sent = 0;

	while (sent < NOTICES && s->workers[1].tell[sent].msg_len == FAMEZ_WIRE_BYTES)
		sent++;
	return sent;
}

static void what_was_sent_is_written_down_wherever_death_comes(void **state)
{
	bool died = true;

	(void)state;
	for (unsigned nth = 1; died; nth++) {
		for (unsigned sent = 0; sent <= NOTICES; sent++) {
			struct told t;

			told_set_up(&t, sent);
			died = dies(nth, tell, &t);
			recover_redo(&t.s);
			judge(&t.s, sent_of(&t.s));
			if (!died)
				assert_int_equal(sent_of(&t.s), sent);
			free(t.s.head);
		}
	}
}

static void a_successor_may_die_over_it_as_well(void **state)
{
	(void)state;
	for (unsigned first = 1; first < 40; first++) {
		bool died = true;

		for (unsigned second = 1; died; second++) {
			struct told t;

			told_set_up(&t, NOTICES);
			(void)dies(first, tell, &t);
			died = dies(second, redo, &t.s);
			recover_redo(&t.s);
			judge(&t.s, sent_of(&t.s));
			free(t.s.head);
		}
	}
}

/* ---- the ledger ------------------------------------------------------------------------- */

static void take_three(void *argument)
{
	take(argument, 3);
}

static void somebody_is_taken_with_all_that_belongs_to_him_or_not_at_all(void **state)
{
	bool died = true;

	(void)state;
	for (unsigned nth = 1; died; nth++) {
		struct client there;
		struct state s;
		struct view view;
		bool leave;

		(void)memory_new(&s);
		state_held(&s, 3)[0] = ~0ul; /* of who had the ID before */
		died = dies(nth, take_three, &s);
		if (!died)
			assert_true(ledger_taken(&s, 3));
		if (ledger_taken(&s, 3)) {
			assert_true(ledger_sound(&s, 3));
			assert_int_equal(ledger_sock(&s, 3), 43);
			assert_int_equal(state_held(&s, 3)[0], 0);
			assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_ADOPT);
			ledger_client(&s, 3, &there);
			assert_string_equal(there.exe, "qemu");
			assert_true(there.device);
		}
		free(s.head);
	}
}

static void a_record_that_was_scribbled_over_is_told(void **state)
{
	struct view view = some_view(9);
	struct state s;
	bool leave;

	(void)state;
	(void)memory_new(&s);
	take(&s, 3);
	state_view_put(&s, 3, &view, true);
	assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_RESUME);
	assert_true(leave);
	s.views[3].view.told++;
	assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_KEEP);
	s.views[3].view.told--;
	s.views[3].leave_unread = 0;
	assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_KEEP);
	s.views[3].leave_unread = 1;
	assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_RESUME);
	s.members[3].pid++;
	assert_int_equal(recover_how(&s, 3, &view, &leave), RECOVER_KEEP);
	free(s.head);
}

/* One ID's view is not another's. */
static void a_record_copied_from_another_id_is_told(void **state)
{
	struct view view = some_view(9);
	struct state s;
	bool leave;

	(void)state;
	(void)memory_new(&s);
	take(&s, 3);
	take(&s, 4);
	state_view_put(&s, 3, &view, false);
	state_view_put(&s, 4, &view, false);
	s.views[4] = s.views[3];
	assert_int_equal(recover_how(&s, 4, &view, &leave), RECOVER_KEEP);
	free(s.head);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_memory_is_found_again_at_another_address),
		cmocka_unit_test(another_version_size_or_a_damaged_head_is_not_read),
		cmocka_unit_test(what_was_sent_is_written_down_wherever_death_comes),
		cmocka_unit_test(a_successor_may_die_over_it_as_well),
		cmocka_unit_test(somebody_is_taken_with_all_that_belongs_to_him_or_not_at_all),
		cmocka_unit_test(a_record_that_was_scribbled_over_is_told),
		cmocka_unit_test(a_record_copied_from_another_id_is_told),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
