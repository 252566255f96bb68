/* SPDX-License-Identifier: MIT */
/*
 * keeper_sim.h - the keeper's simulation: processes that are made up, and what must hold.
 *
 *   keeper.c        a world from its beginning to its judgement, and the command line
 *   keeper_world.c  processes, the operator, the machine: what happens between two calls
 *   keeper_calls.c  the calls of the keeper's and of its watchdog's, under their names
 *
 * keeper.c has what is played and what must hold.
 */
#ifndef KEEPER_SIM_H
#define KEEPER_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "keeper.h"
#include "state.h"
#include "watchdog.h"

#define MS             UINT64_C(1000000)
#define PROCESSES      32u
#define THREADS        3u           /* of a broker: the registrar, and two workers */
#define QUIET_NS       (40000 * MS) /* more than any limit of the keeper's */
#define SERVED_WELL_NS (100 * MS)   /* as keeper.c has them */
#define PAUSE_FIRST_NS (10 * MS)
#define PAUSE_LAST_NS  (1000 * MS)
#define KEEPER_PID     1
#define OLD_FD         9

enum life { NONE, ALIVE, ZOMBIE };
/* LOOKER: looks into /proc for the watchdog, and has ended when anybody sees it. */
enum kind { BROKER, CHECKER, LOOKER };
/* What lies on disk, or runs. */
enum program { FINE, STILLBORN, UNREADABLE, NO_PROGRAM, PROGRAMS };

struct proc {
	enum life life;
	enum kind kind;
	pid_t pid;
	enum program program;
	uint64_t born_ns, served_ns;
	uint64_t pending; /* signals, a bit each */
	bool serves, hangs;
	bool stopped;          /* by SIGSTOP, or a debugger has it */
	unsigned stuck;        /* threads that never come to their next turn, a bit each */
	bool stubborn;         /* SIGABRT does not end it: it dumps its memory for ever */
	uint64_t asked;        /* what its registrar has told its workers of */
	uint64_t disturbed_ns; /* since then it could have answered, or not */
	uint64_t counts_ns;    /* since then it is without an answer, and without an excuse */
	int status;
};

struct keeper_world {
	uint64_t seed, dice, now_ns, steps, steps_max;
	struct proc processes[PROCESSES];
	uint64_t pending; /* of the keeper's signals */
	struct state_live live;
	struct state_head head;
	struct state_worker workers[THREADS - 1];
	char words[STATE_WORDS_BYTES];
	struct state state;
	uint64_t told;     /* live.upgrades when last looked */
	uint64_t slept_ns; /* for which the machine was suspended, in all */
	uint64_t died_ns;  /* the last broker */
	uint64_t died_slept_ns;
	uint64_t uptime_ns;        /* ... how long it had served; 0: not at all */
	uint64_t reloads, reports; /* that the keeper was asked for */
	uint64_t quiet_ns;         /* since when all are left alone */
	pid_t last_pid;
	enum program runs, before, disk;
	unsigned watchdog_s; /* --watchdog; 0: none */
	unsigned ended;      /* brokers that this keeper's watchdog ended */
	unsigned asked;      /* upgrades that nobody was told the end of yet, at most */
	unsigned dead_early; /* in a row that had not served well */
	unsigned dead_early_before;
	unsigned idle; /* looks of the keeper's in a row that took no time */
	int stop;
	bool stored, quiet, in_upgrade, may_become, may_kill, over, failed;
	bool watching;        /* it looks at its broker now */
	bool uptime_doubtful; /* the machine slept: the keeper may think it longer, or shorter */
	bool clone_failed;
	char why[200];
};

/* What a run was made of. */
struct keeper_sums {
	uint64_t births, hung, stopped, suspended, upgrades[STATE_UPGRADE_ROLLED_BACK + 1];
};

extern struct keeper_world w;
extern struct keeper_sums sums;
extern jmp_buf become; /* execve(2): nothing of the program is left */
extern jmp_buf failed; /* an invariant is broken */
extern bool tracing;

/* ---- keeper.c -------------------------------------------------------------------------- */

/** draw() - a number below @n. */
uint32_t draw(uint32_t n);
void trace(const char *what, long number);
/** wrong() - an invariant is broken: the world fails with this. */
_Noreturn void wrong(const char *what, long number);

/* ---- keeper_world.c -------------------------------------------------------------------- */

struct proc *process_of(pid_t pid);
/** broker() - the one that lives; NULL: none does. */
struct proc *broker(void);
/** make() - a process is born. Returns its number. */
pid_t make(enum kind kind);
/** die() - it ends so, and its parent will hear of it. */
void die(struct proc *p, int status);
/** watchdog_look_ns() - between two of the watchdog's looks, at most. */
uint64_t watchdog_look_ns(void);
/** world_goes_on() - for a moment, while the keeper waits or is in a call. */
void world_goes_on(void);
/** look_at_upgrades() - who asked for one is told its end once. */
void look_at_upgrades(void);

#endif
