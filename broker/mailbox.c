/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - the shared memory as the broker lays it out and keeps its part of it.
 *
 * Writes headers at start, and who is there afterwards. Never reads a lane, never rings. A
 * broker that goes on for one who died lays out nothing: it writes once more, over whatever
 * stands there, what the state memory says of who is there.
 *
 * What an earlier broker left in an existing file is emptied by punching a hole, so that a
 * sparse file stays one. Its peers may live on, and have it mapped: they find lanes whose
 * positions make no sense to them any more, and a directory that does not know them. So that
 * none of them is taken for a new peer, generations go on from another number at each start.
 */
#include "mailbox.h"

#include <asm/unistd.h>
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(rt_sigaction, {0, SANDBOX_ALL, SIGBUS}), CALL(write));

/* ---- pages that are gone ---------------------------------------------------------------- */

/* The one mailbox that is open, for the handler. */
static _Atomic(struct mailbox *) guarded;
static struct sigaction before;

static bool replace_page(struct mailbox *m, uintptr_t at)
{
	uintptr_t first = (uintptr_t)m->base;
	long mapped;

	if (at < first || at - first >= m->bytes)
		return false;
	at -= (at - first) % m->page_bytes;
	/* mmap(2) without what a library or a sanitizer wraps around it. */
	mapped = syscall(__NR_mmap, at, m->page_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (mapped == -1)
		return false;
	/* Told of at once: perhaps nothing else wakes the registrar for long. write(2) may be
	 * called from a signal handler, and its counter is never full. */
	if (!atomic_exchange(&m->lost, true) && m->lost_fd >= 0)
		(void)!write(m->lost_fd, &(uint64_t){1}, sizeof(uint64_t));
	return true;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct mailbox *m = atomic_load(&guarded);
	int error = errno;

	(void)context;
	if (info->si_code > 0 && m && replace_page(m, (uintptr_t)info->si_addr)) {
		errno = error;
		return;
	}
	/* Not ours: what would have happened without us happens, when the access is repeated
	 * or, if somebody sent it, when it is sent again. */
	(void)sigaction(SIGBUS, &before, NULL);
	if (info->si_code <= 0)
		(void)raise(number);
}

static void guard(struct mailbox *m)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	assert(!atomic_load(&guarded));
	atomic_store(&guarded, m);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, &before);
}

static void unguard(void)
{
	(void)sigaction(SIGBUS, &before, NULL);
	atomic_store(&guarded, NULL);
}

/* ---- laying out ------------------------------------------------------------------------- */

static uint64_t region_bytes(const struct mailbox *m)
{
	const struct famez_geometry *g = &m->g;

	if (m->layout == LAYOUT_SLOTS)
		return (uint64_t)g->ids * FAMEZ_SLOT_BYTES;
	return g->data_offset + (uint64_t)g->ids * g->ids * g->lane_bytes;
}

/* Are there zeros and nothing else? It is read and not looked at where it is mapped: that would
 * take a huge page for each hole. What can't be read counts as something. */
static bool is_empty(int fd, uint64_t bytes)
{
	unsigned char seen[16384];
	uint64_t left;
	ssize_t got;

	for (off_t at = 0; (uint64_t)at < bytes; at += got) {
		off_t data = lseek(fd, at, SEEK_DATA);

		if ((data < 0 && errno == ENXIO) || data >= (off_t)bytes)
			return true; /* only a hole is left */
		if (data > at)
			at = data;
		left = bytes - (uint64_t)at;
		got = pread(fd, seen, left < sizeof(seen) ? left : sizeof(seen), at);
		if (got <= 0)
			return got == 0;
		if (seen[0] || memcmp(seen, seen + 1, (size_t)got - 1) != 0)
			return false;
	}
	return true;
}

