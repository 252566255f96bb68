/* SPDX-License-Identifier: MIT */
/*
 * broker.c - the broker proper: the threads that serve, between main.c's two ends.
 *
 * Order matters: workers serve before the socket listens; at the end, everything goes
 * backwards. Never makes or removes a name.
 */
#include "broker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bells.h"
#include "haste.h"
#include "keeper.h"
#include "ledger.h"
#include "log.h"
#include "look.h"
#include "mailbox.h"
#include "peer.h"
#include "recover.h"
#include "registrar.h"
#include "report.h"
#include "state_map.h"
#include "sys.h"
#include "trespass.h"
#include "words.h"
#include "worker.h"

#define URING_HINT                                                                                 \
	" (io_uring needs Linux 5.17 or newer, and sysctl kernel.io_uring_disabled to be 0)"

/* Of clients that were just accepted, or that were refused and have not closed: many more than a
 * broker has at once. */
#define FOUND_MAX 1024u

struct broker {
	struct server *server;
	struct mailbox mailbox;
	struct mail_shared mail;
	struct bells bells;
	struct report report;
	struct registrar registrar;
	struct worker_shared shared;
	struct recover_plan plan;
	struct store store;
	struct worker *workers;
	uint16_t workers_running;
	int signal_fd;
	uint64_t begun_ns;
	bool haste;
	bool reload_due, report_due; /* brokers before us died over them */
	struct sweep_found *found;   /* clients that the broker before us had not got round to */
	unsigned found_count;
};

static int nth_cpu(const cpu_set_t *cpus, unsigned nth)
{
	nth %= (unsigned)CPU_COUNT(cpus);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus) && nth-- == 0)
			return cpu;
	return -1;
}

/* Those that main() has blocked. */
static int signals_open(struct broker *b)
{
	sigset_t ours;

	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, b->server->kept ? KEEPER_STOP : SIGTERM);
	(void)sigaddset(&ours, b->server->kept ? KEEPER_INTERRUPT : SIGINT);
	if (b->server->kept)
		(void)sigaddset(&ours, KEEPER_ASK);
	(void)sigaddset(&ours, SIGHUP);
	(void)sigaddset(&ours, SIGUSR1);
	b->signal_fd = sys_signalfd(&ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (b->signal_fd < 0)
		return why_fail(&b->server->why, b->signal_fd, "signals: signalfd: %s",
			strerror(-b->signal_fd));
	return 0;
}

static int no_memory(struct broker *b)
{
	return why_fail(&b->server->why, -ENOMEM,
		"memory: the tables need %llu bytes, which are not to be had; ask for fewer "
		"--peers",
		(unsigned long long)b->server->budget.memory);
}

/* Where somebody is served already, a successor goes on with all as it is: so nothing is taken
 * apart. */
static void fail_in_use(const struct broker *b, int err)
{
	if (!b->server->kept || !b->server->state.live->ready)
		return;
	(void)fprintf(stderr, "famez-server: %s\n", b->server->why.text);
	(void)log_stop();
	_exit(server_exit_code(err));
}

static int tables_init(struct broker *b)
{
	const struct budget *budget = &b->server->budget;
	const struct options *o = &b->server->options;
	bool silent = o->silent;

	b->shared = (struct worker_shared){
		.state = &b->server->state,
		.plan = &b->plan,
		.bells = &b->bells,
		.mailbox = &b->mailbox,
		.mail = &b->mail,
		.memory_fd = b->server->memory.fd,
		.ids_max = budget->ids_max,
		.server_id = budget->server_id,
		.vectors = o->vectors,
		.workers = budget->workers,
		.message_bytes = peer_message_bytes(),
		.leaves_always = o->leaves == LEAVES_ALWAYS,
		.leaves_never = o->leaves == LEAVES_NEVER,
		.stall_ns = (uint64_t)o->stall_timeout_s * 1000000000u,
		.report = &b->report,
		.registrar = &b->registrar.wakeup,
		.registrar_starves = &b->registrar.starves,
		.error = &b->registrar.worker_error,
	};
	b->workers = sys_calloc(budget->workers, sizeof(*b->workers));
	b->shared.peers = sys_calloc(budget->ids_max, sizeof(*b->shared.peers));
	b->shared.accounts = sys_calloc(budget->ids_max, sizeof(*b->shared.accounts));
	if (!silent)
		b->shared.own_bells = sys_calloc(o->vectors, sizeof(*b->shared.own_bells));
	if (b->workers && b->shared.peers && b->shared.accounts &&
		(silent || b->shared.own_bells) &&
		!mail_shared_init(&b->mail, &b->mailbox,
			personality_find(o->personality, o->dialect), &b->server->state,
			b->workers))
		return 0;
	return no_memory(b);
}

