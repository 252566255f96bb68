/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/**
 * mailbox.h - the layout of the shared memory: slots, header, directory, inboxes, lanes.
 *
 * Plain structs, fixed-width and little-endian, offsets asserted. Compiles in user space
 * and in a Linux kernel module. docs/mailbox.md has the same as tables.
 *
 *   0              slots        ids x 512      v1: FAME-Z, F.E.E., EmerGen-Z; slot 0 is the header
 *   directory      entries      ids x 192      who is there: one broker line, two of the peer's
 *   inbox          inboxes      ids x stride   who has something for me, and am I asleep
 *   lane           controls     ids² x 192     [receiver][sender]
 *   data           lanes        ids² x lane    [receiver][sender], bytes of records
 *
 * Who may write what stands beside every line. Nobody is prevented from writing anything:
 * whatever is read here is hostile until checked, and geometry is taken once, by
 * famez_geometry_read(), into private memory.
 */
#ifndef FAMEZ_MAILBOX_H
#define FAMEZ_MAILBOX_H

#include "famez/atomic.h"

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/stddef.h>
#else
#include <errno.h>
#include <stddef.h>
#endif

/* FAMEZ_ZEROED: every field is zero. Each language warns of the other's way to say so. */
/* clang-format off */
#ifdef __cplusplus
#define FAMEZ_ASSERT_LAYOUT(what, text) static_assert(what, text)
#define FAMEZ_ZEROED                    {}
#else
#define FAMEZ_ASSERT_LAYOUT(what, text) _Static_assert(what, text)
#define FAMEZ_ZEROED                    {0}
#endif
/* clang-format on */

/* ---- v1: slots -------------------------------------------------------------------------- */

/** Bytes of a slot (FAME-Z famez_mailbox.py, F.E.E. ivshmsg_mailbox.py: slotsize). */
#define FAMEZ_SLOT_BYTES 512u
/** Where a slot's text begins (ibid., buf_offset), and how long it can be with its NUL. */
#define FAMEZ_SLOT_TEXT_OFFSET 128u
#define FAMEZ_SLOT_TEXT_BYTES  384u
/** Bytes of a node name or component class with its NUL (ibid.). */
#define FAMEZ_NAME_BYTES 32u

/** Slot 0, as v1 clients read it. The broker writes it once. */
struct famez_globals {
	uint64_t slot_bytes;  /* 512 */
	uint64_t text_offset; /* 128 */
	uint64_t clients;     /* most peers */
	uint64_t events;      /* clients + 2 */
	uint64_t server_id;   /* clients + 1 */
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_globals) == 40, "v1 globals");

/** Slot of peer i, at 512 x i, in F.E.E.'s layout. Peer i writes, unless said otherwise. */
struct famez_slot {
	char name[FAMEZ_NAME_BYTES];
	char cclass[FAMEZ_NAME_BYTES];
	uint64_t text_bytes; /* the receiver stores 0: taken */
	uint64_t peer_id;    /* = i; the broker writes it once */
	uint64_t last_responder;
	uint64_t peer_sid;
	uint64_t peer_cid;
	uint64_t unused[3];
	char text[FAMEZ_SLOT_TEXT_BYTES];
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_slot) == FAMEZ_SLOT_BYTES, "slot");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_slot, text_bytes) == 64, "F.E.E. buflen");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_slot, text) == FAMEZ_SLOT_TEXT_OFFSET, "buf");

/** The same in FAME-Z's older layout, which has no class. */
struct famez_slot_old {
	char name[FAMEZ_NAME_BYTES];
	uint64_t text_bytes;
	uint64_t peer_id;
	uint64_t last_responder;
	uint64_t peer_sid;
	uint64_t peer_cid;
	uint64_t unused[7];
	char text[FAMEZ_SLOT_TEXT_BYTES];
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_slot_old) == FAMEZ_SLOT_BYTES, "slot");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_slot_old, text_bytes) == 32, "FAME-Z buflen");

