/* SPDX-License-Identifier: MIT */
/*
 * box.h - memory for lanes, mapped exactly: whoever reads or writes outside of it dies.
 *
 * box_lane() has one lane: its control, its data and an inbox, each between pages that nobody may
 * touch. box_fabric() has a whole mailbox's inboxes and lanes for some IDs, in one piece. Both
 * are shared with the processes that are forked later.
 */
#ifndef BOX_H
#define BOX_H

#include "famez/inbox.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

enum { BOX_PAGE = 4096 };

struct box {
	void *base;
	uint64_t bytes;
	struct famez_geometry g;
};

static inline void box_map(struct box *b, uint64_t bytes)
{
	b->bytes = bytes;
	b->base = mmap(NULL, bytes, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(b->base != MAP_FAILED);
}

/* These pages may be touched; the ones around them not. */
static inline void box_open(struct box *b, uint64_t offset, uint64_t bytes)
{
	int err = mprotect((char *)b->base + offset, bytes, PROT_READ | PROT_WRITE);

	assert(err == 0);
	(void)err;
}

/* One lane, receiver 0 and sender 0. The control and the inbox end where their page does. */
static inline void box_lane(struct box *b, uint32_t lane_bytes)
{
	box_map(b, lane_bytes + 6UL * BOX_PAGE);
	b->g = (struct famez_geometry){.bytes = b->bytes,
		.ids = 1,
		.lane_bytes = lane_bytes,
		.inbox_bytes = 128,
		.lane_offset = 2UL * BOX_PAGE - sizeof(struct famez_lane),
		.data_offset = 3UL * BOX_PAGE,
		.server_id = FAMEZ_NOBODY,
		.vectors = 1,
		.server_shards = 1};
	b->g.inbox_offset = b->bytes - BOX_PAGE - b->g.inbox_bytes;
	box_open(b, BOX_PAGE, BOX_PAGE);
	box_open(b, b->g.data_offset, lane_bytes);
	box_open(b, b->bytes - 2UL * BOX_PAGE, BOX_PAGE);
}

/* Inboxes and lanes of @ids, and no slots and no directory; what lies behind ends the mapping. */
static inline void box_fabric(struct box *b, uint32_t ids, uint32_t lane_bytes)
{
	uint64_t inboxes, lanes, data, end;

	b->g = (struct famez_geometry){.ids = ids,
		.lane_bytes = lane_bytes,
		.inbox_bytes = (uint32_t)(64 + famez_round_up(famez_round_up(ids, 64) / 8, 64)),
		.server_id = FAMEZ_NOBODY,
		.vectors = 1,
		.server_shards = 1};
	data = (uint64_t)ids * ids * lane_bytes;
	lanes = (uint64_t)ids * ids * sizeof(struct famez_lane);
	inboxes = (uint64_t)ids * b->g.inbox_bytes;
	end = BOX_PAGE + famez_round_up(inboxes + lanes + data, BOX_PAGE);
	box_map(b, end + BOX_PAGE);
	box_open(b, BOX_PAGE, end - BOX_PAGE);
	b->g.bytes = b->bytes;
	b->g.data_offset = end - data;
	b->g.lane_offset = b->g.data_offset - lanes;
	b->g.inbox_offset = b->g.lane_offset - inboxes;
}

static inline void box_close(struct box *b)
{
	int err = munmap(b->base, b->bytes);

	assert(err == 0);
	(void)err;
}

/* Everything that may be touched is zero again. */
static inline void box_wipe(struct box *b)
{
	memset((char *)b->base + b->g.inbox_offset, 0, (size_t)b->g.ids * b->g.inbox_bytes);
	memset((char *)b->base + b->g.lane_offset, 0,
		(size_t)b->g.ids * b->g.ids * sizeof(struct famez_lane));
	memset((char *)b->base + b->g.data_offset, 0,
		(size_t)b->g.ids * b->g.ids * b->g.lane_bytes);
}

#endif
