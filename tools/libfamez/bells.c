/* SPDX-License-Identifier: MIT */
/*
 * bells.c - the store of other peers' eventfds.
 *
 * Several handles of one process may share a store; one copy is kept of each
 * eventfd, however often it is received. The store belongs to one thread,
 * together with its handles. It owns every descriptor in it; it never reads or
 * writes one, and never sees a socket.
 *
 * Handles learn of joins and leaves at different times, each from its own
 * socket. So what is kept is not "the eventfds of peer 7" but sets: the
 * eventfds of one incarnation of peer 7, held by the handles that believe in
 * it. Where a server gives a returning peer other eventfds than before, a
 * second set stands beside the first one, until the last handle has heard of
 * the leave; nobody's copy is replaced behind his back. Which set an eventfd
 * belongs to is found by asking the kernel whether two descriptors are the same
 * open file; every eventfd that arrives a second time is asked about (0.3 us
 * each, 1.5 us before Linux 6.10). A handle that is sent another eventfd than
 * the others, be it for the last of 2,048 vectors, moves to a set of its own,
 * which shares no descriptor with theirs: so it rings what it was sent, and
 * whoever compares the descriptors of any one vector sees that two handles
 * were told different things.
 *
 * Invariant: every set in a chain has holds >= 1; a set without is in the list
 * of free ones, and has no descriptors.
 */
#include "bells.h"

#include "famez/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of many systems (linux/fcntl.h, Linux 6.10). */
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY (1024 + 3)
#endif

#define ID_NUMBERS (FAMEZ_WIRE_ID_MAX + 1u)

struct set {
	int *fds;       /* -1 where a vector is unknown */
	uint32_t slots; /* size of fds */
	uint32_t holds; /* handles that hold it */
	uint32_t next;  /* in the chain of its ID, or of the free ones; 0 ends it */
	uint16_t id;
};

struct famez_bells {
	enum bells_compare how;
	struct set *sets; /* sets[0] is never used */
	uint32_t sets_size;
	uint32_t sets_used; /* sets[sets_used] and up have never been used */
	uint32_t free;      /* chain of sets given back */
	uint32_t *first;    /* by ID: the chain of its sets */
	uint32_t first_size;
	uint32_t held; /* sets with holds >= 1 */
};

int famez_bells_open(struct famez_bells **out)
{
	struct famez_bells *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->sets_used = 1;
	*out = b;
	return 0;
}

void famez_bells_close(struct famez_bells *b)
{
	if (!b)
		return;
	assert(b->held == 0); /* else a handle that uses the store has not left */
	free(b->sets);
	free(b->first);
	free(b);
}

/* The number that the kernel gives each eventfd, or -errno. */
static long long eventfd_number(int fd)
{
	char line[128];
	char path[64];
	long long number = -ENOENT;
	unsigned value;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	if (!info)
		return -errno;
	while (fgets(line, sizeof(line), info))
		/* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it */
		if (sscanf(line, "eventfd-id: %x", &value) == 1)
			number = value;
	(void)fclose(info); /* read only: nothing can get lost */
	return number;
}

bool bells_same(enum bells_compare *how, int a, int b)
{
	long long number;
	long same;

	if (*how == BELLS_BY_FCNTL) {
		same = fcntl(a, F_DUPFD_QUERY, b);
		if (same >= 0)
			return same == 1;
		*how = BELLS_BY_KCMP;
	}
	if (*how == BELLS_BY_KCMP) {
		same = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);
		if (same >= 0)
			return same == 0;
		*how = BELLS_BY_FDINFO;
	}
	/* If we can't tell, both copies are kept: dear, but right. */
	number = eventfd_number(a);
	return number >= 0 && number == eventfd_number(b);
}

/* Ringing must not block, and anything but an eventfd might. */
static bool is_eventfd(int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	char path[64];
	char target[sizeof(eventfd)];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	if (length < 0)
		return true; /* no /proc here: we can't tell */
	return length == (ssize_t)sizeof(eventfd) - 1 &&
	       memcmp(target, eventfd, (size_t)length) == 0;
}

/* Makes room in b->first for this ID. */
static int reach_id(struct famez_bells *b, uint16_t id)
{
	uint32_t size = b->first_size ? b->first_size : 16;
	uint32_t *first;

	while (size <= id)
		size *= 2;
	assert(size <= ID_NUMBERS);
	if (size == b->first_size)
		return 0;
	first = realloc(b->first, size * sizeof(*first));
	if (!first)
		return -ENOMEM;
	memset(first + b->first_size, 0, (size - b->first_size) * sizeof(*first));
	b->first = first;
	b->first_size = size;
	return 0;
}

