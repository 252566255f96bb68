// SPDX-License-Identifier: MIT
/*
 * main.c - famez-soak: many peers talk, die and scribble, and every message is accounted for.
 *
 *     famez-soak -S SOCKET [OPTION ...]
 *
 *     --peers N       processes that talk (64)
 *     --seconds N     how long they do (20)
 *     --seed N        what to do; printed, so that it can be given again (of the clock)
 *     --kills         kill -9 them at random, have some leave, hold some up; others come
 *     --scribble W    all, lanes, pair or header: one more process writes nonsense there
 *     --mutes N       the last N peers take nothing, ever
 *     --floods N      the N before them never stop sending
 *     --hang N        seconds without any progress that stand for a hang (60)
 *
 * Owns the order of things: join, talk, settle, meet, drain, judge, leave. Prints one line of
 * figures, and why it failed. Exit status 0: all is well; 1: not; 2: wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"
#include "launcher.h"
#include "ledger.h"
#include "watch.h"

static uint32_t life_at(struct ledger *l, uint32_t seat)
{
	return atomic_load(&l->seats[seat].life);
}

static bool all_are_in(struct watch *w, uint64_t *progress)
{
	struct ledger *l = w->ledger;

	*progress = 0;
	for (uint32_t seat = 0; seat < l->plan.seats; seat++)
		*progress += atomic_load(&l->lives[life_at(l, seat)].state) == LIFE_IN;
	return *progress == l->plan.seats;
}

static bool is_settled(struct watch *w, uint64_t *progress)
{
	(void)all_are_in(w, progress);
	return atomic_load(&w->ledger->settled);
}

static bool has_met(struct ledger *l, uint32_t seat, uint32_t other)
{
	return seat == other || l->lives[life_at(l, seat)].role == ROLE_MUTE ||
	       l->lives[life_at(l, other)].role == ROLE_MUTE ||
	       l->lives[life_at(l, other)].role == ROLE_FLOOD ||
	       atomic_load(&l->seats[seat].met[other]);
}

static bool all_have_met(struct watch *w, uint64_t *progress)
{
	struct ledger *l = w->ledger;
	bool server = famez_server_id(w->f) >= 0, all = true;

	*progress = 0;
	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];

		for (uint32_t other = 0; other < l->plan.seats; other++) {
			if (has_met(l, seat, other))
				++*progress;
			else
				all = false;
		}
		if (!server || l->lives[life_at(l, seat)].role != ROLE_PEER)
			continue;
		if (atomic_load(&s->group_met) && atomic_load(&s->ponged))
			++*progress;
		else
			all = false;
	}
	return all;
}

static bool all_has_arrived(struct watch *w, uint64_t *progress)
{
	struct ledger *l = w->ledger;
	uint32_t lives = atomic_load(&l->lives_used);
	uint64_t missing = 0;

	for (uint32_t from = 1; from < lives; from++)
		for (uint32_t to = 1; to < lives; to++)
			missing += ledger_missing(l, from, to);
	*progress = missing;
	return missing == 0;
}

/* What hangs in PHASE_MEET or PHASE_DRAIN. */
static void tell_what_is_missing(struct watch *w)
{
	struct ledger *l = w->ledger;
	uint32_t lives = atomic_load(&l->lives_used);
	unsigned told = 0;

	for (uint32_t seat = 0; ledger_phase(l) == PHASE_MEET && seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];

		if (!atomic_load(&s->group_met) || !atomic_load(&s->ponged))
			(void)fprintf(stderr, "seat %u: group %s, answer of the server %s\n", seat,
				atomic_load(&s->group_met) ? "met" : "missing",
				atomic_load(&s->ponged) ? "came" : "missing");
		for (uint32_t other = 0; other < l->plan.seats && told < 40; other++) {
			if (has_met(l, seat, other))
				continue;
			(void)fprintf(stderr, "seat %u has not met seat %u\n", seat, other);
			watch_lane(w, atomic_load(&l->lives[life_at(l, other)].id),
				atomic_load(&l->lives[life_at(l, seat)].id));
			told++;
		}
	}
	for (uint32_t from = 1; from < lives; from++) {
		for (uint32_t to = 1; to < lives && told < 80; to++) {
			struct cell *c = &l->cells[from][to];

			if (!ledger_missing(l, from, to))
				continue;
			(void)fprintf(stderr,
				"life %u (ID %u) said %" PRIu64 "..%" PRIu64
				" to life %u (ID %u), which heard %" PRIu64 "..%" PRIu64 "\n",
				from, atomic_load(&l->lives[from].id), look(&c->sure_first),
				look(&c->sure_last), to, atomic_load(&l->lives[to].id),
				look(&c->got_first), look(&c->got_last));
			watch_lane(
				w, atomic_load(&l->lives[from].id), atomic_load(&l->lives[to].id));
			told++;
		}
	}
}

