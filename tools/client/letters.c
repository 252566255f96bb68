/* SPDX-License-Identifier: MIT */
/*
 * letters.c - messages: what came, what was kept for whoever looks, and sending.
 *
 * Owns the mailbox's side of the membership. A message is copied out of the
 * shared memory before anybody judges it, and its place given back at once, so
 * that no sender waits for a person. It then goes to the first that wants it:
 *
 *   the command that waits for an answer     mail.hear
 *   files and benchmarks                     download.c, serve.c
 *   what the fabric's link level asks        link.c, which answers by itself
 *   a person or script                       kept, until letters_show()
 *
 * What is kept is bounded; what there is no place for is counted and told of.
 */
#include "letters.h"

#include "download.h"
#include "link.h"
#include "say.h"
#include "saymail.h"
#include "serve.h"
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT_MAX       1000u
#define KEPT_BYTES_MAX (4u << 20)
/* Of one message that is kept, so much is: nobody reads more at a terminal. */
#define HELD_MAX 65536u

#define TOLD_SECONDS 1.0 /* until we say that we wait for room */
/* What is unread in a lane when its sender leaves is read all the same; but who said it may not
 * be known any more. What is unread in a slot is cleared. */
#define LINGER_SECONDS      0.5
#define LINGER_LOOK_SECONDS 0.002

#define RETRY_SECONDS 0.05 /* a v1 slot does not tell when it is free */

/* What we still wait for, of one peer: that it reads what is in its lane; that it takes our text
 * from our slot; and besides, its answer. */
enum { OWED_NOTHING, OWED_LANE, OWED_SLOT, OWED_ANSWER };

static int open_mailbox(struct session *s)
{
	char made_up[32];
	struct famez_mailbox how = {.name = s->name, .cclass = s->cclass, .watch = 1};
	int err;

	if (s->mail.open)
		return 0;
	if (!how.name) {
		(void)snprintf(made_up, sizeof(made_up), "client-%d", (int)getpid());
		how.name = made_up;
	}
	err = famez_mailbox_open(s->f, &how);
	if (err)
		return err;
	s->mail.open = true;
	s->mail.last = &s->mail.first;
	s->mail_wanted = true;
	session_meet(s);
	return 0;
}

enum outcome letters_need(struct session *s)
{
	int err = open_mailbox(s);

	if (!err && s->receive && !s->mail.downloads) {
		err = download_open(s);
		if (err)
			say_error("--receive %s: %s", s->receive, strerror(-err));
		return err ? OUTCOME_FAILED : OUTCOME_OK;
	}
	if (!err)
		return OUTCOME_OK;
	if (err == -EOPNOTSUPP)
		say_error("no messages here: the server has no mailbox in its shared memory "
			  "(QEMU's ivshmem-server, --layout plain, or too small a memory)");
	else if (err == -EPROTO)
		say_error("no messages here: the mailbox's header makes no sense");
	else
		say_error("can't take part in messages: %s", strerror(-err));
	return OUTCOME_FAILED;
}

void letters_want(struct session *s)
{
	int err = open_mailbox(s);

	if (err && err != -EOPNOTSUPP)
		say_error("can't take part in messages: %s", strerror(-err));
	else if (!err && s->receive)
		(void)letters_need(s); /* joined again: the folder, too */
}

static void forget_kept(struct letters *m)
{
	while (m->first) {
		struct letter *l = m->first;

		m->first = l->next;
		free(l);
	}
	m->last = &m->first;
	m->kept = 0;
	m->kept_bytes = 0;
}

void letters_close(struct session *s)
{
	download_close(s);
	serve_close(s);
	forget_kept(&s->mail);
	free(s->mail.copy);
	memset(&s->mail, 0, sizeof(s->mail));
}

struct letter *letters_copy(struct session *s, size_t bytes)
{
	struct letters *m = &s->mail;
	size_t need = sizeof(struct letter) + bytes;
	struct letter *l;

