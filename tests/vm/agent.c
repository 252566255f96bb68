// SPDX-License-Identifier: MIT
/*
 * agent.c - what a guest of the tests does with its ivshmem device, by order.
 *
 * Runs as the only program of the guest's initramfs, under busybox's init
 * script. Maps the device's BARs through sysfs and obeys lines that come on a
 * second serial port, one answer line each. Linked statically; one thread;
 * anything unexpected ends it, and with it the guest.
 *
 * There is no driver for the device in the stock kernel, so nobody can take
 * its interrupts. They are shown in two other ways. "arm ram" has each MSI-X
 * vector write its message into a locked page of our own, which is all that an
 * MSI is: a write by the device. "arm pending" turns MSI-X on with all vectors
 * masked; a doorbell then sets its vector's bit in the Pending Bit Array. The
 * first needs a device model that writes where it is told (TCG; KVM routes
 * messages to interrupt controllers only), the second works everywhere.
 *
 *   info             -> info VENDOR:DEVICE REV CLASS SUBVENDOR:SUBDEVICE BAR2BYTES VECTORS ID
 *   id               -> id ID
 *   read OFF LEN     -> read HEX
 *   write OFF HEX    -> ok
 *   ring PEER VECTOR -> ok
 *   arm ram|pending  -> ok
 *   rung             -> rung V V...    (since the last look; pending ones stay)
 *   off              powers the guest off
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PAGE        4096
#define VECTORS_MAX (PAGE / 4) /* a word each in our page */
#define READ_MAX    512

/* ivshmem-spec, "Register map"; PCI 3.0, 6.7 and 6.8.2. */
#define IV_POSITION   8
#define DOORBELL      12
#define CAP_MSIX      0x11
#define MSIX_ENABLE   0x8000
#define VECTOR_MASKED 1

static struct {
	char folder[256]; /* in sysfs */
	int config;       /* the folder's "config" */
	unsigned msix;    /* where its capability is */
	unsigned vectors;
	volatile uint32_t *registers; /* BAR0 */
	volatile uint8_t *tables;     /* BAR1 */
	volatile uint32_t *table;     /* in it: 4 words a vector */
	volatile uint32_t *pending;   /* in it: a bit a vector */
	volatile uint8_t *memory;     /* BAR2 */
	uint64_t memory_bytes;
	volatile uint32_t *messages; /* our page, where "arm ram" points the vectors */
	bool to_ram;
} dev;

static __attribute__((noreturn)) void die(const char *what)
{
	(void)fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_in(const char *name, int flags)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dev.folder, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

static uint32_t config_read(unsigned offset)
{
	uint32_t word;

	if (pread(dev.config, &word, sizeof(word), offset) != sizeof(word))
		die("config space");
	return word;
}

static void config_write16(unsigned offset, uint16_t value)
{
	if (pwrite(dev.config, &value, sizeof(value), offset) != sizeof(value))
		die("config space");
}

static volatile void *map_bar(const char *name, uint64_t *bytes)
{
	struct stat st;
	void *at;
	int fd = open_in(name, O_RDWR);

	if (fstat(fd, &st))
		die(name);
	/* BAR0 is smaller than a page; its page holds nothing else. */
	at = mmap(NULL, (size_t)(st.st_size < PAGE ? PAGE : st.st_size), PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die(name);
	close(fd);
	if (bytes)
		*bytes = (uint64_t)st.st_size;
	return at;
}

/* The first 1af4:1110 that has MSI-X: one without is a plain memory device. */
static bool find_msix(void)
{
	unsigned at;

	if (config_read(0) != 0x11101af4)
		return false;
	for (at = config_read(0x34) & 0xfc; at; at = config_read(at) >> 8 & 0xfc) {
		if ((config_read(at) & 0xff) == CAP_MSIX) {
			dev.msix = at;
			dev.vectors = (config_read(at) >> 16 & 0x7ff) + 1;
			return true;
		}
	}
	return false;
}

static void find_device(void)
{
	glob_t all;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &all))
		die("/sys/bus/pci/devices");
	for (size_t i = 0; i < all.gl_pathc; i++) {
		(void)snprintf(dev.folder, sizeof(dev.folder), "%s", all.gl_pathv[i]);
		dev.config = open_in("config", O_RDWR);
		if (find_msix()) {
			globfree(&all);
			return;
		}
		close(dev.config);
	}
	errno = ENODEV;
	die("no ivshmem-doorbell device");
}

/* The physical address of our page, for the device to write to. */
static uint64_t physical(const void *page)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * 8)) != 8)
		die("/proc/self/pagemap");
	close(fd);
	if (!(entry >> 63)) {
		errno = EFAULT;
		die("our page is not present");
	}
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static void device_open(void)
{
	void *page;

	find_device();
	config_write16(4, 0x6); /* memory space, bus master */
	dev.registers = map_bar("resource0", NULL);
	dev.tables = map_bar("resource1", NULL);
	dev.memory = map_bar("resource2", &dev.memory_bytes);
	dev.table = (volatile uint32_t *)(dev.tables + (config_read(dev.msix + 4) & ~7u));
	dev.pending = (volatile uint32_t *)(dev.tables + (config_read(dev.msix + 8) & ~7u));
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED,
		-1, 0);
	if (page == MAP_FAILED)
		die("a page");
	memset(page, 0, PAGE);
	dev.messages = page;
}