/* ---- v2: header ------------------------------------------------------------------------- */

#define FAMEZ_HEADER_OFFSET  64u
#define FAMEZ_HEADER_MAGIC   UINT64_C(0x325845424c49414d) /* "MAILBEX2", little-endian */
#define FAMEZ_HEADER_VERSION 2u

/** famez_header.features: slots are laid out as FAME-Z does (famez_slot_old). */
#define FAMEZ_FEATURE_OLD_SLOTS 1u
/** famez_header.features: there are enough vectors to ring vector = sender's ID. Without it
 * every message rings vector 0. */
#define FAMEZ_FEATURE_VECTOR_IS_SENDER 2u

#define FAMEZ_NOBODY UINT32_C(0xffffffff)

/** From byte 64 of slot 0. The broker writes it once; `version` last, with release. */
struct famez_header {
	uint64_t magic;
	uint32_t version;
	uint32_t features;
	uint64_t bytes;      /* of the file: a power of two */
	uint32_t ids;        /* peers + 2; IDs are 0 .. ids-1 */
	uint32_t server_id;  /* FAMEZ_NOBODY: the server is no peer */
	uint32_t vectors;    /* of every peer */
	uint32_t lane_bytes; /* a power of two, >= FAMEZ_LANE_BYTES_MIN */
	uint32_t inbox_bytes;
	uint32_t server_shards; /* how many `asleep` words the server's inbox has */
	uint64_t directory_offset;
	uint64_t inbox_offset;
	uint64_t lane_offset;
	uint64_t data_offset;
	uint64_t changes; /* joins and leaves so far: grows with each; the broker writes it */
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_header) == 88, "v2 header");
FAMEZ_ASSERT_LAYOUT(
	FAMEZ_HEADER_OFFSET + sizeof(struct famez_header) <= FAMEZ_SLOT_BYTES, "slot 0");

/* ---- v2: directory ---------------------------------------------------------------------- */

enum famez_presence {
	FAMEZ_ABSENT = 0,
	FAMEZ_JOINING = 1, /* has its ID, is not yet announced */
	FAMEZ_PRESENT = 2,
};

/** famez_entry.speaks */
#define FAMEZ_SPEAKS_LANES 1u

/** One peer's entry. */
struct famez_entry {
	/* The broker writes this line. */
	uint32_t presence; /* enum famez_presence */
	uint32_t joins;    /* of this ID so far; changes before anybody is told of the new owner */
	uint32_t cid;      /* Gen-Z component ID, 0 until assigned */
	uint32_t sid;      /* Gen-Z subnet ID */
	uint32_t device;   /* 1: a QEMU */
	uint32_t unused0[11];
	/* The peer itself writes this one and the next. It counts only while `join` equals
	 * `joins`: else it is what an earlier owner of the ID left. */
	uint32_t join;
	uint32_t generation; /* of driver or library: another after each start, never 0 */
	uint32_t speaks;     /* FAMEZ_SPEAKS_x; stored last, with release */
	uint32_t watches;    /* 1: ring me when somebody joins or leaves */
	uint64_t heartbeat;  /* grows at least every FAMEZ_TICK_NS while the peer lives */
	uint32_t unused1[10];
	char name[FAMEZ_NAME_BYTES]; /* NUL-terminated, or nobody reads beyond the 32nd byte */
	char cclass[FAMEZ_NAME_BYTES];
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_entry) == 192, "directory entry");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_entry, join) == 64, "the peer's line");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_entry, name) == 128, "the peer's names");

/** How often a peer looks after what a scribbler may have undone, and shows that it lives. */
#define FAMEZ_TICK_NS UINT64_C(1000000000)

/* ---- v2: inboxes ------------------------------------------------------------------------ */

#define FAMEZ_SHARDS_MAX 16u

