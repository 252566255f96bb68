/* SPDX-License-Identifier: MIT */
/*
 * options.c - famez-stress's command line.
 *
 * Reads argv, the environment's XDG_RUNTIME_DIR and our user ID. Opens nothing.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#include "fleet.h"

enum {
	OPT_PEERS = 256,
	OPT_VECTORS,
	OPT_ROUNDS,
	OPT_SECONDS,
	OPT_SEED,
	OPT_JSON,
	OPT_HOLD,
	OPT_JOIN_ONLY,
	OPT_PATIENCE,
	OPT_VERSION
};

static const struct option LONG_OPTIONS[] = {
	{"socketpath", required_argument, NULL, 'S'},
	{"peers", required_argument, NULL, OPT_PEERS},
	{"vectors", required_argument, NULL, OPT_VECTORS},
	{"rounds", required_argument, NULL, OPT_ROUNDS},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"seed", required_argument, NULL, OPT_SEED},
	{"json", required_argument, NULL, OPT_JSON},
	{"hold", no_argument, NULL, OPT_HOLD},
	{"join-only", no_argument, NULL, OPT_JOIN_ONLY},
	{"patience", required_argument, NULL, OPT_PATIENCE},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{0},
};

void options_help(void)
{
	fputs("Usage: famez-stress [OPTION]...\n"
	      "Emulates many VMs at an ivshmem server: they join, learn of each other, ring\n"
	      "each other's doorbells, every one accounted for, and measure the doorbell's\n"
	      "round trip beside that of a bare eventfd.\n"
	      "\n"
	      "  -S, --socketpath PATH  the server's socket (as root /run/famez.sock,\n"
	      "                         else $XDG_RUNTIME_DIR/famez.sock)\n"
	      "      --peers N          VMs to emulate, 1 to 65536 (64)\n"
	      "      --vectors N        what each must get, 1 to 2048 (whatever it is)\n"
	      "      --rounds N         ring in N random matchings (every pair and vector, or\n"
	      "                         16 matchings where these are more than 65,536)\n"
	      "      --seconds S        measure round trips for so long, 0 not at all (5)\n"
	      "      --seed N           make the random choices of the run that printed N\n"
	      "      --join-only        join, wait for the full mesh, leave\n"
	      "      --hold             join, wait for the full mesh, say `holding N peers`,\n"
	      "                         and stay until SIGINT or SIGTERM\n"
	      "      --patience S       give up after S seconds without any event (30)\n"
	      "      --json FILE        write the raw figures to FILE\n"
	      "  -h, --help             this text; --version\n"
	      "\n"
	      "Exit: 0 nothing lost, 1 lost or incomplete, 2 usage, 3 could not join,\n"
	      "4 too few descriptors.\n"
	      "Example: famez-stress -S /run/famez.sock --peers 1000 --seconds 10\n",
		stdout);
}

static int parse_count(const char *name, const char *arg, uint64_t least, uint64_t most,
	uint64_t *out, struct verdict *verdict)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno || *end || arg[0] < '0' || arg[0] > '9' || n < least || n > most)
		return verdict_give(verdict, VERDICT_USAGE,
			"--%s takes a number from %llu to %llu, not '%s'", name,
			(unsigned long long)least, (unsigned long long)most, arg);
	*out = n;
	return 0;
}

static int parse_seconds(
	const char *name, const char *arg, double least, double *out, struct verdict *verdict)
{
	char *end;
	double s;

	s = strtod(arg, &end);
	if (end == arg || *end || !isfinite(s) || s < least || s > 86400)
		return verdict_give(verdict, VERDICT_USAGE,
			"--%s takes seconds, %g to 86400, not '%s'", name, least, arg);
	*out = s;
	return 0;
}

static int set_socket(struct options *o, const char *path, struct verdict *verdict)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (path[0] == '\0' || strlen(path) > most)
		return verdict_give(verdict, VERDICT_USAGE,
			"--socketpath takes a path of 1 to %zu bytes, not '%s'", most, path);
	(void)snprintf(o->socket, sizeof(o->socket), "%s", path);
	return 0;
}

static int default_socket(struct options *o, struct verdict *verdict)
{
	const char *dir = getenv("XDG_RUNTIME_DIR"); /* NOLINT(concurrency-mt-unsafe) */
	char path[512];

	if (geteuid() == 0)
		return set_socket(o, "/run/famez.sock", verdict);
	if (dir == NULL || dir[0] == '\0')
		return verdict_give(verdict, VERDICT_USAGE,
			"XDG_RUNTIME_DIR is not set: say where the server's socket is, "
			"--socketpath PATH");
	(void)snprintf(path, sizeof(path), "%s/famez.sock", dir); /* too long: refused below */
	return set_socket(o, path, verdict);
}

