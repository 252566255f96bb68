// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Texts by v1 slots: FAME-Z's, F.E.E.'s and EmerGen-Z's way.
 *
 * Slot i holds the one text that peer i sends, and not whom it is for: who is rung with vector i
 * takes it, and stores 0 in its length. So slots are only read after an interrupt, but for texts
 * that waited when we came, and bear our ID as their last responder. Where there is no header
 * v2, the slots are all there is, and who has a name in his is present. Runs under the
 * device's lock.
 */
#include <linux/bitmap.h>
#include <linux/string.h>

#include "fz.h"

#define TEXT_BYTES_MAX (FZ_TEXT - 1)

/* Where the words of one slot are, in either layout. */
struct slot {
	char *name, *cclass, *text; /* cclass: NULL in FAME-Z's */
	u64 *text_bytes, *last_responder, *sid, *cid;
};

static struct slot slot_of(struct fz_device *dev, u32 id)
{
	struct famez_slot *s = famez_slot_at(dev->memory, id);
	struct famez_slot_old *old = (void *)s;

	if (dev->g.features & FAMEZ_FEATURE_OLD_SLOTS)
		return (struct slot){ old->name,
				      NULL,
				      old->text,
				      &old->text_bytes,
				      &old->last_responder,
				      &old->peer_sid,
				      &old->peer_cid };
	return (struct slot){ s->name,	      s->cclass,	  s->text,
			      &s->text_bytes, &s->last_responder, &s->peer_sid,
			      &s->peer_cid };
}

const char *fz_slot_name(struct fz_device *dev, u32 id)
{
	return slot_of(dev, id).name;
}

/* NULL: this layout has none. */
const char *fz_slot_class(struct fz_device *dev, u32 id)
{
	return slot_of(dev, id).cclass;
}

/* Are there slots without a header v2? Takes their geometry, once. Returns 0 or -ENOENT. */
int fz_slots_read(struct fz_device *dev)
{
	struct famez_globals *globals = dev->memory;
	u64 clients = famez_load_relaxed(&globals->clients);
	struct famez_slot *ours;

	if (famez_load_relaxed(&globals->slot_bytes) != FAMEZ_SLOT_BYTES ||
	    famez_load_relaxed(&globals->text_offset) != FAMEZ_SLOT_TEXT_OFFSET || !clients ||
	    clients > 65534 || (clients + 2) * FAMEZ_SLOT_BYTES > dev->bytes ||
	    famez_load_relaxed(&globals->events) != clients + 2 ||
	    famez_load_relaxed(&globals->server_id) != clients + 1 || !dev->id || dev->id > clients)
		return -ENOENT;
	dev->g.ids = clients + 2;
	dev->g.server_id = clients + 1;
	dev->g.vectors = clients + 2;
	dev->g.server_shards = 1;
	dev->g.features = FAMEZ_FEATURE_VECTOR_IS_SENDER;
	/* The server has stored each slot's ID, in one place or the other. */
	ours = famez_slot_at(dev->memory, dev->id);
	if (famez_load_relaxed(&ours->peer_id) != dev->id &&
	    famez_load_relaxed(&((struct famez_slot_old *)(void *)ours)->peer_id) == dev->id)
		dev->g.features |= FAMEZ_FEATURE_OLD_SLOTS;
	return 0;
}

static void say_name(struct fz_device *dev, const char *name, const char *cclass)
{
	struct slot slot = slot_of(dev, dev->id);

	memset(slot.name, 0, FAMEZ_NAME_BYTES);
	memcpy(slot.name, name, strnlen(name, FAMEZ_NAME_BYTES - 1));
	if (slot.cclass) {
		memset(slot.cclass, 0, FAMEZ_NAME_BYTES);
		memcpy(slot.cclass, cclass, strnlen(cclass, FAMEZ_NAME_BYTES - 1));
	}
}

void fz_slots_rename(struct fz_device *dev)
{
	say_name(dev, dev->name, FZ_CCLASS);
}

