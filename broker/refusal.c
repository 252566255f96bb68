/* SPDX-License-Identifier: MIT */
/*
 * refusal.c - who is not let in: version -1, and then the close.
 *
 * Decides nothing; whom to refuse is the registrar's and the worker's.
 */
#include "refusal.h"

#include <endian.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "famez/wire.h"
#include "sandbox_calls.h"

SANDBOX_BROKER(
	CALL(close), CALL(sendto), CALL(setsockopt, {1, SANDBOX_ALL, SOL_SOCKET}), CALL(shutdown));

void refusals_init(struct refusals *r, struct io_uring *ring)
{
	memset(r, 0, sizeof(*r));
	r->ring = ring;
}

void refusals_destroy(struct refusals *r)
{
	for (unsigned i = 0; i < REFUSALS_MAX; i++)
		if (r->kept[i].used)
			(void)close(r->kept[i].sock);
}

/* A priority that means nothing to a UNIX socket, and that nobody else sets; socket(7). */
#define TAG 6

void refusal_tag(int sock)
{
	(void)setsockopt(sock, SOL_SOCKET, SO_PRIORITY, &(int){TAG}, sizeof(int));
}

bool refusal_tagged(int sock)
{
	socklen_t bytes = sizeof(int);
	int priority = 0;

	return getsockopt(sock, SOL_SOCKET, SO_PRIORITY, &priority, &bytes) == 0 && priority == TAG;
}

void refusal_send(int sock)
{
	int64_t word = (int64_t)htole64((uint64_t)FAMEZ_WIRE_REFUSED);

	refusal_tag(sock);
	/* A client that is gone need not know. */
	(void)send(sock, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void refusal_send_and_close(int sock)
{
	refusal_send(sock);
	(void)close(sock);
}

static void on_received(struct op *op, int res, uint32_t flags)
{
	struct refusal *kept = container_of(op, struct refusal, receive);

	/* It closed, spoke, or was the oldest: in any case it is over. */
	(void)res;
	(void)flags;
	(void)close(kept->sock);
	kept->used = false;
}

static struct refusal *free_place(struct refusals *r)
{
	for (unsigned i = 0; i < REFUSALS_MAX; i++)
		if (!r->kept[i].used)
			return &r->kept[i];
	return NULL;
}

static void shut_oldest(struct refusals *r)
{
	struct refusal *oldest = &r->kept[0];

	for (unsigned i = 1; i < REFUSALS_MAX; i++)
		if (r->kept[i].nth < oldest->nth)
			oldest = &r->kept[i];
	/* One at a time: its place is free when its receive has come back. */
	if (oldest->shut)
		return;
	oldest->shut = true;
	(void)shutdown(oldest->sock, SHUT_RDWR);
}

void refusals_add(struct refusals *r, int sock, bool device)
{
	struct refusal *kept = device ? free_place(r) : NULL;
	struct io_uring_sqe *sqe;

	if (device && !kept)
		shut_oldest(r); /* which makes room for the one after this */
	if (!kept) {
		refusal_send_and_close(sock);
		return;
	}
	refusal_send(sock);
	(void)shutdown(sock, SHUT_WR);
	kept->used = true;
	kept->shut = false;
	kept->nth = r->count++;
	kept->sock = sock;
	sqe = ring_sqe(r->ring);
	io_uring_prep_recv(sqe, sock, kept->received, sizeof(kept->received), 0);
	op_arm(&kept->receive, sqe, on_received);
}
