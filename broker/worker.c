/* SPDX-License-Identifier: MIT */
/*
 * worker.c - one thread that serves its share of the peers: its turn, its lists.
 *
 * What is done for one peer is in peer.c. Never accepts, never gives out IDs, never
 * writes to a log file.
 */
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "haste.h"
#include "heap.h"
#include "ledger.h"
#include "log.h"
#include "own_bell.h"
#include "peer.h"
#include "refusal.h"
#include "sandbox_calls.h"
#include "sys.h"
#include "trespass.h"

SANDBOX_BROKER(CALL(close), CALL(write));

/* Messages taken in one turn; a device that comes counts for 16, and who leaves for up to 16
 * more, if it was in groups all over. */
#define MESSAGES_COST 256u

/* How long a peer waits that the kernel was short of something for: doubled while it
 * goes on, back to the first when a chain has gone through. */
#define RETRY_FIRST_NS 1000000u
#define RETRY_LAST_NS  64000000u

/* How long a turn may stay with messages to the server that come one after the other. */
#define MAIL_ONLY_NS 150000u

/* Between two looks at who has stalled. */
#define STALL_LOOK_NS 250000000u

uint64_t worker_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void worker_move(struct worker *w, struct peer *p, enum peer_place place)
{
	if (p->place != PLACE_NOWHERE)
		TAILQ_REMOVE(&w->places[p->place], p, link);
	p->place = (uint8_t)place;
	if (place != PLACE_NOWHERE)
		TAILQ_INSERT_TAIL(&w->places[place], p, link);
}

static void move_all(struct worker *w, enum peer_place from)
{
	struct peer *p;

	while ((p = TAILQ_FIRST(&w->places[from])))
		worker_move(w, p, p->announced ? PLACE_READY : PLACE_OPENING);
}

void worker_say(struct worker *w, const struct message *m)
{
	bool done = message_queue_put(&w->outbox, m);

	assert(done);
	wakeup_ring(w->shared->registrar);
}

bool worker_tells_leaves(const struct worker_shared *shared, bool device)
{
	return shared->leaves_always || (!shared->leaves_never && !device);
}

void worker_tell(struct worker *w, const struct message *m)
{
	bool done = message_queue_put(&w->inbox, m);

	assert(done);
	wakeup_ring(&w->wakeup);
}

static void arm_timeout(struct worker *w, struct op *op, struct __kernel_timespec *time,
	uint64_t ns, void (*done)(struct op *, int, uint32_t))
{
	struct io_uring_sqe *sqe;

	if (op->in_kernel)
		return;
	*time = (struct __kernel_timespec){.tv_nsec = (long long)ns};
	sqe = ring_sqe(&w->ring);
	io_uring_prep_timeout(sqe, time, 0, 0);
	op_arm(op, sqe, done);
}

static void on_retry(struct op *op, int res, uint32_t flags)
{
	(void)res;
	(void)flags;
	move_all(container_of(op, struct worker, retry), PLACE_RETRY);
}

void worker_retry_soon(struct worker *w)
{
	if (w->retry.in_kernel)
		return;
	w->retry_ns = w->retry_ns ? w->retry_ns * 2 : RETRY_FIRST_NS;
	w->retry_ns = w->retry_ns < RETRY_LAST_NS ? w->retry_ns : RETRY_LAST_NS;
	arm_timeout(w, &w->retry, &w->retry_time, w->retry_ns, on_retry);
}

static void on_stall(struct op *op, int res, uint32_t flags)
{
	struct worker *w = container_of(op, struct worker, stall);
	uint64_t now = worker_now_ns();
	struct peer *p, *next;

	(void)res;
	(void)flags;
	for (p = TAILQ_FIRST(&w->places[PLACE_BLOCKED]); p; p = next) {
		next = TAILQ_NEXT(p, link);
		peer_check_stall(p, now);
	}
	if (!TAILQ_EMPTY(&w->places[PLACE_BLOCKED]))
		worker_watch_stalls(w);
}

void worker_watch_stalls(struct worker *w)
{
	arm_timeout(w, &w->stall, &w->stall_time, STALL_LOOK_NS, on_stall);
}

static void on_woken(struct op *op, int res, uint32_t flags)
{
	/* Why we were woken stands in the inbox; the turn looks there anyway. */
	(void)op;
	(void)res;
	(void)flags;
}

