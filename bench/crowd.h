/* SPDX-License-Identifier: MIT */
/*
 * crowd.h - many raw ivshmem clients in one process, and an exact account of what
 * each was told.
 *
 * One thread, one epoll. Each client reads 8 bytes and at most one descriptor a time,
 * and closes the descriptor at once (but see crowd_keep()). A client is given a goal:
 * so many notices more; when it gets there the time is noted.
 *
 * Counted is every notice by client and ID, so that at the end it is known who
 * misses what, and not only that the sum is right.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <stdint.h>

struct crowd_client {
	int sock; /* -1: not there */
	int32_t id;
	uint8_t step;     /* of the opening: version, ID, memory, then 3: live */
	uint16_t *told;   /* by ID: vectors told */
	uint64_t notices; /* messages with an eventfd */
	uint64_t goal;    /* of notices; reached at goal_ns */
	uint64_t goal_ns;
	int *kept; /* by ID and vector: eventfds, -1: none; NULL: keeps none */
};

struct crowd {
	const char *socket; /* path; borrowed */
	uint32_t clients_max, vectors, ids_max;
	uint64_t patience_ns; /* so long without a message, and it is over */
	int epoll;
	struct crowd_client *clients;
	uint16_t *told;   /* clients_max rows of ids_max */
	uint32_t waiting; /* clients that have not reached their goal */
	uint64_t notices, leaves, messages;
};

/* What a full mesh lacks, or has too much of. */
struct crowd_account {
	uint64_t missing;  /* notices that never came */
	uint64_t surplus;  /* notices of anybody beyond the vectors, or of a stranger */
	uint64_t short_of; /* clients that miss something */
};

/** crowd_init() - takes memory and an epoll; nobody joins. Returns 0 or -errno. */
int crowd_init(struct crowd *c, const char *socket, uint32_t clients_max, uint32_t vectors,
	uint32_t ids_max, uint64_t patience_ns);
void crowd_destroy(struct crowd *c);

/** crowd_keep() - client @nth, not yet joined, is to keep what it is told. 0 or -ENOMEM. */
int crowd_keep(struct crowd *c, uint32_t nth);

/**
 * crowd_join() - connect client @nth, who then wants @notices; the others are read
 * while the server's backlog is full. Returns 0 or -errno (-ETIMEDOUT: nobody accepts).
 */
int crowd_join(struct crowd *c, uint32_t nth, uint64_t notices);
void crowd_leave(struct crowd *c, uint32_t nth);

/** crowd_deafen() - client @nth stays, and never reads again. */
void crowd_deafen(struct crowd *c, uint32_t nth);

/** crowd_expect() - client @nth wants @notices more than it has. */
void crowd_expect(struct crowd *c, uint32_t nth, uint64_t notices);

/**
 * crowd_wait() - read until all goals are reached and @leaves have been told in all.
 * Returns 0, -ETIMEDOUT (no message for so long as we are patient), -ECONNRESET (the
 * server closed a socket), -EPROTO (not the protocol) or -errno.
 */
int crowd_wait(struct crowd *c, uint64_t leaves);

/** crowd_drain() - read what nobody waits for, until @quiet_ms pass without any. 0 or as above. */
int crowd_drain(struct crowd *c, int quiet_ms);

/** crowd_check() - what clients @from to @to - 1 were told of clients 0 to @to - 1. */
struct crowd_account crowd_check(const struct crowd *c, uint32_t from, uint32_t to);

#endif
