/* SPDX-License-Identifier: MIT */
/*
 * messages_peer.c - libfamez as a system: peers that joined a server and speak by it alone.
 *
 * "famez" reads in place, as many at a time as there are (famez_peek_batch(), and famez_await()
 * where there is nothing); "famez:peek" one by one (famez_peek()); "famez:recv" has all done by
 * famez_recv(), which copies; "famez:sleep" is that without polling; "famez:server" asks the server
 * itself, by "ping", instead of another peer.
 */
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#include "famez/peer.h"
#include "messages.h"

#define PATIENCE_MS 10000
#define BATCH       16

/* By `who`: the ID, or 0 until it has one. */
struct peer_area {
	uint32_t ids[PEERS_MAX];
};

struct peer_end {
	struct famez *f;
	struct famez_to to;
	struct famez_message batch[BATCH];
	int batched, at; /* how many of them there are, and which is next */
	unsigned char into[PAYLOAD_BYTES_MAX];
};

static int peer_prepare(struct run *r)
{
	r->area = mmap(NULL, sizeof(struct peer_area), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return r->area == MAP_FAILED ? -errno : r->socket ? 0 : -EDESTADDRREQ;
}

/* Whatever came, until nothing does. */
static void peer_events(struct famez *f)
{
	struct famez_event event;
	int got;

	while ((got = famez_next(f, &event)) != 0) {
		if (got < 0)
			die("libfamez", got);
		if (event.kind == FAMEZ_EVENT_MESSAGE)
			return;
	}
}

static void peer_meet(struct peer_end *e, uint32_t id)
{
	struct famez_who who;

	for (int tries = 0; tries < PATIENCE_MS; tries++) {
		struct pollfd fd = {.fd = famez_fd(e->f), .events = POLLIN};

		peer_events(e->f);
		if (famez_vectors(e->f, (uint16_t)id) && !famez_who(e->f, (uint16_t)id, &who) &&
			who.lanes)
			return;
		(void)poll(&fd, 1, 1);
	}
	die("the other peer", ETIMEDOUT);
}

/* The likely mistake in a guest: fewer devices than peers. */
__attribute__((noreturn)) static void cannot_join(const char *path, int err)
{
	char what[256];

	(void)snprintf(what, sizeof(what), "joining %s%s", path,
		err == -EBUSY ? ", which is one peer's at a time; give each its own, -S "
				"/dev/famez0 -S /dev/famez1"
			      : "");
	die(what, err);
}

static struct peer_end *peer_join(struct run *r, uint32_t who, int spin_us)
{
	struct peer_area *area = r->area;
	const char *path = r->sockets[who % r->socket_count];
	const struct famez_join how = {.socket = path, .timeout_ms = PATIENCE_MS};
	struct famez_mailbox mailbox = {.name = "bench", .spin_us = spin_us};
	struct peer_end *e = calloc(1, sizeof(*e));
	uint32_t others = who ? 1 : r->senders;
	int err;

	if (!e)
		die("memory", ENOMEM);
	err = famez_join(&e->f, &how);
	if (!err)
		err = famez_mailbox_open(e->f, &mailbox);
	if (err)
		cannot_join(path, err);
	__atomic_store_n(&area->ids[who], (uint32_t)famez_id(e->f), __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < others; i++) {
		uint32_t other = who ? 0 : i + 1, id = 0;

		for (int tries = 0; !id && tries < PATIENCE_MS; tries++) {
			id = __atomic_load_n(&area->ids[other], __ATOMIC_SEQ_CST);
			if (!id)
				(void)poll(NULL, 0, 1);
		}
		if (!id)
			die("the other peer", ETIMEDOUT);
		peer_meet(e, id);
		if (!i)
			e->to.peer = (uint16_t)id;
	}
	return e;
}

static void *peer_open(struct run *r, uint32_t who)
{
	return peer_join(r, who, 0);
}

static void *peer_open_sleepy(struct run *r, uint32_t who)
{
	return peer_join(r, who, -1);
}

static void peer_close(void *end)
{
	struct peer_end *e = end;

	famez_leave(e->f);
	free(e);
}

ALWAYS_INLINE void peer_put(void *end, const void *payload, size_t bytes, bool more)
{
	struct peer_end *e = end;
	int err = famez_send(e->f, &e->to, payload, bytes, more ? FAMEZ_MORE : 0, -1);

	if (__builtin_expect(err, 0))
		die("sending", err);
}

ALWAYS_INLINE struct got peek_take(void *end)
{
	struct peer_end *e = end;
	struct famez_message m;
	int got = famez_peek(e->f, &m);

	while (__builtin_expect(got <= 0, 0)) {
		if (got < 0)
			die("receiving", got);
		got = famez_await(e->f, &m, -1);
	}
	return (struct got){m.payload, m.bytes};
}

ALWAYS_INLINE void peek_done(void *end)
{
	famez_release(((struct peer_end *)end)->f);
}

ALWAYS_INLINE struct got peer_take(void *end)
{
	struct peer_end *e = end;

	while (__builtin_expect(e->at == e->batched, 0)) {
		e->at = 0;
		e->batched = famez_peek_batch(e->f, e->batch, BATCH);
		if (!e->batched)
			e->batched = famez_await(e->f, e->batch, -1);
		if (e->batched < 0)
			die("receiving", e->batched);
	}
	return (struct got){e->batch[e->at].payload, e->batch[e->at].bytes};
}

ALWAYS_INLINE void peer_done(void *end)
{
	struct peer_end *e = end;

	if (++e->at == e->batched)
		famez_release(e->f);
}

ALWAYS_INLINE struct got recv_take(void *end)
{
	struct peer_end *e = end;
	struct famez_message m;
	int got;

	do {
		got = famez_recv(e->f, &m, e->into, sizeof(e->into), -1);
		if (got < 0)
			die("receiving", got);
	} while (!got);
	return (struct got){m.payload, m.bytes};
}

ALWAYS_INLINE void recv_done(void *end)
{
	(void)end;
}

#define peek_put  peer_put
#define recv_put  peer_put
#define sleep_put peer_put
ALWAYS_INLINE struct got sleep_take(void *end)
{
	return recv_take(end);
}
#define sleep_done recv_done

SYSTEM(peer, "famez", peer_prepare, peer_open, peer_close);
SYSTEM(peek, "famez:peek", peer_prepare, peer_open, peer_close);
SYSTEM(recv, "famez:recv", peer_prepare, peer_open, peer_close);
SYSTEM(sleep, "famez:sleep", peer_prepare, peer_open_sleepy, peer_close);

static uint64_t server_ask(struct run *r, void *end)
{
	struct peer_end *e = end;
	int server = famez_server_id(e->f);
	const struct famez_to to = {.peer = (uint16_t)server, .type = FAMEZ_MESSAGE_LINK};
	uint64_t number = 0, before = clock_wall_ns(), now;
	struct famez_message m;

	if (server < 0)
		die("the server", server);
	for (; !__atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED); number++) {
		int err = famez_send(e->f, &to, "ping", 4, 0, -1);

		if (!err && famez_recv(e->f, &m, e->into, sizeof(e->into), PATIENCE_MS) != 1)
			err = -ETIMEDOUT;
		if (err || m.from != server)
			die("asking the server", err ? err : -EBADMSG);
		now = clock_wall_ns();
		latency_note(r->stage, now - before);
		before = now;
	}
	return number;
}

static uint64_t server_answer(struct run *r, void *end)
{
	(void)r;
	(void)end; /* the server does */
	return 0;
}

static const struct system server = {
	.name = "famez:server",
	.prepare = peer_prepare,
	.open = peer_open_sleepy,
	.ask = server_ask,
	.answer = server_answer,
	.close = peer_close,
};

const struct system *const messages_peer[] = {&peer, &peek, &recv, &sleep, &server, NULL};
