/* SPDX-License-Identifier: MIT */
/*
 * binds.h - which VM has which ID, so that it comes back as the same peer. famez-server(8),
 * "Bound IDs". A VM is known by its user, name or UUID, or by the socket that it comes to: one
 * of the ID's own (gates.h).
 *
 * The struct is plain bytes without pointers, for the state memory. Pure.
 */
#ifndef BINDS_H
#define BINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines.h"
#include "qemu_args.h"
#include "why.h"

#define BINDS_MAX 4096u

/* sockaddr_un's path, the NUL included; unix(7). */
#define BIND_SOCKET_BYTES 108u

/* One line: all of it must hold. */
struct bind {
	uint32_t id, uid;
	bool by_uid, by_uuid;
	uint8_t uuid[QEMU_UUID_BYTES];
	char name[LINE_PATTERN_BYTES];  /* fnmatch(3) pattern; empty: any */
	char socket[BIND_SOCKET_BYTES]; /* the ID's own; empty: the fabric's */
};

struct binds {
	uint32_t count;
	struct bind lines[BINDS_MAX];
};

/**
 * binds_parse() - read a file's @text. IDs are those of peers, @first..@first+@peers-1. @b is
 * rubbish on failure. Returns 0, or -EINVAL with one line in @why.
 */
int binds_parse(struct binds *b, uint32_t first, uint32_t peers, const char *file, const char *text,
	size_t bytes, struct why *why);

/** binds_want_args() - does any line ask for a QEMU's name or UUID? */
bool binds_want_args(const struct binds *b);

/** binds_fits() - do user, name and UUID of this client fit the line? */
bool binds_fits(const struct bind *line, uint32_t uid, const struct qemu_args *args);

/**
 * binds_find() - the first line from @from on that holds for this client of the fabric's socket,
 * or b->count.
 */
uint32_t binds_find(
	const struct binds *b, uint32_t from, uint32_t uid, const struct qemu_args *args);

/** binds_own() - the line that gives @id a socket of its own, or NULL. */
const struct bind *binds_own(const struct binds *b, uint32_t id);

/** binds_same_sockets() - have the same IDs the same sockets, in the same order? */
bool binds_same_sockets(const struct binds *a, const struct binds *b);

#endif
