/* SPDX-License-Identifier: MIT */
/*
 * server.h - the server under stress: one that we start and stop, or one that runs already.
 */
#ifndef STRESS_SERVER_H
#define STRESS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "verdict.h"

struct server {
	pid_t pid;       /* of ours; 0: we started none */
	pid_t watched;   /* whose /proc is looked at; 0: not known */
	int log;         /* of ours: what it says; -1 */
	char folder[64]; /* ours: the socket's; empty: none */
	char socket[128];
	char program[256]; /* what we started */
};

/* How to start one: for so many peers, each with so many vectors. */
struct server_needs {
	const char *program; /* NULL: famez-server beside ourselves, or in PATH */
	unsigned peers, vectors;
	bool mail; /* lanes between all; without, 1 MiB of plain memory */
};

struct server_use {
	uint64_t cpu_ns;       /* user and system, of its processes together */
	uint64_t memory_bytes; /* resident, the same */
	uint64_t descriptors;
	unsigned processes;
};

/* Returns once it listens: 0, or -1 with the verdict filled in. */
int server_start(struct server *s, const struct server_needs *needs, struct verdict *verdict);

/* Takes what runs at this socket. */
void server_given(struct server *s, const char *socket);

/* Of a server that we did not start: the process at the other end of one of our sockets, if
 * any is connected to it. */
pid_t server_pid_of_our_socket(const char *socket);

/* What it uses now. All zeros where that can't be seen. */
struct server_use server_look(const struct server *s);

/* Ends ours, and waits for that; nothing to do for a given one. Returns 0, or -1 with the
 * verdict filled in where it did not end well. */
int server_stop(struct server *s, struct verdict *verdict);

/* Size of the shared memory that `needs` lead to, as famez-server computes it. */
uint64_t server_memory_bytes(const struct server_needs *needs);

/* The version line of a program of ours; empty: it says none. */
void server_version(const struct server *s, char *line, size_t bytes);

#endif