/** Head of an inbox; the bitmap of senders follows, one bit an ID, in words of 64. */
struct famez_inbox {
	/* The receiver writes this line: nonzero, it sleeps and is to be rung. Peers use word
	 * 0. The server's inbox is shared out among its workers: the sender's ID modulo
	 * server_shards says which word. */
	uint32_t asleep[FAMEZ_SHARDS_MAX];
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_inbox) == 64, "inbox");

/* ---- v2: lanes -------------------------------------------------------------------------- */

/** Least bytes of a lane. */
#define FAMEZ_LANE_BYTES_MIN 4096u
/** Most: positions of a record fit 31 bits. */
#define FAMEZ_LANE_BYTES_MAX (1u << 30)

/** Of one lane. Positions count bytes since the file was made, and never go back. */
struct famez_lane {
	/* The sender writes this line, once a flush. */
	uint64_t produced; /* everything before it can be read */
	uint64_t messages;
	uint64_t payload_bytes;
	uint64_t rings; /* how often it woke the receiver */
	uint64_t full;  /* how often there was no room */
	uint64_t unused0[3];
	/* The receiver writes this line, every quarter of a lane and before it sleeps. */
	uint64_t consumed; /* everything before it may be overwritten */
	uint64_t stale;    /* records that were meant for an earlier owner of the ID */
	uint64_t garbled;  /* how often what it read made no sense */
	uint64_t unused1[5];
	/* The sender stores 1: wake me when there is room. The receiver stores 0, and rings. */
	uint32_t waiting;
	uint32_t unused2[15];
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_lane) == 192, "lane");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_lane, consumed) == 64, "the receiver's line");
FAMEZ_ASSERT_LAYOUT(offsetof(struct famez_lane, waiting) == 128, "both");

/** Records start at multiples of this. */
#define FAMEZ_RECORD_ALIGN 8u

/** Head of a record; the payload follows. */
struct famez_record {
	/* These two are one word of 64 bits, stored last: 0 says that nothing is here yet. */
	uint32_t bytes;  /* of head and payload; or FAMEZ_RECORD_PAD and what is left of the lane */
	uint32_t to;     /* the receiver's generation */
	uint32_t from;   /* the sender's generation */
	uint16_t kind;   /* FAMEZ_KIND() */
	uint16_t origin; /* who says it: the sender, or for whom the server relays */
};
FAMEZ_ASSERT_LAYOUT(sizeof(struct famez_record) == 16, "record");

/** famez_record.bytes: no message, go on at the lane's beginning. Has 8 bytes at least. */
#define FAMEZ_RECORD_PAD UINT32_C(0x80000000)

/** What a record is: its type, and for some the number of a group. */
#define FAMEZ_KIND(type, group) ((uint16_t)((type) | (group) << 4))
#define FAMEZ_KIND_TYPE(kind)   ((kind)&15u)
#define FAMEZ_KIND_GROUP(kind)  ((unsigned)(kind) >> 4)
#define FAMEZ_GROUPS_MAX        4096u

enum famez_type {
	FAMEZ_TYPE_DATA = 0,        /* peer to peer, or to the server */
	FAMEZ_TYPE_LINK = 1,        /* text of the personality: link messages, ping */
	FAMEZ_TYPE_GROUP = 2,       /* to the server: pass on to the group. From it: passed on */
	FAMEZ_TYPE_GROUP_ENTER = 3, /* to the server, no payload: make me a member */
	FAMEZ_TYPE_GROUP_EXIT = 4,  /* to the server, no payload */
};

/* ---- geometry --------------------------------------------------------------------------- */

/** Where everything is. A private copy: the file's is looked at once. */
struct famez_geometry {
	uint64_t bytes;
	uint32_t ids;
	uint32_t lane_bytes;
	uint32_t inbox_bytes;
	uint64_t directory_offset, inbox_offset, lane_offset, data_offset;
	/* only known once a header was read, or by who writes it */
	uint32_t server_id;
	uint32_t vectors;
	uint32_t features;
	uint32_t server_shards;
};

