/* SPDX-License-Identifier: MIT */
/*
 * broker.h - the broker proper: the threads that serve, between main.c's two ends.
 *
 * What has a name or must outlive a broker is made by main.c before, and taken away by it
 * afterwards: the memory, the listening socket, its lock, the pid file. What is made here ends
 * with the broker. It runs in a process of its own, which the keeper starts again when it dies
 * (keeper.h); without a keeper in the same one.
 */
#ifndef BROKER_H
#define BROKER_H

#include <sched.h>
#include <stdbool.h>

#include "budget.h"
#include "listener.h"
#include "memory.h"
#include "options.h"
#include "rules.h"
#include "sandbox.h"
#include "state.h"
#include "store.h"
#include "sweep.h"
#include "why.h"

/* Exit codes besides EXIT_SUCCESS and EXIT_FAILURE; famez-server(8). */
#define EXIT_USAGE   2
#define EXIT_LIMITS  3
#define EXIT_IN_USE  4
#define EXIT_STRANDS 5

/* What main() has made ready. */
struct server {
	struct options options;
	struct budget budget;
	struct why why;
	char socket_path[128];
	cpu_set_t cpus; /* that workers may use */
	pid_t pid;      /* of the process that was started */
	bool kept;      /* by a keeper: the broker is another one */
	bool stored;    /* what is open outlives us: systemd has it, too (store.h) */
	struct memory memory;
	struct state state;
	struct rules rules; /* in force; they lie in the state */
	struct listener listener;
	struct listener_wish socket_wish; /* of that one, and of bound IDs' */
	struct store_passed passed;
	struct sandbox sandbox;
	int32_t inherited[STATE_INHERITED_MAX]; /* open before us */
	bool log_stuck; /* the logger hangs: nothing that it looks at is freed; end by _exit(2) */
	int parent;     /* a pipe to the process that waits for us to be ready, or -1 */
};

/** server_exit_code() - of what failed with -errno @err. */
int server_exit_code(int err);

/** server_serves() - clients are answered from now on: whoever waits for that is told. @server:
 * struct server. Not by a broker that is kept: the keeper does it. */
void server_serves(void *server);

/**
 * broker_main() - serve until SIGTERM or SIGINT. @server: struct server. Returns an exit code;
 * what went wrong has been printed.
 */
int broker_main(void *server);

#endif
