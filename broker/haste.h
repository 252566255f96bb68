/* SPDX-License-Identifier: MIT */
/*
 * haste.h - a successor goes before others for its first moments.
 *
 * On a machine whose processors have more to do than they can, what takes a successor some
 * milliseconds takes it a tenth of a second, most of it waiting for its turn behind whatever else
 * runs, time and again. So the keeper is of the policy SCHED_RR (sched(7)), of the lowest urgency
 * but one, for the moment that it runs; a successor is born with it, and each of its threads gives
 * it up in the first turn after HASTE_NS. Nobody is served like that in the long run: what a
 * worker does is up to guests, and none may keep a processor from the others. Who goes on to die
 * is held back by the keeper's pauses; who does not give it up, by a bug or because somebody took
 * it over, is ended by the kernel once it has run for HASTE_LIMIT_US without a pause.
 *
 * It takes CAP_SYS_NICE or a limit (RLIMIT_RTPRIO) of HASTE_FIRST, and a keeper that has no policy
 * of its own; where any of it is missing all is as it would be without us, only slower.
 *
 * Who calls what stands at each; what is kept is a thread's own, but for what the keeper found.
 */
#ifndef HASTE_H
#define HASTE_H

#include <stdbool.h>
#include <stdint.h>

/* sched_setscheduler(2): 1 is the lowest. Those that a newcomer's answer goes through one after
 * the other, registrar and looker, before the workers, which have much to do at first. */
#define HASTE_FIRST 2
#define HASTE_REST  1

/* From a broker's birth. What a successor of a thousand peers needs, some three times over. */
#define HASTE_NS UINT64_C(50000000)

/* RLIMIT_RTTIME: SIGXCPU after it, SIGKILL after twice as much. */
#define HASTE_LIMIT_US UINT64_C(500000)

/** haste_keep() - in the keeper, before it has a broker. */
void haste_keep(void);

/** haste_as_before() - in the keeper, before it becomes another program, or a copy of it does. */
void haste_as_before(void);

/** haste_begin() - in a broker's first thread, which was born at @now_ns. True: it goes before
 * others. Not if it is the @first: nobody is served yet, so nobody waits. */
bool haste_begin(bool first, uint64_t now_ns);

/** haste_worker() - in a worker's thread, at its beginning: behind the first. */
void haste_worker(void);

/** haste_end() - in a thread that was born in haste and has none. */
void haste_end(void);

/** haste_look() - in each turn: is it over? */
void haste_look(void);

#endif
