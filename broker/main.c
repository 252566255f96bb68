/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-server: makes what has a name or outlives a broker, and takes it away again.
 *
 * Limits are known before anything opens. What serves is in broker.c. Exit codes are in
 * famez-server(8).
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>

#include "broker.h"
#include "control.h"
#include "keeper.h"
#include "log.h"
#include "mailbox.h"
#include "state_map.h"
#include "sweep.h"
#include "sys.h"

/* Announcements are bounded by the kernel, which counts descriptors in flight under one
 * lock: more workers than this only cost memory (docs/performance.md). */
#define WORKERS_DEFAULT_MAX 8

/* Where descriptors are looked for that whoever started us left open: below the usual limit. */
#define INHERITED_END 1024u

int server_exit_code(int err)
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

/* Say what went wrong, in one line. Returns @code. */
static int fail(const struct server *s, int code)
{
	(void)fprintf(stderr, "famez-server: %s\n", s->why.text);
	return code;
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

static int count_workers(struct server *s)
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
	s->cpus = allowed;
	if (o->workers)
		return o->workers;
	most = o->pin ? OPTIONS_WORKERS_MAX : WORKERS_DEFAULT_MAX;
	return count < most ? count : most;
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

void server_serves(void *server)
{
	struct server *s = server;

	(void)sd_notify(0, "READY=1");
	tell_parent(s, EXIT_SUCCESS);
}

static void block_signals(bool kept)
{
	sigset_t ours;

	keeper_signals(&ours);
	(void)sigprocmask(SIG_BLOCK, &ours, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	/* Asks a keeper for an upgrade; where there is none, it should harm nobody. */
	if (!kept)
		(void)signal(SIGUSR2, SIG_IGN);
}

/* What is opened must not become standard error. */
static void open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

/* Have the kernel make the table of descriptors as large as it will ever be, while there
 * is one thread: later each doubling would stop whoever opens something for an RCU grace
 * period, some 10 ms (Linux fs/file.c, expand_fdtable()). */
static void reserve_descriptors(const struct server *s)
{
	int highest = fcntl(s->memory.fd, F_DUPFD_CLOEXEC, (int)s->budget.descriptors - 1);

	/* Where that fails it is only slower. */
	if (highest >= 0)
		(void)close(highest);
}

/* The memory, and how much of it is for what. */
static int memory_make(struct server *s)
{
	const struct options *o = &s->options;
	struct budget *b = &s->budget;
	int err;

	/* Where no size was asked for, an existing one is taken as it is. */
	err = memory_open(
		&s->memory, o->memory, o->memory_name, b->shared_bytes, o->memory_bytes, &s->why);
	if (err)
		return err;
	b->existing = s->memory.existed;
	if (s->memory.bytes != b->shared_bytes)
		err = budget_mailbox(b, o, s->memory.bytes, &s->why);
	if (err)
		memory_close(&s->memory);
	return err;
}

/* Mode and owner, of this socket and of those that bound IDs have. */
static int socket_wish(struct server *s)
{
	const struct options *o = &s->options;
	struct listener_wish *wish = &s->socket_wish;

	*wish = (struct listener_wish){
		.path = o->socket_path,
		.mode = o->socket_mode,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	if (o->socket_owner && options_parse_owner(o->socket_owner, &wish->uid, &wish->gid))
		return why_fail(&s->why, -EINVAL, "--socket-owner: %s is gone", o->socket_owner);
	if (o->socket_group && options_parse_ids(o->socket_group, true, &wish->gid, 1) != 1)
		return why_fail(&s->why, -EINVAL, "--socket-group: %s is gone", o->socket_group);
	/* To be let in a group needs to write. */
	if (o->socket_group && wish->mode < 0)
		wish->mode = 0660;
	return 0;
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

/* @fd: the file that the program before us had open, or -1. */
static int log_make(struct server *s, int fd)
{
	const struct log_config log = {
		.file = s->options.logfile,
		.json = s->options.log_json,
		.level = s->options.verbose >= 2 ? LOG_LEVEL_DEBUG
			 : s->options.verbose    ? LOG_LEVEL_INFO
						 : LOG_LEVEL_NOTICE,
	};
	int err = log_open(&log, fd);

	if (err)
		(void)why_fail(
			&s->why, err, "--logfile: cannot open %s: %s", log.file, strerror(-err));
	return err;
}

static int state_make(struct server *s)
{
	struct state_live *live;
	struct state_wish wish;
	int err;

	budget_state_wish(&s->budget, &s->options, &wish);
	(void)!getrandom(&wish.fabric, sizeof(wish.fabric), GRND_NONBLOCK);
	err = state_create(&s->state, &wish, &s->why);
	if (err)
		return err;
	live = s->state.live;
	live->memory_fd = s->memory.fd;
	live->memory_inode = s->memory.made ? s->memory.inode : 0;
	live->log_fd = log_descriptor();
	live->listen_fd = s->listener.fd;
	live->lock_fd = s->listener.lock;
	live->socket_device = s->listener.device;
	live->socket_inode = s->listener.inode;
	memcpy(live->inherited, s->inherited, sizeof(live->inherited));
	return 0;
}

/* ---- a program that takes over a fabric ---------------------------------------------------- */

/* The sizes that the state has are those that our options give. */
static int same_fabric(struct server *s, const struct state_head *head)
{
	const struct state_wish *there = &head->wish;
	struct state_wish ours;

	budget_of(&s->budget, &s->options, there->peers, there->workers);
	s->budget.layout = (enum mailbox_layout)there->layout;
	s->budget.shared_bytes = s->memory.bytes = there->memory_bytes;
	budget_state_wish(&s->budget, &s->options, &ours);
	ours.fabric = there->fabric;
	ours.features = there->features;
	if (memcmp(&ours, there, sizeof(ours)) == 0)
		return 0;
	return why_fail(&s->why, -EPROTO,
		"state: with these options this program makes another fabric; give those that the "
		"fabric was started with, or end it first (--stop)");
}

/* --check-state: could we? */
static int check_state(struct server *s)
{
	struct state state;

	if (state_attach(&state, s->options.check_state, &s->why) || same_fabric(s, state.head))
		return fail(s, EXIT_FAILURE);
	return HANDOVER_CHECK_FINE;
}

/* The operator's files; @memory is where what they say will lie. */
static void rules_place(struct server *s, struct rules_memory *memory)
{
	s->rules = (struct rules){
		.zone_file = s->options.zone_file,
		.bind_file = s->options.bind_file,
		.first_id = s->budget.first_id,
		.peers = s->budget.peers,
		.memory = memory,
	};
}

/* A mistake in them is a wrong option, and told before anything opens. */
static int rules_check(struct server *s)
{
	struct rules_memory *memory;
	int err;

	if (!s->options.zone_file && !s->options.bind_file)
		return 0;
	memory = sys_calloc(1, sizeof(*memory));
	if (!memory)
		return why_fail(&s->why, -ENOMEM, "memory: not even enough to read %s",
			s->options.zone_file ? s->options.zone_file : s->options.bind_file);
	rules_place(s, memory);
	err = rules_read(&s->rules, 0, &s->why);
	free(memory);
	return err;
}

/* What was open and is not stored, is not open; and we are another process than was. */
static int come_back(struct server *s)
{
	struct state_live *live = s->state.live;
	char pid[16];
	int n, err;

	live->log_fd = live->exe_fd = -1;
	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		live->inherited[i] = -1;
	/* The same, or a new one of systemd's. */
	if (s->passed.activated >= 0) {
		(void)dup3(s->passed.activated, live->listen_fd, O_CLOEXEC);
		(void)close(s->passed.activated);
		(void)fcntl(live->listen_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	}
	if (live->lock_fd >= 0) {
		n = snprintf(pid, sizeof(pid), "%d\n", s->pid);
		if (ftruncate(live->lock_fd, 0) != 0 ||
			pwrite(live->lock_fd, pid, (size_t)n, 0) != n)
			return why_fail(&s->why, -EIO, "socket: cannot write the lock");
	}
	/* The operator may have changed them meanwhile. */
	live->reread = 1;
	err = pidfile_write(s);
	if (!err)
		err = log_make(s, -1);
	live->log_fd = log_descriptor();
	return err;
}

static int take_over(struct server *s, const struct keeper *k)
{
	const struct options *o = &s->options;
	const struct state_live *live;
	int err;

	err = state_attach(&s->state, k->handed.state_fd, &s->why);
	if (err)
		return err;
	err = same_fabric(s, s->state.head);
	if (err)
		return err;
	live = s->state.live;
	log_share(s->state.logs);
	s->memory = (struct memory){
		.fd = live->memory_fd,
		.bytes = s->state.head->wish.memory_bytes,
		.kind = o->memory,
		.name = o->memory_name,
		.made = live->memory_inode != 0,
		.named = live->memory_inode != 0,
		.existed = true,
		.inode = live->memory_inode,
	};
	s->listener = (struct listener){
		.fd = live->listen_fd,
		.lock = live->lock_fd,
		.path = o->socket_path,
		.device = live->socket_device,
		.inode = live->socket_inode,
	};
	rules_place(s, s->state.rules);
	return s->passed.state_fd >= 0 ? come_back(s) : log_make(s, live->log_fd);
}

/* ---- the start ----------------------------------------------------------------------------- */

/* Where the program is on disk. The path that we were called by, if it leads here: then an
 * upgrade may put another target behind a link in it. */
static const char *find_program(const char *name)
{
	static char path[PATH_MAX];
	struct stat there, ours;
	ssize_t n;

	if (strchr(name, '/') && stat("/proc/self/exe", &ours) == 0 && stat(name, &there) == 0 &&
		there.st_dev == ours.st_dev && there.st_ino == ours.st_ino) {
		char *folder = *name == '/' ? strdup("") : getcwd(NULL, 0);
		int bytes = folder ? snprintf(path, sizeof(path), "%s%s%s", folder,
					     *folder ? "/" : "", name)
				   : -1;

		free(folder);
		if (bytes > 0 && (size_t)bytes < sizeof(path))
			return path;
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n <= 0)
		return NULL;
	path[n] = '\0';
	return path;
}

static int be_child(void *server)
{
	struct server *s = server;
	int code = broker_main(s);

	/* Nobody may wait for a logger that hangs in a write. */
	if (s->log_stuck)
		_exit(code);
	return code;
}

static int keep(struct server *s, struct keeper *k)
{
	int code;

	k->state = &s->state;
	k->child = be_child;
	k->ready = server_serves;
	k->argument = s;
	k->stored = s->stored;
	k->watchdog_s = s->options.watchdog_s;
	k->descriptors_end = sweep_end(s->budget.descriptors);
	/* A line more or less is not worth a broker's successor. */
	log_hurry();
	code = keeper_run(k);
	(void)sd_notify(0, "STOPPING=1");
	return code;
}

/* What a broker needs. */
static int make(struct server *s)
{
	int err;

	err = memory_make(s);
	if (err)
		return err;
	reserve_descriptors(s);
	err = listener_open(&s->listener, &s->socket_wish, &s->why);
	if (err)
		goto undo_memory;
	err = state_make(s);
	if (err)
		goto undo_socket;
	log_share(s->state.logs);
	rules_place(s, s->state.rules);
	err = rules_read(&s->rules, 0, &s->why);
	if (!err)
		err = rules_gates(&s->rules, &s->socket_wish, s->listener.orphan, &s->why);
	if (err)
		goto undo_state;
	rules_count(&s->rules);
	err = pidfile_write(s);
	if (err)
		goto undo_gates;
	return 0;

undo_gates:
	gates_close(&s->state.rules->gates);
undo_state:
	log_share(NULL);
	state_unmap(&s->state);
undo_socket:
	listener_close(&s->listener);
undo_memory:
	memory_close(&s->memory);
	return err;
}

/* The filters are made once, for every broker that there will be. */
static int sandbox_make(struct server *s)
{
	const char *without = NULL;

#ifdef FAMEZ_NO_SANDBOX
	without = "this is " FAMEZ_NO_SANDBOX;
#endif
	if (!s->kept)
		without = "with --no-keeper this process still has names to take away";
	return sandbox_compile(&s->sandbox, s->options.sandbox, without, &s->why);
}

/* Returns the exit code; what went wrong has been printed. */
static int serve(struct server *s, struct keeper *k)
{
	int err, code;

	err = sandbox_make(s);
	if (!err)
		err = socket_wish(s);
	if (!err)
		err = k->handed.state_fd >= 0 ? take_over(s, k) : make(s);
	if (err) {
		handover_back(&k->handed, k->argv, s->why.text);
		return fail(s, server_exit_code(err));
	}
	code = s->kept ? keep(s, k) : broker_main(s);
	/* Names that lead to what is open stay, since that does. */
	if (s->stored && !code)
		return code;
	if (s->options.pidfile)
		(void)unlink(s->options.pidfile);
	gates_close(&s->state.rules->gates);
	listener_close(&s->listener);
	memory_close(&s->memory);
	log_share(NULL);
	state_unmap(&s->state);
	return code;
}

/* Returns the exit code; what went wrong has been printed. */
static int start(struct server *s, struct keeper *k)
{
	int workers, err;

	if (find_socket_path(s))
		return fail(s, EXIT_USAGE);
	workers = count_workers(s);
	if (workers < 0)
		return fail(s, EXIT_USAGE);
	if (s->options.control)
		return control_run(&s->options);
	if (s->options.check_state >= 0)
		return check_state(s);
	block_signals(s->kept);
	if (k->handed.state_fd >= 0)
		return serve(s, k);
	if (budget_fit(&s->budget, &s->options, (uint16_t)workers, &s->why))
		return fail(s, EXIT_LIMITS);
	if (rules_check(s))
		return fail(s, EXIT_USAGE);
	if (s->options.check) {
		budget_print(&s->budget, &s->options);
		return EXIT_SUCCESS;
	}
	if (s->options.daemon) {
		err = become_daemon(s);
		if (err)
			return fail(s, server_exit_code(err));
	}
	s->pid = getpid();
	if (log_make(s, -1))
		return fail(s, EXIT_FAILURE);
	return serve(s, k);
}

int main(int argc, char **argv)
{
	static struct server s = {.parent = -1, .passed = {.state_fd = -1}};
	static struct keeper k;
	int code;

	k.argv = argv;
	if (handover_take(&k.handed)) {
		k.path = k.handed.path;
	} else {
		open_standard();
		store_take(&s.passed);
		k.handed.state_fd = s.passed.state_fd;
		sweep_inherited(s.inherited, INHERITED_END);
		k.path = find_program(argv[0]);
	}
	s.pid = getpid();
	if (options_parse(&s.options, argc, argv, &s.why)) {
		handover_back(&k.handed, argv, s.why.text);
		return fail(&s, EXIT_USAGE);
	}
	if (s.options.help || s.options.version) {
		(void)fputs(s.options.help ? options_help() : "famez-server " FAMEZ_VERSION "\n",
			stdout);
		return EXIT_SUCCESS;
	}
	s.kept = s.options.keeper;
	s.stored = s.options.fdstore && s.kept && store_offered();
	code = start(&s, &k);
	tell_parent(&s, code);
	/* Nobody may wait for a logger that hangs in a write. */
	if (s.log_stuck)
		_exit(code);
	return code;
}
