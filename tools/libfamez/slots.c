/* SPDX-License-Identifier: MIT */
/*
 * slots.c - text by v1 slots, to and from peers that know nothing else.
 *
 * Pure: memory in, memory out; it keeps nothing. A peer's slot holds the one text that it
 * sends, whoever the target; whose doorbell is rung with the sender's vector takes it, and
 * stores 0 in the sender's length. Lengths and text are anybody's to change: the length is
 * read once and checked, the text copied before anyone looks at it.
 */
#include "slots.h"

#include <errno.h>
#include <string.h>

/* The longest text: a NUL follows it. */
#define TEXT_BYTES_MAX (FAMEZ_SLOT_TEXT_BYTES - 1)

void slot_at(struct slot *slot, void *base, const struct famez_geometry *g, uint32_t id)
{
	struct famez_slot *s = famez_slot_at(base, id);

	if (g->features & FAMEZ_FEATURE_OLD_SLOTS) {
		struct famez_slot_old *old = (struct famez_slot_old *)(void *)s;

		*slot = (struct slot){
			.name = old->name, .text_bytes = &old->text_bytes, .text = old->text};
		return;
	}
	*slot = (struct slot){.name = s->name,
		.cclass = s->cclass,
		.text_bytes = &s->text_bytes,
		.text = s->text};
}

void slot_name(const struct slot *slot, const char *name, const char *cclass)
{
	memset(slot->name, 0, FAMEZ_NAME_BYTES);
	memcpy(slot->name, name, strnlen(name, FAMEZ_NAME_BYTES - 1));
	if (slot->cclass) {
		memset(slot->cclass, 0, FAMEZ_NAME_BYTES);
		memcpy(slot->cclass, cclass, strnlen(cclass, FAMEZ_NAME_BYTES - 1));
	}
	famez_store_release(slot->text_bytes, UINT64_C(0));
}

int slot_put(const struct slot *slot, const void *text, size_t bytes)
{
	if (bytes > TEXT_BYTES_MAX)
		return -EMSGSIZE;
	/* Acquire: its taker has read the last text before it said so. */
	if (famez_load_acquire(slot->text_bytes))
		return -EAGAIN;
	if (bytes)
		memcpy(slot->text, text, bytes);
	slot->text[bytes] = 0;
	/* Release: who looks at the length without having been rung finds the text. */
	famez_store_release(slot->text_bytes, (uint64_t)bytes);
	return 0;
}

int slot_take(const struct slot *slot, char *into, size_t *bytes)
{
	uint64_t length = famez_load_acquire(slot->text_bytes);

	if (!length)
		return 0;
	if (length <= TEXT_BYTES_MAX) {
		memcpy(into, slot->text, length);
		into[length] = 0;
		*bytes = strlen(into);
	}
	/* Release: our reads come before the next text. */
	famez_store_release(slot->text_bytes, UINT64_C(0));
	return length <= TEXT_BYTES_MAX ? 1 : -EBADMSG;
}
