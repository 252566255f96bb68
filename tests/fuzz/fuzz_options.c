/* SPDX-License-Identifier: MIT */
/*
 * fuzz_options.c - any command line at all is either taken, with values in their
 * ranges, or refused with one line. Arguments are the input's lines; an input that
 * starts with `i` is ivshmem-server's.
 */
#include "fuzz.h"

#include <errno.h>

#include "options.h"

enum { ARGUMENTS_MAX = 32 };

static void check_taken(const struct options *o)
{
	assert(o->vectors >= 1 && o->vectors <= 2048);
	assert(o->peers <= options_peers_most(o));
	assert(!(o->silent && o->layout == WANT_AUTO));
	assert(o->memory_bytes >= o->memory_asked && !o->memory_bytes == !o->memory_asked);
	assert(!o->memory_bytes || o->memory_bytes >= MEMORY_BYTES_MIN);
	assert(o->memory_bytes <= MEMORY_BYTES_MAX);
	assert((o->memory_bytes & (o->memory_bytes - 1)) == 0);
	assert(o->memory == MEMORY_SEALED || (o->memory_name && *o->memory_name));
	assert(o->socket_mode >= -1 && o->socket_mode <= 0777);
	assert(!o->pin || CPU_COUNT(&o->cpus) >= 1);
	assert(o->device_names && *o->device_names);
	assert(!o->socket_path || *o->socket_path);
	assert(!o->pidfile || *o->pidfile);
	assert(!o->logfile || *o->logfile);
	assert(!o->zone_file || *o->zone_file);
	assert(!o->bind_file || *o->bind_file);
	assert(o->admit.uids_count <= ADMIT_LIST_MAX && o->admit.gids_count <= ADMIT_LIST_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *rest = text;
	char *argv[ARGUMENTS_MAX + 2];
	struct options o;
	struct why why = {""};
	int argc = 1, result;

	argv[0] = (char *)(size && *data == 'i' ? "ivshmem-server" : "famez-server");
	if (size)
		rest++;
	for (char *word; argc <= ARGUMENTS_MAX && (word = strsep(&rest, "\n"));)
		argv[argc++] = word;
	argv[argc] = NULL;
	result = options_parse(&o, argc, argv, &why);
	assert(result == 0 || result == -EINVAL);
	if (result == 0)
		check_taken(&o);
	else
		assert(why.text[0] && memchr(why.text, '\0', sizeof(why.text)));
	free(text);
	return 0;
}
