/* SPDX-License-Identifier: MIT */
/*
 * messages.c - messages of a handle: when to wait, for what, and for how long.
 *
 * What is in the shared memory is mail.c's. Here is what stands around it: the post of a handle
 * with its timer, its events, and the waiting of famez_send() and famez_recv(). Those two
 * look after the rest of the handle while they wait: what the server or a doorbell tells is kept
 * for famez_next(), in a form that needs no more room however much it is (handle.h).
 *
 * Whoever waits is woken by a doorbell. What a doorbell could miss, since anybody may scribble on
 * what the ringer goes by, the timer looks after, every FAMEZ_TICK_NS. A caller who is never
 * idle has no need of the timer, and looks at the clock now and then instead.
 */
#include "famez/peer.h"

#include "handle.h"
#include "mail.h"
#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Times that a sleep may be called off in a row before the timer is trusted. */
#define CALLED_OFF_MAX 8u

/* Calls that found something until the clock is looked at. */
#define BUSY_MAX 1024u
/* As many of them, since what was received is only counted by the turn. */
#define TURN_BUSY 128u

/* How often we look whether a v1 slot was emptied: nobody rings for that. */
#define SLOT_MS 5
#define SLOT_NS (SLOT_MS * INT64_C(1000000))

/* Most things taken in between two calls' work. */
#define HEARD_MAX 64u

static void deadline_in(struct timespec *deadline, int ms)
{
	clock_gettime(CLOCK_MONOTONIC, deadline);
	deadline->tv_sec += ms / 1000;
	deadline->tv_nsec += ms % 1000 * 1000000L;
}

/* ---- the timer --------------------------------------------------------------------------- */

SELDOM static int set_timer(int timer, int64_t first_ns, int64_t every_ns)
{
	struct itimerspec when = {
		.it_value = {first_ns / 1000000000, first_ns % 1000000000},
		.it_interval = {every_ns / 1000000000, every_ns % 1000000000},
	};

	return timerfd_settime(timer, 0, &when, NULL) < 0 ? -errno : 0;
}

/* The descriptor is readable from now on: there is something, or more to do than one call may. Not
 * by the timer: to have that fire at once costs far more. */
SELDOM static void come_back(struct post *p)
{
	const uint64_t one = 1;

	if (p->back)
		return;
	(void)!write(p->call_back, &one, sizeof(one)); /* ours, and 0 by now: it can't be full */
	p->back = true;
}

/* It is no longer. Returns whether it was. */
SELDOM static bool came_back(struct post *p)
{
	uint64_t count;

	if (!p->back)
		return false;
	(void)!read(p->call_back, &count, sizeof(count)); /* only says so */
	p->back = false;
	return true;
}

SELDOM static void tick(struct famez *f, int64_t now)
{
	struct post *p = f->post;

	if (now - p->ticked_ns < (int64_t)FAMEZ_TICK_NS * 9 / 10)
		return;
	p->ticked_ns = now;
	mail_tick(p->mail);
}

void messages_tick(struct famez *f)
{
	struct post *p = f->post;
	uint64_t expired;

	(void)!read(p->timer, &expired, sizeof(expired)); /* only says that it is time */
	if (p->hasty && !p->mail->text_wants) {
		(void)set_timer(p->timer, FAMEZ_TICK_NS, FAMEZ_TICK_NS);
		p->hasty = false;
	}
	tick(f, now_ns(CLOCK_MONOTONIC_COARSE));
}

/* ---- what is kept for famez_next() ------------------------------------------------------- */

static int kept_init(struct kept *k, uint32_t ids)
{
	*k = (struct kept){.ids = ids};
	k->is_behind = calloc((ids + 63) / 64, sizeof(uint64_t));
	k->told = calloc(ids, sizeof(uint16_t));
	if (k->is_behind && k->told)
		return 0;
	free(k->is_behind);
	free(k->told);
	return -ENOMEM;
}

static void kept_destroy(struct kept *k)
{
	free(k->is_behind);
	free(k->told);
}

static bool is_behind(const struct kept *k, uint32_t id)
{
	return k->is_behind[id / 64] >> (id % 64) & 1;
}

static void toggle_behind(struct kept *k, uint32_t id)
{
	k->is_behind[id / 64] ^= UINT64_C(1) << (id % 64);
	k->behind += is_behind(k, id) ? 1u : UINT32_MAX; /* one more, or one less */
}

