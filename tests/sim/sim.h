/* SPDX-License-Identifier: MIT */
/*
 * sim.h - one simulated host: a kernel, a broker in it, and the broker's actors.
 *
 * The broker is the real one: registrar.c, worker.c, peer.c and all that they use are linked
 * as they are. What is made up lies below them and around them:
 *
 *   fiber.c     stacks that are switched by hand, so one goes at a time
 *   kernel.c    descriptors, eventfds, signals, /proc: the system calls, under their names
 *   socket.c    ... sockets
 *   process.c   ... heap, threads, time
 *   ring.c      io_uring
 *   life.c      what main does: start a broker, and after its death the next one
 *   memory.c    the shared memory
 *   actor.c     QEMUs and plain clients: what they make of what they are sent, and the judgement
 *   voice.c     ... what they say to each other and to the server through the shared memory
 *   hearsay.c   ... and what must come of that
 *   world.c     one seed: who goes next, who dies when
 *   trace.c     what happened, in words
 *
 * Whoever enters the kernel, or has just stored into the state memory, may be set aside there;
 * anybody else goes on, or the broker dies. All that is random comes from the seed.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <ucontext.h>

enum {
	SIM_PEERS_MAX = 12,
	SIM_IDS_MAX = SIM_PEERS_MAX + 2,
	SIM_VECTORS_MAX = 3,
	SIM_WORKERS_MAX = 3,
	SIM_CLIENTS_MAX = 20, /* at a time, those that wait to be accepted included */
	SIM_FDS_MAX = 512,
	SIM_SOCKET_WORDS = 278, /* messages that fit an unread socket at most, as measured */
	SIM_FIBERS_MAX = SIM_WORKERS_MAX + 1,
	SIM_STACK_BYTES = 256 << 10,
	SIM_WORD_BYTES = 512, /* what a message takes of a socket's buffer */
	SIM_UID = 1000,       /* clients' users: this one and the next ones */
	SIM_UIDS = 3,
	SIM_BOUND_UID = SIM_UID,
	SIM_TOUCH_CALM = 100,   /* while all is quiet, others go on after so many touches */
	SIM_AMPLE_LIMIT = 8192, /* descriptors: more than a world can fill */
};

/* ---- trace.c -------------------------------------------------------------------------- */

/** sim_trace() - a line of the trace, if one is kept. */
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** sim_wrong() - an invariant is broken: the world fails with this sentence. */
void sim_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- fiber.c --------------------------------------------------------------------------- */

struct fiber {
	const char *name;
	bool (*wakes)(void *);
	void *wakes_argument;
	void *(*run)(void *);
	void *argument;
	void *stack;
	void *sanitizer;
	jmp_buf at;
	ucontext_t first;
	bool used, done, begun;
	bool waits;     /* for *wakes to be nonzero; else it may go on */
	bool in_kernel; /* in a system call that a death does not cut short */
};

extern struct fiber fibers[SIM_FIBERS_MAX];

/** fiber_begin() - a new thread in @f, that is zeroes or was used before. @name is borrowed. */
void fiber_begin(struct fiber *f, const char *name, void *(*run)(void *), void *argument);
/** fiber_start() - a new thread of the broker's; it runs when it is resumed. Returns its number. */
unsigned fiber_start(const char *name, void *(*run)(void *), void *argument);
/** fiber_resume() - let it run until it yields. */
void fiber_resume(struct fiber *f);
/** fiber_yield() - from within one: let others go. Outside of fibers it does nothing. */
void fiber_yield(void);
/** fiber_wait() - yield until @wakes says true. */
void fiber_wait(bool (*wakes)(void *), void *argument);
/** fiber_now() - whose turn it is, NULL: the driver's. */
struct fiber *fiber_now(void);
/** fibers_forget() - the process is dead: no stack is ever gone back to. */
void fibers_forget(void);

/* ---- kernel.c -------------------------------------------------------------------------- */

enum file_kind {
	FILE_NONE,
	FILE_SOCKET, /* our end of a connection */
	FILE_LISTENER,
	FILE_EVENT,
	FILE_SIGNAL,
	FILE_MEMORY,
	FILE_RING,
	FILE_TEXT, /* something in /proc */
};

/* An open file. Descriptors, messages under way and clients refer to it. */
struct file {
	enum file_kind kind;
	unsigned refs;
	uint64_t serial; /* SO_COOKIE; and tells eventfds apart */
	LIST_ENTRY(file) link;
	/* FILE_SOCKET */
	struct actor *actor; /* NULL: it is gone */
	int priority;        /* SO_PRIORITY */
	bool shut_write, shut_read;
	/* FILE_EVENT */
	uint64_t count;
	/* FILE_SIGNAL */
	uint64_t pending; /* a bit a signal */
	/* FILE_RING */
	struct sim_ring *ring;
	/* FILE_LISTENER */
	bool listening;
	/* FILE_TEXT; and a listener's name, which is also its sockets' */
	char text[160];
	size_t text_at;
};

