/* SPDX-License-Identifier: MIT */
/*
 * board.c - what the processes of a run share: one mapping, made before they fork.
 *
 * Memory and atomics only; never waits. Posts of one bell are a list that anybody adds to
 * and only its owner takes, as a whole: there is no way for them to come into each other's way.
 */
#include "board.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Posts of a process: one for each VM, some for each of its own, and some. */
#define POSTS_A_VM 64u
#define POSTS_MORE 1024u

static void *take(char **at, uint64_t count, uint64_t bytes)
{
	void *here = *at;

	*at += (count * bytes + 63) / 64 * 64;
	return here;
}

/* Lays the arrays out behind the board, from `at` on. Returns how many bytes it all takes. */
static uint64_t lay_out(struct board *b, char *base)
{
	char *at = base + (sizeof(*b) + 63) / 64 * 64;

	b->ids = take(&at, board_everybody(b), sizeof(*b->ids));
	b->vm_of_id = take(&at, BOARD_IDS, sizeof(*b->vm_of_id));
	b->under_way = take(&at, (uint64_t)b->peers * b->vectors_max, sizeof(*b->under_way));
	b->posts = take(&at, b->posts_each * b->processes, sizeof(*b->posts));
	b->process = take(&at, board_places(b), sizeof(*b->process));
	return (uint64_t)(at - base);
}

struct board *board_open(unsigned peers, unsigned processes, unsigned vectors_max, unsigned guests)
{
	struct board sized = {.peers = peers,
		.processes = processes,
		.vectors_max = vectors_max,
		.guests = {.count = guests}};
	struct board *b;
	static char nowhere; /* only differences count */

	assert(processes >= 1 && processes <= BOARD_PROCESSES_MAX && processes <= peers);
	sized.posts_each =
		(uint64_t)POSTS_A_VM * ((peers - 1) / processes + 1) + peers + POSTS_MORE;
	sized.mapped_bytes = lay_out(&sized, &nowhere);
	b = mmap(NULL, sized.mapped_bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	*b = sized;
	(void)lay_out(b, (char *)b);
	b->server_id = BOARD_NOBODY;
	for (unsigned i = 0; i < board_everybody(b); i++)
		atomic_store(&b->ids[i], BOARD_NOBODY);
	for (unsigned i = 0; i < BOARD_IDS; i++)
		atomic_store(&b->vm_of_id[i], BOARD_NOBODY);
	for (unsigned p = 0; p < processes; p++) {
		histogram_init(&b->process[p].snapshot);
		histogram_init(&b->process[p].joined_ns);
		histogram_init(&b->process[p].opened_ns);
	}
	histogram_init(&b->guests.trips);
	if (guests) /* they keep nobody waiting, until they take part */
		atomic_store(&b->process[processes].arrived, UINT64_MAX);
	return b;
}

void board_close(struct board *b)
{
	if (b)
		(void)munmap(b, b->mapped_bytes); /* ours, as it was mapped */
}

void board_judge(struct board *b, const struct verdict *v)
{
	if (!atomic_exchange(&b->judged, true)) {
		b->verdict = *v;
		atomic_store(&b->told, true);
	}
	atomic_store(&b->stop, true);
}

uint32_t board_take(struct board *b, unsigned process, uint64_t *hint)
{
	struct board_post *mine = b->posts + b->posts_each * process;

	for (uint64_t n = 0; n < b->posts_each; n++) {
		uint64_t at = *hint + n < b->posts_each ? *hint + n : *hint + n - b->posts_each;

		/* Pairs with board_give_back(): whoever heard it is done with it. */
		if (atomic_load_explicit(&mine[at].taken, memory_order_acquire))
			continue;
		atomic_store_explicit(&mine[at].taken, true, memory_order_relaxed);
		*hint = at + 1 < b->posts_each ? at + 1 : 0;
		return (uint32_t)(b->posts_each * process + at + 1);
	}
	return 0;
}

void board_give_back(struct board *b, uint32_t number)
{
	atomic_store_explicit(&board_post(b, number)->taken, false, memory_order_release);
}

static _Atomic uint32_t *head_of(const struct board *b, unsigned vm, unsigned vector)
{
	return &b->under_way[(uint64_t)vm * b->vectors_max + vector];
}

void board_put(struct board *b, uint32_t number)
{
	struct board_post *post = board_post(b, number);
	_Atomic uint32_t *head = head_of(b, post->to, post->vector);

	post->next = atomic_load_explicit(head, memory_order_relaxed);
	/* Pairs with board_collect(): the receiver sees what we filled in. */
	while (!atomic_compare_exchange_weak_explicit(
		head, &post->next, number, memory_order_release, memory_order_relaxed))
		continue;
}

uint32_t board_collect(struct board *b, unsigned vm, unsigned vector)
{
	_Atomic uint32_t *head = head_of(b, vm, vector);
	uint32_t at, oldest = 0;

	if (atomic_load_explicit(head, memory_order_relaxed) == 0)
		return 0;
	at = atomic_exchange_explicit(head, 0, memory_order_acquire);
	while (at) {
		uint32_t next = board_post(b, at)->next;

		board_post(b, at)->next = oldest;
		oldest = at;
		at = next;
	}
	return oldest;
}

uint32_t board_unheard(const struct board *b, unsigned process)
{
	const struct board_post *mine = b->posts + b->posts_each * process;

	for (uint64_t at = 0; at < b->posts_each; at++)
		if (atomic_load(&mine[at].taken))
			return (uint32_t)(b->posts_each * process + at + 1);
	return 0;
}

void board_arrive(struct board *b, unsigned process, uint64_t step)
{
	/* Pairs with board_all_arrived(): who goes on sees what was done before. */
	atomic_store_explicit(&b->process[process].arrived, step, memory_order_release);
}

bool board_all_arrived(const struct board *b, uint64_t step)
{
	for (unsigned p = 0; p < board_places(b); p++)
		if (atomic_load_explicit(&b->process[p].arrived, memory_order_acquire) < step)
			return false;
	return true;
}

struct board_sums board_sum(const struct board *b)
{
	struct board_sums s = {0};

