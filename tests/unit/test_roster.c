/* SPDX-License-Identifier: MIT */
/*
 * test_roster.c - one thread's replica of the membership log: what it keeps of
 * the past, and that a cursor into it stays good for ever.
 */
#include "unit.h"

#include "roster.h"

enum { IDS = 8 };

static int set_up(void **state)
{
	static struct roster r;

	*state = &r;
	return roster_init(&r, IDS);
}

static int tear_down(void **state)
{
	roster_destroy(*state);
	return 0;
}

/* What is left of the log after @seq is exactly these IDs, '-' before those that left. */
static void expect_after(const struct roster *r, uint64_t seq, const char *want)
{
	char got[256] = "";
	const struct roster_change *c;

	while ((c = roster_after(r, seq))) {
		size_t used = strlen(got);

		assert_true(c->seq > seq);
		assert_true(c->seq <= r->end);
		seq = c->seq;
		(void)snprintf(
			got + used, sizeof(got) - used, "%s%u ", c->present ? "" : "-", c->id);
		assert_true(used + 16 < sizeof(got));
	}
	assert_string_equal(got, want);
}

/* What the log says of an ID: its only change that is left, or nothing yet. */
static bool is_present(const struct roster *r, uint32_t id)
{
	const struct roster_change *c = NULL;

	do
		c = roster_after(r, c ? c->seq : 0);
	while (c && c->id != id);
	return c && c->present;
}

static void a_new_roster_is_empty(void **state)
{
	const struct roster *r = *state;

	assert_int_equal(r->end, 0);
	assert_null(roster_after(r, 0));
}

static void changes_are_numbered_from_one_without_a_gap(void **state)
{
	for (uint32_t n = 0; n < 3 * IDS; n++) {
		roster_append(*state, n % IDS, n / IDS % 2 == 0);
		assert_int_equal(((struct roster *)*state)->end, n + 1);
	}
}

static void changes_come_in_the_order_in_which_they_happened(void **state)
{
	roster_append(*state, 3, true);
	roster_append(*state, 7, true);
	roster_append(*state, 0, true);
	roster_append(*state, 5, false);
	expect_after(*state, 0, "3 7 0 -5 ");
	expect_after(*state, 1, "7 0 -5 ");
	expect_after(*state, 3, "-5 ");
	expect_after(*state, 4, "");
}

static void only_the_last_change_of_an_id_is_kept(void **state)
{
	roster_append(*state, 3, true);
	roster_append(*state, 7, true);
	roster_append(*state, 3, false);
	roster_append(*state, 5, true);
	expect_after(*state, 0, "7 -3 5 ");
	expect_after(*state, 1, "7 -3 5 ");
	expect_after(*state, 2, "-3 5 ");
	roster_append(*state, 3, true);
	expect_after(*state, 0, "7 5 3 ");
	expect_after(*state, 3, "5 3 ");
	expect_after(*state, 4, "3 ");
}

static void who_came_and_went_meanwhile_is_one_leave(void **state)
{
	roster_append(*state, 1, true);
	for (unsigned n = 0; n < 50; n++) {
		roster_append(*state, 4, true);
		roster_append(*state, 4, false);
	}
	expect_after(*state, 1, "-4 ");
	expect_after(*state, 50, "-4 ");
}

static void presence_is_the_last_word(void **state)
{
	for (unsigned n = 1; n < 1000; n++) {
		uint32_t id = n * 5 % IDS;
		bool present = n / 3 % 2;

		roster_append(*state, id, present);
		assert_int_equal(is_present(*state, id), present);
	}
}

static void a_cursor_beyond_the_end_sees_nothing_until_something_happens(void **state)
{
	roster_append(*state, 2, true);
	assert_null(roster_after(*state, 1));
	roster_append(*state, 2, false);
	assert_non_null(roster_after(*state, 1));
	assert_int_equal(roster_after(*state, 1)->seq, 2);
}

static void the_log_never_outgrows_its_memory_however_long_we_run(void **state)
{
	struct roster *r = *state;
	const struct roster_change *memory = r->changes;
	const uint32_t cap = r->cap;

	for (unsigned n = 0; n < 100000; n++) {
		roster_append(r, n * 7 % IDS, n % 3 != 0);
		assert_true(r->count <= r->cap);
	}
	assert_ptr_equal(r->changes, memory);
	assert_int_equal(r->cap, cap);
	assert_int_equal(r->end, 100000);
}

