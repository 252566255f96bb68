/* SPDX-License-Identifier: MIT */
/*
 * options.c - the command line of famez-server, in three dialects.
 *
 * Every wrong option is answered by one line. Opens nothing, changes nothing.
 */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "famez/wire.h"
#include "watchdog.h"

enum {
	OPTION_PEERS = 256,
	OPTION_NCLIENTS,
	OPTION_SILENT,
	OPTION_LEAVES,
	OPTION_DEVICE_NAMES,
	OPTION_STALL_TIMEOUT,
	OPTION_WATCHDOG,
	OPTION_WORKERS,
	OPTION_CPUS,
	OPTION_SOCKET_MODE,
	OPTION_SOCKET_OWNER,
	OPTION_SOCKET_GROUP,
	OPTION_ALLOW_UID,
	OPTION_ALLOW_GID,
	OPTION_MAX_PER_UID,
	OPTION_JOINS_PER_SECOND,
	OPTION_ZONE,
	OPTION_BIND,
	OPTION_DAEMON,
	OPTION_LOGFILE,
	OPTION_LOG_FORMAT,
	OPTION_MAILBOX,
	OPTION_LAYOUT,
	OPTION_DIALECT,
	OPTION_PERSONALITY,
	OPTION_SANDBOX,
	OPTION_CHECK,
	OPTION_CHECK_STATE,
	OPTION_NO_KEEPER,
	OPTION_FDSTORE,
	OPTION_STOP,
	OPTION_FORCE,
	OPTION_UPGRADE,
	OPTION_VERSION,
};

static const char stock_pidfile[] = "/var/run/ivshmem-server.pid";

