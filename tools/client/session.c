/* SPDX-License-Identifier: MIT */
/*
 * session.c - the client's membership, and what it knows of the fabric.
 *
 * Owns the libfamez handle and the rings that nobody was shown yet; messages are
 * letters.c's. All waiting
 * for the fabric happens here, so that Ctrl-C ends any of it: SIGINT is blocked
 * elsewhere while a prompt is up.
 */
#include "session.h"

#include "say.h"
#include "saymail.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The protocol has no message for "that was everybody". See settle(). */
#define QUIET_SECONDS     0.1
#define NO_VECTOR_SECONDS 1.0
#define SETTLE_SECONDS    30.0

/* Events in a row until we look at clock, keys and Ctrl-C again. */
#define STREAK 1000

struct timespec session_deadline(double seconds)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)seconds;
	at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at;
}

/* What is left until the deadline, never below zero. */
static struct timespec remaining(const struct timespec *deadline)
{
	struct timespec now;
	struct timespec left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (struct timespec){deadline->tv_sec - now.tv_sec, deadline->tv_nsec - now.tv_nsec};
	if (left.tv_nsec < 0) {
		left.tv_sec--;
		left.tv_nsec += 1000000000L;
	}
	if (left.tv_sec < 0)
		left = (struct timespec){0};
	return left;
}

/* The server's end, whichever way it came. */
static void lose(struct session *s, int err)
{
	s->gone = true;
	if (err == -EPROTO)
		say_error("the server sent what no ivshmem server sends: connection closed");
	else if (err < 0)
		say_error("connection closed: %s", strerror(-err));
}

/* Of those who take no messages, joins and leaves have told all. */
static bool comes_or_goes(struct session *s, const struct famez_event *event)
{
	uint32_t was = s->up[event->peer];
	uint32_t is = event->kind == FAMEZ_EVENT_UP ? letters_generation(s, event->peer) : 0;

	s->up[event->peer] = is;
	return was != is;
}

void session_meet(struct session *s)
{
	for (int id = famez_who_after(s->f, -1); id >= 0; id = famez_who_after(s->f, id))
		s->up[id] = letters_generation(s, (uint16_t)id);
}

/* One event without waiting; the connection's errors are said and become LOST.
 * -EAGAIN: something has come, but nothing to tell. */
static int take(struct session *s, struct famez_event *event)
{
	int got;

	while ((got = famez_next(s->f, event)) == -EMFILE) {
		if (!s->told_lost_descriptor)
			say_error("too many open files: some peers' vectors can't be rung "
				  "(raise `ulimit -n`)");
		s->told_lost_descriptor = true;
	}
	if (got < 0) {
		/* After an error the connection is closed, and only doorbells follow. */
		if (s->gone)
			return 0;
		lose(s, got);
		*event = (struct famez_event){.kind = FAMEZ_EVENT_LOST};
		return 1;
	}
	if (!got)
		return 0;
	switch (event->kind) {
	case FAMEZ_EVENT_LOST:
		lose(s, 0);
		break;
	case FAMEZ_EVENT_DOORBELL:
		s->pending[event->vector] += event->count;
		break;
	case FAMEZ_EVENT_MESSAGE:
		return letters_take(s) ? 1 : -EAGAIN;
	case FAMEZ_EVENT_LEFT:
		letters_gone(s, event->peer);
		break;
	case FAMEZ_EVENT_UP:
	case FAMEZ_EVENT_DOWN:
		letters_gone(s, event->peer);
		return comes_or_goes(s, event) ? 1 : -EAGAIN;
	case FAMEZ_EVENT_JOINED:
	case FAMEZ_EVENT_VECTOR:
	case FAMEZ_EVENT_ROOM:
	case FAMEZ_EVENT_GARBLED:
		break;
	}
	return 1;
}

bool session_interrupted(struct session *s)
{
	const struct timespec none = {0};

	return ppoll(NULL, 0, &none, &s->waiting_mask) < 0 && errno == EINTR;
}

bool session_past(const struct timespec *deadline)
{
	struct timespec left = remaining(deadline);

	return !left.tv_sec && !left.tv_nsec;
}

/* Somebody may keep us busy: so now and then we look up all the same. */
static int look_up(struct session *s, const struct timespec *deadline)
{
	s->overtime = 0;
	if (session_interrupted(s))
		return -EINTR;
	return deadline && session_past(deadline) ? 0 : 1;
}

int session_next(struct session *s, struct famez_event *event, const struct timespec *deadline)
{
	struct pollfd ready = {.fd = famez_fd(s->f), .events = POLLIN};

	for (;;) {
		struct timespec left;
		int got = ++s->overtime < STREAK ? 1 : look_up(s, deadline);

		if (got <= 0)
			return got;
		got = take(s, event);
		if (got > 0)
			return 1;
		if (got == -EAGAIN)
			continue;
		s->overtime = 0;
		if (deadline)
			left = remaining(deadline);
		got = ppoll(&ready, 1, deadline ? &left : NULL, &s->waiting_mask);
		if (got < 0 && errno == EINTR)
			return -EINTR;
		if (got == 0)
			return take(s, event) > 0;
	}
}

