/* SPDX-License-Identifier: MIT */
/*
 * ledger.c - membership as it is written down in the state memory.
 *
 * Each function says where a death would leave it. Knows nothing of sockets and messages.
 */
#include "ledger.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static uint32_t owner_sum(uint32_t id, const struct state_member *m)
{
	uint32_t sum = state_sum(id, &m->cookie,
		offsetof(struct state_member, check) - offsetof(struct state_member, cookie));

	return state_sum(sum, m->exe, sizeof(m->exe));
}

void ledger_take(struct state *s, uint32_t id, const struct ledger_newcomer *n)
{
	struct state_member *m = &s->members[id];
	unsigned long *held = state_held(s, id);
	size_t words = VIEW_HELD_WORDS(s->head->wish.ids_max);
	static const struct view nothing_sent = {.step = VIEW_VERSION};

	assert(!ledger_taken(s, id));
	/* Until `taken` none of this counts: its socket is one that nobody knows, so whoever is
	 * behind it is a newcomer again. */
	m->joins++;
	state_point();
	m->said = n->said;
	state_point();
	m->cookie = n->cookie;
	atomic_store_explicit(&m->zones, n->zones, memory_order_relaxed);
	m->pid = n->client->pid;
	m->uid = n->client->uid;
	m->device = n->client->device;
	m->leaves = n->leaves;
	m->worker = n->worker;
	state_point();
	memset(m->exe, 0, sizeof(m->exe));
	(void)memccpy(m->exe, n->client->exe, 0, sizeof(m->exe) - 1);
	state_point();
	m->check = owner_sum(id, m);
	state_point();
	memset(held, 0, words * sizeof(*held));
	state_point();
	state_view_put(s, id, &nothing_sent, false);
	atomic_store_explicit(&m->sock, n->sock, memory_order_relaxed);
	state_point();
	atomic_store_explicit(&m->taken, 1, memory_order_release);
	state_point();
}

void ledger_join(struct state *s, uint32_t id)
{
	assert(ledger_taken(s, id) && !ledger_present(s, id));
	atomic_store_explicit(&s->members[id].change, ++s->seq << 1 | 1, memory_order_release);
	state_point();
	s->live->joins++;
	state_point();
}

void ledger_leave(struct state *s, uint32_t id, uint64_t said)
{
	struct state_member *m = &s->members[id];

	assert(ledger_taken(s, id) && ledger_sock(s, id) < 0);
	m->said = said;
	state_point();
	if (!ledger_present(s, id))
		return;
	atomic_store_explicit(&m->change, ++s->seq << 1, memory_order_release);
	state_point();
	s->live->leaves++;
	state_point();
}

void ledger_free(struct state *s, uint32_t id)
{
	struct state_member *m = &s->members[id];

	assert(ledger_taken(s, id) && !ledger_present(s, id) && ledger_sock(s, id) < 0);
	m->freed = ++s->freed;
	state_point();
	atomic_store_explicit(&m->taken, 0, memory_order_release);
	state_point();
}

void ledger_refused(struct state *s)
{
	s->live->refused++;
	state_point();
}

void ledger_closing(struct state *s, uint32_t id)
{
	atomic_store_explicit(&s->members[id].sock, -1, memory_order_release);
	state_point();
}

bool ledger_taken(const struct state *s, uint32_t id)
{
	return atomic_load_explicit(&s->members[id].taken, memory_order_acquire) != 0;
}

bool ledger_present(const struct state *s, uint32_t id)
{
	return atomic_load_explicit(&s->members[id].change, memory_order_acquire) & 1;
}

int ledger_sock(const struct state *s, uint32_t id)
{
	return atomic_load_explicit(&s->members[id].sock, memory_order_acquire);
}

bool ledger_sound(const struct state *s, uint32_t id)
{
	const struct state_member *m = &s->members[id];

	return m->check == owner_sum(id, m) && m->worker < s->head->wish.workers;
}

void ledger_client(const struct state *s, uint32_t id, struct client *c)
{
	const struct state_member *m = &s->members[id];

	*c = (struct client){.pid = m->pid, .uid = m->uid, .gid = (gid_t)-1, .device = m->device};
	memcpy(c->exe, m->exe, sizeof(c->exe));
	c->exe[sizeof(c->exe) - 1] = '\0';
}