static const char short_options[] = ":hvFp:S:m:M:l:n:";

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"verbose", optional_argument, NULL, 'v'},
	{"foreground", no_argument, NULL, 'F'},
	{"pidfile", required_argument, NULL, 'p'},
	{"socketpath", required_argument, NULL, 'S'},
	{"shm-path", required_argument, NULL, 'm'},
	{"shm-name", required_argument, NULL, 'M'},
	{"size", required_argument, NULL, 'l'},
	{"vectors", required_argument, NULL, 'n'},
	{"peers", required_argument, NULL, OPTION_PEERS},
	{"nClients", required_argument, NULL, OPTION_NCLIENTS},
	{"silent", no_argument, NULL, OPTION_SILENT},
	{"leaves", required_argument, NULL, OPTION_LEAVES},
	{"device-names", required_argument, NULL, OPTION_DEVICE_NAMES},
	{"stall-timeout", required_argument, NULL, OPTION_STALL_TIMEOUT},
	{"workers", required_argument, NULL, OPTION_WORKERS},
	{"cpus", required_argument, NULL, OPTION_CPUS},
	{"socket-mode", required_argument, NULL, OPTION_SOCKET_MODE},
	{"socket-owner", required_argument, NULL, OPTION_SOCKET_OWNER},
	{"socket-group", required_argument, NULL, OPTION_SOCKET_GROUP},
	{"allow-uid", required_argument, NULL, OPTION_ALLOW_UID},
	{"allow-gid", required_argument, NULL, OPTION_ALLOW_GID},
	{"max-per-uid", required_argument, NULL, OPTION_MAX_PER_UID},
	{"joins-per-second", required_argument, NULL, OPTION_JOINS_PER_SECOND},
	{"zone", required_argument, NULL, OPTION_ZONE},
	{"bind", required_argument, NULL, OPTION_BIND},
	{"daemon", no_argument, NULL, OPTION_DAEMON},
	{"logfile", required_argument, NULL, OPTION_LOGFILE},
	{"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
	{"mailbox", required_argument, NULL, OPTION_MAILBOX},
	{"layout", required_argument, NULL, OPTION_LAYOUT},
	{"dialect", required_argument, NULL, OPTION_DIALECT},
	{"personality", required_argument, NULL, OPTION_PERSONALITY},
	{"sandbox", required_argument, NULL, OPTION_SANDBOX},
	{"check", no_argument, NULL, OPTION_CHECK},
	{"check-state", required_argument, NULL, OPTION_CHECK_STATE},
	{"no-keeper", no_argument, NULL, OPTION_NO_KEEPER},
	{"fdstore", no_argument, NULL, OPTION_FDSTORE},
	{"watchdog", required_argument, NULL, OPTION_WATCHDOG},
	{"stop", no_argument, NULL, OPTION_STOP},
	{"force", no_argument, NULL, OPTION_FORCE},
	{"upgrade", no_argument, NULL, OPTION_UPGRADE},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

const char *options_help(void)
{
	return "famez-server - introduces the VMs of an ivshmem fabric to each other\n"
	       "\n"
	       "usage: famez-server [OPTION ...]\n"
	       "\n"
	       "fabric    -n, --vectors N        doorbells of each peer, 1..2048 (4)\n"
	       "              --peers N          most at once (64; with -l or --silent 1000)\n"
	       "              --nClients N       --peers N, and N+2 vectors unless -n is given\n"
	       "              --silent           the server is no peer itself\n"
	       "              --leaves WHO       who is told leaves: auto, always, never (auto)\n"
	       "              --device-names L   executables that are devices (*qemu*,kvm)\n"
	       "              --stall-timeout S  drop who reads nothing for S seconds (never)\n"
	       "memory    -l, --size SIZE        bytes, K, M or G (what the peers need)\n"
	       "          -M, --shm-name NAME    a POSIX object      (default: a sealed memfd)\n"
	       "          -m, --shm-path PATH    a file, or an unnamed one in that folder\n"
	       "              --mailbox WHERE    NAME or PATH: as -M or as -m\n"
	       "              --layout WHAT      auto, lanes, slots or plain (auto)\n"
	       "server        --personality P    genz or none (genz)  --dialect fee|famez\n"
	       "socket    -S, --socketpath PATH  (/run/famez.sock, $XDG_RUNTIME_DIR/famez.sock)\n"
	       "              --socket-mode M    octal, such as 0660\n"
	       "              --socket-owner O   USER, USER:GROUP or :GROUP; --socket-group G\n"
	       "admission     --allow-uid LIST   users that may connect (all)  --allow-gid LIST\n"
	       "              --max-per-uid N    peers of one user         (as many as --peers)\n"
	       "              --joins-per-second N  of one user                (no limit)\n"
	       "              --zone FILE        who is told of whom; SIGHUP reads it again\n"
	       "              --bind FILE        which VM has which ID; SIGHUP reads it again\n"
	       "sandbox       --sandbox WHAT     auto, off or required (auto)\n"
	       "threads       --workers N        (one per CPU, at most 8)\n"
	       "              --cpus LIST        such as 0,2-3; workers are bound in turn\n"
	       "life      -F, --foreground       the default; --daemon: to the background\n"
	       "          -p, --pidfile FILE     --logfile FILE (stderr) --log-format text|json\n"
	       "              --no-keeper        one process, whose death is everybody's end\n"
	       "              --watchdog S       replace a broker that hangs for S seconds (60)\n"
	       "              --fdstore          systemd may restart it all: VMs don't notice\n"
	       "          -v, --verbose[=N]      log joins and leaves; 2: more\n"
	       "running   --stop, --upgrade      the server with this -S or -p; --force: stop it\n"
	       "                                 even if that strands VMs\n"
	       "          -h, --help, --version  --check: print what it would need, and exit\n"
	       "\n"
	       "Called as ivshmem-server: -n 1 -l 4M -M ivshmem -S /tmp/ivshmem_socket\n"
	       "--silent --daemon -p /var/run/ivshmem-server.pid. See famez-server(8).\n";
}

int options_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long value;
	const char *unit;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return -ERANGE;
	if (*end && *end != 'B') {
		unit = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end);
		if (!unit)
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (end[0] == 'i' && end[1] == 'B')
			end++;
	}
	if (*end == 'B')
		end++;
	if (*end)
		return -EINVAL;
	if (value > (UINT64_C(1) << 63) >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

static int parse_number(const char *text, uint64_t max, uint64_t *value)
{
	unsigned long long v;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno == ERANGE || v > max)
		return -ERANGE;
	*value = v;
	return 0;
}

