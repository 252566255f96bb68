/* SPDX-License-Identifier: MIT */
/*
 * download.c - files that come.
 *
 * Who sends is a stranger: nothing is stored unless a folder was named, and
 * there only under a name of transfer_name()'s, never over another file, never
 * through a link, and of all files together no more than --receive-max. What
 * is unfinished lies there as .famez-...part and is removed when its sender
 * leaves, sends nonsense, or we end; only if we are killed it stays, so marked.
 *
 * Owns the folder's descriptor and those of the unfinished files.
 */
#include "download.h"

#include "saymail.h"
#include "session.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_ONCE_MAX 16
/* Of one sender, lest one who ends none keeps all others from sending. */
#define AT_ONCE_EACH  4
#define SAME_NAME_MAX 99
/* What a file takes at least of --receive-max: empty ones fill a disk, too. */
#define FILE_BYTES_MIN 4096

struct download {
	bool used;
	uint16_t from;
	uint32_t generation; /* of `from` */
	uint64_t number;
	uint64_t bytes;
	uint64_t got;
	uint32_t crc;
	int fd;
	char part[64];
	char name[TRANSFER_NAME_MAX + 8]; /* with what makes it unique */
};

struct downloads {
	int folder;
	uint64_t left; /* of --receive-max */
	struct download files[AT_ONCE_MAX];
};

