/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox.c - what the broker writes into the shared memory: at its start, when somebody
 * comes, is there and goes.
 */
#include "mailbox_fixture.h"

static void a_peer_finds_a_header_that_fits_the_file(void **state)
{
	struct famez_geometry g = {0};
	unsigned char *base;

	(void)state;
	open_lanes();
	base = map();
	assert_int_equal(famez_geometry_read(&g, base, BYTES), 0);
	assert_int_equal(g.ids, IDS);
	assert_int_equal(g.server_id, SERVER);
	assert_int_equal(g.vectors, IDS);
	assert_int_equal(g.server_shards, 2);
	assert_int_equal(g.features, FAMEZ_FEATURE_VECTOR_IS_SENDER);
	assert_int_equal(g.lane_bytes, mailbox.g.lane_bytes);
	assert_int_equal(famez_header_at(base)->inbox_bytes, g.inbox_bytes);
	assert_int_equal(famez_header_at(base)->directory_offset, g.directory_offset);
	assert_int_equal(famez_header_at(base)->inbox_offset, g.inbox_offset);
	assert_int_equal(famez_header_at(base)->lane_offset, g.lane_offset);
	assert_int_equal(famez_header_at(base)->data_offset, g.data_offset);
	assert_int_equal(changes(), 0);
	munmap(base, BYTES);
}

static void a_v1_client_finds_what_famezs_own_server_writes(void **state)
{
	const struct famez_globals *globals;

	(void)state;
	open_lanes();
	globals = mailbox.base;
	assert_int_equal(globals->slot_bytes, 512);
	assert_int_equal(globals->text_offset, 128);
	assert_int_equal(globals->clients, PEERS);
	assert_int_equal(globals->events, PEERS + 2);
	assert_int_equal(globals->server_id, PEERS + 1);
	for (uint32_t id = 1; id < IDS; id++)
		assert_int_equal(famez_slot_at(mailbox.base, id)->peer_id, id);
}

static void in_the_older_dialect_the_peers_id_stands_elsewhere(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_SLOTS);

	(void)state;
	w.old_slots = true;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	for (uint32_t id = 1; id < IDS; id++) {
		const struct famez_slot_old *slot = (void *)famez_slot_at(mailbox.base, id);

		assert_int_equal(slot->peer_id, id);
	}
	mailbox_close(&mailbox);
	w.layout = LAYOUT_LANES;
	lay_out(&w);
	assert_true(famez_header_at(mailbox.base)->features & FAMEZ_FEATURE_OLD_SLOTS);
}

static void too_few_vectors_for_senders_are_not_said_to_be_enough(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);

	(void)state;
	w.vectors = IDS - 1;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	assert_int_equal(famez_header_at(mailbox.base)->features, 0);
	assert_int_equal(famez_vector_of(&mailbox.g, 3), 0);
}

static void the_server_is_in_the_directory_and_nobody_else(void **state)
{
	(void)state;
	open_lanes();
	assert_int_equal(entry(SERVER)->presence, FAMEZ_PRESENT);
	assert_int_equal(entry(SERVER)->joins, 1);
	assert_int_equal(entry(SERVER)->join, 1);
	assert_true(entry(SERVER)->generation != 0);
	assert_int_equal(entry(SERVER)->speaks, FAMEZ_SPEAKS_LANES);
	assert_string_equal(entry(SERVER)->name, "server");
	for (uint32_t id = 0; id < SERVER; id++) {
		assert_int_equal(entry(id)->presence, FAMEZ_ABSENT);
		assert_int_equal(entry(id)->speaks, 0);
	}
}

static void a_silent_server_is_not_in_the_directory(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	struct famez_geometry g = {0};

	(void)state;
	w.server_id = FAMEZ_NOBODY;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	assert_int_equal(famez_geometry_read(&g, mailbox.base, BYTES), 0);
	assert_int_equal(g.server_id, FAMEZ_NOBODY);
	assert_int_equal(entry(SERVER)->presence, FAMEZ_ABSENT);
	assert_int_equal(entry(SERVER)->speaks, 0);
}

static void slots_alone_have_no_header(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_SLOTS);
	struct famez_geometry g = {0};

	(void)state;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	assert_int_equal(famez_geometry_read(&g, mailbox.base, BYTES), -ENOENT);
	assert_int_equal(((struct famez_globals *)mailbox.base)->clients, PEERS);
}

