/* SPDX-License-Identifier: MIT */
/*
 * heap.c - the allocator: how it is set up, what it gives for what is asked, its own figures.
 *
 * Allocates nothing itself.
 */
#include "heap.h"

#include <jemalloc/jemalloc.h>

/* Not there in a build with sanitizers, which bring their own allocator. */
#pragma weak mallctl
#pragma weak nallocx

/* Read by jemalloc before main(); what stands in $MALLOC_CONF comes on top. jemalloc(3),
 * "TUNING". */
const char *malloc_conf = "tcache:false";

uint64_t heap_given(uint64_t bytes)
{
	return nallocx && bytes ? nallocx(bytes, 0) : bytes;
}

/* jemalloc(3), "MALLCTL NAMESPACE". */
static uint64_t figure(const char *name)
{
	size_t value = 0, bytes = sizeof(value);

	return mallctl && mallctl(name, &value, &bytes, NULL, 0) == 0 ? value : 0;
}

void heap_look(struct heap_figures *figures)
{
	uint64_t epoch = 1;
	unsigned arenas = 0;
	size_t bytes = sizeof(epoch);

	/* Its figures are brought up to date when it is told a new epoch. */
	if (mallctl)
		(void)mallctl("epoch", &epoch, &bytes, &epoch, bytes);
	bytes = sizeof(arenas);
	if (mallctl)
		(void)mallctl("arenas.narenas", &arenas, &bytes, NULL, 0);
	*figures = (struct heap_figures){
		.allocated = figure("stats.allocated"),
		.resident = figure("stats.resident"),
		.arenas = arenas,
	};
}
