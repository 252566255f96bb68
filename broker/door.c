/* SPDX-License-Identifier: MIT */
/*
 * door.c - the way in.
 *
 * Asks the kernel who somebody is, and reads its command line where a rule asks for that; never
 * reads from a socket.
 */
#include "door.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "ledger.h"
#include "look.h"
#include "refusal.h"
#include "sys.h"

int door_init(struct door *d, const struct door_wish *wish, struct membership *membership,
	struct state *state)
{
	const struct state_wish *fabric = &state->head->wish;

	*d = (struct door){
		.seating = {.membership = membership, .state = state},
		.rules = wish->rules,
		.device_names = wish->device_names,
	};
	d->seating.barred =
		sys_calloc(VIEW_HELD_WORDS(fabric->ids_max), sizeof(*d->seating.barred));
	if (!d->seating.barred)
		return -ENOMEM;
	admit_init(&d->admit, wish->admit, state->rules->users);
	for (uint32_t id = fabric->first_id; id - fabric->first_id < fabric->peers; id++)
		if (ledger_taken(state, id))
			admit_known(&d->admit, state->members[id].uid);
	seating_keep(&d->seating, rules_binds(d->rules));
	return 0;
}

void door_destroy(struct door *d)
{
	for (unsigned n = 0; n < d->waiting_count; n++)
		refusal_send_and_close(d->waiting[n].sock);
	free(d->seating.barred);
}

/* False: it takes its time; ask again. */
static bool read_args(const struct door *d, const struct client *c, struct qemu_args *args)
{
	static char line[LOOK_BYTES];
	int bytes;

	*args = (struct qemu_args){0};
	if (!c->device || c->pid <= 0 || !rules_want_args(d->rules))
		return true;
	bytes = look_at(LOOK_ARGUMENTS, c->pid, line, sizeof(line));
	if (bytes > 0)
		qemu_args_parse(args, line, (size_t)bytes);
	return bytes != -ETIMEDOUT;
}

static enum admit_says admit(struct door *d, const struct door_guest *guest, uint64_t now_ns)
{
	static gid_t groups[NGROUPS_MAX];
	struct admit_who who = {.uid = guest->client.uid, .gid = guest->client.gid};

	if (admit_needs_groups(&d->admit, &who)) {
		who.groups = groups;
		who.groups_count = client_groups(guest->sock, groups, NGROUPS_MAX);
	}
	return admit_ask(&d->admit, &who, now_ns);
}

static enum door_says turn_away(
	struct door *d, struct door_guest *guest, enum door_reason why, const char *reason)
{
	d->refused[why]++;
	guest->reason = reason;
	return DOOR_REFUSED;
}

/* It was let in, and can't stay. */
static enum door_says send_off(
	struct door *d, struct door_guest *guest, enum door_reason why, const char *reason)
{
	admit_left(&d->admit, guest->client.uid);
	return turn_away(d, guest, why, reason);
}

static enum seating_says seat(struct door *d, struct door_guest *guest, bool quiet)
{
	const struct client *c = &guest->client;
	const struct seating_wish wish = {
		.zones = rules_zones(d->rules),
		.binds = rules_binds(d->rules),
		.uid = c->uid,
		.args = &guest->args,
		.own = guest->own,
		/* The devices of one process share its descriptors, so they share a worker. */
		.together = c->device && c->pid > 0 ? (uint32_t)c->pid : MEMBERSHIP_ANYWHERE,
		.quiet = quiet,
	};

	return seating_find(&d->seating, &wish, &guest->seat);
}

enum door_says door_knock(struct door *d, struct door_guest *guest, bool quiet, uint64_t now_ns)
{
	enum admit_says says;

