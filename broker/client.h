/* SPDX-License-Identifier: MIT */
/*
 * client.h - who is behind a socket, and how many descriptors its process can hold.
 *
 * All of it is asked of the kernel, nothing of the client. What can't be read
 * counts as the worst: a device, at the usual soft limit of 1024 descriptors.
 *
 * client_identify() and the parsers: any thread. A struct process belongs to the
 * worker that serves the process's sockets; membership sees to it that all of one
 * process's go to one worker.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLIENT_EXE_BYTES 32

struct client {
	pid_t pid; /* 0: unknown (another PID namespace) */
	uid_t uid;
	gid_t gid;                  /* (gid_t)-1: not known */
	bool device;                /* a QEMU, or not readable */
	char exe[CLIENT_EXE_BYTES]; /* base name, cut short; "?" where not readable */
};

/**
 * client_identify() - ask the kernel who connected @sock. @device_names: comma-
 * separated fnmatch(3) patterns. Always gives an answer.
 */
void client_identify(int sock, const char *device_names, struct client *c);

/**
 * client_groups() - the supplementary groups of who connected @sock, as many as fit; 0 also where
 * they can't be told.
 */
uint32_t client_groups(int sock, gid_t *groups, uint32_t most);

/** client_is_device() - does base name @exe match one of @device_names? */
bool client_is_device(const char *exe, const char *device_names);

/**
 * client_parse_limits() - the soft limit of "Max open files" out of the text of
 * /proc/PID/limits (proc(5)). Returns false where it is not there; "unlimited" is
 * UINT32_MAX.
 */
bool client_parse_limits(const char *text, uint32_t *soft);

/* Descriptors that a device's process must keep for itself: QEMU 7.2 was seen to
 * use 14 to 22 beside its peers', and a running VM opens more (disks, monitors). */
#define PROCESS_RESERVE 64

/* Where nothing can be read: the usual soft limit, and a rich QEMU's own use. */
#define PROCESS_LIMIT_ASSUMED 1024
#define PROCESS_USE_ASSUMED   128

/* What one process may still be sent. */
struct process {
	pid_t pid;
	uint32_t told;      /* descriptors sent to it since we know it */
	uint32_t room;      /* ... that may be sent before we look again */
	uint32_t limit;     /* at the last look */
	uint32_t used;      /* at the last look, those in flight included */
	uint64_t looked_ns; /* when it was found full; 0: it was not */
};

/** process_open() - nothing known of @pid yet. */
void process_open(struct process *p, pid_t pid);

/**
 * process_take() - may @descriptors more be sent to it? @in_flight: those that its
 * sockets may hold unread; only asked for (by calling @count) where the process has
 * to be looked at. A look allows half of what is left, so that others who make it
 * open descriptors (another device, a disk) are noticed in time. A full process is
 * looked at once a second at most. @now_ns: CLOCK_MONOTONIC.
 */
bool process_take(struct process *p, uint32_t descriptors, uint64_t now_ns,
	uint32_t (*in_flight)(void *), void *argument);

#endif
