/* SPDX-License-Identifier: MIT */
/*
 * visitors.c - VMs that come and go while the others are busy.
 *
 * Each has a handle of its own, with the fleet's store of eventfds; one epoll tells whose turn it
 * is.
 */
#include "visitors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "drive.h"
#include "letters.h"
#include "worker.h"

#define READY_MAX 64

/* How often we look whether the server's queue has room, and whether anybody waits too long. */
#define LOOK_NS UINT64_C(1000000)

enum state { OUT, JOINING, OPENING, ASKING };

struct visitor {
	struct famez *famez; /* NULL while it is out */
	enum state state;
	unsigned own; /* of its vectors, told */
	uint64_t started_ns, moved_ns;
};

int visitors_open(struct visitors *v, struct worker *w, unsigned count, bool mail, const char *name)
{
	*v = (struct visitors){.w = w, .mail = mail, .epoll = -1};
	v->count = w->process < count ? (count - w->process - 1) / w->board->processes + 1 : 0;
	v->all = calloc(v->count ? v->count : 1, sizeof(*v->all));
	v->epoll = epoll_create1(EPOLL_CLOEXEC);
	v->series =
		board_series(w->board, w->process, name, "joins", "connect to the last own vector");
	if (v->all == NULL || v->epoll < 0 || v->series == NULL)
		return verdict_give(&w->verdict, VERDICT_LOST, "no visitors: %s", strerror(errno));
	v->begun_ns = progress_now_ns();
	return 0;
}

/* The number that a visitor has in letters: behind the VMs. */
static uint32_t number_of(const struct visitors *v, const struct visitor *of)
{
	return v->w->board->peers + v->w->process +
	       (uint32_t)(of - v->all) * v->w->board->processes;
}

static int fails(struct visitors *v, const char *what, int err)
{
	return verdict_give(&v->w->verdict, err == -EACCES ? VERDICT_NOT_JOINED : VERDICT_LOST,
		"a visitor %s: %s", what, strerror(-err));
}

static int come(struct visitors *v, struct visitor *one, uint64_t now_ns)
{
	struct famez_join how = {.socket = v->w->sockets[0], .bells = v->w->fleet.bells};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
	int err = famez_join_start(&one->famez, &how);

	if (err == -EAGAIN)
		return 0; /* the server's queue is full: later */
	if (err)
		return fails(v, "cannot join", err);
	one->state = JOINING;
	one->own = 0;
	one->started_ns = now_ns;
	if (one->moved_ns == 0)
		one->moved_ns = now_ns; /* else since it was last let in */
	v->in++;
	v->series->sent++;
	return epoll_ctl(v->epoll, EPOLL_CTL_ADD, famez_fd(one->famez), &event)
		       ? fails(v, "cannot be waited for", -errno)
		       : 0;
}

static void leave(struct visitors *v, struct visitor *one)
{
	famez_leave(one->famez); /* its descriptor is out of the epoll with that */
	one->famez = NULL;
	one->state = OUT;
	v->in--;
}

/* Its opening is complete. */
static int opened(struct visitors *v, struct visitor *one, uint64_t now_ns)
{
	struct famez_mailbox how = {.cclass = "Stress", .spin_us = -1};
	struct worker *w = v->w;
	struct letter head = {.run = w->letters.run,
		.from = number_of(v, one),
		.number = 1,
		.kind = DRIVE_ASK,
		.t_ns = now_ns};
	unsigned char payload[LETTERS_BYTES_MIN];
	struct famez_to to = {0};
	char name[32];
	int err;

	v->series->heard++;
	v->series->counted++;
	histogram_record(&v->series->latency, now_ns - one->started_ns);
	one->moved_ns = now_ns;
	if (!v->mail) {
		leave(v, one);
		return 0;
	}
	(void)snprintf(name, sizeof(name), "visitor%u", head.from);
	how.name = name;
	err = famez_mailbox_open(one->famez, &how);
	if (err)
		return fails(v, "cannot open its mailbox", err);
	head.to = dice_below(&w->dice, w->board->peers);
	to.peer = (uint16_t)board_id(w->board, head.to);
	letters_fill(payload, sizeof(payload), &head);
	worker_sent(w, 1);
	err = famez_send(one->famez, &to, payload, sizeof(payload), 0, 0);
	if (err)
		return fails(v, "cannot ask", err);
	one->state = ASKING;
	return 0;
}

