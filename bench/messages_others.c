/* SPDX-License-Identifier: MIT */
/*
 * messages_others.c - what else there is on this machine: UNIX sockets, ZeroMQ and nng, where
 * the build found them. Between processes, over ipc://; the receiver binds.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "messages.h"

/* The path of the socket of this run, in r->socket, a folder. */
static void path_in(const struct run *r, const char *before, char *path, size_t size)
{
	int n = snprintf(path, size, "%s%s/messages.%d", before, r->socket, (int)getppid());

	if (n < 0 || (size_t)n >= size)
		die("a socket's path", ENAMETOOLONG);
}

static int needs_folder(struct run *r)
{
	return r->socket ? 0 : -EDESTADDRREQ;
}

/* ---- pairs of UNIX stream sockets, messages with their length in front --------------------- */

static int stream_prepare(struct run *r)
{
	static int socks[SENDERS_MAX][2];

	for (uint32_t i = 0; i < r->senders; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks[i]))
			return -errno;
	r->area = socks;
	return 0;
}

struct stream {
	size_t have, used; /* bytes in `buffer`, read and taken */
	unsigned char buffer[2 * (sizeof(uint64_t) + PAYLOAD_BYTES_MAX)];
};

struct stream_end {
	struct pollfd socks[SENDERS_MAX]; /* only the receiver has several */
	uint32_t count, reading;
	struct got got;
	uint64_t out[1 + PAYLOAD_BYTES_MAX / 8];
	struct stream *streams;
};

static void *stream_open(struct run *r, uint32_t who)
{
	int(*socks)[2] = r->area;
	struct stream_end *e = calloc(1, sizeof(*e));

	if (!e)
		die("memory", ENOMEM);
	e->count = who ? 1 : r->senders;
	e->streams = calloc(e->count, sizeof(*e->streams));
	if (!e->streams)
		die("memory", ENOMEM);
	for (uint32_t i = 0; i < e->count; i++)
		e->socks[i] = (struct pollfd){
			.fd = who ? socks[who - 1][1] : socks[i][0], .events = POLLIN};
	return e;
}

static void stream_close(void *end)
{
	free(((struct stream_end *)end)->streams);
	free(end);
}

ALWAYS_INLINE void local_put(void *end, const void *payload, size_t bytes, bool more)
{
	struct stream_end *e = end;
	size_t left = sizeof(uint64_t) + bytes;
	const unsigned char *at = (const unsigned char *)e->out;

	(void)more;
	e->out[0] = bytes;
	memcpy(e->out + 1, payload, bytes);
	while (left) {
		ssize_t n = write(e->socks[0].fd, at, left);

		if (n < 0)
			die("a socket", errno);
		at += n;
		left -= (size_t)n;
	}
}

/* A whole message of the stream that is being read? */
static bool stream_has(const struct stream *s, uint64_t *bytes)
{
	if (s->have - s->used < sizeof(*bytes))
		return false;
	memcpy(bytes, s->buffer + s->used, sizeof(*bytes));
	return s->have - s->used - sizeof(*bytes) >= *bytes;
}

/* The next stream that has something; who has said its last word is not asked again. */
static void stream_turn(struct stream_end *e)
{
	if (e->count == 1)
		return;
	for (;;) {
		for (uint32_t i = 0; i < e->count; i++) {
			e->reading = e->reading + 1 < e->count ? e->reading + 1 : 0;
			if (e->socks[e->reading].revents) {
				e->socks[e->reading].revents = 0;
				return;
			}
		}
		if (poll(e->socks, e->count, -1) < 0)
			die("poll", errno);
	}
}

ALWAYS_INLINE struct got local_take(void *end)
{
	struct stream_end *e = end;
	struct stream *s = &e->streams[e->reading];
	uint64_t bytes;

	while (!stream_has(s, &bytes)) {
		ssize_t n;

		stream_turn(e);
		s = &e->streams[e->reading];
		if (s->used) {
			memmove(s->buffer, s->buffer + s->used, s->have - s->used);
			s->have -= s->used;
			s->used = 0;
		}
		n = read(e->socks[e->reading].fd, s->buffer + s->have, sizeof(s->buffer) - s->have);
		if (n < 0 || (n == 0 && e->count == 1))
			die("a socket", n < 0 ? errno : EPIPE);
		if (n == 0)
			e->socks[e->reading].fd = -1;
		s->have += (size_t)n;
	}
	e->got = (struct got){s->buffer + s->used + sizeof(bytes), bytes};
	return e->got;
}

ALWAYS_INLINE void local_done(void *end)
{
	struct stream_end *e = end;

	e->streams[e->reading].used += sizeof(uint64_t) + e->got.bytes;
}

SYSTEM(local, "unix", stream_prepare, stream_open, stream_close);

/* ---- ZeroMQ -------------------------------------------------------------------------------- */

#ifdef HAVE_ZMQ
#include <zmq.h>

struct zmq_end {
	void *context, *socket;
	zmq_msg_t message;
};

