/* SPDX-License-Identifier: MIT */
/*
 * broker.h - the famez-server of a run that was not given one.
 */
#ifndef VM_BROKER_H
#define VM_BROKER_H

#include <stddef.h>
#include <sys/types.h>

/* How long it may take to be ready, and to end. */
#define BROKER_READY_MS 30000
#define BROKER_END_MS   15000u

struct broker {
	pid_t pid;        /* 0: it is somebody else's */
	char socket[108]; /* sun_path's size */
};

/** broker_start() - in @folder, for @peers with @vectors each; it is ready. @binds: a file that
 * says which VM has which ID. Says why it fails. Returns 0 or -1. */
int broker_start(
	struct broker *b, const char *folder, unsigned peers, unsigned vectors, const char *binds);

/** broker_ask() - of a broker that is there: the vectors that it gives, and its memory's size; by
 * joining for a moment. Says why it fails. Returns 0 or -1. */
int broker_ask(const char *socket, unsigned *vectors, size_t *bytes);

/** broker_end() - it is ended, and waited for. */
void broker_end(struct broker *b);

#endif