static bool go_on_until(struct watch *w, enum phase phase, bool (*done)(struct watch *, uint64_t *))
{
	uint64_t progress = 0;

	atomic_store(&w->ledger->phase, phase);
	while (!done(w, &progress)) {
		if (watch_turn(w, progress))
			continue;
		if (phase == PHASE_MEET || phase == PHASE_DRAIN)
			tell_what_is_missing(w);
		return false;
	}
	return true;
}

struct sum {
	uint64_t sent, received, bytes, batches, full, timeouts, unreached, rooms, garbled, garbage;
	uint64_t strays, orphans, ambiguous, late, groups_sent, groups_received, tails;
};

static struct sum add_up(struct ledger *l)
{
	uint32_t lives = atomic_load(&l->lives_used);
	struct sum sum = {0};

	for (uint32_t life = 1; life < lives; life++) {
		struct life *a = &l->lives[life];

		sum.sent += look(&a->count.sent);
		sum.received += look(&a->count.received);
		sum.bytes += look(&a->count.bytes);
		sum.batches += look(&a->count.batches);
		sum.full += look(&a->count.full);
		sum.timeouts += look(&a->count.timeouts);
		sum.unreached += look(&a->count.unreached);
		sum.rooms += look(&a->count.rooms);
		sum.garbled += look(&a->count.garbled);
		sum.garbage += look(&a->count.garbage);
		sum.strays += look(&a->count.strays);
		sum.orphans += look(&a->count.orphans);
		sum.ambiguous += look(&a->count.ambiguous);
		sum.late += look(&a->count.late);
		sum.groups_sent += look(&a->count.groups_sent);
		sum.groups_received += look(&a->count.groups_received);
		for (uint32_t to = 1; to < lives; to++)
			sum.tails += ledger_tail(l, life, to);
	}
	return sum;
}

static uint64_t garbled_of_pair(struct watch *w)
{
	uint32_t a = atomic_load(&w->ledger->lives[life_at(w->ledger, 0)].id);
	uint32_t b = atomic_load(&w->ledger->lives[life_at(w->ledger, 1)].id);
	struct famez_traffic there, back;

	if (famez_traffic(w->f, (uint16_t)a, (uint16_t)b, &there) ||
		famez_traffic(w->f, (uint16_t)b, (uint16_t)a, &back))
		return 0;
	return there.garbled && back.garbled;
}

/* What the run is for, and has not happened; NULL: all of it has. */
static const char *untried(struct watch *w, const struct sum *sum)
{
	struct ledger *l = w->ledger;

	if (!sum->received || (!sum->full && l->plan.scribble != SCRIBBLE_ALL))
		return "nothing was tried";
	if (l->plan.kills && (!look(&l->kills) || !look(&l->leaves)))
		return "nobody was killed";
	if (l->plan.scribble == SCRIBBLE_PAIR && (!sum->garbled || !garbled_of_pair(w)))
		return "nobody noticed that a lane was garbled";
	if (l->plan.scribble == SCRIBBLE_LANES && !sum->garbled)
		return "nobody noticed that lanes were garbled";
	return NULL;
}

/* For as long as was asked for; longer where others had the processors, and it came to nothing. */
static bool talk(struct watch *w)
{
	struct ledger *l = w->ledger;
	uint64_t end = now_ns() + l->plan.seconds * UINT64_C(1000000000);
	uint64_t last = end + l->plan.hang_seconds * UINT64_C(1000000000);

	atomic_store(&l->phase, PHASE_TALK);
	for (;;) {
		uint64_t now = now_ns();

		if (now >= end) {
			struct sum sum = add_up(l);

			if (now >= last || !untried(w, &sum))
				return true;
		}
		if (!watch_turn(w, 0))
			return false;
	}
}

