/* SPDX-License-Identifier: MIT */
/*
 * memory.h - the file that every peer maps: made, checked and sealed here.
 *
 * Mapped in mailbox.c only. Main thread, at start and at the end only.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

#define MEMORY_BYTES_MIN 4096u
/* 1 TiB is more than a guest's 40 physical address bits can place. */
#define MEMORY_BYTES_MAX (UINT64_C(1) << 40)

enum memory_kind {
	MEMORY_SEALED, /* anonymous, can neither shrink nor grow */
	MEMORY_SHM,    /* POSIX object `name` */
	MEMORY_PATH,   /* file `name`, or an unnamed one in the folder `name` */
};

struct memory {
	int fd;
	uint64_t bytes; /* a power of two >= 4096, else QEMU aborts */
	enum memory_kind kind;
	const char *name; /* borrowed */
	bool made;        /* we made the named object; memory_close() removes it */
	bool named;
	bool existed;   /* it has what somebody wrote before */
	uint64_t inode; /* of the named object; 0: not known yet */
	/* What of it the file system has room for, where that is not all; 0: all, or not known */
	uint64_t room;
};

/**
 * memory_round() - the power of two, at least one page, that holds @bytes.
 * 0 where that is beyond MEMORY_BYTES_MAX.
 */
uint64_t memory_round(uint64_t bytes);

/**
 * memory_open() - make it, or take an existing one by name that is ours to use, large
 * enough and a power of two; that one keeps its size, and its content.
 * @bytes: of one that is made; from memory_round().
 * @least: that an existing one must have; 0: whatever it has.
 * On failure -errno, and @why says in one line what was wrong and what would be right.
 */
int memory_open(struct memory *m, enum memory_kind kind, const char *name, uint64_t bytes,
	uint64_t least, struct why *why);

/** memory_page_bytes() - what comes and goes as one: more than usual on hugetlbfs. */
uint64_t memory_page_bytes(int fd);

/** memory_close() - and remove the name if we made it. */
void memory_close(struct memory *m);

#endif
