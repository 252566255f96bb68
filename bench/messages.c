/* SPDX-License-Identifier: MIT */
/*
 * messages.c - famez-bench-messages: one measurement of messages, one line of JSON.
 *
 * A program of its own beside famez-bench, because what it measures are processes: it forks
 * one for each peer, and the parent only says go and stop. Its systems are compiled into it
 * and chosen by name; bench/compare calls it, system after system. Starts no server.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages.h"

/* Beyond the time asked for, until a run counts as hung. */
#define PATIENCE_MS 20000

static const struct system *const *const rooms[] = {messages_limits, messages_raw, messages_lane,
	messages_peer, messages_others, messages_nats};

/* For each machine as it is best: in a guest it is not the one that this was built on. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(FAMEZ_SANITIZED)
#define FAST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define FAST
#endif

/* Eight words at once, as the compiler would not make of every loop that this is inlined in. */
typedef uint64_t block __attribute__((vector_size(64), aligned(1), may_alias));

FAST uint64_t payload_sum(const void *payload, size_t bytes)
{
	const unsigned char *at = payload, *end = at + bytes;
	block sums[4] = {0};
	uint64_t sum = 0, word;

	for (; end - at >= (ptrdiff_t)sizeof(sums); at += sizeof(sums))
		for (size_t i = 0; i < 4; i++)
			sums[i] += *(const block *)(const void *)(at + i * sizeof(block));
	for (; end - at >= (ptrdiff_t)sizeof(block); at += sizeof(block))
		sums[0] += *(const block *)(const void *)at;
	sums[0] += sums[1] + sums[2] + sums[3];
	for (size_t i = 0; i < 8; i++)
		sum += sums[0][i];
	for (; end - at >= (ptrdiff_t)sizeof(word); at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	for (; at < end; at++)
		sum += *at;
	return sum;
}

static const struct system *system_named(const char *name)
{
	for (size_t i = 0; i < sizeof(rooms) / sizeof(*rooms); i++)
		for (const struct system *const *s = rooms[i]; *s; s++)
			if (strcmp((*s)->name, name) == 0)
				return *s;
	return NULL;
}

/* Does it take ALONE_MESSAGES that nobody reads yet? The others would wait for their reader. */
static bool can_be_alone(const struct system *s, const struct run *r)
{
	static const struct system *const *const waiting[] = {
		messages_limits, messages_others, messages_nats};

	for (size_t i = 0; i < sizeof(waiting) / sizeof(*waiting); i++)
		for (const struct system *const *other = waiting[i]; *other; other++)
			if (*other == s)
				return false;
	return s->alone && r->bytes <= ALONE_BYTES_MAX;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("pinning to a CPU", errno);
}

static uint32_t *stopped;

static void on_alarm(int signal)
{
	(void)signal;
	__atomic_store_n(stopped, 1u, __ATOMIC_RELAXED);
}

static void pause_ms(long ms)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&time, NULL);
}

/* One peer, in its own process. */
__attribute__((noreturn)) static void peer(struct run *r, const struct system *s, uint32_t who)
{
	struct result *result = &r->stage->results[who];
	void *end;

	if (r->split)
		pin(who ? 1 : 0);
	end = s->open ? s->open(r, who) : NULL;
	__atomic_fetch_add(&r->stage->ready, 1u, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&r->stage->go, __ATOMIC_ACQUIRE))
		pause_ms(1);
	result->begun_ns = clock_wall_ns();
	result->cpu_ns = clock_read(CLOCK_PROCESS_CPUTIME_ID);
	if (r->trips)
		result->messages = who ? s->ask(r, end) : s->answer(r, end);
	else
		result->messages = who ? s->send(r, end, who) : s->receive(r, end);
	result->cpu_ns = clock_read(CLOCK_PROCESS_CPUTIME_ID) - result->cpu_ns;
	result->ended_ns = clock_wall_ns();
	if (s->close)
		s->close(end);
	_Exit(0);
}

struct opening {
	struct run *run;
	const struct system *system;
	uint32_t who;
	void *end;
};

static void *open_end(void *opening)
{
	struct opening *o = opening;

	o->end = o->system->open(o->run, o->who);
	return NULL;
}

/* Both peers in this process, and in one thread as soon as they have met. */
static int alone(struct run *r, const struct system *s)
{
	struct opening to = {r, s, 0, NULL}, from = {r, s, 1, NULL};
	const long ms = r->milliseconds;
	const struct itimerval time = {.it_value = {ms / 1000, ms % 1000 * 1000}};
	pthread_t thread;
	uint64_t messages;
	int err = s->prepare ? s->prepare(r) : 0;

	if (!err)
		err = -pthread_create(&thread, NULL, open_end, &to);
	if (err)
		return err;
	(void)open_end(&from);
	(void)pthread_join(thread, NULL);
	pin(0);
	stopped = &r->stage->stop;
	(void)signal(SIGALRM, on_alarm);
	(void)setitimer(ITIMER_REAL, &time, NULL);
	messages = s->alone(r, from.end, to.end);
	s->close(from.end);
	s->close(to.end);
	(void)printf("{\"scenario\": \"alone\", \"system\": \"%s\", \"bytes\": %u, \"batch\": %u, "
		     "\"messages\": %" PRIu64 ", \"put_ns\": %.2f, \"take_ns\": %.2f}\n",
		s->name, r->bytes, r->batch, messages, (double)r->stage->put_ns / ALONE_MESSAGES,
		(double)r->stage->take_ns / ALONE_MESSAGES);
	return 0;
}

