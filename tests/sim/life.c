/* SPDX-License-Identifier: MIT */
/*
 * life.c - what main and keeper do: make what outlives a broker, start one, and after its
 * death the next.
 *
 * The broker is broker_main(), as the keeper calls it. Its log goes into the trace.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "keeper.h"
#include "ledger.h"
#include "log_line.h"

static struct server server;
/* The socket of an ID. */
#define GATE_NAME "/gate/%u"

const char life_zones[] = "zone a uid=1000\nzone a uid=1002\nzone b uid=1001\nzone b uid=1002\n";

void life_binds(char *text, size_t bytes)
{
	const char *wrong = world.bind_text == 2 ? " nonsense" : "";
	bool more = world.bind_text == 1 && world.peers_max > 1;
	int n = world.gated ? snprintf(text, bytes, "id=%u socket=" GATE_NAME "%s\n",
				      world.bound_id, world.bound_id, wrong)
			    : snprintf(text, bytes, "id=%u uid=%u%s\n", world.bound_id,
				      SIM_BOUND_UID, wrong);

	if (more && world.gated)
		(void)snprintf(text + n, bytes - (size_t)n, "id=%u socket=" GATE_NAME "\n",
			life_other(), life_other());
	else if (more)
		(void)snprintf(
			text + n, bytes - (size_t)n, "id=%u uid=%u\n", life_other(), SIM_UID + 1);
}

uint32_t life_other(void)
{
	return world.first_id + (world.bound_id == world.first_id);
}

uint32_t life_gate(const char *name)
{
	uint32_t id;

	/* NOLINTNEXTLINE(cert-err34-c): a name of ours */
	return sscanf(name, GATE_NAME, &id) == 1 ? id : SIM_IDS_MAX;
}

int __wrap_listener_bind(const struct listener_wish *wish, bool patient,
	struct listener_bound *bound, struct why *why);
void __wrap_listener_unlink(const char *path, const struct listener_bound *bound);

/* A name that nobody listens at any more is taken over. */
int __wrap_listener_bind(const struct listener_wish *wish, bool patient,
	struct listener_bound *bound, struct why *why)
{
	(void)patient;
	kernel_enter();
	if (world_fault())
		return why_fail(why, -EMFILE, "socket: %s", wish->path);
	*bound = (struct listener_bound){.fd = kernel_open(FILE_LISTENER)};
	assert(bound->fd >= 0);
	(void)snprintf(kernel_file(bound->fd)->text, sizeof(kernel_file(bound->fd)->text), "%s",
		wish->path);
	sim_trace("a socket is made: %s", wish->path);
	return 0;
}

void __wrap_listener_unlink(const char *path, const struct listener_bound *bound)
{
	(void)bound;
	kernel_enter();
	sim_trace("a socket is taken away: %s", path);
}

static void *memory; /* of the state: all that a broker leaves but descriptors */

/* ---- what main.c has beside its main() ------------------------------------------------------ */

