// SPDX-License-Identifier: MIT
/*
 * drive.c - what the driver's tests have a guest do with /dev/famezN that a shell can't.
 *
 * Linked statically, into the guests' initramfs. Each order is one run; what it found out goes
 * to stdout, exit 1 if something was not as it must be.
 *
 *   send DEVICE PEER COUNT MAX SEED   binary messages, sizes 1..MAX, each of known content
 *   recv DEVICE PEER COUNT MAX SEED   the same from a peer: none lost, none altered, in order
 *   info DEVICE                       FAMEZ_IOC_INFO, a word for each field
 *   claim DEVICE PEER SECONDS         has the lanes, rings a peer by the mapped register (or by
 *                                     the ioctl), prints the vectors that rang; gives all back
 *   hold DEVICE                       opens, maps, and reads until the device is gone: prints how
 *                                     that showed
 *   rights DEVICE                     what a descriptor for reading only must not do
 *   fill DEVICE PEER                  writes until that would wait, then until there is room again
 *   uevents DEVICE                    prints what the kernel tells of the fabric, for ever
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "famez/driver.h"

#define BYTES_MAX (1u << 20)

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)printf(": %s\n", strerror(errno));
	exit(1);
}

static int device_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("%s", path);
	return fd;
}

/* ---- messages of known content ------------------------------------------------------------- */

struct plan {
	uint32_t max;
	uint64_t seed;
};

static uint64_t mix(uint64_t v)
{
	v *= UINT64_C(0x9e3779b97f4a7c15);
	return v ^ v >> 29;
}

/* Most are short; one in 64 is as long as can be. */
static uint32_t size_of(const struct plan *p, uint32_t i)
{
	uint64_t r = mix(p->seed + i) >> 8;
	uint32_t most = p->max < 200 ? p->max : 200;

	return r % 64 == 0 ? p->max : 1 + (uint32_t)(r / 64 % most);
}

static void fill(const struct plan *p, uint32_t i, unsigned char *to, uint32_t bytes)
{
	for (uint32_t at = 0; at < bytes; at += 8) {
		uint64_t word = mix(p->seed + i) + at / 8;

		memcpy(to + at, &word, bytes - at < 8 ? bytes - at : 8);
	}
}

static void send_all(int fd, uint16_t peer, uint32_t count, const struct plan *p)
{
	static unsigned char payload[BYTES_MAX];
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct famez_packet head = {.peer = peer, .bytes = size_of(p, i)};
		struct iovec parts[] = {{&head, sizeof(head)}, {payload, head.bytes}};

		fill(p, i, payload, head.bytes);
		if (writev(fd, parts, 2) != (ssize_t)(sizeof(head) + head.bytes))
			die("message %u of %u bytes", i, head.bytes);
		sum += head.bytes;
	}
	(void)printf("sent %u %" PRIu64 "\n", count, sum);
}

static void receive_all(int fd, uint16_t peer, uint32_t count, const struct plan *p)
{
	static unsigned char got[sizeof(struct famez_packet) + BYTES_MAX], want[BYTES_MAX];
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count;) {
		ssize_t bytes = read(fd, got, sizeof(got));
		struct famez_packet head;
		uint32_t due = size_of(p, i);

		if (bytes < (ssize_t)sizeof(head))
			die("reading message %u gave %zd", i, bytes);
		memcpy(&head, got, sizeof(head));
		if (head.peer != peer || head.type != 0)
			continue;
		fill(p, i, want, due);
		errno = 0;
		if (head.bytes != due || bytes != (ssize_t)(sizeof(head) + due))
			die("message %u has %u bytes, not %u", i, head.bytes, due);
		if (memcmp(got + sizeof(head), want, due) != 0)
			die("message %u of %u bytes is not as it was sent", i, due);
		sum += due;
		i++;
	}
	(void)printf("received %u %" PRIu64 "\n", count, sum);
}

/* ---- what the device is, and who may do what ------------------------------------------------ */

static struct famez_info info_of(int fd)
{
	struct famez_info info;

	if (ioctl(fd, FAMEZ_IOC_INFO, &info))
		die("FAMEZ_IOC_INFO");
	return info;
}

static void show_info(const char *path)
{
	struct famez_info i = info_of(device_open(path, O_RDONLY));

	(void)printf("%u %u %" PRIu64 " %d %u %u %d %u %u\n", i.abi, i.flags, (uint64_t)i.bytes,
		(int)i.id, i.vectors, i.ids, (int)i.server_id, i.generation, i.payload_max);
}

static void expect(const char *what, bool so)
{
	if (!so)
		die("%s", what);
}