/* Waits for all; kills them if one failed, or if they hang. 0 or -errno. */
static int await_all(pid_t *pids, uint32_t count, uint32_t milliseconds)
{
	uint64_t give_up = clock_wall_ns() + (uint64_t)(milliseconds + PATIENCE_MS) * 1000000;
	uint32_t left = count;
	int err = 0;

	while (left) {
		for (uint32_t i = 0; i < count; i++) {
			int status;

			if (!pids[i] || waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			pids[i] = 0;
			left--;
			if (!err && (!WIFEXITED(status) || WEXITSTATUS(status)))
				err = -ECHILD;
		}
		if (!err && clock_wall_ns() > give_up)
			err = -ETIMEDOUT;
		for (uint32_t i = 0; err && i < count; i++)
			if (pids[i])
				(void)kill(pids[i], SIGKILL);
		pause_ms(2);
	}
	return err;
}

static uint64_t latency_at(uint32_t bucket)
{
	uint32_t octave = bucket / STEPS, step = bucket % STEPS;

	return octave >= 8 ? (uint64_t)(STEPS + step) << (octave - 8)
			   : (STEPS + step) >> (8 - octave);
}

static void print_latencies(const struct stage *stage)
{
	static const struct {
		const char *name;
		double part;
	} wanted[] = {{"p50_ns", .5}, {"p90_ns", .9}, {"p99_ns", .99}, {"p999_ns", .999}};
	uint64_t total = 0, so_far = 0;
	size_t next = 0;
	const char *comma = "";

	for (uint32_t i = 0; i < OCTAVES * STEPS; i++)
		total += stage->latencies[i];
	for (uint32_t i = 0; i < OCTAVES * STEPS; i++) {
		so_far += stage->latencies[i];
		while (next < sizeof(wanted) / sizeof(*wanted) &&
			(double)so_far > wanted[next].part * (double)total)
			(void)printf(", \"%s\": %" PRIu64, wanted[next++].name, latency_at(i));
	}
	(void)printf(", \"latencies\": [");
	for (uint32_t i = 0; i < OCTAVES * STEPS; i += STEPS / 8) {
		uint64_t some = 0;

		for (uint32_t step = 0; step < STEPS / 8; step++)
			some += stage->latencies[i + step];
		if (!some)
			continue;
		(void)printf("%s[%" PRIu64 ", %" PRIu64 "]", comma, latency_at(i), some);
		comma = ", ";
	}
	(void)printf("]");
}

static void print(const struct run *r, const struct system *s, uint64_t cpu_ns)
{
	const struct result *results = r->stage->results;
	uint64_t begun_ns = UINT64_MAX, ended_ns = 0;

	for (uint32_t i = 0; i <= r->senders; i++) {
		if (i && results[i].begun_ns < begun_ns)
			begun_ns = results[i].begun_ns;
		if (results[i].ended_ns > ended_ns)
			ended_ns = results[i].ended_ns;
		cpu_ns += results[i].cpu_ns;
	}
	(void)printf("{\"scenario\": \"%s\", \"system\": \"%s\", \"bytes\": %u, \"senders\": %u, "
		     "\"batch\": %u, \"split\": %s, \"messages\": %" PRIu64
		     ", \"wall_ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64,
		r->trips ? "trip" : "stream", s->name, r->bytes, r->senders, r->batch,
		r->split ? "true" : "false", results[r->trips].messages, ended_ns - begun_ns,
		cpu_ns);
	if (r->trips)
		print_latencies(r->stage);
	(void)printf("}\n");
}

/* Before anybody said go: it could not join. */
static bool one_has_ended(void)
{
	siginfo_t who = {0};

	return waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid;
}

static int measure(struct run *r, const struct system *s)
{
	pid_t pids[PEERS_MAX] = {0};
	uint64_t server_ns;
	int err = s->prepare ? s->prepare(r) : 0;

	if (err)
		return err;
	for (uint32_t i = 0; i <= r->senders; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return -errno; /* the others notice that nobody says go: see await_all() */
		if (pids[i] == 0)
			peer(r, s, i);
	}
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (__atomic_load_n(&r->stage->ready, __ATOMIC_SEQ_CST) == r->senders + 1 ||
			one_has_ended())
			break;
		pause_ms(1);
	}
	server_ns = r->server ? clock_process_ns(r->server) : 0;
	__atomic_store_n(&r->stage->go, 1u, __ATOMIC_SEQ_CST);
	pause_ms(r->milliseconds);
	__atomic_store_n(&r->stage->stop, 1u, __ATOMIC_SEQ_CST);
	err = await_all(pids, r->senders + 1, r->milliseconds);
	server_ns = r->server ? clock_process_ns(r->server) - server_ns : 0;
	if (!err)
		print(r, s, server_ns);
	return err;
}

