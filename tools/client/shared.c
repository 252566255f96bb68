/* SPDX-License-Identifier: MIT */
/*
 * shared.c - look into the shared memory, and write to it, without dying.
 *
 * Anyone who holds an unsealed file can truncate it, and then whoever touches
 * the mapping gets SIGBUS. So the kernel touches it for us: it copies through
 * a pipe, and where the file ends early that is EFAULT.
 */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Fits an empty pipe at once, so neither side ever waits. */
#define CHUNK 4096

static int copy(unsigned char *to, const unsigned char *from, size_t count)
{
	int ends[2];
	int err = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	while (count && !err) {
		ssize_t put = write(ends[1], from, count < CHUNK ? count : CHUNK);
		ssize_t got = put > 0 ? read(ends[0], to, (size_t)put) : put;

		if (got < 0)
			err = -errno;
		else if (got == 0 || got < put)
			err = -EFAULT;
		else
			count -= (size_t)got;
		to += got > 0 ? got : 0;
		from += got > 0 ? got : 0;
	}
	(void)close(ends[0]); /* ours alone, nothing in it matters */
	(void)close(ends[1]);
	return err;
}

int shared_read(void *to, const void *shared, size_t count)
{
	return copy(to, shared, count);
}

int shared_write(void *shared, const void *from, size_t count)
{
	return copy(shared, from, count);
}
