/* SPDX-License-Identifier: MIT */
/*
 * budget.c - what a fabric of a given size needs, and whether it may be had.
 *
 * Changes nothing but this process's soft limit of open files.
 */
#include "budget.h"

#include <asm/unistd.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "famez/wire.h"
#include "heap.h"
#include "log.h"
#include "registrar.h"
#include "roster.h"
#include "sys.h"
#include "worker.h"

/* Descriptors however many peers there are: standard three, log, its next while it is
 * rotated, socket, its lock, memory, signals, registrar's ring and wakeup, logger's
 * wakeup, a newcomer being refused, a folder and a file under /proc: 15; the state, and during
 * an upgrade the program before: 17; and who was refused and has not closed. Each worker: ring,
 * wakeup, and two under /proc. */
#define OWN_DESCRIPTORS    (18u + REFUSALS_MAX)
#define WORKER_DESCRIPTORS 4u

/* What was there before us, nearly all of it libstdc++'s, which Debian's jemalloc brings along
 * and which sets memory by for exceptions; and what comes with a thread: the C library's table
 * of where its thread-local variables are. */
#define LIBRARIES_BYTES (UINT64_C(96) << 10)
#define THREAD_BYTES    448u

static uint64_t power_of_two(uint64_t at_least)
{
	uint64_t n = 4;

	while (n < at_least)
		n *= 2;
	return n;
}

static uint64_t table(uint64_t count, size_t bytes)
{
	return heap_given(count * bytes);
}

/* Workers that share the server's inbox. Each must be reached by a vector of its own, unless
 * the vector is the sender's ID: then whose it is follows from that. */
static uint16_t count_shards(const struct options *o, uint32_t peers, uint16_t workers)
{
	uint16_t shards = workers < FAMEZ_SHARDS_MAX ? workers : FAMEZ_SHARDS_MAX;

	return shards < o->vectors || o->vectors >= peers + 2 ? shards : o->vectors;
}

static void state_of(const struct budget *b, const struct options *o, enum mailbox_layout layout,
	struct state_wish *wish)
{
	*wish = (struct state_wish){
		.memory_bytes = b->shared_bytes,
		.ids_max = b->ids_max,
		.first_id = b->first_id,
		.peers = b->peers,
		.server_id = b->server_id,
		.vectors = o->vectors,
		.workers = b->workers,
		.shards = o->silent || layout == LAYOUT_PLAIN ? 0 : b->shards,
		.layout = (uint16_t)layout,
		.old_slots = o->dialect == DIALECT_FAMEZ,
	};
}

void budget_state_wish(const struct budget *b, const struct options *o, struct state_wish *wish)
{
	state_of(b, o, b->layout, wish);
}

/* Every table that is made before the socket opens stands here; a room that makes several
 * says itself what they take. */
static void sum_up(struct budget *b, const struct options *o, enum mailbox_layout layout)
{
	uint64_t ids = b->ids_max, workers = b->workers;
	struct state_wish state;
	uint32_t places = b->peers + 2; /* in the mailbox */

	b->tables_bytes =
		table(ids, sizeof(struct peer)) + table(ids, sizeof(struct account)) +
		table(ids, sizeof(struct report_peer)) + table(b->peers, sizeof(struct member)) +
		table(b->peers, sizeof(struct watcher)) + table(1 + b->gates, sizeof(struct port)) +
		workers * worker_table_bytes(b->ids_max);
	b->vector_bytes = ids * o->vectors * sizeof(int);
	if (!o->silent)
		b->vector_bytes += table(o->vectors, sizeof(struct own_bell)) +
				   table(o->vectors, sizeof(uint64_t));
	b->held_bytes = ids * VIEW_HELD_WORDS(ids) * sizeof(unsigned long);
	/* The rest of the state. */
	state_of(b, o, layout, &state);
	b->tables_bytes += state_bytes(&state) - state_groups_bytes(&state) -
			   state_logs_bytes(&state) - b->held_bytes -
			   ids * o->vectors * sizeof(int) - workers * sizeof(struct state_worker);
	/* Pages that nobody writes where there are no rules. */
	if (!o->zone_file && !o->bind_file)
		b->tables_bytes -= sizeof(struct rules_memory);
	/* All groups; none where nobody serves the server's inbox. */
	b->mail_bytes = state_groups_bytes(&state);
	/* Who is in the mailbox is remembered apart from it, as nothing there is trusted. */
	if (layout != LAYOUT_PLAIN)
		b->tables_bytes += table(places, sizeof(struct mailbox_member));
	if (layout != LAYOUT_PLAIN && !o->silent)
		b->mail_bytes += mail_bytes(places, b->shards, o->vectors >= places);
	b->base_bytes = LIBRARIES_BYTES + workers * THREAD_BYTES + log_bytes(b->workers + 1u) +
			state_logs_bytes(&state) + table(workers, sizeof(struct worker)) +
			workers * worker_base_bytes() + workers * sizeof(struct state_worker) +
			table(workers, sizeof(uint32_t)) + table(workers, sizeof(uint64_t)) +
			table(workers, sizeof(struct report_mail));
	b->memory =
		b->tables_bytes + b->vector_bytes + b->held_bytes + b->mail_bytes + b->base_bytes;
}

