/* SPDX-License-Identifier: MIT */
/*
 * state.h - the state memory: what a broker leaves to its successor.
 *
 * A broker may be killed between any two instructions, and the next one must know of every
 * peer exactly what it has been told: a QEMU survives neither a second announcement nor a
 * leave. So who is here, what each holds and how far its cursor stands live in a memory that
 * the keeper holds, and are changed in an order in which each store leaves something that
 * recover.h can make sense of. docs/state.md has the layout.
 *
 * Where more than one store is needed, it goes through a slot of the worker: what it is about to
 * send to one peer, with what each notice changes, is written down first; sendmmsg(2) itself then
 * writes `msg_len` behind each notice, here. So what was sent is known, and the changes are made
 * afterwards, by the worker or by its successor, as often as need be.
 *
 * Each record has one writer: the registrar or the worker that serves the ID. A file that
 * stores here calls state_point() behind every store.
 *
 * Pure: no system call, no clock, no allocation; those of the mapping are in state_map.h.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "client.h"
#include "errand.h"
#include "log_ring.h"
#include "personality.h"
#include "point.h"
#include "rules.h"
#include "view.h"

#define STATE_MAGIC   UINT64_C(0x31455441545a4146) /* "FAZTATE1" */
#define STATE_VERSION 1u
#define STATE_LINE    64u

/* Notices to one peer that are under way at once. */
#define STATE_TELL_MAX 64u

#define STATE_WORDS_BYTES 512u
#define STATE_NOBODY      UINT32_MAX

/* What a fabric is like; fixed for as long as the state lives. */
struct state_wish {
	uint64_t memory_bytes;
	uint64_t fabric; /* random: names this fabric */
	uint32_t ids_max, first_id, peers;
	uint32_t server_id; /* STATE_NOBODY: silent */
	uint16_t vectors, workers;
	uint16_t shards;    /* workers that serve the server's inbox; 0: nobody */
	uint16_t layout;    /* enum mailbox_layout */
	uint32_t old_slots; /* 0 or 1 */
	uint32_t features;  /* of the mailbox */
};

/* Sizes of the records: a program that has others can't read this state. */
enum state_size {
	STATE_SIZE_LIVE,
	STATE_SIZE_MEMBER,
	STATE_SIZE_VIEW,
	STATE_SIZE_MAIL,
	STATE_SIZE_WORKER,
	STATE_SIZE_RULES,
	STATE_SIZE_LOG,
	STATE_SIZES,
};

/* Written once by state_memory_init(). */
struct state_head {
	uint64_t magic;
	uint32_t version;
	uint32_t check; /* of all that follows */
	uint64_t bytes;
	uint32_t sizes[STATE_SIZES];
	uint32_t group_words; /* of one group of one worker */
	struct state_wish wish;
	uint64_t off_live, off_bells, off_members, off_views, off_held, off_mail, off_groups,
		off_workers, off_words, off_rules, off_logs;
};

/* Descriptors of whoever started us that a broker leaves alone. */
#define STATE_INHERITED_MAX 16u

enum state_upgrade {
	STATE_UPGRADE_NONE,
	STATE_UPGRADE_DONE,        /* the new program serves */
	STATE_UPGRADE_REFUSED,     /* it can't: nothing has happened */
	STATE_UPGRADE_FAILED,      /* it could not be started: the old one serves again */
	STATE_UPGRADE_ROLLED_BACK, /* it did not come to serve: the old one serves again */
};

/* Of the whole broker. The registrar writes, else as noted. */
struct state_live {
	/* the keeper; -1: none. exe_fd: the program before, until the new one has proved itself */
	int32_t listen_fd, lock_fd, memory_fd, state_fd, log_fd, exe_fd;
	int32_t inherited[STATE_INHERITED_MAX]; /* that whoever started us left open */
	uint64_t births;                        /* the keeper: +1 before each broker */
	uint64_t ready;                         /* = births when the broker serves */
	_Atomic uint64_t asked;                 /* the keeper: whether threads turn (watchdog.h) */
	_Atomic uint64_t answered;              /* up to here */
	struct errand reload, report;           /* SIGHUP and SIGUSR1 */
	uint32_t reread;     /* the keeper, 1: sockets of bound IDs are to be as the file has them;
			      * 0 when they are */
	uint32_t laid_out;   /* 1: the mailbox is there, and must not be emptied again */
	uint32_t layout;     /* enum mailbox_layout, as it came out */
	uint32_t generation; /* of the server in the mailbox */
	uint32_t upgrade_result;   /* the keeper: enum state_upgrade, of the last one */
	char upgrade_reason[136];  /* the keeper: why the last one went wrong */
	_Atomic uint64_t upgrades; /* the keeper: that are over, however they went */
	/* what the keeper made and takes away: inodes tell it from another's of that name */
	uint64_t socket_device, socket_inode, memory_inode; /* 0: made nothing */
	uint64_t changes;                                   /* of the mailbox's directory */
	uint64_t joins, leaves, refused;
	_Atomic uint64_t heartbeat; /* worker 0, once a second */
};

