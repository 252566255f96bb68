/* SPDX-License-Identifier: MIT */
/*
 * guest.h - one VM of a run: its QEMU, its console, and what it tells. See guest.c.
 */
#ifndef VM_GUEST_H
#define VM_GUEST_H

#include "plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a console keeps for who looks at it later, and what waits for a guest that reads slowly. */
#define GUEST_SAID_BYTES  8192u
#define GUEST_WAITS_BYTES 4096u

enum guest_state {
	GUEST_BOOTS,
	GUEST_READY,
	GUEST_ENDED, /* by itself, with a code */
	GUEST_DIED,  /* QEMU is gone, and the guest had not said why */
};

struct guest {
	unsigned node; /* from 1 */
	enum guest_state state;
	int id;         /* in the fabric; -1: no driver said so */
	int code;       /* ENDED: of its shell, or of what --exec ran */
	pid_t pid;      /* 0: waited for */
	int console;    /* -1: closed */
	int control;    /* the same */
	char line[128]; /* from the control port, up to its end */
	size_t line_bytes;
	char said[GUEST_SAID_BYTES]; /* the console's last words */
	size_t said_bytes;
	char waits[GUEST_WAITS_BYTES]; /* for the console */
	size_t waits_bytes;
};

/** What all guests of a run have in common. All borrowed. */
struct guest_kind {
	const struct plan *plan;
	const char *qemu, *kernel, *initramfs, *libraries, *accel, *folder;
};

/** guest_start() - QEMU runs. Says why it fails. Returns 0 or -1. */
int guest_start(struct guest *g, unsigned node, const struct guest_kind *kind);

/** guest_hear() - the control port is readable. */
void guest_hear(struct guest *g);

/** guest_read() - the console is readable: up to @size bytes, which are kept as well. Returns how
 * many; 0: it is closed, or there was nothing. */
size_t guest_read(struct guest *g, char *into, size_t size);

/** guest_type() - to the console; what has no room is dropped. */
void guest_type(struct guest *g, const char *bytes, size_t count);

/** guest_flush() - the console takes more. */
void guest_flush(struct guest *g);

/** guest_on_end() - its QEMU was waited for. Says so if that was not to be expected. */
void guest_on_end(struct guest *g, int code, const char *folder);

/** guest_last_words() - says what its console does of why it ended. */
void guest_last_words(const struct guest *g);

/** guest_close() - the end, QEMU's too. */
void guest_close(struct guest *g);

#endif
