// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * headers.c - a kernel module that sends itself messages through a mailbox in its own memory.
 *
 * It proves that include/famez/ serves a driver as it stands: with the kernel's types, flags and
 * warnings. Loading it runs the test, once, and fails where the messages do not come out as they
 * went in. It touches no device.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "famez/atomic.h"
#include "famez/inbox.h"
#include "famez/lane.h"
#include "famez/mailbox.h"
#include "famez/wire.h"

#define IDS      4u
#define BYTES    (1u << 18)
#define SENDER   1u
#define RECEIVER 2u
#define VECTORS  IDS
#define ROUNDS   1000u

/* What the two ends keep to themselves. */
struct ends {
	struct famez_geometry g;
	struct famez_inbox_reader reader;
	struct famez_tx tx;
	struct famez_rx rx;
	bool opened;
	unsigned int rings;
};

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct ends *e = container_of(r, struct ends, reader);

	if (sender != SENDER)
		return NULL;
	if (!e->opened)
		famez_rx_open(&e->rx, r->base, r->g, r->id, sender, 7);
	e->opened = true;
	return &e->rx;
}

static void ring_sender(struct famez_inbox_reader *r, uint32_t sender)
{
	struct ends *e = container_of(r, struct ends, reader);

	e->rings++;
}

static int lay_out(struct ends *e, void *base)
{
	struct famez_header *h = famez_header_at(base);
	struct famez_globals *globals = base;
	struct famez_geometry made;
	int err = famez_geometry_of(&made, BYTES, IDS);

	if (err)
		return err;
	if (famez_geometry_needs(IDS, made.lane_bytes) > BYTES || IDS > FAMEZ_WIRE_ID_MAX)
		return -EFBIG;
	globals->slot_bytes = FAMEZ_SLOT_BYTES;
	h->bytes = BYTES;
	h->ids = IDS;
	h->server_id = IDS - 1;
	h->vectors = VECTORS;
	h->lane_bytes = made.lane_bytes;
	h->inbox_bytes = made.inbox_bytes;
	h->server_shards = 1;
	h->features = FAMEZ_FEATURE_VECTOR_IS_SENDER;
	h->directory_offset = made.directory_offset;
	h->inbox_offset = made.inbox_offset;
	h->lane_offset = made.lane_offset;
	h->data_offset = made.data_offset;
	famez_store_relaxed(&h->magic, FAMEZ_HEADER_MAGIC);
	famez_store_release(&h->version, FAMEZ_HEADER_VERSION);
	return famez_geometry_read(&e->g, base, BYTES);
}

/* One message there; what was claimed is written in place. */
static int send_one(struct ends *e, void *base, uint32_t number)
{
	uint32_t bytes = number % famez_payload_max(&e->g);
	void *payload;
	int err = famez_tx_claim(&e->tx, bytes, &payload);

	if (err)
		return err;
	memset(payload, (int)number & 255, bytes);
	famez_tx_commit(&e->tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
	if (famez_tx_flush(&e->tx))
		(void)famez_nudge(base, &e->g, RECEIVER, SENDER, &e->tx.rung);
	return 0;
}

/* The one message that is there; -ENOMSG if none is. */
static int take_one(struct ends *e, uint32_t number)
{
	struct famez_seen m;
	struct famez_rx *rx;
	uint32_t i;

	if (e->reader.asleep)
		famez_inbox_awake(&e->reader);
	(void)famez_inbox_collect(&e->reader);
	if (famez_inbox_next(&e->reader, &m, &rx) != 1)
		return -ENOMSG;
	if (m.bytes != number % famez_payload_max(&e->g) || m.origin != SENDER)
		return -EBADMSG;
	for (i = 0; i < m.bytes; i++) {
		if (((const unsigned char *)m.payload)[i] != (number & 255))
			return -EBADMSG;
	}
	famez_inbox_release(&e->reader, rx);
	return 0;
}

static int exchange(struct ends *e, void *base)
{
	uint32_t number;
	void *payload;
	int err = lay_out(e, base);

	if (err)
		return err;
	e->reader.base = base;
	e->reader.g = &e->g;
	e->reader.id = RECEIVER;
	e->reader.shards = 1;
	e->reader.open = open_lane;
	e->reader.ring = ring_sender;
	famez_tx_open(&e->tx, base, &e->g, RECEIVER, SENDER, 3, 7);
	for (number = 0; number < ROUNDS; number++) {
		err = send_one(e, base, number);
		if (!err)
			err = take_one(e, number);
		if (!err && famez_inbox_sleep(&e->reader))
			err = -EBUSY;
		if (err)
			return err;
	}
	/* Fill it, and see that a waiting sender is rung. */
	while (!famez_tx_claim(&e->tx, 256, &payload)) {
		memset(payload, 256 & 255, 256);
		famez_tx_commit(&e->tx, 256, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
	}
	(void)famez_tx_flush(&e->tx);
	(void)famez_nudge(base, &e->g, RECEIVER, SENDER, &e->tx.rung);
	if (famez_tx_wait(&e->tx, 256) || !famez_tx_unread(&e->tx))
		return -EBUSY;
	do {
		err = take_one(e, 256);
	} while (!err);
	if (err != -ENOMSG)
		return err;
	(void)famez_inbox_sleep(&e->reader);
	return e->rings ? 0 : -ENODATA;
}

static int __init headers_init(void)
{
	struct ends *e = vzalloc(sizeof(*e));
	void *base = vzalloc(BYTES);
	int err = e && base ? exchange(e, base) : -ENOMEM;

	if (err)
		pr_err("famez-headers: failed: %d\n", err);
	else
		pr_info("famez-headers: %u messages, vector %u\n", ROUNDS,
			famez_vector_of(&e->g, SENDER));
	vfree(base);
	vfree(e);
	return err;
}

static void __exit headers_exit(void)
{
}

module_init(headers_init);
module_exit(headers_exit);
MODULE_DESCRIPTION("Sends itself messages through FAME-Z's lanes");
MODULE_LICENSE("Dual MIT/GPL");