	if (need > m->copy_bytes) {
		unsigned char *more = realloc(m->copy, need);

		if (!more)
			return NULL;
		m->copy = more;
		m->copy_bytes = need;
	}
	l = (struct letter *)(void *)m->copy;
	*l = (struct letter){.bytes = bytes, .held = bytes};
	return l;
}

void letters_name(struct session *s, struct letter *l)
{
	struct famez_who who;

	if (!famez_who(s->f, l->from, &who))
		memcpy(l->name, who.name, sizeof(l->name));
	if (!famez_who(s->f, l->origin, &who))
		memcpy(l->origin_name, who.name, sizeof(l->origin_name));
}

int letters_take(struct session *s)
{
	struct famez_message seen;
	struct letter *l;

	if (famez_peek(s->f, &seen) <= 0)
		return 0;
	l = letters_copy(s, seen.bytes);
	if (!l) {
		famez_release(s->f);
		s->mail.dropped++;
		return 0;
	}
	l->from = seen.from;
	l->origin = seen.origin;
	l->group = seen.group;
	l->type = seen.type;
	l->slot = seen.slot;
	memcpy(l->text, seen.payload, seen.bytes);
	famez_release(s->f);
	if (l->slot && s->mail.owed[l->from] == OWED_ANSWER)
		s->mail.owed[l->from] = OWED_SLOT;
	letters_name(s, l);
	return letters_handle(s, l);
}

int letters_handle(struct session *s, const struct letter *l)
{
	char answer[LINK_TEXT_MAX];

	if (s->mail.hear && s->mail.hear(s, s->mail.who, l))
		return 1; /* so that the command looks */
	if (serve_handle(s, l) || download_handle(s, l))
		return 0;
	if (link_answer(s, l, answer)) {
		letters_answer(s, l->from, answer);
		if (link_is(l, "ping"))
			return 0;
		if (s->loud) {
			(void)letters_keep(s, l);
			(void)letters_show(s, ULLONG_MAX);
			saymail_said(s->f, l->from, answer);
			return 0;
		}
	}
	return letters_keep(s, l);
}

int letters_keep(struct session *s, const struct letter *l)
{
	struct letters *m = &s->mail;
	size_t held = l->held < HELD_MAX ? l->held : HELD_MAX;
	struct letter *copy;

	/* Not in the middle of a character. */
	while (held < l->held && held > HELD_MAX - 4 && (l->text[held] & 0xc0) == 0x80)
		held--;
	if (m->kept == KEPT_MAX || m->kept_bytes + held > KEPT_BYTES_MAX ||
		!(copy = malloc(sizeof(*copy) + held))) {
		m->dropped++;
		return 0;
	}
	memcpy(copy, l, sizeof(*copy) + held);
	copy->held = held;
	copy->next = NULL;
	*m->last = copy;
	m->last = &copy->next;
	m->kept++;
	m->kept_bytes += held;
	return 1;
}

unsigned long long letters_show(struct session *s, unsigned long long most)
{
	struct letters *m = &s->mail;
	unsigned long long shown = 0;

	while (m->first && shown < most) {
		struct letter *l = m->first;

		saymail_letter(l);
		shown++;
		m->first = l->next;
		if (!m->first)
			m->last = &m->first;
		m->kept--;
		m->kept_bytes -= l->held;
		free(l);
	}
	if (m->dropped && !m->first) {
		saymail_dropped(m->dropped);
		m->dropped = 0;
	}
	return shown;
}

void letters_gone(struct session *s, uint16_t peer)
{
	uint32_t generation = letters_generation(s, peer);

	serve_gone(s, peer, generation);
	download_gone(s, peer, generation);
}

uint32_t letters_generation(struct session *s, uint16_t peer)
{
	struct famez_who who;

	return famez_who(s->f, peer, &who) || !who.lanes ? 0 : who.generation;
}

