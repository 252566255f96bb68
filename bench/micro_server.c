/* SPDX-License-Identifier: MIT */
/*
 * micro_server.c - the broker's worker at work: what it tells its peers, what it answers them, and
 * what it passes on to groups.
 */
#include "micro.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "micro_rig.h"
#include "peer.h"

#define GROUP 5u
#define BYTES 100u

/* What the members of a group read between two batches: their lanes have 4 KiB. */
#define RELAYS 16u

struct server {
	struct rig *rig;
	uint32_t count, told;
	struct speaker *speakers;
	int pair[2]; /* of the peer that is told */
	struct peer *peer;
	unsigned char payload[BYTES];
};

static struct server *make(uint32_t room, uint32_t speakers)
{
	struct server *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->rig = rig_new(room);
	w->speakers = calloc(speakers + 1, sizeof(*w->speakers));
	if (!w->rig || !w->speakers) {
		free(w->speakers);
		free(w);
		return NULL;
	}
	w->count = speakers;
	w->pair[0] = w->pair[1] = -1;
	for (uint32_t i = 0; i < speakers; i++)
		rig_join(w->rig, &w->speakers[i], i + 1);
	return w;
}

static void close_server(void *world)
{
	struct server *w = world;

	micro_must(w->rig->worker.mail.counts.dropped == 0);
	rig_free(w->rig);
	if (w->pair[0] >= 0) {
		(void)close(w->pair[0]);
		(void)close(w->pair[1]);
	}
	free(w->speakers);
	free(w);
}

/* ---- its inbox ---------------------------------------------------------------------------- */

static void *open_askers(const struct micro_value *value, uint32_t *batch)
{
	struct server *w = make(512, (uint32_t)value->first);

	*batch = 64;
	return w;
}

/* All ask, in one turn all are answered, and hear it. */
static void ask(void *world, uint32_t times)
{
	struct server *w = world;

	for (uint32_t i = 0; i < times; i++) {
		for (uint32_t n = 0; n < w->count; n++)
			rig_say(&w->speakers[n], FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), "ping", 4);
		rig_turns(w->rig);
		for (uint32_t n = 0; n < w->count; n++)
			micro_must(rig_hear(&w->speakers[n]) == 1);
	}
}

static void *open_quiet(const struct micro_value *value, uint32_t *batch)
{
	struct server *w = make((uint32_t)value->first, 1);

	*batch = 256;
	return w;
}

/* Nobody wants anything; it looks, and says that it sleeps. */
static void idle(void *world, uint32_t times)
{
	struct server *w = world;

	for (uint32_t i = 0; i < times; i++) {
		micro_must(!mail_turn(&w->rig->worker));
		micro_must(mail_sleep(&w->rig->worker));
		mail_awake(&w->rig->worker);
	}
}

/* ---- groups ------------------------------------------------------------------------------- */

static void hear_all(void *world)
{
	struct server *w = world;

	for (uint32_t n = 1; n < w->count; n++) {
		(void)rig_hear(&w->speakers[n]);
		(void)famez_rx_idle(&w->speakers[n].rx);
	}
}

/* The first speaks, the others are members. */
static void *open_group(const struct micro_value *value, uint32_t *batch)
{
	uint32_t members = (uint32_t)value->first;
	struct server *w = make(members + 1, members + 1);

	if (!w)
		return NULL;
	for (uint32_t n = 1; n < w->count; n++)
		rig_say(&w->speakers[n], FAMEZ_KIND(FAMEZ_TYPE_GROUP_ENTER, GROUP), "", 0);
	rig_turns(w->rig);
	micro_must(w->rig->worker.mail.counts.memberships == members);
	*batch = RELAYS;
	return w;
}

static void relay(void *world, uint32_t times)
{
	struct server *w = world;
	uint64_t before = w->rig->worker.mail.counts.group_copies;

	for (uint32_t i = 0; i < times; i++) {
		rig_say(&w->speakers[0], FAMEZ_KIND(FAMEZ_TYPE_GROUP, GROUP), w->payload, BYTES);
		rig_turns(w->rig);
	}
	micro_must(w->rig->worker.mail.counts.group_copies - before ==
		   (uint64_t)times * (w->count - 1));
}

/* Every member sleeps, and is rung: the doorbells leave by the ring. */
static void relay_to_sleepers(void *world, uint32_t times)
{
	struct server *w = world;
	struct rig *r = w->rig;

	for (uint32_t i = 0; i < times; i++) {
		w->told++;
		for (uint32_t n = 1; n < w->count; n++)
			famez_store_relaxed(famez_asleep_at(r->mailbox.base, &r->mailbox.g,
						    w->speakers[n].id, r->server),
				w->told);
		relay(w, 1);
	}
	micro_must(bells_take(r->bell) >= times);
}