/* Is what we lay out empty, or what a broker wrote: of ours, FAME-Z's or F.E.E.'s? */
static bool ours_to_use(const struct mailbox *m, int fd)
{
	static const unsigned char empty[FAMEZ_SLOT_BYTES];
	struct famez_globals globals;
	struct famez_header header;
	unsigned char seen[FAMEZ_SLOT_BYTES];

	memcpy(seen, m->base, sizeof(seen));
	if (memcmp(seen, empty, sizeof(seen)) == 0)
		return is_empty(fd, region_bytes(m));
	memcpy(&globals, seen, sizeof(globals));
	memcpy(&header, seen + FAMEZ_HEADER_OFFSET, sizeof(header));
	return header.magic == FAMEZ_HEADER_MAGIC ||
	       (globals.slot_bytes == FAMEZ_SLOT_BYTES &&
		       globals.text_offset == FAMEZ_SLOT_TEXT_OFFSET && globals.clients > 0 &&
		       globals.events == globals.clients + 2 &&
		       globals.server_id == globals.clients + 1);
}

/* Two brokers would empty and overwrite each other's mailbox. The lock is this process's
 * (fcntl(2)), and so does not live on in clients, as one of the open file would. */
static int lock_out_others(const struct memory *memory, struct why *why)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int err;

	if (!memory->named)
		return 0;
	err = sys_fcntl(memory->fd, F_SETLK, (long)&lock);
	if (err == -EACCES || err == -EAGAIN)
		return why_fail(why, -EADDRINUSE,
			"memory: a living server has laid out %s; choose another name, or want "
			"--layout plain",
			memory->name);
	if (err)
		return why_fail(
			why, err, "memory: cannot lock %s: %s", memory->name, strerror(-err));
	return 0;
}

static int empty_region(const struct mailbox *m, int fd, uint64_t bytes)
{
	uint64_t partial = bytes % m->page_bytes;
	off_t from = 0, to;
	int err;

	err = sys_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
	if (!err) {
		/* Older kernels' hugetlbfs leaves a page alone that is not wholly in it. */
		memset((char *)m->base + bytes - partial, 0, partial);
		return 0;
	}
	if (err != -EOPNOTSUPP && err != -ENOSYS)
		return err;
	/* A file system without holes to punch: overwrite what there is. */
	while ((uint64_t)from < bytes) {
		from = lseek(fd, from, SEEK_DATA);
		if (from < 0)
			return errno == ENXIO ? 0 : -errno;
		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return -errno;
		if ((uint64_t)to > bytes)
			to = (off_t)bytes;
		if (to > from)
			memset((char *)m->base + from, 0, (size_t)(to - from));
		from = to;
	}
	return 0;
}

/* Any number but 0, hardly ever the same one twice. */
static uint32_t some_generation(void)
{
	uint32_t number = 0;
	struct timespec now;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) {
		(void)clock_gettime(CLOCK_REALTIME, &now);
		number = (uint32_t)now.tv_sec * 1000000u + (uint32_t)now.tv_nsec / 1000u;
	}
	return number ? number : 1;
}

static struct famez_globals globals_of(const struct mailbox *m)
{
	return (struct famez_globals){
		.slot_bytes = FAMEZ_SLOT_BYTES,
		.text_offset = FAMEZ_SLOT_TEXT_OFFSET,
		.clients = m->g.ids - 2,
		.events = m->g.ids,
		.server_id = m->g.ids - 1,
	};
}

static void lay_out_slots(const struct mailbox *m)
{
	struct famez_globals *globals = m->base;

	for (uint32_t id = 1; id < m->g.ids; id++) {
		if (m->old_slots) {
			struct famez_slot_old *slot = (void *)famez_slot_at(m->base, id);

			slot->peer_id = id;
		} else {
			famez_slot_at(m->base, id)->peer_id = id;
		}
	}
	*globals = globals_of(m);
}

/* The server is there from the start. */
static const struct mailbox_member server_member = {.joins = 1, .presence = FAMEZ_PRESENT};