/* Before this event all was told of its peer, unless it is behind. */
static void keep_of_peer(struct kept *k, const struct famez_event *event)
{
	uint16_t id = event->peer;

	if (id >= k->ids) /* no ID of this mailbox: its server would not say so */
		return;
	if (event->kind == FAMEZ_EVENT_VECTOR) {
		if (is_behind(k, id))
			return;
		k->told[id] = event->vector;
		toggle_behind(k, id);
	} else if (!is_behind(k, id)) {
		k->told[id] = KEPT_LEFT;
		toggle_behind(k, id);
	} else if (k->told[id]) {
		k->told[id] = KEPT_LEFT;
	} else {
		toggle_behind(k, id);
	}
}

static void keep(struct post *p, int got, const struct famez_event *event)
{
	if (got < 0) {
		p->kept.error = got;
		return;
	}
	switch (event->kind) {
	case FAMEZ_EVENT_DOORBELL:
		p->rung += !p->rings[event->vector];
		p->rings[event->vector] += event->count;
		break;
	case FAMEZ_EVENT_VECTOR:
	case FAMEZ_EVENT_LEFT:
		keep_of_peer(&p->kept, event);
		break;
	default:
		assert(event->kind == FAMEZ_EVENT_LOST); /* handle_step() has no others by now */
		p->kept.lost = true;
		break;
	}
}

/* The next thing to tell of an ID that is behind: 1 with *event, or 0 and it is no longer. */
static int kept_of_peer(struct famez *f, uint16_t id, struct famez_event *event)
{
	struct kept *k = &f->post->kept;

	if (k->told[id] == KEPT_LEFT) {
		k->told[id] = 0;
		if (!famez_vectors(f, id))
			toggle_behind(k, id);
		*event = (struct famez_event){.kind = FAMEZ_EVENT_LEFT, .peer = id};
		return 1;
	}
	while (k->told[id] < famez_vectors(f, id)) {
		uint16_t vector = k->told[id]++;

		if (!f->transport->can_ring(f, id, vector))
			continue; /* its descriptor was lost: that was an error */
		*event = (struct famez_event){
			.kind = FAMEZ_EVENT_VECTOR, .peer = id, .vector = vector};
		return 1;
	}
	toggle_behind(k, id);
	return 0;
}

static int kept_next(struct famez *f, struct famez_event *event)
{
	struct post *p = f->post;
	struct kept *k = &p->kept;
	int error = k->error;

	for (uint32_t first = 0; k->behind && first < k->ids; first += 64)
		while (k->is_behind[first / 64]) {
			uint32_t id = first + (uint32_t)__builtin_ctzll(k->is_behind[first / 64]);

			if (kept_of_peer(f, (uint16_t)id, event))
				return 1;
		}
	if (error) {
		k->error = 0;
		return error;
	}
	if (k->lost) {
		k->lost = false;
		*event = (struct famez_event){.kind = FAMEZ_EVENT_LOST};
		return 1;
	}
	for (uint16_t vector = 0; p->rung && vector < FAMEZ_WIRE_VECTORS_MAX; vector++) {
		if (!p->rings[vector])
			continue;
		*event = (struct famez_event){
			.kind = FAMEZ_EVENT_DOORBELL, .vector = vector, .count = p->rings[vector]};
		p->rings[vector] = 0;
		p->rung--;
		return 1;
	}
	return 0;
}

/* Takes in what comes from outside while we wait: one thing of it, or, without a timeout,
 * all that is there. */
SELDOM static void hear(struct famez *f, int timeout_ms)
{
	struct post *p = f->post;

	p->heard |= came_back(p);
	for (unsigned step = 0; step < HEARD_MAX; step++) {
		struct famez_event event;
		bool idle = false;
		int got;

		got = handle_step(f, &event, timeout_ms, &idle);
		p->heard |= !idle;
		if (got)
			keep(p, got, &event);
		if (idle || timeout_ms)
			return;
	}
}

/* A caller who never waits comes by here: at times, look after what else there is. */
SELDOM static void look_up(struct famez *f)
{
	struct post *p = f->post;
	int64_t now = now_ns(CLOCK_MONOTONIC_COARSE);

	p->busy = 0;
	if (now - p->ticked_ns < (int64_t)FAMEZ_TICK_NS)
		return;
	tick(f, now);
	hear(f, 0);
}

