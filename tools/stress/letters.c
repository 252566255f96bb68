/* SPDX-License-Identifier: MIT */
/*
 * letters.c - messages between the VMs, each accounted for.
 *
 * Sends and takes through the handles of a fleet, whose thread it is.
 */
#include "letters.h"

#include "famez/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Letters taken at once; and so often in a row, before others have their turn. */
#define BATCH          32
#define BATCHES_A_TURN 4

/* What the words after the head begin with: another number for each letter. */
static uint64_t first_word(const struct letter *head)
{
	uint64_t z = head->run ^ ((uint64_t)head->from << 42) ^ ((uint64_t)head->to << 21) ^
		     head->number;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return z ^ (z >> 27);
}

void letters_fill(void *payload, size_t bytes, const struct letter *head)
{
	uint64_t word = first_word(head);
	char *at = (char *)payload + sizeof(*head), *end = (char *)payload + bytes;

	memcpy(payload, head, sizeof(*head));
	for (; end - at >= (ptrdiff_t)sizeof(word); at += sizeof(word), word++)
		memcpy(at, &word, sizeof(word));
	if (at < end)
		memcpy(at, &word, (size_t)(end - at));
}

bool letters_fits(const void *payload, size_t bytes, uint64_t run, struct letter *head)
{
	const char *at = (const char *)payload + sizeof(*head);
	const char *end = (const char *)payload + bytes;
	uint64_t word, differs = 0, seen;

	if (bytes < LETTERS_BYTES_MIN)
		return false;
	memcpy(head, payload, sizeof(*head));
	word = first_word(head);
	for (; end - at >= (ptrdiff_t)sizeof(word); at += sizeof(word), word++) {
		memcpy(&seen, at, sizeof(seen));
		differs |= seen ^ word;
	}
	return head->run == run && !differs &&
	       (at == end || !memcmp(at, &word, (size_t)(end - at)));
}

static int garbled(struct letters *l, unsigned vm, const struct famez_message *m)
{
	return verdict_give(l->fleet->verdict, VERDICT_LOST,
		"peer %d got a message of %zu bytes from peer %u that none of us wrote so",
		fleet_vm(l->fleet, vm)->id, m->bytes, m->from);
}

/* One for the group: numbers of one sender, in order. */
static int from_group(struct letters *l, unsigned vm, const struct letter *head)
{
	uint32_t *last = &l->group_from[fleet_index(l->fleet, vm)];

	if (!l->group_counts) {
		*last = head->number;
		return 0;
	}
	if (head->number == *last + 1) {
		*last = head->number;
		return 0;
	}
	return verdict_give(l->fleet->verdict, VERDICT_LOST,
		"group message %u of peer %d reached peer %d where %u was due", head->number,
		board_id(l->board, head->from), fleet_vm(l->fleet, vm)->id, *last + 1);
}

static int from_peer(struct letters *l, unsigned vm, const struct letter *head)
{
	uint32_t due, k = fleet_index(l->fleet, vm);
	enum account_finding found;

	if (head->number == 1 && head->from >= board_everybody(l->board))
		account_forget(&l->account, k, head->from); /* joined anew */
	found = account_heard(&l->account, k, head->from, head->number, &due);
	if (found == ACCOUNT_FINE)
		return 0;
	return verdict_give(l->fleet->verdict, VERDICT_LOST,
		"message %u of VM %u reached peer %d where %u was due: %s", head->number,
		head->from + 1, fleet_vm(l->fleet, vm)->id, due,
		found == ACCOUNT_LOST ? "some were lost" : "it came twice, or too late");
}

static int judge(struct letters *l, unsigned vm, const struct famez_message *m, struct letter *head)
{
	bool group = m->type == FAMEZ_MESSAGE_GROUP;

	if (!letters_fits(m->payload, m->bytes, l->run, head) || head->from >= l->account.others ||
		head->to != (group ? LETTERS_ALL : vm) ||
		(!group && (head->from < l->board->peers || board_is_guest(l->board, head->from)) &&
			board_id(l->board, head->from) != m->from))
		return garbled(l, vm, m);
	return group ? from_group(l, vm, head) : from_peer(l, vm, head);
}

/* For fleet.on_mail. */
static int on_mail(void *context, unsigned vm, bool message)
{
	struct letters *l = context;
	struct famez *f = fleet_vm(l->fleet, vm)->famez;
	struct famez_message batch[BATCH];
	struct letter heads[BATCH];
	bool words;

	for (unsigned n = 0; message && n < BATCHES_A_TURN; n++) {
		int got = famez_peek_batch(f, batch, BATCH), err = 0;
		uint16_t from = got > 0 ? batch[0].from : 0;

		if (got <= 0)
			return got ? fleet_failed(l->fleet, vm, got) : 0;
		words = l->on_words && from == l->words_from;
		for (int i = 0; i < got && !err; i++)
			err = words ? l->on_words(l->words_context, &batch[i])
				    : judge(l, vm, &batch[i], &heads[i]);
		famez_release(f);
		for (int i = 0; i < got && !err && !words; i++)
			err = l->on_letter(l->context, &heads[i], vm, from, batch[i].bytes);
		if (err)
			return -1;
	}
	return 0;
}