static void lay_out_directory(struct mailbox *m)
{
	const struct famez_geometry *g = &m->g;
	uint32_t generation = some_generation();
	struct famez_entry *server;

	for (uint32_t id = 0; id < g->ids; id++)
		famez_entry_at(m->base, g, id)->generation = generation;
	if (g->server_id == FAMEZ_NOBODY)
		return;
	m->generation = generation;
	m->members[g->server_id] = server_member;
	server = famez_entry_at(m->base, g, g->server_id);
	server->presence = FAMEZ_PRESENT;
	server->joins = 1;
	server->join = 1;
	(void)snprintf(server->name, sizeof(server->name), "server");
	server->speaks = FAMEZ_SPEAKS_LANES;
}

/* As it is to be, but for the number of changes. */
static struct famez_header header_of(const struct mailbox *m)
{
	const struct famez_geometry *g = &m->g;

	return (struct famez_header){
		.magic = FAMEZ_HEADER_MAGIC,
		.features = g->features,
		.bytes = g->bytes,
		.ids = g->ids,
		.server_id = g->server_id,
		.vectors = g->vectors,
		.lane_bytes = g->lane_bytes,
		.inbox_bytes = g->inbox_bytes,
		.server_shards = g->server_shards,
		.directory_offset = g->directory_offset,
		.inbox_offset = g->inbox_offset,
		.lane_offset = g->lane_offset,
		.data_offset = g->data_offset,
	};
}

static void lay_out_header(const struct mailbox *m)
{
	struct famez_header *h = famez_header_at(m->base);

	*h = header_of(m);
	/* Everything else is there for whoever sees it. Pairs with famez_geometry_read(). */
	famez_store_release(&h->version, FAMEZ_HEADER_VERSION);
}

static int lay_out(struct mailbox *m, const struct memory *memory, struct why *why)
{
	int err = memory->existed ? empty_region(m, memory->fd, region_bytes(m)) : 0;

	if (err)
		return why_fail(
			why, err, "memory: cannot empty %s: %s", memory->name, strerror(-err));
	lay_out_slots(m);
	if (m->layout == LAYOUT_LANES) {
		lay_out_directory(m);
		lay_out_header(m);
	}
	if (mailbox_lost(m))
		return why_fail(why, -ENOSPC,
			"memory: its first pages cannot be written; is there room where it lies, "
			"or are there huge pages? Or want --layout plain");
	return 0;
}

static void take_geometry(struct mailbox *m, const struct mailbox_wish *wish)
{
	if (wish->layout == LAYOUT_LANES) {
		int err = famez_geometry_of(&m->g, m->bytes, wish->ids);

		assert(!err);
	} else {
		assert((uint64_t)wish->ids * FAMEZ_SLOT_BYTES <= m->bytes);
		m->g = (struct famez_geometry){.bytes = m->bytes, .ids = wish->ids};
	}
	m->g.server_id = wish->server_id;
	m->g.vectors = wish->vectors;
	m->g.server_shards = wish->shards;
	m->g.features = (wish->old_slots ? FAMEZ_FEATURE_OLD_SLOTS : 0u) |
			(wish->vectors >= wish->ids ? FAMEZ_FEATURE_VECTOR_IS_SENDER : 0u);
}

/* Locked, mapped and guarded, as @wish has it. Leaves nothing behind on failure. */
static int map(struct mailbox *m, const struct memory *memory, const struct mailbox_wish *wish,
	struct why *why)
{
	int err;

	err = lock_out_others(memory, why);
	if (err)
		return err;
	m->bytes = memory->bytes;
	m->page_bytes = memory_page_bytes(memory->fd);
	m->members = sys_calloc(wish->ids, sizeof(*m->members));
	if (!m->members)
		return why_fail(why, -ENOMEM,
			"memory: no room for the directory of %u IDs; ask "
			"for fewer --peers",
			wish->ids);
	err = sys_mmap(memory->fd, m->bytes, &m->base);
	if (err) {
		(void)why_fail(why, err,
			"memory: cannot map its %llu bytes: %s; ask for fewer with -l and --peers, "
			"or for --layout plain",
			(unsigned long long)m->bytes, strerror(-err));
		goto undo_members;
	}
	/* A core dump of it would say little, and keep a successor waiting. */
	(void)madvise(m->base, m->bytes, MADV_DONTDUMP);
	guard(m);
	m->layout = wish->layout;
	take_geometry(m, wish);
	return 0;

undo_members:
	free(m->members);
	*m = (struct mailbox){0};
	return err;
}

