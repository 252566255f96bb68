/* SPDX-License-Identifier: MIT */
/*
 * fuzz_lane.c - two senders and a receiver, and somebody who scribbles on one of the lanes and
 * on the inbox, at any time. The input is the schedule, and says what is scribbled where.
 *
 * Asserted: nobody touches anything beyond the memory, which is mapped exactly; every call comes
 * back, and what a call may take is bounded; of the lane that was not scribbled on every message
 * arrives, unaltered and in order, after a tick of its sender at the latest; and the other lane
 * carries messages again, once a few were sent that may be lost.
 */
#include "fuzz.h"

#include "../lanes/box.h"

enum { IDS = 4, LANE = 256, VICTIM = 0, SENDER = 1, RECEIVER = 2, PAYLOAD_MAX = 104, HEALED = 4 };

static struct {
	struct box box;
	struct famez_tx tx[2];
	struct famez_rx rx[2];
	struct famez_inbox_reader inbox;
	uint32_t said, heard; /* numbers of the sound lane */
	uint32_t generation;  /* of the victim */
	uint64_t proof;       /* what the victim says last; 0: it was heard */
	uint64_t sum;         /* of all that was read, so that it is read */
} f;

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	(void)r;
	return sender <= SENDER ? &f.rx[sender] : NULL;
}

static void ring(struct famez_inbox_reader *r, uint32_t sender)
{
	(void)r;
	assert(sender <= SENDER);
}

static uint32_t size_of(uint32_t number)
{
	return (number * 2654435761u >> 16) % (PAYLOAD_MAX + 1);
}

static unsigned char byte_of(uint32_t number, uint32_t i)
{
	return (unsigned char)(number * 31 + i * 7);
}

static void nudge(uint32_t sender)
{
	(void)famez_nudge(f.box.base, &f.box.g, RECEIVER, sender, &f.tx[sender].rung);
}

static void flush(uint32_t sender)
{
	if (famez_tx_flush(&f.tx[sender]))
		nudge(sender);
}

static void put(uint32_t sender, uint32_t bytes)
{
	struct famez_tx *tx = &f.tx[sender];
	void *payload;
	int err;

	if (sender == SENDER)
		bytes = size_of(f.said);
	err = famez_tx_claim(tx, bytes, &payload);
	assert(err == 0 || err == -EAGAIN || (err == -EMSGSIZE && bytes > PAYLOAD_MAX));
	if (err)
		return;
	for (uint32_t i = 0; i < bytes; i++)
		((unsigned char *)payload)[i] = byte_of(f.said, i);
	famez_tx_commit(tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, f.said & 0xfff), SENDER);
	f.said += sender == SENDER;
}

static void hear(const struct famez_seen *m, const struct famez_rx *rx)
{
	const unsigned char *payload = m->payload;
	const unsigned char *data = famez_lane_data_at(f.box.base, &f.box.g, RECEIVER, rx->sender);

	assert(payload >= data && m->bytes <= LANE && payload + m->bytes <= data + LANE);
	for (uint32_t i = 0; i < m->bytes; i++)
		f.sum += payload[i];
	if (rx != &f.rx[SENDER]) {
		if (m->bytes == sizeof(f.proof) && memcmp(payload, &f.proof, m->bytes) == 0)
			f.proof = 0;
		return;
	}
	assert(f.heard < f.said);
	assert(m->bytes == size_of(f.heard) && m->from == 1 && m->origin == SENDER);
	assert(FAMEZ_KIND_GROUP(m->kind) == (f.heard & 0xfff));
	for (uint32_t i = 0; i < m->bytes; i++)
		assert(payload[i] == byte_of(f.heard, i));
	f.heard++;
}

/* Up to @count messages. Returns how many there were. */
static unsigned receive(unsigned count, bool garble_between)
{
	unsigned n = 0;

	for (; n < count; n++) {
		struct famez_seen m;
		struct famez_rx *rx;
		int got = famez_inbox_next(&f.inbox, &m, &rx);

		assert(got == 0 || got == 1 || got == -EBADMSG);
		if (got == 0)
			break;
		assert(got == 1 || rx == &f.rx[VICTIM]);
		if (got < 0)
			continue;
		hear(&m, rx);
		if (garble_between && rx == &f.rx[VICTIM])
			*famez_head_at(rx->data, LANE, rx->at) ^= 0x18;
		famez_inbox_release(&f.inbox, rx);
	}
	return n;
}

static void rest(void)
{
	if (!famez_inbox_sleep(&f.inbox))
		famez_inbox_awake(&f.inbox);
}

