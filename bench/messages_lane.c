/* SPDX-License-Identifier: MIT */
/*
 * messages_lane.c - the mailbox's lanes as systems: include/famez/ alone, without a server and
 * without libfamez; and the same with one technique taken away.
 *
 * The file is laid out as a server would for as many peers, with lanes of 1 MiB. Everybody
 * receives through an inbox (inbox.h), as all do who use the mailbox.
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "famez/inbox.h"
#include "messages.h"

#define IDS        (PEERS_MAX + 2u)
#define LANE_BYTES (1u << 20)
#define GENERATION 1u
#define POLL_NS    20000u

/* What is done, or left out; constant in every variant. */
struct lane_mode {
	bool sleeps;
	bool polls;         /* before it sleeps */
	bool yields;        /* instead of pausing */
	bool index;         /* not the record's word says that it is there, but `produced` */
	bool limit_each;    /* the sender looks at `consumed` for each message */
	bool consumed_each; /* the receiver gives each message back */
	bool rings_each;    /* a doorbell a flush, whether or not the receiver sleeps */
};

struct lane_area {
	struct famez_geometry g;
	void *base;
	int bells[PEERS_MAX];
};

struct lane_end {
	struct famez_inbox_reader inbox; /* first: open and ring find us by it */
	struct famez_tx tx;
	struct famez_rx *taken;
	struct lane_area *area;
	uint32_t id, other, rung;
	struct famez_rx lanes[IDS];
	uint64_t seen[IDS]; /* index: `produced` as we know it */
};

static int lane_prepare(struct run *r)
{
	static struct lane_area only; /* one run a process */
	struct lane_area *area = &only;
	uint64_t bytes = 4096;
	int fd = memfd_create("lanes", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (bytes < famez_geometry_needs(IDS, LANE_BYTES))
		bytes *= 2;
	if (famez_geometry_of(&area->g, bytes, IDS) || area->g.lane_bytes != LANE_BYTES)
		return -EINVAL;
	if (ftruncate(fd, (off_t)bytes))
		return -errno;
	area->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area->base == MAP_FAILED)
		return -errno;
	(void)close(fd);
	for (uint32_t i = 0; i <= r->senders; i++) {
		area->bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (area->bells[i] < 0)
			return -errno;
	}
	r->area = area;
	return 0;
}

static void lane_ring(const struct lane_end *e, uint32_t id)
{
	uint64_t one = 1;

	if (write(e->area->bells[id - 1], &one, sizeof(one)) != sizeof(one))
		die("an eventfd", errno);
}

/* As a careful peer waits: whoever holds an eventfd may have switched it to blocking. */
static void lane_sleep(const struct lane_end *e)
{
	struct pollfd bell = {.fd = e->area->bells[e->id - 1], .events = POLLIN};
	uint64_t count;

	(void)poll(&bell, 1, (int)(FAMEZ_TICK_NS / 1000000));
	(void)!read(bell.fd, &count, sizeof(count));
}

static struct famez_rx *lane_opened(struct famez_inbox_reader *inbox, uint32_t sender)
{
	struct lane_end *e = (struct lane_end *)inbox;

	if (!e->lanes[sender].data)
		famez_rx_open(
			&e->lanes[sender], inbox->base, inbox->g, inbox->id, sender, GENERATION);
	return &e->lanes[sender];
}

static void lane_room(struct famez_inbox_reader *inbox, uint32_t sender)
{
	lane_ring((struct lane_end *)inbox, sender);
}

/* Peer `who` has the ID who + 1. */
static void *lane_open(struct run *r, uint32_t who)
{
	struct lane_area *area = r->area;
	struct lane_end *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);

	if (!e)
		die("memory", ENOMEM);
	*e = (struct lane_end){.area = area, .id = who + 1, .other = who ? 1 : 2};
	e->inbox = (struct famez_inbox_reader){
		.base = area->base,
		.g = &area->g,
		.id = e->id,
		.shards = 1,
		.open = lane_opened,
		.ring = lane_room,
	};
	famez_tx_open(&e->tx, area->base, &area->g, e->other, e->id, GENERATION, GENERATION);
	return e;
}

static void lane_close(void *end)
{
	free(end);
}

ALWAYS_INLINE void lane_flush(struct lane_end *e, const struct lane_mode *mode)
{
	if (!famez_tx_flush(&e->tx))
		return;
	if (famez_nudge(e->area->base, &e->area->g, e->other, e->id, &e->rung)) {
		e->tx.rings++;
		lane_ring(e, e->other);
	} else if (mode->rings_each) {
		lane_ring(e, e->other);
	}
}