static void make_plain(struct mailbox *m, const struct mailbox_wish *wish)
{
	*m = (struct mailbox){.layout = LAYOUT_PLAIN, .old_slots = wish->old_slots, .lost_fd = -1};
	m->g.server_id = FAMEZ_NOBODY;
}

int mailbox_open(struct mailbox *m, const struct memory *memory, const struct mailbox_wish *wish,
	struct why *why)
{
	int err;

	make_plain(m, wish);
	if (wish->layout == LAYOUT_PLAIN)
		return 0;
	err = map(m, memory, wish, why);
	if (err)
		return err;
	if (memory->existed && wish->spare_foreign && !ours_to_use(m, memory->fd)) {
		mailbox_close(m);
		make_plain(m, wish);
		m->foreign = true;
		return 0;
	}
	err = lay_out(m, memory, why);
	if (err)
		mailbox_close(m);
	return err;
}

int mailbox_attach(struct mailbox *m, const struct memory *memory, const struct mailbox_wish *wish,
	uint32_t generation, struct why *why)
{
	int err;

	make_plain(m, wish);
	if (wish->layout == LAYOUT_PLAIN)
		return 0;
	err = map(m, memory, wish, why);
	if (err || m->layout != LAYOUT_LANES)
		return err;
	if (m->g.server_id == FAMEZ_NOBODY)
		return 0;
	m->generation = generation;
	m->members[m->g.server_id] = server_member;
	return 0;
}

void mailbox_remember(struct mailbox *m, uint32_t id, const struct mailbox_member *member)
{
	if (m->layout != LAYOUT_LANES)
		return;
	assert(id < m->g.ids && id != m->g.server_id);
	m->members[id] = *member;
}

void mailbox_close(struct mailbox *m)
{
	if (!m->base)
		return;
	unguard();
	(void)munmap(m->base, m->bytes);
	free(m->members);
	*m = (struct mailbox){0};
}

const char *mailbox_layout_name(enum mailbox_layout layout)
{
	static const char *const names[] = {"plain", "slots", "lanes"};

	return names[layout];
}

bool mailbox_lost(const struct mailbox *m)
{
	return atomic_load_explicit(&m->lost, memory_order_relaxed);
}

/* ---- who is there ----------------------------------------------------------------------- */

static struct famez_entry *entry_of(const struct mailbox *m, uint32_t id)
{
	assert(id < m->g.ids && id != m->g.server_id);
	return famez_entry_at(m->base, &m->g, id);
}

static void set_presence(struct mailbox *m, uint32_t id, enum famez_presence presence)
{
	m->members[id].presence = (uint8_t)presence;
	famez_store_release(&entry_of(m, id)->presence, (uint32_t)presence);
}

/* After what changed: who is rung, and sees the number, sees the change. */
static void count_change(struct mailbox *m)
{
	famez_store_release(&famez_header_at(m->base)->changes, ++m->changes);
}

/* Words that are as they should be are not written: readers share their lines. */
static void mend32(uint32_t *word, uint32_t value)
{
	if (famez_load_relaxed(word) != value)
		famez_store_release(word, value);
}

static void mend64(uint64_t *word, uint64_t value)
{
	if (famez_load_relaxed(word) != value)
		famez_store_release(word, value);
}

static void mend_words(void *at, const void *as, size_t bytes)
{
	uint64_t value;

	for (size_t i = 0; i < bytes / sizeof(value); i++) {
		memcpy(&value, (const char *)as + i * sizeof(value), sizeof(value));
		mend64((uint64_t *)at + i, value);
	}
}

