/* SPDX-License-Identifier: MIT */
/*
 * say.h - everything that the client prints. See say.c.
 */
#ifndef CLIENT_SAY_H
#define CLIENT_SAY_H

#include "famez/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** say_init() - print JSON, and the time before every event? */
void say_init(bool as_json, bool with_time);

struct cJSON;

/** say_json() - are we to print JSON? */
bool say_json(void);

/** say_object() - a new object that begins with this: an event's with "event". NULL passes. */
struct cJSON *say_object(const char *key, const char *value);

/** say_print() - print and free an object. NULL: out of memory, which is said. */
void say_print(struct cJSON *o);

/** say_time() - for people, before every line of an event: its time, if they want it. */
void say_time(void);

/** say_error() - one line on standard error, "famez-client: " before it. */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** say_where() - what say_error() puts before its text from now on; "" for nothing. */
void say_where(const char *where);

/** say_above() - call this once before the next line is printed; NULL: don't. Returns whether the
 * one set before was not called. */
bool say_above(void (*wipe)(void));

/** say_note() - a line for people only, on standard output. */
void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** say_interrupted() - end the line on which the terminal has shown ^C. */
void say_interrupted(void);

void say_event_join(unsigned peer);
void say_event_leave(unsigned peer);
void say_event_doorbell(unsigned vector, uint64_t count);
void say_event_lost(void);

void say_id(int id);
void say_peers(const struct famez *f);
void say_rang(int peer, int vector, unsigned rung); /* -1: all of them */
void say_memory(size_t bytes);
void say_peek(size_t offset, const unsigned char *bytes, size_t count);
void say_poke(size_t offset, size_t count);
void say_present(unsigned peer, unsigned vectors);

#endif