static inline uint64_t famez_round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) & ~(to - 1);
}

/* Bytes up to the lanes' data. @ids <= 65,538, so that nothing overflows. */
static inline uint64_t famez_geometry_front(struct famez_geometry *g, uint32_t ids)
{
	uint64_t at = (uint64_t)ids * FAMEZ_SLOT_BYTES;

	g->ids = ids;
	g->inbox_bytes = (uint32_t)(sizeof(struct famez_inbox) +
				    famez_round_up(famez_round_up(ids, 64) / 8, 64));
	g->directory_offset = at = famez_round_up(at, 4096);
	at += (uint64_t)ids * sizeof(struct famez_entry);
	g->inbox_offset = at = famez_round_up(at, 4096);
	at += (uint64_t)ids * g->inbox_bytes;
	g->lane_offset = at = famez_round_up(at, 4096);
	at += (uint64_t)ids * ids * sizeof(struct famez_lane);
	g->data_offset = at = famez_round_up(at, 4096);
	return at;
}

/**
 * famez_geometry_needs() - bytes of a file whose lanes have @lane_bytes, before it is rounded
 * up to a power of two.
 */
static inline uint64_t famez_geometry_needs(uint32_t ids, uint32_t lane_bytes)
{
	struct famez_geometry g;

	return famez_geometry_front(&g, ids) + (uint64_t)ids * ids * lane_bytes;
}

/**
 * famez_geometry_of() - the layout of a file of @bytes for IDs 0 .. @ids-1: lanes are the
 * largest power of two that fits, at most FAMEZ_LANE_BYTES_MAX.
 * Returns 0, -EINVAL (@ids not 3..65538, @bytes no power of two), or -EFBIG: not even
 * FAMEZ_LANE_BYTES_MIN fits; famez_geometry_needs() says what would.
 */
static inline int famez_geometry_of(struct famez_geometry *g, uint64_t bytes, uint32_t ids)
{
	struct famez_geometry made = FAMEZ_ZEROED;
	uint64_t lane = FAMEZ_LANE_BYTES_MIN, front;

	if (ids < 3 || ids > 65538 || !bytes || (bytes & (bytes - 1)))
		return -EINVAL;
	front = famez_geometry_front(&made, ids);
	if (front + (uint64_t)ids * ids * lane > bytes)
		return -EFBIG;
	while (lane < FAMEZ_LANE_BYTES_MAX && front + (uint64_t)ids * ids * lane * 2 <= bytes)
		lane *= 2;
	made.bytes = bytes;
	made.lane_bytes = (uint32_t)lane;
	made.server_id = FAMEZ_NOBODY;
	made.server_shards = 1;
	*g = made;
	return 0;
}

static inline struct famez_header *famez_header_at(void *base)
{
	return (struct famez_header *)(void *)((char *)base + FAMEZ_HEADER_OFFSET);
}

/**
 * famez_geometry_read() - take the geometry from a mapped file of @bytes, once, checking it
 * against what it must be.
 * Returns 0, -ENOENT (no v2 header, or not yet: a v1 server, or none), -EPROTO (a header that
 * doesn't fit this file or this version).
 */