static void arm_woken(struct worker *w)
{
	struct io_uring_sqe *sqe;

	if (w->woken.in_kernel)
		return;
	sqe = ring_sqe(&w->ring);
	io_uring_prep_read(sqe, w->wakeup.fd, &w->wake_count, sizeof(w->wake_count), 0);
	op_arm(&w->woken, sqe, on_woken);
}

static void for_each_peer(struct worker *w, void (*visit)(struct worker *, struct peer *))
{
	struct peer *p, *next;

	for (unsigned place = PLACE_OPENING; place < PLACES; place++) {
		for (p = TAILQ_FIRST(&w->places[place]); p; p = next) {
			next = TAILQ_NEXT(p, link);
			visit(w, p);
		}
	}
}

static void rewind_one(struct worker *w, struct peer *p)
{
	if (!view_rewind(&p->view, &p->client))
		return;
	p->told_held_back = false;
	if (p->account)
		p->account->process.looked_ns = 0;
	if (p->place == PLACE_IDLE)
		worker_move(w, p, PLACE_READY);
}

static uint64_t zones_now(const struct worker *w, uint32_t id)
{
	return atomic_load_explicit(&w->shared->state->members[id].zones, memory_order_relaxed);
}

/* What zones do those have who are here? Returns whether others than we knew. */
static bool look_at_zones(struct worker *w)
{
	bool changed = false;

	for (uint32_t id = 0; id < w->shared->ids_max; id++) {
		if (!ledger_taken(w->shared->state, id) || w->roster.zones[id] == zones_now(w, id))
			continue;
		w->roster.zones[id] = zones_now(w, id);
		changed = true;
	}
	return changed;
}

/* Somebody may have become its neighbour. */
static void walk_again(struct worker *w, struct peer *p)
{
	view_again(&p->view);
	if (p->place == PLACE_IDLE)
		worker_move(w, p, PLACE_READY);
}

static void report_one(struct worker *w, struct peer *p)
{
	peer_report(p, &w->shared->report->peers[p->client.id]);
}

static void take_messages(struct worker *w)
{
	const struct message reported = {.kind = MESSAGE_REPORTED};
	bool any = false, changed = false;
	unsigned cost = 0;
	struct message m;

	/* A flood of newcomers, each device a look into /proc, holds up nobody's notices. */
	while (cost < MESSAGES_COST && message_queue_take(&w->inbox, &m)) {
		any = true;
		cost += m.kind == MESSAGE_ADOPT && m.device ? 16 : 1;
		switch ((enum message_kind)m.kind) {
		case MESSAGE_ADOPT:
			w->roster.zones[m.id] = zones_now(w, m.id);
			peer_adopt(w, &m);
			break;
		case MESSAGE_JOINED:
		case MESSAGE_LEFT:
			if (m.kind == MESSAGE_JOINED)
				w->roster.zones[m.id] = zones_now(w, m.id);
			roster_append(&w->roster, m.id, m.kind == MESSAGE_JOINED);
			if (m.kind == MESSAGE_JOINED)
				mail_joined(w, m.id, w->roster.end << 1 | 1, m.said);
			else
				cost += mail_left(w, m.id, w->roster.end << 1, m.said) / 4;
			changed = true;
			break;
		case MESSAGE_REWIND:
			for_each_peer(w, rewind_one);
			if (look_at_zones(w))
				for_each_peer(w, walk_again);
			break;
		case MESSAGE_REPORT:
			for_each_peer(w, report_one);
			w->shared->report->notices[w->nth] = w->notices;
			own_bells_report(w);
			mail_report(w);
			worker_say(w, &reported);
			break;
		case MESSAGE_OPENED:
		case MESSAGE_REFUSED:
		case MESSAGE_GONE:
		case MESSAGE_REPORTED:
			assert(!"a message for the registrar");
		}
	}
	if (changed)
		move_all(w, PLACE_IDLE);
	if (any && atomic_exchange(w->shared->registrar_starves, false))
		wakeup_ring(w->shared->registrar);
}

static void tell_some(struct worker *w, enum peer_place place, unsigned until)
{
	struct peer *p;

	while (w->sends_used < until && (p = TAILQ_FIRST(&w->places[place]))) {
		unsigned most = until - w->sends_used;

		/* Version, ID and memory leave together: FAME-Z's clients want to
		 * read them as one. */
		if (most < 3)
			return;
		(void)peer_tell(p, most < WORKER_CHAIN ? most : WORKER_CHAIN);
	}
}