int options_parse_cpus(const char *text, cpu_set_t *cpus)
{
	CPU_ZERO(cpus);
	for (;;) {
		unsigned long first, last;
		char *end;

		if (*text < '0' || *text > '9')
			return -EINVAL;
		errno = 0;
		first = last = strtoul(text, &end, 10);
		if (*end == '-') {
			text = end + 1;
			if (*text < '0' || *text > '9')
				return -EINVAL;
			last = strtoul(text, &end, 10);
		}
		if (errno || last >= CPU_SETSIZE)
			return -ERANGE;
		if (last < first)
			return -EINVAL;
		for (; first <= last; first++)
			CPU_SET(first, cpus);
		if (!*end)
			return 0;
		if (*end != ',')
			return -EINVAL;
		text = end + 1;
	}
}

int options_parse_owner(const char *text, uid_t *uid, gid_t *gid)
{
	const char *colon = strchr(text, ':');
	size_t bytes = colon ? (size_t)(colon - text) : strlen(text);
	char user[64];
	uint64_t number;

	*uid = (uid_t)-1;
	*gid = (gid_t)-1;
	if (bytes >= sizeof(user) || (!bytes && !colon))
		return -EINVAL;
	memcpy(user, text, bytes);
	user[bytes] = '\0';
	if (bytes) {
		const struct passwd *entry = getpwnam(user);

		if (entry)
			*uid = entry->pw_uid;
		else if (parse_number(user, UINT32_MAX - 1, &number) == 0)
			*uid = (uid_t)number;
		else
			return -EINVAL;
	}
	if (colon && colon[1]) {
		const struct group *entry = getgrnam(colon + 1);

		if (entry)
			*gid = entry->gr_gid;
		else if (parse_number(colon + 1, UINT32_MAX - 1, &number) == 0)
			*gid = (gid_t)number;
		else
			return -EINVAL;
	} else if (colon) {
		return -EINVAL;
	}
	return 0;
}

static bool find_id(const char *word, bool groups, uint32_t *id)
{
	const struct group *group = groups ? getgrnam(word) : NULL;
	const struct passwd *user = groups ? NULL : getpwnam(word);
	uint64_t number;

	if (group)
		*id = group->gr_gid;
	else if (user)
		*id = user->pw_uid;
	else if (parse_number(word, UINT32_MAX - 1, &number) == 0)
		*id = (uint32_t)number;
	else
		return false;
	return true;
}

int options_parse_ids(const char *text, bool groups, uint32_t *ids, unsigned most)
{
	unsigned count = 0;

	for (;;) {
		size_t bytes = strcspn(text, ",");
		char word[64];

		if (!bytes || bytes >= sizeof(word) || count == most)
			return -EINVAL;
		memcpy(word, text, bytes);
		word[bytes] = '\0';
		if (!find_id(word, groups, &ids[count]))
			return -EINVAL;
		count++;
		if (!text[bytes])
			return (int)count;
		text += bytes + 1;
	}
}

static int wrong(struct why *why, const char *option, const char *value, const char *right)
{
	return why_fail(why, -EINVAL, "%s: \"%.64s\" won't do; want %s", option, value, right);
}

static int take_number(struct why *why, const char *option, const char *text, uint64_t min,
	uint64_t max, uint64_t *value)
{
	int err = parse_number(text, max, value);

	if (!err && *value >= min)
		return 0;
	return why_fail(why, -EINVAL, "%s: \"%.64s\" won't do; want a number from %llu to %llu",
		option, text, (unsigned long long)min, (unsigned long long)max);
}

static int take_ids(struct why *why, const char *option, const char *text, bool groups,
	uint32_t *ids, uint16_t *count)
{
	int found = options_parse_ids(text, groups, ids, ADMIT_LIST_MAX);

	if (found < 0)
		return wrong(why, option, text,
			groups ? "at most 64 groups, names or numbers, with commas between them"
			       : "at most 64 users, names or numbers, with commas between them");
	*count = (uint16_t)found;
	return 0;
}

static int take_file(struct why *why, const char *option, const char *path, const char **file)
{
	if (!*path)
		return wrong(why, option, path, "the path of a file");
	*file = path;
	return 0;
}

static int take_size(struct options *o, const char *text, struct why *why)
{
	uint64_t bytes;
	int err = options_parse_size(text, &bytes);

	if (err == -EINVAL || (!err && bytes == 0))
		return wrong(why, "--size", text, "bytes, or a number with K, M or G, such as 4M");
	if (err || !memory_round(bytes))
		return wrong(why, "--size", text, "at most 1024G, which is what a guest can map");
	o->memory_asked = bytes;
	o->memory_bytes = memory_round(bytes);
	return 0;
}

