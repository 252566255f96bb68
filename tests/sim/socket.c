/* SPDX-License-Identifier: MIT */
/*
 * socket.c - the simulated kernel's UNIX sockets: the broker's ends of them.
 *
 * What lies in one unread is the client's (actor.c).
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- sockets ------------------------------------------------------------------------------- */

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *bytes);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *bytes);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t bytes);
ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_ioctl(int fd, unsigned long request, ...);

static struct file *socket_of(int fd)
{
	struct file *file = kernel_file(fd);

	return file && file->kind == FILE_SOCKET ? file : NULL;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
	struct file *listener;
	struct actor *c;
	int sock;

	(void)address;
	(void)bytes;
	(void)flags;
	kernel_enter();
	listener = kernel_file(fd);
	if (!listener || listener->kind != FILE_LISTENER)
		return kernel_fails(EBADF);
	if (world_fault())
		return kernel_fails(draw(2) ? EMFILE : ECONNABORTED);
	c = actor_next_waiting(listener);
	if (!c)
		return kernel_fails(EAGAIN);
	sock = kernel_open(FILE_SOCKET);
	assert(sock >= 0);
	memcpy(kernel_file(sock)->text, listener->text, sizeof(listener->text));
	if (actor_accepted(c, kernel_file(sock)))
		kernel_file(sock)->actor = c;
	sim_trace("accept4: client %d's is socket %d", c->pid, sock);
	return sock;
}

int __wrap_shutdown(int fd, int how)
{
	struct file *file;

	kernel_enter();
	file = kernel_file(fd);
	if (!file)
		return kernel_fails(EBADF);
	sim_trace("shutdown(%d, %d)", fd, how);
	if (file->kind == FILE_LISTENER && !world.stopping && life_gate(file->text) == SIM_IDS_MAX)
		sim_wrong("the listening socket is shut, and nobody can come any more");
	if (file->kind == FILE_LISTENER)
		file->shut_read = true;
	if (file->kind != FILE_SOCKET)
		return 0;
	file->shut_write |= how != SHUT_RD;
	file->shut_read |= how != SHUT_WR;
	if (file->actor)
		actor_hung_up(file->actor);
	return 0;
}

static int give_int(void *value, socklen_t *bytes, int number)
{
	assert(*bytes >= sizeof(number));
	memcpy(value, &number, sizeof(number));
	*bytes = sizeof(number);
	return 0;
}

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *bytes)
{
	struct file *file;
	struct ucred cred;

	kernel_enter();
	file = kernel_file(fd);
	if (!file)
		return kernel_fails(EBADF);
	if (file->kind != FILE_SOCKET && file->kind != FILE_LISTENER)
		return kernel_fails(ENOTSOCK);
	if (level != SOL_SOCKET)
		return kernel_fails(ENOPROTOOPT);
	switch (option) {
	case SO_PEERCRED:
		if (file->kind != FILE_SOCKET)
			return kernel_fails(ENOPROTOOPT);
		cred = (struct ucred){.pid = 1, .uid = 1000, .gid = 1000};
		if (file->actor)
			cred = (struct ucred){
				.pid = file->actor->pid, .uid = file->actor->uid, .gid = 1000};
		assert(*bytes >= sizeof(cred));
		memcpy(value, &cred, sizeof(cred));
		*bytes = sizeof(cred);
		return 0;
	case SO_DOMAIN:
		return give_int(value, bytes, AF_UNIX);
	case SO_TYPE:
		return give_int(value, bytes, SOCK_STREAM);
	case SO_ACCEPTCONN:
		return give_int(value, bytes, file->kind == FILE_LISTENER);
	case SO_PRIORITY:
		return give_int(value, bytes, file->priority);
	case SO_COOKIE:
		assert(*bytes >= sizeof(file->serial));
		memcpy(value, &file->serial, sizeof(file->serial));
		*bytes = sizeof(file->serial);
		return 0;
	default:
		return kernel_fails(ENOPROTOOPT);
	}
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *bytes)
{
	struct sockaddr_un name = {0};
	struct file *file;

	kernel_enter();
	file = kernel_file(fd);
	if (!file || (file->kind != FILE_SOCKET && file->kind != FILE_LISTENER))
		return kernel_fails(file ? ENOTSOCK : EBADF);
	name.sun_family = AF_UNIX;
	memcpy(name.sun_path, file->text, sizeof(name.sun_path) - 1);
	*bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name.sun_path) + 1);
	memcpy(address, &name, *bytes);
	return 0;
}

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t bytes)
{
	struct file *file;

	(void)bytes;
	kernel_enter();
	file = socket_of(fd);
	if (!file)
		return kernel_fails(EBADF);
	if (level == SOL_SOCKET && option == SO_PRIORITY) {
		memcpy(&file->priority, value, sizeof(file->priority));
		sim_trace("socket %d is tagged %d", fd, file->priority);
	}
	return 0;
}

