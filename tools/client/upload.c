/* SPDX-License-Identifier: MIT */
/*
 * upload.c - send a file, in the pieces that transfer.c describes.
 *
 * Holds one piece of the file at a time. The receiver may refuse at any time,
 * so between two pieces we listen.
 */
#include "upload.h"

#include "link.h"
#include "say.h"
#include "saymail.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Larger pieces are no faster. */
#define PIECE_MAX (1u << 20)

#define PROGRESS_SECONDS 2.0

struct upload {
	uint16_t peer;
	uint64_t number;
	bool answered;
	bool stored;
	char reason[TRANSFER_REASON_MAX + 1];
	double patience;
	char *piece;
	size_t piece_bytes;
	const char *name; /* for people */
};

static bool hear(struct session *s, void *who, const struct letter *l)
{
	struct upload *u = who;
	struct transfer t;

	(void)s;
	if (l->from != u->peer || !link_begins(l, "famez-file ") ||
		!transfer_read(&t, l->text, l->bytes) || t.number != u->number ||
		(t.kind != TRANSFER_STORED && t.kind != TRANSFER_REFUSED))
		return false;
	u->answered = true;
	u->stored = t.kind == TRANSFER_STORED;
	memcpy(u->reason, t.reason, sizeof(u->reason));
	return true;
}

/* One message: the line, and what stands behind it in the piece. */
static int put(struct session *s, struct upload *u, const struct transfer *t, size_t data)
{
	struct famez_to to = {.peer = u->peer, .type = FAMEZ_MESSAGE_DATA};
	char line[TRANSFER_LINE_MAX];
	size_t length = transfer_write(line, t);

	/* The data stand behind the longest line: so ours ends where they begin. */
	memcpy(u->piece + TRANSFER_LINE_MAX - length, line, length);
	return letters_send(
		s, &to, u->piece + TRANSFER_LINE_MAX - length, length + data, u->patience);
}

static ssize_t read_piece(int fd, char *into, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t more = read(fd, into + got, size - got);

		if (more < 0 && errno == EINTR)
			continue;
		if (more < 0)
			return -errno;
		if (more == 0)
			break;
		got += (size_t)more;
	}
	return (ssize_t)got;
}

/* All pieces. Returns 0, a failure of letters_send(), or -EIO after saying why. */
static int put_all(struct session *s, struct upload *u, int fd, uint64_t bytes)
{
	struct transfer t = {.kind = TRANSFER_BEGIN, .number = u->number, .bytes = bytes};
	struct timespec tell = session_deadline(PROGRESS_SECONDS);
	uint32_t crc = 0;
	int err;

	transfer_name(t.name, u->name);
	err = put(s, u, &t, 0);
	t.kind = TRANSFER_PART;
	while (!err && !u->answered && t.offset < bytes) {
		char *data = u->piece + TRANSFER_LINE_MAX;
		uint64_t left = bytes - t.offset;
		ssize_t got = read_piece(fd, data, left < u->piece_bytes ? left : u->piece_bytes);

		if (got <= 0) {
			say_error("%s: %s", u->name, got ? strerror((int)-got) : "it has shrunk");
			err = -EIO;
			break;
		}
		crc = transfer_crc(crc, data, (size_t)got);
		err = put(s, u, &t, (size_t)got);
		t.offset += (uint64_t)got;
		session_pump(s);
		if (!s->f || s->mail.hear != hear)
			return -ENOTCONN; /* cut off, and joined again perhaps */
		if (!err && session_interrupted(s))
			err = -EINTR;
		if (!err && session_past(&tell)) {
			say_note("%s: %" PRIu64 " of %" PRIu64 " MiB", u->name, t.offset >> 20,
				bytes >> 20);
			tell = session_deadline(PROGRESS_SECONDS);
		}
	}
	t.kind = TRANSFER_END;
	t.crc = crc;
	/* After a failure too, so that the receiver knows that no more will come. */
	if (!err)
		return u->answered ? 0 : put(s, u, &t, 0);
	if (err == -EIO || err == -EINTR)
		(void)put(s, u, &t, 0);
	return err;
}

static int await_answer(struct session *s, struct upload *u)
{
	struct timespec end = session_deadline(u->patience);
	struct famez_event event;

	while (!u->answered) {
		int got = session_next(s, &event, &end);

		if (got == 0 && !u->answered)
			return -ETIME;
		if (got < 0)
			return got;
		if (got > 0 && (event.kind == FAMEZ_EVENT_LEFT || event.kind == FAMEZ_EVENT_DOWN) &&
			event.peer == u->peer && !letters_generation(s, u->peer))
			return -ENOTCONN;
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
	return 0;
}

static enum outcome outcome_of(struct session *s, struct upload *u, int err)
{
	if (err == -EIO)
		return OUTCOME_FAILED;
	if (err == -ETIME) {
		say_error("timed out: peer %s did not say that it has stored the file",
			saymail_peer(s->f, u->peer));
		return OUTCOME_TIMED_OUT;
	}
	if (err)
		return s->f ? letters_failed(s, u->peer, err, u->patience) : OUTCOME_NOT_JOINED;
	if (!u->stored) {
		say_error("peer %s did not store it: %s", saymail_peer(s->f, u->peer), u->reason);
		return OUTCOME_FAILED;
	}
	return OUTCOME_OK;
}

static enum outcome send_open(struct session *s, struct upload *u, int fd)
{
	struct stat file;
	enum outcome outcome;
	struct timespec begun;
	struct timespec done;
	int err;

	if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode)) {
		say_error("%s is no regular file", u->name);
		return OUTCOME_FAILED;
	}
	u->piece = malloc(TRANSFER_LINE_MAX + u->piece_bytes);
	if (!u->piece) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	if (getrandom(&u->number, sizeof(u->number), 0) < 0)
		u->number = (uint64_t)getpid(); /* it need only differ from our last */
	s->mail.hear = hear;
	s->mail.who = u;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	err = put_all(s, u, fd, (uint64_t)file.st_size);
	if (!err)
		err = await_answer(s, u);
	clock_gettime(CLOCK_MONOTONIC, &done);
	s->mail.hear = NULL;
	outcome = outcome_of(s, u, err);
	if (outcome == OUTCOME_OK)
		saymail_file_sent(s->f, u->peer, u->name, (uint64_t)file.st_size,
			(double)(done.tv_sec - begun.tv_sec) +
				(double)(done.tv_nsec - begun.tv_nsec) / 1e9);
	free(u->piece);
	return outcome;
}

enum outcome upload_send(struct session *s, uint16_t peer, const char *path, double patience)
{
	size_t most = famez_payload_bytes_max(s->f);
	struct upload u = {.peer = peer, .patience = patience, .name = path};
	enum outcome outcome;
	struct famez_who who;
	int fd;

	if (famez_who(s->f, peer, &who))
		return letters_failed(s, peer, -ENOTCONN, patience);
	if (!who.lanes || most < (size_t)2 * TRANSFER_LINE_MAX) {
		say_error("peer %s takes no files: it has no lanes", saymail_peer(s->f, peer));
		return OUTCOME_FAILED;
	}
	u.piece_bytes = (most < PIECE_MAX ? most : PIECE_MAX) - TRANSFER_LINE_MAX;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		say_error("%s: %s", path, strerror(errno));
		return OUTCOME_FAILED;
	}
	outcome = send_open(s, &u, fd);
	(void)close(fd); /* only read */
	return outcome;
}
