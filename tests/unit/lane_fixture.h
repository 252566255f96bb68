/* SPDX-License-Identifier: MIT */
/*
 * lane_fixture.h - one lane of which a test has both ends, and messages that say what they are.
 *
 * The lane is mapped exactly: a read or write outside of it kills the test.
 */
#ifndef LANE_FIXTURE_H
#define LANE_FIXTURE_H

#include "unit.h"

#include "../lanes/box.h"

enum { LANE = 4096, OLD = 7, NEW = 8 }; /* generations */

#define PAYLOAD_MAX (LANE / 2 - 8 - 16)

static struct box box;
static struct famez_tx tx;
static struct famez_rx rx;

static inline struct famez_lane *lane(void)
{
	return famez_lane_at(box.base, &box.g, 0, 0);
}

static inline unsigned char *data(void)
{
	return famez_lane_data_at(box.base, &box.g, 0, 0);
}

static inline void open_sender(uint32_t from, uint32_t to)
{
	famez_tx_open(&tx, box.base, &box.g, 0, 0, from, to);
}

static inline void open_receiver(uint32_t to)
{
	famez_rx_open(&rx, box.base, &box.g, 0, 0, to);
}

static inline int set_up(void **state)
{
	(void)state;
	box_lane(&box, LANE);
	open_sender(OLD, OLD);
	open_receiver(OLD);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	box_close(&box);
	return 0;
}

/* ---- messages that say what they are ------------------------------------------------------ */

static inline unsigned char byte_of(uint32_t number, uint64_t i)
{
	return (unsigned char)((uint64_t)number * 31 + i * 7 + 1);
}

/* There is room for this. */
static inline unsigned char *claim(uint64_t bytes)
{
	void *payload = NULL;

	assert_int_equal(famez_tx_claim(&tx, bytes, &payload), 0);
	if (!payload)
		abort();
	return payload;
}

static inline int put(uint32_t number, uint64_t bytes)
{
	void *payload;
	int err = famez_tx_claim(&tx, bytes, &payload);

	if (err)
		return err;
	assert_int_equal((uintptr_t)payload % 8, 0);
	for (uint64_t i = 0; i < bytes; i++)
		((unsigned char *)payload)[i] = byte_of(number, i);
	famez_tx_commit(&tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_GROUP, number & 0xfff), (uint16_t)number);
	return 0;
}

static inline void send(uint32_t number, uint64_t bytes)
{
	assert_int_equal(put(number, bytes), 0);
	assert_true(famez_tx_flush(&tx));
}

static inline bool is(const struct famez_seen *m, uint32_t number, uint64_t bytes)
{
	if (m->bytes != bytes || m->kind != FAMEZ_KIND(FAMEZ_TYPE_GROUP, number & 0xfff) ||
		m->origin != (uint16_t)number)
		return false;
	for (uint64_t i = 0; i < bytes; i++)
		if (((const unsigned char *)m->payload)[i] != byte_of(number, i))
			return false;
	return true;
}

static inline void expect(uint32_t number, uint64_t bytes)
{
	struct famez_seen m = {0};

	assert_int_equal(famez_rx_peek(&rx, &m), 1);
	assert_true(is(&m, number, bytes));
	(void)famez_rx_release(&rx);
}

static inline void expect_nothing(void)
{
	struct famez_seen m = {0};

	assert_int_equal(famez_rx_peek(&rx, &m), 0);
}

/* The lane, empty and sound, with its next record at this place. */
static inline void go_to(uint64_t place)
{
	lane()->produced = lane()->consumed = 5 * (uint64_t)LANE + place;
	memset(data(), 0xff, LANE);
	memset(data() + place, 0, 8);
	open_sender(OLD, OLD);
	open_receiver(OLD);
	assert_int_equal(tx.garbled, 0);
}

static inline uint32_t fill(uint64_t bytes)
{
	uint32_t n = 0;
	int err;

	while ((err = put(n, bytes)) == 0)
		n++;
	assert_int_equal(err, -EAGAIN);
	(void)famez_tx_flush(&tx);
	return n;
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