void budget_of(struct budget *b, const struct options *o, uint32_t peers, uint16_t workers)
{
	*b = (struct budget){
		.peers = peers,
		.workers = workers,
		.shards = count_shards(o, peers, workers),
		.first_id = options_first_id(o),
		.server_id = o->silent ? ROSTER_NOBODY : peers + 1,
		.ids_max = options_first_id(o) ? peers + 2 : peers,
		.sockets = peers,
		.eventfds = (uint64_t)(o->silent ? peers : peers + 1) * o->vectors,
		.gates = !o->bind_file       ? 0
			 : peers < BINDS_MAX ? peers
					     : BINDS_MAX,
		.own = OWN_DESCRIPTORS + WORKER_DESCRIPTORS * (uint64_t)workers,
	};
	b->descriptors = b->sockets + b->gates + b->eventfds + b->own;
	b->ring_bytes =
		workers *
		(power_of_two(worker_submissions(b->ids_max, b->shards)) *
				sizeof(struct io_uring_sqe) +
			power_of_two(worker_completions(b->ids_max, o->vectors, b->shards)) *
				sizeof(struct io_uring_cqe));
	/* What is laid out is settled later, and won't take more. */
	sum_up(b, o, o->layout == WANT_PLAIN ? LAYOUT_PLAIN : LAYOUT_LANES);
}

/* Half of the machine's memory is what we would ever ask for. */
static uint64_t memory_limit(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
}

/* The most peers that @limit descriptors and this machine's memory allow. */
static uint32_t peers_within(
	const struct options *o, uint16_t workers, uint64_t limit, uint32_t most)
{
	uint32_t low = 0, high = most;
	struct budget b;

	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;

		budget_of(&b, o, middle, workers);
		if (b.descriptors <= limit && b.memory <= memory_limit())
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* How many descriptors this process could have: with CAP_SYS_RESOURCE the hard limit
 * can be raised, up to the system's own; whether we have that is tried. */
static uint64_t largest_limit(struct rlimit *now)
{
	FILE *file = fopen("/proc/sys/fs/nr_open", "re"); /* proc(5) */
	uint64_t nr_open = 0;
	char text[32];

	if (file) {
		if (fgets(text, sizeof(text), file))
			nr_open = strtoull(text, NULL, 10);
		(void)fclose(file);
	}
	if (nr_open > now->rlim_max) {
		struct rlimit raised = {.rlim_cur = now->rlim_cur, .rlim_max = nr_open};

		if (sys_setrlimit(RLIMIT_NOFILE, &raised) == 0)
			*now = raised;
	}
	return now->rlim_max;
}

/* As far as we may, not just as far as we need: the kernel also measures descriptors in
 * flight, those that clients have not read yet, against the soft limit (unix(7),
 * ETOOMANYREFS). */
static int raise_limit(const struct rlimit *now)
{
	struct rlimit wanted = {.rlim_cur = now->rlim_max, .rlim_max = now->rlim_max};

	return now->rlim_cur == now->rlim_max ? 0 : sys_setrlimit(RLIMIT_NOFILE, &wanted);
}

/* May we have any number of descriptors in flight? capabilities(7). */
static bool in_flight_unlimited(void)
{
	static const unsigned wanted[] = {CAP_SYS_RESOURCE, CAP_SYS_ADMIN};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(__NR_capget, &header, data) != 0)
		return false;
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		if (data[CAP_TO_INDEX(wanted[i])].effective & CAP_TO_MASK(wanted[i]))
			return true;
	return false;
}

/* ---- the shared memory ------------------------------------------------------------------ */

/* Of a memory that nobody asked a size of and that has no lanes. */
#define PLAIN_BYTES (UINT64_C(64) << 20)
/* Lanes are made of this size, or as small as they can be where that would be beyond what
 * the PCI window of a usual guest has room for. */
#define LANE_BYTES_WANTED (UINT32_C(64) << 10)
#define LANES_BYTES_MAX   (UINT64_C(4) << 30)

/* Slots, directory and lanes also have a place for ID 0 and one for the server. */
static uint32_t ids_of(uint32_t peers)
{
	return peers + 2;
}

static bool lanes_fit(uint32_t peers, uint64_t bytes)
{
	struct famez_geometry g;

	return famez_geometry_of(&g, bytes, ids_of(peers)) == 0;
}