/* A POSIX object's name: one path component, with or without a leading slash. */
static int take_shm(struct options *o, const char *option, const char *name, struct why *why)
{
	const char *bare = name[0] == '/' ? name + 1 : name;

	if (!*bare || strchr(bare, '/') || strcmp(bare, ".") == 0 || strcmp(bare, "..") == 0 ||
		strlen(bare) > 250)
		return wrong(why, option, name, "a name without slashes, such as ivshmem");
	o->memory = MEMORY_SHM;
	o->memory_name = name;
	return 0;
}

static int take_path(struct options *o, const char *option, const char *path, struct why *why)
{
	if (!*path || strlen(path) > 4000)
		return wrong(why, option, path, "the path of a file or of a folder");
	o->memory = MEMORY_PATH;
	o->memory_name = path;
	return 0;
}

static int take_layout(struct options *o, const char *text, struct why *why)
{
	if (strcmp(text, "auto") == 0)
		o->layout = WANT_AUTO;
	else if (strcmp(text, "lanes") == 0)
		o->layout = WANT_LANES;
	else if (strcmp(text, "slots") == 0)
		o->layout = WANT_SLOTS;
	else if (strcmp(text, "plain") == 0)
		o->layout = WANT_PLAIN;
	else
		return wrong(why, "--layout", text, "auto, lanes, slots or plain");
	return 0;
}

/* Peers that there is room for where nobody says how many. Between more of them lanes take a
 * memory that not every guest has address space for: it grows with their square, and with 64
 * of 64 KiB it is 512M. */
#define PEERS_DEFAULT       1000u
#define PEERS_DEFAULT_LANES 64u

static void set_defaults(struct options *o, const char *name)
{
	const char *base = strrchr(name, '/');

	*o = (struct options){
		.peers_default = PEERS_DEFAULT,
		.vectors = 4,
		.device_names = "*qemu*,kvm",
		.socket_mode = -1,
		.keeper = true,
		.watchdog_s = WATCHDOG_DEFAULT_S,
		.check_state = -1,
	};
	base = base ? base + 1 : name;
	if (strcmp(base, "ivshmem-server") != 0)
		return;
	/* QEMU contrib/ivshmem-server/main.c, DEFAULT_*; it never says no, so as many
	 * peers as there are IDs. */
	o->peers_default = FAMEZ_WIRE_ID_MAX + 1;
	o->vectors = 1;
	o->memory = MEMORY_SHM;
	o->memory_name = "ivshmem";
	o->memory_asked = o->memory_bytes = UINT64_C(4) << 20;
	o->socket_path = "/tmp/ivshmem_socket";
	o->pidfile = stock_pidfile;
	o->silent = true;
	o->daemon = true;
}

static int take_option(
	struct options *o, int option, const char *value, bool *vectors_given, struct why *why)
{
	uint64_t number = 0;
	unsigned mode_digits;
	uint32_t id;
	uid_t uid;
	gid_t gid;
	int err = 0;

