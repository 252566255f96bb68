/* SPDX-License-Identifier: MIT */
/*
 * membership.c - who is here: gives out IDs and orders joins and leaves.
 *
 * Called by the registrar only. Knows nothing of sockets, eventfds or threads.
 */
#include "membership.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "ledger.h"
#include "state.h"
#include "sys.h"

static struct member *member_of(struct membership *m, uint32_t id)
{
	assert(id >= m->first_id && id - m->first_id < m->peers_max);
	return &m->members[id - m->first_id];
}

static void queue_free(struct membership *m, uint32_t id)
{
	member_of(m, id)->next_free = MEMBERSHIP_NOBODY;
	if (m->free_last == MEMBERSHIP_NOBODY)
		m->free_first = id;
	else
		member_of(m, m->free_last)->next_free = id;
	m->free_last = id;
}

/* Takes the first out of the queue that may be taken. */
static uint32_t take_free(
	struct membership *m, bool (*may)(void *argument, uint32_t id), void *argument)
{
	uint32_t before = MEMBERSHIP_NOBODY, id = m->free_first, next;

	while (id != MEMBERSHIP_NOBODY && !may(argument, id)) {
		before = id;
		id = member_of(m, id)->next_free;
	}
	if (id == MEMBERSHIP_NOBODY)
		return MEMBERSHIP_NOBODY;
	next = member_of(m, id)->next_free;
	if (before == MEMBERSHIP_NOBODY)
		m->free_first = next;
	else
		member_of(m, before)->next_free = next;
	if (next == MEMBERSHIP_NOBODY)
		m->free_last = before;
	return id;
}

static bool any(void *argument, uint32_t id)
{
	(void)argument;
	(void)id;
	return true;
}

static bool just_this(void *argument, uint32_t id)
{
	return *(const uint32_t *)argument == id;
}

int membership_init(struct membership *m, uint32_t first_id, uint32_t peers_max, uint16_t workers)
{
	assert(peers_max > 0 && workers > 0);
	*m = (struct membership){
		.first_id = first_id,
		.peers_max = peers_max,
		.workers = workers,
		.free_first = MEMBERSHIP_NOBODY,
		.free_last = MEMBERSHIP_NOBODY,
	};
	m->load = sys_calloc(workers, sizeof(*m->load));
	m->members = sys_calloc(peers_max, sizeof(*m->members));
	if (!m->load || !m->members) {
		membership_destroy(m);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < peers_max; i++)
		queue_free(m, first_id + i);
	return 0;
}

struct freed {
	uint64_t nth;
	uint32_t id;
};

static int by_freed(const void *a, const void *b)
{
	const struct freed *left = a, *right = b;

	if (left->nth != right->nth)
		return left->nth < right->nth ? -1 : 1;
	return left->id < right->id ? -1 : left->id > right->id;
}

int membership_restore(struct membership *m, const struct state *state)
{
	struct freed *freed = sys_calloc(m->peers_max, sizeof(*freed));
	uint32_t count = 0;

	if (!freed)
		return -ENOMEM;
	m->free_first = m->free_last = MEMBERSHIP_NOBODY;
	for (uint32_t id = m->first_id; id - m->first_id < m->peers_max; id++) {
		struct member *member = member_of(m, id);

		if (!ledger_taken(state, id)) {
			freed[count++] = (struct freed){state->members[id].freed, id};
			continue;
		}
		member->state = ledger_present(state, id) ? MEMBER_PRESENT : MEMBER_OPENING;
		member->worker = (uint16_t)(state->members[id].worker % m->workers);
		m->load[member->worker]++;
		if (member->state == MEMBER_PRESENT)
			m->present++;
		else
			m->opening++;
	}
	/* Free longest, given next; those that nobody has had yet before all others. */
	qsort(freed, count, sizeof(*freed), by_freed);
	for (uint32_t i = 0; i < count; i++)
		queue_free(m, freed[i].id);
	free(freed);
	m->joins = state->live->joins;
	m->leaves = state->live->leaves;
	m->refused = state->live->refused;
	return 0;
}

void membership_destroy(struct membership *m)
{
	free(m->members);
	free(m->load);
	*m = (struct membership){0};
}

static uint16_t least_loaded(const struct membership *m)
{
	uint16_t best = 0;

	for (uint16_t w = 1; w < m->workers; w++)
		if (m->load[w] < m->load[best])
			best = w;
	return best;
}

static struct intent adopt(struct membership *m, uint32_t together, uint32_t id)
{
	struct member *member = member_of(m, id);

	assert(member->state == MEMBER_FREE);
	member->state = MEMBER_OPENING;
	member->worker = together == MEMBERSHIP_ANYWHERE ? least_loaded(m)
							 : (uint16_t)(together % m->workers);
	m->load[member->worker]++;
	m->opening++;
	return (struct intent){.kind = INTENT_ADOPT, .id = id, .worker = member->worker};
}

struct intent membership_connected_where(struct membership *m, uint32_t together,
	bool (*may)(void *argument, uint32_t id), void *argument)
{
	uint32_t id = take_free(m, may, argument);

	if (id == MEMBERSHIP_NOBODY)
		return (struct intent){.kind = INTENT_REFUSE};
	return adopt(m, together, id);
}

struct intent membership_connected(struct membership *m, uint32_t together)
{
	struct intent intent = membership_connected_where(m, together, any, NULL);

	m->refused += intent.kind == INTENT_REFUSE;
	return intent;
}

struct intent membership_connected_as(struct membership *m, uint32_t together, uint32_t id)
{
	if (!member_of(m, id)->kept)
		(void)take_free(m, just_this, &id);
	return adopt(m, together, id);
}

void membership_keep(struct membership *m, uint32_t id, bool kept)
{
	struct member *member = member_of(m, id);

	if (member->kept == kept)
		return;
	if (member->state == MEMBER_FREE && kept)
		(void)take_free(m, just_this, &id);
	else if (member->state == MEMBER_FREE)
		queue_free(m, id);
	member->kept = kept;
}

bool membership_is_free(const struct membership *m, uint32_t id)
{
	assert(id >= m->first_id && id - m->first_id < m->peers_max);
	return m->members[id - m->first_id].state == MEMBER_FREE;
}

void membership_refused(struct membership *m)
{
	m->refused++;
}

struct intent membership_opened(struct membership *m, uint32_t id)
{
	struct member *member = member_of(m, id);

	assert(member->state == MEMBER_OPENING);
	member->state = MEMBER_PRESENT;
	m->opening--;
	m->present++;
	m->joins++;
	return (struct intent){.kind = INTENT_JOIN, .id = id, .worker = member->worker};
}

struct intent membership_gone(struct membership *m, uint32_t id)
{
	struct member *member = member_of(m, id);
	bool was_present = member->state == MEMBER_PRESENT;

	assert(member->state != MEMBER_FREE);
	assert(m->load[member->worker] > 0);
	if (was_present) {
		m->present--;
		m->leaves++;
	} else {
		m->opening--;
	}
	m->load[member->worker]--;
	member->state = MEMBER_FREE;
	if (!member->kept)
		queue_free(m, id);
	return (struct intent){
		.kind = was_present ? INTENT_LEAVE : INTENT_NONE,
		.id = id,
		.worker = member->worker,
	};
}