static void check_rights(const char *path)
{
	int reader = device_open(path, O_RDONLY), both = device_open(path, O_RDWR);
	int other = device_open(path, O_RDWR);
	struct famez_info info = info_of(both);
	struct famez_doorbell bell = {1, 0};
	struct famez_wake wake = {0, eventfd(0, 0)}, nowhere = {info.vectors, wake.fd};
	struct famez_wake none = {0, reader};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	expect("a reader may not map",
		mmap(NULL, page, PROT_READ, MAP_SHARED, reader, 0) == MAP_FAILED &&
			errno == EACCES);
	expect("a reader may not ring",
		ioctl(reader, FAMEZ_IOC_RING, &bell) == -1 && errno == EACCES);
	expect("a reader may not claim", ioctl(reader, FAMEZ_IOC_CLAIM) == -1 && errno == EACCES);
	expect("a reader may not write", write(reader, "1:x", 3) == -1 && errno == EBADF);
	expect("private maps are refused",
		mmap(NULL, page, PROT_READ, MAP_PRIVATE, both, 0) == MAP_FAILED && errno == EINVAL);
	expect("maps end where the memory ends",
		mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, both, (off_t)(info.bytes - page)) ==
				MAP_FAILED &&
			errno == ENXIO);
	expect("the registers are one page", mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, both,
						     (off_t)FAMEZ_MAP_REGISTERS) == MAP_FAILED &&
						     errno == ENXIO);
	expect("vectors are counted",
		ioctl(both, FAMEZ_IOC_WAKE, &nowhere) == -1 && errno == EINVAL);
	expect("an eventfd is one", ioctl(both, FAMEZ_IOC_WAKE, &none) == -1 && errno == EINVAL);
	expect("an eventfd is taken", ioctl(both, FAMEZ_IOC_WAKE, &wake) == 0);
	expect("a vector has one eventfd",
		ioctl(other, FAMEZ_IOC_WAKE, &wake) == -1 && errno == EBUSY);
	expect("there are two forms", ioctl(both, FAMEZ_IOC_FORM, 2) == -1 && errno == EINVAL);
	expect("there are no other ioctls", ioctl(both, _IO(0xFA, 99)) == -1 && errno == ENOTTY);
	if (info.ids) {
		expect("an address is asked for", write(both, "x", 1) == -1 && errno == EINVAL);
		expect("nobody is not there",
			write(both, "nobody:x", 8) == -1 && errno == ENOTCONN);
		expect("a text is asked for", write(both, "1:\n", 3) == -1 && errno == EINVAL);
		expect("one releases what one has",
			ioctl(both, FAMEZ_IOC_RELEASE) == -1 && errno == EPERM);
		expect("the lanes can be had", ioctl(both, FAMEZ_IOC_CLAIM) == 0);
		expect("by one", ioctl(other, FAMEZ_IOC_CLAIM) == -1 && errno == EBUSY);
		expect("others are told", write(other, "1:x", 3) == -1 && errno == EBUSY);
	}
	(void)printf("rights\n");
}

/* ---- mapped --------------------------------------------------------------------------------- */

static unsigned char *map_all(int fd, const struct famez_info *info)
{
	void *at = mmap(NULL, (size_t)info->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		die("mapping %" PRIu64 " bytes", (uint64_t)info->bytes);
	return at;
}

static void ring_peer(int fd, const struct famez_info *info, uint16_t peer)
{
	struct famez_doorbell bell = {peer, (uint16_t)info->id};
	void *at;

	if (!(info->flags & FAMEZ_INFO_REGISTERS)) {
		if (ioctl(fd, FAMEZ_IOC_RING, &bell))
			die("FAMEZ_IOC_RING");
		return;
	}
	at = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		(off_t)FAMEZ_MAP_REGISTERS);
	if (at == MAP_FAILED)
		die("mapping the registers");
	if (((volatile uint32_t *)at)[FAMEZ_REGISTER_ID / 4] != info->id)
		die("the mapped registers are another's");
	((volatile uint32_t *)at)[FAMEZ_REGISTER_DOORBELL / 4] =
		(uint32_t)bell.peer << 16 | bell.vector;
}

static void claim(const char *path, uint16_t peer, int seconds)
{
	int fd = device_open(path, O_RDWR);
	struct famez_info info = info_of(fd);
	struct pollfd *bells = calloc(info.vectors, sizeof(*bells));
	const unsigned char *memory = map_all(fd, &info);
	unsigned rang = 0;

	if (!bells || ioctl(fd, FAMEZ_IOC_CLAIM))
		die("FAMEZ_IOC_CLAIM");
	if (!(info_of(fd).flags & FAMEZ_INFO_CLAIMED) || info_of(fd).generation)
		die("not claimed");
	for (uint32_t v = 0; v < info.vectors; v++) {
		struct famez_wake wake = {v, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};

		bells[v] = (struct pollfd){.fd = wake.fd, .events = POLLIN};
		if (wake.fd < 0 || ioctl(fd, FAMEZ_IOC_WAKE, &wake))
			die("FAMEZ_IOC_WAKE %u", v);
	}
	(void)printf("claimed %.8s\n", (const char *)memory + 64);
	(void)fflush(stdout);
	ring_peer(fd, &info, peer);
	while (poll(bells, info.vectors, rang ? 200 : seconds * 1000) > 0) {
		for (uint32_t v = 0; v < info.vectors; v++) {
			eventfd_t count;

			if (bells[v].revents && eventfd_read(bells[v].fd, &count) == 0) {
				(void)printf("rung %u\n", v);
				rang++;
			}
		}
	}
	if (!rang)
		die("no eventfd was signalled in %d s", seconds);
}