	switch (option) {
	case 'h':
		o->help = true;
		break;
	case 'v':
		if (value)
			err = take_number(why, "--verbose", value, 0, 9, &number);
		o->verbose = value ? (unsigned)number : o->verbose + 1;
		break;
	case 'F':
		o->daemon = false;
		break;
	case 'p':
		o->pidfile = value;
		if (!*value)
			err = wrong(why, "--pidfile", value, "the path of a file");
		break;
	case 'S':
		o->socket_path = value;
		if (!*value)
			err = wrong(why, "--socketpath", value, "the path of a socket");
		if (strlen(value) >= sizeof(((struct sockaddr_un *)0)->sun_path))
			err = wrong(why, "--socketpath", value,
				"at most 107 bytes, which is what fits a UNIX socket");
		break;
	case 'm':
		err = take_path(o, "--shm-path", value, why);
		break;
	case 'M':
		err = take_shm(o, "--shm-name", value, why);
		break;
	case 'l':
		err = take_size(o, value, why);
		break;
	case 'n':
		err = take_number(why, "--vectors", value, 1, FAMEZ_WIRE_VECTORS_MAX, &number);
		o->vectors = (uint16_t)number;
		*vectors_given = true;
		break;
	case OPTION_PEERS:
		err = take_number(why, "--peers", value, 1, FAMEZ_WIRE_ID_MAX + 1, &number);
		o->peers = (uint32_t)number;
		break;
	case OPTION_NCLIENTS:
		err = take_number(why, "--nClients", value, 1, FAMEZ_WIRE_VECTORS_MAX - 2, &number);
		o->peers = (uint32_t)number;
		if (!*vectors_given)
			o->vectors = (uint16_t)(number + 2);
		break;
	case OPTION_SILENT:
		o->silent = true;
		break;
	case OPTION_LEAVES:
		if (strcmp(value, "auto") == 0)
			o->leaves = LEAVES_AUTO;
		else if (strcmp(value, "always") == 0)
			o->leaves = LEAVES_ALWAYS;
		else if (strcmp(value, "never") == 0)
			o->leaves = LEAVES_NEVER;
		else
			err = wrong(why, "--leaves", value, "auto, always or never");
		break;
	case OPTION_DEVICE_NAMES:
		o->device_names = value;
		if (!*value || strchr(value, '/'))
			err = wrong(why, "--device-names", value,
				"patterns of file names without slashes, such as *qemu*,kvm");
		break;
	case OPTION_STALL_TIMEOUT:
		err = take_number(why, "--stall-timeout", value, 0, 86400, &number);
		o->stall_timeout_s = (uint32_t)number;
		break;
	case OPTION_WORKERS:
		err = take_number(why, "--workers", value, 1, OPTIONS_WORKERS_MAX, &number);
		o->workers = (uint16_t)number;
		break;
	case OPTION_CPUS:
		if (options_parse_cpus(value, &o->cpus))
			err = wrong(why, "--cpus", value, "numbers and ranges, such as 0,2-3");
		o->pin = true;
		break;
	case OPTION_SOCKET_MODE:
		mode_digits = (unsigned)strspn(value, "01234567");
		if (!mode_digits || value[mode_digits] || strtoul(value, NULL, 8) > 0777)
			err = wrong(why, "--socket-mode", value, "an octal mode from 0 to 0777");
		else
			o->socket_mode = (int)strtoul(value, NULL, 8);
		break;
	case OPTION_SOCKET_OWNER:
		o->socket_owner = value;
		if (options_parse_owner(value, &uid, &gid))
			err = wrong(why, "--socket-owner", value,
				"USER, USER:GROUP or :GROUP that this system knows");
		break;
	case OPTION_SOCKET_GROUP:
		o->socket_group = value;
		if (options_parse_ids(value, true, &id, 1) != 1)
			err = wrong(why, "--socket-group", value, "a group that this system knows");
		break;
	case OPTION_ALLOW_UID:
		err = take_ids(
			why, "--allow-uid", value, false, o->admit.uids, &o->admit.uids_count);
		break;
	case OPTION_ALLOW_GID:
		err = take_ids(
			why, "--allow-gid", value, true, o->admit.gids, &o->admit.gids_count);
		break;
	case OPTION_MAX_PER_UID:
		err = take_number(why, "--max-per-uid", value, 1, FAMEZ_WIRE_ID_MAX + 1, &number);
		o->admit.peers_per_uid = (uint32_t)number;
		break;
	case OPTION_JOINS_PER_SECOND:
		err = take_number(why, "--joins-per-second", value, 1, 1000000, &number);
		o->admit.joins_per_second = (uint32_t)number;
		break;
	case OPTION_ZONE:
		err = take_file(why, "--zone", value, &o->zone_file);
		break;
	case OPTION_BIND:
		err = take_file(why, "--bind", value, &o->bind_file);
		break;
	case OPTION_DAEMON:
		o->daemon = true;
		break;
	case OPTION_LOGFILE:
		o->logfile = value;
		if (!*value)
			err = wrong(why, "--logfile", value, "the path of a file");
		break;
	case OPTION_LOG_FORMAT:
		if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
			err = wrong(why, "--log-format", value, "text or json");
		o->log_json = strcmp(value, "json") == 0;
		break;
	case OPTION_MAILBOX:
		/* FAME-Z's: a bare name is an object in /dev/shm. */
		err = *value && !strchr(value, '/') ? take_shm(o, "--mailbox", value, why)
						    : take_path(o, "--mailbox", value, why);
		break;
	case OPTION_LAYOUT:
		err = take_layout(o, value, why);
		break;
	case OPTION_DIALECT:
		if (strcmp(value, "fee") != 0 && strcmp(value, "famez") != 0)
			err = wrong(why, "--dialect", value, "fee or famez");
		o->dialect = strcmp(value, "famez") == 0 ? DIALECT_FAMEZ : DIALECT_FEE;
		break;
	case OPTION_PERSONALITY:
		if (strcmp(value, "genz") != 0 && strcmp(value, "none") != 0)
			err = wrong(why, "--personality", value, "genz or none");
		o->personality = strcmp(value, "none") == 0 ? PERSONALITY_NONE : PERSONALITY_GENZ;
		break;
	case OPTION_SANDBOX:
		if (strcmp(value, "auto") == 0)
			o->sandbox = SANDBOX_AUTO;
		else if (strcmp(value, "off") == 0)
			o->sandbox = SANDBOX_OFF;
		else if (strcmp(value, "required") == 0)
			o->sandbox = SANDBOX_REQUIRED;
		else
			err = wrong(why, "--sandbox", value, "auto, off or required");
		break;
	case OPTION_CHECK:
		o->check = true;
		break;
	case OPTION_CHECK_STATE:
		err = take_number(why, "--check-state", value, 0, INT32_MAX, &number);
		o->check_state = (int)number;
		break;
	case OPTION_NO_KEEPER:
		o->keeper = false;
		break;
	case OPTION_WATCHDOG:
		err = take_number(why, "--watchdog", value, 0, 86400, &number);
		o->watchdog_s = (uint32_t)number;
		break;
	case OPTION_FDSTORE:
		o->fdstore = true;
		break;
	case OPTION_STOP:
		o->control = CONTROL_STOP;
		break;
	case OPTION_FORCE:
		o->force = true;
		break;
	case OPTION_UPGRADE:
		o->control = CONTROL_UPGRADE;
		break;
	case OPTION_VERSION:
		o->version = true;
		break;
	default:
		assert(!"an option in the table that nobody takes");
	}
	return err;
}

