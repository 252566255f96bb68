/* SPDX-License-Identifier: MIT */
/*
 * directory.c - who is there, as the mailbox file's directory has it.
 *
 * Reads entries and v1 slots, and writes neither. Where changes are to be told, it remembers
 * of each ID what was told last and compares: so whatever the words in the file, each look
 * through the directory ends, and tells at most two events of an ID.
 *
 * A peer's own words count only while `join` equals `joins`; else an earlier owner of the ID
 * left them. Text from the file is cut off after 31 bytes, and shown without what a terminal
 * would obey.
 */
#include "directory.h"

#include "slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int directory_init(
	struct directory *d, void *base, const struct famez_geometry *g, uint32_t id, bool watch)
{
	*d = (struct directory){.base = base, .g = g, .id = id, .at = g->ids};
	if (!watch)
		return 0;
	d->told = calloc(g->ids, sizeof(*d->told));
	if (!d->told)
		return -ENOMEM;
	directory_again(d, true);
	return 0;
}

void directory_destroy(struct directory *d)
{
	free(d->told);
}

/* A name or class from the file, as far as it is one. */
static void show(char to[FAMEZ_NAME_BYTES], const char from[FAMEZ_NAME_BYTES])
{
	uint64_t words[FAMEZ_NAME_BYTES / 8];
	size_t i;

	for (i = 0; i < FAMEZ_NAME_BYTES / 8; i++)
		words[i] = famez_load_relaxed((const uint64_t *)(const void *)from + i);
	memcpy(to, words, FAMEZ_NAME_BYTES);
	to[FAMEZ_NAME_BYTES - 1] = 0;
	for (i = 0; to[i]; i++)
		if (to[i] <= ' ' || to[i] > '~')
			to[i] = '?';
	memset(to + i, 0, FAMEZ_NAME_BYTES - i);
}

int directory_who(const struct directory *d, uint32_t id, struct famez_who *who)
{
	struct famez_entry *e;
	struct presence is;
	struct slot slot;

	if (id >= d->g->ids)
		return -ENOTCONN;
	e = famez_entry_at(d->base, d->g, id);
	is = directory_look(d, id);
	if (!is.present)
		return -ENOTCONN;
	*who = (struct famez_who){
		.id = (uint16_t)id,
		.lanes = is.lanes,
		.device = famez_load_relaxed(&e->device) == 1,
		.server = id == d->g->server_id,
		.generation = is.generation,
		.joins = is.joins,
		.cid = famez_load_relaxed(&e->cid),
		.sid = famez_load_relaxed(&e->sid),
		.heartbeat = is.lanes ? famez_load_relaxed(&e->heartbeat) : 0,
	};
	slot_at(&slot, d->base, d->g, id);
	show(who->name, slot.name);
	who->slot = who->name[0] != 0;
	if (slot.cclass)
		show(who->cclass, slot.cclass);
	if (is.lanes) {
		show(who->name, e->name);
		show(who->cclass, e->cclass);
	}
	return 0;
}

int directory_after(const struct directory *d, int id)
{
	for (int64_t next = id < -1 ? 0 : (int64_t)id + 1; next < d->g->ids; next++)
		if (directory_look(d, (uint32_t)next).present)
			return (int)next;
	return -1;
}

int directory_named(const struct directory *d, const char *name)
{
	struct famez_who who;

	for (int id = directory_after(d, -1); id >= 0; id = directory_after(d, id))
		if (directory_who(d, (uint32_t)id, &who) == 0 && strcmp(who.name, name) == 0)
			return id;
	if (strcmp(name, "server") == 0 && d->g->server_id != FAMEZ_NOBODY)
		return (int)d->g->server_id;
	return -ENOENT;
}

void directory_again(struct directory *d, bool anyway)
{
	uint64_t changes;

	if (!d->told)
		return;
	changes = famez_load_acquire(&famez_header_at(d->base)->changes);
	if (!anyway && changes == d->changes)
		return;
	d->changes = changes;
	d->at = 0;
}

int directory_next(struct directory *d, struct famez_event *event)
{
	for (; d->told && d->at < d->g->ids; d->at++) {
		struct told *told = &d->told[d->at];
		struct presence is = directory_look(d, d->at);

		if (d->at == d->id)
			continue;
		/* What has a mailbox now and had none goes on to be there. */
		if (told->joins &&
			(!is.present || told->joins != is.joins ||
				(told->generation && told->generation != is.generation))) {
			*told = (struct told){0};
			*event = (struct famez_event){
				.kind = FAMEZ_EVENT_DOWN, .peer = (uint16_t)d->at};
			return 1;
		}
		if (!is.present || !is.joins || (told->joins && told->generation == is.generation))
			continue;
		*told = (struct told){.joins = is.joins, .generation = is.generation};
		*event = (struct famez_event){.kind = FAMEZ_EVENT_UP, .peer = (uint16_t)d->at};
		d->at++;
		return 1;
	}
	return 0;
}
