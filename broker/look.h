/* SPDX-License-Identifier: MIT */
/*
 * look.h - what lies outside of the broker: other processes' /proc, and files that are opened
 * while it runs.
 *
 * The broker in its sandbox can't see any of it: Landlock takes /proc of every process but ours,
 * and QEMU's descriptors must be counted (client.h). So it asks the looker, a small process of
 * its own that it starts before it gives up anything, which reads and opens, and understands
 * nothing of what it reads. Its filter lets it do no more. It lives exactly as long as its
 * broker; a broker whose looker is gone ends, and its successor has a new one.
 *
 * A process may be such that reading its command line hangs, and a file's system may: that is asked
 * of spare lookers, and one that hangs is set aside until it comes back. All else is asked of the
 * first, where nothing hangs.
 *
 * Without a looker the same is done by the caller itself. Any thread.
 */
#ifndef LOOK_H
#define LOOK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox.h"

enum look {
	LOOK_EXE,       /* where /proc/PID/exe leads */
	LOOK_LIMITS,    /* the text of /proc/PID/limits */
	LOOK_USE,       /* uint32_t: open descriptors; UINT32_MAX: too many to count */
	LOOK_ARGUMENTS, /* the text of /proc/PID/cmdline: words that end with 0 */
};

/* More of a text is left away. */
#define LOOK_BYTES 65536u

/**
 * look_at() - at process @pid. Puts at most @bytes into @to, and no 0 behind a text. Returns how
 * many, or -errno; -ETIMEDOUT where a looker is held up: with spare ones that is said after a
 * moment, and the same look can be asked for again, which costs no other looker.
 */
int look_at(enum look what, pid_t pid, void *to, size_t bytes);

/* A file that is opened anew while the broker runs. */
struct look_file {
	const char *path; /* borrowed */
	int flags;
	mode_t mode;
};

/**
 * look_open() - open a file, with flags and mode as in open(2). With a looker only one of those
 * that it was started with. Returns a descriptor, the caller's, or -errno.
 */
int look_open(const struct look_file *file);

/* Files that a looker may be asked to open. */
#define LOOK_FILES_MAX 4

/* Lookers for what can hang. */
#define LOOK_SPARE_MAX 3

/**
 * look_start() - start a looker and @spare more, and look through them from now on. Before there
 * are threads, and before sandbox_shed(). @files: @count that they may open; borrowed. Returns 0 or
 * -errno.
 */
int look_start(
	const struct sandbox *s, const struct look_file *files, unsigned count, unsigned spare);

/**
 * look_await() - until it is in its sandbox. What it needs for that it does beside us. Returns 0,
 * or -errno where it does not come to be. Where there is none, nothing.
 */
int look_await(void);

#endif