int download_open(struct session *s)
{
	struct downloads *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->folder = open(s->receive, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (d->folder < 0) {
		int err = -errno;

		free(d);
		return err;
	}
	d->left = s->receive_max;
	s->mail.downloads = d;
	return 0;
}

static uint64_t cost(const struct download *file)
{
	return file->bytes > FILE_BYTES_MIN ? file->bytes : FILE_BYTES_MIN;
}

static void answer(struct session *s, const struct download *file, const char *refused)
{
	struct transfer t = {
		.kind = refused ? TRANSFER_REFUSED : TRANSFER_STORED, .number = file->number};
	char line[TRANSFER_LINE_MAX];

	if (refused)
		(void)snprintf(t.reason, sizeof(t.reason), "%s", refused);
	(void)transfer_write(line, &t);
	letters_answer(s, file->from, line);
}

/* The end of one that will not be finished. @why: for its sender and for us. */
static void give_up(struct session *s, struct download *file, const char *why)
{
	struct downloads *d = s->mail.downloads;

	(void)close(file->fd);                    /* it goes */
	(void)unlinkat(d->folder, file->part, 0); /* somebody else may have removed it */
	d->left += cost(file);
	file->used = false;
	saymail_file(s->f, file->from, file->name, file->bytes, why);
}

void download_close(struct session *s)
{
	struct downloads *d = s->mail.downloads;

	if (!d)
		return;
	for (unsigned i = 0; i < AT_ONCE_MAX; i++)
		if (d->files[i].used)
			give_up(s, &d->files[i], "we left before it was complete");
	(void)close(d->folder); /* nothing unwritten */
	free(d);
	s->mail.downloads = NULL;
}

void download_gone(struct session *s, uint16_t peer, uint32_t generation)
{
	struct downloads *d = s->mail.downloads;

	for (unsigned i = 0; d && i < AT_ONCE_MAX; i++)
		if (d->files[i].used && d->files[i].from == peer &&
			(!generation || d->files[i].generation != generation))
			give_up(s, &d->files[i], "its sender left before it was complete");
}

static struct download *find(struct downloads *d, uint16_t from, uint64_t number)
{
	for (unsigned i = 0; i < AT_ONCE_MAX; i++)
		if (d->files[i].used && d->files[i].from == from && d->files[i].number == number)
			return &d->files[i];
	return NULL;
}

/* A place for one more of this sender; NULL if there is none. */
static struct download *place(struct downloads *d, uint16_t from)
{
	struct download *free_one = NULL;
	unsigned his = 0;

	for (unsigned i = 0; i < AT_ONCE_MAX; i++) {
		if (!d->files[i].used)
			free_one = &d->files[i];
		else
			his += d->files[i].from == from;
	}
	return his < AT_ONCE_EACH ? free_one : NULL;
}

/* Returns NULL, or why not. */
static const char *begin(struct session *s, struct download *made)
{
	struct downloads *d = s->mail.downloads;
	struct download *file;

	if (!d)
		return "takes no files (--receive)";
	file = place(d, made->from);
	if (!file)
		return "too many files at once";
	if (find(d, made->from, made->number))
		return "that transfer has begun already";
	if (cost(made) > d->left)
		return "too large (--receive-max)";
	(void)snprintf(made->part, sizeof(made->part), ".famez-%u-%016" PRIx64 ".part", made->from,
		made->number);
	made->fd = openat(
		d->folder, made->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (made->fd < 0)
		return "can't be created";
	d->left -= cost(made);
	made->used = true;
	*file = *made;
	return NULL;
}

static const char *write_all(int fd, const unsigned char *bytes, size_t count)
{
	while (count) {
		ssize_t put = write(fd, bytes, count);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return errno == ENOSPC || errno == EDQUOT ? "no space" : "can't be written";
		bytes += put;
		count -= (size_t)put;
	}
	return NULL;
}

/* Returns NULL, or why it can't go on. */
static const char *go_on(
	struct download *file, const struct transfer *t, const unsigned char *data, size_t count)
{
	if (t->offset != file->got)
		return "a part is missing";
	if (count > file->bytes - file->got)
		return "more than was announced";
	file->got += count;
	file->crc = transfer_crc(file->crc, data, count);
	return write_all(file->fd, data, count);
}

/* Gives it its name, or one with a number behind it. Returns NULL, or why not. */
static const char *settle(struct downloads *d, struct download *file)
{
	char name[sizeof(file->name)];

	for (unsigned n = 0; n <= SAME_NAME_MAX; n++) {
		int err;

		if (n)
			(void)snprintf(
				name, sizeof(name), "%.*s.%u", TRANSFER_NAME_MAX, file->name, n);
		else
			(void)snprintf(name, sizeof(name), "%s", file->name);
		err = renameat2(d->folder, file->part, d->folder, name, RENAME_NOREPLACE);
		/* Not every file system has that. */
		if (err < 0 && errno == EINVAL) {
			err = linkat(d->folder, file->part, d->folder, name, 0);
			if (!err)
				(void)unlinkat(d->folder, file->part, 0); /* a second name */
		}
		if (!err) {
			(void)snprintf(file->name, sizeof(file->name), "%s", name);
			return NULL;
		}
		if (errno != EEXIST)
			return "can't be named";
	}
	return "too many files of that name";
}

static const char *finish(struct session *s, struct download *file, uint32_t crc)
{
	struct downloads *d = s->mail.downloads;
	const char *why;

	if (file->got != file->bytes)
		return "it is not complete";
	if (file->crc != crc)
		return "its checksum does not fit";
	why = settle(d, file);
	if (why)
		return why;
	if (close(file->fd) < 0) {
		/* Only some network file systems tell so late. It has its name by now. */
		(void)unlinkat(d->folder, file->name, 0);
		file->fd = -1;
		return "can't be written";
	}
	file->used = false;
	return NULL;
}

bool download_handle(struct session *s, const struct letter *l)
{
	struct downloads *d = s->mail.downloads;
	struct download *file;
	struct transfer t;
	const char *why;

	if (l->type != FAMEZ_MESSAGE_DATA || l->slot || !transfer_read(&t, l->text, l->bytes))
		return false;
	if (l->origin != l->from || t.kind > TRANSFER_END)
		return true; /* nobody to answer; and answers that nobody waits for */
	if (t.kind == TRANSFER_BEGIN) {
		struct download made = {.from = l->from,
			.generation = letters_generation(s, l->from),
			.number = t.number,
			.bytes = t.bytes};

		memcpy(made.name, t.name, sizeof(t.name));
		why = begin(s, &made);
		if (why) {
			answer(s, &made, why);
			saymail_file(s->f, made.from, made.name, made.bytes, why);
		}
		return true;
	}
	file = d ? find(d, l->from, t.number) : NULL;
	if (!file)
		return true; /* of one that was refused: its sender has not heard it yet */
	if (t.kind == TRANSFER_PART)
		why = go_on(file, &t, l->text + t.line_bytes, l->bytes - t.line_bytes);
	else
		why = finish(s, file, t.crc);
	if (why) {
		answer(s, file, why);
		give_up(s, file, why);
	} else if (t.kind == TRANSFER_END) {
		answer(s, file, NULL);
		saymail_file(s->f, file->from, file->name, file->bytes, NULL);
	}
	return true;
}
