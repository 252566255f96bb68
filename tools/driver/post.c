// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * This VM as one of the peers that send and take messages: coming, going, and the tick.
 *
 * It owns our entry in the directory and the list of lanes that are open; our slot is slots.c's.
 * Everything here runs under the device's lock. What anybody wrote where only we should is written
 * again by the tick.
 */
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "fz.h"

static struct famez_entry *our_entry(struct fz_device *dev)
{
	return famez_entry_at(dev->memory, &dev->g, dev->id);
}

/* The words that others go by. */
static void say_who_we_are(struct fz_device *dev)
{
	struct famez_entry *e = our_entry(dev);

	famez_store_relaxed(&e->generation, dev->post.generation);
	famez_store_relaxed(&e->join, dev->post.join);
	famez_store_relaxed(&e->watches, 1u);
	famez_store_relaxed(&e->heartbeat, ++dev->post.heartbeat);
	famez_store_release(&e->speaks, FAMEZ_SPEAKS_LANES);
}

static void say_names(struct fz_device *dev)
{
	struct famez_entry *e = our_entry(dev);

	memset(e->name, 0, sizeof(e->name));
	memcpy(e->name, dev->name, strnlen(dev->name, sizeof(e->name) - 1));
	memset(e->cclass, 0, sizeof(e->cclass));
	memcpy(e->cclass, FZ_CCLASS, sizeof(FZ_CCLASS));
}

/* Tells those who asked for it that we have started. */
static void announce(struct fz_device *dev)
{
	u32 id;

	for (id = 1; id < dev->g.ids; id++) {
		struct famez_entry *e = famez_entry_at(dev->memory, &dev->g, id);

		if (id != dev->id && famez_load_relaxed(&e->presence) == FAMEZ_PRESENT &&
		    famez_load_relaxed(&e->watches))
			fz_ring_mail(dev, id);
	}
}

static void on_room(struct famez_inbox_reader *r, uint32_t sender)
{
	fz_ring_mail(container_of(r, struct fz_device, post.reader), sender);
}

static void start_lanes(struct fz_device *dev)
{
	struct famez_entry *e = our_entry(dev);
	struct fz_post *post = &dev->post;

	famez_store_release(&e->speaks, 0u);
	post->join = famez_load_relaxed(&e->joins);
	/* One that this ID did not have lately, and never 0. */
	post->generation = famez_load_relaxed(&e->generation) + 1;
	if (!post->generation)
		post->generation = 1;
	post->heartbeat = famez_load_relaxed(&e->heartbeat);
	post->reader = (struct famez_inbox_reader){
		.base = dev->memory,
		.g = &dev->g,
		.id = dev->id,
		.shards = 1,
		.sleep = get_random_u32(),
		.open = fz_post_open_lane,
		.ring = on_room,
	};
	/* Whoever was here before may have died asleep. */
	famez_store_relaxed(&famez_inbox_at(dev->memory, &dev->g, dev->id)->asleep[0], 0u);
	say_names(dev);
	say_who_we_are(dev);
	fz_post_take_up(dev);
	announce(dev);
}

static void stop_lanes(struct fz_device *dev)
{
	struct famez_entry *e = our_entry(dev);
	struct fz_post *post = &dev->post;
	bool ours = fz_post_is_ours(dev);

	if (ours) {
		/* First, so that whoever is woken below finds us gone. */
		famez_store_ordered(&e->speaks, 0u);
		famez_store_relaxed(&e->watches, 0u);
		(void)famez_inbox_collect(&post->reader); /* who filled a lane that we never read */
		famez_inbox_awake(&post->reader);
	}
	while (post->in_all) {
		struct fz_in *in = post->in_all;

		if (ours && famez_rx_publish(&in->rx))
			fz_ring_mail(dev, in->rx.sender);
		post->in_all = in->next;
		post->in[in->rx.sender] = NULL;
		kfree(in);
	}
	while (post->out_all) {
		struct fz_out *out = post->out_all;

		post->out_all = out->next;
		post->out[out->peer] = NULL;
		kfree(out);
	}
}

/* From here on others send to us, and to this start of us only. Asks the fabric's manager for our
 * Gen-Z numbers.
 */
void fz_post_start(struct fz_device *dev)
{
	if (dev->layout == FZ_NOTHING)
		return;
	dev->post.open = true;
	fz_slots_start(dev);
	if (dev->layout == FZ_LANES)
		start_lanes(dev);
	fz_say_to_server(dev, "Link RFC TTC=27us");
	kthread_queue_work(dev->worker, &dev->look);
}

void fz_post_stop(struct fz_device *dev)
{
	if (!dev->post.open)
		return;
	dev->post.open = false;
	fz_slots_stop(dev);
	if (dev->layout == FZ_LANES)
		stop_lanes(dev);
}

/* Every FAMEZ_TICK_NS: shows that we live, and finds what a scribbler undid. */
void fz_post_tick(struct fz_device *dev)
{
	struct fz_post *post = &dev->post;
	struct fz_out *out;
	struct fz_in *in;

	if (dev->layout != FZ_LANES || !fz_post_is_ours(dev))
		return;
	say_who_we_are(dev);
	for (out = post->out_all; out; out = out->next) {
		u32 peer = out->peer;

		if (!famez_tx_unread(&out->tx))
			continue;
		out->tx.rung = 0; /* it may have been told that it was awake */
		if (famez_nudge(dev->memory, &dev->g, peer, dev->id, &out->tx.rung))
			fz_ring_mail(dev, peer);
	}
	for (in = post->in_all; in; in = in->next) {
		if (in->rx.in_hand || in->stalled)
			continue;
		if (famez_rx_idle(&in->rx) & FAMEZ_IDLE_RING)
			fz_ring_mail(dev, in->rx.sender);
		if (famez_load_relaxed(famez_head_at(in->rx.data, in->rx.bytes, in->rx.at)))
			famez_inbox_take(&post->reader, &in->rx);
	}
}

/* Another name, from now on. */
void fz_post_rename(struct fz_device *dev)
{
	if (!dev->post.open)
		return;
	fz_slots_rename(dev);
	if (dev->layout == FZ_LANES && fz_post_is_ours(dev))
		say_names(dev);
}
