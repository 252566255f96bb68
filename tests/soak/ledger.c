// SPDX-License-Identifier: MIT
/*
 * ledger.c - who lived when, who said what to whom, and who heard it.
 *
 * Memory shared by all processes of a run, outside of the mailbox that is under test. Each
 * life notes what it is about to say before, and that it was said after; each notes what it
 * heard. So the ledger is right whenever a process is killed.
 *
 * The rule, for each pair of lives: heard is a piece without gaps of what was possibly said;
 * it begins with the first thing surely said, unless nothing was heard; and it reaches to the
 * last thing surely said, unless one of the two was killed or left.
 */
#include "ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct ledger *ledger_open(const struct plan *plan)
{
	/* Far more than is ever touched. */
	struct ledger *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (l == MAP_FAILED)
		return NULL;
	l->plan = *plan;
	atomic_store(&l->lives_used, 1);
	return l;
}

uint32_t ledger_life(struct ledger *l, uint32_t seat, enum role role)
{
	uint32_t life = atomic_load(&l->lives_used);

	if (life == LIVES_MAX)
		return 0;
	l->lives[life].seat = seat;
	l->lives[life].role = role;
	atomic_store(&l->lives_used, life + 1);
	return life;
}

void ledger_enter(struct ledger *l, uint32_t life, uint32_t id, uint32_t generation)
{
	struct life *made = &l->lives[life];

	atomic_store(&made->id, id);
	atomic_store(&made->generation, generation);
	atomic_store(&made->state, LIFE_IN);
	if (atomic_exchange(&l->owners[id % IDS_MAX][generation % GENERATIONS_MAX], life))
		ledger_fail(l, "ID %u had generation %u before", id, generation);
}

uint32_t ledger_owner(struct ledger *l, uint32_t id, uint32_t generation)
{
	uint32_t life;

	if (id >= IDS_MAX || !generation)
		return 0;
	life = atomic_load(&l->owners[id][generation % GENERATIONS_MAX]);
	return life && atomic_load(&l->lives[life].generation) == generation ? life : 0;
}

void ledger_fail(struct ledger *l, const char *format, ...)
{
	char line[512];
	va_list words;
	int length;

	va_start(words, format);
	length = vsnprintf(line, sizeof(line) - 1, format, words);
	va_end(words);
	if (length < 0)
		length = 0;
	if ((size_t)length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length] = '\n';
	/* One write, so that lines of several processes don't mix. */
	(void)!write(STDERR_FILENO, line, (size_t)length + 1);
	atomic_store(&l->failed, true);
}

bool ledger_garbled(const struct ledger *l, uint32_t seat, uint32_t other)
{
	switch (l->plan.scribble) {
	case SCRIBBLE_ALL:
	case SCRIBBLE_LANES:
		return true;
	case SCRIBBLE_PAIR:
		return seat < 2 && other < 2;
	default:
		return false;
	}
}

/* Does somebody who was not killed say more, or read nothing, by its role? */
static bool endless(const struct life *from, const struct life *to)
{
	return from->role == ROLE_FLOOD || to->role == ROLE_MUTE;
}

uint64_t ledger_missing(struct ledger *l, uint32_t from, uint32_t to)
{
	struct life *a = &l->lives[from], *b = &l->lives[to];
	struct cell *c = &l->cells[from][to];
	uint64_t got_first = look(&c->got_first), got_last = look(&c->got_last);
	/* What was said is read after what was heard: it can only be more. */
	uint64_t sure_first = look(&c->sure_first), sure_last = look(&c->sure_last);
	uint64_t possible_first = look(&c->possible_first);
	uint64_t possible_last = look(&c->possible_last);

	if (ledger_garbled(l, a->seat, b->seat))
		return 0;
	if (got_last) {
		uint64_t stray = look(&l->stray[from][atomic_load(&b->id)]);
		uint64_t tried = look(&l->tried[from][atomic_load(&b->id)]);
		bool killed = atomic_load(&a->killed);

		if ((got_first < possible_first || !possible_first) && got_first != stray &&
			!(killed && got_first == tried))
			ledger_fail(l, "life %u heard %llu of life %u, which it never said to it",
				to, (unsigned long long)got_first, from);
		if (got_last > possible_last && got_last != stray && !(killed && got_last == tried))
			ledger_fail(l, "life %u heard %llu of life %u, which said up to %llu", to,
				(unsigned long long)got_last, from,
				(unsigned long long)possible_last);
		if (sure_first && got_first > sure_first)
			ledger_fail(l, "life %u heard life %u from %llu on only, not from %llu", to,
				from, (unsigned long long)got_first,
				(unsigned long long)sure_first);
	}
	if (!sure_last || atomic_load(&b->state) != LIFE_IN || atomic_load(&a->killed) ||
		endless(a, b) || got_last >= sure_last)
		return 0;
	return sure_last - (got_last ? got_last : sure_first - 1);
}

uint64_t ledger_tail(struct ledger *l, uint32_t from, uint32_t to)
{
	struct life *a = &l->lives[from], *b = &l->lives[to];
	struct cell *c = &l->cells[from][to];
	uint64_t got_last = look(&c->got_last), sure_last = look(&c->sure_last);

	if (!atomic_load(&a->killed) || atomic_load(&b->state) != LIFE_IN || endless(a, b) ||
		got_last >= sure_last)
		return 0;
	return sure_last - (got_last ? got_last : look(&c->sure_first) - 1);
}
