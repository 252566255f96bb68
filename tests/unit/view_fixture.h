/* SPDX-License-Identifier: MIT */
/*
 * view_fixture.h - one client's view of a small fabric, for tests of what it is told, and when.
 *
 * What is due is written as a line of words: `version id memory`, `3.0` for vector 0
 * of peer 3, `-3` for a leave, `room` where the client must be given room.
 */
#ifndef VIEW_FIXTURE_H
#define VIEW_FIXTURE_H

#include "unit.h"

#include "view.h"

enum { IDS = 12, VECTORS = 2, SELF = 9 };

struct fixture {
	struct roster r;
	struct view v;
	struct view_client c;
	unsigned long held[VIEW_HELD_WORDS(IDS)];
};

static inline int set_up(void **state)
{
	static struct fixture x;

	x = (struct fixture){.c = {.id = SELF, .vectors = VECTORS, .leaves = true, .held = x.held}};
	*state = &x;
	return roster_init(&x.r, IDS);
}

static inline void in_zones(struct fixture *x, uint32_t id, uint64_t zones)
{
	x->r.zones[id] = zones;
}

static inline int tear_down(void **state)
{
	roster_destroy(&((struct fixture *)*state)->r);
	return 0;
}

static inline void word(char *line, size_t bytes, enum view_says says, const struct notice *n)
{
	static const char *const names[] = {"version ", "id ", "memory "};
	size_t used = strlen(line);

	assert_true(used + 16 < bytes);
	if (says == VIEW_WANTS_ROOM)
		(void)snprintf(line + used, bytes - used, "room ");
	else if (n->kind == NOTICE_LEAVE)
		(void)snprintf(line + used, bytes - used, "-%u ", n->id);
	else if (n->kind == NOTICE_VECTOR)
		(void)snprintf(line + used, bytes - used, "%u.%u ", n->id, n->vector);
	else
		(void)snprintf(line + used, bytes - used, "%s", names[n->kind]);
}

/* Exactly @want is due now; of it, @commit notices are sent. */
static inline void expect(struct fixture *x, const char *want, unsigned commit)
{
	char got[1024] = "";
	struct view copy = x->v;
	struct notice n;
	enum view_says says;

	do {
		says = view_next(&copy, &x->c, &x->r, &n);
		if (says != VIEW_NOTHING)
			word(got, sizeof(got), says, &n);
	} while (says == VIEW_NOTICE);
	assert_string_equal(got, want);
	view_commit(&x->v, &x->c, &x->r, commit);
}

static inline void expect_all(struct fixture *x, const char *want)
{
	unsigned words = 0;

	for (const char *p = want; *p; p++)
		words += *p == ' ';
	if (strstr(want, "room"))
		words--;
	expect(x, want, words);
}

static inline void up(struct fixture *x, uint32_t id)
{
	roster_append(&x->r, id, true);
}

static inline void down(struct fixture *x, uint32_t id)
{
	roster_append(&x->r, id, false);
}

/* Opened, live, and told of everybody in the roster. */
static inline void open_view(struct fixture *x)
{
	struct notice n;
	struct view copy;
	unsigned count = 0;

	view_open(&x->v, &x->c, &x->r);
	copy = x->v;
	while (view_next(&copy, &x->c, &x->r, &n) == VIEW_NOTICE)
		count++;
	view_commit(&x->v, &x->c, &x->r, count);
	assert_true(view_opened(&x->v));
}

/* A guarded device, let in with room for its own vectors, and told its opening. */
static inline void open_guarded(struct fixture *x)
{
	x->c.leaves = false;
	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect_all(x, "version id memory 9.0 9.1 ");
	assert_true(view_opened(&x->v));
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
