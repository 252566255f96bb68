/* SPDX-License-Identifier: MIT */
/*
 * options.c - famez-stress's command line.
 *
 * Reads argv. Opens nothing.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "board.h"
#include "fleet.h"
#include "letters.h"

enum kind { COUNT, SECONDS, RATE, TEXT, FLAG, SPECIAL };

/* One option: where its value goes and what it may be. */
struct rule {
	const char *name;
	char letter; /* or 0 */
	enum kind kind;
	size_t offset;
	double least, most;
};

#define PEERS 64u

/* Seconds of a measured part; of a soak altogether. */
#define TIME_S 5.0
#define SOAK_S 3600.0

#define AT(field) offsetof(struct options, field)

static const struct rule RULES[] = {
	{"socketpath", 'S', SPECIAL, 0, 0, 0},
	{"connect", 0, SPECIAL, 0, 0, 0},
	{"vm", 0, COUNT, AT(guests), 1, OPTIONS_GUESTS_MAX},
	{"agent", 0, TEXT, AT(agent), 0, 0},
	{"scenario", 0, SPECIAL, 0, 0, 0},
	{"with", 0, SPECIAL, 0, 0, 0},
	{"seed", 0, SPECIAL, 0, 0, 0},
	{"server", 0, TEXT, AT(server), 0, 0},
	{"peers", 0, COUNT, AT(peers), 1, FLEET_PEERS_MAX},
	{"vectors", 0, COUNT, AT(vectors), 1, FAMEZ_WIRE_VECTORS_MAX},
	{"processes", 0, COUNT, AT(processes), 1, BOARD_PROCESSES_MAX},
	{"rounds", 0, COUNT, AT(rounds), 1, 1000000},
	{"size", 0, COUNT, AT(size), LETTERS_BYTES_MIN, 1u << 29},
	{"rate", 0, RATE, AT(rate), 0.01, 1e9},
	{"time", 0, SECONDS, AT(time_s), 0, 604800},
	{"warm-up", 0, SECONDS, AT(warm_up_s), 0, 3600},
	{"patience", 0, SECONDS, AT(patience_s), 1, 86400},
	{"json", 0, TEXT, AT(json), 0, 0},
	{"csv", 0, TEXT, AT(csv), 0, 0},
	{"svg", 0, TEXT, AT(svg), 0, 0},
	{"hold", 0, FLAG, AT(hold), 0, 0},
	{"join-only", 0, FLAG, AT(join_only), 0, 0},
	{"help", 'h', FLAG, AT(help), 0, 0},
	{"version", 0, FLAG, AT(version), 0, 0},
};
#define RULES_COUNT (sizeof(RULES) / sizeof(RULES[0]))

void options_help(void)
{
	fputs("Usage: famez-stress [SCENARIO] [OPTION]...\n"
	      "Emulates many VMs at an ivshmem server; accounts for each doorbell and message.\n"
	      "\n"
	      "mesh (default)  pairs  ring  incast  fanout    who speaks to whom\n"
	      "storm  churn  stall  bulk  soak                joins, leaves, stalls, sizes\n"
	      "\n"
	      "  -S, --socketpath PATH  a server that runs; in a guest /dev/famezN instead.\n"
	      "      --connect PATH     the same; several: VMs take them in turn\n"
	      "      --server PROGRAM   else it starts one of its own (famez-server)\n"
	      "      --vm N             real VMs (QEMU) besides, 1 to 16\n"
	      "      --peers N          VMs, 1 to 65536 (64)       --vectors N  of each (4)\n"
	      "      --processes N      that share them (as few as the descriptors allow)\n"
	      "      --with WHAT        bells, messages or both (both)   --size BYTES  (64)\n"
	      "      --rate N           a second, open loop (closed: as fast as it goes)\n"
	      "      --time S           of each measured part, 0: none (5)  --warm-up S (0.2)\n"
	      "      --rounds N         matchings of the full round, or storms;  --seed N\n"
	      "      --join-only        leave once the mesh is there;  --hold: stay, do nothing\n"
	      "      --patience S       give up after S seconds without an event (30)\n"
	      "      --json FILE        raw figures; --csv FILE; --svg FILE: a plot\n"
	      "  -h, --help             this text;  --version;  --agent DEVICE: be a --vm\n"
	      "Exit: 0 all accounted for, 1 lost, doubled or out of order, 2 usage, 3 could not\n"
	      "join, 4 too few descriptors.   Example: famez-stress incast --peers 1000\n",
		stdout);
}