int server_exit_code(int err)
{
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Not called: the keeper does it. */
void server_serves(void *s)
{
	(void)s;
}

int __wrap_kill(pid_t pid, int number);

/* The keeper is told that its broker serves. */
int __wrap_kill(pid_t pid, int number)
{
	(void)pid;
	assert(number == SIGRTMIN);
	kernel_enter();
	if (server.state.live->ready != server.state.live->births)
		sim_wrong("the keeper is told of a broker that does not serve");
	world.serves = world.in_use = true;
	sim_trace("the broker serves");
	return 0;
}

void __wrap__exit(int code) __attribute__((noreturn));

/* A process that ends by itself while clients are served has a successor, as a killed one. */
void __wrap__exit(int code)
{
	sim_trace("the broker ends with code %d", code);
	sums.exits++;
	/* As the keeper does. */
	if (code == KEEPER_AGAIN)
		server.state.live->reread = 1;
	if (!world.in_use)
		sim_wrong("the broker ends with code %d", code);
	world.dying = true;
	for (;;)
		fiber_yield();
}

/* Files change as somebody asks for a reload (life_ask()). Where that counts as done, what they say
 * counts, unless it was a mistake, or could not be read. */
static void check_reload(void)
{
	unsigned want = world.bind_text == 1 && world.peers_max > 1 ? 2 : 1;

	/* What so many died over may be given up. */
	if (server.state.live->reload.tries >= ERRAND_TRIES_MAX)
		world.reload_doubtful = true;
	if (world.reload_doubtful)
		return;

	/* Other sockets count once a successor has made them. */
	if (world.bound && !world.gated && world.bind_text != 2 && !world.faults_every &&
		!errand_due(&server.state.live->reload) &&
		rules_binds(&server.rules)->count != want)
		sim_wrong("a reload counts as done, and %u IDs are kept, not %u",
			rules_binds(&server.rules)->count, want);
}

void state_point_reached(void)
{
	sums.points++;
	check_reload();
	fiber_yield();
}

/* ---- the log ----------------------------------------------------------------------------------
 */

void __wrap_log_fields(enum log_event event, const struct log_field *fields);
int __wrap_log_start(unsigned threads);
bool __wrap_log_stop(void);
void __wrap_log_thread(unsigned nth);
void __wrap_log_reopen(struct wakeup *done);
bool __wrap_log_reopened(void);
void __wrap_log_ask(void (*print)(void *), void *argument);
bool __wrap_log_suppressed(void);
void __wrap_log_settle(void);

void __wrap_log_fields(enum log_event event, const struct log_field *fields)
{
	char line[512];
	size_t n;

	if (event == LOG_unread)
		voices_unread((uint32_t)fields->number);
	if (!sim_tracing)
		return;
	n = log_format(line, sizeof(line), false, 0, event, fields);
	while (n && (line[n - 1] == '\n' || line[n - 1] == ' '))
		n--;
	sim_trace("log: %.*s", (int)n, line);
}

int __wrap_log_start(unsigned threads)
{
	(void)threads;
	return 0;
}

bool __wrap_log_stop(void)
{
	return true;
}

void __wrap_log_thread(unsigned nth)
{
	(void)nth;
}

void __wrap_log_reopen(struct wakeup *done)
{
	(void)done;
}

bool __wrap_log_reopened(void)
{
	return true;
}

void __wrap_log_ask(void (*print)(void *), void *argument)
{
	print(argument);
}

bool __wrap_log_suppressed(void)
{
	return false;
}

void __wrap_log_settle(void)
{
}

/* ---- lives -------------------------------------------------------------------------------------
 */

static void *run(void *argument)
{
	int code;

	(void)argument;
	code = broker_main(&server);
	/* As exit(3). */
	if (!world.stopping)
		__wrap__exit(code);
	if (code != EXIT_SUCCESS)
		sim_wrong("the broker ends with code %d", code);
	return NULL;
}

static void *aligned(void *at)
{
	return (char *)at + (STATE_LINE - (uintptr_t)at % STATE_LINE) % STATE_LINE;
}

void life_open(void)
{
	struct budget *b = &server.budget;
	struct state_wish wish;

	server = (struct server){.parent = -1, .pid = 1, .kept = true};
	server.options = (struct options){
		.peers = world.peers_max,
		.vectors = world.vectors,
		.silent = world.server_id == UINT32_MAX,
		.device_names = "qemu*",
		.layout = world.mail ? WANT_LANES : WANT_PLAIN,
		.socket_path = "simulated",
		.socket_mode = -1,
		.workers = world.workers,
		.stall_timeout_s = world.drops_stalled,
		.admit = {.peers_per_uid = world.quota, .joins_per_second = world.rate},
	};
	*b = (struct budget){
		.peers = world.peers_max,
		.workers = world.workers,
		.first_id = world.first_id,
		.ids_max = world.ids_max,
		.server_id = world.server_id,
		.descriptors = SIM_FDS_MAX,
		.layout = world.mail ? LAYOUT_LANES : LAYOUT_PLAIN,
		.shards = world.workers < world.vectors ? world.workers : world.vectors,
	};
	server.memory.fd = kernel_open(FILE_MEMORY);
	server.memory.bytes = memory_make(world.mail ? world.peers_max + 2 : 0);
	server.listener = (struct listener){
		.fd = kernel_open(FILE_LISTENER), .lock = kernel_open(FILE_MEMORY)};
	(void)snprintf(
		kernel_file(server.listener.fd)->text, sizeof(kernel_file(0)->text), "simulated");
	budget_state_wish(b, &server.options, &wish);
	memory = __real_calloc(1, state_bytes(&wish) + STATE_LINE);
	assert(memory);
	state_memory_init(&server.state, aligned(memory), &wish);
	server.rules = (struct rules){
		.first_id = world.first_id,
		.peers = world.peers_max,
		.memory = server.state.rules,
	};
	if (world.zoned) {
		server.rules.zone_file = LIFE_ZONE_FILE;
		if (zones_parse(&server.state.rules->side[0].zones, NULL, 0, LIFE_ZONE_FILE,
			    life_zones, strlen(life_zones), &server.why))
			sim_wrong("%s", server.why.text);
	}
	if (world.bound) {
		char text[160];

		server.rules.bind_file = LIFE_BIND_FILE;
		life_binds(text, sizeof(text));
		if (binds_parse(&server.state.rules->side[0].binds, world.first_id, world.peers_max,
			    LIFE_BIND_FILE, text, strlen(text), &server.why) ||
			gates_change(&server.state.rules->gates, &server.state.rules->side[0].binds,
				&server.socket_wish, false, &server.why))
			sim_wrong("%s", server.why.text);
	}
	server.state.live->listen_fd = server.listener.fd;
	server.state.live->memory_fd = server.memory.fd;
	server.state.live->log_fd = server.state.live->exe_fd = -1;
	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		server.state.live->inherited[i] = -1;
	server.state.live->lock_fd = server.listener.lock;
	server.state.live->state_fd = -1;
}

void life_begin(void)
{
	/* What the keeper's memory looks like after fork(2): the handle as it was made. */
	state_memory_open(&server.state, aligned(memory));
	server.state.live->births++;
	sim_trace("a broker is started");
	fibers[fiber_start("registrar", run, NULL)].argument = NULL;
	world.alive = true;
}

void life_stop(void)
{
	sim_trace("the broker is asked to end");
	kernel_signal(KEEPER_STOP);
}

/* As the keeper: written down, then passed on to whoever serves. One who is dead takes nothing. */
void life_ask(int number)
{
	struct state_live *live = server.state.live;

	if (number == SIGHUP) {
		world.bind_text = draw(3);
		world.reload_doubtful = false;
	}
	errand_ask(number == SIGHUP ? &live->reload : &live->report);
	if (world.alive && !world.dying)
		kernel_signal(number);
}

void life_end(void)
{
	fibers_forget();
	kernel_forget_signals();
	ring_forget_dead();
	memory_end_of_broker();
	process_forget_heap();
	world.alive = false;
	world.serves = false;
}

/* ---- what must be so ------------------------------------------------------------------------- */

bool life_names(int fd)
{
	const struct state *s = &server.state;

	for (uint32_t id = 0; id < world.ids_max; id++)
		if (ledger_taken(s, id) && ledger_sock(s, id) == fd)
			return true;
	return false;
}

void life_sent(int fd, const void *message)
{
	const struct state *s = &server.state;

	for (uint16_t w = 0; w < world.workers; w++) {
		const struct state_worker *slot = &s->workers[w];
		uint32_t id = atomic_load(&slot->tell_id);

		if ((const struct mmsghdr *)message >= slot->tell &&
			(const struct mmsghdr *)message < slot->tell + STATE_TELL_MAX) {
			if (id == STATE_NOBODY || ledger_sock(s, id) != fd)
				sim_wrong("what is sent to socket %d is not written down", fd);
			return;
		}
	}
	sim_wrong("what is sent to socket %d does not stand in the state", fd);
}

static void check_member(const struct state *s, uint32_t id)
{
	bool leave_unread;
	struct view view;
	unsigned same = 0;

	if (!ledger_taken(s, id)) {
		if (ledger_present(s, id) && id != world.server_id)
			sim_wrong("nobody has ID %u, and it is present", id);
		return;
	}
	if (!ledger_sound(s, id) || !state_view_get(s, id, &view, &leave_unread))
		sim_wrong("the record of %u is damaged", id);
	if (!ledger_present(s, id))
		sim_wrong("all is quiet, and %u is not present", id);
	for (uint32_t other = 0; other < world.ids_max; other++)
		same += ledger_taken(s, other) && ledger_sock(s, other) == ledger_sock(s, id);
	if (same != 1 || !kernel_file(ledger_sock(s, id)) ||
		kernel_file(ledger_sock(s, id))->kind != FILE_SOCKET)
		sim_wrong("ID %u has no socket of its own", id);
}

static unsigned count_bells(const struct state *s)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < world.ids_max * world.vectors; i++)
		if (s->bells[i] >= 0) {
			const struct file *file = kernel_file(s->bells[i]);

			count++;
			if (!file || file->kind != FILE_EVENT)
				sim_wrong("a doorbell in the state is none");
		}
	return count;
}

