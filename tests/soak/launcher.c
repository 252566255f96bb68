// SPDX-License-Identifier: MIT
/*
 * launcher.c - starts a process for every seat; kills some, has some leave, holds some up, and
 * fills their seats again.
 *
 * A process of its own, which has joined nothing: what it forks inherits no membership. It
 * alone starts and ends lives, and knows which deaths it meant.
 */
#include "launcher.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"
#include "dice.h"
#include "scribbler.h"

#define STOPPED_MAX 4u

struct launcher {
	struct ledger *ledger;
	struct dice dice;
	pid_t scribbler; /* 0: none */
	uint64_t stopped_until[SEATS_MAX];
	unsigned stopped;
};

static enum role role_of(const struct plan *plan, uint32_t seat)
{
	if (seat >= plan->seats - plan->mutes)
		return ROLE_MUTE;
	if (seat >= plan->seats - plan->mutes - plan->floods)
		return ROLE_FLOOD;
	if (plan->scribble == SCRIBBLE_PAIR && seat < 2)
		return ROLE_PEER;
	if (seat % 16 == 5)
		return ROLE_SINK;
	return seat % 8 == 3 ? ROLE_SLOW : ROLE_PEER;
}

static void start(struct launcher *la, uint32_t seat)
{
	struct ledger *l = la->ledger;
	uint32_t life = ledger_life(l, seat, role_of(&l->plan, seat));
	pid_t pid;

	if (!life) {
		ledger_fail(l, "too many lives for the ledger");
		return;
	}
	atomic_store(&l->seats[seat].leave, LEAVE_NOT);
	atomic_store(&l->seats[seat].life, life);
	pid = fork();
	if (pid == 0)
		exit(actor_run(l, seat, life));
	if (pid < 0)
		ledger_fail(l, "fork() fails: error %d", errno);
	atomic_store(&l->seats[seat].pid, pid < 0 ? 0 : pid);
}

static void let_go_on(struct launcher *la, uint32_t seat)
{
	struct seat *s = &la->ledger->seats[seat];

	if (!atomic_load(&s->stopped))
		return;
	(void)kill(atomic_load(&s->pid), SIGCONT);
	count(&s->beats); /* the guard begins anew */
	atomic_store(&s->stopped, false);
	la->stopped--;
}

/* A process has ended. */
static void on_end(struct launcher *la, pid_t pid, int status)
{
	struct ledger *l = la->ledger;
	bool meant = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (pid == la->scribbler) {
		la->scribbler = 0;
		if (!meant)
			ledger_fail(l, "the scribbler ended with wait status %#x", status);
		return;
	}
	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];
		struct life *life = &l->lives[atomic_load(&s->life)];

		if (atomic_load(&s->pid) != pid)
			continue;
		let_go_on(la, seat);
		if (!meant && !(atomic_load(&life->killed) && WIFSIGNALED(status) &&
				      WTERMSIG(status) == SIGKILL))
			ledger_fail(l, "seat %u (life %u, ID %u) ended with wait status %#x", seat,
				atomic_load(&s->life), atomic_load(&life->id), status);
		atomic_store(&life->state, LIFE_GONE);
		atomic_store(&s->pid, 0);
		return;
	}
}

static void reap(struct launcher *la)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		on_end(la, pid, status);
}

/* One misfortune: a peer dies, leaves, or stands still for a while. */
static void strike(struct launcher *la)
{
	struct ledger *l = la->ledger;
	uint32_t seat = dice_below(&la->dice, l->plan.seats), roll = dice_below(&la->dice, 10);
	struct seat *s = &l->seats[seat];
	pid_t pid = atomic_load(&s->pid);

	if (!pid || atomic_load(&s->leave))
		return;
	if (roll < 3) {
		/* Before, so that nobody expects anything of it any more. */
		atomic_store(&l->lives[atomic_load(&s->life)].killed, true);
		atomic_fetch_add(&l->kills, 1);
		(void)kill(pid, SIGKILL);
	} else if (roll == 3) {
		bool hasty = dice_below(&la->dice, 2);

		if (hasty)
			atomic_store(&l->lives[atomic_load(&s->life)].killed, true);
		atomic_store(&s->leave, hasty ? LEAVE_AT_ONCE : LEAVE_WHEN_READ);
		atomic_fetch_add(&l->leaves, 1);
	} else if (!atomic_load(&s->stopped) && la->stopped < STOPPED_MAX) {
		/* As a guest does whose host has better things to do, between two instructions. */
		atomic_store(&s->stopped, true);
		la->stopped_until[seat] = now_ns() + dice_below(&la->dice, 100000000);
		la->stopped++;
		atomic_fetch_add(&l->stops, 1);
		(void)kill(pid, SIGSTOP);
	}
}

static void mend(struct launcher *la, bool everything)
{
	struct ledger *l = la->ledger;

	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];

		if (atomic_load(&s->stopped) && (everything || now_ns() > la->stopped_until[seat]))
			let_go_on(la, seat);
		if (!atomic_load(&s->pid) && (everything || dice_below(&la->dice, 10) == 0))
			start(la, seat);
	}
}

/* Who was killed may not have been found dead yet. */
static bool all_in(struct ledger *l)
{
	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		struct seat *s = &l->seats[seat];
		struct life *life = &l->lives[atomic_load(&s->life)];

		if (!atomic_load(&s->pid) || atomic_load(&s->leave) || atomic_load(&life->killed) ||
			atomic_load(&life->state) != LIFE_IN)
			return false;
	}
	return true;
}

static void end_all(struct launcher *la, int sign)
{
	struct ledger *l = la->ledger;

	for (uint32_t seat = 0; seat < l->plan.seats; seat++) {
		pid_t pid = atomic_load(&l->seats[seat].pid);

		if (pid)
			(void)kill(pid, sign);
	}
	if (la->scribbler)
		(void)kill(la->scribbler, sign);
}

static bool none_left(struct launcher *la)
{
	for (uint32_t seat = 0; seat < la->ledger->plan.seats; seat++)
		if (atomic_load(&la->ledger->seats[seat].pid))
			return false;
	return la->scribbler == 0;
}

int launcher_run(struct ledger *ledger)
{
	struct launcher la = {.ledger = ledger, .dice = {ledger->plan.seed ^ 0x1a4c8}};
	const struct plan *plan = &ledger->plan;
	uint64_t next_strike = 0;
	bool scribbled = plan->scribble == SCRIBBLE_NOTHING;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t seat = 0; seat < plan->seats; seat++)
		start(&la, seat);
	for (;;) {
		struct timespec nap = {.tv_nsec = 2000000};
		enum phase phase = ledger_phase(ledger);

		if (phase == PHASE_ABORT)
			break;
		reap(&la);
		if (phase >= PHASE_LEAVE) {
			if (none_left(&la))
				break;
		} else if (phase == PHASE_TALK) {
			if (!scribbled) {
				scribbled = true;
				la.scribbler = fork();
				if (la.scribbler == 0)
					exit(scribbler_run(ledger));
			}
			if (plan->kills && now_ns() > next_strike) {
				strike(&la);
				next_strike = now_ns() + dice_below(&la.dice, 80000000);
			}
			mend(&la, false);
		} else if (phase == PHASE_SETTLE) {
			mend(&la, true);
			if (all_in(ledger) && !la.scribbler)
				atomic_store(&ledger->settled, true);
		}
		(void)nanosleep(&nap, NULL);
	}
	if (ledger_phase(ledger) == PHASE_ABORT) {
		end_all(&la, SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
	}
	return 0;
}
