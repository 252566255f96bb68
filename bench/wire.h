/* SPDX-License-Identifier: MIT */
/*
 * wire.h - one ivshmem message, sent and read with bare system calls.
 *
 * Both ends of the floor and the readers of every other measurement use these two, so
 * that what they cost is the same everywhere.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "famez/wire.h"

struct wire_message {
	int64_t value;
	int fd; /* the caller's from now on; -1: it came with none */
};

union wire_control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/** wire_send() - 8 bytes and one descriptor. Returns 0 or -errno of sendmsg(2). */
static inline int wire_send(int sock, int64_t value, int fd)
{
	int64_t word = (int64_t)htole64((uint64_t)value);
	struct iovec io = {.iov_base = &word, .iov_len = sizeof(word)};
	union wire_control control;
	struct msghdr header = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/**
 * wire_read() - one message, as a QEMU reads it. Never waits. Returns 1; 0: the other
 * end closed; -EMFILE: a descriptor was lost for want of room; -EPROTO: not 8 bytes;
 * or -errno of recvmsg(2), -EAGAIN where nothing is there.
 */
static inline int wire_read(int sock, struct wire_message *m)
{
	int64_t word;
	struct iovec io = {.iov_base = &word, .iov_len = sizeof(word)};
	union wire_control control;
	struct msghdr header = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*m = (struct wire_message){.fd = -1};
	if (n <= 0)
		return n < 0 ? -errno : 0;
	m->value = (int64_t)le64toh((uint64_t)word);
	c = CMSG_FIRSTHDR(&header);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&m->fd, CMSG_DATA(c), sizeof(m->fd));
	if (header.msg_flags & MSG_CTRUNC)
		return -EMFILE;
	return n == FAMEZ_WIRE_BYTES ? 1 : -EPROTO;
}

#endif
