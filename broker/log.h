/* SPDX-License-Identifier: MIT */
/*
 * log.h - one line an event, key=value or JSON, and never a thread held up by it.
 *
 * Whoever logs formats a line into a ring of its own; one thread, the logger,
 * writes them out; where the process dies before, its successor's does (log_ring.h). It alone may
 * be held up by a full pipe or a slow disk. A line that finds its queue full is dropped and
 * counted. Events that a client can cause at will are rate-limited, and how many were left out is
 * said with the next one.
 *
 * Before log_start() (and after log_stop()) lines are written directly.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/* Every event there is, its level, and whether a client can cause it at will. */
#define LOG_EVENTS(X)                                                                              \
	X(start, "start", NOTICE, false)                                                           \
	X(listening, "listening", NOTICE, false)                                                   \
	X(sandbox, "sandbox", NOTICE, false)                                                       \
	X(unlocked, "unlocked", WARNING, false)                                                    \
	X(rounded, "rounded", NOTICE, false)                                                       \
	X(fewer_peers, "fewer-peers", NOTICE, false)                                               \
	X(default_peers, "default-peers", NOTICE, false)                                           \
	X(mailbox, "mailbox", NOTICE, false)                                                       \
	X(little_room, "little-room", WARNING, false)                                              \
	X(mailbox_lost, "mailbox-lost", WARNING, false)                                            \
	X(died, "died", WARNING, false)                                                            \
	X(resumed, "resumed", NOTICE, false)                                                       \
	X(stored, "stored", NOTICE, false)                                                         \
	X(upgrade, "upgrade", NOTICE, false)                                                       \
	X(rules, "rules", NOTICE, false)                                                           \
	X(rules_wrong, "rules-wrong", WARNING, false)                                              \
	X(stop, "stop", NOTICE, false)                                                             \
	X(connect, "connect", INFO, true)                                                          \
	X(join, "join", INFO, true)                                                                \
	X(leave, "leave", INFO, true)                                                              \
	X(drop, "drop", WARNING, true)                                                             \
	X(refuse, "refuse", WARNING, true)                                                         \
	X(damaged, "damaged", WARNING, true)                                                       \
	X(held_back, "held-back", WARNING, true)                                                   \
	X(accept, "accept", WARNING, true)                                                         \
	X(retry, "retry", WARNING, true)                                                           \
	X(named, "named", INFO, true)                                                              \
	X(mail_damaged, "mail-damaged", WARNING, true)                                             \
	X(garbled, "garbled", WARNING, true)                                                       \
	X(unread, "unread", WARNING, true)                                                         \
	X(slot_stuck, "slot-stuck", WARNING, true)                                                 \
	X(port, "port", NOTICE, false)                                                             \
	X(ports, "ports", NOTICE, false)                                                           \
	X(reopened, "reopened", NOTICE, false)                                                     \
	X(failed, "failed", ERROR, false)                                                          \
	X(suppressed, "suppressed", WARNING, false)                                                \
	X(report, "report", NOTICE, false)                                                         \
	X(report_peer, "report-peer", NOTICE, false)                                               \
	X(report_mail, "report-mail", NOTICE, false)                                               \
	X(report_vector, "report-vector", NOTICE, false)                                           \
	X(report_end, "report-end", NOTICE, false)

enum log_event {
#define LOG_ENUM(name, text, level, flood) LOG_##name,
	LOG_EVENTS(LOG_ENUM)
#undef LOG_ENUM
		LOG_EVENTS_COUNT
};

struct log_field {
	const char *key;  /* NULL ends the list */
	const char *text; /* NULL: a number */
	uint64_t number;
};

#define LOG_TEXT(key, value)   ((struct log_field){(key), (value), 0})
#define LOG_NUMBER(key, value) ((struct log_field){(key), NULL, (uint64_t)(value)})

struct log_memory;
struct look_file;
struct wakeup;

struct log_config {
	const char *file; /* NULL: standard error; borrowed */
	bool json;
	enum log_level level; /* lines above it are left out */
};

/**
 * log_open() - from now on lines go to @wanted's file. @fd: one that has it open already, and is
 * ours from here on; -1: none. Returns 0 or -errno of open(2).
 */
int log_open(const struct log_config *wanted, int fd);

/** log_descriptor() - of the file, which keeps its number for as long as we run. */
int log_descriptor(void);

/**
 * log_hurry() - until log_start(): a line that a pipe does not take at once is lost, rather than
 * waited for.
 */
void log_hurry(void);

/** log_file() - how a log at @path is opened, for the looker that opens it anew. */
struct look_file log_file(const char *path);

/**
 * log_share() - from now on lines wait in @lines, log_memory_bytes(), and what is known of the
 * file is there: a successor of ours goes on with both. Before log_start(); NULL: not any more. It
 * stays the caller's.
 */
void log_share(struct log_memory *lines);

/**
 * log_start() - start the logger, for @threads threads that log. It writes first what a broker
 * before us left in the memory of log_share(). Returns 0 or -errno of what a thread needs.
 */
int log_start(unsigned threads);

/** log_bytes() - what that takes, for the budget. */
uint64_t log_bytes(unsigned threads);

/** log_thread() - this thread logs as number @nth, 0..threads-1, from now on. */
void log_thread(unsigned nth);

/**
 * log_stop() - write out what is queued, and end the logger. Returns false where it hangs
 * in a write, to a pipe that nobody reads: then end by _exit(2).
 */
bool log_stop(void);

/**
 * log_reopen() - have the logger open its file anew (the old one was rotated). What is logged
 * afterwards is in the new one; what still waits may be in either. @done, NULL: nobody, is rung
 * once log_reopened(); one and the same each time. One thread's.
 */
void log_reopen(struct wakeup *done);

/** log_reopened() - has it been opened anew, or failed to be, as often as was asked for? */
bool log_reopened(void);

/** log_dropped() - lines lost to full queues so far. Any thread. */
uint64_t log_dropped(void);

/**
 * log_fields() - log one event. Never blocks once log_start() has returned. Texts are
 * copied and escaped: they may be anybody's.
 */
void log_fields(enum log_event event, const struct log_field *fields);

#define log_event(event, ...)                                                                      \
	log_fields(LOG_##event, (const struct log_field[]){__VA_ARGS__, {NULL, NULL, 0}})

/** log_suppressed() - has this thread left out lines that no later line has told of? */
bool log_suppressed(void);

/** log_settle() - tell of them, as far as the rate limit allows a line again. */
void log_settle(void);

/**
 * log_ask() - have the logger call @print, which may call log_fields() as often as it
 * likes and be held up, when what was logged before is written. Not again before it was called.
 */
void log_ask(void (*print)(void *), void *argument);

#endif
