/* SPDX-License-Identifier: MIT */
/*
 * hearsay.c - what peers may hear of each other and of the server, and what must have come to them
 * once all is quiet.
 *
 * The server is told to count (personality_find() below): each question has a number, and its
 * answer says it, and how many the server has heard of this peer. So a question that is lost,
 * taken twice, or overtaken by another is seen in the next answer.
 */
#include "voice.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "personality.h"

/* ---- the server ----------------------------------------------------------------------------- */

static void count_and_answer(void *memory, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	uint32_t heard;

	(void)scene;
	memcpy(&heard, memory, sizeof(heard));
	heard++;
	memcpy(memory, &heard, sizeof(heard));
	(void)snprintf(answer->text, sizeof(answer->text), "a%.20s %u", text + 1, heard);
}

static const struct personality counts = {
	.name = "counts",
	.server_name = "server",
	.server_class = "Server",
	.said = count_and_answer,
};

const struct personality *__wrap_personality_find(
	enum options_personality which, enum options_dialect dialect);

const struct personality *__wrap_personality_find(
	enum options_personality which, enum options_dialect dialect)
{
	(void)which;
	(void)dialect;
	return &counts;
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void hear_answer(struct voice *v, const struct famez_seen *seen)
{
	char text[64] = "";
	unsigned nth, heard;

	memcpy(text, seen->payload, seen->bytes < sizeof(text) ? seen->bytes : sizeof(text) - 1);
	/* NOLINTNEXTLINE(cert-err34-c): numbers of ours */
	if (sscanf(text, "a%u %u", &nth, &heard) != 2) {
		sim_wrong("peer %u is answered \"%s\"", v->id, text);
		return;
	}
	sim_trace("peer %u is answered %u", v->id, nth);
	if (nth > v->asked || nth <= v->answered)
		sim_wrong("peer %u is answered question %u, after %u of %u", v->id, nth,
			v->answered, v->asked);
	else if (nth != v->answered + 1 && !v->missed)
		sim_wrong("peer %u is answered question %u, and never %u", v->id, nth,
			v->answered + 1);
	if (heard != nth)
		sim_wrong("the server has heard %u questions of peer %u's %u", heard, v->id, nth);
	v->answered = nth;
	sums.answers++;
	for (unsigned group = 1; group <= VOICE_GROUPS; group++)
		if (v->confirm_at[group] && v->confirm_at[group] <= nth)
			v->member[group] = true;
}

/* Content and all. False: it is none of ours. */
static bool read_said(const struct voice *v, const struct famez_seen *seen, struct said *said)
{
	const unsigned char *bytes = seen->payload;

	if (seen->bytes < sizeof(*said)) {
		sim_wrong("peer %u hears %u bytes that nobody said", v->id, seen->bytes);
		return false;
	}
	memcpy(said, bytes, sizeof(*said));
	for (uint32_t i = sizeof(*said); i < seen->bytes; i++)
		if (bytes[i] != (unsigned char)(said->nth + i)) {
			sim_wrong("peer %u hears message %u garbled", v->id, said->nth);
			return false;
		}
	return true;
}

static void take_expected(struct voice *v, const struct said *said)
{
	unsigned kept = 0;

	for (unsigned n = 0; n < v->expected_count; n++) {
		const struct expected *e = &v->expected[n];

		if (e->from != said->from || e->nth > said->nth) {
			v->expected[kept++] = *e;
			continue;
		}
		if (e->nth < said->nth && !v->missed)
			sim_wrong("peer %u, a member of group %u, hears message %u and never %u",
				v->id, e->group, said->nth, e->nth);
	}
	v->expected_count = kept;
}

static void hear_group(struct voice *v, const struct famez_seen *seen)
{
	struct heard *last = &v->group_from[seen->origin % SIM_IDS_MAX];
	struct said said;

	if (!read_said(v, seen, &said))
		return;
	sim_trace("peer %u hears group message %u of %u", v->id, said.nth, seen->origin);
	sums.group_messages++;
	if (said.group != FAMEZ_KIND_GROUP(seen->kind))
		sim_wrong("peer %u hears in group %u what was said to group %u", v->id,
			FAMEZ_KIND_GROUP(seen->kind), said.group);
	if (last->from == said.from && said.nth <= last->nth)
		sim_wrong("peer %u hears group message %u of %u after its message %u", v->id,
			said.nth, seen->origin, last->nth);
	if (said.from == v->actor->serial)
		sim_wrong("peer %u hears what it said to group %u", v->id, said.group);
	*last = (struct heard){.from = said.from, .nth = said.nth};
	take_expected(v, &said);
}

/* The generation that this ID's owner speaks with now; 0: nobody does. */
static uint32_t speaks_now(const struct voice *v, uint32_t id)
{
	const struct famez_entry *e = famez_entry_at(voice_base(), &v->g, id);

	return e->presence == FAMEZ_PRESENT && e->join == e->joins && e->speaks ? e->generation : 0;
}

static void hear_peer(struct voice *v, uint32_t sender, const struct famez_seen *seen)
{
	struct heard *last = &v->from[sender];
	uint32_t now = speaks_now(v, sender);
	struct said said;

	/* Last words of who has gone are welcome, until there is another. */
	if (now && now != seen->from)
		return;
	if (!read_said(v, seen, &said))
		return;
	sim_trace("peer %u hears message %u of %u", v->id, said.nth, sender);
	sums.messages++;
	if (said.generation != seen->from || said.to_generation != v->generation)
		sim_wrong(
			"peer %u hears what was said to generation %u", v->id, said.to_generation);
	if (last->generation != said.generation || last->to_generation != said.to_generation)
		*last = (struct heard){.generation = said.generation,
			.to_generation = said.to_generation,
			.from = said.from};
	if (said.nth != last->nth + 1)
		sim_wrong("peer %u hears message %u of %u after its message %u", v->id, said.nth,
			sender, last->nth);
	last->nth = said.nth;
}

void hear(struct voice *v, uint32_t sender, const struct famez_seen *seen)
{
	unsigned type = FAMEZ_KIND_TYPE(seen->kind);

	if (sender != v->g.server_id && type == FAMEZ_TYPE_DATA)
		hear_peer(v, sender, seen);
	else if (sender == v->g.server_id && type == FAMEZ_TYPE_LINK)
		hear_answer(v, seen);
	else if (sender == v->g.server_id && type == FAMEZ_TYPE_GROUP)
		hear_group(v, seen);
	else
		sim_wrong("peer %u hears something of type %u from %u", v->id, type, sender);
}

/* ---- what is to come --------------------------------------------------------------------------
 */

void hear_group_said(const struct voice *v, uint32_t group)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		struct voice *o = &voices[n];

