/* SPDX-License-Identifier: MIT */
/*
 * cpio.c - see cpio.h.
 */
#include "cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A record's head, its name, and its data each end at a multiple of this. */
#define ALIGN      4u
#define HEAD_BYTES 110u

static void pad(struct cpio *c, size_t bytes)
{
	static const char zeros[ALIGN];

	(void)fwrite(zeros, 1, (ALIGN - bytes % ALIGN) % ALIGN, c->to);
}

static void record(struct cpio *c, const char *name, unsigned mode, const void *bytes, size_t count)
{
	size_t name_bytes = strlen(name) + 1;

	/* inode, mode, uid, gid, links, time, size, device (2), number (2), name, checksum */
	(void)fprintf(c->to, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
		++c->inode, mode, 0u, 0u, 1u, 0u, count, 0u, 0u, 0u, 0u, name_bytes, 0u);
	(void)fwrite(name, 1, name_bytes, c->to);
	pad(c, HEAD_BYTES + name_bytes);
	if (count)
		(void)fwrite(bytes, 1, count, c->to);
	pad(c, count);
}

void cpio_folder(struct cpio *c, const char *name)
{
	record(c, name, S_IFDIR | 0755, NULL, 0);
}

void cpio_link(struct cpio *c, const char *name, const char *target)
{
	record(c, name, S_IFLNK | 0777, target, strlen(target));
}

void cpio_bytes(struct cpio *c, const char *name, unsigned mode, const void *bytes, size_t count)
{
	record(c, name, S_IFREG | mode, bytes, count);
}

int cpio_file(struct cpio *c, const char *name, unsigned mode, const char *from)
{
	int fd = open(from, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;
	void *bytes;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		err = -errno;
	} else if (!S_ISREG(st.st_mode) || st.st_size > UINT32_MAX) {
		err = -EINVAL;
	} else if (!st.st_size) {
		cpio_bytes(c, name, mode, NULL, 0);
	} else {
		bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes == MAP_FAILED) {
			err = -errno;
		} else {
			cpio_bytes(c, name, mode, bytes, (size_t)st.st_size);
			(void)munmap(bytes, (size_t)st.st_size);
		}
	}
	(void)close(fd); /* only read from */
	return err;
}

void cpio_end(struct cpio *c)
{
	record(c, "TRAILER!!!", 0, NULL, 0);
}
