/* SPDX-License-Identifier: MIT */
/*
 * share.c - what famez-stress itself costs: CPU time of a doorbell, beside a bare loop's.
 *
 * A round rings so many doorbells and then hears them all. The bare loop has an eventfd for each
 * that ours has, in an epoll, and does nothing but write, wait and read. One thread does both, by
 * turns; what is compared is its CPU time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "trips.h"
#include "worker.h"

#define BELLS_MAX 64u
#define VOLLEYS   64u
#define ROUNDS    31u

struct bare {
	unsigned count;
	int epoll, bells[BELLS_MAX];
};

struct ours {
	struct worker *w;
	struct histogram *h;
	unsigned count, heard;
};

static uint64_t cpu_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* cannot fail: every Linux has it */
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int bare_open(struct bare *b)
{
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < b->count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

		b->bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (b->epoll < 0 || b->bells[i] < 0 ||
			epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->bells[i], &event))
			return -errno;
	}
	return 0;
}

static void bare_close(struct bare *b)
{
	for (unsigned i = 0; i < b->count; i++)
		if (b->bells[i] >= 0)
			(void)close(b->bells[i]); /* an eventfd's close has nothing to report */
	if (b->epoll >= 0)
		(void)close(b->epoll);
}

static void bare_volley(struct bare *b)
{
	struct epoll_event ready[256];
	uint64_t one = 1, count;
	unsigned heard = 0;

	for (unsigned i = 0; i < b->count; i++)
		(void)!write(b->bells[i], &one, sizeof(one)); /* never full: read each time */
	while (heard < b->count) {
		int n = epoll_wait(b->epoll, ready, 256, -1);

		for (int i = 0; i < n; i++)
			heard += read(b->bells[ready[i].data.u32], &count, sizeof(count)) ==
				 sizeof(count);
	}
}

static int on_ring(void *context, const struct board_post *post)
{
	struct ours *o = context;

	histogram_record(o->h, progress_now_ns() - post->t_ns);
	o->heard++;
	worker_heard(o->w, 1);
	return 0;
}

static int our_volley(struct ours *o)
{
	struct worker *w = o->w;
	unsigned wanted = o->heard + o->count;
	uint64_t now_ns = progress_now_ns(); /* as drive.c: one look a turn, and one a ring heard */

	for (unsigned i = 0; i < o->count; i++) {
		unsigned to = fleet_number(&w->fleet, i % w->fleet.mine);
		unsigned from = fleet_number(&w->fleet, (i + 1) % w->fleet.mine);

		worker_sent(w, 1);
		if (bells_ring(
			    &w->bells, from, to, i / w->fleet.mine % w->fleet.vectors, 0, now_ns))
			return -1;
	}
	while (o->heard < wanted)
		if (bells_turn(&w->bells, 1000000000) < 0 || worker_look(w))
			return -1;
	return 0;
}

int share_run(struct worker *w)
{
	static struct histogram h;
	struct board_share *s = &w->board->share;
	unsigned bells = w->fleet.mine * w->fleet.vectors;
	struct ours ours = {w, &h, bells < BELLS_MAX ? bells : BELLS_MAX, 0};
	struct bare bare;
	int err;

	memset(&bare, -1, sizeof(bare));
	bare.count = ours.count;
	histogram_init(&h);
	w->bells.on_ring = on_ring;
	w->bells.context = &ours;
	err = bare_open(&bare);
	if (err)
		err = verdict_give(&w->verdict, VERDICT_DESCRIPTORS,
			"no descriptors for the bare loop: %s", strerror(-err));
	for (s->rounds = 0; s->rounds < ROUNDS && !err; s->rounds++) {
		for (unsigned turn = 0; turn < BOARD_WAYS && !err; turn++) {
			unsigned way = (turn + s->rounds) % BOARD_WAYS;
			uint64_t begun_ns = cpu_now_ns();

			for (unsigned v = 0; v < VOLLEYS && !err; v++) {
				if (way == BOARD_RAW)
					bare_volley(&bare);
				else
					err = our_volley(&ours);
			}
			s->ns[s->rounds][way] = cpu_now_ns() - begun_ns;
		}
	}
	s->doorbells = ours.count * VOLLEYS;
	bare_close(&bare);
	w->bells.on_ring = NULL;
	return err;
}