/* An ID's owner, by ID. The registrar writes; `sock` also the worker that serves it. */
struct state_member {
	_Atomic uint32_t taken; /* 1: all of this counts. Stored last */
	_Atomic int32_t sock;   /* -1: let go of */
	_Atomic uint64_t zones; /* bit a zone; stays when its owner leaves */
	uint64_t cookie;        /* SO_COOKIE of the socket */
	int32_t pid;
	uint32_t uid;
	uint8_t device, leaves; /* leaves: is told of them */
	uint16_t worker;
	uint32_t check; /* of cookie to worker and of exe */
	char exe[CLIENT_EXE_BYTES];
	uint32_t joins;          /* of the ID so far, as in the directory */
	_Atomic uint64_t change; /* seq << 1 | present: its entry in the log. 0: none */
	uint64_t said;           /* mailbox_said() */
	uint64_t freed;          /* it was the n-th to become free; 0: never was taken */
};

/* What it was told, by ID. The worker writes that serves it. */
struct state_view {
	struct view view;
	uint32_t check;        /* of the rest */
	uint32_t leave_unread; /* the last notice was a leave, perhaps not yet read */
};

/* How things stand with a peer of the server's inbox; state_mail.h. */
struct state_heard {
	uint64_t rx_at;  /* so far its lane to us has been taken */
	uint64_t tx_at;  /* so far ours to it is published */
	uint64_t check;  /* of all the others; state_mail_check() */
	uint64_t change; /* as in state_member, as far as the worker of its share knows */
	uint32_t generation, gone;
	uint32_t greeting; /* 1: it has yet to be greeted */
	uint32_t unused;
	unsigned char memory[PERSONALITY_PEER_BYTES]; /* the personality's */
};

/* What was heard from it and said to it, by ID of the mailbox. The worker of its share writes. */
struct state_mail {
	_Alignas(STATE_LINE) struct state_heard heard;
	uint32_t owed; /* 1: it may be waiting to be told of room in its lane */
	uint32_t rung; /* 1: it rang, and its slot has not been looked at since */
	_Atomic uint32_t
		relay_done; /* bit by worker, each its own: passed on to all of its members */
	uint64_t relay_pos; /* | 1: what stands there in its lane is being passed on. 0: nothing */
	uint64_t blocks;    /* of 64 groups each: those with bits of it are among these */
};

/* A notice as sendmmsg(2) wants it. */
struct state_send {
	int64_t word; /* little-endian */
	struct iovec io;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
};

/* What is so once a notice has been sent. */
struct state_after {
	struct view view;
	uint32_t held_id;
	int8_t held;   /* 1: its bit for held_id is set, -1: cleared, 0: as it was */
	uint8_t leave; /* a leave, which the client is to read before it is sent more */
};

/* Of each worker, who writes it. */
struct state_worker {
	_Alignas(STATE_LINE) _Atomic uint32_t tell_id; /* STATE_NOBODY: nothing is under way */
	uint32_t tell_count;
	uint32_t sleep;            /* number of its last sleep in the server's inbox */
	_Atomic uint64_t answered; /* of state_live.asked */
	struct {
		uint32_t sender; /* STATE_NOBODY: none */
		uint32_t at;     /* its peers before this one have it, or miss it */
		uint64_t pos;    /* where it stands in the sender's lane */
	} relay;                 /* what it passes on to a group, or did last */
	_Alignas(STATE_LINE) struct {
		_Atomic uint32_t id; /* STATE_NOBODY: nothing is under way */
		uint32_t whole;      /* 1: all of `after` counts; 0: its positions and `check` */
		uint32_t relay_at;   /* what relay.at is after it */
		uint64_t tx_from;    /* published is what lies between this and after.tx_at */
		struct state_heard after;
	} said; /* the slot of mail: what it is about to say to one peer */
	_Alignas(STATE_LINE) struct mmsghdr tell[STATE_TELL_MAX];
	struct state_send send[STATE_TELL_MAX];
	struct state_after after[STATE_TELL_MAX];
};

