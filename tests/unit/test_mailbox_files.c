/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox_files.c - what the broker makes of a file that existed, and whose it was.
 */
#include "mailbox_fixture.h"

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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(what_an_earlier_broker_left_is_emptied),
		T(what_lies_behind_the_layout_is_left_alone),
		T(what_no_broker_wrote_is_left_alone),
		T(what_lies_behind_an_empty_beginning_is_left_alone),
		T(zeros_that_were_written_are_as_good_as_holes),
		T(what_no_broker_wrote_is_overwritten_where_that_was_asked_for),
		T(what_famezs_own_server_wrote_is_ours_to_use),
		T(a_file_of_another_broker_that_lives_is_refused),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
