/* SPDX-License-Identifier: MIT */
/*
 * host.h - what a run took place on: the lines that a figure needs beside it.
 */
#ifndef STRESS_HOST_H
#define STRESS_HOST_H

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

#endif
