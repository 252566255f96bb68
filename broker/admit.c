/* SPDX-License-Identifier: MIT */
/*
 * admit.c - who may come in: users, groups, and how many of each user.
 *
 * Called by the registrar only. Never touches sockets, and knows nothing of IDs.
 */
#include "admit.h"

#include <assert.h>
#include <stddef.h>

#include "state.h"

/* What a bucket holds: the joins of one second. */
#define BUCKET_NS 1000000000u

void admit_init(struct admit *a, const struct admit_rules *rules, struct admit_user *users)
{
	*a = (struct admit){.rules = *rules, .users = users};
	/* Who is here is told by admit_known(). */
	for (unsigned i = 0; i < ADMIT_USERS_MAX; i++)
		users[i].peers = 0;
}

static bool listed(const uint32_t *list, uint16_t count, uint32_t id)
{
	for (uint16_t i = 0; i < count; i++)
		if (list[i] == id)
			return true;
	return false;
}

static bool allowed(const struct admit_rules *rules, const struct admit_who *who)
{
	if (!rules->uids_count && !rules->gids_count)
		return true;
	if (listed(rules->uids, rules->uids_count, who->uid) ||
		listed(rules->gids, rules->gids_count, who->gid))
		return true;
	for (uint32_t i = 0; i < who->groups_count; i++)
		if (listed(rules->gids, rules->gids_count, who->groups[i]))
			return true;
	return false;
}

bool admit_needs_groups(const struct admit *a, const struct admit_who *who)
{
	return a->rules.gids_count && !allowed(&a->rules, who);
}

static bool counts(const struct admit *a)
{
	return a->rules.peers_per_uid || a->rules.joins_per_second;
}

/* Open addressing. An entry that does not matter any more is taken over where it stands, never
 * emptied, so that whoever was placed behind it is still found. */
static struct admit_user *find(struct admit *a, uint32_t uid)
{
	uint32_t at = uid * 2654435761u >> 24;

	static_assert(ADMIT_USERS_MAX == 256, "the hash has 8 bits");
	for (unsigned i = 0; i < ADMIT_USERS_MAX; i++) {
		struct admit_user *u = &a->users[(at + i) % ADMIT_USERS_MAX];

		if (!u->used)
			return NULL;
		if (u->uid == uid)
			return u;
	}
	return NULL;
}

static struct admit_user *find_or_add(struct admit *a, uint32_t uid, uint64_t now_ns)
{
	struct admit_user *found = find(a, uid);
	uint32_t at = uid * 2654435761u >> 24;

	for (unsigned i = 0; !found && i < ADMIT_USERS_MAX; i++) {
		struct admit_user *u = &a->users[(at + i) % ADMIT_USERS_MAX];

		if (u->used && (u->peers || u->due_ns > now_ns))
			continue;
		*u = (struct admit_user){.used = true, .uid = uid};
		found = u;
	}
	return found;
}

enum admit_says admit_ask(struct admit *a, const struct admit_who *who, uint64_t now_ns)
{
	uint64_t due = now_ns;
	struct admit_user *u;

	if (!allowed(&a->rules, who))
		return ADMIT_NOT_ALLOWED;
	if (!counts(a))
		return ADMIT_WELCOME;
	u = find_or_add(a, who->uid, now_ns);
	if (!u)
		return ADMIT_STRANGER;
	if (a->rules.peers_per_uid && u->peers >= a->rules.peers_per_uid)
		return ADMIT_QUOTA;
	if (a->rules.joins_per_second) {
		due = u->due_ns > now_ns ? u->due_ns : now_ns;
		if (due > now_ns + BUCKET_NS) /* not of our making: the state was damaged */
			due = now_ns;
		due += BUCKET_NS / a->rules.joins_per_second;
		if (due > now_ns + BUCKET_NS)
			return ADMIT_RATE;
	}
	u->due_ns = due;
	state_point();
	u->peers++;
	return ADMIT_WELCOME;
}

void admit_known(struct admit *a, uint32_t uid)
{
	struct admit_user *u = counts(a) ? find_or_add(a, uid, 0) : NULL;

	/* More users than we can keep count of were never let in. */
	if (u)
		u->peers++;
}

void admit_left(struct admit *a, uint32_t uid)
{
	struct admit_user *u = counts(a) ? find(a, uid) : NULL;

	if (u && u->peers)
		u->peers--;
}

const char *admit_reason(enum admit_says says)
{
	switch (says) {
	case ADMIT_NOT_ALLOWED:
		return "not-allowed";
	case ADMIT_QUOTA:
		return "max-per-uid";
	case ADMIT_RATE:
		return "joins-per-second";
	case ADMIT_STRANGER:
		return "too-many-users";
	case ADMIT_WELCOME:
		break;
	}
	return "";
}
