/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the file that every peer maps: made, checked and sealed here.
 *
 * A file that others have mapped is never truncated: whoever touches a page that
 * is gone dies by SIGBUS, and a size that is no power of two makes QEMU abort.
 */
#include "memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "sys.h"

#define HUGETLBFS_MAGIC 0x958458f6 /* linux/magic.h */

uint64_t memory_round(uint64_t bytes)
{
	uint64_t size = MEMORY_BYTES_MIN;

	if (bytes > MEMORY_BYTES_MAX)
		return 0;
	while (size < bytes)
		size *= 2;
	return size;
}

uint64_t memory_page_bytes(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return (uint64_t)fs.f_bsize;
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The file has holes, and who touches one that there is no room for dies by SIGBUS: a VM. */
static uint64_t room_of(const struct memory *m)
{
	struct statfs fs;
	struct stat st;
	uint64_t blocks, room;

	if (fstatfs(m->fd, &fs) != 0 || fstat(m->fd, &st) != 0 || !fs.f_blocks || fs.f_bsize <= 0)
		return 0;
	blocks = m->bytes / (uint64_t)fs.f_bsize;
	room = (uint64_t)fs.f_bavail + (uint64_t)st.st_blocks * 512 / (uint64_t)fs.f_bsize;
	return room < blocks ? room * (uint64_t)fs.f_bsize : 0;
}

/* Give a new, empty file its size. Where it is on hugetlbfs, pages that are not
 * there would be a SIGBUS in a guest: one page at least. */
static int size_new(struct memory *m, uint64_t bytes, struct why *why)
{
	uint64_t page_bytes = memory_page_bytes(m->fd);
	int err;

	if (bytes < page_bytes)
		bytes = page_bytes;
	err = sys_ftruncate(m->fd, (off_t)bytes);
	if (err < 0)
		return why_fail(why, err, "memory: cannot make it %llu bytes large: %s",
			(unsigned long long)bytes, strerror(-err));
	m->bytes = bytes;
	return 0;
}

static int open_sealed(struct memory *m, uint64_t bytes, struct why *why)
{
	int err;

	m->fd = sys_memfd("famez", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0)
		return why_fail(why, m->fd, "memory: memfd_create: %s", strerror(-m->fd));
	err = size_new(m, bytes, why);
	if (err)
		return err;
	err = sys_fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (err < 0)
		return why_fail(why, err, "memory: cannot seal it: %s", strerror(-err));
	return 0;
}

static int take_existing(
	struct memory *m, uint64_t bytes, uint64_t least, const struct stat *st, struct why *why)
{
	uint64_t there = (uint64_t)st->st_size;

	if (!S_ISREG(st->st_mode))
		return why_fail(why, -EINVAL, "memory: %s is no regular file", m->name);
	if (st->st_uid != geteuid())
		return why_fail(why, -EPERM,
			"memory: %s belongs to user %u; choose another name or remove it", m->name,
			st->st_uid);
	if (there == 0)
		return size_new(m, bytes, why);
	if (there < least)
		return why_fail(why, -EFBIG,
			"memory: %s exists with %llu bytes, %llu are wanted, and it is never "
			"resized "
			"under its users; remove it or ask for -l %llu",
			m->name, (unsigned long long)there, (unsigned long long)least,
			(unsigned long long)there);
	if (memory_round(there) != there)
		return why_fail(why, -EINVAL,
			"memory: %s exists with %llu bytes, which is no power of two (QEMU would "
			"abort); remove it",
			m->name, (unsigned long long)there);
	m->bytes = there;
	m->existed = true;
	return 0;
}

static int open_by_name(const struct memory *m, int flags)
{
	flags |= O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
	if (m->kind == MEMORY_SHM)
		return sys_shm_open(m->name, flags & ~O_NOCTTY, 0600);
	return sys_open(m->name, flags, 0600);
}

static int open_named(struct memory *m, uint64_t bytes, uint64_t least, struct why *why)
{
	struct stat st = {0};
	int err;

	m->named = true;
	m->fd = open_by_name(m, O_CREAT | O_EXCL);
	m->made = m->fd >= 0;
	if (m->fd == -EEXIST)
		m->fd = open_by_name(m, 0);
	if (m->fd < 0)
		return why_fail(
			why, m->fd, "memory: cannot open %s: %s", m->name, strerror(-m->fd));
	err = sys_fstat(m->fd, &st);
	if (err < 0)
		return why_fail(why, err, "memory: %s: %s", m->name, strerror(-err));
	m->inode = st.st_ino;
	return m->made ? size_new(m, bytes, why) : take_existing(m, bytes, least, &st, why);
}

int memory_open(struct memory *m, enum memory_kind kind, const char *name, uint64_t bytes,
	uint64_t least, struct why *why)
{
	struct stat st;
	int err;

	assert(memory_round(bytes) == bytes);
	*m = (struct memory){.fd = -1, .kind = kind, .name = name};
	if (kind == MEMORY_SEALED) {
		err = open_sealed(m, bytes, why);
	} else if (kind == MEMORY_PATH && stat(name, &st) == 0 && S_ISDIR(st.st_mode)) {
		m->fd = sys_open(name, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (m->fd == -EOPNOTSUPP || m->fd == -EISDIR) {
			/* hugetlbfs has no unnamed files before 6.x: name it briefly. */
			char path[4096];

			(void)snprintf(path, sizeof(path), "%s/famez.XXXXXX", name);
			m->fd = mkostemp(path, O_CLOEXEC);
			if (m->fd < 0)
				m->fd = -errno;
			else
				(void)unlink(path);
		}
		err = m->fd < 0 ? why_fail(why, m->fd, "memory: cannot make a file in %s: %s", name,
					  strerror(-m->fd))
				: size_new(m, bytes, why);
	} else {
		err = open_named(m, bytes, least, why);
	}
	if (err)
		memory_close(m);
	else if (kind != MEMORY_SEALED)
		m->room = room_of(m);
	return err;
}

void memory_close(struct memory *m)
{
	struct stat st;

	/* Only the file that we made; somebody may have put another there. */
	if (m->named && m->made) {
		int there = open_by_name(m, 0);
		bool ours = there >= 0 && fstat(there, &st) == 0 &&
			    (st.st_ino == m->inode || !m->inode);

		if (there >= 0)
			(void)close(there);
		if (ours && m->kind == MEMORY_SHM)
			(void)shm_unlink(m->name);
		else if (ours)
			(void)unlink(m->name);
	}
	if (m->fd >= 0)
		(void)close(m->fd);
	*m = (struct memory){.fd = -1};
}
