/* SPDX-License-Identifier: MIT */
/*
 * device.c - a membership through the driver of a guest's device, /dev/famezN.
 *
 * The same handle as over a server's socket, in a guest: the driver has the ID and the memory,
 * and lets us map both the memory and, where it can, the doorbell register. Owned here: the
 * device's descriptor, the registers' mapping, and what was told of the directory. Our own
 * vectors are eventfds that the driver signals; they are the store's (bells.c), as all are.
 *
 * Who is there a guest is not told: QEMU keeps the announcements to itself. It is read from the
 * directory, and compared with what was told: looked through at the start and whenever `changes`
 * has moved. That is looked at with each doorbell, since the server rings those who watch: the
 * driver does, and so do we once the mailbox is ours. Where there is no directory (QEMU's server)
 * nobody is known, and any peer can be rung.
 *
 * A peer that the directory has may be unknown to our QEMU for a moment, and a ring in that moment
 * is lost without a word. For mail the tick makes up for that.
 *
 * The link is an eventfd of our own, readable while a look is due.
 */
#include "bells.h"
#include "directory.h"
#include "famez/driver.h"
#include "handle.h"
#include "mail.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of the registers' page, and of nothing else: whatever this machine's pages are. */
#define REGISTER_BYTES 256u

struct device {
	int fd;
	void *registers; /* NULL: by ioctl */
	uint16_t id;
	uint32_t vectors; /* our own */
	/* The rest only where there is a directory; else ids is 0. */
	struct famez_geometry g;
	struct directory directory; /* to look at; it tells nothing */
	uint32_t ids;
	uint32_t *joins;  /* by ID: of the owner that was told; 0: none */
	uint64_t changes; /* the header's, when the look began */
	uint32_t at;      /* where the look has come to */
	bool looking;
};

static void poke(struct famez *f)
{
	const uint64_t one = 1;

	(void)!write(f->link, &one, sizeof(one)); /* full is as good */
}

static uint64_t changes(const struct famez *f)
{
	return famez_load_acquire(&famez_header_at(f->memory)->changes);
}

/* ---- joining ----------------------------------------------------------------------------- */

static int call(const struct device *d, unsigned long what, void *argument)
{
	return ioctl(d->fd, what, argument) < 0 ? -errno : 0;
}

static int map(struct famez *f, const struct famez_info *info)
{
	struct device *d = f->device;
	void *at = mmap(
		NULL, info->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, FAMEZ_MAP_MEMORY);

	if (at == MAP_FAILED)
		return -errno;
	f->memory = at;
	f->bytes = info->bytes;
	if (!(info->flags & FAMEZ_INFO_REGISTERS))
		return 0;
	at = mmap(NULL, REGISTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		(off_t)FAMEZ_MAP_REGISTERS);
	d->registers = at == MAP_FAILED ? NULL : at;
	return 0;
}

/* An eventfd for each of our vectors, before anybody is told of us. */
static int take_vectors(struct famez *f)
{
	struct device *d = f->device;
	int err = handle_reach(f, d->id);

	for (uint32_t vector = 0; !err && vector < d->vectors; vector++) {
		struct famez_wake wake = {.vector = vector};
		uint32_t set = f->seats[d->id].set;

		wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (wake.fd < 0)
			return -errno;
		err = call(d, FAMEZ_IOC_WAKE, &wake);
		if (err) {
			(void)close(wake.fd); /* never used */
			return err;
		}
		err = bells_give(f->bells, &set, d->id, vector, wake.fd);
		f->seats[d->id].set = set & BELLS_SETS_MAX;
	}
	return err;
}

static int read_directory(struct famez *f)
{
	struct device *d = f->device;
	int err = famez_geometry_read(&d->g, f->memory, f->bytes);

	if (err == -ENOENT)
		return 0;
	if (err || d->id >= d->g.ids)
		return -EPROTO;
	d->ids = d->g.ids <= FAMEZ_WIRE_ID_MAX ? d->g.ids : FAMEZ_WIRE_ID_MAX + 1u;
	d->joins = calloc(d->ids, sizeof(*d->joins));
	if (!d->joins)
		return -ENOMEM;
	return directory_init(&d->directory, f->memory, &d->g, d->id, false);
}

