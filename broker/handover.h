/* SPDX-License-Identifier: MIT */
/*
 * handover.h - one program becomes another in the same process, and may become the first again.
 *
 * What is handed over is open: every descriptor stays, under its number. Which of them is the
 * state memory, where the program lies and how to go back stands in the environment; whoever
 * takes over reads and removes it.
 *
 * One thread, and no broker may be alive but for handover_check().
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

/* The option by which a program is asked whether it can read the state behind a descriptor, and
 * the exit code of one that can: no other program has it by chance. */
#define HANDOVER_CHECK_OPTION "--check-state"
#define HANDOVER_CHECK_FINE   77

/* An open program. What a broker put under that number meanwhile is told by the inode. */
struct handover_file {
	int fd; /* -1: none */
	uint64_t device, inode;
};

/* What was handed over to us. */
struct handover {
	int state_fd;     /* -1: nothing was */
	const char *path; /* of the program on disk */
	const char *back; /* we are the old one again, and this was wrong with the new one */
	struct handover_file old; /* we are the new one, and may still go back */
	unsigned descriptors_end; /* no descriptor has this number or a higher one */
};

/** handover_take() - fill in @h from the environment. Returns whether anything was handed over. */
bool handover_take(struct handover *h);

/** handover_open() - this very program, to go back to. Returns 0 or -errno. */
int handover_open(struct handover_file *ourselves);

/** handover_to() - become the program at @path. Returns -errno, everything as before. */
int handover_to(const char *path, char **argv, int state_fd, const struct handover_file *ourselves,
	unsigned descriptors_end);

/** handover_back() - become the program before us, if there is a way back: returns if not. */
void handover_back(const struct handover *h, char **argv, const char *reason);

/** handover_check() - in a child of fork(2): ask the program at @path. */
_Noreturn void handover_check(const char *path, char **argv, int state_fd);

#endif