/* For fleet.on_doorbell. A ring for mail that was read before the ring is told as any ring, so
 * while there is mail, rings prove nothing. */
static uint64_t on_doorbell(void *context, unsigned vm, unsigned vector, uint64_t count)
{
	(void)context;
	(void)vm;
	(void)vector;
	return count;
}

int letters_open(struct letters *l, struct fleet *fleet, uint64_t run, uint32_t others)
{
	*l = (struct letters){.fleet = fleet,
		.board = fleet->board,
		.run = run,
		.bytes = LETTERS_BYTES_MIN,
		.words_from = l->words_from,
		.on_words = l->on_words,
		.words_context = l->words_context};
	l->group_from = calloc(fleet->mine, sizeof(*l->group_from));
	if (l->group_from == NULL || account_init(&l->account, fleet->mine, others))
		return verdict_give(fleet->verdict, VERDICT_LOST, "out of memory");
	fleet->on_mail = on_mail;
	fleet->on_doorbell = on_doorbell;
	fleet->context = l;
	for (unsigned k = 0; k < fleet->mine; k++) {
		struct famez_mailbox how = {.cclass = "Stress", .spin_us = -1};
		unsigned vm = fleet_number(fleet, k);
		char name[FAMEZ_NAME_BYTES];
		int err;

		(void)snprintf(name, sizeof(name), "stress%u", vm);
		how.name = name;
		err = famez_mailbox_open(fleet->vms[k].famez, &how);
		if (err && err != -EALREADY) /* a guest's is open since it has been there */
			return verdict_give(fleet->verdict,
				err == -EMFILE ? VERDICT_DESCRIPTORS : VERDICT_LOST,
				"peer %d cannot open its mailbox: %s", fleet->vms[k].id,
				strerror(-err));
		/* What is there is told, and from then on its descriptor tells. */
		if (fleet_pump(fleet, vm))
			return -1;
	}
	return 0;
}

void letters_close(struct letters *l)
{
	if (l->fleet)
		l->fleet->on_mail = NULL; /* rings for what was read go on to come */
	account_destroy(&l->account);
	free(l->group_from);
	*l = (struct letters){0};
}

size_t letters_bytes_max(const struct letters *l)
{
	return famez_payload_bytes_max(l->fleet->vms[0].famez);
}

static int cannot(struct letters *l, unsigned from, unsigned id, int err)
{
	return verdict_give(l->fleet->verdict, VERDICT_LOST,
		"peer %d cannot send %zu bytes to peer %u: %s", fleet_vm(l->fleet, from)->id,
		l->bytes, id, strerror(-err));
}

int letters_send(
	struct letters *l, unsigned from, unsigned to, uint16_t id, uint32_t kind, uint64_t t_ns)
{
	struct famez *f = fleet_vm(l->fleet, from)->famez;
	struct famez_to where = {.peer = id};
	uint32_t k = fleet_index(l->fleet, from);
	struct letter head = {l->run, from, to, account_next(&l->account, k, to), kind, t_ns};
	void *room;
	int err = famez_claim(f, id, l->bytes, &room);

	if (err == -EAGAIN)
		return err;
	if (err || head.number == 0)
		return cannot(l, from, id, err ? err : -ENOMEM);
	letters_fill(room, l->bytes, &head);
	err = famez_commit(f, &where, l->bytes, 0);
	if (err)
		return cannot(l, from, id, err);
	account_sent(&l->account, k, to);
	return 0;
}

int letters_send_group(struct letters *l, unsigned from, uint32_t kind, uint64_t t_ns)
{
	struct letter head = {l->run, from, LETTERS_ALL, l->group_sent + 1, kind, t_ns};
	char payload[4096];
	size_t bytes = l->bytes < sizeof(payload) ? l->bytes : sizeof(payload);
	int err;

	letters_fill(payload, bytes, &head);
	err = famez_group_send(
		fleet_vm(l->fleet, from)->famez, LETTERS_GROUP, payload, bytes, 0, 0);
	if (err == -EAGAIN)
		return err;
	if (err)
		return verdict_give(l->fleet->verdict, VERDICT_LOST,
			"peer %d cannot send to the group: %s", fleet_vm(l->fleet, from)->id,
			strerror(-err));
	l->group_sent++;
	return 0;
}