/* The plainest possible log, nothing ever thrown away. */
struct past {
	uint32_t id[4096];
	bool present[4096];
	unsigned count;
};

static void append_both(struct roster *r, struct past *p, uint32_t id, bool present)
{
	roster_append(r, id, present);
	p->id[p->count] = id;
	p->present[p->count++] = present;
}

/* The first change after @seq that no later change of the same ID supersedes: index or -1. */
static int past_after(const struct past *p, uint64_t seq)
{
	for (unsigned i = (unsigned)seq; i < p->count; i++) {
		bool last = true;

		for (unsigned j = i + 1; j < p->count && last; j++)
			last = p->id[j] != p->id[i];
		if (last)
			return (int)i;
	}
	return -1;
}

static void a_cursor_survives_every_compaction(void **state)
{
	static struct past p;
	struct roster r;
	uint64_t dice = 88172645463325252u;

	(void)state;
	for (uint32_t ids = 1; ids <= 16; ids += 3) {
		p.count = 0;
		assert_int_equal(roster_init(&r, ids), 0);
		for (unsigned n = 0; n < 600; n++) {
			dice ^= dice << 13;
			dice ^= dice >> 7;
			dice ^= dice << 17;
			append_both(&r, &p, (uint32_t)(dice % ids), dice >> 32 & 1);
			for (unsigned probe = 0; probe < 4; probe++) {
				uint64_t seq = (dice >> (8 * probe + 8)) % (p.count + 1);
				const struct roster_change *c = roster_after(&r, seq);
				int want = past_after(&p, seq);

				assert_int_equal(c != NULL, want >= 0);
				if (!c)
					continue;
				assert_int_equal(c->seq, want + 1);
				assert_int_equal(c->id, p.id[want]);
				assert_int_equal(c->present, p.present[want]);
			}
		}
		roster_destroy(&r);
	}
}

static void a_full_roster_of_the_largest_fabric_is_walked_in_order(void **state)
{
	enum { ALL = 65536 };
	struct roster r;
	const struct roster_change *c;
	uint64_t seq = 0;

	(void)state;
	assert_int_equal(roster_init(&r, ALL), 0);
	for (uint32_t id = 0; id < ALL; id++)
		roster_append(&r, id, true);
	for (uint32_t id = 0; id < ALL; id++) {
		c = roster_after(&r, seq);
		assert_non_null(c);
		assert_int_equal(c->id, id);
		seq = c->seq;
	}
	assert_null(roster_after(&r, seq));
	for (unsigned n = 0; n < 4 * ALL; n++)
		roster_append(&r, ALL - 1, n % 2);
	assert_int_equal(roster_after(&r, 0)->id, 0);
	assert_true(is_present(&r, ALL - 1));
	roster_destroy(&r);
}

static void one_id_alone_is_a_roster_too(void **state)
{
	struct roster r;

	(void)state;
	assert_int_equal(roster_init(&r, 1), 0);
	for (unsigned n = 1; n < 1000; n++) {
		roster_append(&r, 0, n % 2);
		assert_int_equal(roster_after(&r, 0)->seq, n);
		assert_null(roster_after(&r, n));
	}
	roster_destroy(&r);
}

static void append_outside(void *r)
{
	roster_append(r, IDS, true);
}

static void an_id_outside_aborts(void **state)
{
	assert_true(unit_dies(append_outside, *state));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_new_roster_is_empty),
		T(changes_are_numbered_from_one_without_a_gap),
		T(changes_come_in_the_order_in_which_they_happened),
		T(only_the_last_change_of_an_id_is_kept),
		T(who_came_and_went_meanwhile_is_one_leave),
		T(presence_is_the_last_word),
		T(a_cursor_beyond_the_end_sees_nothing_until_something_happens),
		T(the_log_never_outgrows_its_memory_however_long_we_run),
		T(a_cursor_survives_every_compaction),
		T(a_full_roster_of_the_largest_fabric_is_walked_in_order),
		T(one_id_alone_is_a_roster_too),
		T(an_id_outside_aborts),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
