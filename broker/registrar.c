/* SPDX-License-Identifier: MIT */
/*
 * registrar.c - the thread that listens, gives out IDs and orders joins and leaves.
 *
 * Never sends to a client that was let in, never waits for one.
 */
#include "registrar.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "haste.h"
#include "keeper.h"
#include "ledger.h"
#include "log.h"
#include "orders.h"
#include "recover.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(accept4), CALL(close), CALL(read),
	CALL(setsockopt, {1, SANDBOX_ALL, SOL_SOCKET}), CALL(shutdown), CALL(write));

/* Newcomers accepted in one turn, so that those who leave are heard in between. */
#define ACCEPT_BATCH 64

/* After accept(2) failed for want of something, how long until the next try. */
#define ACCEPT_PAUSE_NS 20000000

/* How often those who wait for an ID are looked at, at least. */
#define WAIT_LOOK_NS 10000000

static bool room_for_an_event(const struct registrar *r)
{
	for (uint16_t w = 0; w < r->workers_count; w++)
		if (message_queue_room(&r->workers[w].inbox) < MESSAGE_ROOM_MIN)
			return false;
	return true;
}

void registrar_tell(struct registrar *r, const struct message *m)
{
	for (uint16_t w = 0; w < r->workers_count; w++)
		worker_tell(&r->workers[w], m);
}

static void refuse(struct registrar *r, int sock, const struct client *c, const char *reason)
{
	refusals_add(&r->refusals, sock, c->device);
	log_event(refuse, LOG_TEXT("reason", reason), LOG_NUMBER("pid", (uint32_t)c->pid),
		LOG_NUMBER("uid", c->uid), LOG_TEXT("exe", c->exe));
}

/* Not let in, for another reason than a full house. */
static void count_refused(struct registrar *r)
{
	membership_refused(&r->membership);
	ledger_refused(r->state);
}

static void turn_away(struct registrar *r, const struct door_guest *guest)
{
	count_refused(r);
	refuse(r, guest->sock, &guest->client, guest->reason);
}

static void let_in(struct registrar *r, struct door_guest *guest)
{
	const struct intent *intent = &guest->seat.intent;
	const struct client *c = &guest->client;
	struct ledger_newcomer newcomer;
	struct message adopt;
	int err;

	err = bells_prepare(r->bells, intent->id);
	if (err) {
		(void)membership_gone(&r->membership, intent->id);
		door_left(&r->door, c->uid);
		guest->reason = strerror(-err);
		turn_away(r, guest);
		return;
	}
	newcomer = (struct ledger_newcomer){
		.client = c,
		.sock = guest->sock,
		.cookie = sweep_socket_cookie(guest->sock),
		.zones = guest->seat.zones,
		.said = mailbox_said(r->mailbox, intent->id),
		.worker = intent->worker,
		.leaves = worker_tells_leaves(r->workers->shared, c->device),
	};
	ledger_take(r->state, intent->id, &newcomer);
	if (r->store)
		store_add(r->store, intent->id);
	mailbox_joining(r->mailbox, intent->id, c->device);
	adopt = (struct message){
		.kind = MESSAGE_ADOPT,
		.device = c->device,
		.id = intent->id,
		.sock = guest->sock,
	};
	worker_tell(&r->workers[intent->worker], &adopt);
}

/* Have all workers heard all that we said? */
static bool workers_are_quiet(const struct registrar *r)
{
	for (uint16_t w = 0; w < r->workers_count; w++)
		if (!message_queue_empty(&r->workers[w].inbox))
			return false;
	return true;
}

static void carry_out(struct registrar *r, enum door_says says, struct door_guest *guest)
{
	if (says == DOOR_SEATED)
		let_in(r, guest);
	else if (says == DOOR_REFUSED)
		turn_away(r, guest);
}

static void take_newcomer(struct registrar *r, int sock, uint32_t own)
{
	struct door_guest guest = {.sock = sock, .own = own};
	enum door_says says;

	/* A byte out of band is one that a client should not have sent, like any. */
	(void)setsockopt(sock, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int));
	says = door_knock(&r->door, &guest, workers_are_quiet(r), worker_now_ns());
	carry_out(r, says, &guest);
}

