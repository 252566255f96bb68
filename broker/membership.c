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

#include "sys.h"

#define NO_ID UINT32_MAX

static struct member *member_of(struct membership *m, uint32_t id)
{
	assert(id >= m->first_id && id - m->first_id < m->peers_max);
	return &m->members[id - m->first_id];
}

static void queue_free(struct membership *m, uint32_t id)
{
	member_of(m, id)->next_free = NO_ID;
	if (m->free_last == NO_ID)
		m->free_first = id;
	else
		member_of(m, m->free_last)->next_free = id;
	m->free_last = id;
}

static uint32_t take_free(struct membership *m)
{
	uint32_t id = m->free_first;

	if (id == NO_ID)
		return NO_ID;
	m->free_first = member_of(m, id)->next_free;
	if (m->free_first == NO_ID)
		m->free_last = NO_ID;
	return id;
}

int membership_init(struct membership *m, uint32_t first_id, uint32_t peers_max, uint16_t workers)
{
	assert(peers_max > 0 && workers > 0);
	*m = (struct membership){
		.first_id = first_id,
		.peers_max = peers_max,
		.workers = workers,
		.free_first = NO_ID,
		.free_last = NO_ID,
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

struct intent membership_connected(struct membership *m, uint32_t together)
{
	uint32_t id = take_free(m);
	struct member *member;

	if (id == NO_ID) {
		m->refused++;
		return (struct intent){.kind = INTENT_REFUSE};
	}
	member = member_of(m, id);
	assert(member->state == MEMBER_FREE);
	member->state = MEMBER_OPENING;
	member->worker = together == MEMBERSHIP_ANYWHERE ? least_loaded(m)
							 : (uint16_t)(together % m->workers);
	m->load[member->worker]++;
	m->opening++;
	return (struct intent){.kind = INTENT_ADOPT, .id = id, .worker = member->worker};
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
	queue_free(m, id);
	return (struct intent){
		.kind = was_present ? INTENT_LEAVE : INTENT_NONE,
		.id = id,
		.worker = member->worker,
	};
}
