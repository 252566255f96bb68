/* SPDX-License-Identifier: MIT */
/*
 * options.h - famez-stress's command line.
 */
#ifndef STRESS_OPTIONS_H
#define STRESS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "scenario.h"
#include "verdict.h"

#define OPTIONS_SOCKETS_MAX 64u
#define OPTIONS_GUESTS_MAX  16u

enum options_with { WITH_BOTH, WITH_BELLS, WITH_MESSAGES };

struct options {
	const struct scenario *scenario;
	const char *sockets[OPTIONS_SOCKETS_MAX]; /* from argv; VMs take them in turn */
	unsigned sockets_count;                   /* 0: we start a server ourselves */
	bool devices;                             /* they are a guest's devices, not sockets */
	unsigned guests;                          /* QEMUs that take part, besides `peers` */
	const char *agent;  /* we are a guest of such a run: its device. NULL: we are not */
	const char *server; /* that we start, from argv; NULL: the one beside us, or in PATH */
	unsigned peers;
	unsigned vectors;   /* 0: learn them from the server */
	unsigned processes; /* 0: as many as the descriptors make necessary */
	unsigned rounds;    /* 0: all pairs, or ROUNDS_DEFAULT matchings if those are too many */
	unsigned size;      /* payload of a message; 0: the scenario's */
	enum options_with with;
	double rate;   /* of an open loop, all VMs together; 0: closed */
	double time_s; /* of each measured part; 0: none */
	double warm_up_s;
	double patience_s;
	uint64_t seed;
	const char *json, *csv, *svg; /* from argv, or NULL */
	bool hold, join_only;
	bool help, version;
};

/* Returns 0 or -1 with the verdict filled in. */
int options_parse(struct options *o, int argc, char **argv, struct verdict *verdict);

/* Do the VMs need mailboxes? */
bool options_mail(const struct options *o);

void options_help(void);

#endif
