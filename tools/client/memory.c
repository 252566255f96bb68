/* SPDX-License-Identifier: MIT */
/*
 * memory.c - commands that look at the shared memory, and write to it.
 */
#include "memory.h"

#include "say.h"
#include "shared.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* One peek shows no more than fits a look. */
#define PEEK_MAX     65536
#define PEEK_DEFAULT 64

enum outcome memory_size(struct session *s, const struct command *c, const struct words *w)
{
	size_t bytes = 0;

	if (w->count != 1)
		return command_usage(c);
	(void)famez_memory(s->f, &bytes); /* we are in, so there is one */
	say_memory(bytes);
	return OUTCOME_OK;
}

/* Is this range inside the shared memory? Says so if not. */
static bool inside(
	struct session *s, unsigned long long offset, unsigned long long count, unsigned char **at)
{
	size_t bytes = 0;
	unsigned char *memory = famez_memory(s->f, &bytes);

	if (offset >= bytes || count > bytes - offset) {
		say_error("%llu bytes at %llu are beyond the shared memory's %zu", count, offset,
			bytes);
		return false;
	}
	*at = memory + offset;
	return true;
}

static enum outcome shrunk(int err)
{
	say_error("the shared memory can't be used there: %s",
		err == -EFAULT ? "somebody has made its file smaller" : strerror(-err));
	return OUTCOME_FAILED;
}

enum outcome memory_peek(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long count = PEEK_DEFAULT;
	unsigned long long offset;
	unsigned char *bytes;
	unsigned char *at;
	size_t size = 0;
	int err;

	if (w->count < 2 || w->count > 3 || !words_number(w->word[1], ULLONG_MAX, &offset))
		return command_usage(c);
	if (w->count == 3 && (!words_number(w->word[2], PEEK_MAX, &count) || !count)) {
		say_error("`%s` bytes: 1 to %d can be shown", w->word[2], PEEK_MAX);
		return OUTCOME_USAGE;
	}
	(void)famez_memory(s->f, &size);
	if (w->count == 2 && offset < size && count > size - offset)
		count = size - offset;
	if (!inside(s, offset, count, &at))
		return OUTCOME_FAILED;
	bytes = malloc(count);
	if (!bytes) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	err = shared_read(bytes, at, count);
	if (!err)
		say_peek(offset, bytes, count);
	free(bytes);
	return err ? shrunk(err) : OUTCOME_OK;
}

enum outcome memory_poke(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long offset;
	unsigned char *bytes;
	unsigned char *at;
	size_t count;
	int err;

	if (w->count < 3 || !words_number(w->word[1], ULLONG_MAX, &offset))
		return command_usage(c);
	bytes = words_bytes(w, 2, &count);
	if (!bytes)
		return OUTCOME_USAGE;
	if (!inside(s, offset, count, &at)) {
		free(bytes);
		return OUTCOME_FAILED;
	}
	err = shared_write(at, bytes, count);
	free(bytes);
	if (err)
		return shrunk(err);
	say_poke(offset, count);
	return OUTCOME_OK;
}