	client_identify(guest->sock, d->device_names, &guest->client);
	says = admit(d, guest, now_ns);
	if (says != ADMIT_WELCOME)
		return turn_away(d, guest,
			says == ADMIT_NOT_ALLOWED ? DOOR_NOT_ALLOWED : DOOR_QUOTA,
			admit_reason(says));
	guest->args_due = !read_args(d, &guest->client, &guest->args);
	guest->until_ns = now_ns + DOOR_PATIENCE_NS;
	switch (guest->args_due ? SEATING_WAIT : seat(d, guest, quiet)) {
	case SEATING_FOUND:
		return DOOR_SEATED;
	case SEATING_FULL:
		return send_off(d, guest, DOOR_FULL, "full");
	case SEATING_ZONES:
		return send_off(d, guest, DOOR_STRANGERS, "zones");
	case SEATING_OTHER:
		return send_off(d, guest, DOOR_NOT_ALLOWED, "not-allowed");
	case SEATING_WAIT:
		break;
	}
	if (d->waiting_count == DOOR_WAITING_MAX)
		return send_off(d, guest, DOOR_BOUND, "bound");
	d->waiting[d->waiting_count++] = *guest;
	return DOOR_NOBODY;
}

static void take_out(struct door *d, unsigned nth)
{
	d->waiting_count--;
	memmove(&d->waiting[nth], &d->waiting[nth + 1],
		(d->waiting_count - nth) * sizeof(*d->waiting));
}

enum door_says door_look(struct door *d, struct door_guest *guest, bool quiet, uint64_t now_ns)
{
	for (unsigned n = 0; n < d->waiting_count; n++) {
		struct door_guest *w = &d->waiting[n];
		bool over = now_ns >= w->until_ns;
		enum seating_says says;

		if (w->args_due)
			w->args_due = !read_args(d, &w->client, &w->args) && !over;
		says = w->args_due ? SEATING_WAIT : seat(d, w, quiet);
		if (says == SEATING_WAIT && !over)
			continue;
		*guest = d->waiting[n];
		take_out(d, n);
		switch (says) {
		case SEATING_FOUND:
			return DOOR_SEATED;
		case SEATING_FULL:
			return send_off(d, guest, DOOR_FULL, "full");
		case SEATING_ZONES:
			return send_off(d, guest, DOOR_STRANGERS, "zones");
		case SEATING_OTHER:
			return send_off(d, guest, DOOR_NOT_ALLOWED, "not-allowed");
		case SEATING_WAIT:
			return send_off(d, guest, DOOR_BOUND, "bound");
		}
	}
	return DOOR_NOBODY;
}

void door_left(struct door *d, uint32_t uid)
{
	admit_left(&d->admit, uid);
}

int door_read_rules(struct door *d, bool *sockets, struct why *why)
{
	int err = rules_read(d->rules, seating_carried(d->seating.state), why);

	*sockets = !err && !rules_same_sockets(d->rules);
	if (err || *sockets)
		return err;
	rules_count(d->rules);
	seating_keep(&d->seating, rules_binds(d->rules));
	return 0;
}

static uint64_t zones_now(const struct door *d, uint32_t id)
{
	struct zones_who who;
	struct qemu_args args;
	struct client c;

	ledger_client(d->seating.state, id, &c);
	(void)read_args(d, &c, &args);
	zones_judge(&who, rules_zones(d->rules), c.uid, args.name);
	return zones_of(&who, id);
}

bool door_widen(struct door *d)
{
	const struct state *state = d->seating.state;
	const struct state_wish *fabric = &state->head->wish;
	bool any = false;

	if (!rules_zones(d->rules))
		return false;
	for (uint32_t id = fabric->first_id; id - fabric->first_id < fabric->peers; id++) {
		_Atomic uint64_t *zones = &state->members[id].zones;
		uint64_t now;

		if (!ledger_taken(state, id))
			continue;
		now = zones_now(d, id);
		if (!(now & ~atomic_fetch_or(zones, now)))
			continue;
		state_point();
		any = true;
	}
	return any;
}

bool door_print_zones(const struct door *d, uint32_t id, char *text, size_t bytes)
{
	const struct zones *zones = rules_zones(d->rules);

	if (zones)
		zones_print(zones, atomic_load(&d->seating.state->members[id].zones), text, bytes);
	return zones;
}