void session_show(struct session *s, const struct famez_event *event)
{
	switch (event->kind) {
	case FAMEZ_EVENT_VECTOR:
		if (event->vector == 0 && event->peer != famez_id(s->f))
			say_event_join(event->peer);
		break;
	case FAMEZ_EVENT_LEFT:
		say_event_leave(event->peer);
		break;
	case FAMEZ_EVENT_DOORBELL:
		say_event_doorbell(event->vector, event->count);
		break;
	case FAMEZ_EVENT_LOST:
		say_event_lost();
		s->told_gone = true;
		break;
	case FAMEZ_EVENT_MESSAGE:
		(void)letters_show(s, ULLONG_MAX);
		break;
	case FAMEZ_EVENT_UP:
		if (event->peer != famez_id(s->f))
			saymail_up(s->f, event->peer);
		break;
	case FAMEZ_EVENT_DOWN:
		saymail_down(event->peer);
		break;
	case FAMEZ_EVENT_GARBLED:
		saymail_garbled(event->peer);
		break;
	case FAMEZ_EVENT_JOINED:
	case FAMEZ_EVENT_ROOM:
		break;
	}
}

void session_pump(struct session *s)
{
	struct famez_event event;

	s->more = false;
	for (unsigned count = 0; s->f; count++) {
		int got = take(s, &event);

		if (got == 0)
			return;
		s->more = count == STREAK;
		if (s->more && got < 0)
			return;
		if (got < 0)
			continue;
		if (s->loud)
			session_show(s, &event);
		if (s->at_prompt && event.kind == FAMEZ_EVENT_DOORBELL)
			s->pending[event.vector] = 0;
		if (s->gone && s->retry) {
			session_leave(s);
			(void)session_join(s); /* tries for ever, or was interrupted */
		}
		if (s->more)
			return;
	}
}

int session_poll(struct session *s, int fd, bool *fd_ready)
{
	struct pollfd ready[] = {
		{.fd = fd, .events = POLLIN}, {.fd = famez_fd(s->f), .events = POLLIN}};
	const struct timespec none = {0};

	if (ppoll(ready, 2, s->more ? &none : NULL, &s->waiting_mask) < 0)
		return -errno;
	*fd_ready = ready[0].revents != 0;
	return 0;
}

/* Have we all vectors that we are going to have? Every server gives all peers
 * the same number, and us ours last; alone, we can't tell. */
static bool complete(const struct session *s)
{
	unsigned own = famez_vectors(s->f, (uint16_t)famez_id(s->f));
	unsigned most = 0;

	for (int id = famez_peer_after(s->f, -1); id >= 0; id = famez_peer_after(s->f, id))
		if (id != famez_id(s->f) && famez_vectors(s->f, (uint16_t)id) > most)
			most = famez_vectors(s->f, (uint16_t)id);
	return own > 0 && most > 0 && own >= most;
}

/* Learn who is there: our own vectors come last. Where it can't be known that
 * this was the last one, a moment of silence has to do. */
static int settle(struct session *s)
{
	struct timespec end = session_deadline(SETTLE_SECONDS);
	struct famez_event event;

	for (;;) {
		bool own = famez_vectors(s->f, (uint16_t)famez_id(s->f)) > 0;
		struct timespec quiet = session_deadline(own ? QUIET_SECONDS : NO_VECTOR_SECONDS);
		struct timespec left = remaining(&end);
		int got;

		if (!left.tv_sec && !left.tv_nsec)
			return 0;
		got = session_next(s, &event, &quiet);
		if (got <= 0)
			return got;
		if (s->gone) {
			session_show(s, &event);
			return 0;
		}
		/* Only an own vector can be the last. */
		if (event.kind == FAMEZ_EVENT_VECTOR && event.peer == famez_id(s->f) && complete(s))
			return 0;
	}
}

static void explain(const struct session *s, int err)
{
	struct stat st;

	switch (err) {
	case -ENOENT:
		say_error("can't join: there is no %s (is famez-server running?)", s->socket);
		break;
	case -ECONNREFUSED:
		if (stat(s->socket, &st) == 0 && !S_ISSOCK(st.st_mode))
			say_error("can't join: %s is no socket", s->socket);
		else
			say_error("can't join: nobody serves %s any more", s->socket);
		break;
	case -EACCES:
		if (access(s->socket, W_OK) < 0)
			say_error("can't join: no permission to use %s", s->socket);
		else
			say_error("can't join: the server at %s refused us (full?)", s->socket);
		break;
	case -ECONNRESET:
		say_error("can't join: the server at %s hung up on us", s->socket);
		break;
	case -ETIMEDOUT:
		say_error("can't join: the server at %s did not answer within %g s", s->socket,
			s->join_timeout_ms / 1000.0);
		break;
	case -EPROTO:
		say_error("can't join: what answers at %s is no ivshmem server", s->socket);
		break;
	default:
		say_error("can't join at %s: %s", s->socket, strerror(-err));
	}
}

enum outcome session_join(struct session *s)
{
	struct famez_join how = {.socket = s->socket, .timeout_ms = s->join_timeout_ms};
	int told = 0;
	int err;

	while ((err = famez_join(&s->f, &how))) {
		struct timespec second = {.tv_sec = 1};

		if (err != told)
			explain(s, err);
		if (!s->retry)
			return OUTCOME_NOT_JOINED;
		if (!told)
			say_note("trying again every second");
		told = err;
		if (ppoll(NULL, 0, &second, &s->waiting_mask) < 0)
			return OUTCOME_NOT_JOINED; /* Ctrl-C */
	}
	s->gone = false;
	s->told_gone = false;
	memset(s->pending, 0, sizeof(s->pending));
	memset(s->up, 0, sizeof(s->up));
	(void)settle(s); /* interrupted, we know less of the others, no more */
	if (s->mail_wanted)
		letters_want(s);
	return OUTCOME_OK;
}

void session_leave(struct session *s)
{
	letters_close(s);
	famez_leave(s->f);
	s->f = NULL;
}
