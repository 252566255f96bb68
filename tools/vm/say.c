/* SPDX-License-Identifier: MIT */
/*
 * say.c - see say.h.
 */
#include "say.h"

#include <stdarg.h>
#include <stdio.h>

int say(const char *form, ...)
{
	char line[1024];
	va_list words;

	va_start(words, form);
	(void)vsnprintf(line, sizeof(line), form, words);
	va_end(words);
	(void)fprintf(stderr, "famez-vm: %s\n", line); /* whole: others write there, too */
	return -1;
}

void say_step(const char *what, const char *form, ...)
{
	char line[1024];
	va_list words;

	va_start(words, form);
	(void)vsnprintf(line, sizeof(line), form, words);
	va_end(words);
	(void)fprintf(stderr, "%-9s %s\n", what, line);
}
