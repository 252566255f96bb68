/* SPDX-License-Identifier: MIT */
/*
 * progress.c - says on stderr how far a phase has come.
 *
 * Writes to stderr and nowhere else. One thread.
 */
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

/* On a terminal: the first line soon, then ten a second. */
#define TERMINAL_EVERY_NS (SECOND_NS / 10)
#define PLAIN_EVERY_NS    (SECOND_NS * 2)

uint64_t progress_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail: every Linux has this clock */
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

void progress_begin(struct progress *p)
{
	*p = (struct progress){.terminal = isatty(STDERR_FILENO)};
	p->next_ns = progress_now_ns() + (p->terminal ? TERMINAL_EVERY_NS : PLAIN_EVERY_NS);
}

bool progress_due(struct progress *p)
{
	uint64_t now_ns = progress_now_ns();

	if (now_ns < p->next_ns)
		return false;
	p->next_ns = now_ns + (p->terminal ? TERMINAL_EVERY_NS : PLAIN_EVERY_NS);
	return true;
}

void progress_show(struct progress *p, const char *format, ...)
{
	char line[160];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args); /* cut short if need be */
	va_end(args);
	if (p->terminal)
		fprintf(stderr, "\r  %.76s\033[K", line);
	else
		fprintf(stderr, "  %s\n", line);
	p->drawn = p->terminal;
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