/* One message, as far as the kernel goes: 0 or an errno. */
static int put_word(int fd, int64_t value, int with)
{
	struct file *file = socket_of(fd), *sent = NULL;
	struct actor *c = file ? file->actor : NULL;

	if (!file)
		return EBADF;
	if (with >= 0) {
		sent = kernel_file(with);
		if (!sent)
			return EBADF;
	}
	if (!c || file->shut_write)
		return EPIPE;
	if (c->count >= world.socket_words)
		return EAGAIN;
	if (sent)
		file_hold(sent);
	actor_sent(c, value, sent);
	return 0;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t count, int flags)
{
	int64_t value;
	int err;

	(void)flags;
	kernel_enter();
	assert(count == sizeof(value));
	memcpy(&value, bytes, sizeof(value));
	if (socket_of(fd) && !socket_of(fd)->priority)
		sim_wrong("socket %d is refused and not tagged: a successor would not know", fd);
	err = put_word(fd, value, -1);
	sim_trace("send(%d, %lld): %s", fd, (long long)value, strerror(err));
	return err ? kernel_fails(err) : (ssize_t)count;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags)
{
	struct file *file;

	(void)bytes;
	(void)count;
	(void)flags;
	kernel_enter();
	file = socket_of(fd);
	if (!file)
		return kernel_fails(kernel_file(fd) ? ENOTSOCK : EBADF);
	if (!file->actor || file->shut_read)
		return 0;
	return file->actor->spoke ? 1 : kernel_fails(EAGAIN);
}

static int descriptor_in(const struct msghdr *m)
{
	const struct cmsghdr *control = CMSG_FIRSTHDR(m);
	int fd;

	if (!control)
		return -1;
	assert(control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS);
	assert(control->cmsg_len == CMSG_LEN(sizeof(fd)));
	memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	assert(fd >= 0);
	return fd;
}

/* As __sys_sendmmsg() of the kernel's: what was sent is written down behind each message, and
 * neither a return nor a look for signals lies between the two. */
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	struct fiber *f = fiber_now();
	unsigned n;
	int err = 0;

	(void)flags;
	kernel_enter();
	f->in_kernel = true;
	for (n = 0; n < count; n++) {
		int64_t value;

		life_sent(fd, &messages[n]);
		assert(messages[n].msg_hdr.msg_iovlen == 1);
		assert(messages[n].msg_hdr.msg_iov->iov_len == sizeof(value));
		memcpy(&value, messages[n].msg_hdr.msg_iov->iov_base, sizeof(value));
		err = world_fault() ? (draw(2) ? ETOOMANYREFS : ENOBUFS)
				    : put_word(fd, value, descriptor_in(&messages[n].msg_hdr));
		sim_trace("sendmmsg(%d) %u of %u, %lld%s: %s", fd, n + 1, count, (long long)value,
			descriptor_in(&messages[n].msg_hdr) >= 0 ? " with a descriptor" : "",
			strerror(err));
		if (err)
			break;
		messages[n].msg_len = sizeof(value);
		fiber_yield();
	}
	f->in_kernel = false;
	while (world.dying)
		fiber_yield();
	return n ? (int)n : kernel_fails(err);
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
	(void)domain;
	(void)type;
	(void)protocol;
	(void)ends;
	return kernel_fails(EOPNOTSUPP);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct file *file;
	va_list arguments;
	int *value;

	va_start(arguments, request);
	value = va_arg(arguments, int *);
	va_end(arguments);
	kernel_enter();
	file = socket_of(fd);
	if (!file)
		return kernel_fails(EBADF);
	assert(request == SIOCOUTQ);
	*value = file->actor ? (int)file->actor->count * SIM_WORD_BYTES : 0;
	return 0;
}
