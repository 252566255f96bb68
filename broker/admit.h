/* SPDX-License-Identifier: MIT */
/*
 * admit.h - who may come in: users, groups, and how many of each user.
 *
 * Asked of the kernel's word about a client (SO_PEERCRED, SO_PEERGROUPS), never of the
 * client's own. Two quotas a user: peers at once, and joins per second, as a bucket that
 * holds a second's worth. What is known of a user is kept as long as it matters: while it
 * has peers, or has joined so often that its bucket is not full again.
 *
 * Pure: no system calls, no clock of its own, no memory but what it is lent. One thread.
 */
#ifndef ADMIT_H
#define ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#define ADMIT_LIST_MAX  64u
#define ADMIT_USERS_MAX 256u

/* What the operator asked for; all zero lets everybody in. */
struct admit_rules {
	uint16_t uids_count, gids_count; /* both 0: anybody may come */
	uint32_t uids[ADMIT_LIST_MAX];   /* may come, and so may ... */
	uint32_t gids[ADMIT_LIST_MAX];   /* ... who has one of these, among the rest or first */
	uint32_t peers_per_uid;          /* 0: no limit */
	uint32_t joins_per_second;       /* of one user; 0: no limit */
};

/* One who wants to come in. */
struct admit_who {
	uint32_t uid, gid;
	const uint32_t *groups; /* supplementary */
	uint32_t groups_count;
};

enum admit_says {
	ADMIT_WELCOME,
	ADMIT_NOT_ALLOWED, /* neither its user nor a group of its is on the lists */
	ADMIT_QUOTA,       /* its user has as many peers as it may have */
	ADMIT_RATE,        /* its user joins too often */
	ADMIT_STRANGER,    /* too many users to keep count of */
};

struct admit_user {
	bool used; /* for ever, once it was */
	uint32_t uid;
	uint32_t peers;  /* that it has */
	uint64_t due_ns; /* when all that it has joined so far is paid for */
};

struct admit {
	struct admit_rules rules;
	struct admit_user *users; /* ADMIT_USERS_MAX */
};

/**
 * admit_init() - nobody is here. @users: in the state memory, zeroes in the first broker's time.
 * How often somebody has joined lately is still known there after a broker's death, or each death
 * would give everybody a second's worth of joins.
 */
void admit_init(struct admit *a, const struct admit_rules *rules, struct admit_user *users);

/** admit_needs_groups() - would @who be let in for a supplementary group alone? */
bool admit_needs_groups(const struct admit *a, const struct admit_who *who);

/**
 * admit_ask() - may @who come in? If so it counts as here until admit_left().
 * @now_ns: CLOCK_MONOTONIC.
 */
enum admit_says admit_ask(struct admit *a, const struct admit_who *who, uint64_t now_ns);

/** admit_known() - one of @uid's peers is here already, and was let in before. */
void admit_known(struct admit *a, uint32_t uid);

/** admit_left() - one that was let in, or known, is gone. */
void admit_left(struct admit *a, uint32_t uid);

/** admit_reason() - a word for the log; not of ADMIT_WELCOME. */
const char *admit_reason(enum admit_says says);

#endif
