/* SPDX-License-Identifier: MIT */
/*
 * state_map.c - the state memory as a memfd that the keeper holds and all its brokers map.
 *
 * Knows how large it is, not what is in it.
 */
#include "state_map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys.h"

static int map(int fd, uint64_t bytes, void **at, struct why *why)
{
	int err = sys_mmap(fd, bytes, at);

	if (err)
		return why_fail(
			why, err, "state: cannot map %" PRIu64 " bytes: %s", bytes, strerror(-err));
	(void)madvise(*at, bytes, MADV_DONTDUMP);
	return 0;
}

static int take_part(int fd, uint64_t at, uint64_t bytes)
{
	return bytes ? sys_fallocate(fd, 0, (off_t)at, (off_t)bytes) : 0;
}

/* What nobody writes before somebody enters a group, or there is much to log: taken now, or it
 * might not be there then. The rest is written at the start, or by the registrar for a newcomer. */
static int take_parts(int fd, const struct state_wish *wish)
{
	int err = take_part(fd, state_groups_at(wish), state_groups_bytes(wish));

	return err ? err : take_part(fd, state_logs_at(wish), state_logs_bytes(wish));
}

int state_create(struct state *s, const struct state_wish *wish, struct why *why)
{
	uint64_t bytes = state_bytes(wish);
	void *memory = NULL;
	int fd, err;

	fd = sys_memfd("famez-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return why_fail(why, fd, "state: memfd_create: %s", strerror(-fd));
	err = sys_ftruncate(fd, (off_t)bytes);
	if (!err)
		err = take_parts(fd, wish);
	if (!err)
		err = sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (err) {
		(void)why_fail(why, err, "state: cannot make a memory of %" PRIu64 " bytes: %s",
			bytes, strerror(-err));
		goto undo_fd;
	}
	err = map(fd, bytes, &memory, why);
	if (err)
		goto undo_fd;
	state_memory_init(s, memory, wish);
	s->fd = fd;
	s->live->state_fd = fd;
	return 0;

undo_fd:
	(void)close(fd);
	return err;
}

/* Only its head, and read only: nothing in it may be relied on yet. */
int state_check_fd(int fd, struct why *why)
{
	struct state_head head = {0};
	struct stat st = {0};
	const char *wrong;

	if (sys_fstat(fd, &st) != 0)
		return why_fail(why, -EPROTO, "state: descriptor %d is not open", fd);
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return why_fail(why, -EPROTO, "state: descriptor %d is too short for one", fd);
	wrong = state_memory_check(&head, (uint64_t)st.st_size);
	if (wrong)
		return why_fail(why, -EPROTO, "state: descriptor %d: %s", fd, wrong);
	return 0;
}

int state_attach(struct state *s, int fd, struct why *why)
{
	struct state_head head;
	void *memory = NULL;
	int err;

	err = state_check_fd(fd, why);
	if (err)
		return err;
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return why_fail(why, -EIO, "state: descriptor %d cannot be read", fd);
	err = map(fd, head.bytes, &memory, why);
	if (err)
		return err;
	state_memory_open(s, memory);
	s->fd = fd;
	s->live->state_fd = fd;
	return 0;
}

void state_unmap(struct state *s)
{
	int fd = s->fd;

	(void)munmap(s->head, s->head->bytes);
	if (fd >= 0)
		(void)close(fd);
	*s = (struct state){.fd = -1};
}

uint64_t state_pin_bytes(const struct state *s)
{
	return s->head->wish.workers * sizeof(*s->workers);
}

int state_pin(struct state *s)
{
	size_t bytes = state_pin_bytes(s);
	volatile char *at = (volatile char *)s->workers;

	if (mlock(s->workers, bytes) == 0)
		return 0;
	for (size_t i = 0; i < bytes; i += 4096)
		at[i] = at[i];
	return -errno;
}
