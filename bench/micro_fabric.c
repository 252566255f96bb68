/* SPDX-License-Identifier: MIT */
/*
 * micro_fabric.c - see micro_fabric.h.
 */
#include "micro_fabric.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "famez/wire.h"
#include "mailbox_file.h"

#define LANE_BYTES (1u << 20)

void fabric_tell(struct fabric *f, uint32_t to, int64_t value, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	uint64_t word = htole64((uint64_t)value);
	struct iovec what = {.iov_base = &word, .iov_len = sizeof(word)};
	struct msghdr m = {.msg_iov = &what, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *part;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		part = CMSG_FIRSTHDR(&m);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(part), &fd, sizeof(fd));
	}
	micro_must(sendmsg(f->end[to], &m, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(word));
}

void fabric_settle(struct famez *member)
{
	struct famez_event event;
	int got;

	while ((got = famez_next(member, &event)) != 0)
		micro_must(got == 1 && event.kind != FAMEZ_EVENT_MESSAGE);
}

static void join(struct fabric *f, uint32_t id)
{
	const struct famez_join how = {.socket = f->path};
	char name[16];
	const struct famez_mailbox mailbox = {.name = name, .spin_us = -1};

	(void)snprintf(name, sizeof(name), "n%u", id);
	f->bell[id] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	micro_must(f->bell[id] >= 0 && famez_join_start(&f->member[id], &how) == 0);
	f->end[id] = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	micro_must(f->end[id] >= 0);
	mailbox_file_join(f->base, &f->g, id);
	fabric_tell(f, id, FAMEZ_WIRE_VERSION, -1);
	fabric_tell(f, id, id, -1);
	fabric_tell(f, id, FAMEZ_WIRE_MEMORY, f->memory);
	for (uint32_t other = 1; other < id; other++) {
		fabric_tell(f, id, other, f->bell[other]);
		fabric_tell(f, other, id, f->bell[id]);
		fabric_settle(f->member[other]);
	}
	fabric_tell(f, id, id, f->bell[id]);
	fabric_settle(f->member[id]);
	micro_must(famez_mailbox_open(f->member[id], &mailbox) == 0);
	fabric_settle(f->member[id]);
}

static int listen_at(struct fabric *f)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	(void)snprintf(f->folder, sizeof(f->folder), "/tmp/famez-micro-XXXXXX");
	if (!mkdtemp(f->folder))
		return -errno;
	(void)snprintf(f->path, sizeof(f->path), "%s/s", f->folder);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&at, sizeof(at)) ||
		listen(f->listener, (int)FABRIC_MEMBERS_MAX))
		return -errno;
	return 0;
}

struct fabric *fabric_new(uint32_t members, uint32_t ids)
{
	struct fabric *f = calloc(1, sizeof(*f));
	uint32_t lane = ids > 64 ? FAMEZ_LANE_BYTES_MIN : LANE_BYTES;
	uint64_t bytes = 4096;
	int err;

	if (!f)
		return NULL;
	while (bytes < famez_geometry_needs(ids, lane))
		bytes *= 2;
	f->memory = mailbox_file_make(ids, bytes, 1, false, &f->g, &f->base);
	if (f->memory < 0) {
		err = -f->memory;
		free(f);
		errno = err;
		return NULL;
	}
	micro_must(listen_at(f) == 0);
	f->count = members;
	for (uint32_t id = 1; id <= members; id++)
		join(f, id);
	for (uint32_t id = 1; id <= members; id++)
		fabric_settle(f->member[id]);
	return f;
}

void fabric_free(struct fabric *f)
{
	for (uint32_t id = 1; id <= f->count; id++) {
		famez_leave(f->member[id]);
		(void)close(f->end[id]);
		(void)close(f->bell[id]);
	}
	(void)close(f->listener);
	(void)unlink(f->path);
	(void)rmdir(f->folder);
	micro_must(munmap(f->base, f->g.bytes) == 0);
	(void)close(f->memory);
	free(f);
}
