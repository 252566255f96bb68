/* SPDX-License-Identifier: MIT */
/*
 * sys.c - the plan by which system calls fail in a fault-injected build.
 *
 * The plan is read once from the environment, before any thread; the counters
 * are atomic. A plan that can't be read ends the program: a test must not pass
 * because its fault was misspelt.
 */
#include "sys.h"

#ifdef FAMEZ_FAULTS

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct fault {
	unsigned first, last; /* calls that fail, counted from 1; 0: none */
	int error;
	atomic_uint calls;
};

static struct fault faults[SYS_CALLS_COUNT];

static const char *const call_names[] = {
#define SYS_NAME(name) #name,
	SYS_CALLS(SYS_NAME)
#undef SYS_NAME
};

static const struct {
	const char *name;
	int error;
} error_names[] = {
	{"EACCES", EACCES},
	{"EADDRINUSE", EADDRINUSE},
	{"EAGAIN", EAGAIN},
	{"ECONNABORTED", ECONNABORTED},
	{"ECONNRESET", ECONNRESET},
	{"EINTR", EINTR},
	{"EINVAL", EINVAL},
	{"EIO", EIO},
	{"EMFILE", EMFILE},
	{"ENFILE", ENFILE},
	{"ENOBUFS", ENOBUFS},
	{"ENOMEM", ENOMEM},
	{"ENOSPC", ENOSPC},
	{"ENOSYS", ENOSYS},
	{"EOPNOTSUPP", EOPNOTSUPP},
	{"EPERM", EPERM},
	{"EPIPE", EPIPE},
	{"ETOOMANYREFS", ETOOMANYREFS},
	{"LOST", SYS_LOST},
	{"TWICE", SYS_TWICE},
};

static void plan_one(char *text)
{
	char *place = NULL;
	const char *name = strtok_r(text, ":", &place);
	const char *nth = strtok_r(NULL, ":", &place);
	const char *error = strtok_r(NULL, ":", &place);
	const char *times = strtok_r(NULL, ":", &place);

	for (unsigned call = 0; name && nth && error && call < SYS_CALLS_COUNT; call++) {
		if (strcmp(name, call_names[call]) != 0)
			continue;
		for (unsigned e = 0; e < sizeof(error_names) / sizeof(*error_names); e++) {
			struct fault *f = &faults[call];

			if (strcmp(error, error_names[e].name) != 0)
				continue;
			f->first = (unsigned)strtoul(nth, NULL, 10);
			f->last = f->first + (times ? (unsigned)strtoul(times, NULL, 10) : 1) - 1;
			f->error = error_names[e].error;
			return;
		}
	}
	(void)fprintf(stderr, "FAMEZ_FAULT: want CALL:NTH:ERRNO[:TIMES], not \"%s:...\"\n",
		name ? name : "");
	abort();
}

__attribute__((constructor)) static void plan(void)
{
	const char *text = getenv("FAMEZ_FAULT");
	char copy[512], *place = NULL;

	if (!text)
		return;
	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *one = strtok_r(copy, ",", &place); one; one = strtok_r(NULL, ",", &place))
		plan_one(one);
}

int sys_fault(enum sys_call call)
{
	struct fault *f = &faults[call];
	unsigned nth = atomic_fetch_add(&f->calls, 1) + 1;

	return f->first && nth >= f->first && nth <= f->last ? f->error : 0;
}

#endif
