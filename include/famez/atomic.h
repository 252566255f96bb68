/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * atomic.h - ordered access to words that other processes, guests and kernels share.
 *
 * Compiler builtins on plain fixed-width types, so that the same headers serve C, C++ and
 * a kernel module, and thread sanitizers see every access. Words of the mailbox file are
 * little-endian; on a big-endian machine this header refuses to compile rather than
 * write a file that nobody else can read.
 *
 * FAMEZ_WEAKEN_x, for x in S1, S3, S4, R1, C1, V1, V3, W1 (see lane.h), makes one step
 * relaxed, to prove that a test notices. Never defined in what is installed.
 */
#ifndef FAMEZ_ATOMIC_H
#define FAMEZ_ATOMIC_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the mailbox is little-endian, and so must the machine be"
#endif

#ifdef __KERNEL__
#include <linux/types.h>
#ifndef UINT64_C /* the kernel has stdint's types, and not its macros */
#define UINT32_C(value) value##U
#define UINT64_C(value) value##ULL
#endif
#else
#include <stdint.h>
#endif

#define famez_load_relaxed(word)         __atomic_load_n((word), __ATOMIC_RELAXED)
#define famez_load_acquire(word)         __atomic_load_n((word), __ATOMIC_ACQUIRE)
#define famez_load_ordered(word)         __atomic_load_n((word), __ATOMIC_SEQ_CST)
#define famez_store_relaxed(word, value) __atomic_store_n((word), (value), __ATOMIC_RELAXED)
#define famez_store_release(word, value) __atomic_store_n((word), (value), __ATOMIC_RELEASE)
#define famez_store_ordered(word, value) __atomic_store_n((word), (value), __ATOMIC_SEQ_CST)

#endif
