/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez_device.c - libfamez in a guest, through a driver that is made up here.
 *
 * Two character devices that every system has stand for those of two guests: what open(2),
 * ioctl(2) and mmap(2) do with them is told here, as include/famez/driver.h has it. Their shared
 * memory is a mailbox file without a broker, their doorbells ring each other.
 */
#include "unit.h"

#include "famez/driver.h"
#include "famez/peer.h"
#include "mailbox_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define IDS     6u
#define VECTORS 3u
#define BYTES   (1u << 20)

struct guest {
	const char *path;
	int ours; /* the driver's end; -1: not open */
	int theirs;
	int wakes[VECTORS];
	struct famez_info info;
	bool claimed;
	bool busy; /* its vectors are another opener's */
	unsigned claims;
	struct famez_doorbell rung; /* the last, by ioctl */
	unsigned rings;
};

static struct guest guests[2];
static struct famez_geometry geometry;
static void *base;
static int memory = -1, registers = -1;

int __real_open(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long what, ...);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

static struct guest *guest_of(int fd)
{
	for (unsigned i = 0; i < 2; i++)
		if (guests[i].ours >= 0 && guests[i].theirs == fd)
			return &guests[i];
	return NULL;
}

/* The descriptor is closed by the library, and nobody tells us: so at the next open. */
static void shut(struct guest *g)
{
	if (g->ours >= 0)
		close(g->ours);
	for (unsigned i = 0; i < VECTORS; i++) {
		if (g->wakes[i] >= 0)
			close(g->wakes[i]);
		g->wakes[i] = -1;
	}
	g->ours = -1;
	g->claimed = false;
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list more;
	int mode, ends[2];

	for (unsigned i = 0; i < 2; i++) {
		if (!guests[i].path || strcmp(path, guests[i].path) != 0)
			continue;
		assert_int_equal(flags, O_RDWR | O_CLOEXEC);
		shut(&guests[i]);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		guests[i].ours = ends[0];
		guests[i].theirs = ends[1];
		return ends[1];
	}
	va_start(more, flags);
	mode = va_arg(more, int);
	va_end(more);
	return __real_open(path, flags, mode);
}

static int says(int err)
{
	errno = err;
	return err ? -1 : 0;
}

/* As the driver's interrupt does. */
static void interrupt(uint32_t id, uint32_t vector)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < 2; i++)
		if (guests[i].ours >= 0 && guests[i].info.id == id && vector < VECTORS &&
			guests[i].wakes[vector] >= 0)
			assert_int_equal(write(guests[i].wakes[vector], &one, sizeof(one)), 8);
}

int __wrap_ioctl(int fd, unsigned long what, ...)
{
	struct guest *g = guest_of(fd);
	const struct famez_wake *wake;
	const struct famez_doorbell *ring;
	va_list more;
	void *argument;

	va_start(more, what);
	argument = va_arg(more, void *);
	va_end(more);
	if (!g)
		return __real_ioctl(fd, what, argument);
	switch (what) {
	case FAMEZ_IOC_INFO:
		*(struct famez_info *)argument = g->info;
		return 0;
	case FAMEZ_IOC_CLAIM:
		if (g->claimed)
			return says(EBUSY);
		g->claimed = true;
		g->claims++;
		return 0;
	case FAMEZ_IOC_RELEASE:
		if (!g->claimed)
			return says(EPERM);
		g->claimed = false;
		return 0;
	case FAMEZ_IOC_WAKE:
		wake = argument;
		if (wake->vector >= VECTORS)
			return says(EINVAL);
		if (g->busy || g->wakes[wake->vector] >= 0)
			return says(EBUSY);
		g->wakes[wake->vector] = dup(wake->fd);
		return 0;
	case FAMEZ_IOC_RING:
		ring = argument;
		g->rung = *ring;
		g->rings++;
		interrupt(ring->peer, ring->vector);
		return 0;
	default:
		return says(ENOTTY);
	}
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (!guest_of(fd))
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	assert_int_equal(flags, MAP_SHARED);
	if (offset == (off_t)FAMEZ_MAP_REGISTERS)
		return __real_mmap(at, bytes, prot, flags, registers, 0);
	assert_int_equal(offset, FAMEZ_MAP_MEMORY);
	return __real_mmap(at, bytes, prot, flags, memory, 0);
}

