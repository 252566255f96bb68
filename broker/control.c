/* SPDX-License-Identifier: MIT */
/*
 * control.c - what famez-server does about one that runs: --stop and --upgrade.
 *
 * The server is a process, held by a pidfd: what is looked at and what gets the signal is the
 * same, or gone. Its state memory is found among its descriptors, and mapped read only. It goes on
 * changing while we read: a record that is half written is left out of a list, no more.
 */
#include "control.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "ledger.h"
#include "state_map.h"

/* As /proc/PID/fd shows it; state_map.c names it. */
#define STATE_LINK "/memfd:famez-state (deleted)"

/* A broker that stops tells everybody first; one that hangs is for the operator. */
#define STOP_LIMIT_MS 60000
/* Longer than a keeper tries (keeper.c): 2 s for a look, then three brokers of 30 s. */
#define UPGRADE_LIMIT_MS 120000
#define UPGRADE_LOOK_MS  5

/* IDs in a line of text; the list before it has all. */
#define SAID_MAX 8u

struct running {
	pid_t pid;
	int pidfd;
	struct state state; /* mapped read only, not to be unmapped by state_unmap() */
};

/* ---- finding it ---------------------------------------------------------------------------- */

static int read_pid(const struct options *o, pid_t *pid, struct why *why)
{
	char path[4096], text[32] = "";
	char *end;
	FILE *file;
	long number;

	if (o->pidfile)
		(void)snprintf(path, sizeof(path), "%s", o->pidfile);
	else
		(void)snprintf(path, sizeof(path), "%s.lock", o->socket_path);
	file = fopen(path, "re");
	if (!file)
		return why_fail(why, -errno,
			"no server found: cannot read its process ID from %s: %s; want -S with its "
			"socket, or -p with its pid file",
			path, strerror(errno));
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	(void)fclose(file);
	number = strtol(text, &end, 10);
	if (end == text || number <= 0 || number > INT32_MAX || (*end && *end != '\n'))
		return why_fail(why, -EINVAL, "no server found: %s holds no process ID", path);
	*pid = (pid_t)number;
	return 0;
}

/* The state memory, opened anew and for reading alone. Returns a descriptor or -errno. */
static int open_state(pid_t pid)
{
	char folder[64], path[384], link[64];
	const struct dirent *entry;
	int fd = -ENODATA;
	DIR *fds;

	(void)snprintf(folder, sizeof(folder), "/proc/%d/fd", pid);
	fds = opendir(folder);
	if (!fds)
		return -errno;
	while (fd == -ENODATA && (entry = readdir(fds))) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strcmp(link, STATE_LINK) == 0) {
			fd = open(path, O_RDONLY | O_CLOEXEC);
			fd = fd < 0 ? -errno : fd;
		}
	}
	(void)closedir(fds);
	return fd;
}

static int map_state(struct running *r, int fd, struct why *why)
{
	struct stat st;
	void *memory;
	int err;

	err = state_check_fd(fd, why);
	if (err)
		return err;
	if (fstat(fd, &st) != 0)
		return why_fail(why, -errno, "state: fstat: %s", strerror(errno));
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return why_fail(why, -errno, "state: cannot map it: %s", strerror(errno));
	state_memory_open(&r->state, memory);
	return 0;
}

/* r->pid is known afterwards where that much went well, r->state.head where all did. */
static int find(struct running *r, const struct options *o, struct why *why)
{
	int fd, err;

	err = read_pid(o, &r->pid, why);
	if (err)
		return err;
	r->pidfd = pidfd_open(r->pid, 0);
	if (r->pidfd < 0)
		return why_fail(why, -ESRCH, "no server found: process %d: %s", r->pid,
			errno == ESRCH ? "it has ended" : strerror(errno));
	fd = open_state(r->pid);
	if (fd == -EACCES || fd == -EPERM)
		return why_fail(why, fd,
			"process %d belongs to another user: ask as that one, or as root", r->pid);
	if (fd < 0)
		return why_fail(why, fd, "process %d is no server that this one knows: %s", r->pid,
			fd == -ENODATA ? "it has no state memory" : strerror(-fd));
	err = map_state(r, fd, why);
	(void)close(fd);
	return err;
}

/* Has it ended, at the latest in @ms? */
static bool ended(const struct running *r, int ms)
{
	struct pollfd end = {.fd = r->pidfd, .events = POLLIN};

	return poll(&end, 1, ms) > 0;
}

static int notify_server(const struct running *r, int number, struct why *why)
{
	if (pidfd_send_signal(r->pidfd, number, NULL, 0) == 0)
		return 0;
	return why_fail(
		why, -errno, "cannot send process %d a signal: %s", r->pid, strerror(errno));
}

/* ---- --stop -------------------------------------------------------------------------------- */

static bool is_device(const struct state *s, uint32_t id, struct client *client)
{
	if (!ledger_taken(s, id) || ledger_sock(s, id) < 0 || !ledger_sound(s, id))
		return false;
	ledger_client(s, id, client);
	/* A file may have any name, and this goes to a terminal. */
	client->exe[sizeof(client->exe) - 1] = '\0';
	for (char *at = client->exe; *at; at++)
		if (!isprint((unsigned char)*at))
			*at = '?';
	return client->device;
}

