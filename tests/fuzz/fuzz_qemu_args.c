/* SPDX-License-Identifier: MIT */
/*
 * fuzz_qemu_args.c - the command line of whoever connects: any bytes give a name that is a string,
 * made of bytes of the line, and a UUID only where -uuid stands.
 */
#include "fuzz.h"

#include "qemu_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly that size, so that a read beyond the end is noticed. */
	char *line = malloc(size ? size : 1);
	struct qemu_args args;

	assert(line);
	if (size)
		memcpy(line, data, size);
	qemu_args_parse(&args, line, size);
	assert(memchr(args.name, '\0', sizeof(args.name)));
	assert(strlen(args.name) < size || !args.name[0]);
	if (args.name[0])
		assert(memmem(line, size, "-name", 6));
	if (args.has_uuid)
		assert(memmem(line, size, "-uuid", 6));
	free(line);
	return 0;
}
