/* SPDX-License-Identifier: MIT */
/*
 * cpio.h - an initramfs: an archive in the form that Linux unpacks at its start.
 *
 * The form is "newc" (Linux Documentation/driver-api/early-userspace/buffer-format.rst). Writes
 * to a stream of the caller's, who looks for its errors once at the end; owns nothing else.
 */
#ifndef VM_CPIO_H
#define VM_CPIO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct cpio {
	FILE *to;
	uint32_t inode;
};

/** cpio_folder(), cpio_link() - @name without a leading '/'; its folder must have come before. */
void cpio_folder(struct cpio *c, const char *name);
void cpio_link(struct cpio *c, const char *name, const char *target);

/** cpio_bytes() - a file with this content. @mode: its permissions. */
void cpio_bytes(struct cpio *c, const char *name, unsigned mode, const void *bytes, size_t count);

/** cpio_file() - a copy of a file of the host. Returns 0 or -errno. */
int cpio_file(struct cpio *c, const char *name, unsigned mode, const char *from);

/** cpio_end() - the archive's last record. */
void cpio_end(struct cpio *c);

#endif