/* For those who come: who is there has taken all of it already, but for `changes`. */
static void mend_header(const struct mailbox *m)
{
	struct famez_globals globals = globals_of(m);
	struct famez_header header = header_of(m);

	header.version = FAMEZ_HEADER_VERSION;
	header.changes = m->changes;
	mend_words(m->base, &globals, sizeof(globals));
	mend_words(famez_header_at(m->base), &header, sizeof(header));
}

void mailbox_mend(struct mailbox *m)
{
	const struct famez_geometry *g = &m->g;
	struct famez_entry *e;

	if (m->layout != LAYOUT_LANES || mailbox_lost(m))
		return;
	mend_header(m);
	for (uint32_t id = 0; id < g->ids; id++) {
		const struct mailbox_member *member = &m->members[id];

		e = famez_entry_at(m->base, g, id);
		mend32(&e->joins, member->joins);
		mend32(&e->device, member->device);
		mend32(&e->presence, member->presence);
	}
	if (g->server_id == FAMEZ_NOBODY)
		return;
	e = famez_entry_at(m->base, g, g->server_id);
	mend32(&e->join, 1u);
	mend32(&e->generation, m->generation);
	mend32(&e->speaks, FAMEZ_SPEAKS_LANES);
}

void mailbox_joining(struct mailbox *m, uint32_t id, bool device)
{
	struct famez_entry *e;

	if (m->layout != LAYOUT_LANES)
		return;
	mend_header(m); /* the newcomer reads it before the next tick */
	m->members[id].device = device;
	e = entry_of(m, id);
	assert(m->members[id].presence == FAMEZ_ABSENT);
	/* From here on the peer's own lines are those of somebody who is gone. */
	famez_store_relaxed(&e->joins, ++m->members[id].joins);
	famez_store_relaxed(&e->cid, 0u);
	famez_store_relaxed(&e->sid, 0u);
	famez_store_relaxed(&e->device, device ? 1u : 0u);
	set_presence(m, id, FAMEZ_JOINING);
}

void mailbox_present(struct mailbox *m, uint32_t id)
{
	if (m->layout != LAYOUT_LANES)
		return;
	assert(m->members[id].presence == FAMEZ_JOINING);
	set_presence(m, id, FAMEZ_PRESENT);
	count_change(m);
}

/* F.E.E. does so at a disconnect: clients list whoever has a name. */
static void forget_names(const struct mailbox *m, uint32_t id)
{
	struct famez_slot *slot = famez_slot_at(m->base, id);

	/* What nobody took would keep the ID's next owner from saying anything. */
	if (m->old_slots)
		famez_store_relaxed(
			&((struct famez_slot_old *)(void *)slot)->text_bytes, UINT64_C(0));
	else
		famez_store_relaxed(&slot->text_bytes, UINT64_C(0));
	memset(slot->name, 0, sizeof(slot->name));
	if (!m->old_slots)
		memset(slot->cclass, 0, sizeof(slot->cclass));
}

void mailbox_absent(struct mailbox *m, uint32_t id)
{
	bool was_present;

	if (m->layout == LAYOUT_PLAIN)
		return;
	forget_names(m, id);
	if (m->layout != LAYOUT_LANES)
		return;
	was_present = m->members[id].presence == FAMEZ_PRESENT;
	set_presence(m, id, FAMEZ_ABSENT);
	if (was_present)
		count_change(m);
}

uint64_t mailbox_said(const struct mailbox *m, uint32_t id)
{
	if (m->layout != LAYOUT_LANES || m->g.server_id == FAMEZ_NOBODY)
		return 0;
	return famez_load_acquire(&famez_lane_at(m->base, &m->g, m->g.server_id, id)->produced);
}

bool mailbox_watches(const struct mailbox *m, uint32_t id)
{
	const struct famez_entry *e;

	if (m->layout != LAYOUT_LANES || m->members[id].presence != FAMEZ_PRESENT ||
		id == m->g.server_id)
		return false;
	e = entry_of(m, id);
	return famez_load_relaxed(&e->join) == m->members[id].joins &&
	       famez_load_relaxed(&e->watches) != 0;
}