/* The scribbler is gone: say things in its lane until one of them is heard. */
static void heal(void)
{
	struct famez_tx *tx = &f.tx[VICTIM];

	for (unsigned round = 0; round == 0 || f.proof; round++) {
		void *payload;

		assert(round < HEALED);
		f.proof = UINT64_C(0x5eed5eed5eed5eed) + round;
		if (famez_tx_claim(tx, sizeof(f.proof), &payload) == 0) {
			memcpy(payload, &f.proof, sizeof(f.proof));
			famez_tx_commit(tx, sizeof(f.proof), FAMEZ_TYPE_DATA, VICTIM);
			flush(VICTIM);
		} else {
			flush(VICTIM);
			(void)famez_tx_wait(tx, sizeof(f.proof));
		}
		tx->rung = 0;
		nudge(VICTIM);
		for (unsigned looks = 0; looks < 4; looks++) {
			(void)receive(1000, false);
			rest();
		}
	}
}

/* A word that may well mean something there. */
static uint64_t word(struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 6) {
	case 0:
		return fuzz_take(in, 8);
	case 1:
		return fuzz_take(in, 1) | (uint64_t)1 << 32; /* a head */
	case 2:
		return FAMEZ_RECORD_PAD | fuzz_take(in, 1);
	case 3:
		return f.tx[VICTIM].at + fuzz_take(in, 1) * 8 - UINT64_C(4) * LANE;
	case 4:
		return f.rx[VICTIM].at + fuzz_take(in, 1) - 128;
	default:
		return fuzz_take(in, 1);
	}
}

static void scribble(struct fuzz_input *in)
{
	uint64_t where = fuzz_take(in, 1), *words;

	switch (fuzz_take(in, 1) % 3) {
	case 0:
		words = (void *)famez_lane_at(f.box.base, &f.box.g, RECEIVER, VICTIM);
		words[where % (sizeof(struct famez_lane) / 8)] = word(in);
		break;
	case 1:
		words = (void *)famez_lane_data_at(f.box.base, &f.box.g, RECEIVER, VICTIM);
		words[where % (LANE / 8)] = word(in);
		break;
	default:
		words = (void *)famez_inbox_at(f.box.base, &f.box.g, RECEIVER);
		words[where % (f.box.g.inbox_bytes / 8)] = word(in);
		break;
	}
}

static void begin(void)
{
	if (!f.box.base)
		box_fabric(&f.box, IDS, LANE);
	box_wipe(&f.box);
	f.said = f.heard = 0;
	f.generation = 1;
	for (uint32_t s = 0; s <= SENDER; s++) {
		famez_tx_open(&f.tx[s], f.box.base, &f.box.g, RECEIVER, s, 1, 1);
		famez_rx_open(&f.rx[s], f.box.base, &f.box.g, RECEIVER, s, 1);
	}
	f.inbox = (struct famez_inbox_reader){.base = f.box.base,
		.g = &f.box.g,
		.id = RECEIVER,
		.shards = 1,
		.open = open_lane,
		.ring = ring};
}

static void step(struct fuzz_input *in)
{
	uint32_t sender = fuzz_take(in, 1) % 2;
	uint8_t what = (uint8_t)fuzz_take(in, 1);

	switch (what % 12) {
	case 0:
	case 1:
		put(sender, (uint32_t)fuzz_take(in, 1));
		break;
	case 2:
		flush(sender);
		break;
	case 3:
		(void)receive(1 + what / 16, false);
		break;
	case 4:
		(void)famez_inbox_collect(&f.inbox);
		break;
	case 5:
		rest();
		break;
	case 6:
	case 7:
	case 8:
		scribble(in);
		break;
	case 9: /* the victim's ID has a new owner */
		famez_tx_open(
			&f.tx[VICTIM], f.box.base, &f.box.g, RECEIVER, VICTIM, ++f.generation, 1);
		break;
	case 10:
		if (sender == VICTIM) {
			/* or the receiver opens that lane anew */
			famez_inbox_drop(&f.inbox, &f.rx[VICTIM]);
			famez_rx_open(&f.rx[VICTIM], f.box.base, &f.box.g, RECEIVER, VICTIM, 1);
		} else {
			f.rx[fuzz_take(in, 1) % 2].empty = FAMEZ_EMPTY_MAX - 1;
		}
		break;
	default:
		if (what & 0x80) {
			(void)receive(4, true);
		} else {
			flush(sender);
			(void)famez_tx_wait(&f.tx[sender], fuzz_take(in, 1) % PAYLOAD_MAX);
			nudge(sender);
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	unsigned rounds = 0;

	begin();
	while (in.left)
		step(&in);
	/* The sound lane's sender ticks; what it has said arrives. */
	flush(SENDER);
	f.tx[SENDER].rung = 0;
	nudge(SENDER);
	while (f.heard < f.said) {
		assert(rounds++ < 100);
		(void)receive(1000, false);
		rest();
	}
	assert(f.rx[SENDER].garbled == 0 && f.tx[SENDER].garbled == 0);
	heal();
	return 0;
}
