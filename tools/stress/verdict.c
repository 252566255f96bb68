/* SPDX-License-Identifier: MIT */
/*
 * verdict.c - how a run ended: the exit code and the one line that says why.
 *
 * Holds no state of its own and prints nothing.
 */
#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>

int verdict_give(struct verdict *v, enum verdict_code code, const char *format, ...)
{
	va_list args;

	if (v->code != VERDICT_FINE)
		return -1;
	v->code = code;
	va_start(args, format);
	(void)vsnprintf(v->why, sizeof(v->why), format, args); /* cut short if need be */
	va_end(args);
	return -1;
}
