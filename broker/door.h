/* SPDX-License-Identifier: MIT */
/*
 * door.h - the way in: whoever comes is looked at, let in by the rules, and given an ID; or
 * waits, or is refused.
 *
 * Those wait whose ID is not free yet, because the VM's last life still ends, or because not all
 * workers have heard yet that its last owner left; and those whose command line takes its time to
 * be read, which counts as empty in the end. They are answered nothing meanwhile, which a
 * QEMU bears as it bears any delay; so many at once, and for so long.
 *
 * Belongs to the registrar, which carries out what is decided here. What it knows of who is here
 * can be had from the state memory; those who wait are newcomers to a successor.
 */
#ifndef DOOR_H
#define DOOR_H

#include "admit.h"
#include "client.h"
#include "qemu_args.h"
#include "rules.h"
#include "seating.h"

#define DOOR_WAITING_MAX 64u
#define DOOR_PATIENCE_NS UINT64_C(5000000000)

/* Why one was refused; for the report. */
enum door_reason {
	DOOR_FULL,
	DOOR_NOT_ALLOWED, /* by user and group */
	DOOR_QUOTA,       /* peers or joins per second of its user */
	DOOR_BOUND,       /* its ID did not come free, or too many wait */
	DOOR_STRANGERS,   /* what is free can be rung by peers of other zones */
	DOOR_REASONS,
};

struct door_guest {
	int sock;
	uint32_t own; /* the ID whose socket it came by, GATES_NOBODY or GATES_GONE */
	struct client client;
	struct qemu_args args;
	bool args_due;     /* are being looked at */
	uint64_t until_ns; /* waits until then */
	/* what it is given */
	struct seating_found seat;
	/* why it is refused, for the log */
	const char *reason;
};

enum door_says {
	DOOR_NOBODY, /* nothing to be done */
	DOOR_SEATED, /* @guest has an ID */
	DOOR_REFUSED,
};

/* What the operator asked for. All stays the caller's, and there. */
struct door_wish {
	const struct admit_rules *admit;
	struct rules *rules;
	const char *device_names;
};

struct door {
	struct admit admit;
	struct seating seating;
	struct rules *rules;
	const char *device_names;
	uint64_t refused[DOOR_REASONS]; /* since start */
	unsigned waiting_count;
	struct door_guest waiting[DOOR_WAITING_MAX]; /* the oldest first */
};

/**
 * door_init() - those are here whom @state names. @membership and @state stay where they are.
 * Returns 0 or -ENOMEM.
 */
int door_init(struct door *d, const struct door_wish *wish, struct membership *membership,
	struct state *state);

/** door_destroy() - those who wait are told -1, and closed. */
void door_destroy(struct door *d);

/**
 * door_knock() - somebody has come; @guest->sock is its socket, @guest->own how. @quiet: all
 * workers have heard all that was said to them. DOOR_NOBODY: it waits, and its socket is ours.
 */
enum door_says door_knock(struct door *d, struct door_guest *guest, bool quiet, uint64_t now_ns);

/** door_look() - has one of those who wait been seated, or refused? Until DOOR_NOBODY. */
enum door_says door_look(struct door *d, struct door_guest *guest, bool quiet, uint64_t now_ns);

/** door_left() - one of @uid's that was seated is gone. */
void door_left(struct door *d, uint32_t uid);

/**
 * door_read_rules() - read the operator's files again. IDs are kept as they say from now on,
 * unless sockets of bound IDs change with them: @sockets is then set, and it takes a broker that
 * may make them. Returns 0, or -errno with one line in @why; then nothing has changed.
 */
int door_read_rules(struct door *d, bool *sockets, struct why *why);

/**
 * door_widen() - those who are here get what zones the rules as they are would give them,
 * besides those that they have. Returns whether that is any more.
 */
bool door_widen(struct door *d);

/** door_print_zones() - names of @id's zones, as zones_print(); false where there are no zones. */
bool door_print_zones(const struct door *d, uint32_t id, char *text, size_t bytes);

#endif
