/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-bench: one measurement, one line of JSON. bench/compare calls it.
 *
 * Starts no server; the one it is told of must listen already.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "run.h"

#define SPARE_DESCRIPTORS 64u

static const struct scenario {
	const char *name;
	int (*run)(const struct run *r);
	bool needs_server;
} scenarios[] = {
	{"floor", floor_run, false},
	{"mesh", mesh_run, true},
	{"join", join_run, true},
	{"doorbell", doorbell_run, true},
	{"scale", scale_run, true},
};

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

void run_sort(uint64_t *values, uint32_t count)
{
	qsort(values, count, sizeof(*values), compare);
}

uint64_t run_percentile(const uint64_t *values, uint32_t count, double p)
{
	uint32_t at = (uint32_t)(p * count);

	return values[at < count ? at : count - 1];
}

static void usage(FILE *to)
{
	(void)fputs(
		"usage: famez-bench floor|mesh|join|doorbell|scale [OPTION ...]\n"
		"\n"
		"  -S, --socketpath PATH  the server's socket; it must be no peer itself\n"
		"  -p, --pid PID          the server's process: whose CPU time counts\n"
		"  -c, --clients N        clients (66)\n"
		"  -n, --vectors N        vectors of each (4)\n"
		"  -x, --extras N         mesh: members before the storm\n"
		"  -d, --deaf             mesh: the extras stop reading\n"
		"  -H, --hold             mesh: stay until standard input ends; scale: at each\n"
		"                         stop wait for a line of it\n"
		"  -a, --also N           scale: peers besides, such as the server (0)\n"
		"  -s, --stops LIST       scale: so many present (10,...), instead of -c\n"
		"  -r, --repeat N         join, scale: joins; doorbell: slices (200; 20; 200)\n"
		"  -t, --threads 1|2      floor: threads that send\n"
		"  -u, --unread           floor: nobody reads\n"
		"  -w, --patience S       give up when nothing came for S seconds (10)\n",
		to);
}

/* Every client a socket; two descriptors besides for each of two who keep theirs; the
 * floor holds both ends of each socket and the eventfds. */
static int raise_limit(const struct run *r)
{
	uint64_t bells = (uint64_t)r->clients * r->vectors;
	uint64_t needed = SPARE_DESCRIPTORS + 2 * ((uint64_t)r->clients + r->extras + bells);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	if (limit.rlim_cur >= needed)
		return 0;
	limit.rlim_cur = needed;
	if (limit.rlim_max < needed)
		limit.rlim_max = needed;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return 0;
	(void)fprintf(stderr,
		"famez-bench: %u clients x %u vectors need %" PRIu64
		" open files; allow them (ulimit -Hn %" PRIu64 ") or run as root\n",
		r->clients, r->vectors, needed, needed);
	return -EMFILE;
}

static bool number(const char *text, uint32_t *value)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*value = (uint32_t)n;
	return *text >= '0' && *text <= '9' && *end == '\0' && n <= UINT32_MAX;
}

/* "10,100,1000": ascending, the last one in r->clients as well. */
static bool stops(const char *text, struct run *r)
{
	char *copy = strdup(text), *rest = NULL;
	bool good = copy != NULL;

	r->stop_count = 0;
	for (char *word = good ? strtok_r(copy, ",", &rest) : NULL; word && good;
		word = strtok_r(NULL, ",", &rest)) {
		uint32_t n, before = r->stop_count ? r->stops[r->stop_count - 1] : 1;

		good = number(word, &n) && n > before && n <= 65536 && r->stop_count < STOPS_MAX;
		if (good)
			r->stops[r->stop_count++] = r->clients = n;
	}
	free(copy);
	return good && r->stop_count > 0;
}

/* Returns whether all options were understood. */
static bool parse(int argc, char **argv, struct run *r)
{
	static const struct option longs[] = {
		{"socketpath", required_argument, NULL, 'S'},
		{"pid", required_argument, NULL, 'p'},
		{"clients", required_argument, NULL, 'c'},
		{"vectors", required_argument, NULL, 'n'},
		{"extras", required_argument, NULL, 'x'},
		{"deaf", no_argument, NULL, 'd'},
		{"hold", no_argument, NULL, 'H'},
		{"also", required_argument, NULL, 'a'},
		{"stops", required_argument, NULL, 's'},
		{"repeat", required_argument, NULL, 'r'},
		{"slices", required_argument, NULL, 'l'},
		{"threads", required_argument, NULL, 't'},
		{"unread", no_argument, NULL, 'u'},
		{"patience", required_argument, NULL, 'w'},
		{0},
	};
	uint32_t n;
	int option;

	while ((option = getopt_long(argc, argv, "S:p:c:n:x:dHa:s:r:l:t:uw:", longs, NULL)) != -1) {
		bool good = true;

		switch (option) {
		case 'S':
			r->socket = optarg;
			break;
		case 'p':
			good = number(optarg, &n);
			r->server = (pid_t)n;
			break;
		case 'c':
			good = number(optarg, &r->clients) && r->clients > 0 && r->clients <= 65536;
			break;
		case 'n':
			good = number(optarg, &r->vectors) && r->vectors > 0 && r->vectors <= 2048;
			break;
		case 'x':
			good = number(optarg, &r->extras);
			break;
		case 'd':
			r->deaf = true;
			break;
		case 'H':
			r->hold = true;
			break;
		case 'a':
			good = number(optarg, &r->also) && r->also <= 16;
			break;
		case 's':
			good = stops(optarg, r);
			break;
		case 'r':
			good = number(optarg, &r->repeat) && r->repeat > 0;
			break;
		case 'l':
			good = number(optarg, &r->slices) && r->slices > 0 && r->slices <= 100000;
			break;
		case 't':
			good = number(optarg, &r->threads) && r->threads >= 1 && r->threads <= 2;
			break;
		case 'u':
			r->unread = true;
			break;
		case 'w':
			good = number(optarg, &n);
			r->patience_ns = UINT64_C(1000000000) * n;
			break;
		default:
			return false;
		}
		if (!good) {
			(void)fprintf(stderr, "famez-bench: '%s' is out of range\n", optarg);
			return false;
		}
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct run r = {
		.clients = 66,
		.vectors = 4,
		.threads = 1,
		.patience_ns = UINT64_C(10000000000),
	};
	const struct scenario *scenario = NULL;
	int err;

	for (size_t i = 0; argc > 1 && i < sizeof(scenarios) / sizeof(*scenarios); i++)
		if (strcmp(argv[1], scenarios[i].name) == 0)
			scenario = &scenarios[i];
	if (!scenario || !parse(argc - 1, argv + 1, &r) ||
		(scenario->needs_server && (!r.socket || !r.server))) {
		usage(stderr);
		return 2;
	}
	if (!r.repeat)
		r.repeat = scenario->run == scale_run ? 20 : 200;
	if (!r.slices)
		r.slices = scenario->run == scale_run ? 80 : 200;
	if (!r.stop_count)
		r.stops[r.stop_count++] = r.clients;
	err = raise_limit(&r);
	if (!err)
		err = scenario->run(&r);
	if (err)
		(void)fprintf(stderr, "famez-bench: %s: %s\n", scenario->name, strerror(-err));
	return err ? 1 : 0;
}