		if (!o->used || o == v || !o->member[group])
			continue;
		if (o->expected_count == VOICE_EXPECTED) {
			o->missed = true; /* it reads nothing: its lane is full, too */
			continue;
		}
		o->expected[o->expected_count++] = (struct expected){
			.from = v->actor->serial, .nth = v->group_nth, .group = group};
	}
}

void hear_nothing(struct voice *v)
{
	v->expected_count = 0;
	memset(v->confirm_at, 0, sizeof(v->confirm_at));
	memset(v->member, 0, sizeof(v->member));
}

void hear_exit(struct voice *v, uint32_t group)
{
	unsigned kept = 0;

	v->member[group] = false;
	v->confirm_at[group] = 0;
	for (unsigned n = 0; n < v->expected_count; n++)
		if (v->expected[n].group != group)
			v->expected[kept++] = v->expected[n];
	v->expected_count = kept;
}

void hear_no_more_of(uint64_t from)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		struct voice *o = &voices[n];
		unsigned kept = 0;

		for (unsigned i = 0; i < o->expected_count; i++)
			if (o->expected[i].from != from)
				o->expected[kept++] = o->expected[i];
		o->expected_count = kept;
	}
}

void voices_unread(uint32_t id)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++) {
		struct voice *v = &voices[n];
		const struct famez_lane *lane;

		if (!v->used || v->id != id)
			continue;
		v->missed = true;
		lane = famez_lane_at(voice_base(), &v->g, id, v->g.server_id);
		if (!world.fat && lane->produced - lane->consumed < v->g.lane_bytes / 4)
			sim_wrong("the server finds no room for peer %u, whose lane has %llu bytes "
				  "to read",
				id, (unsigned long long)(lane->produced - lane->consumed));
	}
}

/* ---- the judgement ----------------------------------------------------------------------------
 */

static const struct voice *voice_of(uint32_t id)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (voices[n].used && voices[n].id == id)
			return &voices[n];
	return NULL;
}

static void judge_pair(const struct voice *v, uint32_t id)
{
	const struct voice *to = voice_of(id);
	const struct heard *heard, *said = &v->to[id];

	if (!to || !said->nth || said->generation != v->generation ||
		said->to_generation != to->generation)
		return;
	heard = &to->from[v->id];
	if (heard->generation != said->generation || heard->to_generation != said->to_generation ||
		heard->nth != said->nth)
		sim_wrong("nothing moves, and peer %u has not heard what peer %u said", id, v->id);
	if (v->wants >> id & 1 && to->actor->known[v->id] == world.vectors)
		sim_wrong("nothing moves, and peer %u waits for room to peer %u", v->id, id);
}

void voices_judge(void)
{
	for (unsigned n = 0; n < SIM_CLIENTS_MAX && !world.failed; n++) {
		const struct voice *v = &voices[n];

		if (!v->used)
			continue;
		if (v->answered != v->asked && !v->missed)
			sim_wrong("nothing moves, and peer %u's question %u is not answered", v->id,
				v->answered + 1);
		if (v->expected_count && !v->missed)
			sim_wrong("nothing moves, and peer %u has not heard message %u to group %u",
				v->id, v->expected[0].nth, v->expected[0].group);
		if (v->g.server_id < SIM_IDS_MAX && v->wants >> v->g.server_id & 1)
			sim_wrong("nothing moves, and peer %u waits for room to the server", v->id);
		for (uint32_t id = 0; id < v->g.ids; id++)
			judge_pair(v, id);
	}
}
