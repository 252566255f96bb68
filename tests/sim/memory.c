/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the shared memory: one for the broker and for all who are handed it.
 *
 * It outlives every broker, as does what a real one has in its page cache. Mapped it is at the
 * same place for everybody.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "mailbox.h"

/* For SIM_PEERS_MAX peers, and lanes of the least size. */
static void *memory;
static uint64_t memory_bytes;
static struct mailbox *mapped; /* the broker's, while there is one */

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);
int __wrap_madvise(void *at, size_t bytes, int advice);
ssize_t __wrap_getrandom(void *bytes, size_t count, unsigned flags);
long __wrap_sysconf(int name);
long __real_sysconf(int name);
int __real_mailbox_open(struct mailbox *m, const struct memory *of, const struct mailbox_wish *wish,
	struct why *why);
int __wrap_mailbox_open(struct mailbox *m, const struct memory *of, const struct mailbox_wish *wish,
	struct why *why);
int __real_mailbox_attach(struct mailbox *m, const struct memory *of,
	const struct mailbox_wish *wish, uint32_t generation, struct why *why);
int __wrap_mailbox_attach(struct mailbox *m, const struct memory *of,
	const struct mailbox_wish *wish, uint32_t generation, struct why *why);

void sim_touch(void)
{
	unsigned every = world.calm ? SIM_TOUCH_CALM : world.touch_every;

	if (world.touch_every && fiber_now() && draw(every) == 0)
		fiber_yield();
}

uint64_t memory_make(uint32_t ids)
{
	uint64_t needs = ids < 3 ? 4096 : famez_geometry_needs(ids, FAMEZ_LANE_BYTES_MIN);

	for (memory_bytes = 4096; memory_bytes < needs;)
		memory_bytes *= 2;
	memory = aligned_alloc(4096, memory_bytes);
	assert(memory);
	memset(memory, 0, memory_bytes);
	return memory_bytes;
}

void memory_forget(void)
{
	__real_free(memory);
	memory = NULL;
}

void *memory_map(void)
{
	return memory;
}

uint64_t memory_size(void)
{
	return memory_bytes;
}

/* Its tables went with its heap, and it is another one that guards the pages next. */
void memory_end_of_broker(void)
{
	if (!mapped || !mapped->base)
		return;
	mapped->members = NULL;
	mailbox_close(mapped);
	mapped = NULL;
}

int __wrap_mailbox_open(struct mailbox *m, const struct memory *of, const struct mailbox_wish *wish,
	struct why *why)
{
	mapped = m;
	return __real_mailbox_open(m, of, wish, why);
}

int __wrap_mailbox_attach(struct mailbox *m, const struct memory *of,
	const struct mailbox_wish *wish, uint32_t generation, struct why *why)
{
	mapped = m;
	return __real_mailbox_attach(m, of, wish, generation, why);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	(void)at;
	(void)protection;
	(void)flags;
	(void)offset;
	kernel_enter();
	assert(bytes == memory_bytes && kernel_file(fd) && kernel_file(fd)->kind == FILE_MEMORY);
	if (!world_fault())
		return memory;
	errno = ENOMEM;
	return MAP_FAILED;
}

int __wrap_munmap(void *at, size_t bytes)
{
	assert(at == memory && bytes == memory_bytes);
	return 0;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	(void)at;
	(void)bytes;
	(void)advice;
	return 0;
}

ssize_t __wrap_getrandom(void *bytes, size_t count, unsigned flags)
{
	(void)flags;
	for (size_t n = 0; n < count; n++)
		((unsigned char *)bytes)[n] = (unsigned char)draw(256);
	return (ssize_t)count;
}

/* With one processor nobody polls. */
long __wrap_sysconf(int name)
{
	return name == _SC_NPROCESSORS_ONLN ? 1 + (long)(world.seed % 2) : __real_sysconf(name);
}
