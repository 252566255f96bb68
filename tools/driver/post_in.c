// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What comes by lanes, and what any text that came means.
 *
 * A message is copied out of the lane before anybody judges it. Link messages for a bridge are
 * answered here; the rest waits in the queue. Where that has no room for a sender's next
 * message, his lane is stalled: it is not looked at until somebody reads. So he waits, others
 * do not, and nothing is lost. Runs under the device's lock.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "fz.h"

/* Messages in one look; then the thread lets others have the lock. */
#define LOOK_MESSAGES 256

/* NULL where there is no memory, or where it is stalled: its bit in the bitmap stays. */
struct famez_rx *fz_post_open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct fz_device *dev = container_of(r, struct fz_device, post.reader);
	struct fz_in *in = dev->post.in[sender];

	if (in)
		return in->stalled ? NULL : &in->rx;
	in = kzalloc(sizeof(*in), GFP_KERNEL);
	if (!in)
		return NULL;
	famez_rx_open(&in->rx, r->base, r->g, r->id, sender, dev->post.generation);
	in->next = dev->post.in_all;
	dev->post.in_all = in;
	dev->post.in[sender] = in;
	return &in->rx;
}

/* Every lane once: doorbells that rang before there were interrupts rang for nobody. */
void fz_post_take_up(struct fz_device *dev)
{
	u32 sender;

	for (sender = 0; sender < dev->g.ids; sender++) {
		struct famez_lane *lane = famez_lane_at(dev->memory, &dev->g, dev->id, sender);
		struct famez_rx *rx;

		if (famez_load_relaxed(&lane->produced) == famez_load_relaxed(&lane->consumed))
			continue;
		rx = fz_post_open_lane(&dev->post.reader, sender);
		if (rx)
			famez_inbox_take(&dev->post.reader, rx);
	}
}

/* Is this one that its sender's ID now stands for, and one for users? */
static bool is_welcome(struct fz_device *dev, struct fz_in *in, const struct famez_seen *seen)
{
	unsigned int type = FAMEZ_KIND_TYPE(seen->kind);

	if (seen->from != in->from || !seen->from) { /* nobody's generation is 0 */
		struct fz_presence is = fz_presence_of(dev, in->rx.sender);

		/* Last words of who has gone are welcome, until there is another. */
		if (is.lanes && is.generation != seen->from) {
			in->rx.stale++;
			famez_store_relaxed(&in->rx.lane->stale, in->rx.stale);
			return false;
		}
		in->from = seen->from;
	}
	return type == FAMEZ_TYPE_DATA || type == FAMEZ_TYPE_LINK ||
	       (type == FAMEZ_TYPE_GROUP && in->rx.sender == dev->g.server_id);
}

/* dev->text came from this peer. True: it was for us as a bridge, and is dealt with. */
bool fz_hear_text(struct fz_device *dev, u32 sender)
{
	struct fz_to to = { .peer = sender, .kind = FAMEZ_KIND(FAMEZ_TYPE_LINK, 0) };
	struct fz_link link = {
		.cclass = FZ_CCLASS,
		.old = dev->g.features & FAMEZ_FEATURE_OLD_SLOTS,
		.from_manager = sender == dev->g.server_id,
		.cid = dev->cid,
		.sid = dev->sid,
	};

	if (!fz_link_hear(&link, dev->text, dev->answer))
		return false;
	dev->cid = link.cid;
	dev->sid = link.sid;
	/* Nobody waits for one who does not read. */
	if (fz_post_try(dev, to, dev->answer, strlen(dev->answer)))
		atomic64_inc(&dev->counts.dropped);
	else
		atomic64_inc(&dev->counts.answered);
	return true;
}

static bool is_text_for_us(struct fz_device *dev, const struct famez_seen *seen, u32 sender)
{
	if (FAMEZ_KIND_TYPE(seen->kind) != FAMEZ_TYPE_LINK || seen->bytes >= FZ_TEXT ||
	    seen->origin != sender) /* else one could have us write to third parties */
		return false;
	memcpy(dev->text, seen->payload, seen->bytes);
	dev->text[seen->bytes] = 0;
	return fz_hear_text(dev, sender);
}

/* False: it has to wait for room in the queue. */
static bool take(struct fz_device *dev, struct fz_in *in, const struct famez_seen *seen)
{
	u32 sender = in->rx.sender;
	struct fz_message *m;
	int err;

	if (!is_welcome(dev, in, seen) || is_text_for_us(dev, seen, sender))
		return true;
	err = fz_queue_room(dev, sender, seen->bytes, &m);
	if (err == -EMSGSIZE) {
		atomic64_inc(&dev->counts.dropped);
		return true;
	}
	if (err)
		return false;
	memcpy(m->payload, seen->payload, seen->bytes);
	m->head.origin = seen->origin;
	m->head.type = FAMEZ_KIND_TYPE(seen->kind);
	m->head.group = FAMEZ_KIND_GROUP(seen->kind);
	m->head.generation = seen->from;
	fz_queue_put(dev, m);
	return true;
}

static void stall(struct fz_device *dev, struct fz_in *in)
{
	in->rx.size = 0;
	in->stalled = true;
	famez_inbox_drop(&dev->post.reader, &in->rx);
	if (famez_rx_publish(&in->rx))
		fz_ring_mail(dev, in->rx.sender);
}

static void unstall(struct fz_device *dev)
{
	struct fz_in *in;

	for (in = dev->post.in_all; in; in = in->next) {
		if (!in->stalled || !fz_queue_may(dev, in->rx.sender))
			continue;
		in->stalled = false;
		famez_inbox_take(&dev->post.reader, &in->rx);
	}
}

/* Reads what there is, up to LOOK_MESSAGES. True: there may be more; else we are asleep. */
bool fz_post_look(struct fz_device *dev)
{
	struct famez_inbox_reader *r = &dev->post.reader;
	unsigned int taken;

	famez_inbox_awake(r);
	unstall(dev);
	(void)famez_inbox_collect(r);
	for (taken = 0; taken < LOOK_MESSAGES; taken++) {
		struct famez_seen seen;
		struct famez_rx *rx;
		struct fz_in *in;
		int got = famez_inbox_next(r, &seen, &rx);

		if (!got)
			return famez_inbox_sleep(r);
		if (got < 0) {
			atomic64_inc(&dev->counts.garbled);
			continue;
		}
		in = container_of(rx, struct fz_in, rx);
		if (take(dev, in, &seen))
			famez_inbox_release(r, rx);
		else
			stall(dev, in);
	}
	return true;
}