	/* First what was heard: then no sum can show more heard than sent. */
	for (unsigned p = 0; p < board_places(b); p++) {
		s.heard += atomic_load(&b->process[p].heard);
		s.strays += atomic_load(&b->process[p].strays);
		s.notices += atomic_load(&b->process[p].notices);
		s.joined += atomic_load(&b->process[p].joined);
	}
	for (unsigned p = 0; p < board_places(b); p++)
		s.sent += atomic_load(&b->process[p].sent);
	return s;
}

struct board_series *board_series(
	struct board *b, unsigned process, const char *name, const char *unit, const char *what)
{
	for (unsigned k = 0; k < BOARD_SERIES_MAX; k++) {
		struct board_series *s = &b->process[process].series[k];

		if (s->name[0] == '\0') {
			(void)snprintf(s->name, sizeof(s->name), "%s", name);
			(void)snprintf(s->unit, sizeof(s->unit), "%s", unit);
			(void)snprintf(s->what, sizeof(s->what), "%s", what);
			histogram_init(&s->latency);
			return s;
		}
		if (strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

struct board_series *board_with_guests(
	struct board *b, unsigned process, const struct board_series *series)
{
	struct board_process *mine = &b->process[process];
	struct board_series *with = &mine->with_guests[series - mine->series];

	if (b->guests.count == 0)
		return NULL;
	if (with->name[0] == '\0') {
		memcpy(with->name, series->name, sizeof(with->name));
		memcpy(with->unit, series->unit, sizeof(with->unit));
		(void)snprintf(with->what, sizeof(with->what), "there and back");
		histogram_init(&with->latency);
	}
	return with;
}

void board_want_snapshots(struct board *b)
{
	for (unsigned p = 0; p < b->processes; p++)
		atomic_fetch_add(&b->process[p].wanted, 1);
}

bool board_have_snapshots(const struct board *b)
{
	for (unsigned p = 0; p < b->processes; p++)
		if (atomic_load(&b->process[p].made) != atomic_load(&b->process[p].wanted))
			return false;
	return true;
}

void board_snapshot(struct board *b, unsigned process, const struct histogram *current)
{
	struct board_process *mine = &b->process[process];
	unsigned wanted = atomic_load_explicit(&mine->wanted, memory_order_acquire);

	if (wanted == atomic_load_explicit(&mine->made, memory_order_relaxed))
		return;
	if (current)
		mine->snapshot = *current;
	else
		histogram_init(&mine->snapshot);
	atomic_store_explicit(&mine->made, wanted, memory_order_release);
}