/* Name and class, and that no text waits. */
void fz_slots_start(struct fz_device *dev)
{
	u32 id;

	famez_store_release(slot_of(dev, dev->id).text_bytes, UINT64_C(0));
	fz_slots_rename(dev);
	dev->text_to = 0;
	for (id = 1; dev->slots && id < dev->g.ids; id++)
		if (famez_load_relaxed(slot_of(dev, id).last_responder) == dev->id)
			set_bit(id, dev->rung);
}

void fz_slots_stop(struct fz_device *dev)
{
	say_name(dev, "", "");
	famez_store_release(slot_of(dev, dev->id).text_bytes, UINT64_C(0));
}

/* Has the one whom the text in our slot is for gone? Then nobody will take it. */
static bool is_orphan(struct fz_device *dev)
{
	struct fz_presence was;

	if (!dev->text_to)
		return false;
	was = fz_presence_of(dev, dev->text_to);
	return !was.present || was.lanes || was.joins != dev->text_joins;
}

/* As fz_post_try(); -EAGAIN: our last text was not taken yet. */
int fz_slots_try(struct fz_device *dev, u32 peer, const void *text, u32 bytes)
{
	struct fz_presence is = fz_presence_of(dev, peer);
	struct slot slot = slot_of(dev, dev->id);

	if (!is.present)
		return -ENOTCONN;
	if (is.lanes || !is.slot || peer == dev->id)
		return -EOPNOTSUPP;
	if (!bytes || bytes > TEXT_BYTES_MAX)
		return -EMSGSIZE;
	/* Acquire: its taker has read the last text before it said so. */
	if (famez_load_acquire(slot.text_bytes) && !is_orphan(dev))
		return -EAGAIN;
	memcpy(slot.text, text, bytes);
	slot.text[bytes] = 0;
	famez_store_relaxed(slot.last_responder, (u64)peer);
	famez_store_release(slot.text_bytes, (u64)bytes);
	dev->text_to = peer;
	dev->text_joins = is.joins;
	fz_ring(dev, peer, dev->id);
	return 0;
}

/* False: it has to wait, in its slot, for room in the queue. */
static bool take(struct fz_device *dev, u32 sender)
{
	struct slot slot = slot_of(dev, sender);
	u64 length = famez_load_acquire(slot.text_bytes);
	struct fz_message *m;

	if (!length || sender == dev->id || fz_presence_of(dev, sender).lanes)
		return true;
	if (length > TEXT_BYTES_MAX) {
		atomic64_inc(&dev->counts.garbled);
		goto taken;
	}
	memcpy(dev->text, slot.text, length);
	dev->text[length] = 0;
	length = strlen(dev->text);
	if (!length)
		goto taken;
	/* Its slot is free before it is answered: it may have to answer in turn. */
	if (fz_queue_room(dev, sender, length, &m))
		return false;
	memcpy(m->payload, dev->text, length);
	famez_store_relaxed(slot.sid, (u64)FZ_SID_DEFAULT);
	famez_store_relaxed(slot.cid, (u64)FZ_CID_DEFAULT(dev->id));
	/* Release: our reads come before the next text. */
	famez_store_release(slot.text_bytes, UINT64_C(0));
	if (fz_hear_text(dev, sender)) {
		fz_queue_drop(dev, m);
		return true;
	}
	m->head.origin = sender;
	m->head.type = FAMEZ_TYPE_LINK;
	m->head.flags = FAMEZ_PACKET_SLOT;
	fz_queue_put(dev, m);
	return true;

taken:
	famez_store_release(slot.text_bytes, UINT64_C(0));
	return true;
}

/* The slots whose vectors were rung. There is never more than one text in each. */
void fz_slots_look(struct fz_device *dev)
{
	unsigned int word, bit;

	for (word = 0; word < BITS_TO_LONGS(dev->vectors); word++) {
		/* The bits go first, all else follows: who rings now is found at the next look. */
		unsigned long rung = READ_ONCE(dev->rung[word]) ? xchg(&dev->rung[word], 0) : 0;

		for_each_set_bit(bit, &rung, BITS_PER_LONG) {
			unsigned int vector = word * BITS_PER_LONG + bit;

			if (dev->slots && vector && vector < dev->g.ids && !take(dev, vector))
				set_bit(vector, dev->rung);
		}
	}
}
