/* SPDX-License-Identifier: MIT */
/*
 * initramfs.c - what guests have besides the kernel.
 *
 * busybox, our init script (init.sh, which is part of us), the driver, and programs of the host
 * with the libraries that their loader would map, each at the path that it has here. Made anew for
 * each run: that takes milliseconds, and so nothing in it is ever out of date.
 */
#include "initramfs.h"

#include "cpio.h"
#include "init.h"
#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_MAX 256u

/* What is in the archive already, and may not be twice. */
struct names {
	char *names[NAMES_MAX];
	size_t count;
};

/* Is it new? It is taken down then. */
static bool is_new(struct names *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (strcmp(n->names[i], name) == 0)
			return false;
	if (n->count == NAMES_MAX)
		return false;
	n->names[n->count] = strdup(name);
	n->count += n->names[n->count] != NULL;
	return true;
}

static void forget(struct names *n)
{
	while (n->count)
		free(n->names[--n->count]);
}

/* All folders above this path. */
static void put_folders(struct cpio *c, struct names *n, const char *path)
{
	char folder[PATH_MAX];

	for (const char *end = strchr(path, '/'); end; end = strchr(end + 1, '/')) {
		(void)snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
		if (*folder && is_new(n, folder))
			cpio_folder(c, folder);
	}
}

static int put_file(struct cpio *c, struct names *n, const char *name, const char *from)
{
	int err;

	put_folders(c, n, name);
	if (!is_new(n, name))
		return 0;
	err = cpio_file(c, name, 0755, from);
	return err ? say("%s: %s", from, strerror(-err)) : 0;
}

/* The folder of a library, if it is not among them yet. */
static void add_folder(char libraries[INITRAMFS_LIBRARIES_BYTES], const char *path)
{
	size_t length = (size_t)(strrchr(path, '/') - path), have = strlen(libraries);
	const char *at = libraries;

	while (*at) {
		size_t one = strcspn(at, ":");

		if (one == length && strncmp(at, path, length) == 0)
			return;
		at += one + (at[one] == ':');
	}
	if (have + length + 2 <= INITRAMFS_LIBRARIES_BYTES)
		(void)snprintf(libraries + have, INITRAMFS_LIBRARIES_BYTES - have, "%s%.*s",
			have ? ":" : "", (int)length, path);
}

/* One line of ldd(1): `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`, and others without a path. */
static int put_library(struct cpio *c, struct names *n, const char *line, const char *program,
	char libraries[INITRAMFS_LIBRARIES_BYTES])
{
	const char *path = strstr(line, "=> ");
	char name[PATH_MAX];
	size_t length;

	if (path && strstr(path, "not found"))
		return say("%s needs a library that is not there:%s", program, line);
	path = path ? path + 3 : line + strspn(line, " \t");
	length = strcspn(path, " \n");
	if (*path != '/' || length >= sizeof(name))
		return 0;
	(void)snprintf(name, sizeof(name), "%.*s", (int)length, path);
	add_folder(libraries, name);
	return put_file(c, n, name + 1, name);
}

static int put_libraries(struct cpio *c, struct names *n, const char *program,
	char libraries[INITRAMFS_LIBRARIES_BYTES])
{
	char *const argv[] = {(char *)"ldd", (char *)program, NULL};
	struct process how = {.argv = argv};
	char line[PATH_MAX + 64];
	int ends[2], err = 0;
	FILE *said;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return say("pipe: %s", strerror(errno));
	how.output = ends[1];
	pid = process_start(&how);
	(void)close(ends[1]); /* the child's */
	said = pid > 0 ? fdopen(ends[0], "re") : NULL;
	if (!said) {
		(void)close(ends[0]); /* only read from */
		process_end(pid, 0);
		return say("ldd cannot be run");
	}
	/* Of a static program it says in one line that it is none of the other kind. */
	while (!err && fgets(line, sizeof(line), said))
		err = put_library(c, n, line, program, libraries);
	(void)fclose(said); /* only read from */
	process_end(pid, 1000);
	return err;
}

static int put_program(struct cpio *c, struct names *n, const char *program,
	char libraries[INITRAMFS_LIBRARIES_BYTES])
{
	const char *base = strrchr(program, '/');
	char name[PATH_MAX];

	(void)snprintf(name, sizeof(name), "bin/%s", base ? base + 1 : program);
	if (put_file(c, n, name, program))
		return -1;
	return put_libraries(c, n, program, libraries);
}

/* busybox needs no libraries where it is the static one, and else brings its own. */
static int put_all(struct cpio *c, struct names *n, const struct initramfs *i,
	char libraries[INITRAMFS_LIBRARIES_BYTES])
{
	char busybox[PATH_MAX];

	if (!process_path("busybox", NULL, busybox, sizeof(busybox)))
		return say("no busybox: install busybox-static");
	if (put_program(c, n, busybox, libraries))
		return -1;
	cpio_link(c, "bin/sh", "busybox");
	for (size_t at = 0; at < i->programs_count; at++)
		if (put_program(c, n, i->programs[at], libraries))
			return -1;
	if (i->module && put_file(c, n, "famez.ko", i->module))
		return -1;
	if (i->exec)
		cpio_bytes(c, "exec", 0755, i->exec, strlen(i->exec));
	cpio_bytes(c, "init", 0755, init_script, sizeof(init_script) - 1);
	cpio_end(c);
	return 0;
}

int initramfs_make(const struct initramfs *i, char libraries[INITRAMFS_LIBRARIES_BYTES])
{
	struct names names = {.count = 0};
	struct cpio c = {.to = fopen(i->to, "we")};
	int err;

	*libraries = 0;
	if (!c.to)
		return say("%s: %s", i->to, strerror(errno));
	err = put_all(&c, &names, i, libraries);
	forget(&names);
	if (ferror(c.to) && !err)
		err = say("%s: no room, or no disk", i->to);
	if (fclose(c.to) != 0 && !err)
		err = say("%s: %s", i->to, strerror(errno));
	return err;
}