static void plain_memory_is_not_even_mapped(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_PLAIN);
	struct stat st;

	(void)state;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	assert_null(mailbox.base);
	assert_int_equal(fstat(memory.fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	/* And nothing happens to those who come and go. */
	mailbox_joining(&mailbox, 1, true);
	mailbox_present(&mailbox, 1);
	assert_false(mailbox_watches(&mailbox, 1));
	mailbox_absent(&mailbox, 1);
}

static void what_nobody_used_takes_no_memory(void **state)
{
	struct stat st;

	(void)state;
	open_lanes();
	assert_int_equal(fstat(memory.fd, &st), 0);
	assert_in_range(st.st_blocks * 512, 4096, 4 * 4096); /* slots and directory */
}

static void a_join_is_seen_in_the_directory_step_by_step(void **state)
{
	(void)state;
	open_lanes();
	mailbox_joining(&mailbox, 2, true);
	assert_int_equal(entry(2)->presence, FAMEZ_JOINING);
	assert_int_equal(entry(2)->joins, 1);
	assert_int_equal(entry(2)->device, 1);
	assert_int_equal(changes(), 0); /* nobody is told yet */
	mailbox_present(&mailbox, 2);
	assert_int_equal(entry(2)->presence, FAMEZ_PRESENT);
	assert_int_equal(changes(), 1);
	mailbox_absent(&mailbox, 2);
	assert_int_equal(entry(2)->presence, FAMEZ_ABSENT);
	assert_int_equal(changes(), 2);
}

static void who_never_came_in_is_no_change(void **state)
{
	(void)state;
	open_lanes();
	mailbox_joining(&mailbox, 2, false);
	mailbox_absent(&mailbox, 2);
	assert_int_equal(entry(2)->presence, FAMEZ_ABSENT);
	assert_int_equal(changes(), 0);
}

static void an_ids_next_owner_is_told_from_the_last(void **state)
{
	struct famez_entry *e;

	(void)state;
	open_lanes();
	e = famez_entry_at(mailbox.base, &mailbox.g, 3);
	mailbox_joining(&mailbox, 3, true);
	mailbox_present(&mailbox, 3);
	e->join = e->joins;
	e->speaks = FAMEZ_SPEAKS_LANES;
	e->watches = 1;
	e->cid = 300;
	e->sid = 27;
	assert_true(mailbox_watches(&mailbox, 3));
	mailbox_absent(&mailbox, 3);
	assert_false(mailbox_watches(&mailbox, 3));
	mailbox_joining(&mailbox, 3, false);
	mailbox_present(&mailbox, 3);
	assert_int_equal(e->joins, 2);
	assert_true(e->join != e->joins); /* so whatever else it says does not count */
	assert_false(mailbox_watches(&mailbox, 3));
	assert_int_equal(e->cid, 0);
	assert_int_equal(e->sid, 0);
	assert_int_equal(e->device, 0);
}

static void who_scribbles_on_the_brokers_lines_is_not_believed(void **state)
{
	struct famez_entry *e;

	(void)state;
	open_lanes();
	e = famez_entry_at(mailbox.base, &mailbox.g, 1);
	e->presence = FAMEZ_PRESENT;
	e->joins = e->join = 77;
	e->watches = 1;
	assert_false(mailbox_watches(&mailbox, 1));
	famez_header_at(mailbox.base)->changes = 1000;
	mailbox_joining(&mailbox, 1, false);
	mailbox_present(&mailbox, 1);
	assert_int_equal(e->joins, 1);
	assert_int_equal(changes(), 1);
	/* Geometry is ours, too. */
	famez_header_at(mailbox.base)->directory_offset = UINT64_MAX;
	famez_header_at(mailbox.base)->ids = 0;
	mailbox_absent(&mailbox, 1);
	assert_int_equal(e->presence, FAMEZ_ABSENT);
}

static void what_somebody_scribbled_over_what_the_broker_wrote_is_mended(void **state)
{
	struct famez_geometry g;
	unsigned char *base, before[FAMEZ_SLOT_BYTES];
	uint32_t generation;

	(void)state;
	open_lanes();
	mailbox_joining(&mailbox, 2, true);
	mailbox_present(&mailbox, 2);
	generation = entry(SERVER)->generation;
	base = map();
	memcpy(before, base, sizeof(before));
	memset(base, 0xa5, FAMEZ_HEADER_OFFSET + sizeof(struct famez_header));
	memset(base + mailbox.g.directory_offset, 0xa5, IDS * sizeof(struct famez_entry));
	mailbox_mend(&mailbox);
	assert_int_equal(famez_geometry_read(&g, base, BYTES), 0);
	assert_memory_equal(base, before, sizeof(struct famez_globals));
	assert_memory_equal(base + FAMEZ_HEADER_OFFSET, before + FAMEZ_HEADER_OFFSET,
		sizeof(struct famez_header));
	assert_int_equal(entry(2)->presence, FAMEZ_PRESENT);
	assert_int_equal(entry(2)->joins, 1);
	assert_int_equal(entry(2)->device, 1);
	assert_int_equal(entry(3)->presence, FAMEZ_ABSENT);
	assert_int_equal(entry(3)->joins, 0);
	assert_int_equal(entry(SERVER)->presence, FAMEZ_PRESENT);
	assert_int_equal(entry(SERVER)->join, entry(SERVER)->joins);
	assert_int_equal(entry(SERVER)->generation, generation);
	assert_int_equal(entry(SERVER)->speaks, FAMEZ_SPEAKS_LANES);
	/* What is a peer's to write, it writes itself. */
	assert_int_equal(entry(2)->generation, 0xa5a5a5a5);
	munmap(base, BYTES);
}

static void a_newcomer_finds_a_header_whatever_was_scribbled_there(void **state)
{
	struct famez_geometry g;
	unsigned char *base;

	(void)state;
	open_lanes();
	base = map();
	memset(base, 0xa5, FAMEZ_SLOT_BYTES);
	assert_int_not_equal(famez_geometry_read(&g, base, BYTES), 0);
	mailbox_joining(&mailbox, 1, false);
	assert_int_equal(famez_geometry_read(&g, base, BYTES), 0);
	munmap(base, BYTES);
}

static void the_server_is_never_rung_for_changes(void **state)
{
	(void)state;
	open_lanes();
	famez_entry_at(mailbox.base, &mailbox.g, SERVER)->watches = 1;
	assert_false(mailbox_watches(&mailbox, SERVER));
}

static void who_leaves_loses_the_name_class_and_text_of_its_slot_and_no_more(void **state)
{
	static const enum mailbox_layout layouts[] = {LAYOUT_SLOTS, LAYOUT_LANES};

	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(layouts); i++) {
		struct mailbox_wish w = wish(layouts[i]);
		struct famez_slot *slot;

		open_memory(MEMORY_SEALED);
		lay_out(&w);
		slot = famez_slot_at(mailbox.base, 2);
		mailbox_joining(&mailbox, 2, false);
		mailbox_present(&mailbox, 2);
		memset(slot->name, 'n', sizeof(slot->name));
		memset(slot->cclass, 'c', sizeof(slot->cclass));
		slot->text_bytes = 5;
		mailbox_absent(&mailbox, 2);
		for (unsigned b = 0; b < FAMEZ_NAME_BYTES; b++)
			assert_int_equal(slot->name[b] | slot->cclass[b], 0);
		assert_int_equal(slot->text_bytes, 0);
		assert_int_equal(slot->peer_id, 2);
		mailbox_close(&mailbox);
		memory_close(&memory);
	}
}