/* List them, and sum them up in @text. Returns how many there are. */
static unsigned list_devices(const struct state *s, char *text, size_t bytes)
{
	unsigned count = 0;
	struct client client;
	size_t at = 0;

	text[0] = '\0';
	for (uint32_t id = 0; id < s->head->wish.ids_max; id++) {
		if (!is_device(s, id, &client))
			continue;
		(void)printf("id %" PRIu32 ": %s, process %d, user %u\n", id, client.exe,
			client.pid, client.uid);
		if (count < SAID_MAX && at < bytes)
			at += (size_t)snprintf(
				&text[at], bytes - at, "%s%" PRIu32, count ? ", " : "", id);
		else if (count == SAID_MAX && at < bytes)
			(void)snprintf(&text[at], bytes - at, " ...");
		count++;
	}
	(void)fflush(stdout);
	return count;
}

static bool confirmed(unsigned count)
{
	char answer[16];

	(void)fprintf(stderr,
		"%u device%s attached, and would be stranded: they go on with the peers that they "
		"know, and meet no new one. Stop? [y/N] ",
		count, count == 1 ? " is" : "s are");
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Returns 0, or the exit code. */
static int ask(const struct running *r, const struct options *o, struct why *why)
{
	char ids[128];
	unsigned count = list_devices(&r->state, ids, sizeof(ids));

	if (!count || o->force)
		return 0;
	if (isatty(STDIN_FILENO)) {
		if (confirmed(count))
			return 0;
		(void)why_fail(why, -EBUSY, "not stopped");
	} else {
		(void)why_fail(why, -EBUSY,
			"not stopped: device%s %s would be stranded, until unplugged and plugged "
			"again, or restarted; --force stops all the same",
			count == 1 ? "" : "s", ids);
	}
	return EXIT_STRANDS;
}

static int stop(const struct options *o, struct why *why)
{
	struct running r = {.pid = 0};
	int code, err;

	err = find(&r, o, why);
	/* Whoever insists need not know who is there. */
	if (err && !(err == -EPROTO && o->force))
		return EXIT_FAILURE;
	if (!err) {
		assert(r.state.head);
		code = ask(&r, o, why);
		if (code)
			return code;
	}
	if (notify_server(&r, SIGTERM, why))
		return EXIT_FAILURE;
	if (!ended(&r, STOP_LIMIT_MS)) {
		(void)why_fail(why, -ETIMEDOUT, "process %d has not ended after %d s", r.pid,
			STOP_LIMIT_MS / 1000);
		return EXIT_FAILURE;
	}
	(void)printf("process %d has ended\n", r.pid);
	return EXIT_SUCCESS;
}

/* ---- --upgrade ----------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t upgrades(const struct running *r)
{
	/* With the keeper's release: the result is there before the number. */
	return atomic_load_explicit(&r->state.live->upgrades, memory_order_acquire);
}

static int upgrade_code(const struct running *r, struct why *why)
{
	static const char *const what[] = {
		[STATE_UPGRADE_NONE] = "nothing came of it",
		[STATE_UPGRADE_REFUSED] = "refused, and nothing has happened",
		[STATE_UPGRADE_FAILED] = "failed, and the program before serves again",
		[STATE_UPGRADE_ROLLED_BACK] = "rolled back, and the program before serves again",
	};
	uint32_t result = r->state.live->upgrade_result;
	char reason[sizeof(r->state.live->upgrade_reason)];

	if (result == STATE_UPGRADE_DONE) {
		(void)printf("process %d is upgraded\n", r->pid);
		return EXIT_SUCCESS;
	}
	memcpy(reason, r->state.live->upgrade_reason, sizeof(reason));
	reason[sizeof(reason) - 1] = '\0';
	(void)why_fail(why, -EPROTO, "process %d is not upgraded: %s: %s", r->pid,
		result < sizeof(what) / sizeof(*what) ? what[result] : what[0], reason);
	return EXIT_FAILURE;
}

static int upgrade(const struct options *o, struct why *why)
{
	struct running r = {.pid = 0};
	uint64_t before, begun = now_ms();

	if (find(&r, o, why))
		return EXIT_FAILURE;
	assert(r.state.head && r.state.live);
	if (!r.state.live->births) {
		(void)why_fail(why, -ENOTSUP,
			"process %d was started with --no-keeper, and can't be upgraded", r.pid);
		return EXIT_FAILURE;
	}
	before = upgrades(&r);
	if (notify_server(&r, SIGUSR2, why))
		return EXIT_FAILURE;
	while (upgrades(&r) == before) {
		if (ended(&r, UPGRADE_LOOK_MS)) {
			(void)why_fail(why, -ESRCH, "process %d has ended", r.pid);
			return EXIT_FAILURE;
		}
		if (now_ms() - begun > UPGRADE_LIMIT_MS) {
			(void)why_fail(why, -ETIMEDOUT,
				"process %d says nothing of an upgrade after %d s; its log may",
				r.pid, UPGRADE_LIMIT_MS / 1000);
			return EXIT_FAILURE;
		}
	}
	return upgrade_code(&r, why);
}

int control_run(const struct options *o)
{
	struct why why = {.text = ""};
	int code = o->control == CONTROL_STOP ? stop(o, &why) : upgrade(o, &why);

	if (code)
		(void)fprintf(stderr, "famez-server: %s\n", why.text);
	return code;
}
