/* SPDX-License-Identifier: MIT */
/*
 * doorbell.h - round trips of two members' doorbells beside bare eventfds.
 */
#ifndef BENCH_DOORBELL_H
#define BENCH_DOORBELL_H

#include "crowd.h"

/** doorbell_open() - two eventfds to compare with; call it before anything else is opened, so
 * that they have the first places. Theirs until the process ends. Returns 0 or -errno. */
int doorbell_open(int bare[2]);

/**
 * doorbell_measure() - clients 0 and 1 of @c, who kept what they were told, ring each other.
 * @bare:   of doorbell_open().
 * @slices: so often, each way of ringing in its turn; > 0.
 *
 * The calling thread is pinned to the first CPU meanwhile. Puts other eventfds in the place of
 * what clients 0 and 1 kept of clients 2 and 3. Prints figures as further members of a JSON
 * object, each with ", " before it. Returns 0 or -errno (nothing printed).
 */
int doorbell_measure(const struct crowd *c, const int bare[2], uint32_t slices);

#endif
