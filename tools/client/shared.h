/* SPDX-License-Identifier: MIT */
/*
 * shared.h - look into the shared memory, and write to it. See shared.c.
 */
#ifndef CLIENT_SHARED_H
#define CLIENT_SHARED_H

#include <stddef.h>

/** shared_read() - copy out of the shared memory. Returns 0, or -EFAULT (its file has shrunk). */
int shared_read(void *to, const void *shared, size_t count);

/** shared_write() - copy into the shared memory. Returns 0, or -EFAULT (its file has shrunk). */
int shared_write(void *shared, const void *from, size_t count);

#endif
