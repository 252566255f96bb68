/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - the kernel that guests boot. See kernel.c.
 */
#ifndef VM_KERNEL_H
#define VM_KERNEL_H

#include <limits.h>

#define KERNEL_RELEASE_BYTES 128

struct kernel {
	char image[PATH_MAX];               /* the distribution's */
	char release[KERNEL_RELEASE_BYTES]; /* as uname -r */
	char boots[PATH_MAX]; /* what QEMU is given: unpacked, in the cache, where it can be */
};

/**
 * kernel_get() - @image, or the newest readable /boot/vmlinuz-*; unpacked into @cache unless it is
 * there already. Says what it does if that takes a while, and why it fails. Returns 0 or -1.
 */
int kernel_get(struct kernel *k, const char *image, const char *cache);

#endif
