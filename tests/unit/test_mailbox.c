/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox.c - what the broker writes into the shared memory: at its start, when somebody
 * comes, is there and goes; and that no memory it is given can end it.
 */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "mailbox.h"

enum { PEERS = 4, IDS = PEERS + 2, SERVER = PEERS + 1 };

#define BYTES (1u << 20)

static char path[64];
static struct memory memory;
static struct mailbox mailbox;

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/famez-unit-mailbox-%d", (int)getpid());
	memory = (struct memory){.fd = -1};
	mailbox = (struct mailbox){0};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mailbox_close(&mailbox);
	memory_close(&memory);
	(void)unlink(path);
	return 0;
}

static struct mailbox_wish wish(enum mailbox_layout layout)
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

static void open_memory(enum memory_kind kind)
{
	struct why why = {""};

	if (memory_open(&memory, kind, kind == MEMORY_SEALED ? NULL : path, BYTES, 0, &why) != 0)
		fail_msg("%s", why.text);
}

static void lay_out(const struct mailbox_wish *w)
{
	struct why why = {""};

	if (mailbox_open(&mailbox, &memory, w, &why) != 0)
		fail_msg("%s", why.text);
}

static void open_lanes(void)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);

	open_memory(MEMORY_SEALED);
	lay_out(&w);
}

/* As a peer sees it: a mapping of its own. */
static unsigned char *map(void)
{
	void *base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);

	assert_true(base != MAP_FAILED);
	return base;
}

static const struct famez_entry *entry(uint32_t id)
{
	return famez_entry_at(mailbox.base, &mailbox.g, id);
}

static uint64_t changes(void)
{
	return famez_header_at(mailbox.base)->changes;
}

static void write_file(const void *bytes, size_t count, off_t at)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	assert_int_equal(pwrite(fd, bytes, count, at), count);
	close(fd);
}

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

/* ---- files that existed ----------------------------------------------------------------- */

static void what_an_earlier_broker_left_is_emptied(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	struct famez_lane *lane;
	uint32_t generation;

	(void)state;
	write_file("", 0, 0);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	generation = entry(SERVER)->generation;
	mailbox_joining(&mailbox, 1, false);
	mailbox_present(&mailbox, 1);
	lane = famez_lane_at(mailbox.base, &mailbox.g, 1, 2);
	lane->produced = 4711;
	memset(famez_lane_data_at(mailbox.base, &mailbox.g, IDS - 1, IDS - 1), 0xee,
		mailbox.g.lane_bytes);
	famez_inbox_at(mailbox.base, &mailbox.g, 1)->asleep[0] = 1;
	mailbox_close(&mailbox);
	memory_close(&memory);

	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_false(mailbox.foreign);
	lane = famez_lane_at(mailbox.base, &mailbox.g, 1, 2);
	assert_int_equal(lane->produced, 0);
	assert_int_equal(famez_inbox_at(mailbox.base, &mailbox.g, 1)->asleep[0], 0);
	for (uint32_t b = 0; b < mailbox.g.lane_bytes; b++)
		assert_int_equal(
			famez_lane_data_at(mailbox.base, &mailbox.g, IDS - 1, IDS - 1)[b], 0);
	assert_int_equal(entry(1)->presence, FAMEZ_ABSENT);
	assert_int_equal(changes(), 0);
	/* Peers of the earlier one may live on. */
	assert_true(entry(SERVER)->generation != generation);
	assert_true(entry(1)->generation == entry(SERVER)->generation);
}

static void what_lies_behind_the_layout_is_left_alone(void **state)
{
	const size_t end = (size_t)IDS * FAMEZ_SLOT_BYTES;
	struct mailbox_wish w = wish(LAYOUT_SLOTS);
	const char *base;

	(void)state;
	write_file("mine", 4, (off_t)end);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	base = mailbox.base;
	assert_memory_equal(base + end, "mine", 4);
}

static void what_no_broker_wrote_is_left_alone(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	char content[16];

	(void)state;
	write_file("somebody's data", 16, 0);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(mailbox.layout, LAYOUT_PLAIN);
	assert_true(mailbox.foreign);
	assert_null(mailbox.base);
	assert_int_equal(pread(memory.fd, content, 16, 0), 16);
	assert_string_equal(content, "somebody's data");
}

static void what_lies_behind_an_empty_beginning_is_left_alone(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	char content[5];

	(void)state;
	write_file("mine", 5, BYTES / 4);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(mailbox.layout, LAYOUT_PLAIN);
	assert_true(mailbox.foreign);
	assert_int_equal(pread(memory.fd, content, 5, BYTES / 4), 5);
	assert_string_equal(content, "mine");
}

static void zeros_that_were_written_are_as_good_as_holes(void **state)
{
	static const char zeros[BYTES];
	struct mailbox_wish w = wish(LAYOUT_LANES);

	(void)state;
	write_file(zeros, sizeof(zeros), 0);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(mailbox.layout, LAYOUT_LANES);
}

static void what_no_broker_wrote_is_overwritten_where_that_was_asked_for(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	struct famez_geometry g = {0};

	(void)state;
	w.spare_foreign = false;
	write_file("somebody's data", 16, 0);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(famez_geometry_read(&g, mailbox.base, BYTES), 0);
}

static void what_famezs_own_server_wrote_is_ours_to_use(void **state)
{
	struct famez_globals globals = {512, 128, 14, 16, 15};
	struct mailbox_wish w = wish(LAYOUT_LANES);

	(void)state;
	write_file(&globals, sizeof(globals), 0);
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(mailbox.layout, LAYOUT_LANES);
	assert_int_equal(((struct famez_globals *)mailbox.base)->clients, PEERS);
}

