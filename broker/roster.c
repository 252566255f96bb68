/* SPDX-License-Identifier: MIT */
/*
 * roster.c - one thread's replica of the membership log.
 *
 * Knows IDs and their order of change, nothing of sockets, eventfds or who is
 * told what (view.c).
 */
#include "roster.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "heap.h"
#include "sys.h"

static uint32_t cap_of(uint32_t ids_max)
{
	return ids_max + ids_max / 2 + 1;
}

int roster_init(struct roster *r, uint32_t ids_max)
{
	/* Half as many again as IDs: a compaction leaves at most ids_max changes, so at
	 * least half as many appends pass before the next. The cost of one append is
	 * constant on average. */
	uint32_t cap = cap_of(ids_max);

	assert(ids_max > 0 && ids_max <= UINT32_MAX / 2);
	*r = (struct roster){.ids_max = ids_max, .cap = cap};
	r->changes = sys_calloc(cap, sizeof(*r->changes));
	r->at = sys_calloc(ids_max, sizeof(*r->at));
	r->zones = sys_calloc(ids_max, sizeof(*r->zones));
	if (!r->changes || !r->at || !r->zones) {
		roster_destroy(r);
		return -ENOMEM;
	}
	for (uint32_t id = 0; id < ids_max; id++) {
		r->at[id] = ROSTER_NOBODY;
		r->zones[id] = ROSTER_ZONES_ALL;
	}
	return 0;
}

void roster_destroy(struct roster *r)
{
	free(r->zones);
	free(r->at);
	free(r->changes);
	*r = (struct roster){0};
}

uint64_t roster_bytes(uint32_t ids_max)
{
	return heap_given((uint64_t)cap_of(ids_max) * sizeof(struct roster_change)) +
	       heap_given(ids_max * sizeof(uint32_t)) + heap_given(ids_max * sizeof(uint64_t));
}

static void compact(struct roster *r)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < r->count; i++) {
		if (r->changes[i].id == ROSTER_NOBODY)
			continue;
		r->at[r->changes[i].id] = kept;
		r->changes[kept++] = r->changes[i];
	}
	r->count = kept;
}

void roster_append(struct roster *r, uint32_t id, bool present)
{
	roster_restore(r, id, r->end + 1, present);
}

void roster_restore(struct roster *r, uint32_t id, uint64_t seq, bool present)
{
	assert(id < r->ids_max && seq > r->end);
	if (r->at[id] != ROSTER_NOBODY)
		r->changes[r->at[id]].id = ROSTER_NOBODY;
	if (r->count == r->cap)
		compact(r);
	assert(r->count < r->cap);
	r->at[id] = r->count;
	r->changes[r->count++] = (struct roster_change){.seq = seq, .id = id, .present = present};
	r->end = seq;
}

const struct roster_change *roster_after(const struct roster *r, uint64_t seq)
{
	uint32_t low = 0, high = r->count;

	/* No number is there twice. So at most as many changes come after @seq as numbers were
	 * given since, and at most as many before it as were from the first one on. Where none has
	 * been squeezed out that is one and the same place, and else often a narrow one. */
	if (high && r->end - seq < high)
		low = high - (uint32_t)(r->end - seq);
	if (high && seq < r->changes[0].seq)
		high = 0;
	else if (high && seq - r->changes[0].seq < high)
		high = (uint32_t)(seq - r->changes[0].seq) + 1;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (r->changes[middle].seq <= seq)
			low = middle + 1;
		else
			high = middle;
	}
	while (low < r->count && r->changes[low].id == ROSTER_NOBODY)
		low++;
	return low < r->count ? &r->changes[low] : NULL;
}