static void tables_destroy(struct broker *b)
{
	mail_shared_destroy(&b->mail);
	free(b->shared.own_bells);
	free(b->shared.accounts);
	free(b->shared.peers);
	free(b->workers);
}

static void workers_finish(struct broker *b)
{
	for (uint16_t w = 0; w < b->workers_running; w++)
		worker_stop(&b->workers[w]);
	while (b->workers_running)
		worker_finish(&b->workers[--b->workers_running]);
}

/* All at once, since what each restores takes a while. */
static int workers_prepare(struct broker *b, unsigned *nth)
{
	struct server *s = b->server;
	int err;

	for (*nth = 0; *nth < s->budget.workers; ++*nth) {
		int cpu = s->options.pin ? nth_cpu(&s->cpus, *nth) : -1;

		err = worker_start(&b->workers[*nth], (uint16_t)*nth, cpu, &b->shared);
		if (err)
			return err;
		b->workers_running++;
	}
	for (*nth = 0; *nth < s->budget.workers; ++*nth) {
		err = worker_await(&b->workers[*nth]);
		if (err)
			return err;
	}
	return 0;
}

static int workers_start(struct broker *b)
{
	struct server *s = b->server;
	unsigned nth;
	int err;

	if (recover_plan(&b->plan, &s->state))
		return no_memory(b);
	err = workers_prepare(b, &nth);
	if (err) {
		(void)why_fail(&s->why, err, "worker %u does not start: %s" URING_HINT, nth,
			strerror(-err));
		fail_in_use(b, err);
		workers_finish(b);
	}
	recover_plan_free(&b->plan);
	for (uint16_t w = 0; w < b->workers_running; w++)
		worker_go(&b->workers[w]);
	return err;
}

/* What the directory says of everybody, and how often it has changed: as the log has it, which
 * begins with the server's own entry. */
static void directory_restore(struct broker *b)
{
	const struct state *state = &b->server->state;
	struct mailbox *m = &b->mailbox;

	m->changes = state->seq - (m->g.server_id != FAMEZ_NOBODY);
	for (uint32_t id = 0; id < m->g.ids && id < b->server->budget.ids_max; id++) {
		const struct state_member *member = &state->members[id];
		struct mailbox_member known = {
			.joins = member->joins,
			.device = member->device,
			.presence = FAMEZ_ABSENT,
		};

		if (id == m->g.server_id)
			continue;
		if (ledger_taken(state, id))
			known.presence = ledger_present(state, id) ? FAMEZ_PRESENT : FAMEZ_JOINING;
		mailbox_remember(m, id, &known);
	}
	mailbox_mend(m);
}

/* What is laid out in the memory: by us, or by a broker before us. */
static int shared_open(struct broker *b)
{
	struct state_live *live = b->server->state.live;
	const struct options *o = &b->server->options;
	const struct budget *budget = &b->server->budget;
	struct mailbox_wish wish = {
		.layout = budget->layout,
		.ids = budget->peers + 2,
		.server_id = o->silent ? FAMEZ_NOBODY : budget->server_id,
		.vectors = o->vectors,
		.shards = budget->shards,
		.old_slots = o->dialect == DIALECT_FAMEZ,
		.spare_foreign = o->layout == WANT_AUTO,
	};

	int err;

	if (live->laid_out) {
		wish.layout = live->layout;
		err = mailbox_attach(
			&b->mailbox, &b->server->memory, &wish, live->generation, &b->server->why);
		if (!err)
			directory_restore(b);
		return err;
	}
	err = mailbox_open(&b->mailbox, &b->server->memory, &wish, &b->server->why);
	if (err)
		return err;
	live->layout = b->mailbox.layout;
	live->generation = b->mailbox.generation;
	state_point();
	live->laid_out = 1;
	state_point();
	return 0;
}

/* Without it all goes well, as long as the keeper lives. */
static void store_open(struct broker *b)
{
	int err;

	if (!b->server->stored)
		return;
	err = store_start(&b->store, &b->server->state);
	if (err)
		log_event(failed, LOG_TEXT("what", "store descriptors with systemd"),
			LOG_TEXT("error", strerror(-err)));
	else
		b->registrar.store = &b->store;
}

