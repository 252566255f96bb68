/* SPDX-License-Identifier: MIT */
/*
 * micro_wakes.c - doorbells, and who sleeps being woken: beside the bare eventfd that each rests
 * on.
 *
 * In one thread where what we add to the kernel's part is to be seen; in two where the whole round
 * trip is.
 */
#include "micro.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "micro_fabric.h"

#define LEFT  1u
#define RIGHT 2u

struct wakes {
	struct fabric *fabric;
	int bell, back;
	uint64_t switches;
};

static uint64_t switches(void)
{
	struct rusage usage;

	micro_must(getrusage(RUSAGE_SELF, &usage) == 0);
	return (uint64_t)usage.ru_nvcsw;
}

static void *open_wakes(const struct micro_value *value, uint32_t *batch)
{
	struct wakes *w = calloc(1, sizeof(*w));

	(void)value;
	*batch = 64;
	if (!w)
		return NULL;
	w->fabric = fabric_new(2, 4);
	w->bell = eventfd(0, EFD_CLOEXEC);
	w->back = eventfd(0, EFD_CLOEXEC);
	micro_must(w->bell >= 0 && w->back >= 0);
	if (!w->fabric) {
		(void)close(w->bell);
		(void)close(w->back);
		free(w);
		return NULL;
	}
	w->switches = switches();
	return w;
}

static void close_wakes(void *world)
{
	struct wakes *w = world;

	fabric_free(w->fabric);
	(void)close(w->bell);
	(void)close(w->back);
	free(w);
}

static uint64_t count_switches(const void *world)
{
	return switches() - ((const struct wakes *)world)->switches;
}

static void ring(int bell)
{
	const uint64_t one = 1;

	micro_must(write(bell, &one, sizeof(one)) == sizeof(one));
}

static void heed(int bell)
{
	uint64_t count;

	micro_must(read(bell, &count, sizeof(count)) == sizeof(count));
}

/* ---- one thread ---------------------------------------------------------------------------- */

static void ring_bare(void *world, uint32_t times)
{
	struct wakes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		ring(w->bell);
		heed(w->bell);
	}
}

static void ring_doorbell(void *world, uint32_t times)
{
	struct wakes *w = world;
	struct famez_event event;

	for (uint32_t i = 0; i < times; i++) {
		micro_must(famez_ring(w->fabric->member[LEFT], RIGHT, 0) == 0);
		micro_must(famez_next(w->fabric->member[RIGHT], &event) == 1 &&
			   event.kind == FAMEZ_EVENT_DOORBELL);
	}
}

/* It sleeps, is sent something and rung, takes it, and sleeps again. */
static void wake_by_message(void *world, uint32_t times)
{
	const struct famez_to to = {.peer = RIGHT};
	struct wakes *w = world;
	struct famez *right = w->fabric->member[RIGHT];
	struct famez_message m;
	struct famez_event event;
	char into[16];

	for (uint32_t i = 0; i < times; i++) {
		micro_must(famez_send(w->fabric->member[LEFT], &to, "wake up!", 8, 0, 0) == 0);
		micro_must(famez_next(right, &event) == 1 && event.kind == FAMEZ_EVENT_MESSAGE);
		micro_must(famez_recv(right, &m, into, sizeof(into), 0) == 1);
		micro_must(famez_next(right, &event) == 0);
	}
}

/* Nothing is there, and it would sleep. */
static void look_in_vain(void *world, uint32_t times)
{
	struct wakes *w = world;
	struct famez_event event;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_next(w->fabric->member[RIGHT], &event) == 0);
}

/* ---- two ----------------------------------------------------------------------------------- */

static void ask_bare(void *world, uint32_t times)
{
	struct wakes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		ring(w->bell);
		heed(w->back);
	}
}

static void answer_bare(void *world, uint32_t times)
{
	struct wakes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		heed(w->bell);
		ring(w->back);
	}
}

static void ask(void *world, uint32_t times)
{
	const struct famez_to to = {.peer = RIGHT};
	struct wakes *w = world;
	struct famez *left = w->fabric->member[LEFT];
	struct famez_message m;
	char into[16];

	for (uint32_t i = 0; i < times; i++) {
		micro_must(famez_send(left, &to, "question", 8, 0, -1) == 0);
		micro_must(famez_recv(left, &m, into, sizeof(into), -1) == 1);
	}
}

static void answer(void *world, uint32_t times)
{
	const struct famez_to to = {.peer = LEFT};
	struct wakes *w = world;
	struct famez *right = w->fabric->member[RIGHT];
	struct famez_message m;
	char into[16];

	for (uint32_t i = 0; i < times; i++) {
		micro_must(famez_recv(right, &m, into, sizeof(into), -1) == 1);
		micro_must(famez_send(right, &to, "answer", 6, 0, -1) == 0);
	}
}

#define WORLD .open = open_wakes, .close = close_wakes
#define TRIPS .sleeps = true, .counted = count_switches, .counts = "switches"

const struct micro micro_wakes[] = {
	{.name = "eventfd/ring", WORLD, .run = ring_bare},
	{.name = "doorbell/ring", WORLD, .run = ring_doorbell, .guard = 256},
	{.name = "doorbell/message_to_sleeper", WORLD, .run = wake_by_message, .guard = 256},
	{.name = "doorbell/look_before_sleep", WORLD, .run = look_in_vain, .guard = 256},
	{.name = "eventfd/round_trip", WORLD, TRIPS, .run = ask_bare, .beside = answer_bare},
	{.name = "doorbell/round_trip", WORLD, TRIPS, .run = ask, .beside = answer},
	{.name = NULL},
};
