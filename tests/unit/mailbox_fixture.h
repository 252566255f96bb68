/* SPDX-License-Identifier: MIT */
/*
 * mailbox_fixture.h - a shared memory for a few peers, made anew for each test, and how a peer sees
 * it.
 */
#ifndef MAILBOX_FIXTURE_H
#define MAILBOX_FIXTURE_H

#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "mailbox.h"

enum { PEERS = 4, IDS = PEERS + 2, SERVER = PEERS + 1 };

#define BYTES (1u << 20)

static char path[64];
static struct memory memory;
static struct mailbox mailbox;

static inline int set_up(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/famez-unit-mailbox-%d", (int)getpid());
	memory = (struct memory){.fd = -1};
	mailbox = (struct mailbox){0};
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	mailbox_close(&mailbox);
	memory_close(&memory);
	(void)unlink(path);
	return 0;
}

static inline struct mailbox_wish wish(enum mailbox_layout layout)
{
	return (struct mailbox_wish){
		.layout = layout,
		.ids = IDS,
		.server_id = SERVER,
		.vectors = IDS,
		.shards = 2,
		.spare_foreign = true,
	};
}

static inline void open_memory(enum memory_kind kind)
{
	struct why why = {""};

	if (memory_open(&memory, kind, kind == MEMORY_SEALED ? NULL : path, BYTES, 0, &why) != 0)
		fail_msg("%s", why.text);
}

static inline void lay_out(const struct mailbox_wish *w)
{
	struct why why = {""};

	if (mailbox_open(&mailbox, &memory, w, &why) != 0)
		fail_msg("%s", why.text);
}

static inline void open_lanes(void)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);

	open_memory(MEMORY_SEALED);
	lay_out(&w);
}

/* As a peer sees it: a mapping of its own. */
static inline unsigned char *map(void)
{
	void *base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);

	assert_true(base != MAP_FAILED);
	return base;
}

static inline const struct famez_entry *entry(uint32_t id)
{
	return famez_entry_at(mailbox.base, &mailbox.g, id);
}

static inline uint64_t changes(void)
{
	return famez_header_at(mailbox.base)->changes;
}

static inline void write_file(const void *bytes, size_t count, off_t at)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	assert_int_equal(pwrite(fd, bytes, count, at), count);
	close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