/* Those who wait have come before who comes now. */
static void look_who_waits(struct registrar *r)
{
	while (r->door.waiting_count && room_for_an_event(r)) {
		struct door_guest guest;
		enum door_says says =
			door_look(&r->door, &guest, workers_are_quiet(r), worker_now_ns());

		if (says == DOOR_NOBODY)
			return;
		carry_out(r, says, &guest);
	}
}

/* Those whom a broker before us had accepted come before who waits to be. */
static void take_found(struct registrar *r)
{
	while (r->found_count && room_for_an_event(r)) {
		const struct sweep_found *found = r->found++;

		r->found_count--;
		if (found->refused)
			refusals_add(&r->refusals, found->sock, true);
		else
			take_newcomer(r, found->sock, found->own);
	}
}

static void on_pause_over(struct op *op, int res, uint32_t flags)
{
	(void)res;
	(void)flags;
	container_of(op, struct registrar, pause)->paused = false;
}

static void pause_accepting(struct registrar *r, int err)
{
	struct io_uring_sqe *sqe;

	r->paused = true;
	log_event(accept, LOG_TEXT("error", strerror(err)));
	r->pause_time = (struct __kernel_timespec){.tv_nsec = ACCEPT_PAUSE_NS};
	sqe = ring_sqe(&r->ring);
	io_uring_prep_timeout(sqe, &r->pause_time, 0, 0);
	op_arm(&r->pause, sqe, on_pause_over);
}

static void put_ready(struct registrar *r, struct port *port)
{
	port->next = NULL;
	if (r->ready)
		r->ready_last->next = port;
	else
		r->ready = port;
	r->ready_last = port;
}

static struct port *take_ready(struct registrar *r)
{
	struct port *port = r->ready;

	r->ready = port->next;
	return port;
}

static void on_connecting(struct op *op, int res, uint32_t flags)
{
	struct port *port = container_of(op, struct port, connecting);

	(void)res;
	(void)flags;
	put_ready(port->registrar, port);
}

static void await_somebody(struct registrar *r, struct port *port)
{
	struct io_uring_sqe *sqe = ring_sqe(&r->ring);

	io_uring_prep_poll_add(sqe, port->fd, POLLIN);
	op_arm(&port->connecting, sqe, on_connecting);
}

/* One of each socket in turn, so that a crowd at one keeps nobody from another. */
static void accept_some(struct registrar *r)
{
	for (unsigned i = 0; i < ACCEPT_BATCH && r->ready && !r->paused && room_for_an_event(r);
		i++) {
		struct port *port = take_ready(r);
		int sock = sys_accept(port->fd);

		if (sock == -EAGAIN) {
			await_somebody(r, port);
			continue;
		}
		put_ready(r, port);
		if (sock >= 0)
			take_newcomer(r, sock, port->own);
		else if (sock != -EINTR && sock != -ECONNABORTED)
			pause_accepting(r, -sock);
	}
}

static void log_join(struct registrar *r, const struct intent *join)
{
	char zones[128];
	bool zoned = door_print_zones(&r->door, join->id, zones, sizeof(zones));
	struct client c;

	ledger_client(r->state, join->id, &c);
	log_event(join, LOG_NUMBER("id", join->id), LOG_NUMBER("pid", (uint32_t)c.pid),
		LOG_NUMBER("uid", c.uid), LOG_TEXT("kind", c.device ? "device" : "plain"),
		LOG_NUMBER("worker", join->worker), LOG_TEXT("exe", c.exe),
		LOG_TEXT(zoned ? "zones" : NULL, zones));
}

static void log_gone(struct registrar *r, const struct message *m)
{
	uint32_t pid = (uint32_t)r->state->members[m->id].pid;

	switch ((enum gone_reason)m->reason) {
	case GONE_CLOSED:
		log_event(leave, LOG_NUMBER("id", m->id), LOG_NUMBER("pid", pid),
			LOG_TEXT("reason", "closed"));
		return;
	case GONE_SPOKE:
	case GONE_STALLED:
		log_event(drop, LOG_NUMBER("id", m->id), LOG_NUMBER("pid", pid),
			LOG_TEXT("reason", m->reason == GONE_SPOKE ? "spoke" : "stalled"));
		return;
	case GONE_ERROR:
		log_event(drop, LOG_NUMBER("id", m->id), LOG_NUMBER("pid", pid),
			LOG_TEXT("reason", "error"), LOG_TEXT("error", strerror(m->error)));
	}
}

