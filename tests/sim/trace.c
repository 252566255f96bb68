/* SPDX-License-Identifier: MIT */
/*
 * trace.c - what happened, in words: the last lines are kept, and shown if a world fails.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool sim_tracing;

void sim_trace(const char *format, ...)
{
	va_list arguments;
	char text[400];

	if (!sim_tracing)
		return;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)printf("%8llu  %-9s  %s\n", (unsigned long long)world.steps,
		fiber_now() ? fiber_now()->name : "", text);
}

void sim_wrong(const char *format, ...)
{
	va_list arguments;

	if (world.failed)
		return;
	world.failed = true;
	va_start(arguments, format);
	(void)vsnprintf(world.why, sizeof(world.why), format, arguments);
	va_end(arguments);
	sim_trace("WRONG: %s", world.why);
}