static int take_part(struct famez *f)
{
	/* It is the driver's to see only that it is gone, not that it has text for a reader. */
	struct epoll_event gone = {.events = 0, .data.u32 = READY_LINK};
	struct device *d = f->device;
	struct famez_info info;
	int err = call(d, FAMEZ_IOC_INFO, &info);

	if (err)
		return err == -ENOTTY ? -EPROTO : err;
	if (info.abi != FAMEZ_DRIVER_ABI)
		return -EPROTO;
	if (!(info.flags & FAMEZ_INFO_DOORBELL))
		return -EOPNOTSUPP;
	if (!info.bytes || info.bytes > SIZE_MAX || info.id > FAMEZ_WIRE_ID_MAX ||
		info.vectors > FAMEZ_WIRE_VECTORS_MAX)
		return -EPROTO;
	d->id = (uint16_t)info.id;
	d->vectors = info.vectors;
	err = map(f, &info);
	if (!err)
		err = read_directory(f);
	if (!err)
		err = take_vectors(f);
	if (!err && epoll_ctl(f->epoll, EPOLL_CTL_ADD, d->fd, &gone) < 0)
		err = -errno;
	return err;
}

static void device_disconnect(struct famez *f)
{
	struct device *d = f->device;

	if (!d)
		return;
	if (d->registers)
		munmap(d->registers, REGISTER_BYTES);
	if (d->fd >= 0)
		(void)close(
			d->fd); /* nothing unwritten. And with it, the claim and the wakes end */
	free(d->joins);
	free(d);
	f->device = NULL;
}

static int device_connect(
	struct famez *f, const char *path, bool patient, const struct timespec *deadline)
{
	struct device *d = calloc(1, sizeof(*d));
	int err;

	(void)patient; /* the driver does not let us wait */
	(void)deadline;
	if (!d)
		return -ENOMEM;
	f->device = d;
	d->fd = open(path, O_RDWR | O_CLOEXEC);
	if (d->fd < 0)
		return -errno;
	f->link = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (f->link < 0)
		return -errno;
	err = take_part(f);
	return err ? err : handle_watch(f, f->link, READY_LINK);
}

/* ---- who is there ------------------------------------------------------------------------ */

static int leaves(struct famez *f, uint16_t id, struct famez_event *event)
{
	f->seats[id] = (struct seat){0};
	f->device->joins[id] = 0;
	*event = (struct famez_event){.kind = FAMEZ_EVENT_LEFT, .peer = id};
	return 1;
}

static int has_vector(struct famez *f, uint16_t id, struct famez_event *event)
{
	uint16_t vector = f->seats[id].told;

	f->seats[id].told = (vector + 1u) & 0xfff;
	if (f->post)
		mail_known(f->post->mail, id);
	*event = (struct famez_event){.kind = FAMEZ_EVENT_VECTOR, .peer = id, .vector = vector};
	return 1;
}

/* The next difference between what the directory says of this one and what was told. */
static int next_of_peer(struct famez *f, uint16_t id, struct famez_event *event)
{
	struct device *d = f->device;
	struct presence is = directory_look(&d->directory, id);
	int err;

	is.present = is.presence == FAMEZ_PRESENT && is.joins;
	if (d->joins[id] && (!is.present || d->joins[id] != is.joins))
		return leaves(f, id, event);
	if (!is.present)
		return 0;
	err = handle_reach(f, id);
	if (err)
		return handle_fails(f, err);
	if (f->seats[id].told >= d->g.vectors)
		return 0;
	d->joins[id] = is.joins;
	return has_vector(f, id, event);
}