static void usage(FILE *to)
{
	(void)fputs("usage: famez-bench-messages stream|trip|alone SYSTEM [OPTION ...]\n"
		    "       famez-bench-messages fan [OPTION ...]\n"
		    "       famez-bench-messages systems\n"
		    "\n"
		    "  -b, --bytes N        of a payload (100)\n"
		    "  -s, --senders N      stream: to one receiver (1)\n"
		    "  -f, --batch N        stream: messages until a flush, 64 KiB at most (16)\n"
		    "  -t, --time MS        how long (500)\n"
		    "  -x, --split          receiver and senders pinned to different CPUs\n"
		    "  -S, --socketpath P   the server's socket; for others a folder, or a URL.\n"
		    "                       In a guest a device for each peer: -S /dev/famez0 -S "
		    "/dev/famez1\n"
		    "  -p, --pid PID        the server's process, whose CPU time counts\n"
		    "  -m, --members N      fan: of the group (1000)\n",
		to);
}

static bool number(const char *text, uint32_t least, uint32_t most, uint32_t *value)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*value = (uint32_t)n;
	return *text >= '0' && *text <= '9' && *end == '\0' && n >= least && n <= most;
}

/* Returns whether all options were understood. */
static bool parse(int argc, char **argv, struct run *r, uint32_t *members)
{
	static const struct option longs[] = {
		{"bytes", required_argument, NULL, 'b'},
		{"senders", required_argument, NULL, 's'},
		{"batch", required_argument, NULL, 'f'},
		{"time", required_argument, NULL, 't'},
		{"split", no_argument, NULL, 'x'},
		{"socketpath", required_argument, NULL, 'S'},
		{"pid", required_argument, NULL, 'p'},
		{"members", required_argument, NULL, 'm'},
		{0},
	};
	uint32_t n;
	int option;

	while ((option = getopt_long(argc, argv, "b:s:f:t:xS:p:m:", longs, NULL)) != -1) {
		bool good = true;

		switch (option) {
		case 'b':
			good = number(optarg, PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX, &r->bytes);
			break;
		case 's':
			good = number(optarg, 1, SENDERS_MAX, &r->senders);
			break;
		case 'f':
			good = number(optarg, 1, 1u << 20, &r->batch);
			break;
		case 't':
			good = number(optarg, 1, 600000, &r->milliseconds);
			break;
		case 'x':
			r->split = true;
			break;
		case 'S':
			good = r->socket_count < PEERS_MAX;
			if (good)
				r->sockets[r->socket_count++] = optarg;
			r->socket = r->sockets[0];
			break;
		case 'p':
			good = number(optarg, 1, INT32_MAX, &n);
			r->server = (pid_t)n;
			break;
		case 'm':
			good = number(optarg, 1, 60000, members);
			break;
		default:
			return false;
		}
		if (!good) {
			(void)fprintf(
				stderr, "famez-bench-messages: '%s' is out of range\n", optarg);
			return false;
		}
	}
	return optind == argc;
}

static int list(void)
{
	for (size_t i = 0; i < sizeof(rooms) / sizeof(*rooms); i++)
		for (const struct system *const *s = rooms[i]; *s; s++)
			(void)puts((*s)->name);
	return 0;
}

int main(int argc, char **argv)
{
	const char *scenario = argc > 1 ? argv[1] : "";
	struct run r = {
		.bytes = 100,
		.senders = 1,
		.batch = 16,
		.milliseconds = 500,
		.trips = strcmp(scenario, "trip") == 0,
	};
	bool fan = strcmp(scenario, "fan") == 0;
	bool solo = strcmp(scenario, "alone") == 0;
	const struct system *s = NULL;
	uint32_t members = 1000;
	int words = fan ? 1 : 2, err;

	if (argc == 2 && strcmp(scenario, "systems") == 0)
		return list();
	if ((!fan && !r.trips && !solo && strcmp(scenario, "stream") != 0) || argc <= words ||
		!parse(argc - words, argv + words, &r, &members)) {
		usage(stderr);
		return 2;
	}
	if (!fan) {
		s = system_named(argv[2]);
		if (!s ||
			(r.trips       ? !s->ask
				: solo ? !can_be_alone(s, &r)
				       : !s->send) ||
			((r.trips || solo) && r.senders != 1)) {
			(void)fprintf(
				stderr, "famez-bench-messages: no %s of '%s'\n", scenario, argv[2]);
			return 2;
		}
	}
	(void)setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	r.stage = mmap(
		NULL, sizeof(*r.stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.stage == MAP_FAILED)
		die("memory", errno);
	if (fan)
		err = messages_fan(r.socket, r.server, members, r.milliseconds);
	else
		err = solo ? alone(&r, s) : measure(&r, s);
	if (err && err != -ECHILD) /* that one has said why */
		(void)fprintf(stderr, "famez-bench-messages: %s: %s\n", scenario, strerror(-err));
	return err ? 1 : 0;
}
