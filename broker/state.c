/* SPDX-License-Identifier: MIT */
/*
 * state.c - the state memory: its layout, views, and the slot through which they change.
 *
 * Makes no system call. What a store means for membership is in ledger.c, what is made of a
 * state found in recover.c.
 */
#include "state.h"

#include <assert.h>
#include <endian.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "famez/mailbox.h"
#include "famez/wire.h"

static_assert(sizeof(struct view) == 40, "part of the state: a change is a new STATE_VERSION");
static_assert(sizeof(struct state_heard) == 120, "no padding in what is summed");
static_assert(sizeof(struct state_wish) == 48, "no padding in what is summed");
static_assert(sizeof(unsigned long) == sizeof(uint64_t), "held bits are words of 64");

/* ---- layout ----------------------------------------------------------------------------- */

#define PAGE 4096u

static uint64_t whole(uint64_t bytes, uint64_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* Where the next @count records of @size bytes lie. */
static uint64_t place(uint64_t *end, uint64_t count, uint64_t size)
{
	uint64_t at = whole(*end, STATE_LINE);

	*end = at + count * size;
	return at;
}

uint32_t state_group_words(const struct state_wish *wish)
{
	uint32_t ids = wish->peers + 2;

	/* As mail.c shares out the mailbox's IDs. */
	return wish->shards ? ((ids + wish->shards - 1) / wish->shards + 63) / 64 : 0;
}

uint64_t state_groups_bytes(const struct state_wish *wish)
{
	return (uint64_t)wish->shards * FAMEZ_GROUPS_MAX * state_group_words(wish) *
	       sizeof(uint64_t);
}

uint64_t state_logs_bytes(const struct state_wish *wish)
{
	return log_memory_bytes(wish->workers + 1u);
}

static void lay_out(struct state_head *h, const struct state_wish *wish)
{
	uint64_t ids = wish->ids_max, end = sizeof(*h);

	*h = (struct state_head){
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.sizes =
			{
				[STATE_SIZE_LIVE] = sizeof(struct state_live),
				[STATE_SIZE_MEMBER] = sizeof(struct state_member),
				[STATE_SIZE_VIEW] = sizeof(struct state_view),
				[STATE_SIZE_MAIL] = sizeof(struct state_mail),
				[STATE_SIZE_WORKER] = sizeof(struct state_worker),
				[STATE_SIZE_RULES] = sizeof(struct rules_memory),
				[STATE_SIZE_LOG] = sizeof(struct log_ring),
			},
		.group_words = state_group_words(wish),
		.wish = *wish,
	};
	h->off_live = place(&end, 1, sizeof(struct state_live));
	h->off_words = place(&end, 1, STATE_WORDS_BYTES);
	h->off_bells = place(&end, ids * wish->vectors, sizeof(int));
	h->off_members = place(&end, ids, sizeof(struct state_member));
	h->off_views = place(&end, ids, sizeof(struct state_view));
	h->off_mail = place(&end, wish->shards ? wish->peers + 2 : 0, sizeof(struct state_mail));
	/* Pages of their own: they are locked, and most of what follows is never touched. */
	end = whole(end, PAGE);
	h->off_workers = place(&end, wish->workers, sizeof(struct state_worker));
	end = whole(end, PAGE);
	h->off_held = place(&end, ids * VIEW_HELD_WORDS(ids), sizeof(unsigned long));
	h->off_groups = place(&end, 1, state_groups_bytes(wish));
	h->off_logs = place(&end, 1, state_logs_bytes(wish));
	h->off_rules = place(&end, 1, sizeof(struct rules_memory));
	h->bytes = whole(end, PAGE);
}

static uint32_t head_sum(const struct state_head *h)
{
	size_t from = offsetof(struct state_head, bytes);

	return state_sum(STATE_VERSION, (const char *)h + from, sizeof(*h) - from);
}

uint64_t state_bytes(const struct state_wish *wish)
{
	struct state_head h;

	lay_out(&h, wish);
	return h.bytes;
}

uint64_t state_groups_at(const struct state_wish *wish)
{
	struct state_head h;

	lay_out(&h, wish);
	return h.off_groups;
}

uint64_t state_logs_at(const struct state_wish *wish)
{
	struct state_head h;

	lay_out(&h, wish);
	return h.off_logs;
}

static void point_into(struct state *s, void *memory)
{
	char *base = memory;
	struct state_head *h = memory;

	*s = (struct state){
		.head = h,
		.live = (void *)(base + h->off_live),
		.bells = (void *)(base + h->off_bells),
		.members = (void *)(base + h->off_members),
		.views = (void *)(base + h->off_views),
		.held = (void *)(base + h->off_held),
		.mail = (void *)(base + h->off_mail),
		.groups = (void *)(base + h->off_groups),
		.workers = (void *)(base + h->off_workers),
		.rules = (void *)(base + h->off_rules),
		.logs = (void *)(base + h->off_logs),
		.words = base + h->off_words,
		.fd = -1,
	};
}

void state_memory_init(struct state *s, void *zeroed, const struct state_wish *wish)
{
	struct state_head *h = zeroed;

	memset(h, 0, sizeof(*h));
	lay_out(h, wish);
	h->check = head_sum(h);
	point_into(s, zeroed);
	s->live->listen_fd = s->live->lock_fd = s->live->memory_fd = s->live->state_fd = -1;
	s->live->log_fd = s->live->exe_fd = -1;
	for (unsigned i = 0; i < STATE_INHERITED_MAX; i++)
		s->live->inherited[i] = -1;
	for (uint64_t i = 0; i < (uint64_t)wish->ids_max * wish->vectors; i++)
		s->bells[i] = -1;
	for (uint32_t id = 0; id < wish->ids_max; id++)
		atomic_init(&s->members[id].sock, -1);
	for (uint16_t w = 0; w < wish->workers; w++) {
		atomic_init(&s->workers[w].tell_id, STATE_NOBODY);
		atomic_init(&s->workers[w].said.id, STATE_NOBODY);
		s->workers[w].relay.sender = STATE_NOBODY;
	}
	/* The server is there from the start, and never goes. */
	if (wish->server_id != STATE_NOBODY) {
		s->seq = 1;
		atomic_init(&s->members[wish->server_id].change, s->seq << 1 | 1);
	}
}

void state_memory_open(struct state *s, void *memory)
{
	point_into(s, memory);
	state_count_on(s);
}

void state_count_on(struct state *s)
{
	for (uint32_t id = 0; id < s->head->wish.ids_max; id++) {
		const struct state_member *m = &s->members[id];
		uint64_t seq = atomic_load_explicit(&m->change, memory_order_relaxed) >> 1;

		s->seq = seq > s->seq ? seq : s->seq;
		s->freed = m->freed > s->freed ? m->freed : s->freed;
	}
}

const char *state_memory_check(const struct state_head *h, uint64_t bytes)
{
	struct state_head ours;

	if (bytes < sizeof(*h) || h->magic != STATE_MAGIC)
		return "it is no state of a famez-server";
	if (h->version != STATE_VERSION)
		return "it is of another version";
	if (h->check != head_sum(h))
		return "its head is damaged";
	memset(&ours, 0, sizeof(ours));
	lay_out(&ours, &h->wish);
	ours.check = h->check;
	/* What lies between the fields is 0 in both. */
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
	if (memcmp(&ours, h, sizeof(ours)) != 0 || bytes != h->bytes)
		return "its records have another size";
	return NULL;
}

uint32_t state_sum(uint32_t sum, const void *bytes, uint64_t count)
{
	const unsigned char *at = bytes;
	/* Fowler, Noll, Vo: FNV-1a, by words of eight. */
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ sum, word;

	for (; count; count -= sizeof(word), at += sizeof(word)) {
		word = 0;
		if (count < sizeof(word)) {
			memcpy(&word, at, count);
			count = sizeof(word);
		} else {
			memcpy(&word, at, sizeof(word));
		}
		hash = (hash ^ word) * UINT64_C(0x100000001b3);
		hash ^= hash >> 32;
	}
	return (uint32_t)(hash ^ hash >> 32);
}

/* ---- views ------------------------------------------------------------------------------ */

static uint32_t view_sum(uint32_t id, const struct state_view *v)
{
	return state_sum(id ^ (v->leave_unread ? UINT32_MAX : 0), &v->view,
		offsetof(struct view, step) + sizeof(v->view.step));
}

void state_view_put(struct state *s, uint32_t id, const struct view *view, bool leave_unread)
{
	struct state_view *v = &s->views[id];

	v->view = *view;
	state_point();
	v->leave_unread = leave_unread;
	state_point();
	v->check = view_sum(id, v);
	state_point();
}

bool state_view_get(const struct state *s, uint32_t id, struct view *view, bool *leave_unread)
{
	const struct state_view *v = &s->views[id];

	if (v->check != view_sum(id, v) || v->view.step > VIEW_LIVE)
		return false;
	*view = v->view;
	*leave_unread = v->leave_unread;
	return true;
}

/* ---- the slot --------------------------------------------------------------------------- */

void state_tell_fill(struct state *s, uint16_t worker, unsigned nth, int64_t word, int fd,
	const struct state_after *after)
{
	struct state_worker *w = &s->workers[worker];
	struct state_send *send = &w->send[nth];
	struct msghdr *header = &w->tell[nth].msg_hdr;
	struct cmsghdr *control;

	assert(nth < STATE_TELL_MAX);
	w->after[nth] = *after;
	send->word = (int64_t)htole64((uint64_t)word);
	send->io = (struct iovec){.iov_base = &send->word, .iov_len = sizeof(send->word)};
	*header = (struct msghdr){.msg_iov = &send->io, .msg_iovlen = 1};
	if (fd >= 0) {
		header->msg_control = &send->control;
		header->msg_controllen = sizeof(send->control.bytes);
		control = CMSG_FIRSTHDR(header);
		control->cmsg_level = SOL_SOCKET;
		control->cmsg_type = SCM_RIGHTS;
		control->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	}
	state_point();
}

void state_tell_begin(struct state *s, uint16_t worker, uint32_t id, unsigned count)
{
	struct state_worker *w = &s->workers[worker];

	assert(atomic_load_explicit(&w->tell_id, memory_order_relaxed) == STATE_NOBODY);
	assert(count > 0 && count <= STATE_TELL_MAX);
	for (unsigned i = 0; i < count; i++)
		w->tell[i].msg_len = 0;
	state_point();
	w->tell_count = count;
	state_point();
	atomic_store_explicit(&w->tell_id, id, memory_order_release);
	state_point();
}

unsigned state_tell_sent(const struct state *s, uint16_t worker)
{
	const struct state_worker *w = &s->workers[worker];
	unsigned sent = 0;

	if (atomic_load_explicit(&w->tell_id, memory_order_acquire) == STATE_NOBODY)
		return 0;
	while (sent < w->tell_count && sent < STATE_TELL_MAX &&
		w->tell[sent].msg_len == FAMEZ_WIRE_BYTES)
		sent++;
	return sent;
}

void state_tell_apply(struct state *s, uint16_t worker)
{
	struct state_worker *w = &s->workers[worker];
	uint32_t id = atomic_load_explicit(&w->tell_id, memory_order_relaxed);
	unsigned sent = state_tell_sent(s, worker);
	unsigned long *held;

	if (id == STATE_NOBODY)
		return;
	held = state_held(s, id);
	for (unsigned i = 0; i < sent; i++) {
		const struct state_after *after = &w->after[i];
		unsigned long bit = 1UL << (after->held_id % VIEW_WORD_BITS);
		unsigned long *word = &held[after->held_id / VIEW_WORD_BITS];

		if (!after->held)
			continue;
		/* The registrar may be looking (seating.c). */
		__atomic_store_n(
			word, after->held > 0 ? *word | bit : *word & ~bit, __ATOMIC_RELAXED);
		state_point();
	}
	if (sent)
		state_view_put(s, id, &w->after[sent - 1].view, w->after[sent - 1].leave);
	atomic_store_explicit(&w->tell_id, STATE_NOBODY, memory_order_release);
	state_point();
}
