/* SPDX-License-Identifier: MIT */
/*
 * guest.c - one VM of a run: its QEMU, its console, and what it tells.
 *
 * Two serial ports, each one end of a socket pair. The first is the guest's console, for people.
 * On the second init.sh tells, a line each:
 *
 *   ready ID       it is up; ID is empty without the driver
 *   exit CODE      its shell, or what --exec ran, has ended; it powers off
 *   failed WORDS   it could not start, and powers off
 *
 * A guest is not believed: a line that is longer or other than these is passed over.
 */
#include "guest.h"

#include "emit.h"
#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What makes a guest boot in two seconds instead of five; and that on a busy host an emulated timer
 * may be late is no reason to panic. */
#define CONSOLE                                                                                    \
	"console=ttyS0 quiet loglevel=3 nokaslr mitigations=off cryptomgr.notests nowatchdog "     \
	"no_timer_check random.trust_cpu=on panic=-1"

#define RAM_BYTES (UINT64_C(128) << 20)

#define END_MS 3000u

/* Words of a QEMU's command line: those of all, and those of its devices. */
#define WORDS_OF_ALL 32u
#define WORDS_MAX    (WORDS_OF_ALL + 4u * PLAN_DEVICES_MAX + 1u)

/* What the words of the doorbell devices say: each malloc()ed. */
#define VALUES (2u * PLAN_DEVICES_MAX)

/* Puts the doorbell devices' words at @at. Returns 0 or -ENOMEM; what is in @values then is the
 * caller's to free in either case. */
static int add_devices(char **at, char *values[VALUES], const struct plan *plan)
{
	for (unsigned device = 0; device < plan->devices; device++, at += 4, values += 2) {
		values[0] = emit_chardev(plan, device);
		values[1] = emit_doorbell(plan, device);
		if (!values[0] || !values[1])
			return -ENOMEM;
		at[0] = (char *)"-chardev";
		at[1] = values[0];
		at[2] = (char *)"-device";
		at[3] = values[1];
	}
	return 0;
}

static int start_qemu(struct guest *g, const struct guest_kind *kind, int console, int control)
{
	char name[64], cpu[32], ram[32], append[1024], con[32], ctl[32], err[PATH_MAX];
	char *argv[WORDS_MAX] = {(char *)kind->qemu, (char *)"-name", name, (char *)"-M",
		(char *)"pc,hpet=off", (char *)"-accel", (char *)kind->accel, (char *)"-cpu", cpu,
		(char *)"-m", ram, (char *)"-nodefaults", (char *)"-no-user-config",
		(char *)"-display", (char *)"none", (char *)"-no-reboot", (char *)"-kernel",
		(char *)kind->kernel, (char *)"-initrd", (char *)kind->initramfs, (char *)"-append",
		append, (char *)"-chardev", con, (char *)"-serial", (char *)"chardev:con",
		(char *)"-chardev", ctl, (char *)"-serial", (char *)"chardev:ctl"};
	struct process how = {.argv = argv, .keep = console, .keep_too = control, .apart = true};
	char **devices = argv, *values[VALUES] = {NULL};

	while (*devices)
		devices++;
	(void)plan_name(kind->plan, g->node, name, sizeof(name));
	(void)snprintf(cpu, sizeof(cpu), "max,phys-bits=%u", kind->plan->phys_bits);
	(void)snprintf(ram, sizeof(ram), "%lluM",
		(unsigned long long)(kind->plan->ram ? kind->plan->ram : RAM_BYTES) >> 20);
	(void)snprintf(append, sizeof(append),
		CONSOLE " famez.node=%u famez.nodes=%u famez.name=%s famez.libraries=%s", g->node,
		kind->plan->nodes, name, kind->libraries);
	(void)snprintf(con, sizeof(con), "socket,id=con,fd=%d", console);
	(void)snprintf(ctl, sizeof(ctl), "socket,id=ctl,fd=%d", control);
	(void)snprintf(err, sizeof(err), "%s/node%u.err", kind->folder, g->node);
	how.output = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	g->pid = add_devices(devices, values, kind->plan);
	if (!g->pid)
		g->pid = how.output >= 0 ? process_start(&how) : -EIO;
	if (how.output >= 0)
		(void)close(how.output); /* QEMU's */
	for (unsigned i = 0; i < VALUES; i++)
		free(values[i]);
	if (g->pid > 0)
		return 0;
	(void)say("%s: %s", kind->qemu, strerror(-g->pid));
	g->pid = 0;
	return -1;
}

int guest_start(struct guest *g, unsigned node, const struct guest_kind *kind)
{
	int console[2], control[2], err;

	*g = (struct guest){.node = node, .id = -1, .console = -1, .control = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0)
		return say("socketpair: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) {
		err = say("socketpair: %s", strerror(errno));
		(void)close(console[0]); /* never used, both */
		(void)close(console[1]);
		return err;
	}
	g->console = console[0];
	g->control = control[0];
	err = start_qemu(g, kind, console[1], control[1]);
	(void)close(console[1]); /* QEMU's, both */
	(void)close(control[1]);
	return err;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* what is unread, nobody wants */
	*fd = -1;
}