/* ---- the test's own steps ---------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	DIR *all = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(all);
	while (readdir(all))
		count++;
	closedir(all);
	return count;
}

static unsigned descriptors_before;

static int set_up(void **state)
{
	static const char *const paths[] = {"/dev/full", "/dev/zero"};

	(void)state;
	descriptors_before = open_descriptors();
	memory = mailbox_file_make(IDS, BYTES, VECTORS, false, &geometry, &base);
	assert_true(memory >= 0);
	registers = memfd_create("registers", MFD_CLOEXEC);
	assert_int_equal(ftruncate(registers, 4096), 0);
	for (unsigned i = 0; i < 2; i++) {
		guests[i] = (struct guest){.path = paths[i],
			.ours = -1,
			.wakes = {-1, -1, -1},
			.info = {.abi = FAMEZ_DRIVER_ABI,
				.flags = FAMEZ_INFO_DOORBELL | FAMEZ_INFO_LANES,
				.bytes = BYTES,
				.id = i + 1,
				.vectors = VECTORS,
				.ids = IDS}};
		mailbox_file_join(base, &geometry, i + 1);
	}
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		shut(&guests[i]);
	munmap(base, BYTES);
	close(memory);
	close(registers);
	(void)state;
	assert_int_equal(open_descriptors(), descriptors_before);
	return 0;
}

/* A handle that has heard all there is at first: the other guest's vectors, and its own. */
static struct famez *join(unsigned guest)
{
	struct famez_join how = {.socket = guests[guest].path, .timeout_ms = 1000};
	struct famez_event event;
	struct famez *f;

	assert_int_equal(famez_join(&f, &how), 0);
	for (unsigned i = 0; i < 2 * VECTORS; i++) {
		assert_int_equal(famez_next(f, &event), 1);
		assert_int_equal(event.kind, FAMEZ_EVENT_VECTOR);
		assert_int_equal(event.peer, i < VECTORS ? 2 - guest : guest + 1);
		assert_int_equal(event.vector, i % VECTORS);
	}
	assert_int_equal(famez_next(f, &event), 0);
	return f;
}

static struct famez *join_and_open(unsigned guest, const char *name, int watch)
{
	struct famez_mailbox how = {.name = name, .watch = watch};
	struct famez *f = join(guest);

	assert_int_equal(famez_mailbox_open(f, &how), 0);
	return f;
}

static int join_says(unsigned guest)
{
	struct famez_join how = {.socket = guests[guest].path};
	struct famez *f;
	int err = famez_join(&f, &how);

	if (!err)
		famez_leave(f);
	return err;
}

static void wait_readable(struct famez *f)
{
	struct pollfd ready = {.fd = famez_fd(f), .events = POLLIN};

	assert_int_equal(poll(&ready, 1, 60000), 1); /* a guard against hanging */
}

static struct famez_event expect(struct famez *f, enum famez_event_kind kind)
{
	struct famez_event event;

