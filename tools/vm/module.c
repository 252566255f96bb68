/* SPDX-License-Identifier: MIT */
/*
 * module.c - the driver, famez.ko, for the kernel that guests boot.
 *
 * Taken as it was installed for that release (by DKMS, say). Else it is built from its
 * sources, which are copied into the cache first: a folder for each release, in which only what has
 * changed is built again. Two of us take turns there.
 */
#include "module.h"

#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where modules that are not of the kernel's own are installed, best first. */
static const char *const places[] = {"updates/dkms", "updates", "extra"};

static bool find_installed(char path[PATH_MAX], const char *release)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)snprintf(path, PATH_MAX, "/lib/modules/%s/%s/famez.ko", release, places[i]);
		if (access(path, R_OK) == 0)
			return true;
	}
	return false;
}

/* Where the sources are: of the tree that we were built from, or as they were installed. */
static const char *find_sources(void)
{
	static const char *const all[] = {FAMEZ_DRIVER_SOURCES, "/usr/src/famez-" FAMEZ_VERSION};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/Kbuild", all[i]);
		if (access(path, R_OK) == 0)
			return all[i];
	}
	return NULL;
}

/* What it says goes to @log, in the cache. */
static int run(char *const *argv, const char *log)
{
	struct process how = {.argv = argv};
	int code;

	how.output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (how.output < 0)
		return say("%s: %s", log, strerror(errno));
	code = process_run(&how);
	(void)close(how.output); /* what it says is only shown */
	return code;
}

/* Sources and headers, as they lie in the tree; times are kept, so that make(1) sees what is new.
 */
static int copy(const char *sources, const char *folder, const char *log)
{
	char of_driver[PATH_MAX], of_headers[PATH_MAX], to_headers[PATH_MAX + 16];
	char *to_driver[] = {(char *)"cp", (char *)"-pRT", of_driver, (char *)folder, NULL};
	char *to_include[] = {(char *)"cp", (char *)"-pRT", of_headers, to_headers, NULL};

	(void)snprintf(of_driver, sizeof(of_driver), "%s", sources);
	(void)snprintf(of_headers, sizeof(of_headers), "%s/../../include", sources);
	(void)snprintf(to_headers, sizeof(to_headers), "%s/include", folder);
	if (run(to_driver, log))
		return -1;
	/* Installed sources have them already. */
	return access(of_headers, R_OK) == 0 ? run(to_include, log) : 0;
}

static int build(char path[PATH_MAX], const char *release, const char *folder)
{
	const char *sources = find_sources();
	char kernel[PATH_MAX], log[PATH_MAX + 16], place[PATH_MAX + 16];
	char *make[] = {(char *)"make", (char *)"-C", kernel, place, (char *)"modules", NULL};

	(void)snprintf(kernel, sizeof(kernel), "/lib/modules/%s/build", release);
	if (access(kernel, R_OK) < 0)
		(void)snprintf(kernel, sizeof(kernel), "/usr/src/linux-headers-%s", release);
	(void)snprintf(log, sizeof(log), "%s/log", folder);
	(void)snprintf(place, sizeof(place), "M=%s", folder);
	if ((size_t)snprintf(path, PATH_MAX, "%s/famez.ko", folder) >= PATH_MAX)
		return say("--cache: the path is too long");
	if (!sources)
		return say("no famez.ko for kernel %s: install famez-dkms, or give --module or "
			   "--no-driver",
			release);
	if (access(kernel, R_OK) < 0)
		return say("famez.ko can't be built: install linux-headers-%s, or give --module or "
			   "--no-driver",
			release);
	(void)unlink(log); /* of an earlier time */
	if (copy(sources, folder, log))
		return say("the driver's sources can't be copied: see %s", log);
	if (access(path, R_OK) < 0)
		say_step("driver", "building famez.ko for %s, once", release);
	if (run(make, log))
		return say("famez.ko can't be built: see %s", log);
	return 0;
}

int module_get(char path[PATH_MAX], const char *release, const char *cache)
{
	char folder[PATH_MAX];
	int lock, err;

	if (find_installed(path, release))
		return 0;
	if ((size_t)snprintf(folder, sizeof(folder), "%s/driver-%s", cache, release) >=
		sizeof(folder))
		return say("--cache: the path is too long");
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return say("%s: %s", folder, strerror(errno));
	lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0) {
		err = say("%s: %s", folder, strerror(errno));
		if (lock >= 0)
			(void)close(lock); /* a folder */
		return err;
	}
	err = build(path, release, folder);
	(void)close(lock); /* a folder; and with it the lock goes */
	return err;
}
