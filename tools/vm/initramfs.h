/* SPDX-License-Identifier: MIT */
/*
 * initramfs.h - what guests have besides the kernel. See initramfs.c.
 */
#ifndef VM_INITRAMFS_H
#define VM_INITRAMFS_H

#include <stddef.h>

/* Bytes of the folders of libraries, as LD_LIBRARY_PATH has them, with their NUL. */
#define INITRAMFS_LIBRARIES_BYTES 512

struct initramfs {
	const char *to;              /* where it is written */
	const char *const *programs; /* of the host: they, and their libraries, are in /bin */
	size_t programs_count;
	const char *module; /* famez.ko; NULL: none */
	const char *exec;   /* text of a shell script; NULL: a shell for people */
};

/** initramfs_make() - write it. @libraries: out. Says why it fails. Returns 0 or -1. */
int initramfs_make(const struct initramfs *i, char libraries[INITRAMFS_LIBRARIES_BYTES]);

#endif
