/* SPDX-License-Identifier: MIT */
/*
 * seating.c - which ID a newcomer gets, and so which zones it is in.
 *
 * Knows nothing of sockets. Changes the membership, and never the state.
 */
#include "seating.h"

#include <stdatomic.h>

#include "gates.h"
#include "ledger.h"

/* How often a newcomer that may be in different zones, one for each ID, has the whole fabric
 * looked through: as often as there are zones will do. */
#define LOOKS_MAX ZONES_MAX

/* One newcomer's search. */
struct search {
	const struct seating *s;
	const struct zones *zones;
	struct zones_who who;
	uint64_t barred_for; /* whom s->barred is about */
	unsigned looks;      /* that filled it */
};

static uint64_t zones_at(const struct search *search, uint32_t id)
{
	return search->zones ? zones_of(&search->who, id) : ZONES_ALL;
}

static uint64_t zones_there(const struct state *state, uint32_t id)
{
	return atomic_load_explicit(&state->members[id].zones, memory_order_relaxed);
}

/* Nobody was ever told of an ID without doorbells. */
static bool fresh(const struct state *state, uint32_t id)
{
	return state->bells[(uint64_t)id * state->head->wish.vectors] < 0;
}

/* Are its last owner's neighbours those of a newcomer's, too? */
static bool same(void *argument, uint32_t id)
{
	const struct search *search = argument;
	const struct state *state = search->s->state;

	return !search->zones || fresh(state, id) || zones_there(state, id) == zones_at(search, id);
}

/* Marks every ID that is held by somebody who is no neighbour of @zones. */
static void look_through(const struct seating *s, uint64_t zones)
{
	const struct state_wish *wish = &s->state->head->wish;
	uint32_t words = VIEW_HELD_WORDS(wish->ids_max);

	for (uint32_t n = 0; n < words; n++)
		s->barred[n] = 0;
	for (uint32_t id = wish->first_id; id - wish->first_id < wish->peers; id++) {
		const unsigned long *held = state_held(s->state, id);

		if (!ledger_taken(s->state, id) || zones_there(s->state, id) & zones)
			continue;
		for (uint32_t n = 0; n < words; n++)
			s->barred[n] |= __atomic_load_n(&held[n], __ATOMIC_RELAXED);
	}
}

/* Is everybody who holds it a neighbour of the newcomer's? All workers are quiet. */
static bool safe(void *argument, uint32_t id)
{
	struct search *search = argument;
	uint64_t zones = zones_at(search, id);

	if (same(search, id))
		return true;
	if (!search->looks || search->barred_for != zones) {
		if (search->looks == LOOKS_MAX)
			return false;
		search->looks++;
		search->barred_for = zones;
		look_through(search->s, zones);
	}
	return !(search->s->barred[id / VIEW_WORD_BITS] >> (id % VIEW_WORD_BITS) & 1);
}

/* An ID that is kept for it. */
static enum seating_says take_kept(
	struct search *search, const struct seating_wish *wish, uint32_t id, struct intent *intent)
{
	struct membership *m = search->s->membership;

	if (!membership_is_free(m, id))
		return SEATING_WAIT;
	if (!same(search, id)) {
		if (!wish->quiet)
			return SEATING_WAIT;
		if (!safe(search, id))
			return SEATING_ZONES;
	}
	*intent = membership_connected_as(m, wish->together, id);
	return SEATING_FOUND;
}

/* One of the IDs that are kept for it. False: there is none, it is like anybody. */
static bool find_bound(struct search *search, const struct seating_wish *wish,
	enum seating_says *says, struct intent *intent)
{
	const struct binds *binds = wish->binds;
	uint32_t n = binds ? binds_find(binds, 0, wish->uid, wish->args) : 0;

	if (!binds || n == binds->count)
		return false;
	*says = SEATING_ZONES;
	for (; n < binds->count; n = binds_find(binds, n + 1, wish->uid, wish->args)) {
		enum seating_says one = take_kept(search, wish, binds->lines[n].id, intent);

		if (one != SEATING_ZONES)
			*says = one;
		if (one == SEATING_FOUND)
			break;
	}
	return true;
}

static enum seating_says find_own(
	struct search *search, const struct seating_wish *wish, struct intent *intent)
{
	const struct bind *line = wish->binds ? binds_own(wish->binds, wish->own) : NULL;

	/* Without a line: it came just before the socket was taken away. */
	if (!line || !binds_fits(line, wish->uid, wish->args))
		return SEATING_OTHER;
	return take_kept(search, wish, line->id, intent);
}

static enum seating_says find_any(struct seating *s, struct search *search,
	const struct seating_wish *wish, struct intent *intent)
{
	struct membership *m = s->membership;

	*intent = membership_connected_where(m, wish->together, same, search);
	if (intent->kind == INTENT_ADOPT)
		return SEATING_FOUND;
	if (m->free_first == MEMBERSHIP_NOBODY)
		return SEATING_FULL;
	if (!wish->quiet)
		return SEATING_WAIT;
	*intent = membership_connected_where(m, wish->together, safe, search);
	return intent->kind == INTENT_ADOPT ? SEATING_FOUND : SEATING_ZONES;
}

enum seating_says seating_find(
	struct seating *s, const struct seating_wish *wish, struct seating_found *found)
{
	struct search search = {.s = s, .zones = wish->zones};
	enum seating_says says = SEATING_FULL;

	if (wish->zones)
		zones_judge(&search.who, wish->zones, wish->uid, wish->args->name);
	if (wish->own != GATES_NOBODY)
		says = find_own(&search, wish, &found->intent);
	else if (!find_bound(&search, wish, &says, &found->intent))
		says = find_any(s, &search, wish, &found->intent);
	if (says == SEATING_FOUND)
		found->zones = zones_at(&search, found->intent.id);
	return says;
}

void seating_keep(struct seating *s, const struct binds *binds)
{
	const struct state_wish *wish = &s->state->head->wish;

	for (uint32_t n = 0; n < VIEW_HELD_WORDS(wish->ids_max); n++)
		s->barred[n] = 0;
	for (uint32_t n = 0; binds && n < binds->count; n++)
		s->barred[binds->lines[n].id / VIEW_WORD_BITS] |=
			1UL << (binds->lines[n].id % VIEW_WORD_BITS);
	for (uint32_t id = wish->first_id; id - wish->first_id < wish->peers; id++)
		membership_keep(s->membership, id,
			s->barred[id / VIEW_WORD_BITS] >> (id % VIEW_WORD_BITS) & 1);
}

uint64_t seating_carried(const struct state *state)
{
	const struct state_wish *wish = &state->head->wish;
	uint64_t carried = 0;

	for (uint32_t id = wish->first_id; id - wish->first_id < wish->peers; id++)
		if (!fresh(state, id))
			carried |= zones_there(state, id);
	return carried;
}
