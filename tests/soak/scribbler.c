// SPDX-License-Identifier: MIT
/*
 * scribbler.c - writes nonsense into the live mailbox, as a hostile guest could.
 *
 * It joins as any client does, opens no mailbox, and has the whole memory. What it writes is
 * partly noise and partly what could pass for sense: other words of the file, small numbers,
 * positions that are off by a little.
 */
#include "scribbler.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "dice.h"
#include "famez/mailbox.h"
#include "famez/peer.h"

struct region {
	unsigned char *at;
	uint64_t bytes;
};

#define REGIONS_MAX 12u

struct target {
	struct region regions[REGIONS_MAX]; /* each as likely as the others */
	unsigned count;
};

static void add(struct target *t, void *at, uint64_t bytes)
{
	assert(t->count < REGIONS_MAX);
	t->regions[t->count++] = (struct region){at, bytes};
}

/* But for how often it was found garbled, which is compared in the end. */
static void add_lane(struct target *t, struct famez_lane *lane)
{
	add(t, lane, offsetof(struct famez_lane, garbled));
	add(t, &lane->waiting, sizeof(*lane) - offsetof(struct famez_lane, waiting));
}

/* What two peers say to each other, and where both are told of who has something for them. */
static void add_pair(
	struct target *t, void *base, const struct famez_geometry *g, uint32_t a, uint32_t b)
{
	add_lane(t, famez_lane_at(base, g, a, b));
	add_lane(t, famez_lane_at(base, g, b, a));
	add(t, famez_lane_data_at(base, g, a, b), g->lane_bytes);
	add(t, famez_lane_data_at(base, g, b, a), g->lane_bytes);
	add(t, famez_inbox_at(base, g, a), g->inbox_bytes);
	add(t, famez_inbox_at(base, g, b), g->inbox_bytes);
}

static uint64_t *somewhere(struct dice *dice, const struct target *t)
{
	const struct region *r = &t->regions[dice_below(dice, t->count)];

	return (uint64_t *)(void *)(r->at + 8 * (dice_next(dice) % (r->bytes / 8)));
}

static void scribble(struct dice *dice, const struct target *t)
{
	uint64_t *word = somewhere(dice, t), value = dice_next(dice);

	switch (dice_below(dice, 8)) {
	case 0:
		value = 0;
		break;
	case 1:
		value = UINT64_MAX;
		break;
	case 2:
		value &= 255;
		break;
	case 3: /* a word of elsewhere, or one that was a little different */
		value = famez_load_relaxed(somewhere(dice, t));
		break;
	case 4:
		value = famez_load_relaxed(word) + 8 * (int64_t)(value % 64) - 256;
		break;
	case 5: /* one bit */
		value = famez_load_relaxed(word) ^ UINT64_C(1) << (value & 63);
		break;
	case 6: { /* half a word, which others have beside another one */
		uint32_t *half = (uint32_t *)(void *)word + (value & 1);

		famez_store_relaxed(half, (uint32_t)(value >> 32));
		return;
	}
	default:
		break;
	}
	famez_store_relaxed(word, value);
}

static uint32_t id_of(struct ledger *l, uint32_t seat)
{
	return atomic_load(&l->lives[atomic_load(&l->seats[seat].life)].id);
}

int scribbler_run(struct ledger *ledger)
{
	const struct famez_join how = {.socket = ledger->plan.socket};
	struct dice dice = {ledger->plan.seed ^ 0x5c71bb1e};
	uint32_t nap_ns = 200000;
	unsigned char header[FAMEZ_SLOT_BYTES];
	struct famez_geometry g;
	struct target t = {0};
	struct famez *f;
	size_t bytes;
	void *base;
	int err;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = famez_join(&f, &how);
	if (err) {
		ledger_fail(ledger, "the scribbler: joining gives error %d", -err);
		return 1;
	}
	base = famez_memory(f, &bytes);
	err = famez_geometry_read(&g, base, bytes);
	if (err) {
		ledger_fail(ledger, "the scribbler finds no lanes, error %d", -err);
		return 1;
	}
	memcpy(header, base, sizeof(header));
	switch (ledger->plan.scribble) {
	case SCRIBBLE_HEADER:
		add(&t, base, FAMEZ_SLOT_BYTES);
		break;
	case SCRIBBLE_PAIR:
		add_pair(&t, base, &g, id_of(ledger, 0), id_of(ledger, 1));
		break;
	case SCRIBBLE_LANES:
		nap_ns = 2000000;
		add(&t, famez_inbox_at(base, &g, 0), (uint64_t)g.ids * g.inbox_bytes);
		add(&t, famez_lane_at(base, &g, 0, 0),
			(uint64_t)g.ids * g.ids * sizeof(struct famez_lane));
		add(&t, famez_lane_data_at(base, &g, 0, 0), (uint64_t)g.ids * g.ids * g.lane_bytes);
		break;
	default:
		nap_ns = 200000000;
		add(&t, base, bytes);
		add(&t, base, g.data_offset);
		add(&t, (char *)base + g.directory_offset, g.ids * sizeof(struct famez_entry));
		add_pair(&t, base, &g, id_of(ledger, 0), id_of(ledger, 1));
		break;
	}
	while (ledger_phase(ledger) == PHASE_TALK) {
		struct timespec nap = {.tv_nsec = (long)dice_below(&dice, nap_ns)};
		unsigned many = 1 + dice_below(&dice, 64);

		for (unsigned i = 0; i < many; i++)
			scribble(&dice, &t);
		atomic_fetch_add(&ledger->scribbles, many);
		(void)nanosleep(&nap, NULL);
	}
	if (ledger->plan.scribble == SCRIBBLE_HEADER) /* for those who come later */
		memcpy(base, header, FAMEZ_HEADER_OFFSET + offsetof(struct famez_header, changes));
	famez_leave(f);
	return 0;
}