static void judge(struct watch *w)
{
	struct ledger *l = w->ledger;
	struct sum sum = add_up(l);
	const char *missing;

	printf("lives %u, kills %" PRIu64 ", leaves %" PRIu64 ", stops %" PRIu64
	       ", scribbles %" PRIu64 "; said %" PRIu64 ", heard %" PRIu64 ", bytes %" PRIu64
	       ", batches %" PRIu64 ", full %" PRIu64 ", timeouts %" PRIu64 ", unreached %" PRIu64
	       ", rooms %" PRIu64 "; groups said %" PRIu64 ", heard %" PRIu64 "; strays %" PRIu64
	       ", orphans %" PRIu64 ", ambiguous %" PRIu64 ", lost tails %" PRIu64 ", late %" PRIu64
	       ", garbled %" PRIu64 ", garbage %" PRIu64 "\n",
		atomic_load(&l->lives_used) - 1, look(&l->kills), look(&l->leaves), look(&l->stops),
		look(&l->scribbles), sum.sent, sum.received, sum.bytes, sum.batches, sum.full,
		sum.timeouts, sum.unreached, sum.rooms, sum.groups_sent, sum.groups_received,
		sum.strays, sum.orphans, sum.ambiguous, sum.tails, sum.late, sum.garbled,
		sum.garbage);
	/* A message may reach the owner of an ID after the one that was meant only if its sender
	 * saw the change, or died before it could say so. */
	if (sum.strays + sum.orphans > sum.ambiguous + look(&l->kills))
		ledger_fail(l, "messages came to whom nobody meant");
	missing = untried(w, &sum);
	if (missing)
		ledger_fail(l, "%s", missing);
}

/* 0, or what keeps the server from answering. In lanes that were scribbled on the next message or
 * two may be lost, so it is asked again and again. */
static int ask_server(struct ledger *l, struct famez *f)
{
	static const char ping[] = "ping";
	const struct famez_to to = {
		.peer = (uint16_t)famez_server_id(f), .type = FAMEZ_MESSAGE_LINK};
	uint64_t end = now_ns() + l->plan.hang_seconds * UINT64_C(1000000000);
	struct famez_message m;
	char into[4096];

	while (now_ns() < end) {
		int got =
			famez_send(f, &to, ping, strlen(ping), 0, (int)l->plan.hang_seconds * 1000);

		if (got < 0)
			return got;
		while ((got = famez_recv(f, &m, into, sizeof(into), 200)) == 1)
			if (m.from == to.peer && m.bytes >= 4 && memcmp(into, "pong", 4) == 0)
				return 0;
		if (got < 0)
			return got;
	}
	return -ETIMEDOUT;
}

/* Whatever was done to the file: who comes now finds a mailbox in it, and a server that answers. */
static void newcomer(struct ledger *l)
{
	const struct famez_join how = {.socket = l->plan.socket};
	const struct famez_mailbox mailbox = {.name = "newcomer"};
	struct famez *f;
	int err = famez_join(&f, &how);

	if (err) {
		ledger_fail(l, "a newcomer cannot join: error %d", -err);
		return;
	}
	err = famez_mailbox_open(f, &mailbox);
	if (err)
		ledger_fail(l, "a newcomer finds no mailbox: error %d", -err);
	else if ((err = ask_server(l, f)))
		ledger_fail(l, "a newcomer gets no answer from the server: error %d", -err);
	famez_leave(f);
}

static void run(struct watch *w)
{
	uint64_t begun;

	if (!go_on_until(w, PHASE_JOIN, all_are_in) || !talk(w) ||
		!go_on_until(w, PHASE_SETTLE, is_settled))
		return;
	begun = now_ns();
	if (!go_on_until(w, PHASE_MEET, all_have_met))
		return;
	printf("all met within %.1f s\n", (double)(now_ns() - begun) / 1e9);
	if (!go_on_until(w, PHASE_DRAIN, all_has_arrived))
		return;
	judge(w);
	if (w->ledger->plan.scribble != SCRIBBLE_NOTHING)
		newcomer(w->ledger);
}

