/* SPDX-License-Identifier: MIT */
/*
 * binds.c - which VM has which ID.
 *
 * Knows nothing of which IDs are free. Never touches a file.
 */
#include "binds.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static int take_id(
	struct bind *line, uint32_t first, uint32_t peers, const char *text, struct lines *l)
{
	if (lines_number(text, UINT32_MAX, &line->id) || line->id < first ||
		line->id - first >= peers)
		return lines_fail(l, "\"id=%.40s\" won't do; want a peer's ID, %u to %u", text,
			first, first + peers - 1);
	return 0;
}

static int take_socket(struct bind *line, const char *path, struct lines *l)
{
	if (*path != '/' || strlen(path) >= sizeof(line->socket))
		return lines_fail(l,
			"\"socket=%.40s\" won't do; want a whole path of at most %zu bytes, such "
			"as "
			"/run/famez/web1.sock",
			path, sizeof(line->socket) - 1);
	(void)snprintf(line->socket, sizeof(line->socket), "%s", path);
	return 0;
}

/* One ID has one socket of its own, and one socket leads to one ID. */
static int check_socket(const struct binds *b, const struct bind *line, struct lines *l)
{
	for (uint32_t n = 0; line->socket[0] && n < b->count; n++) {
		const struct bind *before = &b->lines[n];

		if (before->socket[0] && before->id == line->id)
			return lines_fail(l, "ID %u has the socket %.100s already; want one",
				line->id, before->socket);
		if (strcmp(before->socket, line->socket) == 0)
			return lines_fail(l, "%.100s is the socket of ID %u already; want another",
				line->socket, before->id);
	}
	return 0;
}

static int take_word(struct bind *line, const char *word, struct lines *l)
{
	const char *socket = lines_value(word, "socket");
	const char *uid = lines_value(word, "uid"), *name = lines_value(word, "name"),
		   *uuid = lines_value(word, "uuid");

	if ((uid && line->by_uid) || (name && line->name[0]) || (uuid && line->by_uuid) ||
		(socket && line->socket[0]))
		return lines_fail(l, "\"%.40s\" is the second of its kind; want one a line", word);
	if (socket)
		return take_socket(line, socket, l);
	if (uid) {
		line->by_uid = true;
		if (lines_number(uid, UINT32_MAX - 1, &line->uid))
			return lines_fail(l,
				"\"uid=%.40s\" won't do; want the number of a user, such as 1000",
				uid);
		return 0;
	}
	if (uuid) {
		line->by_uuid = true;
		if (!qemu_args_uuid(uuid, line->uuid))
			return lines_fail(l,
				"\"uuid=%.70s\" won't do; want one such as "
				"8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b11",
				uuid);
		return 0;
	}
	if (name) {
		if (!*name || strlen(name) >= sizeof(line->name))
			return lines_fail(l,
				"\"name=%.70s\" won't do; want a pattern of 1 to %zu bytes, such "
				"as web1",
				name, sizeof(line->name) - 1);
		(void)snprintf(line->name, sizeof(line->name), "%s", name);
		return 0;
	}
	return lines_fail(
		l, "\"%.40s\" means nothing here; want socket=, name=, uuid= or uid=", word);
}

int binds_parse(struct binds *b, uint32_t first, uint32_t peers, const char *file, const char *text,
	size_t bytes, struct why *why)
{
	struct lines l;
	int more;

	b->count = 0;
	lines_open(&l, file, text, bytes, why);
	while ((more = lines_next(&l)) > 0) {
		const char *id = lines_value(l.words[0], "id");
		struct bind *line = &b->lines[b->count];
		int err;

		if (!id)
			return lines_fail(&l,
				"\"%.40s\" begins no line; want id=N, and then socket=, name=, "
				"uuid= or uid=",
				l.words[0]);
		if (l.count < 2)
			return lines_fail(&l, "says nothing of whom the ID is kept for; want "
					      "socket=, name=, uuid= or uid=");
		if (b->count == BINDS_MAX)
			return lines_fail(&l, "one line too many; want at most %u", BINDS_MAX);
		*line = (struct bind){0};
		err = take_id(line, first, peers, id, &l);
		for (unsigned n = 1; !err && n < l.count; n++)
			err = take_word(line, l.words[n], &l);
		if (!err)
			err = check_socket(b, line, &l);
		if (err)
			return err;
		b->count++;
	}
	return more;
}

bool binds_want_args(const struct binds *b)
{
	for (uint32_t n = 0; n < b->count; n++)
		if (b->lines[n].by_uuid || b->lines[n].name[0])
			return true;
	return false;
}

bool binds_fits(const struct bind *line, uint32_t uid, const struct qemu_args *args)
{
	return (!line->by_uid || line->uid == uid) &&
	       (!line->by_uuid || (args->has_uuid && memcmp(line->uuid, args->uuid,
							     sizeof(line->uuid)) == 0)) &&
	       (!line->name[0] || (args->name[0] && fnmatch(line->name, args->name, 0) == 0));
}

uint32_t binds_find(
	const struct binds *b, uint32_t from, uint32_t uid, const struct qemu_args *args)
{
	while (from < b->count &&
		(b->lines[from].socket[0] || !binds_fits(&b->lines[from], uid, args)))
		from++;
	return from;
}

const struct bind *binds_own(const struct binds *b, uint32_t id)
{
	for (uint32_t n = 0; n < b->count; n++)
		if (b->lines[n].socket[0] && b->lines[n].id == id)
			return &b->lines[n];
	return NULL;
}

/* The next line with a socket from @from on, or b->count. */
static uint32_t next_socket(const struct binds *b, uint32_t from)
{
	while (from < b->count && !b->lines[from].socket[0])
		from++;
	return from;
}

bool binds_same_sockets(const struct binds *a, const struct binds *b)
{
	uint32_t n = next_socket(a, 0), m = next_socket(b, 0);

	while (n < a->count && m < b->count) {
		if (a->lines[n].id != b->lines[m].id ||
			strcmp(a->lines[n].socket, b->lines[m].socket) != 0)
			return false;
		n = next_socket(a, n + 1);
		m = next_socket(b, m + 1);
	}
	return n == a->count && m == b->count;
}
