/* SPDX-License-Identifier: MIT */
/*
 * run.h - guests that are up, until the operator has had enough of them. See run.c.
 */
#ifndef VM_RUN_H
#define VM_RUN_H

#include "plan.h"

#include <stdbool.h>
#include <stddef.h>

/** At most so many guests of one run. */
#define RUN_NODES_MAX 64u
/** Programs that --program may name. */
#define RUN_PROGRAMS_MAX 16u

/** A run's folder, in run_parent(), begins so. */
#define RUN_FOLDER "famez-vm."

struct run_how {
	struct plan plan;   /* .socket NULL: a broker of our own. .nodes is set */
	const char *accel;  /* as QEMU's -accel */
	const char *image;  /* a kernel; NULL: the newest */
	const char *module; /* famez.ko; NULL: found or built */
	bool no_driver;
	const char *cache; /* NULL: the usual */
	const char *programs[RUN_PROGRAMS_MAX];
	size_t programs_count;
	const char *exec;   /* what each guest runs; NULL: a shell for people */
	unsigned timeout_s; /* of --exec; 0: none */
};

/** run() - all of it. Returns an exit code. */
int run(struct run_how *how);

/** run_parent() - where folders of runs are: the user's runtime folder, or /tmp. */
const char *run_parent(void);

#endif
