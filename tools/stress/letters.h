/* SPDX-License-Identifier: MIT */
/*
 * letters.h - messages between the VMs, each accounted for.
 *
 * A letter says who wrote it to whom, its number between the two (account.h), and when it was
 * meant to be sent; the rest of its payload follows from these and is looked at word by word.
 * Whatever does not fit ends the run.
 */
#ifndef STRESS_LETTERS_H
#define STRESS_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "fleet.h"

/* Least payload: the head, and 4 words to look at. */
#define LETTERS_BYTES_MIN 64u

#define LETTERS_GROUP 1u

/* The head of a letter's payload. */
struct letter {
	uint64_t run;      /* of this run: a stranger's does not have it */
	uint32_t from, to; /* VMs, counted over all processes; to: LETTERS_ALL for the group */
	uint32_t number;
	uint32_t kind;
	uint64_t t_ns;
};

#define LETTERS_ALL UINT32_MAX

struct letters {
	struct fleet *fleet;
	struct board *board;
	struct account account;
	uint64_t run;
	size_t bytes;         /* of payload, of what is sent from now on */
	uint32_t group_sent;  /* number of the last one to the group */
	uint32_t *group_from; /* by our VM: the number of the last one from the group; 0: none */
	bool group_counts;    /* before, letters to the group only show that it is complete */
	/* In a guest: what comes from this peer is not a letter. Set before letters_open(), or
	 * NULL. */
	uint16_t words_from;
	int (*on_words)(void *context, const struct famez_message *m);
	void *words_context;
	/* One came. Returns 0, or -1 with the verdict filled in. */
	int (*on_letter)(void *context, const struct letter *letter, unsigned vm, uint16_t peer,
		size_t bytes);
	void *context;
};

/* Opens a mailbox for each of our VMs. Returns 0, or -1 with the verdict filled in. `others`: so
 * many VMs may write to ours. letters_close() in both cases. */
int letters_open(struct letters *l, struct fleet *fleet, uint64_t run, uint32_t others);
void letters_close(struct letters *l);

/* The largest payload that a lane takes, at most. */
size_t letters_bytes_max(const struct letters *l);

/* From our VM to another one, at this ID. Returns 0, -EAGAIN (the lane is full), or -1 with the
 * verdict filled in. */
int letters_send(
	struct letters *l, unsigned from, unsigned to, uint16_t id, uint32_t kind, uint64_t t_ns);

/* From our VM to the group. Returns as letters_send(). */
int letters_send_group(struct letters *l, unsigned from, uint32_t kind, uint64_t t_ns);

/* For those that are no fleet's VM: writes and judges a payload of `bytes`. */
void letters_fill(void *payload, size_t bytes, const struct letter *head);
bool letters_fits(const void *payload, size_t bytes, uint64_t run, struct letter *head);

#endif
