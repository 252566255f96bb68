/* SPDX-License-Identifier: MIT */
/*
 * client.c - who is behind a socket, and how many descriptors its process can hold.
 *
 * Reads /proc, never the socket.
 */
#include "client.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "sys.h"

/* Counting more would hold up the worker; such a process counts as full. */
#define USE_COUNTED_MAX 65536u

#define LOOK_AGAIN_NS 1000000000u

bool client_is_device(const char *exe, const char *device_names)
{
	char pattern[64];

	while (*device_names) {
		size_t bytes = strcspn(device_names, ",");

		if (bytes && bytes < sizeof(pattern)) {
			memcpy(pattern, device_names, bytes);
			pattern[bytes] = '\0';
			if (fnmatch(pattern, exe, 0) == 0)
				return true;
		}
		device_names += bytes + (device_names[bytes] == ',');
	}
	return false;
}

void client_identify(int sock, const char *device_names, struct client *c)
{
	struct ucred cred = {0};
	socklen_t bytes = sizeof(cred);
	char link[32], path[4096];
	const char *base;
	int n = -EACCES;

	*c = (struct client){.uid = (uid_t)-1, .device = true, .exe = "?"};
	if (sys_getsockopt(sock, SO_PEERCRED, &cred, &bytes) < 0)
		return;
	c->pid = cred.pid;
	c->uid = cred.uid;
	(void)snprintf(link, sizeof(link), "/proc/%d/exe", cred.pid);
	if (cred.pid > 0)
		n = sys_readlink(link, path, sizeof(path) - 1);
	/* Cut short, its name could be anything. */
	if (n <= 0 || (size_t)n == sizeof(path) - 1)
		return;
	path[n] = '\0';
	/* A binary that was replaced by an upgrade still runs. */
	if (n > 10 && strcmp(path + n - 10, " (deleted)") == 0)
		path[n - 10] = '\0';
	base = strrchr(path, '/');
	base = base ? base + 1 : path;
	c->device = client_is_device(base, device_names);
	(void)snprintf(c->exe, sizeof(c->exe), "%.*s", CLIENT_EXE_BYTES - 1, base);
}

bool client_parse_limits(const char *text, uint32_t *soft)
{
	static const char name[] = "Max open files";
	const char *line = strstr(text, name);
	unsigned long long value;
	char *end;

	if (!line)
		return false;
	line += sizeof(name) - 1;
	line += strspn(line, " ");
	if (strncmp(line, "unlimited", 9) == 0) {
		*soft = UINT32_MAX;
		return true;
	}
	if (*line < '0' || *line > '9')
		return false;
	value = strtoull(line, &end, 10);
	if (*end != ' ' && *end != '\n' && *end != '\0')
		return false;
	*soft = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
	return true;
}

static bool read_limit(pid_t pid, uint32_t *limit)
{
	char path[40], text[4096];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return client_parse_limits(text, limit);
}

/* By hand: opendir(3) would take memory, and we run. False where it can't be read. */
static bool count_files(const char *path, uint32_t *files)
{
	_Alignas(struct dirent64) char entries[4096];
	uint32_t count = 0;
	ssize_t bytes = -1;
	int fd;

	fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	while (count < USE_COUNTED_MAX && (bytes = getdents64(fd, entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;

		for (ssize_t at = 0; at < bytes; at += entry->d_reclen) {
			entry = (const void *)(entries + at);
			count += entry->d_name[0] != '.';
		}
	}
	(void)close(fd);
	*files = count < USE_COUNTED_MAX ? count : UINT32_MAX;
	return bytes >= 0;
}

static bool read_use(pid_t pid, uint32_t *used)
{
	char path[40];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	/* Since Linux 6.2 the folder's size is the number of descriptors. */
	if (stat(path, &st) == 0 && st.st_size > 0) {
		*used = (uint32_t)st.st_size;
		return true;
	}
	return count_files(path, used);
}

void process_open(struct process *p, pid_t pid)
{
	*p = (struct process){.pid = pid};
}

bool process_take(struct process *p, uint32_t descriptors, uint64_t now_ns,
	uint32_t (*in_flight)(void *), void *argument)
{
	uint64_t used, left;

	if (p->room >= descriptors)
		goto take;
	if (p->looked_ns && now_ns - p->looked_ns < LOOK_AGAIN_NS)
		return false;
	if (p->pid <= 0 || !read_limit(p->pid, &p->limit))
		p->limit = PROCESS_LIMIT_ASSUMED;
	/* In flight first: what is read meanwhile is counted twice, not missed. */
	used = in_flight(argument);
	if (p->pid > 0 && read_use(p->pid, &p->used))
		used += p->used;
	else
		used = (uint64_t)PROCESS_USE_ASSUMED + p->told;
	p->used = used < UINT32_MAX ? (uint32_t)used : UINT32_MAX;
	left = p->limit > used + PROCESS_RESERVE ? p->limit - used - PROCESS_RESERVE : 0;
	if (left < descriptors) {
		p->looked_ns = now_ns;
		return false;
	}
	p->looked_ns = 0;
	p->room = left / 2 > descriptors ? (uint32_t)(left / 2) : descriptors;
take:
	p->room -= descriptors;
	p->told += descriptors;
	return true;
}
