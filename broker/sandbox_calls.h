/* SPDX-License-Identifier: MIT */
/*
 * sandbox_calls.h - which system calls a file makes once the broker serves, said in that file.
 *
 * Each file that asks the kernel for something has one list, and the filter (sandbox.c) is made
 * of those of all files that are linked: what no list names ends the process. So whoever adds a
 * system call adds it to the list above it, and tests/keeper/sandbox.py finds one that was
 * forgotten. What is only called before the filter is there needs no place in it.
 *
 *     SANDBOX_BROKER(CALL(shutdown), CALL(ioctl, {1, SANDBOX_ALL, SIOCOUTQ}));
 *     SANDBOX_LOOKER(CALL(readlink));
 */
#ifndef SANDBOX_CALLS_H
#define SANDBOX_CALLS_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of the kernel's that are ints are compared as such. */
#define SANDBOX_ALL 0xffffffffu

struct sandbox_argument {
	unsigned nth;   /* 0: the first */
	uint64_t mask;  /* of the bits that count; 0 ends the list */
	uint64_t value; /* what they must be */
};

struct sandbox_call {
	const char *name; /* NULL ends the list */
	/* All must be so; a call with two sets of arguments stands there twice. */
	struct sandbox_argument arguments[3];
};

/* @name as in syscalls(2), then conditions on its arguments. */
#define CALL(name_, ...)                                                                           \
	{                                                                                          \
		.name = #name_, .arguments = { __VA_ARGS__ }                                       \
	}

/* They are found by their section. */
#define SANDBOX_LIST(process, ...)                                                                 \
	static const struct sandbox_call sandbox_calls_##process##_[] = {                          \
		__VA_ARGS__, {.name = NULL}};                                                      \
	static const struct sandbox_call *const sandbox_list_##process##_                          \
		__attribute__((section("famez_calls_" #process), used)) =                          \
			sandbox_calls_##process##_

/* Of the broker proper, and of its looker (look.h). One each a file. */
#define SANDBOX_BROKER(...) SANDBOX_LIST(broker, __VA_ARGS__)
#define SANDBOX_LOOKER(...) SANDBOX_LIST(looker, __VA_ARGS__)

#endif