/* After something was done that may have rung a bell. */
static inline void after(struct famez *f)
{
	struct post *p = f->post;

	if (p->mail->unheard) {
		p->mail->unheard = false;
		hear(f, 0);
		p->mail->unheard = false; /* the server will tell, or the tick will do */
	}
	if (++p->busy >= BUSY_MAX)
		look_up(f);
}

/* Has famez_next() nothing to tell of, and will a doorbell say so once it has? */
SELDOM static bool is_quiet(struct famez *f)
{
	const struct post *p = f->post;

	return !p->kept.behind && !p->kept.error && !p->kept.lost && !p->rung &&
	       !mail_may_tell(p->mail) && !mail_sleep(p->mail, true);
}

/* The end of a call other than famez_next(), and than a famez_recv() that waited. Who waits for
 * the descriptor now must not miss what we took from behind it; but only who was told by
 * famez_next() that there is nothing may do so. */
static inline void done(struct famez *f)
{
	struct post *p = f->post;

	after(f);
	if (__builtin_expect(p->heard, 0) && p->waited && !is_quiet(f))
		come_back(p);
	p->heard = false;
}

SELDOM static void done_at_last(struct famez *f)
{
	done(f);
}

/* The same where, as for most messages, no bell was rung. */
static inline void done_quietly(struct famez *f)
{
	if (__builtin_expect(++f->post->busy >= BUSY_MAX || f->post->heard, 0))
		done_at_last(f);
}

/* ---- open and close ---------------------------------------------------------------------- */

static int on_ring(void *owner, uint16_t peer, uint16_t vector)
{
	return famez_ring(owner, peer, vector);
}

int famez_mailbox_open(struct famez *f, const struct famez_mailbox *how)
{
	struct mail_place place;
	struct post *p;
	int err;

	if (f->state != MEMBER)
		return -ENOTCONN;
	if (f->post)
		return -EALREADY;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->timer < 0) {
		err = -errno;
		goto undo_post;
	}
	p->call_back = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->call_back < 0) {
		err = -errno;
		goto undo_timer;
	}
	err = set_timer(p->timer, FAMEZ_TICK_NS, FAMEZ_TICK_NS);
	if (!err)
		err = handle_watch(f, p->timer, READY_TIMER);
	if (!err)
		err = handle_watch(f, p->call_back, READY_CALL_BACK);
	if (!err && f->transport->claim)
		err = f->transport->claim(f, true);
	if (err)
		goto undo_call_back;
	spin_init(&p->spin, how->spin_us);
	p->room_spin = p->spin;
	p->ticked_ns = now_ns(CLOCK_MONOTONIC_COARSE);
	place = (struct mail_place){.base = f->memory,
		.bytes = f->bytes,
		.id = f->id,
		.ring = on_ring,
		.owner = f,
		.watches = f->transport->rung};
	err = mail_open(&p->mail, &place, how);
	if (err)
		goto undo_claim;
	err = kept_init(&p->kept, p->mail->g.ids);
	if (err)
		goto undo_mail;
	f->post = p;
	return 0;

undo_mail:
	mail_close(p->mail);
undo_claim:
	if (f->transport->claim)
		(void)f->transport->claim(f, false); /* it was ours */
undo_call_back:
	(void)close(p->call_back); /* and with it, it is out of the epoll descriptor */
undo_timer:
	(void)close(p->timer); /* the same */
undo_post:
	free(p);
	return err;
}

void messages_close(struct famez *f)
{
	struct post *p = f->post;

	hear(f, 0); /* bells that we may need for the last words */
	mail_close(p->mail);
	(void)close(p->timer); /* nothing unwritten */
	(void)close(p->call_back);
	kept_destroy(&p->kept);
	free(p);
	f->post = NULL;
}

/* ---- events ------------------------------------------------------------------------------ */

/* The mail and the rest of the world take turns, so that neither can starve the other. */
static int next_event(struct famez *f, struct famez_event *event)
{
	struct post *p = f->post;
	unsigned idle_sides = 0;

	for (unsigned step = 0; step < HANDLE_STEPS_MAX && idle_sides < 2; step++) {
		bool idle = false;
		int got;

		p->mail_turn = !p->mail_turn;
		if (p->mail_turn) {
			got = mail_event(p->mail, event);
			idle = !got;
		} else {
			got = handle_step(f, event, 0, &idle);
		}
		if (got)
			return got;
		idle_sides = idle ? idle_sides + 1 : 0;
	}
	return 0;
}

