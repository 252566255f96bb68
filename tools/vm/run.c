/* SPDX-License-Identifier: MIT */
/*
 * run.c - guests that are up, until the operator has had enough of them.
 *
 * One thread and one poll(2): over the guests' two ports each, our terminal, the doors for other
 * terminals (doors.c), and a pipe into which signals are written. A run goes
 *
 *   kit      kernel, driver and initramfs (kernel.c, module.c, initramfs.c)
 *   broker   ours, or who it is and what it gives
 *   boot     all guests at once; ^C ends it, as does a guest that is not up in time
 *   serve    consoles, until all guests have ended, or ^] q, SIGINT, SIGTERM or SIGHUP
 *   end      guests, broker, folder: always all of it, whatever came before
 *
 * With --exec there are no consoles: each guest's words come out line by line, its name before
 * them, and the run ends with its guests.
 */
#include "run.h"

#include "broker.h"
#include "doors.h"
#include "emit.h"
#include "guest.h"
#include "initramfs.h"
#include "kernel.h"
#include "module.h"
#include "process.h"
#include "say.h"
#include "terminal.h"
#include "tour.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a guest may take to be up; under emulation, with many at once. */
#define BOOT_MS 120000
/* Peers besides the guests: clients on the host. Vectors for all, so that v1 texts work. */
#define PEERS_BESIDES 8u
#define PEERS_MIN     14u

/* Of a console's last words, when we come back to it. */
#define SHOWN_BYTES 2000u

#define POLLS_MAX (2 + 2 * RUN_NODES_MAX + DOORS_MAX + 1)

/* One guest's console line by line, for --exec; what is longer comes in pieces. A program's JSON
 * should not. */
struct lines {
	char text[16384];
	size_t bytes;
};

struct run {
	struct run_how *how;
	char folder[PATH_MAX];
	struct broker broker;
	struct kernel kernel;
	char client[PATH_MAX]; /* famez-client; empty: there is none */
	char module[PATH_MAX]; /* empty: none */
	char initramfs[PATH_MAX + 16];
	char libraries[INITRAMFS_LIBRARIES_BYTES];
	struct guest *guests;
	struct lines *lines;
	unsigned count;   /* started */
	unsigned current; /* whose console our terminal is; from 0 */
	struct doors doors;
	struct terminal_keys keys;
	bool over;      /* the operator has had enough */
	bool has_input; /* our standard input is still open */
};

/* What signals say; written by their handler. */
static struct {
	int pipe[2];
	volatile sig_atomic_t ended_by; /* 0: nothing yet */
} signals = {.pipe = {-1, -1}};

static void on_signal(int which)
{
	const char byte = 0;
	int before = errno;

	if (which != SIGCHLD)
		signals.ended_by = which;
	(void)!write(signals.pipe[1], &byte, 1); /* full says it too */
	errno = before;
}