/* Everything but the socket. */
static int fabric_open(struct broker *b)
{
	struct server *s = b->server;
	const struct options *o = &s->options;
	const struct budget *budget = &s->budget;
	const struct door_wish door = {
		.admit = &o->admit, .rules = &s->rules, .device_names = o->device_names};
	int err;

	/* Where nobody was here before us, this has nothing to do. */
	recover_redo(&s->state);
	err = shared_open(b);
	if (err)
		return err;
	bells_init(&b->bells, s->state.bells, budget->ids_max, o->vectors);
	/* Once: afterwards who rings the server is not forgotten, whoever serves. The last is made
	 * last. */
	if (!o->silent && bells_fd(&b->bells, budget->server_id, (uint16_t)(o->vectors - 1)) < 0) {
		err = bells_prepare(&b->bells, budget->server_id);
		if (err) {
			(void)why_fail(&s->why, err, "eventfds of the server: %s", strerror(-err));
			goto undo_bells;
		}
	}
	err = report_init(&b->report, budget->ids_max, o->vectors, budget->workers, o->silent);
	if (err) {
		(void)no_memory(b);
		goto undo_bells;
	}
	err = registrar_init(&b->registrar, &s->state, &b->bells, &b->mailbox, &b->report, &door);
	if (err) {
		(void)why_fail(
			&s->why, err, "registrar does not start: %s" URING_HINT, strerror(-err));
		goto undo_report;
	}
	registrar_find(&b->registrar, b->found, b->found_count);
	registrar_resume(&b->registrar, b->reload_due, b->report_due);
	store_open(b);
	err = tables_init(b);
	if (!err)
		err = workers_start(b);
	if (err)
		goto undo_tables;
	return 0;

undo_tables:
	fail_in_use(b, err);
	store_stop(&b->store);
	tables_destroy(b);
	registrar_destroy(&b->registrar);
undo_report:
	report_destroy(&b->report);
undo_bells:
	fail_in_use(b, err);
	bells_destroy(&b->bells);
	mailbox_close(&b->mailbox);
	return err;
}

static void fabric_close(struct broker *b)
{
	workers_finish(b);
	store_stop(&b->store);
	tables_destroy(b);
	registrar_destroy(&b->registrar);
	report_destroy(&b->report);
	bells_destroy(&b->bells);
	mailbox_close(&b->mailbox);
}

/* Nobody asked for less than lanes: say why it is less. */
static void log_layout(const struct broker *b)
{
	const struct server *s = b->server;
	char hint[160], advice[64];

	if (s->options.layout != WANT_AUTO || b->mailbox.layout == LAYOUT_LANES)
		return;
	budget_advice(&s->budget, advice, sizeof(advice));
	(void)snprintf(hint, sizeof(hint), "%s: for lanes it takes %s",
		b->mailbox.layout == LAYOUT_SLOTS ? "v1 slots only" : "nothing is laid out",
		advice);
	log_event(mailbox, LOG_TEXT("layout", mailbox_layout_name(b->mailbox.layout)),
		LOG_TEXT("hint", b->mailbox.foreign
					 ? "there is something in the memory that no broker "
					   "wrote, and it is left alone; --layout lanes takes it"
					 : hint));
}

static void log_start_lines(const struct broker *b)
{
	const struct server *s = b->server;
	const struct options *o = &s->options;
	const struct budget *budget = &s->budget;
	static const char *const kinds[] = {"memfd", "shm", "file"};
	static const char *const leaves[] = {"auto", "always", "never"};
	uint32_t server = budget->server_id;

	if (o->memory_bytes != o->memory_asked)
		log_event(rounded, LOG_TEXT("what", "size"), LOG_NUMBER("asked", o->memory_asked),
			LOG_NUMBER("bytes", o->memory_bytes),
			LOG_TEXT("hint", "QEMU needs a power of two"));
	if (o->memory_bytes && s->memory.bytes != o->memory_bytes)
		log_event(rounded, LOG_TEXT("what", "existing memory"),
			LOG_NUMBER("asked", o->memory_bytes), LOG_NUMBER("bytes", s->memory.bytes),
			LOG_TEXT("name", o->memory_name));
	if (s->memory.room)
		log_event(little_room, LOG_NUMBER("bytes", s->memory.bytes),
			LOG_NUMBER("room", s->memory.room), LOG_TEXT("name", o->memory_name),
			LOG_TEXT("hint", "once the file system is full, whoever touches a new page "
					 "dies, VMs too"));
	log_layout(b);
	if (!o->peers && budget->peers < o->peers_default)
		log_event(fewer_peers, LOG_NUMBER("peers", budget->peers),
			LOG_NUMBER("default", o->peers_default),
			LOG_TEXT("hint", "the limit of open files or the memory allows no more"));
	else if (!o->peers && b->mailbox.layout == LAYOUT_LANES)
		log_event(default_peers, LOG_NUMBER("peers", budget->peers),
			LOG_TEXT("hint", "--peers makes room for more; the memory grows with "
					 "their square"));
	log_event(start, LOG_TEXT("version", FAMEZ_VERSION), LOG_NUMBER("pid", (uint32_t)s->pid),
		LOG_TEXT("socket", o->socket_path), LOG_NUMBER("peers", budget->peers),
		LOG_NUMBER("vectors", o->vectors), LOG_NUMBER("workers", budget->workers),
		LOG_TEXT("memory", kinds[o->memory]), LOG_NUMBER("memory_bytes", s->memory.bytes),
		LOG_NUMBER("first_id", budget->first_id),
		server == ROSTER_NOBODY ? LOG_TEXT("server_id", "none")
					: LOG_NUMBER("server_id", server),
		LOG_NUMBER("descriptors", budget->descriptors),
		LOG_NUMBER("table_bytes", budget->memory), LOG_TEXT("leaves", leaves[o->leaves]),
		LOG_TEXT("layout", mailbox_layout_name(b->mailbox.layout)),
		LOG_NUMBER("lane_bytes", b->mailbox.g.lane_bytes),
		LOG_NUMBER("broker", (uint32_t)getpid()));
	sandbox_log(&s->sandbox);
}