static void take_message(struct registrar *r, const struct message *m)
{
	struct message change = {.id = m->id};
	struct intent intent;
	struct client c;

	switch ((enum message_kind)m->kind) {
	case MESSAGE_OPENED:
		intent = membership_opened(&r->membership, m->id);
		ledger_join(r->state, m->id);
		log_join(r, &intent);
		mailbox_present(r->mailbox, m->id);
		r->watchers.changed = true;
		change.kind = MESSAGE_JOINED;
		change.said = r->state->members[m->id].said;
		registrar_tell(r, &change);
		return;
	case MESSAGE_REFUSED:
		refusal_tag(m->sock);
		ledger_closing(r->state, m->id);
		ledger_client(r->state, m->id, &c);
		refuse(r, m->sock, &c, "descriptors");
		count_refused(r);
		door_left(&r->door, c.uid);
		mailbox_absent(r->mailbox, m->id);
		ledger_free(r->state, m->id);
		(void)membership_gone(&r->membership, m->id);
		return;
	case MESSAGE_GONE:
		log_gone(r, m);
		door_left(&r->door, r->state->members[m->id].uid);
		change.said = mailbox_said(r->mailbox, m->id);
		ledger_leave(r->state, m->id, change.said);
		mailbox_absent(r->mailbox, m->id);
		ledger_free(r->state, m->id);
		intent = membership_gone(&r->membership, m->id);
		if (intent.kind == INTENT_LEAVE) {
			r->watchers.changed = true;
			change.kind = MESSAGE_LEFT;
			registrar_tell(r, &change);
		}
		return;
	case MESSAGE_REPORTED:
		orders_reported(r);
		return;
	case MESSAGE_ADOPT:
	case MESSAGE_JOINED:
	case MESSAGE_LEFT:
	case MESSAGE_REWIND:
	case MESSAGE_REPORT:
		assert(!"a message for a worker");
	}
}

/* Returns whether a message was left where it is, for want of room. */
static bool take_messages(struct registrar *r)
{
	struct message m;

	for (uint16_t w = 0; w < r->workers_count; w++) {
		while (!message_queue_empty(&r->workers[w].outbox)) {
			if (!room_for_an_event(r))
				return true;
			if (message_queue_take(&r->workers[w].outbox, &m))
				take_message(r, &m);
		}
	}
	return false;
}

static bool messages_wait(const struct registrar *r)
{
	for (uint16_t w = 0; w < r->workers_count; w++)
		if (!message_queue_empty(&r->workers[w].outbox))
			return true;
	return false;
}

static void tell_of_loss(struct registrar *r)
{
	if (r->lost_told || !mailbox_lost(r->mailbox))
		return;
	r->lost_told = true;
	log_event(mailbox_lost,
		LOG_TEXT("hint", "the file was truncated, or has no room; membership and doorbells "
				 "go on, messages to the server don't"));
}

static void on_settle(struct op *op, int res, uint32_t flags)
{
	(void)op;
	(void)res;
	(void)flags;
	log_settle();
}

static void on_mend(struct op *op, int res, uint32_t flags)
{
	(void)res;
	(void)flags;
	container_of(op, struct registrar, mend)->mend_due = true;
}

static void on_waited(struct op *op, int res, uint32_t flags)
{
	/* The turn looks at them anyway. */
	(void)op;
	(void)res;
	(void)flags;
}

static void on_event(struct op *op, int res, uint32_t flags)
{
	/* The turn looks everywhere anyway. */
	(void)op;
	(void)res;
	(void)flags;
}