/* How one waits who found nothing @*looks times in a row. True: sleep now. */
ALWAYS_INLINE bool lane_wait(const struct lane_mode *mode, uint32_t *looks, uint64_t *since_ns)
{
	(*looks)++;
	if (mode->sleeps && !mode->polls)
		return true;
	if (mode->yields && *looks % 64 == 0)
		(void)sched_yield();
	else
		relax();
	if (!mode->sleeps)
		return false;
	if (*looks == 1)
		*since_ns = clock_wall_ns();
	return *looks % 16 == 0 && clock_wall_ns() - *since_ns >= POLL_NS;
}

ALWAYS_INLINE void *lane_claim(struct lane_end *e, const struct lane_mode *mode, size_t bytes)
{
	void *place;
	uint64_t since_ns = 0;
	uint32_t looks = 0;

	if (mode->limit_each)
		(void)famez_tx_look(&e->tx, famez_load_acquire(&e->tx.lane->consumed));
	while (__builtin_expect(famez_tx_claim(&e->tx, bytes, &place), 0)) {
		lane_flush(e, mode);
		if (lane_wait(mode, &looks, &since_ns)) {
			if (!famez_tx_wait(&e->tx, bytes))
				lane_sleep(e);
			looks = 0;
		}
	}
	return place;
}

ALWAYS_INLINE void lane_put(struct lane_end *e, const struct lane_mode *mode, const void *payload,
	size_t bytes, bool more)
{
	memcpy(lane_claim(e, mode, bytes), payload, bytes);
	famez_tx_commit(&e->tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), (uint16_t)e->id);
	if (!more)
		lane_flush(e, mode);
}

/* The next message, unless `produced` must say so first and does not. */
ALWAYS_INLINE int lane_look(struct lane_end *e, const struct lane_mode *mode, struct famez_seen *m)
{
	if (mode->index && e->inbox.last) {
		struct famez_rx *rx = e->inbox.last->next;

		if (rx->at == e->seen[rx->sender])
			e->seen[rx->sender] = famez_load_acquire(&rx->lane->produced);
		if (rx->at == e->seen[rx->sender]) {
			e->inbox.last = rx;
			return 0;
		}
	}
	return famez_inbox_next(&e->inbox, m, &e->taken);
}

ALWAYS_INLINE struct got lane_take(struct lane_end *e, const struct lane_mode *mode)
{
	struct famez_seen m;
	uint64_t since_ns = 0;
	uint32_t looks = 0;
	int found;

	while (!__builtin_expect(found = lane_look(e, mode, &m), 1)) {
		if (famez_inbox_collect(&e->inbox) || !lane_wait(mode, &looks, &since_ns))
			continue;
		if (!famez_inbox_sleep(&e->inbox)) {
			lane_sleep(e);
			famez_inbox_awake(&e->inbox);
		}
		looks = 0;
	}
	if (found < 0)
		die("a lane", found);
	return (struct got){m.payload, m.bytes};
}

ALWAYS_INLINE void lane_done(struct lane_end *e, const struct lane_mode *mode)
{
	famez_inbox_release(&e->inbox, e->taken);
	if (mode->consumed_each) {
		famez_store_release(&e->taken->lane->consumed, e->taken->at);
		e->taken->published = e->taken->at;
	}
}

/* LANE(id, text, what is on...): one variant. */
#define LANE(id, text, ...)                                                                        \
	static const struct lane_mode id##_mode = {__VA_ARGS__};                                   \
	ALWAYS_INLINE void id##_put(void *end, const void *payload, size_t bytes, bool more)       \
	{                                                                                          \
		lane_put(end, &id##_mode, payload, bytes, more);                                   \
	}                                                                                          \
	ALWAYS_INLINE struct got id##_take(void *end)                                              \
	{                                                                                          \
		return lane_take(end, &id##_mode);                                                 \
	}                                                                                          \
	ALWAYS_INLINE void id##_done(void *end)                                                    \
	{                                                                                          \
		lane_done(end, &id##_mode);                                                        \
	}                                                                                          \
	SYSTEM(id, text, lane_prepare, lane_open, lane_close)

LANE(lane_hybrid, "lane", .sleeps = true, .polls = true);
LANE(lane_spin, "lane:spin", 0);
LANE(lane_yield, "lane:yield", .yields = true);
LANE(lane_event, "lane:event", .sleeps = true);
LANE(lane_index, "lane:index", .sleeps = true, .polls = true, .index = true);
LANE(lane_limit, "lane:limit-each", .sleeps = true, .polls = true, .limit_each = true);
LANE(lane_consumed, "lane:consumed-each", .sleeps = true, .polls = true, .consumed_each = true);
LANE(lane_bell, "lane:bell", .sleeps = true, .polls = true, .rings_each = true);

const struct system *const messages_lane[] = {&lane_hybrid, &lane_spin, &lane_yield, &lane_event,
	&lane_index, &lane_limit, &lane_consumed, &lane_bell, NULL};
