/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-server: puts the rooms together, and takes them apart again.
 *
 * Order matters: limits are known before anything opens; workers serve before the
 * socket listens; at the end, everything goes backwards. Exit codes are in
 * famez-server(8).
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "bells.h"
#include "budget.h"
#include "listener.h"
#include "log.h"
#include "mailbox.h"
#include "memory.h"
#include "options.h"
#include "peer.h"
#include "registrar.h"
#include "report.h"
#include "sys.h"
#include "worker.h"

/* Announcements are bounded by the kernel, which counts descriptors in flight under one
 * lock: more workers than this only cost memory (docs/performance.md). */
#define WORKERS_DEFAULT_MAX 8

#define EXIT_USAGE  2
#define EXIT_LIMITS 3
#define EXIT_IN_USE 4

#define URING_HINT                                                                                 \
	" (io_uring needs Linux 5.17 or newer, and sysctl kernel.io_uring_disabled to be 0)"

struct server {
	struct options options;
	struct budget budget;
	struct why why;
	char socket_path[128];
	struct memory memory;
	struct mailbox mailbox;
	struct mail_shared mail;
	struct bells bells;
	struct report report;
	struct registrar registrar;
	struct worker_shared shared;
	struct worker *workers;
	uint16_t workers_running;
	struct listener listener;
	int signal_fd;
	bool log_stuck; /* the logger hangs: nothing that it looks at may be freed */
	int parent;     /* a pipe to the process that waits for us to be ready, or -1 */
};

static int exit_code(int err)
{
	switch (-err) {
	case 0:
		return EXIT_SUCCESS;
	case EADDRINUSE:
		return EXIT_IN_USE;
	case EFBIG: /* an existing memory is too small for what was asked for */
		return EXIT_LIMITS;
	default:
		return EXIT_FAILURE;
	}
}

/* Where clients look when nobody said otherwise. */
static int find_socket_path(struct server *s)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (s->options.socket_path)
		return 0;
	if (sd_listen_fds(0) > 0) {
		s->options.socket_path = "systemd";
		return 0;
	}
	if (geteuid() == 0)
		(void)snprintf(s->socket_path, sizeof(s->socket_path), "/run/famez.sock");
	else if (runtime && *runtime == '/')
		(void)snprintf(s->socket_path, sizeof(s->socket_path), "%s/famez.sock", runtime);
	else
		return why_fail(&s->why, -EINVAL,
			"--socketpath: want a path, as $XDG_RUNTIME_DIR is not set and this is not "
			"root");
	s->options.socket_path = s->socket_path;
	return 0;
}

static int count_workers(struct server *s, cpu_set_t *cpus)
{
	const struct options *o = &s->options;
	cpu_set_t allowed;
	int count, most;

	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		CPU_SET(0, &allowed);
	if (o->pin)
		CPU_AND(&allowed, &allowed, &o->cpus);
	count = CPU_COUNT(&allowed);
	if (!count)
		return why_fail(&s->why, -EINVAL,
			"--cpus: none of these may be used here; see taskset -p $$");
	*cpus = allowed;
	if (o->workers)
		return o->workers;
	most = o->pin ? OPTIONS_WORKERS_MAX : WORKERS_DEFAULT_MAX;
	return count < most ? count : most;
}

static int nth_cpu(const cpu_set_t *cpus, unsigned nth)
{
	nth %= (unsigned)CPU_COUNT(cpus);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus) && nth-- == 0)
			return cpu;
	return -1;
}

/* Go to the background; the caller waits in the foreground until we are ready, and ends
 * with our exit code. Before any thread. */
static int become_daemon(struct server *s)
{
	int ends[2], pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return why_fail(&s->why, -errno, "daemon: pipe: %s", strerror(errno));
	pid = sys_fork();
	if (pid < 0) {
		(void)close(ends[0]);
		(void)close(ends[1]);
		return why_fail(&s->why, pid, "daemon: fork: %s", strerror(-pid));
	}
	if (pid > 0) {
		unsigned char code = EXIT_FAILURE;

		(void)close(ends[1]);
		/* Nothing comes if the child dies first: then this is a failure. */
		while (read(ends[0], &code, 1) < 0 && errno == EINTR)
			;
		_exit(code);
	}
	(void)close(ends[0]);
	s->parent = ends[1];
	(void)setsid();
	return 0;
}

