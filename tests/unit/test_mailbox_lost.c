/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox_lost.c - no memory that the broker is given can end it: pages that are gone, and
 * what can't be mapped.
 */
#include "mailbox_fixture.h"

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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_file_that_is_truncated_is_survived_and_counts_as_lost),
		T(what_is_left_of_a_truncated_file_is_still_shared),
		T(any_other_bus_error_ends_us_as_ever),
		T(what_was_there_before_handles_bus_errors_again_afterwards),
		T(memory_that_cannot_be_mapped_is_refused_in_one_line),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
