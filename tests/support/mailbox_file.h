/* SPDX-License-Identifier: MIT */
/*
 * mailbox_file.h - a mailbox file as a broker would have laid it out, without a broker.
 *
 * mailbox_file_make() gives a memfd with slots, header and empty directory. Peers come and go with
 * mailbox_file_join() and mailbox_file_leave(), which do to the directory what the broker does.
 */
#ifndef MAILBOX_FILE_H
#define MAILBOX_FILE_H

#include "famez/mailbox.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Writes slots and header into zeroed memory, as the broker does. */
static inline void mailbox_file_lay_out(void *base, const struct famez_geometry *g)
{
	struct famez_globals *globals = base;
	struct famez_header *h = famez_header_at(base);
	size_t peer_id = g->features & FAMEZ_FEATURE_OLD_SLOTS
				 ? offsetof(struct famez_slot_old, peer_id)
				 : offsetof(struct famez_slot, peer_id);

	globals->slot_bytes = FAMEZ_SLOT_BYTES;
	globals->text_offset = FAMEZ_SLOT_TEXT_OFFSET;
	globals->clients = g->ids - 2;
	globals->events = g->ids;
	globals->server_id = g->ids - 1;
	for (uint32_t id = 1; id < g->ids; id++)
		*(uint64_t *)(void *)((char *)famez_slot_at(base, id) + peer_id) = id;
	h->magic = FAMEZ_HEADER_MAGIC;
	h->features = g->features;
	h->bytes = g->bytes;
	h->ids = g->ids;
	h->server_id = g->server_id;
	h->vectors = g->vectors;
	h->lane_bytes = g->lane_bytes;
	h->inbox_bytes = g->inbox_bytes;
	h->server_shards = g->server_shards;
	h->directory_offset = g->directory_offset;
	h->inbox_offset = g->inbox_offset;
	h->lane_offset = g->lane_offset;
	h->data_offset = g->data_offset;
	famez_store_release(&h->version, FAMEZ_HEADER_VERSION);
}

/**
 * mailbox_file_make() - a memfd of @bytes, laid out for IDs 0 .. @ids-1 and mapped at *base.
 * @server: the server is a peer, ID @ids-1. Vectors say their sender where there are enough.
 * Returns the descriptor, or -errno.
 */
static inline int mailbox_file_make(uint32_t ids, uint64_t bytes, uint32_t vectors, bool server,
	struct famez_geometry *g, void **base)
{
	int err = famez_geometry_of(g, bytes, ids), fd;
	void *at;

	if (err)
		return err;
	g->vectors = vectors;
	g->server_id = server ? ids - 1 : FAMEZ_NOBODY;
	g->features = vectors >= ids ? FAMEZ_FEATURE_VECTOR_IS_SENDER : 0;
	fd = memfd_create("mailbox", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0) {
		err = -errno;
		(void)close(fd); /* an error is on its way already */
		return err;
	}
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		err = -errno;
		(void)close(fd); /* an error is on its way already */
		return err;
	}
	mailbox_file_lay_out(at, g);
	*base = at;
	return fd;
}

/** mailbox_file_join() - this ID has an owner, a new one. */
static inline void mailbox_file_join(void *base, const struct famez_geometry *g, uint32_t id)
{
	struct famez_entry *e = famez_entry_at(base, g, id);

	famez_store_relaxed(&e->joins, famez_load_relaxed(&e->joins) + 1);
	famez_store_release(&e->presence, (uint32_t)FAMEZ_PRESENT);
	(void)__atomic_fetch_add(&famez_header_at(base)->changes, 1, __ATOMIC_SEQ_CST);
}

/** mailbox_file_leave() - its owner is gone, in whatever state it left its lanes. */
static inline void mailbox_file_leave(void *base, const struct famez_geometry *g, uint32_t id)
{
	famez_store_release(&famez_entry_at(base, g, id)->presence, (uint32_t)FAMEZ_ABSENT);
	(void)__atomic_fetch_add(&famez_header_at(base)->changes, 1, __ATOMIC_SEQ_CST);
}

#endif
