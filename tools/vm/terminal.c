/* SPDX-License-Identifier: MIT */
/*
 * terminal.c - see terminal.h.
 */
#include "terminal.h"

#include <errno.h>
#include <termios.h>
#include <unistd.h>

static struct {
	bool is_raw;
	struct termios before;
} terminal;

void terminal_raw(void)
{
	struct termios raw;

	if (terminal.is_raw || tcgetattr(STDIN_FILENO, &terminal.before) < 0)
		return;
	raw = terminal.before;
	cfmakeraw(&raw);
	raw.c_oflag = terminal.before.c_oflag; /* our own lines end as they always do */
	terminal.is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void terminal_restore(void)
{
	if (terminal.is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before); /* it may be gone */
	terminal.is_raw = false;
}

void terminal_keys(struct terminal_keys *k, const char *bytes, size_t count)
{
	size_t from = 0;

	for (size_t at = 0; at < count; at++) {
		if (k->after) {
			k->after = false;
			from = at + 1;
			if (bytes[at] == TERMINAL_KEY)
				k->send(k->owner, bytes + at, 1);
			else if (!k->order(k->owner, bytes[at]))
				return;
		} else if (bytes[at] == TERMINAL_KEY) {
			k->after = true;
			if (at > from)
				k->send(k->owner, bytes + from, at - from);
			from = at + 1;
		}
	}
	if (count > from)
		k->send(k->owner, bytes + from, count - from);
}

void terminal_put(const char *bytes, size_t count)
{
	while (count) {
		ssize_t put = write(STDOUT_FILENO, bytes, count);

		if (put < 0)
			return; /* nobody reads, or a signal came: see run.c */
		bytes += put;
		count -= (size_t)put;
	}
}
