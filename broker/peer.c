/* SPDX-License-Identifier: MIT */
/*
 * peer.c - one client being served: told what is due, watched, let go.
 *
 * What to tell comes from the view; here it is put into messages and sent. Knows
 * nothing of how IDs are given out.
 */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>

#include "famez/wire.h"
#include "ledger.h"
#include "log.h"
#include "refusal.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(
	CALL(close), CALL(ioctl, {1, SANDBOX_ALL, SIOCOUTQ}), CALL(sendmmsg), CALL(shutdown));

/* After we were woken by the read of a leave, how long that read is given to return before
 * something else comes. */
#define LEAVE_SETTLE_NS 1000000u

/* What a message takes at least of a socket's buffer, should it not be measurable. */
#define MESSAGE_BYTES_MIN 512

int peer_message_bytes(void)
{
	static const char word[FAMEZ_WIRE_BYTES];
	int pair[2], bytes = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return MESSAGE_BYTES_MIN;
	if (send(pair[0], word, sizeof(word), MSG_DONTWAIT) != sizeof(word) ||
		sys_ioctl_int(pair[0], SIOCOUTQ, &bytes) < 0)
		bytes = 0;
	(void)close(pair[0]);
	(void)close(pair[1]);
	return bytes > MESSAGE_BYTES_MIN ? bytes : MESSAGE_BYTES_MIN;
}

static int unread_bytes(const struct peer *p)
{
	int bytes = 0;

	/* Can't be asked: taken for full, so nothing is sent that might hurt. */
	return sys_ioctl_int(p->sock, SIOCOUTQ, &bytes) < 0 ? INT32_MAX : bytes;
}

/* At a wake-up the last message is accounted but for a rest: less than one is none. */
static bool has_read_all(const struct peer *p)
{
	return unread_bytes(p) < p->worker->shared->message_bytes;
}

/* Descriptors on their way to an account's process that it does not show as its own
 * yet: unread in its sockets, or granted and not sent. */
static uint32_t in_flight(void *argument)
{
	const struct account *account = argument;
	const struct peer *p;
	uint32_t count = 0;

	TAILQ_FOREACH(p, &account->peers, siblings)
	{
		if (p->state != PEER_SERVED)
			continue;
		count += (uint32_t)(unread_bytes(p) / p->worker->shared->message_bytes) +
			 p->view.room;
		if (p->view.telling != ROSTER_NOBODY)
			count += p->client.vectors - p->view.vector;
	}
	return count;
}

static bool take_room(struct peer *p, uint32_t descriptors)
{
	return process_take(
		&p->account->process, descriptors, worker_now_ns(), in_flight, p->account);
}

static struct account *find_account(struct worker *w, pid_t pid)
{
	struct account *account;

	LIST_FOREACH(account, &w->accounts, link)
	if (account->process.pid == pid)
		return account;
	return NULL;
}

/* Into the account of its process: the one that a sibling opened, or its own entry. What
 * can't be told apart (process 0: another PID namespace) shares nothing. */
static void open_account(struct peer *p)
{
	struct account *own = &p->worker->shared->accounts[p->client.id];

	p->account = p->pid > 0 ? find_account(p->worker, p->pid) : NULL;
	if (!p->account) {
		p->account = own;
		process_open(&own->process, p->pid);
		TAILQ_INIT(&own->peers);
		LIST_INSERT_HEAD(&p->worker->accounts, own, link);
	}
	TAILQ_INSERT_TAIL(&p->account->peers, p, siblings);
}

/* Its entry may serve another worker soon: siblings who stay take the account along. */
static void leave_account(struct peer *p)
{
	struct account *own = &p->worker->shared->accounts[p->client.id];
	struct account *account = p->account, *next;
	struct peer *sibling;

	if (!account)
		return;
	p->account = NULL;
	TAILQ_REMOVE(&account->peers, p, siblings);
	if (account != own)
		return;
	LIST_REMOVE(own, link);
	sibling = TAILQ_FIRST(&own->peers);
	if (!sibling)
		return;
	next = &p->worker->shared->accounts[sibling->client.id];
	next->process = own->process;
	TAILQ_INIT(&next->peers);
	TAILQ_CONCAT(&next->peers, &own->peers, siblings);
	TAILQ_FOREACH(sibling, &next->peers, siblings)
	sibling->account = next;
	LIST_INSERT_HEAD(&p->worker->accounts, next, link);
}

