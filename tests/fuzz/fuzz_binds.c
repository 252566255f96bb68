/* SPDX-License-Identifier: MIT */
/*
 * fuzz_binds.c - any text at all is either a file of bound IDs, all of them peers', or is refused
 * with one line that names a line of it.
 */
#include "fuzz.h"

#include <errno.h>

#include "binds.h"

enum { FIRST = 1, PEERS = 50 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct binds b;
	static const struct qemu_args args = {.name = "web1", .has_uuid = true};
	struct why why;
	int err;

	err = binds_parse(&b, FIRST, PEERS, "f", (const char *)data, size, &why);
	assert(err == 0 || err == -EINVAL);
	if (err) {
		assert(strncmp(why.text, "f, line ", 8) == 0 && !strchr(why.text, '\n'));
		return 0;
	}
	assert(b.count <= BINDS_MAX);
	for (uint32_t n = 0; n < b.count; n++) {
		const struct bind *line = &b.lines[n];

		assert(line->id >= FIRST && line->id < FIRST + PEERS);
		assert(line->by_uid || line->by_uuid || line->name[0]);
		/* fnmatch(3) takes exponential time for many stars, which operators don't write. */
		if (strlen(line->name) > 16)
			return 0;
	}
	for (uint32_t n = 0; (n = binds_find(&b, n, 7, &args)) < b.count; n++)
		assert(!b.lines[n].by_uid || b.lines[n].uid == 7);
	return 0;
}