/* Before there is a thread: what is done for us from now on by a looker, and what we give up. */
static int shed(struct server *s)
{
	const struct options *o = &s->options;
	struct look_file files[LOOK_FILES_MAX];
	unsigned count = 0, spare = 0;
	int err;

	if (!sandbox_on(&s->sandbox))
		return 0;
	if (o->logfile) {
		files[count++] = log_file(o->logfile);
		spare = 1;
	}
	if (o->zone_file)
		files[count++] = rules_file(o->zone_file);
	if (o->bind_file)
		files[count++] = rules_file(o->bind_file);
	sandbox_words(s->state.words, STATE_WORDS_BYTES);
	/* Who reads command lines is more often held up than who opens the log. */
	if (o->zone_file || o->bind_file)
		spare = LOOK_SPARE_MAX;
	err = look_start(&s->sandbox, files, count, spare);
	if (err)
		return why_fail(
			&s->why, err, "--sandbox: the looker does not start: %s", strerror(-err));
	return sandbox_shed(&s->sandbox, &s->why);
}

/* From here on the keeper, or main(), may say that we serve. */
static void tell_serving(struct server *s)
{
	struct state_live *live = s->state.live;

	/* What a predecessor never answered (watchdog.h) is not our fault. */
	atomic_store_explicit(&live->answered,
		atomic_load_explicit(&live->asked, memory_order_relaxed), memory_order_relaxed);
	live->ready = live->births;
	state_point();
	if (s->kept)
		(void)kill(s->pid, SIGRTMIN);
	else
		server_serves(s);
}

static int serve(struct broker *b)
{
	struct server *s = b->server;
	bool first = !s->state.live->ready;
	int err;

	err = fabric_open(b);
	if (err)
		return err;
	if (first)
		log_start_lines(b);
	err = listener_listen(&s->listener);
	if (err) {
		(void)why_fail(&s->why, err, "socket: listen: %s", strerror(-err));
		goto undo_fabric;
	}
	err = gates_listen(&s->state.rules->gates);
	if (err) {
		(void)why_fail(&s->why, err, "socket: listen: %s", strerror(-err));
		fail_in_use(b, err);
		goto undo_fabric;
	}
	if (first)
		log_event(listening, LOG_TEXT("socket", s->options.socket_path));
	else
		log_event(resumed, LOG_NUMBER("broker", (uint32_t)getpid()),
			LOG_NUMBER("births", s->state.live->births),
			LOG_NUMBER("us", (worker_now_ns() - b->begun_ns) / 1000),
			LOG_TEXT("haste", b->haste ? "yes" : "no"));
	err = look_await();
	if (err)
		(void)why_fail(
			&s->why, err, "--sandbox: the looker does not start: %s", strerror(-err));
	else
		err = sandbox_enter(&s->sandbox, s->pid, &s->why);
	if (err) {
		fail_in_use(b, err);
		goto undo_fabric;
	}
	tell_serving(s);
	trespass(s->state.live->births, &b->registrar.ring);
	err = registrar_run(
		&b->registrar, b->workers, &s->listener, b->signal_fd, s->kept ? s->pid : 0);
	if (err) {
		(void)why_fail(&s->why, err, "io_uring: %s", strerror(-err));
		fail_in_use(b, err);
	}
	/* Nobody may notice: so it ends as it would by a signal. */
	if (b->registrar.again)
		_exit(KEEPER_AGAIN);
	/* It may be printing a report: the logger ends before what it looks at. */
	workers_finish(b);
	s->log_stuck = !log_stop();

undo_fabric:
	if (!s->log_stuck)
		fabric_close(b);
	return err;
}

