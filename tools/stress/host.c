/* SPDX-License-Identifier: MIT */
/*
 * host.c - what a run took place on.
 *
 * Reads files of the kernel's and the system's, once.
 */
#include "host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The rest of the first line that begins with `key`, without what separates them. */
static void find(const char *path, const char *key, char *into, size_t bytes)
{
	FILE *f = fopen(path, "re");
	char line[512];

	into[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		char *at = line + strlen(key);

		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		at += strspn(at, " \t:=\"");
		at[strcspn(at, "\"\n")] = '\0';
		(void)snprintf(into, bytes, "%s", at); /* cut short if need be */
		break;
	}
	if (f)
		(void)fclose(f); /* read only */
}

void host_look(struct host *h)
{
	struct utsname name;
	cpu_set_t allowed;
	time_t now = time(NULL);
	struct tm utc;
	char flags[512];

	*h = (struct host){0};
	find("/proc/cpuinfo", "model name", h->cpu, sizeof(h->cpu));
	find("/etc/os-release", "PRETTY_NAME", h->system, sizeof(h->system));
	find("/sys/devices/system/clocksource/clocksource0/current_clocksource", "", h->clock,
		sizeof(h->clock));
	find("/proc/cpuinfo", "flags", flags, sizeof(flags));
	h->virtual_machine = strstr(flags, " hypervisor") != NULL;
	if (uname(&name) == 0) {
		(void)snprintf(
			h->kernel, sizeof(h->kernel), "%.20s %.50s", name.sysname, name.release);
		(void)snprintf(h->machine, sizeof(h->machine), "%.20s", name.machine);
	}
	if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
		h->cpus = (unsigned)CPU_COUNT(&allowed);
	h->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	if (getloadavg(&h->load, 1) != 1)
		h->load = -1;
	if (gmtime_r(&now, &utc))
		(void)strftime(h->date, sizeof(h->date), "%Y-%m-%dT%H:%M:%SZ", &utc);
}

void host_find(const char *name, const char *const *places, char *path, size_t bytes)
{
	char self[256] = "";
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (got > 0) {
		self[got] = '\0';
		if (strrchr(self, '/'))
			*strrchr(self, '/') = '\0';
	}
	for (; got > 0 && *places; places++) {
		int length = snprintf(path, bytes, "%s/%s", self, *places);

		if (length > 0 && (size_t)length < bytes && access(path, X_OK) == 0)
			return;
	}
	(void)snprintf(path, bytes, "%s", name);
}
