/* SPDX-License-Identifier: MIT */
/*
 * targets.c - whom a word means: an ID, a name of the directory, `server` or
 * `switch` for the server, `all` for everyone but us, `others` for everyone but
 * us and the server. A word that begins with a digit is an ID.
 */
#include "targets.h"

#include "say.h"
#include "words.h"

#include <string.h>

bool targets_is_id(const char *word)
{
	return (*word >= '0' && *word <= '9') || *word == '-';
}

bool targets_is_server(const char *word)
{
	return !strcmp(word, "server") || !strcmp(word, "switch");
}

enum outcome targets_id(const char *word, uint16_t *id)
{
	unsigned long long value;

	if (!words_number(word, FAMEZ_WIRE_ID_MAX, &value)) {
		say_error("`%s` is no peer ID (0 to %d)", word, FAMEZ_WIRE_ID_MAX);
		return OUTCOME_USAGE;
	}
	*id = (uint16_t)value;
	return OUTCOME_OK;
}

enum outcome targets_one(struct session *s, const char *word, uint16_t *id)
{
	enum outcome outcome;
	int found;

	if (targets_is_id(word))
		return targets_id(word, id);
	outcome = letters_need(s);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (targets_is_server(word)) {
		found = famez_server_id(s->f);
		if (found < 0) {
			say_error("the server is no peer here (--silent)");
			return OUTCOME_FAILED;
		}
	} else {
		found = famez_who_named(s->f, word);
		if (found < 0) {
			say_error("there is nobody called `%s` (`who` lists them)", word);
			return OUTCOME_FAILED;
		}
	}
	*id = (uint16_t)found;
	return OUTCOME_OK;
}

enum outcome targets_find(struct session *s, const char *word, struct targets *t)
{
	bool all = !strcmp(word, "all");

	t->count = 0;
	t->many = all || !strcmp(word, "others");
	if (!t->many) {
		t->count = 1;
		return targets_one(s, word, &t->id[0]);
	}
	for (int id = famez_who_after(s->f, -1); id >= 0; id = famez_who_after(s->f, id)) {
		struct famez_who who;

		if (id == famez_id(s->f) || famez_who(s->f, (uint16_t)id, &who) ||
			(who.server && !all) || (!who.lanes && !who.slot))
			continue;
		t->id[t->count++] = (uint16_t)id;
	}
	return OUTCOME_OK;
}