bool options_mail(const struct options *o)
{
	return o->with != WITH_BELLS && (o->scenario->letters || o->scenario == &SCENARIO_SOAK) &&
	       !o->hold && !o->join_only && o->time_s > 0;
}

static int parse_count(const struct rule *r, const char *arg, uint64_t *out, struct verdict *v)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno || *end || arg[0] < '0' || arg[0] > '9' || (double)n < r->least ||
		(r->most > 0 && (double)n > r->most))
		return verdict_give(v, VERDICT_USAGE,
			"--%s takes a number from %.0f to %.0f, not '%s'", r->name, r->least,
			r->most > 0 ? r->most : 0x1p64, arg);
	*out = n;
	return 0;
}

static int parse_real(const struct rule *r, const char *arg, double *out, struct verdict *v)
{
	char *end;
	double s = strtod(arg, &end);

	if (end == arg || *end || !isfinite(s) || s < r->least || s > r->most)
		return verdict_give(v, VERDICT_USAGE, "--%s takes %s, %g to %g, not '%s'", r->name,
			r->kind == RATE ? "a number" : "seconds", r->least, r->most, arg);
	*out = s;
	return 0;
}

/* A socket, or a guest's device; all are of one kind. */
static int add_socket(struct options *o, const char *path, struct verdict *v)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	struct stat is;
	bool device = stat(path, &is) == 0 && S_ISCHR(is.st_mode);

	if (path[0] == '\0' || strlen(path) > most)
		return verdict_give(v, VERDICT_USAGE,
			"--socketpath takes a path of 1 to %zu bytes, not '%s'", most, path);
	if (o->sockets_count == OPTIONS_SOCKETS_MAX)
		return verdict_give(
			v, VERDICT_USAGE, "--connect may be there %u times", OPTIONS_SOCKETS_MAX);
	if (o->sockets_count && device != o->devices)
		return verdict_give(v, VERDICT_USAGE,
			"--connect: sockets or devices, not both (%s and %s)", o->sockets[0], path);
	o->devices = device;
	o->sockets[o->sockets_count++] = path;
	return 0;
}

static int set_scenario(struct options *o, const char *name, struct verdict *v)
{
	o->scenario = scenario_named(name);
	return o->scenario ? 0
			   : verdict_give(v, VERDICT_USAGE,
				     "no scenario '%s' (see famez-stress --help)", name);
}

static int set_with(struct options *o, const char *what, struct verdict *v)
{
	static const char *const NAMES[] = {"both", "bells", "messages"};

	for (int i = 0; i < 3; i++) {
		if (strcmp(what, NAMES[i]) == 0) {
			o->with = (enum options_with)i;
			return 0;
		}
	}
	return verdict_give(
		v, VERDICT_USAGE, "--with takes bells, messages or both, not '%s'", what);
}

static int parse_one(struct options *o, const struct rule *r, const char *arg, struct verdict *v)
{
	void *at = (char *)o + r->offset;
	uint64_t n = 0;

	switch (r->kind) {
	case COUNT:
		if (parse_count(r, arg, &n, v))
			return -1;
		*(unsigned *)at = (unsigned)n;
		return 0;
	case SECONDS:
	case RATE:
		return parse_real(r, arg, at, v);
	case TEXT:
		*(const char **)at = arg;
		return 0;
	case FLAG:
		*(bool *)at = true;
		return 0;
	default:
		break;
	}
	if (r->letter == 'S' || strcmp(r->name, "connect") == 0)
		return add_socket(o, arg, v);
	if (strcmp(r->name, "scenario") == 0)
		return set_scenario(o, arg, v);
	if (strcmp(r->name, "with") == 0)
		return set_with(o, arg, v);
	return parse_count(r, arg, &o->seed, v);
}

