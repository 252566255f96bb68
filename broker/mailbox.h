/* SPDX-License-Identifier: MIT */
/*
 * mailbox.h - the shared memory as the broker lays it out and keeps its part of it.
 *
 * Made and mapped in the main thread at start. Afterwards the registrar alone writes who is
 * there (the broker's line of each directory entry), and workers serve the server's own
 * inbox and lanes (mail.h). Nothing that we need is ever read back from the file: geometry
 * is ours, and so is who is present.
 *
 * A file with a name can be truncated by whoever has it open, and then touching it would
 * end us by SIGBUS. So pages that are gone are replaced by private empty ones, and the
 * mailbox counts as lost: membership and doorbells go on, messages to the server don't. The
 * handler is the process's, so only one mailbox is open at a time.
 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "famez/mailbox.h"
#include "memory.h"
#include "why.h"

enum mailbox_layout {
	LAYOUT_PLAIN, /* not ours to touch: an empty file, as QEMU's server hands it out */
	LAYOUT_SLOTS, /* v1 slots only */
	LAYOUT_LANES, /* v1 slots, and the v2 header, directory, inboxes and lanes */
};

/* What the broker knows of an ID in the directory. */
struct mailbox_member {
	uint32_t joins;
	uint8_t presence; /* enum famez_presence */
	uint8_t device;   /* as in famez_entry */
};

struct mailbox {
	enum mailbox_layout layout;
	void *base; /* NULL if plain */
	uint64_t bytes;
	struct famez_geometry g; /* ids, server_id and features also where there are slots only */
	bool old_slots;          /* slots as FAME-Z lays them out */
	bool foreign;            /* plain because of what was found in it */
	struct mailbox_member *members; /* by ID; the registrar's */
	uint64_t changes;               /* the registrar's */
	uint32_t generation;            /* of the server */
	uint64_t page_bytes;            /* what is replaced when it is gone */
	_Atomic bool lost;
	int lost_fd; /* an eventfd of the registrar's: written when it gets lost; -1: none */
};

/** What a mailbox is to be like. */
struct mailbox_wish {
	enum mailbox_layout layout;
	uint32_t ids;       /* peers + 2 */
	uint32_t server_id; /* FAMEZ_NOBODY: silent */
	uint16_t vectors;
	uint16_t shards; /* workers that serve the server's inbox, 1..FAMEZ_SHARDS_MAX */
	bool old_slots;
	bool spare_foreign; /* plain, if there is something that no broker wrote */
};

/**
 * mailbox_open() - map @memory and lay it out, emptying what an earlier broker left; the
 * header's version is stored last. @memory must have room for the layout.
 * Returns 0 or -errno with one line in @why.
 */
int mailbox_open(struct mailbox *m, const struct memory *memory, const struct mailbox_wish *wish,
	struct why *why);
void mailbox_close(struct mailbox *m);

/**
 * mailbox_attach() - instead of mailbox_open(), go on with what a predecessor laid out, as @wish
 * had come out (its layout: what mailbox.layout was). @generation: of the server. Nothing is
 * written or read. Then mailbox_remember() of each ID that anybody ever had, `changes`, and
 * mailbox_mend(). Returns 0 or -errno with one line in @why.
 */
int mailbox_attach(struct mailbox *m, const struct memory *memory, const struct mailbox_wish *wish,
	uint32_t generation, struct why *why);

/** mailbox_remember() - what the directory says of @id. */
void mailbox_remember(struct mailbox *m, uint32_t id, const struct mailbox_member *member);

/** mailbox_layout_name() - "plain", "slots" or "lanes". */
const char *mailbox_layout_name(enum mailbox_layout layout);

/** mailbox_lost() - the file was truncated under us, or has no room left. Any thread. */
bool mailbox_lost(const struct mailbox *m);

/* Registrar only; nothing happens unless the layout is LAYOUT_LANES (slots: name and class of
 * who leaves are cleared). */

/** mailbox_joining() - @id has a new owner, who is about to be told. */
void mailbox_joining(struct mailbox *m, uint32_t id, bool device);
/** mailbox_present() - it has been told everything of its own, and joins. */
void mailbox_present(struct mailbox *m, uint32_t id);
/** mailbox_absent() - it is gone. */
void mailbox_absent(struct mailbox *m, uint32_t id);
/** mailbox_mend() - store again what the broker wrote, where somebody scribbled over it. To be
 * called once every FAMEZ_TICK_NS. */
void mailbox_mend(struct mailbox *m);
/**
 * mailbox_said() - up to where @id's lane to the server is written, as far as whoever wrote it
 * says. Before the ID has its next owner, that is where he begins.
 */
uint64_t mailbox_said(const struct mailbox *m, uint32_t id);
/** mailbox_watches() - @id is present and asked to be rung at joins and leaves. */
bool mailbox_watches(const struct mailbox *m, uint32_t id);

#endif