static int catch_signals(void)
{
	static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
	struct sigaction how = {.sa_handler = on_signal};

	if (pipe2(signals.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return say("pipe: %s", strerror(errno));
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (sigaction(all[i], &how, NULL) < 0)
			return say("sigaction: %s", strerror(errno));
	return 0;
}

/* ---- the kit ----------------------------------------------------------------------------- */

const char *run_parent(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	return runtime && *runtime == '/' && access(runtime, W_OK) == 0 ? runtime : "/tmp";
}

static int make_cache(const char *given, char cache[PATH_MAX])
{
	const char *usual = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int length;

	if (given)
		length = snprintf(cache, PATH_MAX, "%s", given);
	else if (usual && *usual == '/')
		length = snprintf(cache, PATH_MAX, "%s/famez", usual);
	else
		length = snprintf(
			cache, PATH_MAX, "%s/.cache/famez", home && *home ? home : "/root");
	if (length < 0 || length >= PATH_MAX)
		return say("--cache: the path is too long");
	for (char *at = strchr(cache + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		(void)mkdir(cache, 0700); /* the last one tells */
		*at = '/';
	}
	if (mkdir(cache, 0700) < 0 && errno != EEXIST)
		return say("%s: %s", cache, strerror(errno));
	return 0;
}

static int make_kit(struct run *r)
{
	const struct run_how *how = r->how;
	const char *programs[RUN_PROGRAMS_MAX + 1];
	struct initramfs kit = {.to = r->initramfs, .programs = programs, .exec = how->exec};
	char cache[PATH_MAX], full[PATH_MAX];

	if (make_cache(how->cache, cache))
		return -1;
	/* make(1) and others work in folders of their own. */
	if (!realpath(cache, full))
		return say("%s: %s", cache, strerror(errno));
	if (kernel_get(&r->kernel, how->image, full))
		return -1;
	if (how->module)
		(void)snprintf(r->module, sizeof(r->module), "%s", how->module);
	else if (!how->no_driver && module_get(r->module, r->kernel.release, full))
		return -1;
	/* From here on `full` is free for other paths. */
	if (!process_path("famez-client", "../client", full, sizeof(full)) ||
		!realpath(full, r->client))
		*r->client = 0;
	for (size_t i = 0; i < how->programs_count; i++)
		programs[kit.programs_count++] = how->programs[i];
	if (*r->client)
		programs[kit.programs_count++] = r->client;
	kit.module = *r->module ? r->module : NULL;
	(void)snprintf(r->initramfs, sizeof(r->initramfs), "%s/initramfs", r->folder);
	return initramfs_make(&kit, r->libraries);
}

/* ---- the broker -------------------------------------------------------------------------- */

/* So that node I has ID I, whoever boots first, and its further devices the IDs behind all nodes'.
 */
static int write_binds(const struct run *r, char path[PATH_MAX + 16])
{
	const struct plan *p = &r->how->plan;
	char name[64];
	FILE *to;

	(void)snprintf(path, PATH_MAX + 16, "%s/binds", r->folder);
	to = fopen(path, "we");
	if (!to)
		return say("%s: %s", path, strerror(errno));
	for (unsigned id = 1; id <= p->nodes * p->devices; id++)
		(void)fprintf(to, "id=%u name=%s\n", id,
			plan_name(p, (id - 1) % p->nodes + 1, name, sizeof(name)));
	return fclose(to) == 0 ? 0 : say("%s: %s", path, strerror(errno));
}

static int start_broker(struct run *r)
{
	struct plan *p = &r->how->plan;
	unsigned peers = p->nodes * p->devices + PEERS_BESIDES;
	char binds[PATH_MAX + 16];

	if (peers < PEERS_MIN)
		peers = PEERS_MIN;
	p->vectors = peers + 2;
	if (write_binds(r, binds) || broker_start(&r->broker, r->folder, peers, p->vectors, binds))
		return -1;
	p->socket = r->broker.socket;
	say_step("broker", "%s, %u peers, %u vectors", p->socket, peers, p->vectors);
	return 0;
}

static int get_broker(struct run *r)
{
	struct plan *p = &r->how->plan;
	char why[PLAN_WHY_BYTES];
	size_t bytes = 0;

	if (!p->socket) {
		if (start_broker(r))
			return -1;
	} else {
		if (broker_ask(p->socket, &p->vectors, &bytes))
			return -1;
		p->mailbox = bytes;
	}
	return plan_check(p, why) ? say("%s", why) : 0;
}

/* ---- booting ----------------------------------------------------------------------------- */

static int start_guests(struct run *r)
{
	char qemu[PATH_MAX];
	struct guest_kind kind = {.plan = &r->how->plan,
		.qemu = qemu,
		.kernel = r->kernel.boots,
		.initramfs = r->initramfs,
		.libraries = r->libraries,
		.accel = r->how->accel,
		.folder = r->folder};

	if (!process_path("qemu-system-x86_64", NULL, qemu, sizeof(qemu)))
		return say("no qemu-system-x86_64: install qemu-system-x86");
	r->guests = calloc(r->how->plan.nodes, sizeof(*r->guests));
	r->lines = calloc(r->how->plan.nodes, sizeof(*r->lines));
	if (!r->guests || !r->lines)
		return say("out of memory");
	for (; r->count < r->how->plan.nodes; r->count++)
		if (guest_start(&r->guests[r->count], r->count + 1, &kind)) {
			guest_close(&r->guests[r->count]);
			return -1;
		}
	return 0;
}

static void print_line(const struct run *r, unsigned at, const char *text, size_t bytes)
{
	char name[64];

	(void)printf("%s| %.*s\n", plan_name(&r->how->plan, at + 1, name, sizeof(name)), (int)bytes,
		text);
	(void)fflush(stdout);
}

/* What a console says, a line at a time; the serial port's line ends are two characters. */
static void put_lines(struct run *r, unsigned at, const char *bytes, size_t count)
{
	struct lines *l = &r->lines[at];

	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\r')
			continue;
		if (bytes[i] != '\n')
			l->text[l->bytes++] = bytes[i];
		if (bytes[i] == '\n' || l->bytes == sizeof(l->text)) {
			print_line(r, at, l->text, l->bytes);
			l->bytes = 0;
		}
	}
}

/* False: nothing was there. */
static bool on_console(struct run *r, unsigned at, bool booting)
{
	char bytes[4096];
	size_t count = guest_read(&r->guests[at], bytes, sizeof(bytes));

	if (!count)
		return false;
	doors_put(&r->doors, at + 1, bytes, count);
	if (r->how->exec)
		put_lines(r, at, bytes, count);
	else if (!booting && at == r->current)
		terminal_put(bytes, count);
	return true;
}

/* Who has ended? */
static void reap(struct run *r, bool booting)
{
	char byte[64];
	int status;

	while (read(signals.pipe[0], byte, sizeof(byte)) > 0) {
	}
	for (unsigned i = 0; i < r->count; i++)
		if (r->guests[i].pid && waitpid(r->guests[i].pid, &status, WNOHANG) > 0) {
			/* All that it said. Not to the console's end: who was started by it may
			 * hold that open for ever. */
			while (r->guests[i].console >= 0 && on_console(r, i, false)) {
			}
			guest_on_end(&r->guests[i], process_code(status), r->folder);
			/* Nobody has seen its console yet. */
			if (booting && !r->how->exec && r->guests[i].state == GUEST_DIED)
				guest_last_words(&r->guests[i]);
		}
	if (r->broker.pid && waitpid(r->broker.pid, &status, WNOHANG) > 0) {
		r->broker.pid = 0;
		(void)say("the broker ended with %d; the guests go on with those that they know",
			process_code(status));
	}
}

/* ---- our terminal ------------------------------------------------------------------------ */

/* What it said last, but for its questions where the cursor is: they had their answer. */
static void show_again(const char *said, size_t bytes)
{
	static const char question[] = "\033[6n";
	const char *end = said + bytes;

	while (said < end) {
		const char *asks = memmem(said, (size_t)(end - said), question, strlen(question));

		terminal_put(said, (size_t)((asks ? asks : end) - said));
		said = asks ? asks + strlen(question) : end;
	}
}

static void show(struct run *r, unsigned at)
{
	const struct guest *g = &r->guests[at];
	size_t from = g->said_bytes > SHOWN_BYTES ? g->said_bytes - SHOWN_BYTES : 0;
	char banner[80];

	r->current = at;
	(void)snprintf(banner, sizeof(banner), "\r\n-- node %u%s --\r\n", g->node,
		g->pid ? "" : ", which has ended");
	terminal_put(banner, strlen(banner));
	show_again(g->said + from, g->said_bytes - from);
}

static void to_current(void *owner, const char *bytes, size_t count)
{
	struct run *r = owner;

	guest_type(&r->guests[r->current], bytes, count);
}

static bool on_order(void *owner, char key)
{
	struct run *r = owner;
	unsigned node = key >= '1' && key <= '9' ? (unsigned)(key - '0') : 0;

	if (node && node <= r->count)
		show(r, node - 1);
	else if (key == 'n')
		show(r, (r->current + 1) % r->count);
	else if (key == 'q')
		r->over = true;
	else
		tour_keys(r->count);
	return !r->over;
}

static void on_input(struct run *r)
{
	char bytes[1024];
	ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (count > 0)
		terminal_keys(&r->keys, bytes, (size_t)count);
	else if (count == 0 || (errno != EINTR && errno != EAGAIN))
		r->has_input = false; /* and who has no terminal ends it by a signal */
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void on_door(struct run *r, int fd)
{
	char bytes[1024];
	struct door *newcomer;
	unsigned node;
	size_t count = doors_on(&r->doors, fd, bytes, sizeof(bytes), &node, &newcomer);

	if (node)
		guest_type(&r->guests[node - 1], bytes, count);
	if (newcomer)
		door_put(newcomer, r->guests[newcomer->node - 1].said,
			r->guests[newcomer->node - 1].said_bytes);
}

/* One wait, and all that came of it. @booting: keys are not yet for guests. */
static void turn(struct run *r, int timeout_ms, bool booting)
{
	struct pollfd all[POLLS_MAX];
	bool input = r->has_input && !booting && r->guests[r->current].waits_bytes == 0;
	unsigned count = 0, of_guests;

	all[count++] = (struct pollfd){.fd = signals.pipe[0], .events = POLLIN};
	all[count++] = (struct pollfd){.fd = input ? STDIN_FILENO : -1, .events = POLLIN};
	for (unsigned i = 0; i < r->count; i++) {
		struct guest *g = &r->guests[i];

		all[count++] = (struct pollfd){.fd = g->console,
			.events = (short)(POLLIN | (g->waits_bytes ? POLLOUT : 0))};
		all[count++] = (struct pollfd){.fd = g->control, .events = POLLIN};
	}
	of_guests = count;
	count += doors_poll(&r->doors, all + count);
	if (poll(all, count, timeout_ms) <= 0)
		return;
	for (unsigned i = 0; i < r->count; i++) {
		if (all[2 + 2 * i].revents & POLLOUT)
			guest_flush(&r->guests[i]);
		if (all[2 + 2 * i].revents & ~POLLOUT)
			(void)on_console(r, i, booting);
		if (all[3 + 2 * i].revents)
			guest_hear(&r->guests[i]);
	}
	for (unsigned i = of_guests; i < count; i++)
		if (all[i].revents)
			on_door(r, all[i].fd);
	if (all[1].revents)
		on_input(r);
	if (all[0].revents)
		reap(r, booting);
}

static unsigned in_state(const struct run *r, enum guest_state state)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->count; i++)
		count += r->guests[i].state == state;
	return count;
}

static int boot(struct run *r)
{
	int64_t begun = now_ms();
	unsigned up = 0, shown = 0;
	bool live = isatty(STDERR_FILENO);

	while (!signals.ended_by && up < r->count) {
		turn(r, 200, true);
		if (in_state(r, GUEST_DIED))
			return -1; /* which was said */
		up = r->count - in_state(r, GUEST_BOOTS);
		if (now_ms() - begun > BOOT_MS)
			return say("%u of %u guests are not up after %d s", r->count - up, r->count,
				BOOT_MS / 1000);
		if (live && up != shown)
			(void)fprintf(stderr, "\rboot      %u of %u", up, r->count);
		shown = up;
	}
	if (signals.ended_by)
		return -1;
	(void)fprintf(stderr, "%sboot      %u of %u up after %.1f s\n", live ? "\r" : "", up,
		r->count, (double)(now_ms() - begun) / 1000);
	return 0;
}

/* The largest of what guests ended with. */
static int outcome(const struct run *r)
{
	int worst = 0;

	for (unsigned i = 0; i < r->count; i++) {
		int code = r->guests[i].state == GUEST_DIED ? 1 : r->guests[i].code;

		worst = code > worst ? code : worst;
	}
	return worst;
}

static bool has_guests(const struct run *r)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->guests[i].pid)
			return true;
	return false;
}

