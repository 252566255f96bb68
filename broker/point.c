/* SPDX-License-Identifier: MIT */
/*
 * point.c - the plan by which a fault-injected build dies.
 *
 * The plan is read once, before any thread. How many of it have happened stands in memory that
 * the keeper's children share, so that a successor goes on with the next one. A plan that can't
 * be read ends the program: a test must not pass because its death was misspelt.
 */
#include "point.h"

#ifdef FAMEZ_FAULTS

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEATHS_MAX 64u

struct death {
	char place[48]; /* empty: any */
	unsigned nth;
};

static struct death plan[DEATHS_MAX];
static unsigned planned;
static bool trace;
static pid_t first_process;
static atomic_uint *deaths;  /* shared: how many of the plan have happened */
static atomic_uint passed;   /* in this process, of all points */
static atomic_int mine = -1; /* which death of the plan is ours, once a point was passed */

extern struct point *const __start_famez_points[]; /* the linker's */
extern struct point *const __stop_famez_points[];

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static const char *place_of(const struct point *p, char *to, size_t bytes)
{
	if (strcmp(p->unit, p->file) == 0)
		(void)snprintf(to, bytes, "%s:%d", name_of(p->file), p->line);
	else
		(void)snprintf(to, bytes, "%s/%s", name_of(p->unit), p->function);
	return to;
}

static void list(void)
{
	char place[48];

	for (struct point *const *p = __start_famez_points; p < __stop_famez_points; p++)
		(void)printf("%s\n", place_of(*p, place, sizeof(place)));
	exit(0);
}

static void plan_one(struct death *d, const char *text)
{
	const char *colon = strrchr(text, ':');
	char *end;

	d->nth = (unsigned)strtoul(colon ? colon + 1 : text, &end, 10);
	if (*end || !d->nth || (colon && (size_t)(colon - text) >= sizeof(d->place))) {
		(void)fprintf(stderr,
			"FAMEZ_CRASH: want list, trace or [PLACE:]NTH,..., not \"%s\"\n", text);
		abort();
	}
	if (colon)
		memcpy(d->place, text, (size_t)(colon - text));
}

__attribute__((constructor)) static void read_plan(void)
{
	const char *text = getenv("FAMEZ_CRASH");
	char copy[1024], *place = NULL;

	if (!text)
		return;
	if (strcmp(text, "list") == 0)
		list();
	first_process = getpid();
	trace = strcmp(text, "trace") == 0;
	deaths = mmap(
		NULL, sizeof(*deaths), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (deaths == MAP_FAILED)
		abort();
	(void)snprintf(copy, sizeof(copy), "%s", trace ? "" : text);
	for (char *one = strtok_r(copy, ",", &place); one; one = strtok_r(NULL, ",", &place)) {
		if (planned == DEATHS_MAX)
			abort();
		plan_one(&plan[planned++], one);
	}
}

static void say(const char *what, const char *place, unsigned nth)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "# %s %s %u\n", what, place, nth);

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody listens */
}

void point_never(void)
{
	deaths = NULL;
}

void point_passed(struct point *p)
{
	unsigned here, all;
	char place[48];
	int number;

	if (!deaths || getpid() == first_process)
		return;
	here = atomic_fetch_add(&p->passed, 1) + 1;
	all = atomic_fetch_add(&passed, 1) + 1;
	if (trace)
		say("passed", place_of(p, place, sizeof(place)), here);
	number = atomic_load(&mine);
	if (number < 0) {
		number = (int)atomic_load(deaths);
		atomic_store(&mine, number);
	}
	if ((unsigned)number >= planned)
		return;
	(void)place_of(p, place, sizeof(place));
	if (plan[number].place[0]
			? strcmp(plan[number].place, place) != 0 || plan[number].nth != here
			: plan[number].nth != all)
		return;
	atomic_fetch_add(deaths, 1);
	say("dies", place, here);
	(void)kill(getpid(), SIGKILL);
}

#endif
