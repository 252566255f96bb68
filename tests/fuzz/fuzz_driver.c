/* SPDX-License-Identifier: MIT */
/*
 * fuzz_driver.c - the guest driver's own files, in user space: what a hostile peer writes into the
 * mailbox, by lanes and by slots, and what a user writes to the device.
 *
 * The input is a schedule: somebody scribbles words or text anywhere in the memory, honest peers
 * send, interrupts come, the thread looks and ticks, users read, write and take the lanes, memory
 * runs out. Asserted: nobody touches anything beyond the memory, which is as large as it is said
 * to be, or beyond its own; every look ends; rings go to IDs and vectors that exist; what waits for
 * readers is accounted for and bounded; what is shown of others is text.
 */
#include "fz.h"

#include "fuzz.h"

enum { IDS = 5, US = 1, LANE = 2048, VECTORS = 8, HONEST = 2, WORDS_MAX = 600 };

/* The least that the driver takes. An eighth of it is one sender's, and one message always finds
 * room. */
#define QUEUE_KIB  64u
#define QUEUED_MAX ((QUEUE_KIB << 10) + LANE)

extern unsigned int *const kernel_param_queue_kib;

bool kernel_memory_fails;
unsigned long kernel_uevents;

/* Up to @most bytes of the input. */
static size_t take_bytes(struct fuzz_input *in, void *to, size_t most)
{
	size_t bytes = fuzz_take(in, 2) % (most + 1);

	if (bytes > in->left)
		bytes = in->left;
	memcpy(to, in->data, bytes);
	in->data += bytes;
	in->left -= bytes;
	return bytes;
}

/* ---- what the driver's other files would do ------------------------------------------------ */

void fz_ring(struct fz_device *dev, u32 peer, u32 vector)
{
	assert(peer < dev->g.ids && vector < VECTORS);
	atomic64_inc(&dev->counts.rings);
}

void fz_ring_mail(struct fz_device *dev, u32 peer)
{
	fz_ring(dev, peer,
		peer == dev->g.server_id ? famez_server_vector_of(&dev->g, dev->id)
					 : famez_vector_of(&dev->g, dev->id));
}

/* ---- the stage --------------------------------------------------------------------------- */

static void lay_out_lanes(struct fz_device *dev)
{
	struct famez_entry *e;

	assert(!famez_geometry_of(&dev->g, dev->bytes, IDS));
	dev->g.lane_bytes = LANE; /* so that they come round often */
	dev->g.server_id = IDS - 1;
	dev->g.vectors = VECTORS;
	dev->g.server_shards = 1;
	dev->g.features = FAMEZ_FEATURE_VECTOR_IS_SENDER;
	dev->layout = FZ_LANES;
	for (uint32_t id = 1; id < IDS; id++) {
		e = famez_entry_at(dev->memory, &dev->g, id);
		e->presence = FAMEZ_PRESENT;
		e->joins = e->join = 1;
		e->generation = 1;
		e->speaks = FAMEZ_SPEAKS_LANES;
		e->watches = 1;
	}
}

static void lay_out_slots(struct fz_device *dev)
{
	struct famez_globals *globals = dev->memory;

	globals->slot_bytes = FAMEZ_SLOT_BYTES;
	globals->text_offset = FAMEZ_SLOT_TEXT_OFFSET;
	globals->clients = IDS - 2;
	globals->events = IDS;
	globals->server_id = IDS - 1;
	famez_slot_at(dev->memory, US)->peer_id = US;
	assert(!fz_slots_read(dev));
	dev->layout = FZ_SLOTS;
}

static struct fz_device *make(unsigned kind)
{
	struct fz_device *dev = calloc(1, sizeof(*dev));

