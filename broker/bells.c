/* SPDX-License-Identifier: MIT */
/*
 * bells.c - the eventfds: one for each ID and vector.
 *
 * Never touches sockets or memory shared with guests.
 */
#include "bells.h"

#include <assert.h>
#include <errno.h>
#include <sys/uio.h>

#include "sandbox_calls.h"
#include "state.h"
#include "sys.h"

SANDBOX_BROKER(CALL(close), CALL(eventfd2), CALL(fcntl, {1, SANDBOX_ALL, F_SETFL}), CALL(preadv2));

void bells_init(struct bells *b, int *fds, uint32_t ids_max, uint16_t vectors)
{
	*b = (struct bells){.ids_max = ids_max, .vectors = vectors, .fds = fds};
}

void bells_destroy(struct bells *b)
{
	for (size_t i = 0; i < (size_t)b->ids_max * b->vectors; i++) {
		if (b->fds[i] >= 0)
			(void)close(b->fds[i]);
		b->fds[i] = -1;
	}
	*b = (struct bells){0};
}

uint64_t bells_take(int fd)
{
	uint64_t count = 0;
	struct iovec io = {.iov_base = &count, .iov_len = sizeof(count)};

	/* O_NONBLOCK is the peers' to change; RWF_NOWAIT (preadv2(2)) is ours. */
	if (preadv2(fd, &io, 1, -1, RWF_NOWAIT) != sizeof(count))
		return 0;
	return count;
}

int bells_prepare(struct bells *b, uint32_t id)
{
	assert(id < b->ids_max);
	for (uint16_t vector = 0; vector < b->vectors; vector++) {
		int *fd = &b->fds[(size_t)id * b->vectors + vector];
		int res;

		if (*fd < 0) {
			res = sys_eventfd(EFD_CLOEXEC | EFD_NONBLOCK);
			if (res < 0)
				return res;
			*fd = res;
			state_point();
			continue;
		}
		res = sys_fcntl(*fd, F_SETFL, O_RDWR | O_NONBLOCK);
		if (res < 0)
			return res;
		(void)bells_take(*fd);
	}
	return 0;
}