static int run(struct broker *b)
{
	struct server *s = b->server;
	int err;

	err = shed(s);
	if (!err)
		err = signals_open(b);
	if (err)
		return err;
	err = log_start(s->budget.workers + 1u);
	if (err) {
		(void)why_fail(&s->why, err, "log: the logger does not start: %s", strerror(-err));
		goto undo_signals;
	}
	log_thread(0);
	err = serve(b);
	if (!s->log_stuck)
		s->log_stuck = !log_stop();

undo_signals:
	(void)close(b->signal_fd);
	return err;
}

/* What the broker before us left, before we open anything ourselves. */
static int take_stock(struct broker *b)
{
	struct server *s = b->server;
	int count;

	if (s->state.live->births <= 1)
		return 0;
	b->found = sys_calloc(FOUND_MAX, sizeof(*b->found));
	if (!b->found)
		return no_memory(b);
	count = sweep(&s->state, sweep_end(s->budget.descriptors), b->found, FOUND_MAX);
	if (count < 0) {
		log_event(failed, LOG_TEXT("what", "look through what is open"),
			LOG_TEXT("error", strerror(-count)));
		return why_fail(&s->why, count,
			"cannot look through what the broker before left open: %s",
			strerror(-count));
	}
	b->found_count = (unsigned)count;
	return 0;
}

/* Brokers before us did not come to read the files of rules again, or may not make the sockets that
 * they want. */
static void reread_rules(struct server *s)
{
	struct why why;
	int err;

	if (!s->rules.zone_file && !s->rules.bind_file)
		return;
	err = rules_read(&s->rules, seating_carried(&s->state), &why);
	if (!err)
		err = rules_gates(&s->rules, &s->socket_wish, false, &why);
	if (err) {
		rules_log_wrong(&why);
	} else {
		rules_count(&s->rules);
		(void)gates_listen(&s->state.rules->gates); /* where that fails, serve() says so */
		rules_log(&s->rules);
	}
}

static bool is_due(struct errand *errand, const char *what)
{
	bool given_up, again = errand_again(errand, &given_up);
	char text[64];

	(void)snprintf(text, sizeof(text), "%u brokers died over it", ERRAND_TRIES_MAX);
	if (given_up)
		log_event(failed, LOG_TEXT("what", what), LOG_TEXT("error", text));
	return again;
}

/* What was asked for, and brokers before us had not done. */
static void take_up_errands(struct broker *b)
{
	struct state_live *live = b->server->state.live;

	b->report_due = is_due(&live->report, "report");
	b->reload_due = is_due(&live->reload, "reload");
	if (b->reload_due)
		errand_begin(&live->reload);
	if (b->reload_due || live->reread)
		reread_rules(b->server);
	live->reread = 0;
	state_point();
}

/* Where not so much may be locked the pages are there all the same, and hardly ever go. */
static void pin(struct server *s)
{
	int err = state_pin(&s->state);
	struct rlimit limit = {0};
	char hint[96];

	if (!err || s->state.live->ready)
		return;
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	(void)snprintf(hint, sizeof(hint),
		"allow %" PRIu64 " (ulimit -l %" PRIu64 ", or LimitMEMLOCK= in the systemd unit)",
		state_pin_bytes(&s->state), (state_pin_bytes(&s->state) + 1023) / 1024);
	log_event(unlocked, LOG_TEXT("error", strerror(-err)),
		LOG_NUMBER("bytes", state_pin_bytes(&s->state)),
		LOG_NUMBER("limit", limit.rlim_cur), LOG_TEXT("hint", hint));
}

int broker_main(void *server)
{
	static struct broker b;
	int err;

	b = (struct broker){.server = server, .begun_ns = worker_now_ns()};
	b.haste = haste_begin(!b.server->state.live->ready, b.begun_ns);
	words_open(b.server->state.words, STATE_WORDS_BYTES);
	words_of_faults();
	pin(b.server);
	err = take_stock(&b);
	if (!err) {
		take_up_errands(&b);
		err = run(&b);
	}
	free(b.found);
	if (err)
		(void)fprintf(stderr, "famez-server: %s\n", b.server->why.text);
	return server_exit_code(err);
}