/* ---- notices ------------------------------------------------------------------------------ */

static void read_all(struct server *w)
{
	char word[8], control[CMSG_SPACE(sizeof(int))];
	struct iovec io = {word, sizeof(word)};
	struct msghdr m = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};

	while (recvmsg(w->pair[1], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == sizeof(word)) {
		const struct cmsghdr *part = CMSG_FIRSTHDR(&m);

		if (part && part->cmsg_type == SCM_RIGHTS) {
			int fd;

			memcpy(&fd, CMSG_DATA(part), sizeof(fd));
			(void)close(fd);
		}
		m.msg_controllen = sizeof(control);
	}
}

/* Sends what is due. Returns how many notices that was. */
static unsigned tell(struct server *w)
{
	uint64_t before = w->peer->sent;

	while (w->peer->place == PLACE_OPENING || w->peer->place == PLACE_READY) {
		w->rig->worker.sends_used = 0;
		(void)peer_tell(w->peer, WORKER_CHAIN);
	}
	return (unsigned)(w->peer->sent - before);
}

/* Who was announced has never been there, and the next may be. */
static void forget(void *world)
{
	struct server *w = world;
	struct worker *worker = &w->rig->worker;

	read_all(w);
	for (uint32_t id = 2; id < 2 + w->told; id++) {
		roster_append(&worker->roster, id, false);
		w->peer->client.held[id / VIEW_WORD_BITS] &= ~(1ul << (id % VIEW_WORD_BITS));
	}
	worker_move(worker, w->peer, PLACE_READY);
	micro_must(tell(w) == 0);
}

/* One client, a device: it is told of joins only. */
static void *open_told(const struct micro_value *value, uint32_t *batch)
{
	struct server *w = make(STATE_TELL_MAX + 1, 0);
	struct message m = {.kind = MESSAGE_ADOPT, .id = 1};
	struct worker *worker;

	*batch = 1;
	if (!w)
		return NULL;
	worker = &w->rig->worker;
	w->told = (uint32_t)value->first;
	micro_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->pair) == 0);
	m.sock = w->pair[0];
	w->rig->shared.message_bytes = peer_message_bytes();
	w->rig->state.members[1].device = false;
	w->rig->state.members[1].leaves = false;
	peer_adopt(worker, &m);
	w->peer = &w->rig->shared.peers[1];
	micro_must(tell(w) == 4 && message_queue_take(&worker->outbox, &m));
	read_all(w);
	return w;
}

/* So many join, and it is told of all of them by one call. */
static void announce(void *world, uint32_t times)
{
	struct server *w = world;
	struct worker *worker = &w->rig->worker;

	for (uint32_t i = 0; i < times; i++) {
		for (uint32_t id = 2; id < 2 + w->told; id++)
			roster_append(&worker->roster, id, true);
		worker_move(worker, w->peer, PLACE_READY);
		micro_must(tell(w) == w->told);
	}
}

const struct micro micro_server[] = {
	{.name = "server/announce",
		.first_name = "joins",
		.values = {{1, 0}, {8, 0}, {64, 0}},
		.claim = MICRO_LINEAR,
		.open = open_told,
		.run = announce,
		.reset = forget,
		.close = close_server,
		.guard = 32},
	{.name = "server/answer",
		.first_name = "askers",
		.values = {{1, 0}, {8, 0}, {64, 0}, {512, 0}},
		.claim = MICRO_LINEAR,
		.open = open_askers,
		.run = ask,
		.close = close_server,
		.guard = 64},
	{.name = "server/idle",
		.first_name = "peers",
		.values = {{64, 0}, {1024, 0}},
		.open = open_quiet,
		.run = idle,
		.close = close_server,
		.guard = 256},
	{.name = "server/group",
		.first_name = "members",
		.values = {{1, 0}, {8, 0}, {64, 0}, {512, 0}, {1000, 0}},
		.claim = MICRO_LINEAR,
		.open = open_group,
		.run = relay,
		.reset = hear_all,
		.close = close_server,
		.guard = RELAYS},
	{.name = "server/group_asleep",
		.first_name = "members",
		.values = {{1, 0}, {64, 0}, {1000, 0}},
		.claim = MICRO_LINEAR,
		.open = open_group,
		.run = relay_to_sleepers,
		.reset = hear_all,
		.close = close_server,
		.guard = RELAYS},
	{.name = NULL},
};