static void arm(struct registrar *r)
{
	struct io_uring_sqe *sqe;

	/* A flood that has ended is summed up a little later. */
	if (!r->settle.in_kernel && log_suppressed()) {
		r->settle_time = (struct __kernel_timespec){.tv_sec = 1};
		sqe = ring_sqe(&r->ring);
		io_uring_prep_timeout(sqe, &r->settle_time, 0, 0);
		op_arm(&r->settle, sqe, on_settle);
	}
	/* While nobody is here, nobody scribbles. */
	if (!r->mend.in_kernel && r->mailbox->layout == LAYOUT_LANES && r->membership.present) {
		r->mend_time = (struct __kernel_timespec){
			.tv_sec = (long long)(FAMEZ_TICK_NS / 1000000000u),
			.tv_nsec = (long long)(FAMEZ_TICK_NS % 1000000000u),
		};
		sqe = ring_sqe(&r->ring);
		io_uring_prep_timeout(sqe, &r->mend_time, 0, 0);
		op_arm(&r->mend, sqe, on_mend);
	}
	/* What they wait for may come without a message to us. */
	if (!r->wait.in_kernel && r->door.waiting_count) {
		r->wait_time = (struct __kernel_timespec){.tv_nsec = WAIT_LOOK_NS};
		sqe = ring_sqe(&r->ring);
		io_uring_prep_timeout(sqe, &r->wait_time, 0, 0);
		op_arm(&r->wait, sqe, on_waited);
	}
	if (!r->signalled.in_kernel) {
		sqe = ring_sqe(&r->ring);
		io_uring_prep_poll_add(sqe, r->signal_fd, POLLIN);
		op_arm(&r->signalled, sqe, on_event);
	}
	if (!r->woken.in_kernel) {
		sqe = ring_sqe(&r->ring);
		io_uring_prep_read(sqe, r->wakeup.fd, &r->wake_count, sizeof(r->wake_count), 0);
		op_arm(&r->woken, sqe, on_event);
	}
}

static int turn(struct registrar *r)
{
	const struct message rewind = {.kind = MESSAGE_REWIND};
	bool starved, asleep;
	int err;

	haste_look();
	/* Who leaves makes room for who comes. */
	starved = take_messages(r);
	orders_take(r);
	if (r->widen_wanted) {
		r->widen_wanted = false;
		r->rewind_wanted = door_widen(&r->door) || r->rewind_wanted;
	}
	if (r->rewind_wanted && room_for_an_event(r)) {
		r->rewind_wanted = false;
		registrar_tell(r, &rewind);
	}
	/* While one is printed, the next one waits; the logger rings when it is done. */
	if (r->report_wanted && !atomic_load(&r->report->busy) && room_for_an_event(r))
		orders_report(r);
	if (r->stop)
		return 0; /* who still waits to be accepted is turned away */
	orders_note(r);
	look_who_waits(r);
	take_found(r);
	accept_some(r);
	if (r->mend_due) {
		r->mend_due = false;
		mailbox_mend(r->mailbox);
	}
	watchers_ring(&r->watchers);
	tell_of_loss(r);
	arm(r);
	wakeup_sleep(&r->wakeup);
	starved = starved || !room_for_an_event(r);
	if (starved) {
		/* The flag first, then once more the look: a worker that takes
		 * messages after the look sees the flag. */
		atomic_store(&r->starves, true);
		asleep = !room_for_an_event(r);
	} else {
		asleep = (!r->ready || r->paused) && !r->found_count && !messages_wait(r) &&
			 !r->watchers.left && !orders_over(r) &&
			 !(r->report_wanted && !atomic_load(&r->report->busy));
	}
	err = ring_turn(&r->ring, asleep ? 1 : 0);
	wakeup_awake(&r->wakeup);
	return err;
}

static uint64_t said(void *mailbox, uint32_t id)
{
	return mailbox_said(mailbox, id);
}

static void present(void *mailbox, uint32_t id)
{
	mailbox_present(mailbox, id);
}

static void absent(void *mailbox, uint32_t id)
{
	mailbox_absent(mailbox, id);
}

/* What a broker before us left; nothing, where there was none. */
static int restore(struct registrar *r)
{
	const struct recover_mailbox mailbox = {said, present, absent, r->mailbox};
	struct recover_found found;

	recover_finish(r->state, &mailbox, &found);
	r->watchers.changed = found.left || found.present;
	return membership_restore(&r->membership, r->state);
}