/* What goes to a terminal: nothing in it that a terminal would obey. */
static const char *plain(char *line)
{
	for (char *at = line; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
	return line;
}

/* One line that the guest tells. */
static void told(struct guest *g)
{
	int code;

	if (g->state == GUEST_BOOTS && strncmp(g->line, "ready", 5) == 0) {
		g->state = GUEST_READY;
		/* NOLINTNEXTLINE(cert-err34-c): out of range is as good as none */
		if (sscanf(g->line, "ready %d", &g->id) != 1)
			g->id = -1;
	} else if (strncmp(g->line, "failed ", 7) == 0 && g->state != GUEST_ENDED) {
		(void)say("node %u: %.100s", g->node, plain(g->line + 7));
		g->state = GUEST_ENDED;
		g->code = 1;
		/* NOLINTNEXTLINE(cert-err34-c): the same */
	} else if (sscanf(g->line, "exit %d", &code) == 1 && g->state == GUEST_READY) {
		g->state = GUEST_ENDED;
		g->code = code & 0xff;
	}
}

void guest_hear(struct guest *g)
{
	char bytes[256];
	ssize_t count = recv(g->control, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
		shut(&g->control);
	for (ssize_t i = 0; i < count; i++) {
		if (bytes[i] == '\r')
			continue;
		if (bytes[i] != '\n') {
			if (g->line_bytes < sizeof(g->line) - 1)
				g->line[g->line_bytes++] = bytes[i];
			continue;
		}
		g->line[g->line_bytes] = 0;
		g->line_bytes = 0;
		told(g);
	}
}

/* The last words are kept: half of them go when there are too many. */
static void keep(struct guest *g, const char *bytes, size_t count)
{
	if (count > sizeof(g->said) / 2) {
		bytes += count - sizeof(g->said) / 2;
		count = sizeof(g->said) / 2;
	}
	if (g->said_bytes + count > sizeof(g->said)) {
		memmove(g->said, g->said + g->said_bytes - sizeof(g->said) / 2,
			sizeof(g->said) / 2);
		g->said_bytes = sizeof(g->said) / 2;
	}
	memcpy(g->said + g->said_bytes, bytes, count);
	g->said_bytes += count;
}

size_t guest_read(struct guest *g, char *into, size_t size)
{
	ssize_t count = recv(g->console, into, size, MSG_DONTWAIT);

	if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
		shut(&g->console);
	if (count <= 0)
		return 0;
	keep(g, into, (size_t)count);
	return (size_t)count;
}

void guest_type(struct guest *g, const char *bytes, size_t count)
{
	size_t room = sizeof(g->waits) - g->waits_bytes;

	memcpy(g->waits + g->waits_bytes, bytes, count < room ? count : room);
	g->waits_bytes += count < room ? count : room;
	guest_flush(g);
}

void guest_flush(struct guest *g)
{
	ssize_t count;

	if (g->console < 0 || !g->waits_bytes)
		return;
	count = send(g->console, g->waits, g->waits_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (count <= 0)
		return;
	g->waits_bytes -= (size_t)count;
	memmove(g->waits, g->waits + count, g->waits_bytes);
}

void guest_on_end(struct guest *g, int code, const char *folder)
{
	char path[PATH_MAX], line[256] = "";
	FILE *said;

	g->pid = 0;
	if (g->control >= 0)
		guest_hear(g); /* its last words may still be there */
	if (g->state == GUEST_ENDED)
		return;
	g->state = GUEST_DIED;
	(void)snprintf(path, sizeof(path), "%s/node%u.err", folder, g->node);
	said = fopen(path, "re");
	if (said && fgets(line, sizeof(line), said))
		line[strcspn(line, "\n")] = 0;
	if (said)
		(void)fclose(said); /* only read from */
	(void)say("node %u is gone: QEMU ended with %d%s%s", g->node, code, *line ? ", " : "",
		plain(line));
}

void guest_last_words(const struct guest *g)
{
	static const char panic[] = "Kernel panic";
	const char *from = memmem(g->said, g->said_bytes, panic, strlen(panic));
	const char *end = g->said + g->said_bytes;
	char line[256];
	size_t bytes = 0;

	for (; from && from < end && *from != '\n' && bytes < sizeof(line) - 1; from++)
		if (*from >= ' ' && *from <= '~')
			line[bytes++] = *from;
	line[bytes] = 0;
	(void)say("its console says %s",
		bytes ? line : "nothing of why; --memory may be too little for this kernel");
}

void guest_close(struct guest *g)
{
	process_end(g->pid, END_MS);
	g->pid = 0;
	shut(&g->console);
	shut(&g->control);
}