/* Does this peer owe us something? */
static bool owes(struct session *s, uint16_t id, unsigned what)
{
	struct famez_traffic traffic;
	struct famez_who who;

	if (famez_who(s->f, id, &who))
		return false;
	if (what == OWED_LANE)
		return who.lanes && !famez_traffic(s->f, (uint16_t)famez_id(s->f), id, &traffic) &&
		       traffic.unread_bytes;
	return who.slot && !who.lanes && (what == OWED_ANSWER || link_text_waits(s));
}

static bool anybody_owes(struct session *s)
{
	for (unsigned id = 0; id <= UINT16_MAX; id++) {
		if (!s->mail.owed[id])
			continue;
		if (owes(s, (uint16_t)id, s->mail.owed[id]))
			return true;
		s->mail.owed[id] = OWED_NOTHING;
	}
	return false;
}

/* Something was sent to @id. */
static void remember(struct session *s, uint16_t id, const void *payload, size_t bytes)
{
	struct famez_who who;
	bool slot = !famez_who(s->f, id, &who) && who.slot && !who.lanes;

	if (!slot)
		s->mail.owed[id] = OWED_LANE;
	else
		s->mail.owed[id] = link_asks(payload, bytes) ? OWED_ANSWER : OWED_SLOT;
}

void letters_linger(struct session *s)
{
	struct timespec end = session_deadline(LINGER_SECONDS);

	while (s->mail.open && anybody_owes(s) && !session_past(&end)) {
		struct timespec look = session_deadline(LINGER_LOOK_SECONDS);
		struct famez_event event;
		int got = session_next(s, &event, &look);

		if (got < 0)
			return;
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
}

int letters_send(struct session *s, const struct famez_to *to, const void *payload, size_t bytes,
	double patience)
{
	struct timespec end = session_deadline(patience);
	struct timespec tell = session_deadline(TOLD_SECONDS);
	bool told = false;

	for (;;) {
		int err = famez_send(s->f, to, payload, bytes, 0, 0);
		struct famez_event event;
		struct timespec retry;
		int got;

		if (!err)
			remember(s, to->peer, payload, bytes);
		if (err != -EAGAIN)
			return err;
		if (session_past(&end))
			return -ETIMEDOUT;
		if (!told && session_past(&tell)) {
			say_note("peer %s does not read: waiting for room, %g s at most",
				saymail_peer(s->f, to->peer), patience);
			told = true;
		}
		retry = session_deadline(RETRY_SECONDS);
		got = session_next(s, &event, &retry);
		if (got == -EINTR)
			return got;
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
}

void letters_answer(struct session *s, uint16_t to, const char *text)
{
	struct famez_to target = {.peer = to, .type = FAMEZ_MESSAGE_LINK};

	/* Who asks and does not read the answer, has none. */
	(void)famez_send(s->f, &target, text, strlen(text), 0, 0);
}

enum outcome letters_failed(struct session *s, uint16_t peer, int err, double patience)
{
	const char *name = saymail_peer(s->f, peer);

	switch (err) {
	case -ETIMEDOUT:
		say_error("timed out: peer %s reads nothing, its lane was full for %g s", name,
			patience);
		return OUTCOME_TIMED_OUT;
	case -EINTR:
		say_interrupted();
		break;
	case -ENOTCONN:
		say_error("there is no peer %u (`who` lists them)", peer);
		break;
	case -EOPNOTSUPP:
		say_error("peer %s takes no messages (`who` shows who does)", name);
		break;
	case -EMSGSIZE:
		say_error("too long for peer %s: %zu bytes are the most, 383 for one that has "
			  "but a slot",
			name, famez_payload_bytes_max(s->f));
		break;
	case -EINVAL:
		say_error("there can be no peer %u here", peer);
		break;
	default:
		say_error("peer %s: %s", name, strerror(-err));
	}
	return OUTCOME_FAILED;
}
