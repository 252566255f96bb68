/* SPDX-License-Identifier: MIT */
/*
 * test_memory.c - the file that every peer maps: its size, its seals, its names, and
 * whose it is.
 */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "memory.h"

static char folder[] = "/tmp/famez-unit-XXXXXX";
static char file[64], shm_name[64];

static int set_up(void **state)
{
	(void)state;
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 7);
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(file, sizeof(file), "%s/box", folder);
	(void)snprintf(shm_name, sizeof(shm_name), "famez-unit-%d", (int)getpid());
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(file);
	(void)shm_unlink(shm_name);
	return rmdir(folder);
}

static off_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

static void make_file(off_t bytes, mode_t mode)
{
	int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void sizes_are_rounded_to_powers_of_two_of_a_page_or_more(void **state)
{
	(void)state;
	assert_int_equal(memory_round(1), 4096);
	assert_int_equal(memory_round(4096), 4096);
	assert_int_equal(memory_round(4097), 8192);
	for (uint64_t bytes = 4096; bytes < MEMORY_BYTES_MAX; bytes *= 2) {
		assert_int_equal(memory_round(bytes), bytes);
		assert_int_equal(memory_round(bytes + 1), 2 * bytes);
		assert_int_equal(memory_round(2 * bytes - 1), 2 * bytes);
	}
	assert_int_equal(memory_round(MEMORY_BYTES_MAX), MEMORY_BYTES_MAX);
	assert_int_equal(memory_round(MEMORY_BYTES_MAX + 1), 0);
	assert_int_equal(memory_round(UINT64_MAX), 0);
}

static void the_default_can_neither_shrink_nor_grow_nor_lose_its_seals(void **state)
{
	struct memory m;
	struct why why;

	(void)state;
	assert_int_equal(memory_open(&m, MEMORY_SEALED, NULL, 65536, 65536, &why), 0);
	assert_int_equal(size_of(m.fd), 65536);
	assert_int_equal(m.bytes, 65536);
	assert_int_equal(fcntl(m.fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(ftruncate(m.fd, 4096), -1);
	assert_int_equal(ftruncate(m.fd, 1 << 20), -1);
	memory_close(&m);
	assert_int_equal(fcntl(m.fd, F_GETFD), -1);
}

static void memory_is_sparse(void **state)
{
	struct memory m;
	struct why why;
	struct stat st;

	(void)state;
	assert_int_equal(
		memory_open(&m, MEMORY_SEALED, NULL, UINT64_C(1) << 36, UINT64_C(1) << 36, &why),
		0);
	assert_int_equal(fstat(m.fd, &st), 0);
	assert_int_equal(st.st_size, UINT64_C(1) << 36);
	assert_int_equal(st.st_blocks, 0);
	memory_close(&m);
}

static void a_named_object_is_made_and_removed(void **state)
{
	struct memory m;
	struct why why;
	int fd;

	(void)state;
	assert_int_equal(memory_open(&m, MEMORY_SHM, shm_name, 8192, 8192, &why), 0);
	fd = shm_open(shm_name, O_RDWR | O_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(size_of(fd), 8192);
	close(fd);
	memory_close(&m);
	assert_int_equal(shm_open(shm_name, O_RDWR | O_CLOEXEC, 0), -1);
}

static void an_existing_object_is_reused_with_its_content_and_stays(void **state)
{
	struct memory m;
	struct why why;
	int fd = shm_open(shm_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char byte = 'x';

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16384), 0);
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	assert_int_equal(memory_open(&m, MEMORY_SHM, shm_name, 8192, 8192, &why), 0);
	assert_int_equal(m.bytes, 16384);
	assert_int_equal(size_of(m.fd), 16384);
	byte = 0;
	assert_int_equal(pread(m.fd, &byte, 1, 5000), 1);
	assert_int_equal(byte, 'x');
	memory_close(&m);
	assert_int_equal(size_of(fd), 16384);
	close(fd);
	assert_int_equal(shm_unlink(shm_name), 0);
}

static void an_existing_file_is_reused_and_never_truncated(void **state)
{
	struct memory m;
	struct why why;

	(void)state;
	make_file(65536, 0600);
	assert_int_equal(memory_open(&m, MEMORY_PATH, file, 4096, 4096, &why), 0);
	assert_int_equal(m.bytes, 65536);
	assert_int_equal(size_of(m.fd), 65536);
	memory_close(&m);
	assert_true(exists(file));
}

static void refuses(off_t bytes, const char *word)
{
	struct memory m;
	struct why why = {""};
	struct stat st;

	make_file(bytes, 0600);
	assert_true(memory_open(&m, MEMORY_PATH, file, 8192, 8192, &why) < 0);
	if (!strstr(why.text, file))
		fail_msg("\"%s\" does not name the file", why.text);
	if (!strstr(why.text, word))
		fail_msg("\"%s\" says nothing of %s", why.text, word);
	assert_null(strchr(why.text, '\n'));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, bytes);
}

static void a_file_that_is_too_small_is_refused_and_left_alone(void **state)
{
	(void)state;
	refuses(4096, "8192");
}

static void a_file_that_is_no_power_of_two_is_refused_and_left_alone(void **state)
{
	(void)state;
	refuses(12288, "power of two");
}

static void a_folder_gets_an_unnamed_file(void **state)
{
	struct memory m;
	struct why why;

	(void)state;
	assert_int_equal(memory_open(&m, MEMORY_PATH, folder, 8192, 8192, &why), 0);
	assert_int_equal(size_of(m.fd), 8192);
	assert_false(exists(file));
	memory_close(&m); /* tear_down() removes the folder, which must be empty */
}

static void a_new_file_is_made_and_removed(void **state)
{
	struct memory m;
	struct why why;
	struct stat st;

	(void)state;
	assert_int_equal(memory_open(&m, MEMORY_PATH, file, 8192, 8192, &why), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 8192);
	memory_close(&m);
	assert_false(exists(file));
}

static void a_name_that_somebody_took_over_meanwhile_is_not_removed(void **state)
{
	struct memory m;
	struct why why;

	(void)state;
	assert_int_equal(memory_open(&m, MEMORY_PATH, file, 8192, 8192, &why), 0);
	assert_int_equal(unlink(file), 0);
	make_file(4096, 0600);
	memory_close(&m);
	assert_true(exists(file));
}

static void what_cannot_be_opened_is_said_in_one_line(void **state)
{
	struct memory m;
	struct why why = {""};
	char missing[128];

	(void)state;
	(void)snprintf(missing, sizeof(missing), "%s/no/such/folder", folder);
	assert_true(memory_open(&m, MEMORY_PATH, missing, 8192, 8192, &why) < 0);
	assert_non_null(strstr(why.text, missing));
	assert_null(strchr(why.text, '\n'));
	assert_true(memory_open(&m, MEMORY_PATH, "/dev/null", 8192, 8192, &why) < 0);
	assert_non_null(strstr(why.text, "/dev/null"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(sizes_are_rounded_to_powers_of_two_of_a_page_or_more),
		T(the_default_can_neither_shrink_nor_grow_nor_lose_its_seals),
		T(memory_is_sparse),
		T(a_named_object_is_made_and_removed),
		T(an_existing_object_is_reused_with_its_content_and_stays),
		T(an_existing_file_is_reused_and_never_truncated),
		T(a_file_that_is_too_small_is_refused_and_left_alone),
		T(a_file_that_is_no_power_of_two_is_refused_and_left_alone),
		T(a_folder_gets_an_unnamed_file),
		T(a_new_file_is_made_and_removed),
		T(a_name_that_somebody_took_over_meanwhile_is_not_removed),
		T(what_cannot_be_opened_is_said_in_one_line),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
