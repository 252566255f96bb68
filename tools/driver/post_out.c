// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What goes by lanes, and how one waits for room.
 *
 * A payload is in the kernel's memory before the lock is taken: nobody's page fault holds up the
 * others. Who waits is woken by the thread's looks, since a receiver that made room rings; a
 * second at the latest passes until he tries again. In slots, where nobody rings, it is less.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "fz.h"

/* Who takes texts by his slot is waited for so long (EmerGen-Z does), looking so often. */
#define SLOT_PATIENCE (5 * HZ)
#define SLOT_LOOK (HZ / 50)

/* The lane to a peer, for the generation that is there now. */
static int reach(struct fz_device *dev, u32 peer, struct fz_out **to)
{
	struct fz_presence is = fz_presence_of(dev, peer);
	struct fz_out *out = dev->post.out[peer];

	if (!is.present || !fz_post_is_ours(dev))
		return -ENOTCONN;
	if (!is.lanes)
		return -EOPNOTSUPP;
	if (!out) {
		out = kzalloc(sizeof(*out), GFP_KERNEL);
		if (!out)
			return -ENOMEM;
		famez_tx_open(&out->tx, dev->memory, &dev->g, peer, dev->id, dev->post.generation,
			      is.generation);
		out->peer = peer;
		out->next = dev->post.out_all;
		dev->post.out_all = out;
		dev->post.out[peer] = out;
	}
	if (out->tx.to != is.generation) {
		out->tx.to = is.generation;
		out->tx.rung = 0;
	}
	*to = out;
	return 0;
}

static void nudge(struct fz_device *dev, struct fz_out *out)
{
	if (!famez_nudge(dev->memory, &dev->g, out->peer, dev->id, &out->tx.rung))
		return;
	famez_store_relaxed(&out->tx.lane->rings, ++out->tx.rings);
	fz_ring_mail(dev, out->peer);
}

static int lane_try(struct fz_device *dev, struct fz_to to, const void *payload, u32 bytes)
{
	struct fz_out *out;
	void *place;
	int err = reach(dev, to.peer, &out);

	if (!err)
		err = famez_tx_claim(&out->tx, bytes, &place);
	/* Full: be rung when there is room. True where there is some by now. */
	if (err == -EAGAIN && famez_tx_wait(&out->tx, bytes))
		err = famez_tx_claim(&out->tx, bytes, &place);
	if (err == -EAGAIN) {
		atomic64_inc(&dev->counts.full);
		nudge(dev, out); /* in case somebody undid what it knew */
	}
	if (err)
		return err;
	memcpy(place, payload, bytes);
	famez_tx_commit(&out->tx, bytes, to.kind, dev->id);
	(void)famez_tx_flush(&out->tx);
	nudge(dev, out);
	return 0;
}

/* Sends at once, or says why not: -EAGAIN (no room), -ENOTCONN (nobody there), -EOPNOTSUPP (takes
 * no messages), -EMSGSIZE, -EINVAL (no such ID), -ENOMEM. Under lock.
 */
int fz_post_try(struct fz_device *dev, struct fz_to to, const void *payload, u32 bytes)
{
	int err = -EOPNOTSUPP;

	if (!to.peer || to.peer >= dev->g.ids)
		return -EINVAL;
	if (dev->layout == FZ_LANES)
		err = lane_try(dev, to, payload, bytes);
	if (err == -EOPNOTSUPP && dev->slots)
		err = fz_slots_try(dev, to.peer, payload, bytes);
	if (!err) {
		atomic64_inc(&dev->counts.sent);
		atomic64_add(bytes, &dev->counts.sent_bytes);
	}
	return err;
}

/* Is a message that found no room worth another try? Also where its receiver has gone. */
bool fz_post_has_room(struct fz_device *dev, u32 peer, u32 bytes)
{
	struct fz_out *out = dev->layout == FZ_LANES ? dev->post.out[peer] : NULL;

	return !out || fz_presence_of(dev, peer).generation != out->tx.to ||
	       famez_tx_wait(&out->tx, bytes);
}

/* By lanes one waits as long as the receiver lives; by slots there is a limit. */
static bool is_by_lane(struct fz_device *dev, u32 peer)
{
	return dev->layout == FZ_LANES && fz_presence_of(dev, peer).lanes;
}

/* Sends, and waits for room unless told otherwise. Beside fz_post_try()'s: -EBUSY (the lanes are
 * claimed), -ENODEV, -ETIMEDOUT (slots only), -ERESTARTSYS.
 */
int fz_send(struct fz_opener *opener, struct fz_to to, const void *payload, u32 bytes,
	    bool nonblock)
{
	struct fz_device *dev = opener->dev;
	unsigned long give_up = jiffies + SLOT_PATIENCE;

	for (;;) {
		unsigned int looks = 0;
		bool lane = true;
		long left;
		int err;

		mutex_lock(&dev->lock);
		if (!fz_is_at_work(dev))
			err = dev->claim ? -EBUSY : -ENODEV;
		else
			err = fz_post_try(dev, to, payload, bytes);
		if (err == -EAGAIN) {
			looks = dev->room_looks;
			lane = is_by_lane(dev, to.peer);
		}
		mutex_unlock(&dev->lock);
		if (err != -EAGAIN || nonblock)
			return err;
		if (!lane && time_after(jiffies, give_up))
			return -ETIMEDOUT;
		left = wait_event_interruptible_timeout(dev->room_wait,
							READ_ONCE(dev->room_looks) != looks ||
								READ_ONCE(dev->gone) ||
								READ_ONCE(dev->claim),
							lane ? HZ : SLOT_LOOK);
		if (left < 0)
			return left;
	}
}

/* A word of our own to the server, if it is a peer and has room. Under lock. */
void fz_say_to_server(struct fz_device *dev, const char *text)
{
	struct fz_to to = { .peer = dev->g.server_id, .kind = FAMEZ_KIND(FAMEZ_TYPE_LINK, 0) };

	if (to.peer != FAMEZ_NOBODY)
		(void)fz_post_try(dev, to, text, strlen(text));
}