static int arm(bool to_ram)
{
	uint64_t where = physical((const void *)dev.messages);

	if (dev.vectors > VECTORS_MAX)
		return -E2BIG;
	for (unsigned v = 0; v < dev.vectors; v++) {
		volatile uint32_t *entry = dev.table + (size_t)v * 4;
		uint64_t at = where + (uint64_t)v * 4;

		entry[0] = (uint32_t)at;
		entry[1] = (uint32_t)(at >> 32);
		entry[2] = v + 1;
		entry[3] = to_ram ? 0 : VECTOR_MASKED;
		dev.messages[v] = 0;
	}
	dev.to_ram = to_ram;
	config_write16(dev.msix + 2, MSIX_ENABLE);
	return 0;
}

static FILE *answers;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(answers, format, args);
	va_end(args);
	(void)fputc('\n', answers);
	(void)fflush(answers);
}

static void say_info(void)
{
	uint32_t id = config_read(0);
	uint32_t class = config_read(8);
	uint32_t subsystem = config_read(0x2c);

	say("info %04x:%04x %u %06x %04x:%04x %" PRIu64 " %u %d", id & 0xffff, id >> 16,
		class & 0xff, class >> 8, subsystem & 0xffff, subsystem >> 16, dev.memory_bytes,
		dev.vectors, (int)dev.registers[IV_POSITION / 4]);
}

static void say_memory(uint64_t offset, uint64_t length)
{
	char hex[2 * READ_MAX + 1] = "";

	if (length > READ_MAX || offset > dev.memory_bytes || length > dev.memory_bytes - offset) {
		say("error out of range");
		return;
	}
	for (uint64_t i = 0; i < length; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", dev.memory[offset + i]);
	say("read %s", hex);
}

static void write_memory(uint64_t offset, const char *hex)
{
	uint64_t length = strlen(hex) / 2;

	if (offset > dev.memory_bytes || length > dev.memory_bytes - offset) {
		say("error out of range");
		return;
	}
	for (uint64_t i = 0; i < length; i++) {
		char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};

		dev.memory[offset + i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	say("ok");
}

static void say_rung(void)
{
	char list[6 * VECTORS_MAX + 1] = "";
	int used = 0;

	for (unsigned v = 0; v < dev.vectors; v++) {
		bool rung =
			dev.to_ram ? dev.messages[v] == v + 1 : dev.pending[v / 32] >> v % 32 & 1;

		if (dev.to_ram && rung)
			dev.messages[v] = 0;
		if (rung)
			used += snprintf(list + used, sizeof(list) - (size_t)used, " %u", v);
	}
	say("rung%s", list);
}

static void power_off(void)
{
	say("ok");
	(void)tcdrain(fileno(answers));
	sync();
	reboot(RB_POWER_OFF);
	die("reboot");
}

static void obey(char *line)
{
	char *rest;
	const char *word = strtok_r(line, " \n", &rest);
	const char *first = strtok_r(NULL, " \n", &rest);
	const char *second = strtok_r(NULL, " \n", &rest);
	uint64_t a = first ? strtoull(first, NULL, 0) : 0;

	if (!word)
		return;
	if (!strcmp(word, "info")) {
		say_info();
	} else if (!strcmp(word, "id")) {
		say("id %d", (int)dev.registers[IV_POSITION / 4]);
	} else if (!strcmp(word, "read") && second) {
		say_memory(a, strtoull(second, NULL, 0));
	} else if (!strcmp(word, "write") && second) {
		write_memory(a, second);
	} else if (!strcmp(word, "ring") && second) {
		dev.registers[DOORBELL / 4] = (uint32_t)(a << 16 | strtoul(second, NULL, 0));
		say("ok");
	} else if (!strcmp(word, "arm") && first) {
		if (arm(!strcmp(first, "ram")))
			say("error too many vectors");
		else
			say("ok");
	} else if (!strcmp(word, "rung")) {
		say_rung();
	} else if (!strcmp(word, "off")) {
		power_off();
	} else {
		say("error unknown order");
	}
}

int main(int argc, char **argv)
{
	struct termios raw;
	FILE *orders;
	char line[2 * READ_MAX + 64];
	int port;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: agent SERIAL-PORT\n");
		return 2;
	}
	port = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0 || tcgetattr(port, &raw))
		die(argv[1]);
	cfmakeraw(&raw);
	if (tcsetattr(port, TCSANOW, &raw))
		die(argv[1]);
	orders = fdopen(port, "r");
	answers = fdopen(dup(port), "w");
	if (!orders || !answers)
		die("fdopen");
	device_open();
	say("ready");
	while (fgets(line, sizeof(line), orders))
		obey(line);
	die("orders ended");
}