static inline int famez_geometry_read(struct famez_geometry *g, void *base, uint64_t bytes)
{
	struct famez_header *h = famez_header_at(base), seen;
	uint32_t version;

	if (bytes < FAMEZ_SLOT_BYTES)
		return -ENOENT;
	version = famez_load_acquire(&h->version);
	if (famez_load_relaxed(&h->magic) != FAMEZ_HEADER_MAGIC || version == 0)
		return -ENOENT;
	seen.features = famez_load_relaxed(&h->features);
	seen.bytes = famez_load_relaxed(&h->bytes);
	seen.ids = famez_load_relaxed(&h->ids);
	seen.server_id = famez_load_relaxed(&h->server_id);
	seen.vectors = famez_load_relaxed(&h->vectors);
	seen.lane_bytes = famez_load_relaxed(&h->lane_bytes);
	seen.server_shards = famez_load_relaxed(&h->server_shards);
	if (version != FAMEZ_HEADER_VERSION || seen.bytes != bytes ||
		famez_geometry_of(g, bytes, seen.ids) || g->lane_bytes != seen.lane_bytes ||
		(seen.server_id != FAMEZ_NOBODY && seen.server_id != seen.ids - 1) ||
		!seen.vectors || seen.vectors > 2048 || !seen.server_shards ||
		seen.server_shards > FAMEZ_SHARDS_MAX ||
		((seen.features & FAMEZ_FEATURE_VECTOR_IS_SENDER) && seen.vectors < seen.ids))
		return -EPROTO;
	g->server_id = seen.server_id;
	g->vectors = seen.vectors;
	g->features = seen.features;
	g->server_shards = seen.server_shards;
	return 0;
}

/* ---- addresses; IDs must be below g->ids ------------------------------------------------- */

static inline struct famez_slot *famez_slot_at(void *base, uint32_t id)
{
	return (struct famez_slot *)(void *)((char *)base + (uint64_t)id * FAMEZ_SLOT_BYTES);
}

static inline struct famez_entry *famez_entry_at(
	void *base, const struct famez_geometry *g, uint32_t id)
{
	return (struct famez_entry *)(void *)((char *)base + g->directory_offset +
					      (uint64_t)id * sizeof(struct famez_entry));
}

static inline struct famez_inbox *famez_inbox_at(
	void *base, const struct famez_geometry *g, uint32_t receiver)
{
	return (struct famez_inbox *)(void *)((char *)base + g->inbox_offset +
					      (uint64_t)receiver * g->inbox_bytes);
}

/** The word of the receiver's bitmap that has the sender's bit, 1 << (sender % 64). */
static inline uint64_t *famez_bitmap_at(
	void *base, const struct famez_geometry *g, uint32_t receiver, uint32_t sender)
{
	return (uint64_t *)(void *)((char *)famez_inbox_at(base, g, receiver) +
				    sizeof(struct famez_inbox)) +
	       sender / 64;
}

/** The word that says whether @receiver sleeps, as far as @sender is concerned. */
static inline uint32_t *famez_asleep_at(
	void *base, const struct famez_geometry *g, uint32_t receiver, uint32_t sender)
{
	uint32_t shard = receiver == g->server_id ? sender % g->server_shards : 0;

	return &famez_inbox_at(base, g, receiver)->asleep[shard];
}

static inline struct famez_lane *famez_lane_at(
	void *base, const struct famez_geometry *g, uint32_t receiver, uint32_t sender)
{
	return (struct famez_lane *)(void *)((char *)base + g->lane_offset +
					     ((uint64_t)receiver * g->ids + sender) *
						     sizeof(struct famez_lane));
}

static inline unsigned char *famez_lane_data_at(
	void *base, const struct famez_geometry *g, uint32_t receiver, uint32_t sender)
{
	return (unsigned char *)base + g->data_offset +
	       ((uint64_t)receiver * g->ids + sender) * g->lane_bytes;
}

/** Which vector @sender rings at a peer that it wakes. */
static inline uint32_t famez_vector_of(const struct famez_geometry *g, uint32_t sender)
{
	return g->features & FAMEZ_FEATURE_VECTOR_IS_SENDER ? sender : 0;
}

/** Which vector @sender rings at the server: one that the shard listens to. */
static inline uint32_t famez_server_vector_of(const struct famez_geometry *g, uint32_t sender)
{
	return g->features & FAMEZ_FEATURE_VECTOR_IS_SENDER ? sender : sender % g->server_shards;
}

#endif