static int parse_one(struct options *o, int option, const char *arg, struct verdict *verdict)
{
	uint64_t n = 0;
	int err = 0;

	switch (option) {
	case 'S':
		return set_socket(o, arg, verdict);
	case OPT_PEERS:
		err = parse_count("peers", arg, 1, FLEET_PEERS_MAX, &n, verdict);
		o->peers = (unsigned)n;
		return err;
	case OPT_VECTORS:
		err = parse_count("vectors", arg, 1, FAMEZ_WIRE_VECTORS_MAX, &n, verdict);
		o->vectors = (unsigned)n;
		return err;
	case OPT_ROUNDS:
		err = parse_count("rounds", arg, 1, 1000000, &n, verdict);
		o->rounds = (unsigned)n;
		return err;
	case OPT_SECONDS:
		return parse_seconds("seconds", arg, 0, &o->seconds, verdict);
	case OPT_PATIENCE:
		return parse_seconds("patience", arg, 1, &o->patience_s, verdict);
	case OPT_SEED:
		return parse_count("seed", arg, 0, UINT64_MAX, &o->seed, verdict);
	case OPT_JSON:
		o->json = arg;
		return 0;
	case OPT_HOLD:
		o->hold = true;
		return 0;
	case OPT_JOIN_ONLY:
		o->join_only = true;
		return 0;
	case OPT_VERSION:
		o->version = true;
		return 0;
	default:
		o->help = true;
		return 0;
	}
}

int options_parse(struct options *o, int argc, char **argv, struct verdict *verdict)
{
	int option;

	*o = (struct options){.peers = 64, .seconds = 5, .patience_s = 30};
	if (getrandom(&o->seed, sizeof(o->seed), 0) != sizeof(o->seed))
		o->seed = (uint64_t)getpid(); /* any number will do, it is printed */
	o->seed %= 1000000000;                /* short enough to be typed */
	opterr = 0;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread */
	while ((option = getopt_long(argc, argv, ":S:h", LONG_OPTIONS, NULL)) != -1) {
		if (option == ':')
			return verdict_give(verdict, VERDICT_USAGE,
				"%s takes a value (see famez-stress --help)", argv[optind - 1]);
		if (option == '?')
			return verdict_give(verdict, VERDICT_USAGE,
				"no option %s (see famez-stress --help)", argv[optind - 1]);
		if (parse_one(o, option, optarg, verdict))
			return -1;
	}
	if (o->help || o->version)
		return 0;
	if (optind < argc)
		return verdict_give(verdict, VERDICT_USAGE,
			"'%s' is not an option (see famez-stress --help)", argv[optind]);
	if (o->hold && o->join_only)
		return verdict_give(
			verdict, VERDICT_USAGE, "--hold stays and --join-only leaves: choose one");
	if (o->peers < 2 && !o->hold && !o->join_only)
		return verdict_give(verdict, VERDICT_USAGE,
			"one peer has nobody to ring: --peers 2 or more, or --hold, or "
			"--join-only");
	if (o->socket[0] == '\0')
		return default_socket(o, verdict);
	return 0;
}