static int usage(void)
{
	(void)fprintf(stderr, "famez-soak: wrong usage; main.c says how\n");
	return 2;
}

static enum scribble scribble_named(const char *name)
{
	static const char *const names[] = {
		[SCRIBBLE_ALL] = "all",
		[SCRIBBLE_LANES] = "lanes",
		[SCRIBBLE_PAIR] = "pair",
		[SCRIBBLE_HEADER] = "header",
	};

	for (unsigned i = SCRIBBLE_ALL; name && i <= SCRIBBLE_HEADER; i++)
		if (strcmp(name, names[i]) == 0)
			return (enum scribble)i;
	return SCRIBBLE_NOTHING;
}

static int parse(struct plan *plan, int argc, char **argv)
{
	static const struct option options[] = {
		{"peers", required_argument, NULL, 'p'},
		{"seconds", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'},
		{"kills", no_argument, NULL, 'k'},
		{"scribble", required_argument, NULL, 'w'},
		{"mutes", required_argument, NULL, 'm'},
		{"floods", required_argument, NULL, 'f'},
		{"hang", required_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*plan = (struct plan){
		.seats = 64, .seconds = 20, .hang_seconds = 60, .seed = now_ns() & 0xffffffff};
	while ((option = getopt_long(argc, argv, "S:", options, NULL)) != -1) {
		unsigned long long number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 'S':
			plan->socket = optarg;
			break;
		case 'p':
			plan->seats = (unsigned)number;
			break;
		case 't':
			plan->seconds = (unsigned)number;
			break;
		case 's':
			plan->seed = number;
			break;
		case 'k':
			plan->kills = true;
			break;
		case 'w':
			plan->scribble = scribble_named(optarg);
			if (plan->scribble == SCRIBBLE_NOTHING)
				return -EINVAL;
			break;
		case 'm':
			plan->mutes = (unsigned)number;
			break;
		case 'f':
			plan->floods = (unsigned)number;
			break;
		case 'h':
			plan->hang_seconds = (unsigned)number;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc && plan->socket && plan->seats >= 4 && plan->seats <= SEATS_MAX &&
			       plan->mutes < plan->seats && plan->floods < plan->seats - plan->mutes
		       ? 0
		       : -EINVAL;
}

/* Where somebody does not leave, all are ended. */
static bool has_ended(struct ledger *l, pid_t launcher)
{
	uint64_t end = now_ns() + l->plan.hang_seconds * UINT64_C(1000000000);
	struct timespec nap = {.tv_nsec = 5000000};
	int status;

	for (;;) {
		pid_t ended = waitpid(launcher, &status, WNOHANG);

		if (ended)
			return ended == launcher && status == 0;
		if (now_ns() > end && ledger_phase(l) != PHASE_ABORT) {
			ledger_fail(l, "not all have left within %u s", l->plan.hang_seconds);
			atomic_store(&l->phase, PHASE_ABORT);
		}
		(void)nanosleep(&nap, NULL);
	}
}

int main(int argc, char **argv)
{
	struct ledger *ledger;
	struct watch watch;
	struct plan plan;
	pid_t launcher;

	if (parse(&plan, argc, argv))
		return usage();
	ledger = ledger_open(&plan);
	if (!ledger)
		return usage();
	printf("seed %" PRIu64 "\n", plan.seed);
	(void)fflush(stdout);
	launcher = fork();
	if (launcher == 0)
		return launcher_run(ledger);
	if (watch_open(&watch, ledger) == 0) {
		run(&watch);
		atomic_store(
			&ledger->phase, atomic_load(&ledger->failed) ? PHASE_ABORT : PHASE_LEAVE);
		watch_wake(&watch);
		watch_close(&watch);
	} else {
		atomic_store(&ledger->phase, PHASE_ABORT);
	}
	if (!has_ended(ledger, launcher))
		ledger_fail(ledger, "the launcher did not end well");
	return atomic_load(&ledger->failed) ? 1 : 0;
}