/* Makes room in a set for this vector. */
static int reach_vector(struct set *s, unsigned vector)
{
	uint32_t size = s->slots ? s->slots : 1;
	int *fds;

	assert(vector < FAMEZ_WIRE_VECTORS_MAX);
	while (size <= vector)
		size *= 2;
	if (size == s->slots)
		return 0;
	fds = realloc(s->fds, size * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	while (s->slots < size)
		fds[s->slots++] = -1;
	s->fds = fds;
	return 0;
}

/* A set without holds, taken out of the free ones but in no chain yet. */
static int take_set(struct famez_bells *b, uint32_t *out)
{
	if (b->free) {
		*out = b->free;
		b->free = b->sets[b->free].next;
		return 0;
	}
	if (b->sets_used > BELLS_SETS_MAX)
		return -ENOSPC;
	if (b->sets_used >= b->sets_size) {
		uint32_t size = b->sets_size ? b->sets_size * 2 : 16;
		struct set *sets = realloc(b->sets, size * sizeof(*sets));

		if (!sets)
			return -ENOMEM;
		b->sets = sets;
		b->sets_size = size;
	}
	*out = b->sets_used++;
	return 0;
}

static void put_set(struct famez_bells *b, uint32_t set)
{
	struct set *s = &b->sets[set];

	for (uint32_t i = 0; i < s->slots; i++)
		if (s->fds[i] >= 0)
			(void)close(s->fds[i]); /* an eventfd has nothing to flush */
	free(s->fds);
	*s = (struct set){.next = b->free};
	b->free = set;
}

/* The set of this ID whose vector is this very eventfd, 0 if there is none. */
static uint32_t find(struct famez_bells *b, uint16_t id, unsigned vector, int fd)
{
	uint32_t set = id < b->first_size ? b->first[id] : 0;

	while (set) {
		int known = bells_fd(b, set, vector);

		if (known >= 0 && bells_same(&b->how, known, fd))
			break;
		set = b->sets[set].next;
	}
	return set;
}

static int start_set(struct famez_bells *b, uint32_t *out, uint16_t id, unsigned vector, int fd)
{
	uint32_t set;
	int err = reach_id(b, id);

	if (err)
		return err;
	err = take_set(b, &set);
	if (err)
		return err;
	b->sets[set] = (struct set){.id = id};
	err = reach_vector(&b->sets[set], vector);
	if (err) {
		put_set(b, set);
		return err;
	}
	b->sets[set].fds[vector] = fd;
	b->sets[set].holds = 1;
	b->sets[set].next = b->first[id];
	b->first[id] = set;
	b->held++;
	*out = set;
	return 0;
}

/* Do both sets hold the same eventfds, up to this vector? */
static bool agree(struct famez_bells *b, uint32_t one, uint32_t other, unsigned vectors)
{
	for (unsigned vector = 0; vector < vectors; vector++) {
		int x = bells_fd(b, one, vector);
		int y = bells_fd(b, other, vector);

		if (x < 0 ? y >= 0 : y < 0 || !bells_same(&b->how, x, y))
			return false;
	}
	return true;
}

/* Descriptors of our own for the vectors of another set, below this one. */
static int copy_fds(struct famez_bells *b, uint32_t to, uint32_t from, unsigned vectors)
{
	for (unsigned vector = 0; vector < vectors; vector++) {
		int fd = bells_fd(b, from, vector);

		if (fd < 0)
			continue;
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -ENOSPC;
		b->sets[to].fds[vector] = fd;
	}
	return 0;
}

/* Our handle was sent another eventfd than those it shares this set with: it moves to one
 * that fits, or to a new one. Like bells_give(), but a failure leaves fd to the caller. */
static int part(struct famez_bells *b, uint32_t *set, unsigned vector, int fd)
{
	uint16_t id = b->sets[*set].id;
	uint32_t other = b->first[id];
	int err;

	while (other && (bells_fd(b, other, vector) < 0 ||
				!bells_same(&b->how, bells_fd(b, other, vector), fd) ||
				!agree(b, other, *set, vector)))
		other = b->sets[other].next;
	if (other) {
		b->sets[other].holds++;
		(void)close(fd); /* an eventfd has nothing to flush */
	} else {
		/* Copies first: once fd is in a set, that set closes it. */
		err = start_set(b, &other, id, vector, -1);
		if (err)
			return err;
		err = copy_fds(b, other, *set, vector);
		if (err) {
			bells_drop(b, other);
			return err;
		}
		b->sets[other].fds[vector] = fd;
	}
	bells_drop(b, *set);
	*set = other;
	return 0;
}

int bells_give(struct famez_bells *b, uint32_t *set, uint16_t id, unsigned vector, int fd)
{
	bool held = *set != 0;
	uint32_t found = held ? *set : find(b, id, vector, fd);
	int known = found ? bells_fd(b, found, vector) : -1;
	int err = 0;

	/* What find() found is the same already. */
	if (known >= 0 && (!held || bells_same(&b->how, known, fd))) {
		b->sets[found].holds += !held;
		(void)close(fd); /* an eventfd has nothing to flush */
		*set = found;
		return 0;
	}
	if (!is_eventfd(fd)) {
		err = -EPROTO;
	} else if (known >= 0) {
		err = part(b, set, vector, fd);
	} else if (found) {
		err = reach_vector(&b->sets[found], vector);
		if (!err)
			b->sets[found].fds[vector] = fd;
	} else {
		err = start_set(b, set, id, vector, fd);
	}
	if (err)
		(void)close(fd); /* whatever it is, we did not write to it */
	return err;
}

void bells_drop(struct famez_bells *b, uint32_t set)
{
	struct set *s = &b->sets[set];
	uint32_t *link = &b->first[s->id];

	assert(set && s->holds);
	if (--s->holds)
		return;
	while (*link != set)
		link = &b->sets[*link].next;
	*link = s->next;
	put_set(b, set);
	b->held--;
}

int bells_fd(const struct famez_bells *b, uint32_t set, unsigned vector)
{
	const struct set *s = &b->sets[set];

	assert(set && set < b->sets_used);
	return vector < s->slots ? s->fds[vector] : -1;
}