/* What fits none of the others. */
static int check(const struct options *o, struct verdict *v)
{
	unsigned aside = o->scenario->aside ? o->scenario->aside(o->peers) : 0;

	if (o->hold && o->join_only)
		return verdict_give(
			v, VERDICT_USAGE, "--hold stays and --join-only leaves: choose one");
	if (o->peers < 2 && !o->hold && !o->join_only)
		return verdict_give(v, VERDICT_USAGE,
			"one peer has nobody to ring: --peers 2 or more, or --hold, or "
			"--join-only");
	if (!o->hold && !o->join_only && o->peers - aside < 2)
		return verdict_give(v, VERDICT_USAGE, "%s takes --peers %u or more",
			o->scenario->name, aside + 2);
	if (o->processes > o->peers - aside)
		return verdict_give(v, VERDICT_USAGE, "--processes %u: more than there are VMs, %u",
			o->processes, o->peers - aside);
	if (o->server && o->sockets_count)
		return verdict_give(v, VERDICT_USAGE,
			"--server starts one, --socketpath names one that runs: choose one");
	if (o->hold && !o->sockets_count)
		return verdict_give(v, VERDICT_USAGE,
			"--hold is for a server that runs: say where, --socketpath PATH");
	if (o->devices && o->peers > o->sockets_count)
		return verdict_give(v, VERDICT_USAGE,
			"a device takes one VM: --peers %u at most with these", o->sockets_count);
	if (o->devices && (aside || o->scenario == &SCENARIO_SOAK))
		return verdict_give(v, VERDICT_USAGE,
			"%s joins and leaves, which a guest's devices do not", o->scenario->name);
	if (o->guests &&
		(!o->scenario->guests || o->devices || o->hold || o->join_only || o->time_s <= 0))
		return verdict_give(v, VERDICT_USAGE,
			"--vm takes part in mesh, pairs, ring, incast and bulk, for some --time");
	if (o->with == WITH_MESSAGES && !o->scenario->letters && !options_mail(o))
		return verdict_give(v, VERDICT_USAGE, "%s has no messages", o->scenario->name);
	if (o->with == WITH_BELLS && !o->scenario->bells && !o->scenario->all)
		return verdict_give(v, VERDICT_USAGE, "%s is of messages", o->scenario->name);
	return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct verdict *verdict)
{
	struct option longs[RULES_COUNT + 1] = {0};
	bool named = false;
	int option, at;

	*o = (struct options){
		.scenario = &SCENARIO_MESH, .time_s = -1, .warm_up_s = 0.2, .patience_s = 30};
	if (getrandom(&o->seed, sizeof(o->seed), 0) != sizeof(o->seed))
		o->seed = (uint64_t)getpid(); /* any number will do, it is printed */
	o->seed %= 1000000000;                /* short enough to be typed */
	for (size_t i = 0; i < RULES_COUNT; i++)
		longs[i] = (struct option){RULES[i].name,
			RULES[i].kind == FLAG ? no_argument : required_argument, NULL,
			256 + (int)i};
	opterr = 0;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread */
	while ((option = getopt_long(argc, argv, "-:S:h", longs, NULL)) != -1) {
		if (option == ':')
			return verdict_give(verdict, VERDICT_USAGE,
				"%s takes a value (see famez-stress --help)", argv[optind - 1]);
		if (option == '?')
			return verdict_give(verdict, VERDICT_USAGE,
				"no option %s (see famez-stress --help)", argv[optind - 1]);
		if (option == 1) { /* a word */
			if (named)
				return verdict_give(verdict, VERDICT_USAGE,
					"one scenario a run, not '%s' as well", optarg);
			named = true;
			if (set_scenario(o, optarg, verdict))
				return -1;
			continue;
		}
		at = option - 256;
		for (size_t i = 0; option < 256 && i < RULES_COUNT; i++)
			if (RULES[i].letter == option)
				at = (int)i;
		if (parse_one(o, &RULES[at], optarg, verdict))
			return -1;
	}
	if (o->help || o->version)
		return 0;
	if (o->peers == 0)
		o->peers = o->devices ? o->sockets_count : PEERS;
	if (o->time_s < 0)
		o->time_s = o->scenario == &SCENARIO_SOAK ? SOAK_S : TIME_S;
	if (optind < argc)
		return verdict_give(verdict, VERDICT_USAGE,
			"'%s' is not an option (see famez-stress --help)", argv[optind]);
	return check(o, verdict);
}