/* What only holds between options. */
static int check_together(const struct options *o, struct why *why)
{
	if (o->force && o->control != CONTROL_STOP)
		return why_fail(why, -EINVAL, "--force: only together with --stop");
	if (o->peers > options_peers_most(o))
		return why_fail(why, -EINVAL,
			"--peers: %u won't do; want at most %u, as IDs have 16 bits and the server "
			"takes one (65536 with --silent and a plain layout)",
			o->peers, options_peers_most(o));
	return 0;
}

uint32_t options_first_id(const struct options *o)
{
	return o->silent && o->layout == WANT_PLAIN ? 0 : 1;
}

uint32_t options_peers_most(const struct options *o)
{
	return options_first_id(o) ? FAMEZ_WIRE_ID_MAX - 1 : FAMEZ_WIRE_ID_MAX + 1;
}

int options_parse(struct options *o, int argc, char **argv, struct why *why)
{
	bool vectors_given = false;
	int option, err;

	set_defaults(o, argc > 0 ? argv[0] : "famez-server");
	opterr = 0;
	optind = 0; /* getopt(3): start anew */
	while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";

		if (option == ':')
			return why_fail(why, -EINVAL, "%.64s: wants a value; see --help", word);
		if (option == '?' && optopt && optopt < 256)
			return why_fail(why, -EINVAL, "-%c: no such option; see --help", optopt);
		if (option == '?')
			return why_fail(why, -EINVAL,
				"%.64s: no such option, or it takes no value; see --help", word);
		err = take_option(o, option, optarg, &vectors_given, why);
		if (err)
			return err;
	}
	if (optind < argc)
		return why_fail(why, -EINVAL, "\"%.64s\": only options are taken; see --help",
			argv[optind]);
	/* As ivshmem-server, the pid file is the daemon's, unless asked for. */
	if (!o->daemon && o->pidfile == stock_pidfile)
		o->pidfile = NULL;
	/* Who is silent serves users with their own idea of the memory. */
	if (o->silent && o->layout == WANT_AUTO)
		o->layout = WANT_PLAIN;
	/* A size that was given does not grow: as many peers as it serves without lanes. */
	if (!o->memory_bytes && (o->layout == WANT_AUTO || o->layout == WANT_LANES))
		o->peers_default = PEERS_DEFAULT_LANES;
	return check_together(o, why);
}
