/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line of famez-server, in three dialects.
 *
 * QEMU's ivshmem-server's short options, FAME-Z's long names, and ours; man page
 * famez-server(8) has the table. Called as `ivshmem-server` the program takes that
 * one's defaults. Parsing touches no file and no global state.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "admit.h"
#include "memory.h"
#include "sandbox.h"
#include "why.h"

#define OPTIONS_WORKERS_MAX 256

enum options_leaves { LEAVES_AUTO, LEAVES_ALWAYS, LEAVES_NEVER };

/* What is laid out in the memory. WANT_AUTO: lanes, or what fits and hurts nobody; a silent
 * server is left with WANT_PLAIN. */
enum options_layout { WANT_AUTO, WANT_LANES, WANT_SLOTS, WANT_PLAIN };

/* Of slots and link messages: F.E.E.'s, or FAME-Z's older one. */
enum options_dialect { DIALECT_FEE, DIALECT_FAMEZ };

/* What to do about a server that runs, in place of being one. */
enum options_control { CONTROL_NONE, CONTROL_STOP, CONTROL_UPGRADE };

enum options_personality { PERSONALITY_GENZ, PERSONALITY_NONE };

struct options {
	/* fabric */
	uint32_t peers; /* at most so many at once; 0: as many as fit, up to peers_default */
	uint32_t peers_default;
	uint16_t vectors; /* of every peer */
	bool silent;      /* the server is no peer */
	enum options_leaves leaves;
	const char *device_names; /* comma-separated patterns */
	uint32_t stall_timeout_s; /* 0: never */
	/* memory */
	enum memory_kind memory;
	const char *memory_name;
	uint64_t memory_asked; /* bytes as given; 0: as many as the peers need */
	uint64_t memory_bytes; /* the same, rounded up to a power of two */
	enum options_layout layout;
	enum options_dialect dialect;
	enum options_personality personality;
	/* socket */
	const char *socket_path;  /* NULL: main() finds one */
	int socket_mode;          /* -1: as the umask has it */
	const char *socket_owner; /* USER[:GROUP], NULL: not changed */
	const char *socket_group; /* comes before the one of socket_owner; NULL: that one */
	/* admission */
	struct admit_rules admit;
	const char *zone_file; /* NULL: everybody sees everybody */
	const char *bind_file; /* NULL: no ID is kept for anybody */
	enum sandbox_mode sandbox;
	/* threads */
	uint16_t workers; /* 0: one per CPU */
	bool pin;
	cpu_set_t cpus; /* if `pin` */
	/* life */
	bool daemon;
	uint32_t watchdog_s; /* a broker that does not answer for so long is ended; 0: never */
	bool fdstore;        /* systemd's descriptor store keeps what the keeper has */
	bool keeper;         /* the broker is a child, and has a successor when it dies */
	int check_state;     /* say whether we can read the state behind this descriptor; -1: no */
	const char *pidfile; /* NULL: none */
	const char *logfile; /* NULL: standard error */
	bool log_json;
	unsigned verbose;
	enum options_control control;
	bool force;   /* stop whoever is stranded */
	bool check;   /* print the budget and exit */
	bool help;    /* print the help and exit */
	bool version; /* print the version and exit */
};

/**
 * options_parse() - fill in @o from the command line; strings stay in @argv.
 * Returns 0 or -EINVAL with one line in @why.
 */
int options_parse(struct options *o, int argc, char **argv, struct why *why);

/** options_first_id() - of the peers: 0 is left out where it has no slot of its own. */
uint32_t options_first_id(const struct options *o);

/** options_peers_most() - as many as there are IDs for. */
uint32_t options_peers_most(const struct options *o);

/** options_help() - the help text; fits a screen. */
const char *options_help(void);

/**
 * options_parse_size() - "4096", "64K", "4M", "1G" (powers of 1024; an optional B or iB
 * after them). Returns 0, -EINVAL, or -ERANGE beyond 2^63.
 */
int options_parse_size(const char *text, uint64_t *bytes);

/** options_parse_cpus() - "0,2-3". Returns 0, -EINVAL, or -ERANGE. */
int options_parse_cpus(const char *text, cpu_set_t *cpus);

/**
 * options_parse_ids() - "alice,1000" into @ids, in the order given: names of users, or with
 * @groups of groups, and numbers. Returns their count, 1..@most, or -EINVAL.
 */
int options_parse_ids(const char *text, bool groups, uint32_t *ids, unsigned most);

/** options_parse_owner() - "user", "user:group", ":group", names or numbers. 0 or -EINVAL. */
int options_parse_owner(const char *text, uid_t *uid, gid_t *gid);

#endif