struct word {
	int64_t value;
	struct file *file; /* NULL: no descriptor came with it */
};

/** kernel_open() - a descriptor for a new file of this kind. -1: none is left. */
int kernel_open(enum file_kind kind);
struct file *kernel_file(int fd);
void file_hold(struct file *file);
void file_drop(struct file *file);
/** kernel_enter() - before a system call does anything: others may go on, or all may die here. */
void kernel_enter(void);
/** kernel_gate() - who connects to this ID's own socket comes here. NULL: it has none. */
struct file *kernel_gate(uint32_t id);
/** kernel_fails() - with this errno. Returns -1. */
int kernel_fails(int error);
/** kernel_signal() - make a signal pending. */
void kernel_signal(int number);

/** kernel_forget_signals() - the process that they were for is dead. */
void kernel_forget_signals(void);
/** kernel_close_all() - the table is gone with its last process. */
void kernel_close_all(void);
/** kernel_reset() - a new world: nothing is open. */
void kernel_reset(void);
/** kernel_count() - open descriptors of this kind. */
unsigned kernel_count(enum file_kind kind);

/* ---- process.c ------------------------------------------------------------------------- */

/** process_forget_heap() - what the dead process had allocated is gone. */
void process_forget_heap(void);

/* Of the simulation's own; the broker's calls are counted as its process's. */
void *__real_calloc(size_t count, size_t size);
void __real_free(void *at);

/* ---- ring.c ---------------------------------------------------------------------------- */

/** ring_look() - complete whatever can be completed now. True: something was. */
bool ring_look(void);
/** ring_actor_read() - a client took a message out of this socket: polls see an edge. */
void ring_actor_read(struct file *file);
/** ring_next_timer() - when the next timeout is due, 0: none is armed. */
uint64_t ring_next_timer(void);
/** ring_close() - its descriptor is closed: operations are given up, some time later. */
void ring_close(struct file *file);
/** ring_reap() - the kernel lets go of what closed rings still held. */
void ring_reap(void);
/** ring_forget_dead() - the process is dead: its rings complete nothing any more. */
void ring_forget_dead(void);
void ring_reset(void);

/* ---- actor.c -------------------------------------------------------------------------- */

