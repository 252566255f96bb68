/* SPDX-License-Identifier: MIT */
/*
 * account.h - numbers for messages, so that each is accounted for.
 *
 * From each VM to each other one messages are numbered from 1. Lanes keep their order, so
 * the next one to come has the next number: a higher one means that some were lost, a
 * lower one that it came twice or out of order. Numbers of a pair take memory with their
 * first message. No clock, no descriptor, one thread.
 */
#ifndef STRESS_ACCOUNT_H
#define STRESS_ACCOUNT_H

#include <stdint.h>

struct account {
	uint32_t mine, others; /* VMs of this process, and whom they may speak to */
	uint32_t **out, **in;  /* by our VM, then by the other one: the last number */
};

enum account_finding {
	ACCOUNT_FINE,
	ACCOUNT_LOST,   /* at least one before it is missing */
	ACCOUNT_DOUBLE, /* it was here before, or comes too late */
};

/* 0 or -ENOMEM. */
int account_init(struct account *a, uint32_t mine, uint32_t others);
void account_destroy(struct account *a);

/* The number for the next message of our k-th VM to another one; 0: no memory. It counts once
 * account_sent() says so. */
uint32_t account_next(struct account *a, uint32_t k, uint32_t to);
void account_sent(struct account *a, uint32_t k, uint32_t to);

/* Our k-th VM got this number from another one. *due: what should have come. */
enum account_finding account_heard(
	struct account *a, uint32_t k, uint32_t from, uint32_t number, uint32_t *due);

/* A new owner has the other one's place: both ways begin again. */
void account_forget(struct account *a, uint32_t k, uint32_t other);

#endif
