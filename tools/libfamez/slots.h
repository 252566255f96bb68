/* SPDX-License-Identifier: MIT */
/*
 * slots.h - text by v1 slots, to and from peers that know nothing else. See slots.c.
 */
#ifndef FAMEZ_SLOTS_H
#define FAMEZ_SLOTS_H

#include "famez/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Where the words of one slot are; whose layout does not matter beyond this. */
struct slot {
	char *name;
	char *cclass; /* NULL in FAME-Z's older layout */
	uint64_t *text_bytes;
	char *text;
};

/** slot_at() - @id must be below g->ids, and not 0, which is no slot. */
void slot_at(struct slot *slot, void *base, const struct famez_geometry *g, uint32_t id);

/** slot_name() - write name and class, "" to have none, and say that no text waits. */
void slot_name(const struct slot *slot, const char *name, const char *cclass);

/** slot_put() - @bytes of text into our own slot. Returns 0, -EMSGSIZE, or -EAGAIN: the last text
 * was not taken yet. */
int slot_put(const struct slot *slot, const void *text, size_t bytes);

/**
 * slot_take() - the text of another's slot, which is told that it was taken.
 * @into: FAMEZ_SLOT_TEXT_BYTES; a NUL follows the text.
 * Returns 1 with *bytes; 0: no text; -EBADMSG: it made no sense, and is gone.
 */
int slot_take(const struct slot *slot, char *into, size_t *bytes);

#endif
