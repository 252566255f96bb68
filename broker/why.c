/* SPDX-License-Identifier: MIT */
/*
 * why.c - one clear line that says what was wrong and what would be right.
 */
#include "why.h"

#include <stdarg.h>
#include <stdio.h>

int why_fail(struct why *why, int err, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why->text, sizeof(why->text), format, arguments);
	va_end(arguments);
	return err;
}
