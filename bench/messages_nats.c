/* SPDX-License-Identifier: MIT */
/*
 * messages_nats.c - NATS, where the build found its C client: through a nats-server that
 * whoever calls us started, at the URL that stands for the socket's path.
 *
 * Core NATS has no flow control: who reads too slowly is cut off by the server. So a sender
 * stays at most NATS_WINDOW_BYTES ahead of what the receiver has counted in memory that they
 * share. That costs NATS nothing, and without it there would be nothing to measure.
 */
#include "messages.h"

#ifdef HAVE_NATS
#include <nats/nats.h>
#include <sys/mman.h>
#include <unistd.h>

#define NATS_WINDOW_BYTES (4u << 20)
#define NATS_PATIENCE_MS  10000

/* Subjects; several fabrics of benches on one server don't hear each other. */
#define SUBJECT "famez-bench.%d.%u"

struct nats_area {
	struct {
		_Alignas(64) uint64_t taken; /* by peer 0, of this sender's */
	} senders[PEERS_MAX];
};

struct nats_end {
	struct nats_area *area;
	natsOptions *options;
	natsConnection *connection;
	natsSubscription *subscription;
	natsMsg *message;
	uint64_t ahead, window; /* messages put; so many more than taken, at most */
	uint64_t *taken;        /* a sender's; peer 0: NULL */
	char to[64];
};

static int nats_prepare(struct run *r)
{
	void *area;

	if (!r->socket)
		return -EDESTADDRREQ;
	area = mmap(NULL, sizeof(struct nats_area), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	r->area = area;
	return 0;
}

static void nats_check(natsStatus status)
{
	if (status != NATS_OK)
		die(natsStatus_GetText(status), EIO);
}

static void *nats_end_open(struct run *r, uint32_t who)
{
	struct nats_end *e = calloc(1, sizeof(*e));
	char mine[64];

	if (!e)
		die("memory", ENOMEM);
	e->area = r->area;
	e->taken = who ? &e->area->senders[who].taken : NULL;
	/* A round trip is never more than one ahead. */
	e->window = r->trips ? UINT64_MAX : NATS_WINDOW_BYTES / r->bytes / r->senders;
	(void)snprintf(mine, sizeof(mine), SUBJECT, (int)getppid(), who);
	(void)snprintf(e->to, sizeof(e->to), SUBJECT, (int)getppid(), who ? 0u : 1u);
	nats_check(natsOptions_Create(&e->options));
	nats_check(natsOptions_SetURL(e->options, r->socket));
	nats_check(natsOptions_SetAllowReconnect(e->options, false));
	/* Round trips: each goes out at once, not by the thread that flushes. */
	nats_check(natsOptions_SetSendAsap(e->options, r->trips));
	nats_check(natsConnection_Connect(&e->connection, e->options));
	nats_check(natsConnection_SubscribeSync(&e->subscription, e->connection, mine));
	nats_check(natsSubscription_SetPendingLimits(e->subscription, -1, -1));
	/* The server has it from here on: it answers in order. */
	nats_check(natsConnection_Flush(e->connection));
	return e;
}

static void nats_end_close(void *end)
{
	struct nats_end *e = end;

	nats_check(natsConnection_Flush(e->connection));
	natsSubscription_Destroy(e->subscription);
	natsConnection_Destroy(e->connection);
	natsOptions_Destroy(e->options);
	free(e);
}

ALWAYS_INLINE void nats_put(void *end, const void *payload, size_t bytes, bool more)
{
	struct nats_end *e = end;

	(void)more;
	while (e->taken && e->ahead - __atomic_load_n(e->taken, __ATOMIC_RELAXED) >= e->window)
		(void)sched_yield();
	e->ahead++;
	nats_check(natsConnection_Publish(e->connection, e->to, payload, (int)bytes));
}

ALWAYS_INLINE struct got nats_take(void *end)
{
	struct nats_end *e = end;

	nats_check(natsSubscription_NextMsg(&e->message, e->subscription, NATS_PATIENCE_MS));
	return (struct got){natsMsg_GetData(e->message), (size_t)natsMsg_GetDataLength(e->message)};
}

ALWAYS_INLINE void nats_done(void *end)
{
	struct nats_end *e = end;

	if (!e->taken) {
		struct got g = {natsMsg_GetData(e->message), 0};
		uint64_t who = (payload_word(&g) & ~LAST_MESSAGE) >> SENDER_SHIFT;
		/* Who asks for a round trip has no number, and no window to fill. */
		uint64_t *taken = &e->area->senders[who].taken;

		__atomic_store_n(taken, *taken + 1, __ATOMIC_RELAXED);
	}
	natsMsg_Destroy(e->message);
}

SYSTEM(nats, "nats", nats_prepare, nats_end_open, nats_end_close);
#endif

const struct system *const messages_nats[] = {
#ifdef HAVE_NATS
	&nats,
#endif
	NULL,
};