static int next_of_ours(struct famez *f, struct famez_event *event)
{
	const struct seat *ours = &f->seats[f->id];
	int err;

	if (ours->told >= f->device->vectors)
		return 0;
	err = handle_watch(f, bells_fd(f->bells, ours->set, ours->told), ours->told);
	return err ? handle_fails(f, err) : has_vector(f, f->id, event);
}

static int look_through(struct famez *f, struct famez_event *event)
{
	struct device *d = f->device;
	uint64_t count;
	int got;

	if (!d->looking) {
		d->looking = true;
		d->at = 0;
		d->changes = d->ids ? changes(f) : 0;
	}
	for (; d->at < d->ids; d->at++) {
		got = d->at == f->id ? 0 : next_of_peer(f, (uint16_t)d->at, event);
		if (got)
			return got;
	}
	got = next_of_ours(f, event); /* last, as a server tells it */
	if (got)
		return got;
	d->looking = false;
	(void)!read(f->link, &count, sizeof(count));
	/* What moved since the look began, and was poked for perhaps, is due. */
	if (d->ids && changes(f) != d->changes)
		poke(f);
	return 0;
}

static bool is_gone(const struct device *d)
{
	struct pollfd end = {.fd = d->fd};

	return poll(&end, 1, 0) > 0 && end.revents & (POLLHUP | POLLERR);
}

static int device_receive(struct famez *f, struct famez_event *event)
{
	struct device *d = f->device;
	int got;

	if (f->state == JOINING) {
		f->state = MEMBER;
		f->id = d->id;
		*event = (struct famez_event){.kind = FAMEZ_EVENT_JOINED, .peer = d->id};
		return 1;
	}
	if (!d->looking && is_gone(d)) {
		f->transport->hang_up(f);
		*event = (struct famez_event){.kind = FAMEZ_EVENT_LOST};
		return 1;
	}
	got = look_through(f, event);
	if (!got)
		f->streak = 0;
	return got;
}

/* Some vector of ours was rung. */
static void device_rung(struct famez *f)
{
	if (f->link >= 0 && f->device->ids && changes(f) != f->device->changes)
		poke(f);
}

static void device_hang_up(struct famez *f)
{
	if (f->link < 0)
		return;
	(void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, f->device->fd, NULL); /* or it never was there */
	handle_close_link(f);
}

/* ---- what peers do ----------------------------------------------------------------------- */

static bool device_can_ring(const struct famez *f, uint16_t peer, uint16_t vector)
{
	return vector < famez_vectors(f, peer);
}

static int device_ring(struct famez *f, uint16_t peer, uint16_t vector)
{
	const struct device *d = f->device;
	struct famez_doorbell ring = {.peer = peer, .vector = vector};

	if (f->state != MEMBER || (d->ids && !famez_vectors(f, peer)))
		return -ENOTCONN;
	if (d->ids ? !device_can_ring(f, peer, vector) : vector >= FAMEZ_WIRE_VECTORS_MAX)
		return -EINVAL;
	/* Once the device is gone, to touch its registers would be our end. */
	if (d->registers && f->link >= 0) {
		volatile uint32_t *bell =
			(uint32_t *)(void *)((char *)d->registers + FAMEZ_REGISTER_DOORBELL);

		/* What was said comes first, also where such a store may overtake others. (The
		 * thread sanitizer does not know atomic_thread_fence().) */
		__sync_synchronize();
		*bell = (uint32_t)peer << 16 | vector;
		return 0;
	}
	return call(d, FAMEZ_IOC_RING, &ring);
}

static int device_claim(struct famez *f, bool ours)
{
	return call(f->device, ours ? FAMEZ_IOC_CLAIM : FAMEZ_IOC_RELEASE, NULL);
}

const struct transport transport_device = {
	.connect = device_connect,
	.receive = device_receive,
	.ring = device_ring,
	.can_ring = device_can_ring,
	.rung = device_rung,
	.claim = device_claim,
	.hang_up = device_hang_up,
	.disconnect = device_disconnect,
};