/* The least size that has lanes, 0 where none has. */
static uint64_t lanes_need(uint32_t peers)
{
	return memory_round(famez_geometry_needs(ids_of(peers), FAMEZ_LANE_BYTES_MIN));
}

static uint64_t wanted_bytes(const struct options *o, uint32_t peers)
{
	uint64_t bytes;

	if (o->memory_bytes)
		return o->memory_bytes;
	if (o->layout == WANT_PLAIN || o->layout == WANT_SLOTS)
		return PLAIN_BYTES;
	bytes = memory_round(famez_geometry_needs(ids_of(peers), LANE_BYTES_WANTED));
	if (!bytes || bytes > LANES_BYTES_MAX)
		bytes = lanes_need(peers);
	return bytes ? bytes : PLAIN_BYTES;
}

/* The most peers that have lanes in so many bytes. */
static uint32_t peers_with_lanes(uint64_t bytes)
{
	uint32_t low = 0, high = FAMEZ_WIRE_ID_MAX - 1;

	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;

		if (lanes_fit(middle, bytes))
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

static void size_text(uint64_t bytes, char *text, size_t room)
{
	static const char *const units[] = {"", "K", "M", "G"};
	unsigned unit = 0;

	for (; unit < 3 && bytes % 1024 == 0; unit++)
		bytes /= 1024;
	(void)snprintf(text, room, "%" PRIu64 "%s", bytes, units[unit]);
}

void budget_advice(const struct budget *b, char *text, size_t bytes)
{
	uint64_t size = lanes_need(b->peers);
	uint32_t peers = peers_with_lanes(size ? b->shared_bytes : MEMORY_BYTES_MAX);
	const char *how = b->existing ? "a memory of" : "-l";
	char of_size[24];

	size_text(size, of_size, sizeof(of_size));
	if (size && peers)
		(void)snprintf(text, bytes, "%s %s, or --peers %u", how, of_size, peers);
	else if (size)
		(void)snprintf(text, bytes, "%s %s", how, of_size);
	else
		(void)snprintf(text, bytes, "at most --peers %u", peers);
}

static int does_not_fit(const struct budget *b, const struct options *o, struct why *why)
{
	uint64_t slots = memory_round((uint64_t)ids_of(b->peers) * FAMEZ_SLOT_BYTES);
	char advice[64], size[24];

	size_text(b->shared_bytes, size, sizeof(size));
	if (o->layout == WANT_SLOTS) {
		char enough[24];

		size_text(slots, enough, sizeof(enough));
		return why_fail(why, -EFBIG,
			"memory: %s are too few for slots for %u peers; want %s %s, or --peers "
			"%" PRIu64,
			size, b->peers, b->existing ? "a memory of" : "-l", enough,
			b->shared_bytes / FAMEZ_SLOT_BYTES - 2);
	}
	budget_advice(b, advice, sizeof(advice));
	return why_fail(why, -EFBIG,
		"memory: %s are too few for lanes between %u peers; want %s, or --layout %s", size,
		b->peers, advice, slots <= b->shared_bytes ? "slots or plain" : "plain");
}

static int choose_layout(struct budget *b, const struct options *o, uint64_t bytes, struct why *why)
{
	bool slots_fit = (uint64_t)ids_of(b->peers) * FAMEZ_SLOT_BYTES <= bytes;
	struct famez_geometry g;

	b->shared_bytes = bytes;
	b->lane_bytes = 0;
	b->layout = LAYOUT_PLAIN;
	if (o->layout == WANT_PLAIN)
		return 0;
	if (o->layout != WANT_SLOTS && famez_geometry_of(&g, bytes, ids_of(b->peers)) == 0) {
		b->layout = LAYOUT_LANES;
		b->lane_bytes = g.lane_bytes;
		return 0;
	}
	if (o->layout == WANT_LANES || (o->layout == WANT_SLOTS && !slots_fit))
		return does_not_fit(b, o, why);
	/* Whoever gave both must mean something by it. With one given, or none, everything
	 * must start that started when there were no lanes. */
	if (o->layout == WANT_AUTO && o->peers && o->memory_bytes)
		return does_not_fit(b, o, why);
	/* Slots that nobody can use are not worth it: this may be a memory whose users have an
	 * idea of their own what is in it, as with QEMU's server. */
	if (slots_fit && (o->layout == WANT_SLOTS || o->vectors >= ids_of(b->peers)))
		b->layout = LAYOUT_SLOTS;
	return 0;
}

int budget_mailbox(struct budget *b, const struct options *o, uint64_t bytes, struct why *why)
{
	int err = choose_layout(b, o, bytes, why);

	if (!err)
		sum_up(b, o, b->layout);
	return err;
}

int budget_fit(struct budget *b, const struct options *o, uint16_t workers, struct why *why)
{
	uint32_t most = options_peers_most(o);
	uint32_t peers = o->peers, fit;
	uint64_t limit;
	struct rlimit now;
	int err;

	if (getrlimit(RLIMIT_NOFILE, &now) != 0)
		return why_fail(why, -errno, "limits: getrlimit: %s", strerror(errno));
	limit = largest_limit(&now);
	if (!peers)
		peers = peers_within(
			o, workers, limit, o->peers_default < most ? o->peers_default : most);
	budget_of(b, o, peers ? peers : 1, workers);
	err = b->descriptors > limit ? -EMFILE : raise_limit(&now);
	fit = err ? peers_within(o, workers, limit, most) : peers;
	if (!fit) {
		budget_of(b, o, 1, workers);
		return why_fail(why, -EMFILE,
			"limits: at most %" PRIu64
			" open files are allowed, too few for one peer with "
			"%u vectors, which needs %" PRIu64
			"; allow more (ulimit -Hn, or LimitNOFILE= in "
			"the systemd unit)",
			limit, o->vectors, b->descriptors);
	}
	if (err)
		return why_fail(why, -EMFILE,
			"limits: %u peers with %u vectors need %" PRIu64
			" open files, and at most %" PRIu64 " are allowed; ask for at most --peers "
			"%u, or allow more (ulimit -Hn %" PRIu64 ", or LimitNOFILE=%" PRIu64
			" in the systemd unit)",
			b->peers, o->vectors, b->descriptors, limit, fit, b->descriptors,
			b->descriptors);
	b->in_flight = in_flight_unlimited() ? UINT64_MAX : limit;
	if (b->memory > memory_limit())
		return why_fail(why, -ENOMEM,
			"limits: %u peers with %u vectors need %" PRIu64
			" MiB of memory, more than half of what this machine has; ask for fewer "
			"with "
			"--peers",
			b->peers, o->vectors, b->memory >> 20);
	return budget_mailbox(b, o, wanted_bytes(o, b->peers), why);
}

void budget_print(const struct budget *b, const struct options *o)
{
	(void)printf("fabric       peers                %12u   IDs %u to %u\n", b->peers,
		b->first_id, b->first_id + b->peers - 1);
	(void)printf("             vectors              %12u   each\n", o->vectors);
	if (!o->silent)
		(void)printf("             the server's ID      %12u\n", b->server_id);
	(void)printf("             shared memory        %12" PRIu64 "   bytes, sparse\n",
		b->shared_bytes);
	(void)printf("             layout               %12s\n", mailbox_layout_name(b->layout));
	if (b->layout == LAYOUT_LANES)
		(void)printf("             a lane               %12u   bytes, one a pair and way\n",
			b->lane_bytes);
	(void)printf("             workers              %12u\n", b->workers);
	(void)printf("descriptors  sockets              %12" PRIu64 "\n", b->sockets);
	if (b->gates)
		(void)printf("             own sockets of IDs   %12" PRIu64
			     "   at most: --bind's file may come to name them\n",
			b->gates);
	(void)printf("             eventfds             %12" PRIu64 "\n", b->eventfds);
	(void)printf("             own                  %12" PRIu64 "\n", b->own);
	(void)printf("             together             %12" PRIu64
		     "   the limit of open files that famez-server needs\n",
		b->descriptors);
	(void)printf("             of each client       %12" PRIu64
		     "   the limit that a QEMU needs, its own included\n",
		b->eventfds + PROCESS_RESERVE);
	(void)printf("             stored by systemd    %12" PRIu64
		     "   FileDescriptorStoreMax= for --fdstore\n",
		b->sockets + b->gates + b->eventfds + STORED_BESIDES);
	(void)printf("memory       peers                %12" PRIu64 "   bytes, %" PRIu64 " each\n",
		b->tables_bytes, b->tables_bytes / b->ids_max);
	(void)printf("             vectors              %12" PRIu64 "\n", b->vector_bytes);
	(void)printf("             who holds whom       %12" PRIu64 "   one bit a pair\n",
		b->held_bytes);
	(void)printf("             the server's mail    %12" PRIu64 "\n", b->mail_bytes);
	(void)printf("             queues and logs      %12" PRIu64 "\n", b->base_bytes);
	(void)printf(
		"             together             %12" PRIu64 "   bytes of our own\n", b->memory);
	(void)printf("             kernel rings         %12" PRIu64
		     "   bytes besides; sockets and eventfds are the kernel's, too\n",
		b->ring_bytes);
	if (b->in_flight != UINT64_MAX)
		(void)printf("in flight    descriptors          %12" PRIu64
			     "   unread at once, of all clients together\n",
			b->in_flight);
}
