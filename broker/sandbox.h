/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - what the broker may still do once it serves: no more than it has to.
 *
 * Guests write the memory that it reads, and strangers connect to its socket. Whoever finds a
 * fault in it and takes it over is to find himself in a process that can open no file, make no
 * socket and start no program:
 *
 *   capabilities   All are given up but CAP_SYS_RESOURCE, by which root's broker may have more
 *                  descriptors in flight than its limit; in the bounding set, too. A container
 *                  that has CAP_SYS_ADMIN in its place keeps that one, of which the filter
 *                  leaves no more. And CAP_IPC_LOCK, for the rings.
 *   Landlock       No file system, no TCP, no abstract sockets, no process outside of it to be
 *                  looked at (Linux 5.13 and newer).
 *   seccomp        A system call that no list names (sandbox_calls.h) is not carried out, and
 *                  ends the process, which says the call's name in its last words; the keeper
 *                  starts a successor.
 *   io_uring       Goes past all that, and so has restrictions of its own, always (op.c).
 *
 * What takes looking into /proc or opening a file is done by a second process, the looker
 * (look.h), with a filter of its own.
 *
 * sandbox_compile() is called once, before there is a broker; what it makes serves every
 * successor. Capabilities and Landlock are a thread's, so they are given up before there is a
 * second one; the filter comes when all threads run, since they need more to start.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "why.h"

enum sandbox_mode {
	SANDBOX_AUTO,     /* what the kernel has */
	SANDBOX_OFF,      /* nothing */
	SANDBOX_REQUIRED, /* all of it, or no start */
};

struct sandbox {
	enum sandbox_mode mode;
	const char *missing;              /* what is not there, for people; NULL: it is complete */
	bool seccomp;                     /* there are filters */
	int landlock;                     /* version of the kernel's, 0: none */
	struct sock_fprog broker, looker; /* ours */
	char *names;                      /* of system calls, by number; ours */
};

/**
 * sandbox_compile() - find out what the kernel has, and make the filters. @without: why there
 * can be none here, or NULL. Returns 0, or -EOPNOTSUPP with a reason in @why where all of it is
 * required and something is missing; or -errno where the filters can't be made.
 */
int sandbox_compile(
	struct sandbox *s, enum sandbox_mode mode, const char *without, struct why *why);
void sandbox_destroy(struct sandbox *s);

/** sandbox_on() - is anything to be done at all? */
bool sandbox_on(const struct sandbox *s);

/**
 * sandbox_shed() - give up capabilities and, by Landlock, the file system. Of the calling
 * thread, and of those that it makes afterwards. For the broker. Returns 0 or -errno.
 */
int sandbox_shed(const struct sandbox *s, struct why *why);

/**
 * sandbox_words() - where a process that leaves its sandbox says what it was stopped at: @words, of
 * @bytes, borrowed for as long as it lives. Of its looker, too.
 */
void sandbox_words(char *words, size_t bytes);

/**
 * sandbox_enter() - from now on, in all threads, only what is listed. @keeper: whom it may send
 * SIGRTMIN, 0: nobody. Returns 0 or -errno.
 */
int sandbox_enter(const struct sandbox *s, pid_t keeper, struct why *why);

/** sandbox_end() - end the process; @text is what it says. */
_Noreturn void sandbox_end(const char *text);

/** sandbox_enter_looker() - the same for the looker, which has one thread. */
int sandbox_enter_looker(const struct sandbox *s);

/** sandbox_log() - one line on what is on and what is not. */
void sandbox_log(const struct sandbox *s);

#endif