enum actor_phase {
	PHASE_WAITS,   /* connected, nobody has accepted it yet */
	PHASE_VERSION, /* what it expects next */
	PHASE_ID,
	PHASE_MEMORY,
	PHASE_BACKLOG,
	PHASE_OWN,
	PHASE_LIVE,
	PHASE_REFUSED, /* got its -1 */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by what belongs together */
struct actor {
	uint64_t serial;
	struct file *socket; /* the broker's end; NULL until accepted, and when that is closed */
	int pid;
	unsigned uid;
	uint64_t accepted_ns;
	uint32_t gate;  /* the ID whose own socket it came by; SIM_IDS_MAX: the fabric's */
	uint32_t limit; /* descriptors that its process may hold */
	enum actor_phase phase;
	bool used, device;
	bool stalled;      /* reads nothing for now */
	bool spoke;        /* it said something, and will be dropped */
	bool hung_up;      /* the broker's end is closed or shut */
	bool leave_unread; /* the last message in its socket is a leave */
	unsigned head, count;
	struct word words[SIM_SOCKET_WORDS];
	/* what it has made of it */
	uint32_t id;
	uint32_t unfinished; /* ID whose vectors are coming, or SIM_IDS_MAX */
	uint32_t held;       /* descriptors */
	struct file *memory;
	uint16_t known[SIM_IDS_MAX];
	uint64_t owner[SIM_IDS_MAX]; /* serial of who had the ID when its first vector came */
	struct file *bells[SIM_IDS_MAX][SIM_VECTORS_MAX];
};

extern struct actor actors[SIM_CLIENTS_MAX];

/** actor_come() - somebody connects, a process of user @uid. @gate: to this ID's own socket, or
 * SIM_IDS_MAX. NULL: there are enough. */
struct actor *actor_come(bool device, uint32_t limit, unsigned uid, uint32_t gate);
/** actors_of() - how many of this user are there, or are on their way in. */
unsigned actors_of(unsigned uid);
/** actor_has() - does anybody have this ID? */
bool actor_has(uint32_t id);
/** actor_next_waiting() - whom accept(2) yields there now; NULL: nobody. */
struct actor *actor_next_waiting(const struct file *listener);
/** actor_accepted() - it gets this socket. False: it has hung up meanwhile. */
bool actor_accepted(struct actor *c, struct file *socket);
/** actor_sent() - a message has come into its socket. */
void actor_sent(struct actor *c, int64_t value, struct file *file);
/** actor_step() - it reads a message, stalls, goes on, speaks or dies. */
void actor_step(struct actor *c);
/** actor_read() - it takes a message out. False: there was none. */
bool actor_read(struct actor *c);
/** actor_hung_up() - the broker's end is shut or closed. */
void actor_hung_up(struct actor *c);
/** actor_die() - closes its socket and forgets everything. */
void actor_die(struct actor *c);
/** actor_by_pid() - for /proc. */
struct actor *actor_by_pid(int pid);
/** actors_judge() - nothing moves any more: has everybody been told everything? */
void actors_judge(void);
void actors_reset(void);

/* ---- memory.c --------------------------------------------------------------------------- */

/** memory_make() - empty, for as many IDs, all lanes included. Returns its bytes. */
uint64_t memory_make(uint32_t ids);
void memory_forget(void);
/** memory_map() - where everybody sees it. */
void *memory_map(void);
uint64_t memory_size(void);
/** memory_end_of_broker() - it does not have it mapped any more. */
void memory_end_of_broker(void);

/* ---- voice.c, hearsay.c ------------------------------------------------------------------ */

/** voice_step() - some client goes on with what it says and hears, if it can. */
void voice_step(void);
/** voices_go_on() - each that can goes on once. False: none could. */
bool voices_go_on(void);
/** voices_speak() - one or two say something, out of the quiet. False: there is nobody. */
bool voices_speak(void);
/** voice_end() - this client is gone, or cut off: it says nothing any more. */
void voice_end(const struct actor *c);
/** voices_unread() - the broker had no room for something in its lane to @id. */
void voices_unread(uint32_t id);
/** voices_judge() - nothing moves any more: has everybody heard what was for it? */
void voices_judge(void);

/* ---- life.c ---------------------------------------------------------------------------- */

/** life_begin() - the keeper starts a broker, the first or the next. */
void life_begin(void);
/** life_stop() - the keeper asks it to end well. */
void life_stop(void);

/** life_ask() - somebody asks by SIGHUP (and the files have changed) or SIGUSR1. */
void life_ask(int number);
/** life_end() - it is dead: nothing is left but descriptors and the state memory. */
void life_end(void);
/* The file of zones. */
#define LIFE_ZONE_FILE "zones"
extern const char life_zones[];
/* The file of bound IDs. */
#define LIFE_BIND_FILE "binds"
/** life_gate() - the ID whose own socket has this name; SIM_IDS_MAX: nobody's. */
uint32_t life_gate(const char *name);
/** life_other() - an ID that the file sometimes names, too. */
uint32_t life_other(void);
/** life_binds() - what stands there now. */
void life_binds(char *text, size_t bytes);
/** life_names() - does the state name this descriptor as a client's socket? */
bool life_names(int fd);
/** life_sent() - a message goes out by sendmmsg(2): does the state know of it? */
void life_sent(int fd, const void *message);
/** life_check() - all is quiet: is the state what it must be, and each descriptor accounted for? */
void life_check(void);
/** life_open() - what the keeper makes before the first. */
void life_open(void);
void life_close(void);

/* ---- world.c --------------------------------------------------------------------------- */

struct world {
	uint64_t seed, dice;
	uint64_t steps, steps_max;
	uint64_t now_ns;
	uint32_t first_id, peers_max, ids_max, server_id;
	uint16_t vectors, workers;
	unsigned socket_words; /* messages that fit an unread socket */
	unsigned deaths_every; /* steps, on average; 0: it never dies */
	bool zoned;            /* users 1000 and 1001 have a zone each, 1002 is in both */
	bool gated;            /* --bind: that ID has a socket of its own instead */
	bool bound;            /* --bind: an ID is kept for user SIM_BOUND_UID */
	uint32_t bound_id;     /* ... this one, whatever else the file says */
	bool reload_doubtful;  /* many brokers died over the last reload */
	unsigned bind_text;    /* what it says now: 0 that; 1 more; 2 something that is wrong */
	unsigned quota;        /* --max-per-uid; 0: none */
	unsigned rate;         /* --joins-per-second; 0: any */
	bool drops_stalled;    /* --stall-timeout 1: time leaps, so it may be anybody */
	unsigned faults_every; /* system calls, on average; 0: none fails */
	bool mail;             /* lanes are laid out, and clients speak through them */
	bool fat;              /* ... messages of up to half a lane */
	unsigned touch_every;  /* words of the shared memory after which others go on; 0: none */
	bool calm;             /* everybody reads, nobody dies, nothing fails */
	bool stopping;         /* was asked to end */
	bool dying;            /* killed: threads end as they leave the kernel */
	bool alive;            /* a broker runs */
	bool serves;           /* ... and has started */
	bool in_use;           /* one has served: from then on a broker that ends has a successor */
	bool failed;
	char why[256];
};

extern struct world world;

/* What a run was made of. */
struct sim_sums {
	uint64_t worlds, steps, deaths, deaths_in_sends, deaths_starting, joins, leaves_told,
		announced, refused, points, exits, clients, hung_up_openings, answers, messages,
		group_messages;
};

extern struct sim_sums sums;

/** draw() - a number below @n. */
uint32_t draw(uint32_t n);
/** world_fault() - does this system call fail, for once? */
bool world_fault(void);
/** world_play() - one seed from its beginning to its judgement. */
bool world_play(uint64_t seed);

extern bool sim_tracing;

#endif