static void tell_parent(struct server *s, int code)
{
	unsigned char byte = (unsigned char)code;
	int null;

	if (s->parent < 0)
		return;
	(void)!write(s->parent, &byte, 1);
	(void)close(s->parent);
	s->parent = -1;
	/* From here on nobody reads what we print. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd);
	(void)close(null);
}

static int block_signals(struct server *s)
{
	sigset_t ours;

	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGTERM);
	(void)sigaddset(&ours, SIGINT);
	(void)sigaddset(&ours, SIGHUP);
	(void)sigaddset(&ours, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &ours, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	s->signal_fd = sys_signalfd(&ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return why_fail(
			&s->why, s->signal_fd, "signals: signalfd: %s", strerror(-s->signal_fd));
	return 0;
}

/* Have the kernel make the table of descriptors as large as it will ever be, while there
 * is one thread: later each doubling would stop whoever opens something for an RCU grace
 * period, some 10 ms (Linux fs/file.c, expand_fdtable()). */
static void reserve_descriptors(const struct server *s)
{
	int highest = fcntl(s->signal_fd, F_DUPFD_CLOEXEC, (int)s->budget.descriptors - 1);

	/* Where that fails it is only slower. */
	if (highest >= 0)
		(void)close(highest);
}

static int no_memory(struct server *s)
{
	return why_fail(&s->why, -ENOMEM,
		"memory: the tables need %llu bytes, which are not to be had; ask for fewer "
		"--peers",
		(unsigned long long)s->budget.memory);
}

static int tables_init(struct server *s)
{
	const struct budget *b = &s->budget;
	const struct options *o = &s->options;
	bool silent = o->silent;

	s->shared = (struct worker_shared){
		.bells = &s->bells,
		.mailbox = &s->mailbox,
		.mail = &s->mail,
		.memory_fd = s->memory.fd,
		.ids_max = b->ids_max,
		.server_id = b->server_id,
		.vectors = o->vectors,
		.workers = b->workers,
		.message_bytes = peer_message_bytes(),
		.leaves_always = o->leaves == LEAVES_ALWAYS,
		.leaves_never = o->leaves == LEAVES_NEVER,
		.stall_ns = (uint64_t)o->stall_timeout_s * 1000000000u,
		.report = &s->report,
		.registrar = &s->registrar.wakeup,
		.registrar_starves = &s->registrar.starves,
		.error = &s->registrar.worker_error,
	};
	s->workers = sys_calloc(b->workers, sizeof(*s->workers));
	s->shared.peers = sys_calloc(b->ids_max, sizeof(*s->shared.peers));
	s->shared.held = sys_calloc(
		(size_t)b->ids_max * VIEW_HELD_WORDS(b->ids_max), sizeof(*s->shared.held));
	s->shared.accounts = sys_calloc(b->ids_max, sizeof(*s->shared.accounts));
	if (!silent)
		s->shared.own_bells = sys_calloc(o->vectors, sizeof(*s->shared.own_bells));
	if (s->workers && s->shared.peers && s->shared.held && s->shared.accounts &&
		(silent || s->shared.own_bells) &&
		!mail_shared_init(&s->mail, &s->mailbox,
			personality_find(o->personality, o->dialect), s->workers))
		return 0;
	return no_memory(s);
}

static void tables_destroy(struct server *s)
{
	mail_shared_destroy(&s->mail);
	free(s->shared.own_bells);
	free(s->shared.accounts);
	free(s->shared.held);
	free(s->shared.peers);
	free(s->workers);
}

static void workers_finish(struct server *s)
{
	for (uint16_t w = 0; w < s->workers_running; w++)
		worker_stop(&s->workers[w]);
	while (s->workers_running)
		worker_finish(&s->workers[--s->workers_running]);
}

static int workers_start(struct server *s, const cpu_set_t *cpus)
{
	for (uint16_t w = 0; w < s->budget.workers; w++) {
		int cpu = s->options.pin ? nth_cpu(cpus, w) : -1;
		int err = worker_start(&s->workers[w], w, cpu, &s->shared);

		if (err) {
			workers_finish(s);
			return why_fail(&s->why, err, "worker %u does not start: %s" URING_HINT, w,
				strerror(-err));
		}
		s->workers_running++;
	}
	return 0;
}

/* The memory, and what is laid out in it. */
static int shared_open(struct server *s)
{
	const struct options *o = &s->options;
	struct budget *b = &s->budget;
	struct mailbox_wish wish;
	int err;

	/* Where no size was asked for, an existing one is taken as it is. */
	err = memory_open(
		&s->memory, o->memory, o->memory_name, b->shared_bytes, o->memory_bytes, &s->why);
	if (err)
		return err;
	b->existing = s->memory.existed;
	if (s->memory.bytes != b->shared_bytes)
		err = budget_mailbox(b, o, s->memory.bytes, &s->why);
	wish = (struct mailbox_wish){
		.layout = b->layout,
		.ids = b->peers + 2,
		.server_id = o->silent ? FAMEZ_NOBODY : b->server_id,
		.vectors = o->vectors,
		.shards = b->shards,
		.old_slots = o->dialect == DIALECT_FAMEZ,
		.spare_foreign = o->layout == WANT_AUTO,
	};
	if (!err)
		err = mailbox_open(&s->mailbox, &s->memory, &wish, &s->why);
	if (err)
		memory_close(&s->memory);
	return err;
}

static void shared_close(struct server *s)
{
	mailbox_close(&s->mailbox);
	memory_close(&s->memory);
}

/* Everything but the socket. */
static int fabric_open(struct server *s, const cpu_set_t *cpus)
{
	const struct options *o = &s->options;
	const struct budget *b = &s->budget;
	int err;

	err = shared_open(s);
	if (err)
		return err;
	err = bells_init(&s->bells, b->ids_max, o->vectors);
	if (err) {
		(void)no_memory(s);
		goto undo_shared;
	}
	if (!o->silent) {
		err = bells_prepare(&s->bells, b->server_id);
		if (err) {
			(void)why_fail(&s->why, err, "eventfds of the server: %s", strerror(-err));
			goto undo_bells;
		}
	}
	err = report_init(&s->report, b->ids_max, o->vectors, b->workers, o->silent);
	if (err) {
		(void)no_memory(s);
		goto undo_bells;
	}
	err = registrar_init(&s->registrar, b->first_id, b->peers, b->workers, &s->bells,
		&s->mailbox, &s->report);
	if (err) {
		(void)why_fail(
			&s->why, err, "registrar does not start: %s" URING_HINT, strerror(-err));
		goto undo_report;
	}
	err = tables_init(s);
	if (!err)
		err = workers_start(s, cpus);
	if (err)
		goto undo_tables;
	return 0;

undo_tables:
	tables_destroy(s);
	registrar_destroy(&s->registrar);
undo_report:
	report_destroy(&s->report);
undo_bells:
	bells_destroy(&s->bells);
undo_shared:
	shared_close(s);
	return err;
}

static void fabric_close(struct server *s)
{
	workers_finish(s);
	tables_destroy(s);
	registrar_destroy(&s->registrar);
	report_destroy(&s->report);
	bells_destroy(&s->bells);
	shared_close(s);
}

static int socket_open(struct server *s)
{
	const struct options *o = &s->options;
	struct listener_wish wish = {
		.path = o->socket_path,
		.mode = o->socket_mode,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};

	if (o->socket_owner && options_parse_owner(o->socket_owner, &wish.uid, &wish.gid))
		return why_fail(&s->why, -EINVAL, "--socket-owner: %s is gone", o->socket_owner);
	return listener_open(&s->listener, &wish, &s->why);
}

static int pidfile_write(struct server *s)
{
	char text[16];
	int fd, err, n;

	if (!s->options.pidfile)
		return 0;
	fd = sys_open(s->options.pidfile,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
	if (fd < 0)
		return why_fail(&s->why, fd, "--pidfile: cannot write %s: %s", s->options.pidfile,
			strerror(-fd));
	n = snprintf(text, sizeof(text), "%d\n", getpid());
	err = sys_write(fd, text, (size_t)n);
	(void)close(fd);
	if (err < 0) {
		(void)unlink(s->options.pidfile);
		return why_fail(&s->why, err, "--pidfile: cannot write %s: %s", s->options.pidfile,
			strerror(-err));
	}
	return 0;
}

/* Nobody asked for less than lanes: say why it is less. */
static void log_layout(const struct server *s)
{
	char hint[160], advice[64];

	if (s->options.layout != WANT_AUTO || s->mailbox.layout == LAYOUT_LANES)
		return;
	budget_advice(&s->budget, advice, sizeof(advice));
	(void)snprintf(hint, sizeof(hint), "%s: for lanes it takes %s",
		s->mailbox.layout == LAYOUT_SLOTS ? "v1 slots only" : "nothing is laid out",
		advice);
	log_event(mailbox, LOG_TEXT("layout", mailbox_layout_name(s->mailbox.layout)),
		LOG_TEXT("hint", s->mailbox.foreign
					 ? "there is something in the memory that no broker "
					   "wrote, and it is left alone; --layout lanes takes it"
					 : hint));
}

static void log_start_lines(const struct server *s)
{
	const struct options *o = &s->options;
	const struct budget *b = &s->budget;
	static const char *const kinds[] = {"memfd", "shm", "file"};
	static const char *const leaves[] = {"auto", "always", "never"};
	uint32_t server = b->server_id;

	if (o->memory_bytes != o->memory_asked)
		log_event(rounded, LOG_TEXT("what", "size"), LOG_NUMBER("asked", o->memory_asked),
			LOG_NUMBER("bytes", o->memory_bytes),
			LOG_TEXT("hint", "QEMU needs a power of two"));
	if (o->memory_bytes && s->memory.bytes != o->memory_bytes)
		log_event(rounded, LOG_TEXT("what", "existing memory"),
			LOG_NUMBER("asked", o->memory_bytes), LOG_NUMBER("bytes", s->memory.bytes),
			LOG_TEXT("name", o->memory_name));
	log_layout(s);
	if (!o->peers && b->peers < o->peers_default)
		log_event(fewer_peers, LOG_NUMBER("peers", b->peers),
			LOG_NUMBER("default", o->peers_default),
			LOG_TEXT("hint", "the limit of open files or the memory allows no more"));
	else if (!o->peers && s->mailbox.layout == LAYOUT_LANES)
		log_event(default_peers, LOG_NUMBER("peers", b->peers),
			LOG_TEXT("hint", "--peers makes room for more; the memory grows with "
					 "their square"));
	log_event(start, LOG_TEXT("version", FAMEZ_VERSION), LOG_NUMBER("pid", getpid()),
		LOG_TEXT("socket", o->socket_path), LOG_NUMBER("peers", b->peers),
		LOG_NUMBER("vectors", o->vectors), LOG_NUMBER("workers", b->workers),
		LOG_TEXT("memory", kinds[o->memory]), LOG_NUMBER("memory_bytes", s->memory.bytes),
		LOG_NUMBER("first_id", b->first_id),
		server == ROSTER_NOBODY ? LOG_TEXT("server_id", "none")
					: LOG_NUMBER("server_id", server),
		LOG_NUMBER("descriptors", b->descriptors), LOG_NUMBER("table_bytes", b->memory),
		LOG_TEXT("leaves", leaves[o->leaves]),
		LOG_TEXT("layout", mailbox_layout_name(s->mailbox.layout)),
		LOG_NUMBER("lane_bytes", s->mailbox.g.lane_bytes));
}

static int serve(struct server *s, const cpu_set_t *cpus)
{
	int err;

	err = fabric_open(s, cpus);
	if (err)
		return err;
	err = socket_open(s);
	if (err)
		goto undo_fabric;
	err = pidfile_write(s);
	if (err)
		goto undo_socket;
	log_start_lines(s);
	err = listener_listen(&s->listener);
	if (err) {
		(void)why_fail(&s->why, err, "socket: listen: %s", strerror(-err));
		goto undo_pidfile;
	}
	log_event(listening, LOG_TEXT("socket", s->options.socket_path));
	(void)sd_notify(0, "READY=1");
	tell_parent(s, EXIT_SUCCESS);
	err = registrar_run(
		&s->registrar, s->workers, &s->listener, s->signal_fd, s->options.device_names);
	(void)sd_notify(0, "STOPPING=1");
	if (err)
		(void)why_fail(&s->why, err, "io_uring: %s", strerror(-err));
	/* It may be printing a report: the logger ends before what it looks at. */
	workers_finish(s);
	s->log_stuck = !log_stop();

undo_pidfile:
	if (s->options.pidfile)
		(void)unlink(s->options.pidfile);
undo_socket:
	listener_close(&s->listener);
undo_fabric:
	if (s->log_stuck)
		memory_close(&s->memory); /* the name goes; we exit(2) before long */
	else
		fabric_close(s);
	return err;
}

static int start(struct server *s)
{
	struct log_config log;
	cpu_set_t cpus;
	int workers, err;

	if (find_socket_path(s))
		return EXIT_USAGE;
	workers = count_workers(s, &cpus);
	if (workers < 0)
		return EXIT_USAGE;
	if (budget_fit(&s->budget, &s->options, (uint16_t)workers, &s->why))
		return EXIT_LIMITS;
	if (s->options.check) {
		budget_print(&s->budget, &s->options);
		return EXIT_SUCCESS;
	}
	if (s->options.daemon) {
		err = become_daemon(s);
		if (err)
			return exit_code(err);
	}
	log = (struct log_config){
		.file = s->options.logfile,
		.json = s->options.log_json,
		.level = s->options.verbose >= 2 ? LOG_LEVEL_DEBUG
			 : s->options.verbose    ? LOG_LEVEL_INFO
						 : LOG_LEVEL_NOTICE,
	};
	err = log_open(&log);
	if (err) {
		(void)why_fail(
			&s->why, err, "--logfile: cannot open %s: %s", log.file, strerror(-err));
		return EXIT_FAILURE;
	}
	err = block_signals(s);
	if (err)
		return exit_code(err);
	reserve_descriptors(s);
	err = log_start((unsigned)workers + 1);
	if (err) {
		(void)why_fail(&s->why, err, "log: the logger does not start: %s", strerror(-err));
		(void)close(s->signal_fd);
		return EXIT_FAILURE;
	}
	log_thread(0);
	err = serve(s, &cpus);
	if (s->log_stuck || !log_stop())
		_exit(exit_code(err));
	(void)close(s->signal_fd);
	return exit_code(err);
}

int main(int argc, char **argv)
{
	static struct server s = {.parent = -1};
	int code;

	if (options_parse(&s.options, argc, argv, &s.why)) {
		(void)fprintf(stderr, "famez-server: %s\n", s.why.text);
		return EXIT_USAGE;
	}
	if (s.options.help || s.options.version) {
		(void)fputs(s.options.help ? options_help() : "famez-server " FAMEZ_VERSION "\n",
			stdout);
		return EXIT_SUCCESS;
	}
	code = start(&s);
	if (code != EXIT_SUCCESS)
		(void)fprintf(stderr, "famez-server: %s\n", s.why.text);
	tell_parent(&s, code);
	return code;
}