static void in_the_older_dialect_there_is_no_class_to_lose(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_SLOTS);
	struct famez_slot_old *slot;

	(void)state;
	w.old_slots = true;
	open_memory(MEMORY_SEALED);
	lay_out(&w);
	slot = (void *)famez_slot_at(mailbox.base, 2);
	(void)snprintf(slot->name, sizeof(slot->name), "name");
	slot->text_bytes = 7;
	mailbox_joining(&mailbox, 2, false);
	mailbox_absent(&mailbox, 2);
	assert_int_equal(slot->name[0], 0);
	assert_int_equal(slot->text_bytes, 0);
	assert_int_equal(slot->peer_id, 2);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_peer_finds_a_header_that_fits_the_file),
		T(a_v1_client_finds_what_famezs_own_server_writes),
		T(in_the_older_dialect_the_peers_id_stands_elsewhere),
		T(too_few_vectors_for_senders_are_not_said_to_be_enough),
		T(the_server_is_in_the_directory_and_nobody_else),
		T(a_silent_server_is_not_in_the_directory),
		T(slots_alone_have_no_header),
		T(plain_memory_is_not_even_mapped),
		T(what_nobody_used_takes_no_memory),
		T(a_join_is_seen_in_the_directory_step_by_step),
		T(who_never_came_in_is_no_change),
		T(an_ids_next_owner_is_told_from_the_last),
		T(who_scribbles_on_the_brokers_lines_is_not_believed),
		T(what_somebody_scribbled_over_what_the_broker_wrote_is_mended),
		T(a_newcomer_finds_a_header_whatever_was_scribbled_there),
		T(the_server_is_never_rung_for_changes),
		T(who_leaves_loses_the_name_class_and_text_of_its_slot_and_no_more),
		T(in_the_older_dialect_there_is_no_class_to_lose),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
