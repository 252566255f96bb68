/* SPDX-License-Identifier: MIT */
/*
 * bells.c - rings doorbells and hears them, each accounted for.
 *
 * Owns an epoll over eventfds that are the store's; reads and writes these, and nothing else. One
 * thread, the fleet's.
 */
#include "bells.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READY_MAX 256

static struct bells_owed *owed_to(const struct bells *b, unsigned vm, unsigned vector)
{
	return &b->owed[(uint64_t)fleet_index(b->fleet, vm) * b->fleet->vectors + vector];
}

/* What our VM `from` rings with: a witness has a copy of its own. -1: with its device. */
static int bell_of(const struct bells *b, unsigned from, unsigned to, unsigned vector)
{
	const struct fleet_vm *v = fleet_vm(b->fleet, from);

	if (v->witness)
		return famez_bell_fd(v->famez, (uint16_t)board_id(b->board, to), (uint16_t)vector);
	return b->fds[(uint64_t)to * b->fleet->vectors + vector];
}

static int no_bell(const struct bells *b, unsigned vm, unsigned vector, int err)
{
	return verdict_give(b->fleet->verdict, VERDICT_LOST,
		"the eventfd of peer %d, vector %u, is not to be used: %s", board_id(b->board, vm),
		vector, strerror(-err));
}

/* All copies of an eventfd are one open file: to look at ours is to look at all. */
static int looks_well(struct bells *b, unsigned vm, unsigned vector)
{
	bool devices = b->fleet->config.devices,
	     ours = board_process_of(b->board, vm) == b->fleet->config.process;
	int fd = !devices ? fleet_bell(b->fleet, vm, vector)
		 : ours   ? famez_bell_fd(fleet_vm(b->fleet, vm)->famez,
				    (uint16_t)board_id(b->board, vm), (uint16_t)vector)
			  : -1;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (devices && !ours) {
		b->fds[(uint64_t)vm * b->fleet->vectors + vector] = -1;
		return 0;
	}
	if (fd < 0)
		return no_bell(b, vm, vector, fd);
	if (flags < 0)
		return no_bell(b, vm, vector, -errno);
	b->fds[(uint64_t)vm * b->fleet->vectors + vector] = fd;
	if (flags & O_NONBLOCK)
		return 0;
	return verdict_give(b->fleet->verdict, VERDICT_LOST,
		"somebody switched the eventfd of peer %d, vector %u, to blocking",
		board_id(b->board, vm), vector);
}

static int listen_to(struct bells *b, unsigned vm, bool listen)
{
	for (unsigned vector = 0; vector < b->fleet->vectors; vector++) {
		struct epoll_event event = {
			.events = EPOLLIN, .data.u64 = (uint64_t)vm << 32 | vector};
		int fd = famez_bell_fd(fleet_vm(b->fleet, vm)->famez,
			(uint16_t)board_id(b->board, vm), (uint16_t)vector);

		if (epoll_ctl(b->epoll, listen ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event))
			return no_bell(b, vm, vector, -errno);
	}
	return 0;
}

int bells_open(struct bells *b, struct fleet *fleet)
{
	*b = (struct bells){.fleet = fleet, .board = fleet->board, .epoll = -1};
	b->owed = calloc((uint64_t)fleet->mine * fleet->vectors, sizeof(*b->owed));
	b->fds = calloc((uint64_t)b->board->peers * fleet->vectors, sizeof(*b->fds));
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b->owed == NULL || b->fds == NULL || b->epoll < 0)
		return verdict_give(
			fleet->verdict, VERDICT_LOST, "cannot listen: %s", strerror(errno));
	if (fleet_apart(fleet, true))
		return -1;
	fleet->on_doorbell = bells_heard;
	fleet->context = b;
	for (unsigned vm = 0; vm < b->board->peers; vm++)
		for (unsigned vector = 0; vector < fleet->vectors; vector++)
			if (looks_well(b, vm, vector))
				return -1;
	for (unsigned k = 0; k < fleet->mine; k++)
		if (listen_to(b, fleet_number(fleet, k), true))
			return -1;
	return 0;
}

void bells_close(struct bells *b)
{
	if (b->fleet) {
		b->fleet->on_doorbell = NULL;
		(void)fleet_apart(b->fleet, false); /* its verdict is found later */
	}
	if (b->epoll >= 0)
		(void)close(b->epoll); /* nothing was written through it */
	free(b->owed);
	free(b->fds);
	*b = (struct bells){.epoll = -1};
}

