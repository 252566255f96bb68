/* SPDX-License-Identifier: MIT */
/*
 * gates.c - sockets of bound IDs: whoever comes by one gets that ID, and no other.
 *
 * Accepts nobody but to refuse him; that is the registrar's.
 */
#include "gates.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "refusal.h"
#include "state.h"
#include "sys.h"

/* Of who waits at a socket that goes, failures to accept him, in all. */
#define REFUSE_TRIES 1024u

/* While the sockets change: what is there, and what each is to be. */
struct change {
	struct place {
		char path[BIND_SOCKET_BYTES]; /* of the gate; empty: there is none */
		uint32_t wanted_for;          /* GATES_NOBODY: for nobody any more */
		struct listener_bound fresh;  /* was made just now; .fd -1: was not */
	} at[BINDS_MAX];
};

static bool name_of(int fd, struct sockaddr_un *name)
{
	socklen_t bytes = sizeof(*name);

	memset(name, 0, sizeof(*name));
	return fd > 0 && getsockname(fd, (struct sockaddr *)name, &bytes) == 0 &&
	       name->sun_family == AF_UNIX;
}

unsigned gates_count(const struct gates *gates)
{
	unsigned count = 0;

	for (unsigned n = 0; n < gates_end(gates); n++)
		count += gates_fd(gates, n) > 0;
	return count;
}

uint32_t gates_of(const struct gates *gates, const struct sockaddr_un *name)
{
	struct sockaddr_un of;

	for (unsigned n = 0; n < gates_end(gates); n++)
		if (name_of(gates_fd(gates, n), &of) &&
			strncmp(of.sun_path, name->sun_path, sizeof(of.sun_path)) == 0)
			return gates->gate[n].id;
	return GATES_NOBODY;
}

int gates_listen(const struct gates *gates)
{
	for (unsigned n = 0; n < gates_end(gates); n++) {
		int fd = gates_fd(gates, n);
		int err = fd > 0 ? listener_listen_at(fd) : 0;

		if (err)
			return err;
	}
	return 0;
}

/* ---- going ------------------------------------------------------------------------------ */

/* Who waits there to be accepted would be closed silently. Where one can't be accepted now, for
 * want of a descriptor, say, it is tried again, and not for ever. */
static void refuse_all(int fd)
{
	(void)shutdown(fd, SHUT_RDWR);
	for (unsigned failed = 0; failed < REFUSE_TRIES;) {
		int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (sock >= 0)
			refusal_send_and_close(sock);
		else if (errno == EAGAIN || errno == EINVAL) /* none waits: accept(2) */
			return;
		else
			failed++;
	}
}

static void take_away(struct gate *gate, const char *path)
{
	struct listener_bound bound = {
		.fd = atomic_load_explicit(&gate->fd, memory_order_relaxed),
		.device = gate->device,
		.inode = gate->inode,
	};

	refuse_all(bound.fd);
	/* The name first: what has one is written down. Then the record, since a number may be
	 * given again; what nobody names is swept. */
	listener_unlink(path, &bound);
	atomic_store_explicit(&gate->fd, 0, memory_order_release);
	state_point();
	(void)close(bound.fd);
}

void gates_close(struct gates *gates)
{
	for (unsigned n = 0; n < gates_end(gates); n++) {
		struct sockaddr_un name;

		if (name_of(gates_fd(gates, n), &name))
			take_away(&gates->gate[n], name.sun_path);
	}
}

/* ---- coming ----------------------------------------------------------------------------- */

static struct place *place_at(struct change *c, const char *path)
{
	for (unsigned n = 0; n < BINDS_MAX; n++)
		if (strcmp(c->at[n].path, path) == 0)
			return &c->at[n];
	return NULL;
}

/* What is there, wanted by nobody so far. Those that are wanted have room: there are as many places
 * as lines, and a socket that goes gives its place up only in the end. */
static void look(struct change *c, const struct gates *gates)
{
	for (unsigned n = 0; n < BINDS_MAX; n++) {
		struct place *p = &c->at[n];
		struct sockaddr_un name;

		*p = (struct place){.wanted_for = GATES_NOBODY, .fresh = {.fd = -1}};
		if (n < gates_end(gates) && name_of(gates_fd(gates, n), &name))
			memcpy(p->path, name.sun_path, sizeof(p->path) - 1);
	}
}

static int make(struct change *c, const struct binds *binds, const struct listener_wish *wish,
	bool patient, struct why *why)
{
	for (uint32_t n = 0; n < binds->count; n++) {
		const struct bind *line = &binds->lines[n];
		struct listener_wish own = *wish;
		struct place *p;
		int err;

		if (!line->socket[0])
			continue;
		p = place_at(c, line->socket);
		if (!p) {
			p = place_at(c, "");
			if (!p)
				return why_fail(why, -ENFILE,
					"socket: no place for %.107s until others are gone; take "
					"those away first",
					line->socket);
			own.path = line->socket;
			err = listener_bind(&own, patient, &p->fresh, why);
			if (err)
				return err;
			memcpy(p->path, line->socket, sizeof(p->path));
		}
		p->wanted_for = line->id;
	}
	return 0;
}

static void write_down(struct gates *gates, const struct change *c)
{
	for (unsigned n = 0; n < BINDS_MAX; n++) {
		const struct place *p = &c->at[n];
		struct gate *gate = &gates->gate[n];

		if (!p->path[0])
			continue;
		if (p->wanted_for == GATES_NOBODY) {
			take_away(gate, p->path);
			continue;
		}
		gate->id = p->wanted_for;
		state_point();
		if (p->fresh.fd < 0)
			continue;
		gate->device = p->fresh.device;
		gate->inode = p->fresh.inode;
		if (n >= gates_end(gates))
			atomic_store_explicit(&gates->end, n + 1, memory_order_release);
		state_point();
		atomic_store_explicit(&gate->fd, p->fresh.fd, memory_order_release);
		state_point();
	}
}

int gates_change(struct gates *gates, const struct binds *binds, const struct listener_wish *wish,
	bool patient, struct why *why)
{
	struct change *c = sys_calloc(1, sizeof(*c));
	int err;

	if (!c)
		return why_fail(why, -ENOMEM, "socket: no memory to look at the sockets of IDs");
	look(c, gates);
	err = make(c, binds, wish, patient, why);
	if (!err)
		write_down(gates, c);
	for (unsigned n = 0; err && n < BINDS_MAX; n++) {
		if (c->at[n].fresh.fd < 0)
			continue;
		listener_unlink(c->at[n].path, &c->at[n].fresh);
		(void)close(c->at[n].fresh.fd);
	}
	free(c);
	return err;
}
