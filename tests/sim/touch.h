/* SPDX-License-Identifier: MIT */
/*
 * touch.h - whoever touches the shared memory may be set aside there, or die.
 *
 * Comes before everything else in each file of the simulation and of the broker in it, and has
 * the words of famez/atomic.h say so before they do what they do.
 */
#ifndef SIM_TOUCH_H
#define SIM_TOUCH_H

#include "famez/atomic.h"

/** sim_touch() - others may go on here. */
void sim_touch(void);

#undef famez_load_relaxed
#undef famez_load_acquire
#undef famez_load_ordered
#undef famez_store_relaxed
#undef famez_store_release
#undef famez_store_ordered

#define famez_load_relaxed(word) (sim_touch(), __atomic_load_n((word), __ATOMIC_RELAXED))
#define famez_load_acquire(word) (sim_touch(), __atomic_load_n((word), __ATOMIC_ACQUIRE))
#define famez_load_ordered(word) (sim_touch(), __atomic_load_n((word), __ATOMIC_SEQ_CST))
#define famez_store_relaxed(word, value)                                                           \
	(sim_touch(), __atomic_store_n((word), (value), __ATOMIC_RELAXED))
#define famez_store_release(word, value)                                                           \
	(sim_touch(), __atomic_store_n((word), (value), __ATOMIC_RELEASE))
#define famez_store_ordered(word, value)                                                           \
	(sim_touch(), __atomic_store_n((word), (value), __ATOMIC_SEQ_CST))

#endif