int bells_deafen(struct bells *b, unsigned vm, bool deaf)
{
	if (fleet_vm(b->fleet, vm)->deaf == deaf)
		return 0;
	return fleet_deafen(b->fleet, vm, deaf) || listen_to(b, vm, !deaf) ? -1 : 0;
}

int bells_ring(
	struct bells *b, unsigned from, unsigned to, unsigned vector, uint8_t kind, uint64_t t_ns)
{
	static const uint64_t one = 1;
	uint32_t number = board_take(b->board, b->fleet->config.process, &b->hint);
	struct board_post *post;
	int fd, err = 0;

	if (number == 0)
		return -EAGAIN;
	post = board_post(b->board, number);
	post->from = from;
	post->to = to;
	post->vector = (uint16_t)vector;
	post->kind = kind;
	post->t_ns = t_ns;
	board_put(b->board, number);
	if (b->fleet->config.devices) {
		err = famez_ring(fleet_vm(b->fleet, from)->famez, (uint16_t)board_id(b->board, to),
			(uint16_t)vector);
	} else {
		fd = bell_of(b, from, to, vector);
		if (fd < 0)
			err = fd;
		else if (write(fd, &one, sizeof(one)) != sizeof(one))
			err = -errno;
	}
	if (err)
		return verdict_give(b->fleet->verdict, VERDICT_LOST,
			"peer %d cannot ring peer %d, vector %u: %s", board_id(b->board, from),
			board_id(b->board, to), vector, strerror(-err));
	return 0;
}

/* Adds what lies on the board to what is owed a ring. */
static void collect(struct bells *b, unsigned vm, unsigned vector, struct bells_owed *owed)
{
	uint32_t first = board_collect(b->board, vm, vector), at = first;

	if (first == 0)
		return;
	while (board_post(b->board, at)->next)
		at = board_post(b->board, at)->next;
	if (owed->first)
		board_post(b->board, owed->last)->next = first;
	else
		owed->first = first;
	owed->last = at;
}

uint64_t bells_heard(void *context, unsigned vm, unsigned vector, uint64_t count)
{
	struct bells *b = context;
	struct bells_owed *owed = owed_to(b, vm, vector);
	uint64_t n = 0;

	if (vector >= b->fleet->vectors)
		return 0;
	if (b->fleet->config.devices)
		count = UINT64_MAX;
	for (; n < count; n++) {
		uint32_t number;
		struct board_post post;

		/* They may be more than rings by now; then their rings are still to come. */
		if (owed->first == 0)
			collect(b, vm, vector, owed);
		number = owed->first;
		if (number == 0)
			break;
		post = *board_post(b->board, number);
		owed->first = post.next;
		board_give_back(b->board, number);
		/* If it was one of ours it is the one that is warm. */
		board_hint(b->board, b->fleet->config.process, number, &b->hint);
		if (b->on_ring(b->context, &post))
			b->failed = -1;
	}
	return n;
}

int bells_turn(struct bells *b, int64_t timeout_ns)
{
	struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
	struct epoll_event ready[READY_MAX];
	int n, heard = 0;

	n = epoll_pwait2(b->epoll, ready, READY_MAX, timeout_ns < 0 ? NULL : &timeout, NULL);
	if (n < 0 && errno != EINTR)
		return verdict_give(
			b->fleet->verdict, VERDICT_LOST, "epoll_pwait2: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		unsigned vm = (unsigned)(ready[i].data.u64 >> 32);
		unsigned vector = (unsigned)ready[i].data.u64;
		uint64_t count, awaited;

		if (read(bell_of(b, vm, vm, vector), &count, sizeof(count)) != sizeof(count))
			continue; /* somebody else read it */
		awaited = bells_heard(b, vm, vector, count);
		heard += (int)awaited;
		if (count > awaited)
			fleet_stray(b->fleet, count - awaited);
	}
	return b->failed ? -1 : heard;
}

int bells_lost(const struct bells *b, uint32_t number, uint64_t of, double seconds)
{
	const struct board_post *post = board_post(b->board, number);
	bool own = fleet_vm(b->fleet, post->from)->witness;

	return verdict_give(b->fleet->verdict, VERDICT_LOST,
		"%" PRIu64 " doorbell%s did not arrive within %g s (first: peer %d rang peer %d, "
		"vector %u%s)",
		of, of == 1 ? "" : "s", seconds, board_id(b->board, post->from),
		board_id(b->board, post->to), post->vector, own ? ", through its own copy" : "");
}