/* Newcomers first, but never so many that the others stand still. */
static void tell_all(struct worker *w)
{
	unsigned openings =
		TAILQ_EMPTY(&w->places[PLACE_READY]) ? WORKER_SENDS : WORKER_OPENING_SENDS;

	w->sends_used = 0;
	tell_some(w, PLACE_OPENING, openings);
	tell_some(w, PLACE_READY, WORKER_SENDS);
	tell_some(w, PLACE_OPENING, WORKER_SENDS);
}

static bool nothing_ready(const struct worker *w)
{
	return TAILQ_EMPTY(&w->places[PLACE_OPENING]) && TAILQ_EMPTY(&w->places[PLACE_READY]);
}

/* Who speaks to us and polls for the answer is answered without a system call, unless somebody
 * else wants something; the kernel has its say after MAIL_ONLY_NS. */
static bool take_mail(struct worker *w)
{
	bool busy = mail_turn(w);
	uint64_t until;

	if (busy || !w->mail.took)
		return busy;
	until = worker_now_ns() + MAIL_ONLY_NS;
	while (!busy && nothing_ready(w) && message_queue_empty(&w->inbox) && mail_poll(w, until))
		busy = mail_turn(w);
	return busy;
}

/* The keeper's watchdog sees by it that we turn. */
static void answer(const struct worker *w)
{
	struct state *state = w->shared->state;
	uint64_t asked = atomic_load_explicit(&state->live->asked, memory_order_relaxed);

	atomic_store_explicit(&state->workers[w->nth].answered, asked, memory_order_relaxed);
}

static int turn(struct worker *w)
{
	bool asleep = false, busy;
	int err;

	haste_look();
	answer(w);
	trespass_in_turn(w->nth);
	take_messages(w);
	busy = take_mail(w);
	tell_all(w);
	arm_woken(w);
	if (!busy && nothing_ready(w)) {
		wakeup_sleep(&w->wakeup);
		asleep = message_queue_empty(&w->inbox) && !atomic_load(&w->any_thread.stop) &&
			 mail_sleep(w);
	}
	err = ring_turn(&w->ring, asleep ? 1 : 0);
	wakeup_awake(&w->wakeup);
	mail_awake(w);
	return err;
}

uint64_t worker_completions(uint32_t ids_max, uint16_t vectors, uint16_t shards)
{
	return 2 * (uint64_t)ids_max + vectors + (uint64_t)WORKER_SENDS + 3 +
	       mail_operations(ids_max, shards);
}

unsigned worker_submissions(uint32_t ids_max, uint16_t shards)
{
	/* Receives of those who come in a turn, polls, cancels: what does not fit enters the
	 * kernel by itself. And the doorbells of a message to everybody leave at once. */
	return WORKER_SENDS + mail_rings(ids_max, shards);
}

/* The log, and our peers, as a broker before us left them; where there was none, the server
 * alone is in the log. */
static void restore(struct worker *w)
{
	const struct worker_shared *shared = w->shared;
	const struct recover_plan *plan = shared->plan;
	bool zoned = look_at_zones(w);

	for (uint32_t i = 0; i < plan->changes; i++) {
		const struct roster_change *change = &plan->order[i];

		roster_restore(&w->roster, change->id, change->seq, change->present);
	}
	for (uint32_t id = 0; id < shared->ids_max; id++)
		if (ledger_taken(shared->state, id) &&
			shared->state->members[id].worker % shared->workers == w->nth)
			peer_resume(w, id);
	/* It may have died over a reload, just before; and zones may have changed, and not
	 * everybody come to hear of it. */
	for_each_peer(w, rewind_one);
	if (zoned)
		for_each_peer(w, walk_again);
}

static int prepare(struct worker *w)
{
	const struct worker_shared *shared = w->shared;
	uint16_t shards = shared->mail->shards;
	uint64_t completions = worker_completions(shared->ids_max, shared->vectors, shards);
	int err;

	if (w->cpu >= 0) {
		cpu_set_t cpu;

		CPU_ZERO(&cpu);
		CPU_SET(w->cpu, &cpu);
		err = -pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
		if (err)
			return err;
	}
	for (unsigned place = 0; place < PLACES; place++)
		TAILQ_INIT(&w->places[place]);
	LIST_INIT(&w->accounts);
	err = roster_init(&w->roster, shared->ids_max);
	if (err)
		return err;
	err = ring_init(&w->ring, worker_submissions(shared->ids_max, shards),
		completions < UINT32_MAX ? (unsigned)completions : UINT32_MAX);
	if (err)
		goto undo_roster;
	err = mail_open(w);
	if (err)
		goto undo_ring;
	own_bells_arm(w);
	restore(w);
	return 0;

undo_ring:
	ring_destroy(&w->ring);
undo_roster:
	roster_destroy(&w->roster);
	return err;
}

