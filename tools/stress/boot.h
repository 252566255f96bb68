/* SPDX-License-Identifier: MIT */
/*
 * boot.h - the guests of a run: famez-vm, which boots them, ends them, and says what they said.
 */
#ifndef STRESS_BOOT_H
#define STRESS_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "verdict.h"

struct boot {
	pid_t pid;      /* famez-vm's; 0: it has ended, or was never there */
	int said;       /* both its outputs; -1 */
	char line[256]; /* what has come of a line so far */
	size_t bytes;
	char last[256]; /* the last line that tells of a fault; else the last one */
	bool fault;     /* `last` does */
	char what[64];  /* kernel and accelerator, as it tells them */
};

/* famez-vm boots so many guests at this socket, each running us with --agent. 0, or -1 with the
 * verdict filled in. boot_end() in both cases. */
int boot_start(struct boot *b, const char *socket, unsigned guests, struct verdict *verdict);

/* Reads what was said; never waits. */
void boot_look(struct boot *b);

/* Ends famez-vm, which ends its guests. */
void boot_end(struct boot *b);

#endif