/* The peer is closing: once the kernel holds nothing of it, it is gone. */
static void settle(struct peer *p)
{
	struct worker *w = p->worker;
	struct message gone = {
		.kind = MESSAGE_GONE,
		.reason = p->reason,
		.id = p->client.id,
		.error = p->error,
	};

	assert(p->state == PEER_CLOSING);
	if (p->receive.in_kernel || p->writable.in_kernel)
		return;
	ledger_closing(w->shared->state, p->client.id);
	(void)close(p->sock);
	leave_account(p);
	p->sock = -1;
	p->state = PEER_FREE;
	worker_say(w, &gone);
}

static void disarm_writable(struct peer *p)
{
	struct io_uring_sqe *sqe;

	if (!p->writable.in_kernel)
		return;
	sqe = ring_sqe(&p->worker->ring);
	/* A cancel, not a poll_remove: that one gives up on a poll that is just being
	 * woken, and leaves it armed. */
	io_uring_prep_cancel(sqe, &p->writable, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

void peer_drop(struct peer *p, enum gone_reason reason, int error)
{
	assert(p->state == PEER_SERVED);
	p->state = PEER_CLOSING;
	p->reason = (uint8_t)reason;
	p->error = error;
	p->wait = WAIT_NOT;
	worker_move(p->worker, p, PLACE_NOWHERE);
	if (p->view.step < VIEW_BACKLOG && reason != GONE_CLOSED)
		refusal_send(p->sock); /* a silent close would leave a QEMU spinning */
	/* Ends `receive`; what was sent before can still be read. */
	(void)shutdown(p->sock, SHUT_RDWR);
	disarm_writable(p);
	settle(p);
}

static void arm_receive(struct peer *p);

static void on_received(struct op *op, int res, uint32_t flags)
{
	struct peer *p = container_of(op, struct peer, receive);

	(void)flags;
	assert(p->state != PEER_FREE);
	if (p->state == PEER_CLOSING)
		settle(p);
	else if (res == 0 || res == -ECONNRESET)
		peer_drop(p, GONE_CLOSED, 0);
	else if (res > 0)
		peer_drop(p, GONE_SPOKE, 0);
	else if (res == -ENOMEM || res == -EINTR || res == -EAGAIN || res == -ECANCELED)
		arm_receive(p);
	else
		peer_drop(p, GONE_ERROR, -res);
}

static void arm_receive(struct peer *p)
{
	struct io_uring_sqe *sqe = ring_sqe(&p->worker->ring);

	/* No control buffer: descriptors that it may send us are closed by the kernel. */
	io_uring_prep_recv(sqe, p->sock, p->received, sizeof(p->received), 0);
	op_arm(&p->receive, sqe, on_received);
}

static void on_writable(struct op *op, int res, uint32_t flags);

/* WAIT_ROOM is a level: one look is enough. WAIT_EMPTY has no level of its own, so we
 * are called at every message that the client reads (a multishot poll tells edges);
 * at most as often as messages fit its socket. */
static void arm_writable(struct peer *p)
{
	struct io_uring_sqe *sqe;

	if (p->writable.in_kernel)
		return; /* an earlier one is being removed; its end arms anew */
	sqe = ring_sqe(&p->worker->ring);
	if (p->wait == WAIT_EMPTY)
		io_uring_prep_poll_multishot(sqe, p->sock, POLLOUT);
	else
		io_uring_prep_poll_add(sqe, p->sock, POLLOUT);
	op_arm(&p->writable, sqe, on_writable);
}

static void block(struct peer *p, enum peer_wait wait)
{
	p->wait = (uint8_t)wait;
	worker_move(p->worker, p, PLACE_BLOCKED);
	arm_writable(p);
	if (p->worker->shared->stall_ns) {
		p->stalled_ns = worker_now_ns();
		p->unread_bytes = unread_bytes(p);
		worker_watch_stalls(p->worker);
	}
}

static void on_writable(struct op *op, int res, uint32_t flags)
{
	struct peer *p = container_of(op, struct peer, writable);

	(void)flags;
	assert(p->state != PEER_FREE);
	if (p->state == PEER_CLOSING) {
		settle(p);
		return;
	}
	if (p->wait == WAIT_NOT)
		return; /* the end of one that was removed */
	if (p->wait == WAIT_EMPTY ? !has_read_all(p) : res < 0) {
		arm_writable(p);
		return;
	}
	disarm_writable(p);
	if (p->wait == WAIT_EMPTY) {
		/* We are called out of the very read that took the leave: what we sent
		 * now, that read would still return with it. A moment later it is over. */
		p->leave_ns = worker_now_ns();
		worker_move(p->worker, p, PLACE_RETRY);
		worker_retry_soon(p->worker);
	} else {
		worker_move(p->worker, p, p->announced ? PLACE_READY : PLACE_OPENING);
	}
	p->wait = WAIT_NOT;
}

void peer_check_stall(struct peer *p, uint64_t now_ns)
{
	int unread = unread_bytes(p);

	assert(p->place == PLACE_BLOCKED);
	if (unread < p->unread_bytes) {
		p->unread_bytes = unread;
		p->stalled_ns = now_ns;
	} else if (now_ns - p->stalled_ns >= p->worker->shared->stall_ns) {
		peer_drop(p, GONE_STALLED, 0);
	}
}

/* @sent of @count notices are in the socket and written down; if that is not all, @error
 * says why. @last: they bring it up to date. */
static void on_told(struct peer *p, unsigned sent, unsigned count, int error, bool last)
{
	struct worker *w = p->worker;

	w->notices += sent;
	p->sent += sent;
	if (!p->announced && view_opened(&p->view)) {
		struct message opened = {.kind = MESSAGE_OPENED, .id = p->client.id};

		p->announced = true;
		worker_say(w, &opened);
	}
	if (sent == count) {
		w->retry_ns = 0;
		worker_move(w, p, last ? PLACE_IDLE : p->announced ? PLACE_READY : PLACE_OPENING);
		return;
	}
	switch (error) {
	case EAGAIN:
		block(p, WAIT_ROOM);
		return;
	case ETOOMANYREFS: /* unix(7): too many descriptors in flight */
	case ENOBUFS:
	case ENOMEM:
	case EINTR:
		log_event(
			retry, LOG_NUMBER("id", p->client.id), LOG_TEXT("error", strerror(error)));
		worker_move(w, p, PLACE_RETRY);
		worker_retry_soon(w);
		return;
	case EPIPE:
	case ECONNRESET:
		peer_drop(p, GONE_CLOSED, 0);
		return;
	default:
		peer_drop(p, GONE_ERROR, error);
	}
}

/* The @nth notice of the worker's slot: what is sent, and what is so once it has been. */
static void fill(
	const struct peer *p, unsigned nth, const struct notice *n, const struct view *view)
{
	const struct worker_shared *shared = p->worker->shared;
	struct state_after after = {.view = *view, .leave = n->kind == NOTICE_LEAVE};
	int64_t word = n->id;
	int fd = -1;

	switch (n->kind) {
	case NOTICE_VERSION:
		word = FAMEZ_WIRE_VERSION;
		break;
	case NOTICE_MEMORY:
		word = FAMEZ_WIRE_MEMORY;
		fd = shared->memory_fd;
		break;
	case NOTICE_VECTOR:
		fd = bells_fd(shared->bells, n->id, n->vector);
		break;
	case NOTICE_ID:
	case NOTICE_LEAVE:
		break;
	}
	after.held = (int8_t)view_effect(n, &after.held_id);
	state_tell_fill(shared->state, p->worker->nth, nth, word, fd, &after);
}

/* Send the first @count notices of the slot. Returns how many were, and if not all, in *error
 * the errno of the first that was not. */
static unsigned send_slot(struct peer *p, unsigned count, int *error)
{
	struct state *state = p->worker->shared->state;
	uint16_t nth = p->worker->nth;
	struct state_worker *slot = &state->workers[nth];
	unsigned sent = 0;
	int res;

	*error = 0;
	state_tell_begin(state, nth, p->client.id, count);
	/* Once more for the rest: the call tells why it stopped only where it did not begin. */
	while (sent < count) {
		res = sys_sendmmsg(
			p->sock, &slot->tell[sent], count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		state_point();
		if (res <= 0) {
			*error = res ? -res : EIO;
			break;
		}
		sent += (unsigned)res;
	}
	assert(sent == state_tell_sent(state, nth));
	state_tell_apply(state, nth);
	return sent;
}

/* A device is told of one peer more, or is not: decided before its first vector. */
static void make_room(struct peer *p)
{
	uint32_t wanted = view_room_wanted(&p->view, &p->client) - p->view.room;
	const struct worker *w = p->worker;

	if (take_room(p, wanted)) {
		view_grant(&p->view, wanted);
		return;
	}
	view_hold_back(&p->view, &p->client, &w->roster);
	if (p->told_held_back)
		return;
	p->told_held_back = true;
	log_event(held_back, LOG_NUMBER("id", p->client.id), LOG_NUMBER("pid", (uint32_t)p->pid),
		LOG_NUMBER("limit", p->account->process.limit),
		LOG_NUMBER("used", p->account->process.used),
		LOG_TEXT("hint", "raise the limit of open files of this process"));
}

unsigned peer_tell(struct peer *p, unsigned most)
{
	struct worker *w = p->worker;
	const struct worker_shared *shared = w->shared;
	struct view ahead = p->view;
	unsigned count = 0, sent;
	bool due = true, leave = false;
	int error;

	assert(p->state == PEER_SERVED);
	assert(most > 0 && w->sends_used + most <= WORKER_SENDS);
	while (due && !leave && count < most) {
		struct notice n;

		switch (view_next(&ahead, &p->client, &w->roster, &n)) {
		case VIEW_NOTHING:
			due = false;
			break;
		case VIEW_WANTS_ROOM:
			/* First what comes before it, so that the view stands there. */
			if (count) {
				most = count;
				break;
			}
			p->view.told = ahead.told;
			make_room(p);
			ahead = p->view;
			break;
		case VIEW_NOTICE:
			if (p->leave_unread) {
				if (!has_read_all(p)) {
					block(p, WAIT_EMPTY);
					return 0;
				}
				if (worker_now_ns() - p->leave_ns < LEAVE_SETTLE_NS) {
					worker_move(w, p, PLACE_RETRY);
					worker_retry_soon(w);
					return 0;
				}
				p->leave_unread = false;
			}
			fill(p, count++, &n, &ahead);
			/* FAME-Z's clients want 8 bytes a read: a leave has no
			 * descriptor that would part it from what follows. */
			leave = n.kind == NOTICE_LEAVE;
			break;
		}
	}
	if (!count) {
		p->view.told = ahead.told;
		worker_move(w, p, PLACE_IDLE);
		return 0;
	}
	w->sends_used += count;
	sent = send_slot(p, count, &error);
	/* Behind all of them it may have passed over what concerns others. */
	if (sent == count)
		p->view = ahead;
	else if (sent)
		p->view = shared->state->workers[w->nth].after[sent - 1].view;
	p->leave_unread = leave && sent == count;
	on_told(p, sent, count, error, !due);
	return count;
}

/* Not even its own vectors fit its process: back to the registrar, which refuses it. */
static void give_back(struct peer *p)
{
	const struct message refused = {
		.kind = MESSAGE_REFUSED,
		.id = p->client.id,
		.sock = p->sock,
	};

	leave_account(p);
	p->sock = -1;
	p->state = PEER_FREE;
	worker_say(p->worker, &refused);
}

/* Before its receive is armed. */
static struct peer *begin(struct worker *w, uint32_t id, int sock)
{
	const struct worker_shared *shared = w->shared;
	const struct state_member *member = &shared->state->members[id];
	struct peer *p = &shared->peers[id];

	assert(p->state == PEER_FREE);
	*p = (struct peer){
		.state = PEER_SERVED,
		.device = member->device,
		.sock = sock,
		.pid = member->pid,
		.worker = w,
		.client =
			{
				.id = id,
				.vectors = shared->vectors,
				.leaves = member->leaves,
				.guarded = member->device,
				.held = state_held(shared->state, id),
			},
	};
	return p;
}

void peer_adopt(struct worker *w, const struct message *m)
{
	struct peer *p = begin(w, m->id, m->sock);
	uint16_t vectors = w->shared->vectors;

	view_open(&p->view, &p->client, &w->roster);
	if (p->device) {
		open_account(p);
		/* Somebody of this process may just have left. */
		p->account->process.looked_ns = 0;
		if (!take_room(p, vectors)) {
			give_back(p);
			return;
		}
		view_grant(&p->view, vectors);
	}
	arm_receive(p);
	worker_move(w, p, PLACE_OPENING);
}

/* Descriptors that it has been sent. */
static uint32_t told_so_far(const struct peer *p)
{
	uint32_t ids = 0;

	for (size_t i = 0; i < VIEW_HELD_WORDS(p->worker->shared->ids_max); i++)
		ids += (uint32_t)__builtin_popcountl(p->client.held[i]);
	return ids * p->client.vectors;
}

void peer_resume(struct worker *w, uint32_t id)
{
	struct state *state = w->shared->state;
	int sock = ledger_sock(state, id);
	struct message adopt = {.kind = MESSAGE_ADOPT, .id = id, .sock = sock};
	enum recover_how how;
	struct view view;
	bool leave_unread;
	struct peer *p;

	how = recover_how(state, id, &view, &leave_unread);
	/* The broker before us was refusing it; whether the client has heard of that or not, it
	 * is to hear nothing else. */
	if (how != RECOVER_KEEP && view.step < VIEW_BACKLOG && refusal_tagged(sock)) {
		p = begin(w, id, sock);
		peer_drop(p, GONE_ERROR, ECONNABORTED);
		return;
	}
	if (how == RECOVER_ADOPT) {
		peer_adopt(w, &adopt);
		return;
	}
	p = begin(w, id, sock);
	arm_receive(p);
	p->announced = ledger_present(state, id);
	if (how == RECOVER_KEEP) {
		p->view.step = VIEW_LIVE;
		/* What it was told is not known, so it is told no more; it goes on as it is. */
		log_event(damaged, LOG_NUMBER("id", id),
			LOG_TEXT("hint", "its record in the state is damaged: it is told of no "
					 "joins and leaves any more"));
		return;
	}
	p->view = view;
	/* Room is looked at anew. */
	(void)view_rewind(&p->view, &p->client);
	p->leave_unread = leave_unread;
	p->leave_ns = leave_unread ? worker_now_ns() : 0;
	if (p->device) {
		open_account(p);
		p->account->process.told += told_so_far(p);
	}
	worker_move(w, p, p->announced ? PLACE_READY : PLACE_OPENING);
}

void peer_abandon(struct peer *p)
{
	if (p->view.step < VIEW_BACKLOG)
		refusal_send(p->sock);
	ledger_closing(p->worker->shared->state, p->client.id);
	(void)close(p->sock);
}

void peer_report(const struct peer *p, struct report_peer *line)
{
	static const uint8_t states[PLACES] = {
		[PLACE_OPENING] = REPORT_OPENING,
		[PLACE_READY] = REPORT_BEHIND,
		[PLACE_IDLE] = REPORT_CURRENT,
		[PLACE_BLOCKED] = REPORT_BLOCKED,
		[PLACE_RETRY] = REPORT_RETRY,
	};
	uint64_t behind = p->worker->roster.end - p->view.told;
	*line = (struct report_peer){
		.filled = true,
		.device = p->device,
		.state = states[p->place],
		.worker = p->worker->nth,
		.held_back = p->view.held_back,
		.pid = p->pid,
		.behind = behind < UINT32_MAX ? (uint32_t)behind : UINT32_MAX,
		.cursor = p->view.told,
		.sent = p->sent,
	};
}