static void close_one(struct worker *w, struct peer *p)
{
	(void)w;
	peer_abandon(p);
}

/* Sockets that came too late, to us or back to the registrar. */
static void close_on_their_way(struct message_queue *queue)
{
	struct message m;

	while (message_queue_take(queue, &m))
		if (m.kind == MESSAGE_ADOPT || m.kind == MESSAGE_REFUSED)
			refusal_send_and_close(m.sock);
}

/* Asleep: on a busy machine who yields in place of that is the last to go on. */
static void wait_for(sem_t *what)
{
	while (sem_wait(what) != 0)
		assert(errno == EINTR);
}

static void *run(void *argument)
{
	struct worker *w = argument;
	int err;

	haste_worker();
	log_thread(w->nth + 1u);
	err = prepare(w);
	w->any_thread.error = err;
	(void)sem_post(&w->any_thread.prepared);
	if (err)
		return NULL;
	wait_for(&w->any_thread.go);
	while (!atomic_load(&w->any_thread.stop) && !err)
		err = turn(w);
	if (err) {
		log_event(failed, LOG_TEXT("what", "io_uring_enter"), LOG_NUMBER("worker", w->nth),
			LOG_TEXT("error", strerror(-err)));
		atomic_store(w->shared->error, -err);
		wakeup_force(w->shared->registrar);
		/* Our sockets may be a successor's: whether they are, others know. */
		while (!atomic_load(&w->any_thread.stop))
			(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	/* The kernel lets go of everything first, then it may be closed and freed. */
	ring_destroy(&w->ring);
	for_each_peer(w, close_one);
	mail_close(w);
	roster_destroy(&w->roster);
	return NULL;
}

/* An ID is opened and gone once before the registrar gives it out again; one report besides;
 * and a ring holds one less than its size, which is a power of two. */
static unsigned outbox_places(uint32_t ids_max)
{
	unsigned n = 4;

	while (n < 2 * (uint64_t)ids_max + 2)
		n *= 2;
	return n;
}

uint64_t worker_base_bytes(void)
{
	return heap_given(MESSAGE_TO_WORKER * sizeof(struct message));
}

uint64_t worker_table_bytes(uint32_t ids_max)
{
	return heap_given(outbox_places(ids_max) * sizeof(struct message)) + roster_bytes(ids_max);
}

int worker_start(struct worker *w, uint16_t nth, int cpu, const struct worker_shared *shared)
{
	int err;

	*w = (struct worker){.nth = nth, .cpu = cpu, .shared = shared};
	err = message_queue_init(&w->inbox, MESSAGE_TO_WORKER);
	if (err)
		return err;
	err = message_queue_init(&w->outbox, outbox_places(shared->ids_max));
	if (err)
		goto undo_inbox;
	err = wakeup_init(&w->wakeup);
	if (err)
		goto undo_outbox;
	(void)sem_init(&w->any_thread.prepared, 0, 0);
	(void)sem_init(&w->any_thread.go, 0, 0);
	atomic_init(&w->any_thread.stop, false);
	err = sys_thread(&w->thread, run, w);
	if (err)
		goto undo_wakeup;
	return 0;

undo_wakeup:
	wakeup_destroy(&w->wakeup);
undo_outbox:
	message_queue_destroy(&w->outbox);
undo_inbox:
	message_queue_destroy(&w->inbox);
	return err;
}

int worker_await(struct worker *w)
{
	wait_for(&w->any_thread.prepared);
	return w->any_thread.error;
}

void worker_go(struct worker *w)
{
	(void)sem_post(&w->any_thread.go);
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->any_thread.stop, true);
	(void)sem_post(&w->any_thread.go);
	wakeup_force(&w->wakeup);
	(void)pthread_join(w->thread, NULL);
}

void worker_finish(struct worker *w)
{
	close_on_their_way(&w->inbox);
	close_on_their_way(&w->outbox);
	(void)sem_destroy(&w->any_thread.go);
	(void)sem_destroy(&w->any_thread.prepared);
	wakeup_destroy(&w->wakeup);
	message_queue_destroy(&w->outbox);
	message_queue_destroy(&w->inbox);
}
