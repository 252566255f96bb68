/* SPDX-License-Identifier: MIT */
/*
 * heap.h - the allocator: how it is set up, what it gives for what is asked, its own figures.
 *
 * All our memory is taken at start, most of it in a few tables by the thousand bytes. So
 * jemalloc(3) is told to keep no stock for each thread: of tables of a few KiB it would put
 * by ten and more that nobody is ever going to ask for.
 *
 * A sanitizer brings its own allocator: then there are no figures. Any thread.
 */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_figures {
	uint64_t allocated; /* bytes in use, as rounded */
	uint64_t resident;  /* bytes of the machine's memory that it holds */
	unsigned arenas;
};

/** heap_given() - what an allocation of @bytes takes: sizes are rounded up. 0 for 0. */
uint64_t heap_given(uint64_t bytes);

/** heap_look() - the figures of now; zeros where the program runs on another allocator. */
void heap_look(struct heap_figures *figures);

#endif