	assert(dev);
	dev->bytes = kind & 1 ? (uint64_t)IDS * FAMEZ_SLOT_BYTES
			      : famez_geometry_needs(IDS, FAMEZ_LANE_BYTES_MIN);
	dev->bytes = famez_round_up(dev->bytes, 4096);
	while (!(kind & 1) && dev->bytes & (dev->bytes - 1))
		dev->bytes += dev->bytes & -dev->bytes;
	dev->memory = aligned_alloc(4096, dev->bytes);
	assert(dev->memory);
	memset(dev->memory, 0, dev->bytes);
	dev->id = US;
	if (kind & 1)
		lay_out_slots(dev);
	else
		lay_out_lanes(dev);
	if (kind & 2)
		dev->g.features |= FAMEZ_FEATURE_OLD_SLOTS;
	dev->slots = true;
	dev->vectors = VECTORS;
	dev->rung = calloc(1, sizeof(*dev->rung));
	dev->post.in = calloc(IDS, sizeof(void *));
	dev->post.out = calloc(IDS, sizeof(void *));
	dev->told = calloc(IDS, sizeof(*dev->told));
	assert(dev->rung && dev->post.in && dev->post.out && dev->told);
	INIT_LIST_HEAD(&dev->queue.messages);
	assert(!fz_queue_init(dev));
	strscpy(dev->name, "us.04", sizeof(dev->name));
	return dev;
}

static void unmake(struct fz_device *dev)
{
	fz_post_stop(dev);
	fz_queue_destroy(dev);
	free(dev->post.in);
	free(dev->post.out);
	free(dev->told);
	free(dev->rung);
	free(dev->memory);
	free(dev);
}

/* ---- what happens ------------------------------------------------------------------------ */

static void scribble_word(struct fz_device *dev, struct fuzz_input *in)
{
	static const uint64_t words[] = {0, 1, 2, UINT64_MAX, FAMEZ_RECORD_PAD | 64, 24, 1u << 31,
		LANE, LANE / 2, UINT64_C(1) << 63};
	uint64_t at = fuzz_take(in, 3) % (dev->bytes / 8), which = fuzz_take(in, 1);

	((uint64_t *)dev->memory)[at] =
		which < sizeof(words) / sizeof(*words) ? words[which] : fuzz_take(in, 8);
}

/* In front of the data most words are: header, directory, inboxes, lanes' heads. */
static void scribble_front(struct fz_device *dev, struct fuzz_input *in)
{
	uint64_t front = dev->layout == FZ_LANES ? dev->g.data_offset : dev->bytes;

	((uint64_t *)dev->memory)[fuzz_take(in, 2) % (front / 8)] = fuzz_take(in, 4);
}

static void scribble_text(struct fz_device *dev, struct fuzz_input *in)
{
	char text[FAMEZ_SLOT_BYTES];
	size_t bytes = take_bytes(in, text, sizeof(text));
	uint64_t at = fuzz_take(in, 3) % dev->bytes;

	if (bytes > dev->bytes - at)
		bytes = dev->bytes - at;
	memcpy((char *)dev->memory + at, text, bytes);
}

/* A peer sends as one should; what it says is the input's. */
static void send(struct fz_device *dev, struct fuzz_input *in)
{
	uint32_t from = HONEST + (uint32_t)fuzz_take(in, 1) % (IDS - HONEST), rung = 0;
	uint16_t kind = (uint16_t)fuzz_take(in, 1), origin = (uint16_t)fuzz_take(in, 1) % (IDS + 1);
	unsigned char payload[LANE];
	size_t bytes = take_bytes(in, payload, sizeof(payload));
	struct famez_tx tx;
	void *room;

	if (dev->layout != FZ_LANES)
		return;
	famez_tx_open(&tx, dev->memory, &dev->g, US, from, 1, dev->post.generation);
	if (famez_tx_claim(&tx, bytes, &room))
		return;
	memcpy(room, payload, bytes);
	famez_tx_commit(&tx, bytes, kind, origin);
	(void)famez_tx_flush(&tx);
	(void)famez_nudge(dev->memory, &dev->g, US, from, &rung);
}

static void send_by_slot(struct fz_device *dev, struct fuzz_input *in)
{
	uint32_t from = HONEST + (uint32_t)fuzz_take(in, 1) % (IDS - HONEST);
	struct famez_slot *s = famez_slot_at(dev->memory, from);

	s->text_bytes = fuzz_take(in, 2) % 400;
	(void)take_bytes(in, s->text, sizeof(s->text));
	set_bit(from, dev->rung);
}

static void look(struct fz_device *dev)
{
	unsigned int looks = 0;

	if (!fz_is_at_work(dev))
		return;
	fz_slots_look(dev);
	/* A garbled lane is set right in a few, and nobody writes meanwhile. */
	while (dev->layout == FZ_LANES && fz_post_look(dev))
		assert(++looks < 200 || kernel_memory_fails);
}

