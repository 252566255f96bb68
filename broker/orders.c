/* SPDX-License-Identifier: MIT */
/*
 * orders.c - what the operator and the keeper ask of the registrar by signals.
 *
 * What is asked for is noted as done when it is (errand.h). Looks at no client.
 */
#include "orders.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "keeper.h"
#include "log.h"
#include "sandbox_calls.h"

SANDBOX_BROKER(CALL(read));

void orders_report(struct registrar *r)
{
	const struct message report = {.kind = MESSAGE_REPORT};
	const struct membership *m = &r->membership;

	r->report_wanted = false;
	r->reports_begun++;
	errand_begin(&r->state->live->report);
	atomic_store(&r->report->busy, true);
	/* Of this very moment, as the log's end that workers will tell of. */
	r->report->present = m->present;
	r->report->opening = m->opening;
	r->report->joins = m->joins;
	r->report->leaves = m->leaves;
	r->report->refused = m->refused;
	for (uint32_t id = 0; id < r->report->ids_max; id++)
		r->report->peers[id].filled = false;
	r->reports_missing = r->workers_count;
	registrar_tell(r, &report);
}

static void read_rules(struct registrar *r)
{
	const struct rules *rules = r->door.rules;
	struct why why;
	bool sockets;
	int err;

	if (!rules->zone_file && !rules->bind_file)
		return;
	err = door_read_rules(&r->door, &sockets, &why);
	if (!err && sockets && !r->keeper)
		err = why_fail(&why, -EPERM,
			"%.200s: with --no-keeper sockets of IDs change at a start only",
			rules->bind_file);
	if (err) {
		rules_log_wrong(&why);
		return;
	}
	if (sockets) {
		r->stop = r->again = true;
		return;
	}
	rules_log(rules);
	r->widen_wanted = true;
}

static void reload(struct registrar *r)
{
	errand_begin(&r->state->live->reload);
	log_reopen(&r->wakeup);
	r->reloading = true;
	read_rules(r);
	r->rewind_wanted = true;
}

static bool reload_is_over(const struct registrar *r)
{
	return r->reloading && log_reopened();
}

static bool report_is_over(const struct registrar *r)
{
	return r->reports_noted != r->reports_begun &&
	       atomic_load(&r->report->over) == r->reports_begun;
}

bool orders_over(const struct registrar *r)
{
	return reload_is_over(r) || report_is_over(r);
}

/* Of a reload the rules are in the state, and who was held back is looked at by any successor. */
void orders_note(struct registrar *r)
{
	if (reload_is_over(r)) {
		r->reloading = false;
		errand_done(&r->state->live->reload);
	}
	if (report_is_over(r)) {
		r->reports_noted = r->reports_begun;
		errand_done(&r->state->live->report);
	}
}

/* The keeper's watchdog wants to know whether we all turn; workers say so in theirs. */
static void answer(struct registrar *r)
{
	struct state_live *live = r->state->live;

	for (uint16_t w = 0; w < r->workers_count; w++)
		wakeup_force(&r->workers[w].wakeup);
	atomic_store_explicit(&live->answered,
		atomic_load_explicit(&live->asked, memory_order_relaxed), memory_order_relaxed);
}

static void take_signal(struct registrar *r, unsigned number)
{
	if (number == (unsigned)KEEPER_ASK) {
		answer(r);
		return;
	}
	/* From our keeper (keeper.h). */
	if (number == (unsigned)KEEPER_STOP)
		number = SIGTERM;
	else if (number == (unsigned)KEEPER_INTERRUPT)
		number = SIGINT;
	switch (number) {
	case SIGTERM:
	case SIGINT:
		log_event(stop, LOG_TEXT("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"),
			LOG_NUMBER("peers", r->membership.present));
		r->stop = true;
		return;
	case SIGHUP:
		reload(r);
		return;
	case SIGUSR1:
		r->report_wanted = true;
		return;
	default:
		return;
	}
}

void orders_take(struct registrar *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == sizeof(info))
		take_signal(r, info.ssi_signo);
}

void orders_reported(struct registrar *r)
{
	if (--r->reports_missing)
		return;
	memcpy(r->report->refused_for, r->door.refused, sizeof(r->report->refused_for));
	r->report->state_bytes = r->state->head->bytes;
	if (!r->door.rules->zone_file && !r->door.rules->bind_file)
		r->report->state_bytes -= sizeof(struct rules_memory);
	log_ask(report_print, r->report);
}
