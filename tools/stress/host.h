/* SPDX-License-Identifier: MIT */
/*
 * host.h - what a run took place on: the lines that a figure needs beside it.
 */
#ifndef STRESS_HOST_H
#define STRESS_HOST_H

#include <stddef.h>
#include <stdint.h>

struct host {
	char cpu[80], kernel[80], machine[24], clock[24], system[64], date[32];
	unsigned cpus; /* that we may use */
	uint64_t memory_bytes;
	double load;         /* of the last minute, when the run began */
	int virtual_machine; /* 1: the CPU says so */
};

/* Reads /proc, /sys and /etc/os-release; what can't be read stays empty. */
void host_look(struct host *h);

/* A program that belongs to ours: the first of these places, beside our own file, where there is
 * one that runs; else its name, which is left to PATH. `places` ends with NULL. */
void host_find(const char *name, const char *const *places, char *path, size_t bytes);

#endif