static void *zmq_open(struct run *r, uint32_t who)
{
	const int soon_ms = 1;
	struct zmq_end *e = calloc(1, sizeof(*e));
	char path[108];

	if (!e)
		die("memory", ENOMEM);
	path_in(r, "ipc://", path, sizeof(path));
	e->context = zmq_ctx_new();
	/* With several senders there is no way back. */
	if (r->senders > 1)
		e->socket = zmq_socket(e->context, who ? ZMQ_PUSH : ZMQ_PULL);
	else
		e->socket = zmq_socket(e->context, ZMQ_PAIR);
	/* Who connects before the other has bound would otherwise try again after 100 ms. */
	(void)zmq_setsockopt(e->socket, ZMQ_RECONNECT_IVL, &soon_ms, sizeof(soon_ms));
	if (who ? zmq_connect(e->socket, path) : zmq_bind(e->socket, path))
		die("ZeroMQ", zmq_errno());
	return e;
}

static void zmq_end_close(void *end)
{
	struct zmq_end *e = end;

	(void)zmq_close(e->socket);
	(void)zmq_ctx_term(e->context); /* waits until all is sent */
	free(e);
}

ALWAYS_INLINE void zeromq_put(void *end, const void *payload, size_t bytes, bool more)
{
	(void)more;
	if (zmq_send(((struct zmq_end *)end)->socket, payload, bytes, 0) < 0)
		die("ZeroMQ", zmq_errno());
}

ALWAYS_INLINE struct got zeromq_take(void *end)
{
	struct zmq_end *e = end;

	(void)zmq_msg_init(&e->message);
	if (zmq_msg_recv(&e->message, e->socket, 0) < 0)
		die("ZeroMQ", zmq_errno());
	return (struct got){zmq_msg_data(&e->message), zmq_msg_size(&e->message)};
}

ALWAYS_INLINE void zeromq_done(void *end)
{
	(void)zmq_msg_close(&((struct zmq_end *)end)->message);
}

SYSTEM(zeromq, "zeromq", needs_folder, zmq_open, zmq_end_close);
#endif

/* ---- nng ------------------------------------------------------------------------------------ */

#ifdef HAVE_NNG
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

struct nng_end {
	nng_socket socket;
	nng_msg *message;
	unsigned char last[PAYLOAD_BYTES_MAX];
};

static void *nng_open(struct run *r, uint32_t who)
{
	struct nng_end *e = calloc(1, sizeof(*e));
	char path[108];
	int err;

	if (!e)
		die("memory", ENOMEM);
	path_in(r, "ipc://", path, sizeof(path));
	/* With several senders there is no way back. */
	if (r->senders > 1)
		err = who ? nng_push0_open(&e->socket) : nng_pull0_open(&e->socket);
	else
		err = nng_pair0_open(&e->socket);
	if (!err)
		(void)nng_socket_set_size(e->socket, NNG_OPT_RECVMAXSZ, 0);
	if (!err && !who)
		err = nng_listen(e->socket, path, NULL, 0);
	/* It would try again, but at leisure. */
	for (int tries = 0; !err && who && tries < 5000; tries++) {
		const struct timespec pause = {.tv_nsec = 1000000};

		err = nng_dial(e->socket, path, NULL, 0);
		if (err != NNG_ECONNREFUSED && err != NNG_ENOENT)
			break;
		(void)nanosleep(&pause, NULL);
		err = 0;
	}
	if (err) {
		(void)fprintf(stderr, "nng: %s\n", nng_strerror(err));
		die("nng", EIO);
	}
	return e;
}

static void nng_end_close(void *end)
{
	const struct timespec pause = {.tv_nsec = 200000000};

	(void)nanosleep(&pause, NULL); /* it does not wait for what is on its way */
	(void)nng_close(((struct nng_end *)end)->socket);
	free(end);
}

ALWAYS_INLINE void nanomsg_put(void *end, const void *payload, size_t bytes, bool more)
{
	struct nng_end *e = end;
	int err;

	(void)more;
	memcpy(e->last, payload, bytes); /* it takes no pointer to const */
	err = nng_send(e->socket, e->last, bytes, 0);
	if (err)
		die(nng_strerror(err), EIO);
}

ALWAYS_INLINE struct got nanomsg_take(void *end)
{
	struct nng_end *e = end;
	int err = nng_recvmsg(e->socket, &e->message, 0);

	if (err)
		die(nng_strerror(err), EIO);
	return (struct got){nng_msg_body(e->message), nng_msg_len(e->message)};
}

ALWAYS_INLINE void nanomsg_done(void *end)
{
	nng_msg_free(((struct nng_end *)end)->message);
}

SYSTEM(nanomsg, "nng", needs_folder, nng_open, nng_end_close);
#endif

const struct system *const messages_others[] = {
	&local,
#ifdef HAVE_ZMQ
	&zeromq,
#endif
#ifdef HAVE_NNG
	&nanomsg,
#endif
	NULL,
};
