/* SPDX-License-Identifier: MIT */
/*
 * qemu_args.h - the name and the UUID that a QEMU's command line gives its VM.
 *
 * As QEMU 7.2 reads them: `-name [guest=]NAME[,key=value...]` with commas in it doubled, and
 * `-uuid UUID`; two dashes do as well, and the last one counts. It is what the process says of
 * itself, and no proof of anything; whether a word is an option or another option's value is not
 * looked into.
 *
 * Pure.
 */
#ifndef QEMU_ARGS_H
#define QEMU_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QEMU_NAME_BYTES 64u
#define QEMU_UUID_BYTES 16u

struct qemu_args {
	char name[QEMU_NAME_BYTES]; /* empty: none, or too long to be compared */
	bool has_uuid;
	uint8_t uuid[QEMU_UUID_BYTES];
};

/**
 * qemu_args_parse() - @line: as in /proc/PID/cmdline (proc(5)), words that each end with a NUL.
 * A last word without one was cut off, and does not count.
 */
void qemu_args_parse(struct qemu_args *args, const char *line, size_t bytes);

/** qemu_args_uuid() - "8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b11", of any case. False: it is none. */
bool qemu_args_uuid(const char *text, uint8_t uuid[QEMU_UUID_BYTES]);

#endif