/* One process's handle: pointers into the memory, and what the registrar counts on from. */
struct state {
	struct state_head *head;
	struct state_live *live;
	int *bells;                   /* [id * vectors + vector], -1: not made. The registrar */
	struct state_member *members; /* by ID */
	struct state_view *views;     /* by ID */
	unsigned long *held;          /* by ID: VIEW_HELD_WORDS(ids_max) words each */
	struct state_mail *mail;      /* by ID of the mailbox, 0..peers+1 */
	uint64_t *groups;             /* [worker][group * group_words + index / 64] */
	struct state_worker *workers;
	struct rules_memory *rules; /* rules.h */
	struct log_memory *logs;    /* log_ring.h: the registrar's, then by worker */
	char *words;                /* STATE_WORDS_BYTES: what a dying broker said last */
	uint64_t seq;               /* the registrar's: of the last change */
	uint64_t freed;             /* the registrar's: IDs that became free so far */
	int fd;                     /* state_map.h; -1: plain memory */
};

/** state_bytes() - what the memory takes, a multiple of 4096. */
uint64_t state_bytes(const struct state_wish *wish);

/** state_groups_at(), state_groups_bytes() - where in it stands who is in which group. */
uint64_t state_groups_at(const struct state_wish *wish);
uint64_t state_groups_bytes(const struct state_wish *wish);

/** state_logs_at(), state_logs_bytes() - where in it lines wait for the logger. */
uint64_t state_logs_at(const struct state_wish *wish);
uint64_t state_logs_bytes(const struct state_wish *wish);

/** state_group_words() - words that one group takes of one worker's bits. */
uint32_t state_group_words(const struct state_wish *wish);

/**
 * state_memory_init() - lay out @zeroed, state_bytes(@wish) zero bytes aligned to a page or
 * line, and fill in the handle: nobody is here.
 */
void state_memory_init(struct state *state, void *zeroed, const struct state_wish *wish);

/**
 * state_memory_open() - the handle of a memory that has been laid out, by this process or by
 * another, at any address. Trusts the head: state_memory_check() first. `seq` and `freed` are
 * found in the members.
 */
void state_memory_open(struct state *state, void *memory);

/** state_count_on() - by each broker: `seq` and `freed` as its predecessors left them. */
void state_count_on(struct state *state);

/** state_memory_check() - can this program read it? NULL, or what is wrong. @bytes: its size. */
const char *state_memory_check(const struct state_head *head, uint64_t bytes);

/** state_sum() - of some bytes; tells a record from what somebody scribbled over it. */
uint32_t state_sum(uint32_t sum, const void *bytes, uint64_t count);

/* ---- a store has been made -------------------------------------------------------------- */

#ifdef FAMEZ_POINTS
/* A simulation's: may jump away. */
void state_point_reached(void);
#elif defined(FAMEZ_FAULTS)
#define state_point_reached() POINT()
#else
#define state_point_reached() ((void)0)
#endif

/**
 * state_point() - behind every store into the state: the compiler moves no store past it. (The
 * processor never does, as far as another process can tell after our death.) Here a test kills us.
 * A macro, since a test names the line on which it stands.
 */
#define state_point()                                                                              \
	do {                                                                                       \
		__asm__ volatile("" ::: "memory");                                                 \
		state_point_reached();                                                             \
		__asm__ volatile("" ::: "memory");                                                 \
	} while (0)

/* ---- views ------------------------------------------------------------------------------ */

/** state_view_put() - @id's view is this now. Not whole at once: while the ID is free, or a slot
 * brings it about that it is done again. */
void state_view_put(struct state *state, uint32_t id, const struct view *view, bool leave_unread);

/** state_view_get() - false: something scribbled over it, and nothing is known. */
bool state_view_get(const struct state *state, uint32_t id, struct view *view, bool *leave_unread);

static inline unsigned long *state_held(const struct state *state, uint32_t id)
{
	return &state->held[id * VIEW_HELD_WORDS(state->head->wish.ids_max)];
}

static inline uint64_t *state_groups(const struct state *state, uint16_t worker)
{
	return &state->groups[(uint64_t)worker * FAMEZ_GROUPS_MAX * state->head->group_words];
}

static inline struct state_mail *state_mail_of(const struct state *state, uint32_t id)
{
	return &state->mail[id];
}

/* ---- the slot: one a worker, for one peer at a time ---------------------------------------- */

/** state_tell_fill() - the @nth notice of the slot to be: @word, and @fd with it unless -1. */
void state_tell_fill(struct state *state, uint16_t worker, unsigned nth, int64_t word, int fd,
	const struct state_after *after);

/** state_tell_begin() - the first @count (1..STATE_TELL_MAX) are about to be sent to @id. */
void state_tell_begin(struct state *state, uint16_t worker, uint32_t id, unsigned count);

/** state_tell_sent() - how many of them were, the first ones; 0 also where nothing is under way. */
unsigned state_tell_sent(const struct state *state, uint16_t worker);

/**
 * state_tell_apply() - make those changes that were sent, and empty the slot. Doing it again,
 * in part or whole, changes nothing.
 */
void state_tell_apply(struct state *state, uint16_t worker);

#endif