int messages_next(struct famez *f, struct famez_event *event)
{
	struct post *p = f->post;
	int got;

	mail_awake(p->mail);
	(void)came_back(p);
	p->heard = p->waited = false;
	got = kept_next(f, event);
	if (got)
		return got;
	for (unsigned off = 0; off < CALLED_OFF_MAX; off++) {
		got = next_event(f, event);
		if (got)
			return got;
		if (!mail_sleep(p->mail, true)) {
			p->mail->unheard = false; /* the server's word wakes us */
			p->waited = true;
			return 0;
		}
	}
	p->waited = true;
	come_back(p);
	return 0;
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* What is waited for: a message, or room. */
struct waited {
	struct mail *mail;
	struct famez_message *into; /* NULL: for room */
	uint16_t peer;
	size_t bytes;
};

static bool has_come(const void *what)
{
	const struct waited *w = what;

	return w->into ? mail_peek(w->mail, w->into) : mail_has_room(w->mail, w->peer, w->bytes);
}

/* hear(), and take note of how long that was. */
SELDOM static void sleep_and_hear(struct famez *f, struct spin *s, int timeout_ms)
{
	int64_t begun = now_ns(CLOCK_MONOTONIC);

	hear(f, timeout_ms);
	spin_slept(s, now_ns(CLOCK_MONOTONIC) - begun);
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Waits until there is room, or no more reason to wait. Returns as famez_send(). */
static int wait_for_room(
	struct famez *f, uint16_t peer, size_t bytes, void **room, const struct timespec *deadline)
{
	struct mail *m = f->post->mail;
	const struct waited w = {.mail = m, .peer = peer, .bytes = bytes};
	int err, ms;

	mail_blocked(m, true);
	for (;;) {
		mail_flush_all(m);
		after(f);
		if (!spin_until(&f->post->room_spin, has_come, &w, mail_sent(m, peer)) &&
			!mail_ask(m, peer, bytes)) {
			ms = handle_remaining_ms(deadline);
			if (ms == 0) {
				err = -ETIMEDOUT;
				break;
			}
			sleep_and_hear(f, &f->post->room_spin, ms);
		}
		err = mail_claim(m, peer, bytes, room);
		if (err != -EAGAIN)
			break;
	}
	mail_blocked(m, false);
	return err;
}

/* What was full is not to be waited for: have us told when it has room. */
static int claim_or_ask(struct mail *m, uint16_t peer, size_t bytes, void **room)
{
	int err = mail_claim(m, peer, bytes, room);

	/* A pad may have taken what was there. */
	for (unsigned tries = 0; err == -EAGAIN && tries < 2 && mail_ask(m, peer, bytes); tries++)
		err = mail_claim(m, peer, bytes, room);
	if (err == -EAGAIN)
		mail_want_room(m, peer, bytes);
	return err;
}

static int send_text(struct famez *f, const struct famez_to *to, const void *text, size_t bytes,
	const struct timespec *deadline, bool patient)
{
	struct mail *m = f->post->mail;
	uint16_t speaker = to->spoof ? to->origin : f->id;
	int err;

	while ((err = mail_text(m, to->peer, speaker, text, bytes)) == -EAGAIN && patient) {
		int ms = handle_remaining_ms(deadline);

		if (ms == 0) {
			err = -ETIMEDOUT;
			break;
		}
		hear(f, ms > 0 && ms < SLOT_MS ? ms : SLOT_MS);
	}
	if (err == -EAGAIN && speaker == f->id) {
		m->text_wants = to->peer;
		f->post->hasty = true;
		(void)set_timer(f->post->timer, SLOT_NS, SLOT_NS);
	}
	done(f);
	return err;
}

static int transmit(struct famez *f, const struct famez_to *to, uint16_t kind, const void *payload,
	size_t bytes, unsigned flags, int timeout_ms)
{
	struct mail *m = f->post->mail;
	struct timespec deadline;
	/* Nobody but ourselves could make room in a lane to ourselves. */
	bool patient = timeout_ms != 0 && to->peer != f->id;
	void *room;
	int err;

	if (patient && timeout_ms > 0)
		deadline_in(&deadline, timeout_ms);
	err = patient ? mail_claim(m, to->peer, bytes, &room)
		      : claim_or_ask(m, to->peer, bytes, &room);
	if (err == -EAGAIN && patient)
		err = wait_for_room(f, to->peer, bytes, &room, timeout_ms > 0 ? &deadline : NULL);
	if (!err) {
		if (bytes)
			memcpy(room, payload, bytes);
		(void)mail_commit(m, m->claim, bytes, kind, to->spoof ? to->origin : f->id,
			flags & FAMEZ_MORE);
	}
	if (err == -EOPNOTSUPP && FAMEZ_KIND_TYPE(kind) <= FAMEZ_TYPE_LINK && !(flags & FAMEZ_MORE))
		return send_text(f, to, payload, bytes, timeout_ms > 0 ? &deadline : NULL, patient);
	done(f);
	return err;
}

#define COPY_MIN 16u
#define COPY_MAX 256u

/* One word, and not two at once, whatever a compiler may think of that. */
static inline void copy_word(char *to, const char *from)
{
	uint64_t word;

	memcpy(&word, from, sizeof(word));
	__asm__("" : "+r"(word));
	memcpy(to, &word, sizeof(word));
}

/* A message's payload of COPY_MIN to COPY_MAX bytes: not worth a call. The first two words by
 * themselves: often they were written just before, and what is still on its way to the cache can't
 * be read in larger pieces than it was written in. The last pieces may overlap. */
static inline void copy_short(void *room, const void *payload, size_t bytes)
{
	typedef long long piece __attribute__((vector_size(16), aligned(1), may_alias));
	const char *from = payload, *from_end = from + bytes;
	char *to = room, *to_end = to + bytes;

#define COPY(to, from, nth) (((piece *)(to))[nth] = ((const piece *)(from))[nth])
	copy_word(to, from);
	copy_word(to + 8, from + 8);
	from += 16;
	to += 16;
	while (from_end - from > 32) {
		COPY(to, from, 0);
		COPY(to, from, 1);
		from += 32;
		to += 32;
	}
	if (bytes >= 32)
		COPY(to_end, from_end, -2);
	COPY(to_end, from_end, -1);
#undef COPY
}

static inline void copy_in(void *room, const void *payload, size_t bytes)
{
	if (bytes - COPY_MIN <= COPY_MAX - COPY_MIN)
		copy_short(room, payload, bytes);
	else if (bytes)
		memcpy(room, payload, bytes);
}

/* famez_send(), of a message that is not just one more. */
__attribute__((noinline)) static int send_any(struct famez *f, const struct famez_to *to,
	const void *payload, size_t bytes, unsigned flags, int timeout_ms)
{
	struct mail *m;
	struct mail_out *out;
	void *room;
	int err;

	if (!f->post || to->type > FAMEZ_MESSAGE_LINK || flags & ~FAMEZ_MORE)
		return -EINVAL;
	m = f->post->mail;
	/* Whatever becomes of it, room and place are others afterwards. */
	m->open.to = MAIL_CLOSED;
	out = mail_ready(m, to->peer);
	err = out ? famez_tx_claim(&out->tx, bytes, &room) : -EAGAIN;
	if (__builtin_expect(!err, 1)) {
		copy_in(room, payload, bytes);
		if (mail_commit(m, out, bytes, FAMEZ_KIND(to->type, 0),
			    to->spoof ? to->origin : m->id, flags & FAMEZ_MORE))
			done(f);
		else if (mail_has_batch(out))
			mail_keep_open(m, out, to);
		else /* published: so much at once, or as asked for */
			done_quietly(f);
		return 0;
	}
	if (out && err == -EAGAIN)
		out->tx.full--; /* it tries again, and counts that */
	return transmit(f, to, FAMEZ_KIND(to->type, 0), payload, bytes, flags, timeout_ms);
}

int famez_send(struct famez *f, const struct famez_to *to, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms)
{
	/* The usual case at once: this is what messages a second depend on. */
	if (f->post && flags == FAMEZ_MORE) {
		void *room = mail_append(f->post->mail, to, bytes);

		if (__builtin_expect(room != NULL, 1)) {
			copy_in(room, payload, bytes);
			return 0;
		}
	}
	return send_any(f, to, payload, bytes, flags, timeout_ms);
}

int famez_claim(struct famez *f, uint16_t peer, size_t bytes, void **payload)
{
	int err;

	if (!f->post)
		return -EINVAL;
	err = claim_or_ask(f->post->mail, peer, bytes, payload);
	if (err)
		done(f); /* it may have rung */
	return err;
}

int famez_commit(struct famez *f, const struct famez_to *to, size_t bytes, unsigned flags)
{
	struct mail *m = f->post ? f->post->mail : NULL;

	if (!m || !m->claim || to->peer != m->claim->peer || bytes > m->claim->tx.claimed ||
		to->type > FAMEZ_MESSAGE_LINK || flags & ~FAMEZ_MORE)
		return -EINVAL;
	(void)mail_commit(m, m->claim, bytes, FAMEZ_KIND(to->type, 0),
		to->spoof ? to->origin : f->id, flags & FAMEZ_MORE);
	done(f);
	return 0;
}

int famez_flush(struct famez *f, uint16_t peer)
{
	int err;

	if (!f->post)
		return -EINVAL;
	err = mail_flush(f->post->mail, peer);
	done(f);
	return err;
}

/* ---- groups ------------------------------------------------------------------------------ */

static int to_group(struct famez *f, unsigned type, uint16_t group, const void *payload,
	size_t bytes, unsigned flags, int timeout_ms)
{
	struct famez_to to = {0};
	int server;

	if (!f->post || !group || group >= FAMEZ_GROUPS_MAX || flags & ~FAMEZ_MORE)
		return -EINVAL;
	server = famez_server_id(f);
	if (server < 0)
		return server;
	to.peer = (uint16_t)server;
	return transmit(f, &to, FAMEZ_KIND(type, group), payload, bytes, flags, timeout_ms);
}

int famez_group_enter(struct famez *f, uint16_t group)
{
	return to_group(f, FAMEZ_TYPE_GROUP_ENTER, group, NULL, 0, 0, 0);
}

int famez_group_exit(struct famez *f, uint16_t group)
{
	return to_group(f, FAMEZ_TYPE_GROUP_EXIT, group, NULL, 0, 0, 0);
}

int famez_group_send(struct famez *f, uint16_t group, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms)
{
	return to_group(f, FAMEZ_TYPE_GROUP, group, payload, bytes, flags, timeout_ms);
}

/* ---- receiving --------------------------------------------------------------------------- */

/* The calls that run for each message have their other cases elsewhere, and nothing to save for
 * them on the stack. */

SELDOM static int peek_slowly(struct famez *f, struct famez_message *m)
{
	if (!f->post)
		return -EINVAL;
	if (!mail_peek(f->post->mail, m)) {
		look_up(f);
		done(f);
		return 0;
	}
	f->post->busy += TURN_BUSY - 1;
	done_quietly(f);
	return 1;
}

int famez_peek(struct famez *f, struct famez_message *m)
{
	if (__builtin_expect(f->post && mail_quick(f->post->mail, m), 1))
		return 1;
	return peek_slowly(f, m);
}

int famez_peek_batch(struct famez *f, struct famez_message *m, unsigned most)
{
	struct mail *mail = f->post ? f->post->mail : NULL;
	int got;

	if (!mail || !most)
		return -EINVAL;
	if (mail_holds_batch(mail))
		return -EBUSY;
	got = famez_peek(f, m);
	if (got != 1)
		return got;
	if (!mail->held) { /* a slot holds no more than one */
		mail->told_text = true;
		return 1;
	}
	return 1 + (int)mail_extend(mail, m + 1, most - 1);
}

SELDOM static void release_slowly(struct famez *f)
{
	if (!f->post)
		return;
	if (mail_release(f->post->mail))
		done(f);
	else
		done_quietly(f);
}

void famez_release(struct famez *f)
{
	if (__builtin_expect(!f->post || f->post->heard || !mail_release_quick(f->post->mail), 0))
		release_slowly(f);
}

/* Takes what was just peeked at. */
static int copy_out(struct famez *f, struct famez_message *m, void *into, size_t size)
{
	if (m->bytes > size) {
		m->payload = NULL;
		return -EMSGSIZE;
	}
	if (m->bytes)
		memcpy(into, m->payload, m->bytes);
	m->payload = into;
	if (mail_release_quick(f->post->mail))
		return 1;
	f->post->busy += TURN_BUSY - 1;
	(void)mail_release(f->post->mail);
	after(f);
	return 1;
}

/* Waits for a message. Returns whether there is one, in *m. */
static bool wait_for_message(
	struct famez *f, struct famez_message *m, const struct timespec *deadline)
{
	const struct waited w = {.mail = f->post->mail, .into = m};
	unsigned off = 0;
	int ms;

	do {
		mail_flush_all(w.mail);
		after(f);
		if (spin_until(&f->post->spin, has_come, &w, mail_taken(w.mail)))
			return true;
		ms = handle_remaining_ms(deadline);
		if (!mail_sleep(w.mail, false)) {
			sleep_and_hear(f, &f->post->spin, ms);
			mail_awake(w.mail);
			f->post->waited = false;
		} else if (++off == CALLED_OFF_MAX && ms) {
			/* If that leads to nothing again and again, somebody scribbles. */
			off = 0;
			hear(f, 1);
		} else {
			spin_linger(&f->post->spin);
		}
		if (mail_peek(w.mail, m))
			return true;
	} while (ms != 0);
	return false;
}

int famez_await(struct famez *f, struct famez_message *m, int timeout_ms)
{
	struct timespec deadline;
	int got = famez_peek(f, m);

	if (got || timeout_ms == 0)
		return got;
	if (timeout_ms > 0)
		deadline_in(&deadline, timeout_ms);
	return wait_for_message(f, m, timeout_ms > 0 ? &deadline : NULL);
}

int famez_recv(struct famez *f, struct famez_message *m, void *into, size_t size, int timeout_ms)
{
	struct timespec deadline;

	if (!f->post)
		return -EINVAL;
	if (mail_quick(f->post->mail, m))
		return copy_out(f, m, into, size);
	if (mail_holds_batch(f->post->mail))
		return -EBUSY;
	if (!mail_peek(f->post->mail, m)) {
		look_up(f);
		if (timeout_ms == 0) {
			done(f);
			return 0;
		}
		if (timeout_ms > 0)
			deadline_in(&deadline, timeout_ms);
		if (!wait_for_message(f, m, timeout_ms > 0 ? &deadline : NULL))
			return 0;
	}
	return copy_out(f, m, into, size);
}

/* ---- the directory, and figures ---------------------------------------------------------- */

size_t famez_payload_bytes_max(const struct famez *f)
{
	return f->post ? famez_payload_max(&f->post->mail->g) : 0;
}

int famez_server_id(const struct famez *f)
{
	if (!f->post || f->post->mail->g.server_id == FAMEZ_NOBODY)
		return -ENOTCONN;
	return (int)f->post->mail->g.server_id;
}

int famez_who(struct famez *f, uint16_t id, struct famez_who *who)
{
	return f->post ? directory_who(&f->post->mail->directory, id, who) : -EINVAL;
}

int famez_who_after(struct famez *f, int id)
{
	return f->post ? directory_after(&f->post->mail->directory, id) : -1;
}

int famez_who_named(struct famez *f, const char *name)
{
	if (!f->post || !name || !*name)
		return -EINVAL;
	return directory_named(&f->post->mail->directory, name);
}

int famez_traffic(struct famez *f, uint16_t from, uint16_t to, struct famez_traffic *traffic)
{
	const struct mail *m = f->post ? f->post->mail : NULL;
	struct famez_lane *lane;
	uint64_t unread;

	if (!m || from >= m->g.ids || to >= m->g.ids)
		return -EINVAL;
	lane = famez_lane_at(m->base, &m->g, to, from);
	unread = famez_load_relaxed(&lane->produced) - famez_load_relaxed(&lane->consumed);
	*traffic = (struct famez_traffic){
		.messages = famez_load_relaxed(&lane->messages),
		.payload_bytes = famez_load_relaxed(&lane->payload_bytes),
		.rings = famez_load_relaxed(&lane->rings),
		.full = famez_load_relaxed(&lane->full),
		/* The two may be of different moments, and are anybody's. */
		.unread_bytes = unread <= m->g.lane_bytes ? unread : 0,
		.stale = famez_load_relaxed(&lane->stale),
		.garbled = famez_load_relaxed(&lane->garbled),
	};
	return 0;
}