/* The answer, and nothing else, is to come. */
static int answered(struct visitors *v, struct visitor *one)
{
	struct worker *w = v->w;
	struct famez_message m;
	struct letter head;
	int got = famez_peek(one->famez, &m);

	if (got <= 0)
		return got ? fails(v, "cannot read", got) : 0;
	if (!letters_fits(m.payload, m.bytes, w->letters.run, &head) || head.number != 1 ||
		head.to != number_of(v, one) || head.kind != DRIVE_ANSWER)
		return verdict_give(&w->verdict, VERDICT_LOST,
			"a visitor got message %u from peer %u, which was not for it", head.number,
			m.from);
	famez_release(one->famez);
	leave(v, one);
	worker_heard(w, 1);
	return 0;
}

/* Everything that its handle has to tell. */
static int attend(struct visitors *v, struct visitor *one, uint64_t now_ns)
{
	struct famez_event event;
	int err = 0;

	while (!err && one->famez) {
		int got = famez_next(one->famez, &event);

		/* It comes so soon after it left that the server may still reckon with it. */
		if (got == -EACCES && one->state == JOINING) {
			leave(v, one);
			v->series->sent--;
			return 0;
		}
		if (got < 0)
			return fails(v, "was not let in", got);
		if (got == 0)
			return 0;
		one->moved_ns = now_ns;
		switch (event.kind) {
		case FAMEZ_EVENT_JOINED:
			one->state = OPENING;
			break;
		case FAMEZ_EVENT_VECTOR:
			if (one->state == OPENING && event.peer == famez_id(one->famez) &&
				++one->own == v->w->fleet.vectors)
				err = opened(v, one, progress_now_ns());
			break;
		case FAMEZ_EVENT_MESSAGE:
			err = answered(v, one);
			break;
		case FAMEZ_EVENT_LOST:
			return verdict_give(&v->w->verdict, VERDICT_LOST,
				"the server is gone: it closed the connection of a visitor");
		default:
			break;
		}
	}
	return err;
}

static int look_after(struct visitors *v, uint64_t now_ns)
{
	for (unsigned k = 0; k < v->count; k++) {
		struct visitor *one = &v->all[k];

		if (one->state == OUT && !v->over && come(v, one, now_ns))
			return -1;
		if (one->moved_ns == 0 || (one->state == OUT && v->over) ||
			now_ns - one->moved_ns < worker_patience_ns(v->w))
			continue;
		return verdict_give(&v->w->verdict,
			one->state == ASKING ? VERDICT_LOST : VERDICT_NOT_JOINED,
			"a visitor %s, and nothing came for %g s",
			one->state == ASKING ? "asked" : "joins", v->w->options->patience_s);
	}
	return 0;
}

int visitors_step(struct visitors *v, uint64_t now_ns)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(v->epoll, ready, READY_MAX, 0);

	for (int i = 0; i < n; i++)
		if (attend(v, ready[i].data.ptr, now_ns))
			return -1;
	if (now_ns - v->looked_ns < LOOK_NS)
		return 0;
	v->looked_ns = now_ns;
	return look_after(v, progress_now_ns()); /* not before what was just noted */
}

void visitors_close(struct visitors *v)
{
	for (unsigned k = 0; v->all && k < v->count; k++)
		famez_leave(v->all[k].famez);
	if (v->epoll >= 0)
		(void)close(v->epoll); /* nothing was written through it */
	if (v->series)
		v->series->ns += progress_now_ns() - v->begun_ns;
	free(v->all);
	*v = (struct visitors){.epoll = -1};
}
