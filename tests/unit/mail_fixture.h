/* SPDX-License-Identifier: MIT */
/*
 * mail_fixture.h - what the tests of libfamez's messages share.
 *
 * Handles in a fabric without a broker (fabric.h), in one thread. A test begins by asking for its
 * fabric and for the members that it needs; whoever is still there at its end leaves by itself.
 */
#ifndef MAIL_FIXTURE_H
#define MAIL_FIXTURE_H

#include "fabric.h"
#include "famez/inbox.h"
#include "unit.h"

#include "famez/lane.h"

static inline int fabric_set_up(void **state)
{
	struct fabric *fab = calloc(1, sizeof(*fab));
	void *server;

	assert_non_null(fab);
	if (set_up(&server))
		return -1;
	fab->s = server;
	*state = fab;
	return 0;
}

static inline int fabric_tear_down(void **state)
{
	struct fabric *fab = *state;
	void *server = fab->s;

	if (fab->base)
		fabric_end(fab);
	free(fab);
	return tear_down(&server);
}

/* A test that has a struct fabric for its state. */
#define T(test) cmocka_unit_test_setup_teardown(test, fabric_set_up, fabric_tear_down)

/* The test's fabric, without members yet. */
static inline struct fabric *fabric_of(void **state, const struct fabric_kind *kind)
{
	struct fabric *fab = *state;
	void *server = fab->s;

	fabric_make(fab, &server, kind);
	return fab;
}

static inline struct fabric *plain_fabric(void **state)
{
	return fabric_of(state, &(struct fabric_kind){0});
}

/* Payload of which so many make a turn; and a fabric whose lanes hold several turns. */
#define TURN_MESSAGES 64u
#define TURN_PAYLOAD  (FAMEZ_TURN_BYTES / TURN_MESSAGES - sizeof(struct famez_record))

static inline struct fabric *roomy_fabric(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = 16u << 20});

	assert_true(fab->g.lane_bytes >= 4 * FAMEZ_TURN_BYTES);
	return fab;
}

static inline int send_text(struct famez *f, uint16_t to, const char *text)
{
	return famez_send(f, &(struct famez_to){.peer = to}, text, strlen(text), 0, 0);
}

static inline int send_zeros(struct famez *f, uint16_t to, size_t bytes, int timeout_ms)
{
	static const char zeros[4096];

	assert_true(bytes <= sizeof(zeros));
	return famez_send(f, &(struct famez_to){.peer = to}, zeros, bytes, 0, timeout_ms);
}

/* The next message is this text. */
static inline struct famez_message expect_text(struct famez *f, uint16_t from, const char *text)
{
	struct famez_message m;
	char got[512];

	assert_int_equal(famez_recv(f, &m, got, sizeof(got), 0), 1);
	assert_int_equal(m.from, from);
	assert_int_equal(m.bytes, strlen(text));
	assert_memory_equal(got, text, m.bytes);
	return m;
}

static inline void expect_no_message(struct famez *f)
{
	struct famez_message m;

	assert_int_equal(famez_peek(f, &m), 0);
}

/* Sends until the lane is full. Returns how many it took. */
static inline unsigned fill(struct famez *f, uint16_t to, size_t bytes)
{
	unsigned count = 0;
	int err;

	while (!(err = send_zeros(f, to, bytes, 0)))
		count++;
	assert_int_equal(err, -EAGAIN);
	return count;
}

static inline unsigned drain(struct famez *f)
{
	struct famez_message m;
	unsigned count = 0;

	while (famez_peek(f, &m)) {
		famez_release(f);
		count++;
	}
	return count;
}

static inline void wait_readable(struct famez *f)
{
	struct pollfd ready = {.fd = famez_fd(f), .events = POLLIN};

	assert_int_equal(poll(&ready, 1, 60000), 1); /* a guard against hanging */
}

#endif
