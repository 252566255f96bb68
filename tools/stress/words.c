/* SPDX-License-Identifier: MIT */
/*
 * words.c - what host and guests of a run tell each other, and what is believed of it.
 */
#include "words.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define MAGIC   UINT64_C(0x7a6d61662d727473)
#define VERSION 1u

#define HEAD offsetof(struct words, welcome)

static_assert(sizeof(struct words) <= 2024, "fits the smallest lane");

void words_begin(struct words *w, enum words_kind kind)
{
	memset(w, 0, sizeof(*w));
	w->magic = MAGIC;
	w->version = VERSION;
	w->kind = kind;
}

/* SIZE_MAX: there is no such kind, or its list is longer than lists are. */
static size_t bytes_of(const struct words *w)
{
	static const size_t bytes[WORDS_KINDS] = {
		[WORDS_WELCOME] = sizeof(w->welcome),
		[WORDS_START] = sizeof(w->start),
		[WORDS_STATE] = sizeof(w->state),
		[WORDS_COUNTS] = sizeof(w->counts),
		[WORDS_SERIES] = sizeof(w->series),
		[WORDS_VERDICT] = sizeof(w->verdict),
	};

	switch (w->kind) {
	case WORDS_HELLO:
	case WORDS_DONE:
		return HEAD;
	case WORDS_ROSTER:
		return w->roster.count > WORDS_IDS_MAX
			       ? SIZE_MAX
			       : HEAD + offsetof(struct words_roster, ids) +
					 w->roster.count * sizeof(w->roster.ids[0]);
	case WORDS_BUCKETS:
		return w->buckets.count > WORDS_BUCKETS_MAX
			       ? SIZE_MAX
			       : HEAD + offsetof(struct words_buckets, all) +
					 w->buckets.count * sizeof(w->buckets.all[0]);
	default:
		return w->kind < WORDS_KINDS && bytes[w->kind] ? HEAD + bytes[w->kind] : SIZE_MAX;
	}
}

size_t words_bytes(const struct words *w)
{
	size_t bytes = bytes_of(w);

	assert(bytes <= sizeof(*w));
	return bytes;
}

static bool is_time(double s)
{
	return isfinite(s) && s >= 0 && s <= 604800;
}

static bool within_bounds(const struct words *w)
{
	const struct words_start *s = &w->start;

	switch (w->kind) {
	case WORDS_WELCOME:
		return w->welcome.companion <= FAMEZ_WIRE_ID_MAX &&
		       w->welcome.vector < FAMEZ_WIRE_VECTORS_MAX;
	case WORDS_START:
		return memchr(s->scenario, 0, sizeof(s->scenario)) && s->peers >= 2 &&
		       s->peers < BOARD_IDS && s->guests >= 1 && s->guests < BOARD_IDS &&
		       s->number >= s->peers && s->number < s->peers + s->guests &&
		       isfinite(s->rate) && s->rate >= 0 && is_time(s->time_s) &&
		       is_time(s->warm_up_s) && is_time(s->patience_s);
	case WORDS_SERIES:
		return w->series.series < BOARD_SERIES_MAX && w->series.counted <= w->series.heard;
	case WORDS_BUCKETS:
		for (uint32_t k = 0; k < w->buckets.count; k++)
			if (w->buckets.all[k].bucket >= HISTOGRAM_BUCKETS)
				return false;
		return w->buckets.series < BOARD_SERIES_MAX;
	case WORDS_VERDICT:
		return memchr(w->verdict.why, 0, sizeof(w->verdict.why));
	default:
		return true;
	}
}

bool words_read(struct words *w, const void *payload, size_t bytes)
{
	if (bytes < HEAD || bytes > sizeof(*w))
		return false;
	memset(w, 0, sizeof(*w));
	memcpy(w, payload, bytes);
	return w->magic == MAGIC && w->version == VERSION && bytes_of(w) == bytes &&
	       within_bounds(w);
}

void words_clean(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}
