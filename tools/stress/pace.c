/* SPDX-License-Identifier: MIT */
/*
 * pace.c - when each of many senders is meant to send next: an open loop.
 *
 * A binary heap. One thread.
 */
#include "pace.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

int pace_init(struct pace *p, uint32_t senders, double gap_ns, uint64_t seed)
{
	assert(gap_ns > 0);
	*p = (struct pace){.size = senders, .gap_ns = gap_ns, .dice = {seed}};
	p->heap = calloc(senders ? senders : 1, sizeof(*p->heap));
	return p->heap ? 0 : -ENOMEM;
}

void pace_destroy(struct pace *p)
{
	free(p->heap);
	*p = (struct pace){0};
}

static void push(struct pace *p, struct pace_turn turn)
{
	uint32_t at = p->count++;

	assert(at < p->size);
	while (at > 0 && p->heap[(at - 1) / 2].due_ns > turn.due_ns) {
		p->heap[at] = p->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	p->heap[at] = turn;
}

/* 0..1, neither of them. */
static double share(struct dice *dice)
{
	return ((double)(dice_next(dice) >> 11) + 0.5) / 9007199254740992.0;
}

void pace_add(struct pace *p, uint32_t sender, uint64_t now_ns)
{
	push(p, (struct pace_turn){now_ns + (uint64_t)(share(&p->dice) * p->gap_ns), sender});
}

uint64_t pace_due_ns(const struct pace *p)
{
	return p->count ? p->heap[0].due_ns : UINT64_MAX;
}

struct pace_turn pace_take(struct pace *p)
{
	struct pace_turn first = p->heap[0], moved = p->heap[--p->count];
	uint32_t at = 0;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= p->count)
			break;
		if (child + 1 < p->count && p->heap[child + 1].due_ns < p->heap[child].due_ns)
			child++;
		if (p->heap[child].due_ns >= moved.due_ns)
			break;
		p->heap[at] = p->heap[child];
		at = child;
	}
	p->heap[at] = moved;
	return first;
}

void pace_done(struct pace *p, struct pace_turn turn)
{
	turn.due_ns += (uint64_t)(-log(share(&p->dice)) * p->gap_ns);
	push(p, turn);
}