	wait_readable(f);
	assert_int_equal(famez_next(f, &event), 1);
	assert_int_equal(event.kind, kind);
	return event;
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* ---- tests ------------------------------------------------------------------------------- */

static void a_device_gives_what_a_socket_does(void **state)
{
	struct famez *f = join(0);
	size_t bytes = 0;

	(void)state;
	assert_int_equal(famez_id(f), 1);
	assert_non_null(famez_memory(f, &bytes));
	assert_int_equal(bytes, BYTES);
	assert_int_equal(famez_vectors(f, 1), VECTORS);
	assert_int_equal(famez_vectors(f, 2), VECTORS);
	assert_int_equal(famez_vectors(f, 3), 0);
	assert_int_equal(famez_peer_after(f, -1), 1);
	assert_int_equal(famez_peer_after(f, 1), 2);
	assert_int_equal(famez_peer_after(f, 2), -1);
	assert_true(famez_bell_fd(f, 1, 0) >= 0);
	assert_int_equal(famez_bell_fd(f, 2, 0), -EINVAL);
	famez_leave(f);
}

static void doorbells_go_through_the_driver_and_come_as_events(void **state)
{
	struct famez *a = join(0), *b = join(1);
	struct famez_event event;

	(void)state;
	assert_int_equal(famez_ring(a, 2, 1), 0);
	assert_int_equal(guests[0].rung.peer, 2);
	event = expect(b, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 1);
	assert_int_equal(event.count, 1);
	assert_int_equal(famez_ring(a, 3, 0), -ENOTCONN);
	assert_int_equal(famez_ring(a, 2, VECTORS), -EINVAL);
	assert_int_equal(guests[0].rings, 1);
	famez_leave(a);
	famez_leave(b);
}

static void registers_that_are_mapped_ring_without_a_call(void **state)
{
	uint32_t word = 0;
	struct famez *f;

	(void)state;
	guests[0].info.flags |= FAMEZ_INFO_REGISTERS;
	f = join(0);
	assert_int_equal(famez_ring(f, 2, 1), 0);
	assert_int_equal(guests[0].rings, 0);
	assert_int_equal(pread(registers, &word, sizeof(word), FAMEZ_REGISTER_DOORBELL), 4);
	assert_int_equal(word, 2 << 16 | 1);
	famez_leave(f);
}

static void who_comes_and_goes_is_read_from_the_directory(void **state)
{
	struct famez *f = join(0);
	struct famez_event event;

	(void)state;
	mailbox_file_join(base, &geometry, 4);
	interrupt(1, 0); /* as the server rings who watches */
	for (uint16_t vector = 0; vector < VECTORS; vector++) {
		do
			assert_int_equal(famez_next(f, &event), 1);
		while (event.kind == FAMEZ_EVENT_DOORBELL);
		assert_int_equal(event.kind, FAMEZ_EVENT_VECTOR);
		assert_int_equal(event.peer, 4);
		assert_int_equal(event.vector, vector);
	}
	/* Another one under that ID, before anybody looked. */
	mailbox_file_leave(base, &geometry, 4);
	mailbox_file_join(base, &geometry, 4);
	interrupt(1, 0);
	do
		assert_int_equal(famez_next(f, &event), 1);
	while (event.kind == FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.kind, FAMEZ_EVENT_LEFT);
	assert_int_equal(event.peer, 4);
	assert_int_equal(expect(f, FAMEZ_EVENT_VECTOR).peer, 4);
	famez_leave(f);
}

static void messages_go_between_two_guests(void **state)
{
	struct famez *a = join_and_open(0, "ann", 0), *b = join_and_open(1, "bob", 1);
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	struct famez_event event;
	char text[16];

	(void)state;
	assert_true(guests[0].claimed && guests[1].claimed);
	while (famez_next(b, &event) == 1)
		assert_int_not_equal(event.kind, FAMEZ_EVENT_MESSAGE);
	assert_int_equal(famez_who_named(a, "bob"), 2);
	assert_int_equal(famez_send(a, &to, "hello", 5, 0, 0), 0);
	assert_int_equal(guests[0].rings, 1); /* bob slept */
	wait_readable(b);
	assert_int_equal(famez_recv(b, &m, text, sizeof(text), 0), 1);
	assert_int_equal(m.from, 1);
	assert_memory_equal(text, "hello", 5);
	famez_leave(a);
	famez_leave(b);
}

static void with_the_mailbox_comes_the_claim_and_the_word_of_who_comes(void **state)
{
	struct famez *f = join_and_open(0, "ann", 0);

	(void)state;
	/* Else nobody would ring us for a join or a leave. */
	assert_int_equal(famez_entry_at(base, &geometry, 1)->watches, 1);
	assert_int_equal(famez_mailbox_open(f, &(struct famez_mailbox){.name = "x"}), -EALREADY);
	assert_int_equal(guests[0].claims, 1);
	famez_leave(f);
}

static void a_claim_is_given_back_where_the_mailbox_is_none(void **state)
{
	struct famez *f = join(0);

	(void)state;
	assert_int_equal(famez_mailbox_open(f, &(struct famez_mailbox){.name = "a b"}), -EINVAL);
	assert_int_equal(guests[0].claims, 1);
	assert_false(guests[0].claimed);
	guests[0].claimed = true; /* somebody else's */
	assert_int_equal(famez_mailbox_open(f, &(struct famez_mailbox){.name = "ab"}), -EBUSY);
	assert_true(guests[0].claimed);
	famez_leave(f);
}

static void without_a_directory_anybody_can_be_rung(void **state)
{
	struct famez_join how = {.socket = guests[0].path};
	struct famez *f;

	(void)state;
	memset(base, 0, 4096);
	assert_int_equal(famez_join(&f, &how), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_int_equal(expect(f, FAMEZ_EVENT_VECTOR).peer, 1);
	assert_int_equal(famez_ring(f, 77, 9), 0);
	assert_int_equal(guests[0].rung.peer, 77);
	assert_int_equal(famez_ring(f, 77, 2048), -EINVAL);
	famez_leave(f);
}

static void an_unplugged_device_is_told_as_lost(void **state)
{
	uint32_t word = 0;
	struct famez *f;

	(void)state;
	guests[0].info.flags |= FAMEZ_INFO_REGISTERS;
	f = join(0);
	close(guests[0].ours);
	guests[0].ours = -1;
	(void)expect(f, FAMEZ_EVENT_LOST);
	assert_int_equal(famez_id(f), 1);
	/* Its registers are not touched any more: that would be SIGBUS. */
	assert_true(famez_ring(f, 2, 1) < 0);
	assert_int_equal(pread(registers, &word, sizeof(word), FAMEZ_REGISTER_DOORBELL), 4);
	assert_int_equal(word, 0);
	famez_leave(f);
}

static void a_driver_is_not_trusted(void **state)
{
	const struct famez_info good = guests[0].info;

	(void)state;
	guests[0].info.abi = FAMEZ_DRIVER_ABI + 1;
	assert_int_equal(join_says(0), -EPROTO);
	guests[0].info = good;
	guests[0].info.flags = 0;
	assert_int_equal(join_says(0), -EOPNOTSUPP); /* memory, and that is all */
	guests[0].info = good;
	guests[0].info.id = 65536;
	assert_int_equal(join_says(0), -EPROTO);
	guests[0].info = good;
	guests[0].info.vectors = 2049;
	assert_int_equal(join_says(0), -EPROTO);
	guests[0].info = good;
	guests[0].info.vectors = VECTORS + 1; /* more than it lets us wait for */
	assert_int_equal(join_says(0), -EINVAL);
	guests[0].info = good;
	guests[0].info.bytes = 0;
	assert_int_equal(join_says(0), -EPROTO);
	guests[0].info = good;
	guests[0].info.id = IDS; /* not in its own directory */
	assert_int_equal(join_says(0), -EPROTO);
}

static void a_device_that_another_one_has_is_busy(void **state)
{
	(void)state;
	guests[0].busy = true;
	assert_int_equal(join_says(0), -EBUSY);
	assert_int_equal(join_says(1), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_device_gives_what_a_socket_does),
		T(doorbells_go_through_the_driver_and_come_as_events),
		T(registers_that_are_mapped_ring_without_a_call),
		T(who_comes_and_goes_is_read_from_the_directory),
		T(messages_go_between_two_guests),
		T(with_the_mailbox_comes_the_claim_and_the_word_of_who_comes),
		T(a_claim_is_given_back_where_the_mailbox_is_none),
		T(without_a_directory_anybody_can_be_rung),
		T(an_unplugged_device_is_told_as_lost),
		T(a_driver_is_not_trusted),
		T(a_device_that_another_one_has_is_busy),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
