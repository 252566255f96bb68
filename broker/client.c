/* SPDX-License-Identifier: MIT */
/*
 * client.c - who is behind a socket, and how many descriptors its process can hold.
 *
 * Reads /proc (look.h), never the socket.
 */
#include "client.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "look.h"
#include "sandbox_calls.h"
#include "sys.h"

SANDBOX_BROKER(CALL(getsockopt));

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
	char path[4096];
	const char *base;
	int n = -EACCES;

	*c = (struct client){.uid = (uid_t)-1, .gid = (gid_t)-1, .device = true, .exe = "?"};
	if (sys_getsockopt(sock, SO_PEERCRED, &cred, &bytes) < 0)
		return;
	c->pid = cred.pid;
	c->uid = cred.uid;
	c->gid = cred.gid;
	if (cred.pid > 0)
		n = look_at(LOOK_EXE, cred.pid, path, sizeof(path) - 1);
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

uint32_t client_groups(int sock, gid_t *groups, uint32_t most)
{
	socklen_t bytes = (socklen_t)(most * sizeof(*groups));

	if (sys_getsockopt(sock, SO_PEERGROUPS, groups, &bytes) < 0)
		return 0;
	return (uint32_t)(bytes / sizeof(*groups));
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
	char text[4096];
	int n = look_at(LOOK_LIMITS, pid, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	return client_parse_limits(text, limit);
}

static bool read_use(pid_t pid, uint32_t *used)
{
	return look_at(LOOK_USE, pid, used, sizeof(*used)) == sizeof(*used);
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