void life_check(void)
{
	const struct state *s = &server.state;
	unsigned taken = 0, threads = world.workers + 1u;

	if (errand_due(&s->live->reload) || errand_due(&s->live->report))
		sim_wrong("all is quiet, and what was asked for by a signal is not done");
	for (uint16_t w = 0; w < world.workers; w++)
		if (atomic_load(&s->workers[w].tell_id) != STATE_NOBODY)
			sim_wrong("all is quiet, and worker %u is sending", w);
	for (uint32_t id = 0; id < world.ids_max; id++) {
		check_member(s, id);
		taken += ledger_taken(s, id);
		for (uint32_t other = 0; other < id; other++)
			if (s->members[id].change &&
				s->members[id].change >> 1 == s->members[other].change >> 1)
				sim_wrong("%u and %u have one place in the log", id, other);
	}
	if (kernel_count(FILE_SOCKET) != taken)
		sim_wrong("%u peers, and %u sockets are open", taken, kernel_count(FILE_SOCKET));
	if (kernel_count(FILE_EVENT) != count_bells(s) + threads)
		sim_wrong("%u doorbells, %u threads, and %u eventfds are open", count_bells(s),
			threads, kernel_count(FILE_EVENT));
	if (kernel_count(FILE_RING) != threads || kernel_count(FILE_SIGNAL) != 1 ||
		kernel_count(FILE_TEXT) != 0)
		sim_wrong("%u threads have %u rings", threads, kernel_count(FILE_RING));
}

void life_close(void)
{
	__real_free(memory);
	memory_end_of_broker();
	memory_forget();
}