static int serve(struct run *r)
{
	int64_t until =
		r->how->timeout_s ? now_ms() + r->how->timeout_s * INT64_C(1000) : INT64_MAX;

	if (!r->how->exec) {
		tour_show(r->guests, r->count, r->how->plan.socket, r->folder,
			*r->client ? r->client : NULL);
		r->has_input = true;
		terminal_raw();
		show(r, 0);
	}
	while (!r->over && !signals.ended_by && has_guests(r)) {
		turn(r, 1000, false);
		if (now_ms() > until) {
			terminal_restore();
			return say("--timeout: %u s are over", r->how->timeout_s) ? 1 : 0;
		}
	}
	terminal_restore();
	return r->how->exec ? outcome(r) : 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int work(struct run *r)
{
	if (make_kit(r) || signals.ended_by || get_broker(r) ||
		doors_open(&r->doors, r->folder, r->how->plan.nodes))
		return 1;
	say_step("boot", "%u guests, Linux %s, -accel %s%s", r->how->plan.nodes, r->kernel.release,
		r->how->accel, *r->module ? "" : ", without the driver");
	return start_guests(r) || boot(r) ? 1 : serve(r);
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	(void)remove(path); /* the last one tells */
	return 0;
}

static void end(struct run *r)
{
	/* All at once first: each then only waits for its own. */
	for (unsigned i = 0; i < r->count; i++)
		if (r->guests[i].pid > 0)
			(void)kill(r->guests[i].pid, SIGTERM);
	for (unsigned i = 0; i < r->count; i++)
		guest_close(&r->guests[i]);
	doors_close(&r->doors);
	broker_end(&r->broker);
	free(r->guests);
	free(r->lines);
	(void)nftw(r->folder, drop, 8, FTW_DEPTH | FTW_PHYS);
	if (access(r->folder, F_OK) == 0)
		(void)say("%s is left behind", r->folder);
}

int run(struct run_how *how)
{
	struct run r = {.how = how, .doors = {.listener = -1}};
	int code;

	for (unsigned i = 0; i < DOORS_MAX; i++)
		r.doors.all[i].fd = -1;
	r.keys = (struct terminal_keys){.send = to_current, .order = on_order, .owner = &r};
	if (catch_signals())
		return 1;
	(void)snprintf(r.folder, sizeof(r.folder), "%s/" RUN_FOLDER "XXXXXX", run_parent());
	if (!mkdtemp(r.folder))
		return say("%s: %s", r.folder, strerror(errno)) ? 1 : 0;
	code = work(&r);
	terminal_restore();
	end(&r);
	if (signals.ended_by)
		return 128 + signals.ended_by;
	return code;
}