/* ---- without waiting --------------------------------------------------------------------------
 */

static void fill_up(const char *path, const char *peer)
{
	struct pollfd ready = {.fd = device_open(path, O_RDWR | O_NONBLOCK), .events = POLLOUT};
	char text[1000];
	size_t head = (size_t)snprintf(text, sizeof(text), "%s:", peer);
	unsigned count = 0;

	memset(text + head, 'x', sizeof(text) - head);
	expect("it can be written at first", poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT));
	while (write(ready.fd, text, sizeof(text)) == sizeof(text))
		count++;
	expect("it is full in the end", errno == EAGAIN);
	expect("then it can't be written", poll(&ready, 1, 0) == 0);
	(void)printf("full %u\n", count);
	(void)fflush(stdout);
	expect("poll ends when there is room", poll(&ready, 1, 60000) == 1);
	expect("and then it can be written", write(ready.fd, text, sizeof(text)) == sizeof(text));
	(void)printf("room\n");
}

static void show_uevents(void)
{
	struct sockaddr_nl everybody = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int sock = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	char event[4096];

	if (sock < 0 || bind(sock, (struct sockaddr *)&everybody, sizeof(everybody)))
		die("netlink");
	(void)printf("listening\n");
	(void)fflush(stdout);
	for (;;) {
		ssize_t bytes = recv(sock, event, sizeof(event) - 1, 0);

		if (bytes < 0)
			die("netlink");
		event[bytes] = 0;
		for (const char *word = event; word < event + bytes; word += strlen(word) + 1)
			if (!strncmp(word, "FAMEZ_", 6))
				(void)printf("%s ", word);
		(void)printf("\n");
		(void)fflush(stdout);
	}
}

static sigjmp_buf out;

static void on_bus(int sign)
{
	siglongjmp(out, sign);
}

static void hold(const char *path)
{
	int fd = device_open(path, O_RDWR);
	struct famez_info info = info_of(fd);
	const volatile unsigned char *memory = map_all(fd, &info);
	struct pollfd gone = {.fd = fd, .events = 0};
	struct sigaction act = {.sa_handler = on_bus};
	char byte;

	(void)sigaction(SIGBUS, &act, NULL);
	(void)printf("holding\n");
	(void)fflush(stdout);
	if (sigsetjmp(out, 1) == 0) {
		for (uint64_t at = 0;; at = (at + 4096) % info.bytes)
			(void)memory[at];
	}
	if (poll(&gone, 1, 10000) != 1 || !(gone.revents & POLLHUP))
		die("poll after the device has gone: %x", (unsigned)gone.revents);
	if (read(fd, &byte, 1) != -1 || errno != ENODEV)
		die("read after the device has gone");
	if (ioctl(fd, FAMEZ_IOC_INFO, &info) != -1 || errno != ENODEV)
		die("ioctl after the device has gone");
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED || errno != ENODEV)
		die("mmap after the device has gone");
	(void)printf("gone\n");
}

int main(int argc, char **argv)
{
	const char *order = argc > 2 ? argv[1] : "";

	if (argc == 7 && (!strcmp(order, "send") || !strcmp(order, "recv"))) {
		struct plan plan = {(uint32_t)atoi(argv[5]), strtoull(argv[6], NULL, 10)};
		int fd = device_open(argv[2], O_RDWR);
		uint16_t peer = (uint16_t)atoi(argv[3]);
		uint32_t count = (uint32_t)atoi(argv[4]);

		if (!plan.max || plan.max > BYTES_MAX ||
			ioctl(fd, FAMEZ_IOC_FORM, FAMEZ_FORM_BINARY))
			die("%s of at most %u bytes", order, plan.max);
		if (order[0] == 's')
			send_all(fd, peer, count, &plan);
		else
			receive_all(fd, peer, count, &plan);
	} else if (!strcmp(order, "info")) {
		show_info(argv[2]);
	} else if (!strcmp(order, "rights")) {
		check_rights(argv[2]);
	} else if (argc == 5 && !strcmp(order, "claim")) {
		claim(argv[2], (uint16_t)atoi(argv[3]), atoi(argv[4]));
	} else if (argc == 4 && !strcmp(order, "fill")) {
		fill_up(argv[2], argv[3]);
	} else if (!strcmp(order, "uevents")) {
		show_uevents();
	} else if (!strcmp(order, "hold")) {
		hold(argv[2]);
	} else {
		(void)fprintf(stderr, "usage: drive ORDER DEVICE [WORD...]\n");
		return 2;
	}
	return 0;
}
