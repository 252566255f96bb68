/* SPDX-License-Identifier: MIT */
/*
 * test_mail_answers.c - texts of v1 clients, and the one slot that the server's answers go by.
 */
#include "mail_rig.h"

#include "log.h"

static void put_slot(struct rig *r, uint32_t id, const char *text)
{
	struct famez_slot *slot = famez_slot_at(r->mailbox.base, id);

	memcpy(slot->text, text, strlen(text));
	slot->text_bytes = strlen(text);
	mail_rung(&r->workers[id % WORKERS], (uint16_t)id);
}

static bool slot_says(struct rig *r, uint32_t to, const char *text)
{
	struct famez_slot *slot = famez_slot_at(r->mailbox.base, SERVER);

	if (slot->text_bytes != strlen(text) || memcmp(slot->text, text, strlen(text)) != 0 ||
		slot->last_responder != to)
		return false;
	slot->text_bytes = 0;
	return true;
}

static void another_worker_s_answer_goes_by_the_one_slot(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 5);
	put_slot(r, 5, "ping");
	(void)turn(r, 1);
	assert_int_equal(famez_slot_at(r->mailbox.base, 5)->text_bytes, 0);
	assert_false(mail_sleep(&r->workers[0]));
	(void)turn(r, 0);
	assert_int_equal(rung(r, 5), 1);
	assert_true(slot_says(r, 5, "pong"));
	rig_free(r);
}

/* Lines of ports that a turn of this worker has logged. */
static unsigned ports_logged(struct rig *r, unsigned worker, const char *path)
{
	char line[1024];
	unsigned count = 0;
	FILE *log;

	assert_int_equal(truncate(path, 0), 0);
	/* One takes the wish, the next obeys. */
	(void)turn(r, worker);
	(void)turn(r, worker);
	log = fopen(path, "re");
	assert_non_null(log);
	while (fgets(line, sizeof(line), log))
		count += strstr(line, "event=port ") != NULL;
	(void)fclose(log);
	return count;
}

static void who_asks_for_dumps_without_end_does_not_flood_the_log(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);
	char path[] = "/tmp/famez-unit-XXXXXX";
	const struct log_config log = {.file = path, .level = LOG_LEVEL_NOTICE};
	int fd = mkostemp(path, O_APPEND | O_CLOEXEC);
	struct mail *m = &r->workers[1].mail;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(log_open(&log, fd), 0);
	for (uint32_t id = 1; id <= 99; id += 2)
		joins(r, id);
	put_slot(r, 5, "dump");
	assert_int_equal(ports_logged(r, 1, path), 50);
	/* A second later, as far as asking goes. */
	m->asked_ns -= 2000000000u;
	m->show_next_ns -= 2000000000u;
	put_slot(r, 5, "dump");
	assert_int_equal(ports_logged(r, 1, path), 0);
	/* And when all these lines have been earned. */
	m->asked_ns -= 4000000000u;
	m->show_next_ns -= 4000000000u;
	put_slot(r, 5, "dump");
	assert_int_equal(ports_logged(r, 1, path), 50);
	(void)unlink(path);
	close(fd);
	rig_free(r);
}

static void an_answer_to_who_left_is_not_for_the_id_s_next_owner(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 5);
	joins(r, 7);
	put_slot(r, 5, "ping!EZT=1");
	(void)turn(r, 1);
	leaves(r, 5);
	joins(r, 5);
	put_slot(r, 7, "ping!EZT=5");
	(void)turn(r, 1);
	(void)turn(r, 0);
	assert_int_equal(rung(r, 5), 0);
	assert_int_equal(rung(r, 7), 1);
	assert_true(slot_says(r, 7, "pong!EZT=6"));
	rig_free(r);
}

static void a_slot_that_rang_before_its_owner_joined_is_heard_when_he_has(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	put_slot(r, 4, "ping");
	(void)turn(r, 0);
	assert_int_not_equal(famez_slot_at(r->mailbox.base, 4)->text_bytes, 0);
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(slot_says(r, 4, "pong"));
	rig_free(r);
}

static void answers_wait_for_the_slot_in_order(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	for (uint32_t id = 2; id < 12; id += 2) {
		joins(r, id);
		put_slot(r, id, "ping");
	}
	for (uint32_t id = 2; id < 12; id += 2) {
		(void)turn(r, 0);
		assert_true(slot_says(r, id, "pong"));
	}
	assert_int_equal(r->workers[0].mail.counts.slots_sent, 5);
	assert_int_equal(r->workers[0].mail.counts.stuck, 0);
	rig_free(r);
}

static void answers_beyond_what_may_wait_are_dropped_and_counted(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	for (uint32_t id = 2; id < SERVER; id += 2)
		joins(r, id);
	for (unsigned n = 0; n <= SLOTS_EACH; n++)
		for (uint32_t id = 2; id < SERVER; id += 2) {
			put_slot(r, id, "ping");
			(void)turn(r, 0);
		}
	/* One is in the slot. */
	assert_int_equal(r->workers[0].mail.counts.dropped,
		(SERVER - 1) / 2 * (SLOTS_EACH + 1) - SLOTS_WAITING - 1);
	rig_free(r);
}

static void one_who_reads_nothing_and_says_much_leaves_others_their_place(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_SLOTS);

	(void)state;
	joins(r, 4);
	joins(r, 6);
	for (unsigned n = 0; n < SLOTS_WAITING; n++) {
		put_slot(r, 4, "ping");
		(void)turn(r, 0);
	}
	put_slot(r, 6, "ping!EZT=1");
	for (unsigned n = 0; n <= SLOTS_EACH; n++) {
		(void)turn(r, 0);
		assert_true(slot_says(r, 4, "pong"));
	}
	(void)turn(r, 0);
	assert_true(slot_says(r, 6, "pong!EZT=2"));
	/* Once it reads, it is served as before. */
	put_slot(r, 4, "ping!EZT=7");
	(void)turn(r, 0);
	assert_true(slot_says(r, 4, "pong!EZT=8"));
	rig_free(r);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_worker_s_answer_goes_by_the_one_slot),
		cmocka_unit_test(who_asks_for_dumps_without_end_does_not_flood_the_log),
		cmocka_unit_test(an_answer_to_who_left_is_not_for_the_id_s_next_owner),
		cmocka_unit_test(a_slot_that_rang_before_its_owner_joined_is_heard_when_he_has),
		cmocka_unit_test(answers_wait_for_the_slot_in_order),
		cmocka_unit_test(answers_beyond_what_may_wait_are_dropped_and_counted),
		cmocka_unit_test(one_who_reads_nothing_and_says_much_leaves_others_their_place),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
