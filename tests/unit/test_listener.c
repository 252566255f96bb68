/* SPDX-License-Identifier: MIT */
/*
 * test_listener.c - the socket that clients come to, in folders where others write, too: what is
 * not ours is neither emptied nor given away. What clients see of it is in tests/blackbox.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "listener.h"

static char folder[] = "/tmp/famez-unit-XXXXXX";
static char path[64], lock[80], victim[64];
static bool swaps; /* somebody puts a link where the socket was, as soon as it is bound */

int __real_bind(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes);

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
	int result = __real_bind(fd, address, bytes);

	if (swaps && (unlink(path) != 0 || symlink(victim, path) != 0))
		abort();
	return result;
}

/* Whoever waits for the lock finds it free afterwards. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

static int held = -1; /* the lock, of somebody else */
static unsigned waits;

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	waits++;
	return close(held);
}

static void write_file(const char *name, const char *text)
{
	FILE *to = fopen(name, "we");

	assert_non_null(to);
	assert_true(fputs(text, to) >= 0);
	assert_int_equal(fclose(to), 0);
}

static void has(const char *name, const char *text)
{
	char found[64] = "";
	FILE *from = fopen(name, "re");

	assert_non_null(from);
	(void)!fread(found, 1, sizeof(found) - 1, from);
	(void)fclose(from);
	assert_string_equal(found, text);
}

static int set_up(void **state)
{
	(void)state;
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 7);
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/sock", folder);
	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	(void)snprintf(victim, sizeof(victim), "%s/victim", folder);
	swaps = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(lock);
	(void)unlink(victim);
	return rmdir(folder);
}

static const struct listener_wish plain = {
	.path = path, .mode = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};

static int opens(const struct listener_wish *wish, struct why *why)
{
	struct listener l;
	int err = listener_open(&l, wish, why);

	if (!err)
		listener_close(&l);
	return err;
}

static void a_lock_file_that_is_something_else_is_left_as_it_is(void **state)
{
	static const char *const texts[] = {
		"[[package]]\nname = \"x\"\n", "12 34\n", "12\n\n", "-1", "1234567890123456789"};
	struct why why;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		write_file(lock, texts[i]);
		assert_int_equal(opens(&plain, &why), -EINVAL);
		assert_non_null(strstr(why.text, lock));
		has(lock, texts[i]);
	}
}

static void a_lock_file_that_is_another_file_s_second_name_is_left_as_it_is(void **state)
{
	struct why why;

	(void)state;
	write_file(victim, "1234\n");
	assert_int_equal(link(victim, lock), 0);
	assert_int_equal(opens(&plain, &why), -EINVAL);
	has(victim, "1234\n");
}

static void the_lock_of_a_server_that_is_gone_is_taken_over(void **state)
{
	static const char *const texts[] = {"", "2147483647\n", "2147483647"};
	struct why why;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		write_file(lock, texts[i]);
		assert_int_equal(opens(&plain, &why), 0);
		assert_int_not_equal(access(lock, F_OK), 0);
	}
}

/* Its broker has the lock a little longer, and its parent has not asked for it yet. */
static void a_server_that_has_just_ended_is_waited_for(void **state)
{
	pid_t keeper = fork();
	char text[16];
	siginfo_t end;
	struct why why;

	(void)state;
	if (keeper == 0)
		_exit(0);
	assert_true(keeper > 0);
	assert_int_equal(waitid(P_PID, (id_t)keeper, &end, WEXITED | WNOWAIT), 0);
	(void)snprintf(text, sizeof(text), "%d\n", keeper);
	write_file(lock, text);
	held = open(lock, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(held, LOCK_EX | LOCK_NB), 0);
	waits = 0;
	assert_int_equal(opens(&plain, &why), 0);
	assert_int_equal(waits, 1);
	assert_int_equal(waitpid(keeper, NULL, 0), keeper);
}

static void a_link_that_takes_the_sockets_place_changes_no_other_file(void **state)
{
	struct listener_wish wish = plain;
	struct listener_bound bound;
	struct stat st;
	struct why why;

	(void)state;
	write_file(victim, "secret");
	assert_int_equal(chmod(victim, 0600), 0);
	swaps = true;
	wish.mode = 0666;
	if (geteuid() == 0)
		wish.uid = wish.gid = 65534;
	assert_int_equal(listener_bind(&wish, false, &bound, &why), 0);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_uid, geteuid());
	close(bound.fd);
}

static void the_mode_is_as_asked_for_whatever_the_umask(void **state)
{
	static const mode_t modes[] = {0, 0600, 0660, 0777};
	struct listener_wish wish = plain;
	struct listener_bound bound;
	struct stat st;
	struct why why;

	(void)state;
	(void)umask(027);
	for (size_t i = 0; i < UNIT_COUNT(modes); i++) {
		wish.mode = (int)modes[i];
		assert_int_equal(listener_bind(&wish, false, &bound, &why), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(unlink(path), 0); /* who is not root can't look behind it */
		close(bound.fd);
	}
	assert_int_equal(listener_bind(&plain, false, &bound, &why), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	close(bound.fd);
	assert_int_equal(umask(022), 027);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_lock_file_that_is_something_else_is_left_as_it_is),
		T(a_lock_file_that_is_another_file_s_second_name_is_left_as_it_is),
		T(the_lock_of_a_server_that_is_gone_is_taken_over),
		T(a_server_that_has_just_ended_is_waited_for),
		T(a_link_that_takes_the_sockets_place_changes_no_other_file),
		T(the_mode_is_as_asked_for_whatever_the_umask),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