/* Where each leads to is the fabric's or an ID's; registrar_run() opens the first. */
static int ports_init(struct registrar *r)
{
	const struct gates *gates = &r->state->rules->gates;

	r->ports = sys_calloc(1 + gates_count(gates), sizeof(*r->ports));
	if (!r->ports)
		return -ENOMEM;
	r->ports[r->ports_count++].own = GATES_NOBODY;
	for (unsigned n = 0; n < gates_end(gates); n++) {
		struct port *port = &r->ports[r->ports_count];

		if (gates_fd(gates, n) <= 0)
			continue;
		port->fd = gates_fd(gates, n);
		port->own = gates->gate[n].id;
		r->ports_count++;
	}
	for (unsigned n = 0; n < r->ports_count; n++) {
		r->ports[n].registrar = r;
		put_ready(r, &r->ports[n]);
	}
	return 0;
}

int registrar_init(struct registrar *r, struct state *state, struct bells *bells,
	struct mailbox *mailbox, struct report *report, const struct door_wish *door)
{
	const struct state_wish *fabric = &state->head->wish;
	int err;

	*r = (struct registrar){
		.state = state,
		.bells = bells,
		.mailbox = mailbox,
		.report = report,
		.workers_count = fabric->workers,
	};
	err = membership_init(&r->membership, fabric->first_id, fabric->peers, fabric->workers);
	if (err)
		return err;
	err = watchers_init(
		&r->watchers, &r->ring, bells, mailbox, fabric->first_id, fabric->peers);
	if (err)
		goto undo_membership;
	err = ports_init(r);
	if (err)
		goto undo_watchers;
	err = restore(r);
	if (err)
		goto undo_ports;
	err = door_init(&r->door, door, &r->membership, state);
	if (err)
		goto undo_ports;
	/* The broker before us may have read the rules, and not come to that. */
	r->widen_wanted = true;
	err = wakeup_init(&r->wakeup);
	if (err)
		goto undo_door;
	report->printed = &r->wakeup;
	mailbox->lost_fd = r->wakeup.fd;
	/* Six operations, the refusals' receives and a poll a socket, each completing once. */
	err = ring_init(&r->ring, 2 * REFUSALS_MAX, 2 * REFUSALS_MAX + r->ports_count);
	if (err)
		goto undo_wakeup;
	watchers_limit(&r->watchers);
	refusals_init(&r->refusals, &r->ring);
	return 0;

undo_wakeup:
	mailbox->lost_fd = -1;
	wakeup_destroy(&r->wakeup);
undo_door:
	door_destroy(&r->door);
undo_ports:
	free(r->ports);
undo_watchers:
	watchers_destroy(&r->watchers);
undo_membership:
	membership_destroy(&r->membership);
	return err;
}

void registrar_destroy(struct registrar *r)
{
	ring_destroy(&r->ring);
	refusals_destroy(&r->refusals);
	r->mailbox->lost_fd = -1;
	wakeup_destroy(&r->wakeup);
	door_destroy(&r->door);
	free(r->ports);
	watchers_destroy(&r->watchers);
	membership_destroy(&r->membership);
}

void registrar_find(struct registrar *r, const struct sweep_found *found, unsigned count)
{
	r->found = found;
	r->found_count = count;
}

void registrar_resume(struct registrar *r, bool reload, bool report)
{
	r->reloading = reload;
	r->report_wanted = report;
}

/* Who waits to be accepted would be closed silently with the socket. */
static void turn_away_the_rest(struct registrar *r)
{
	int sock;

	for (; r->found_count; r->found_count--)
		refusal_send_and_close((r->found++)->sock);
	for (unsigned n = 0; n < r->ports_count; n++) {
		(void)shutdown(r->ports[n].fd, SHUT_RDWR);
		while ((sock = accept4(r->ports[n].fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			refusal_send_and_close(sock);
	}
}

int registrar_run(struct registrar *r, struct worker *workers, const struct listener *listener,
	int signal_fd, pid_t keeper)
{
	int err = 0;

	r->keeper = keeper;
	r->workers = workers;
	r->ports[0].fd = listener->fd;
	r->signal_fd = signal_fd;
	if (r->reloading)
		log_reopen(&r->wakeup);
	while (!r->stop && !err) {
		err = turn(r);
		if (!err)
			err = -atomic_load(&r->worker_error);
	}
	/* A socket of systemd's goes on: who waits there is for our successor. And so is everybody
	 * where the keeper starts one. */
	if (listener->lock >= 0 && !(err && r->keeper) && !r->again)
		turn_away_the_rest(r);
	return err;
}