static bool read_one(struct fz_device *dev)
{
	bool wants_look;
	struct fz_message *m = fz_queue_take(dev, &wants_look);
	char head[64];

	if (!m)
		return false;
	assert(m->head.bytes <= fz_payload_max(dev) && m->sender < dev->g.ids);
	assert(fz_text_head(m, head, sizeof(head)) < (int)sizeof(head));
	free(m);
	return true;
}

/* As chardev.c has it: an address, a colon, a text. */
static void write_text(struct fz_device *dev, struct fuzz_input *in)
{
	char words[600], *colon;
	struct fz_to to;
	int err;

	words[take_bytes(in, words, sizeof(words) - 1)] = 0;
	colon = strchr(words, ':');
	if (!colon)
		return;
	*colon = 0;
	err = fz_text_address(dev, words, &to);
	assert(err <= 0 && !dev->lock.held);
	if (!err && fz_is_at_work(dev))
		(void)fz_post_try(dev, to, colon + 1, (u32)strlen(colon + 1));
}

static void show_all(struct fz_device *dev)
{
	struct fz_who who;

	for (uint32_t id = 0; id <= dev->g.ids; id++) {
		fz_who_is(dev, id, &who);
		for (const char *c = who.name; *c; c++)
			assert(*c > ' ' && *c <= '~');
		assert(strlen(who.name) < FAMEZ_NAME_BYTES &&
			strlen(who.cclass) < FAMEZ_NAME_BYTES);
	}
	fz_directory_tell(dev, true);
}

static void step(struct fz_device *dev, struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 15) {
	case 0:
		scribble_word(dev, in);
		break;
	case 1:
		scribble_front(dev, in);
		break;
	case 2:
		scribble_text(dev, in);
		break;
	case 3:
	case 4:
		send(dev, in);
		break;
	case 5:
		send_by_slot(dev, in);
		break;
	case 6:
	case 7:
		look(dev);
		break;
	case 8:
		if (dev->post.open)
			fz_post_tick(dev);
		break;
	case 9:
		(void)read_one(dev);
		break;
	case 10:
		write_text(dev, in);
		break;
	case 11:
		show_all(dev);
		break;
	case 12:
		kernel_memory_fails = fuzz_take(in, 1) % 4 == 0;
		break;
	case 13:
		(void)fz_post_has_room(
			dev, (uint32_t)fuzz_take(in, 1) % IDS, (uint32_t)fuzz_take(in, 2));
		dev->name[0] = (char)('a' + fuzz_take(in, 1) % 26);
		fz_post_rename(dev);
		break;
	default: /* a program takes the lanes, and gives them back */
		if (dev->post.open)
			fz_post_stop(dev);
		else
			fz_post_start(dev);
		break;
	}
	assert(dev->queue.bytes <= QUEUED_MAX && !dev->queue.lock.held);
}

static void check_link(const uint8_t *data, size_t size)
{
	char text[FZ_TEXT], before[FZ_TEXT], answer[FZ_TEXT];
	struct fz_link link = {.cclass = FZ_CCLASS, .from_manager = size & 1, .old = size & 2};
	size_t bytes = size < sizeof(text) ? size : sizeof(text) - 1;

	memcpy(text, data, bytes);
	text[bytes] = 0;
	memcpy(before, text, sizeof(before));
	if (fz_link_hear(&link, text, answer))
		assert(strlen(answer) < sizeof(answer) && *answer);
	assert(strcmp(text, before) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct fz_device *dev = make((unsigned)fuzz_take(&in, 1));

	check_link(in.data, in.left);
	*kernel_param_queue_kib = QUEUE_KIB;
	fz_post_start(dev);
	for (unsigned steps = 0; in.left && steps < WORDS_MAX; steps++)
		step(dev, &in);
	kernel_memory_fails = false;
	if (!dev->post.open)
		fz_post_start(dev);
	look(dev);
	while (read_one(dev))
		continue;
	assert(!dev->queue.bytes);
	for (uint32_t id = 0; id < dev->g.ids; id++)
		assert(!dev->queue.of[id]);
	unmake(dev);
	return 0;
}