static void a_file_of_another_broker_that_lives_is_refused(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	struct why why = {""};
	struct memory theirs;
	int ends[2], status;
	pid_t other;
	char byte;

	(void)state;
	write_file("", 0, 0);
	assert_int_equal(pipe(ends), 0);
	other = fork();
	if (other == 0) {
		open_memory(MEMORY_PATH);
		lay_out(&w);
		(void)!write(ends[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(memory_open(&theirs, MEMORY_PATH, path, BYTES, 0, &why), 0);
	assert_int_equal(mailbox_open(&mailbox, &theirs, &w, &why), -EADDRINUSE);
	assert_non_null(strstr(why.text, path));
	/* Handing it out as it is does no harm. */
	w.layout = LAYOUT_PLAIN;
	assert_int_equal(mailbox_open(&mailbox, &theirs, &w, &why), 0);
	assert_int_equal(kill(other, SIGKILL), 0);
	assert_int_equal(waitpid(other, &status, 0), other);
	w.layout = LAYOUT_LANES;
	assert_int_equal(mailbox_open(&mailbox, &theirs, &w, &why), 0);
	mailbox_close(&mailbox);
	close(theirs.fd);
}

/* ---- pages that are gone ---------------------------------------------------------------- */

static void a_file_that_is_truncated_is_survived_and_counts_as_lost(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);

	(void)state;
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_false(mailbox_lost(&mailbox));
	assert_int_equal(truncate(path, 0), 0);
	mailbox_joining(&mailbox, 1, false);
	mailbox_present(&mailbox, 1);
	assert_true(mailbox_lost(&mailbox));
	/* It goes on, in private, as far as it reaches. */
	assert_int_equal(entry(1)->presence, FAMEZ_PRESENT);
	memset(mailbox.base, 1, BYTES);
	mailbox_absent(&mailbox, 1);
}

static void what_is_left_of_a_truncated_file_is_still_shared(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	volatile unsigned char *last;
	uint32_t presence;

	(void)state;
	open_memory(MEMORY_PATH);
	lay_out(&w);
	assert_int_equal(truncate(path, (off_t)mailbox.g.inbox_offset), 0);
	last = (unsigned char *)mailbox.base + BYTES - 1;
	assert_int_equal(*last, 0);
	assert_true(mailbox_lost(&mailbox));
	mailbox_joining(&mailbox, 1, false);
	assert_int_equal(pread(memory.fd, &presence, 4,
				 (off_t)(mailbox.g.directory_offset + sizeof(struct famez_entry))),
		4);
	assert_int_equal(presence, FAMEZ_JOINING);
}

/* Returns the signal that ended a process doing this with a mailbox open. */
static int ends_by(void (*act)(void))
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	pid_t child = fork();
	int status;

	if (child == 0) {
		(void)signal(SIGBUS, SIG_DFL); /* cmocka's */
		open_memory(MEMORY_SEALED);
		lay_out(&w);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_what_is_gone_elsewhere(void)
{
	int fd = memfd_create("elsewhere", MFD_CLOEXEC);
	volatile char *at;

	assert_int_equal(ftruncate(fd, 4096), 0);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	*at = 1;
}

static void send_it(void)
{
	(void)raise(SIGBUS);
}

static void any_other_bus_error_ends_us_as_ever(void **state)
{
	(void)state;
#if !defined(__SANITIZE_ADDRESS__)
	assert_int_equal(ends_by(touch_what_is_gone_elsewhere), SIGBUS);
	assert_int_equal(ends_by(send_it), SIGBUS);
#else
	(void)touch_what_is_gone_elsewhere;
	(void)send_it;
	(void)ends_by;
#endif
}

static void what_was_there_before_handles_bus_errors_again_afterwards(void **state)
{
	struct sigaction before, after;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
	open_lanes();
	assert_int_equal(sigaction(SIGBUS, NULL, &after), 0);
	assert_true(after.sa_sigaction != before.sa_sigaction);
	mailbox_close(&mailbox);
	assert_int_equal(sigaction(SIGBUS, NULL, &after), 0);
	assert_true(after.sa_sigaction == before.sa_sigaction);
}

static void memory_that_cannot_be_mapped_is_refused_in_one_line(void **state)
{
	struct mailbox_wish w = wish(LAYOUT_LANES);
	struct memory none = {.fd = -1, .bytes = BYTES};
	struct why why = {""};

	(void)state;
	assert_int_equal(mailbox_open(&mailbox, &none, &w, &why), -EBADF);
	assert_non_null(strstr(why.text, "1048576"));
	assert_non_null(strstr(why.text, "--layout plain"));
	assert_null(strchr(why.text, '\n'));
	assert_null(mailbox.base);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
		T(what_an_earlier_broker_left_is_emptied),
		T(what_lies_behind_the_layout_is_left_alone),
		T(what_no_broker_wrote_is_left_alone),
		T(what_lies_behind_an_empty_beginning_is_left_alone),
		T(zeros_that_were_written_are_as_good_as_holes),
		T(what_no_broker_wrote_is_overwritten_where_that_was_asked_for),
		T(what_famezs_own_server_wrote_is_ours_to_use),
		T(a_file_of_another_broker_that_lives_is_refused),
		T(a_file_that_is_truncated_is_survived_and_counts_as_lost),
		T(what_is_left_of_a_truncated_file_is_still_shared),
		T(any_other_bus_error_ends_us_as_ever),
		T(what_was_there_before_handles_bus_errors_again_afterwards),
		T(memory_that_cannot_be_mapped_is_refused_in_one_line),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
