/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - as much of a kernel as the driver's files take that know of memory and messages only.
 *
 * Included before each of them (-include), so that they are compiled unchanged in user space. One
 * thread: locks only notice who takes one twice or gives back what he has not, waiting ends at
 * once, and uevents are counted. Allocations fail when kernel_memory_fails says so. The functions
 * behave as the kernel's do where that can be told; what is sized is as large as it is there.
 */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uint64_t phys_addr_t;

#define __iomem
#define __rcu
#define __user

#define ERESTARTSYS 512
#define HZ          250
#define jiffies     0ul

#define READ_ONCE(word)         (*(const volatile __typeof__(word) *)&(word))
#define WRITE_ONCE(word, value) (*(volatile __typeof__(word) *)&(word) = (value))
#define time_after(a, b)        ((long)((b) - (a)) < 0)

#define min_t(type, a, b)              ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define min(a, b)                      ((a) < (b) ? (a) : (b))
#define max(a, b)                      ((a) > (b) ? (a) : (b))
#define clamp(value, least, most)      min(max(value, least), most)
#define container_of(at, type, member) ((type *)(void *)((char *)(at)-offsetof(type, member)))

/* ---- structs that are only there to be members ------------------------------------------- */

struct file;
struct vm_area_struct;
struct eventfd_ctx;
struct pci_dev;
struct inode;
struct kthread_worker;
struct kobject {
	int unused;
};
struct device {
	struct kobject kobj;
};
struct cdev {
	int unused;
};
struct resource {
	struct resource *parent;
};
struct class
{
	int unused;
};
struct pci_driver {
	int unused;
};
struct file_operations {
	int unused;
};
struct attribute_group {
	int unused;
};
struct rw_semaphore {
	int unused;
};
struct ratelimit_state {
	int unused;
};
struct kthread_work {
	int unused;
};
struct kthread_delayed_work {
	struct kthread_work work;
};
typedef struct {
	int unused;
} wait_queue_head_t;

/* Parameters can be set: kernel_param_NAME is where. */
#define module_param(name, type, mode) type *const kernel_param_##name = &name
#define MODULE_PARM_DESC(name, text)   extern int kernel_unused

/* ---- locks, waiting ---------------------------------------------------------------------- */

struct mutex {
	bool held;
};
typedef struct mutex spinlock_t;

static inline void mutex_lock(struct mutex *m)
{
	assert(!m->held);
	m->held = true;
}

static inline void mutex_unlock(struct mutex *m)
{
	assert(m->held);
	m->held = false;
}

#define spin_lock   mutex_lock
#define spin_unlock mutex_unlock

#define wake_up_interruptible_poll(queue, events) ((void)(queue))
#define wake_up_interruptible(queue)              ((void)(queue))
#define wait_event_interruptible_timeout(queue, what, ticks)                                       \
	((what) ? 1l : (long)((ticks)*0 - ERESTARTSYS))
#define kthread_queue_work(worker, work) ((void)(worker), (void)(work))

/* ---- memory ------------------------------------------------------------------------------ */

typedef unsigned int uint, gfp_t;
#define GFP_KERNEL   0u
#define __GFP_NOWARN 0u

extern bool kernel_memory_fails;

static inline void *kvcalloc(size_t count, size_t bytes, gfp_t how)
{
	(void)how;
	return kernel_memory_fails ? NULL : calloc(count, bytes);
}

static inline void *kzalloc(size_t bytes, gfp_t how)
{
	return kvcalloc(1, bytes, how);
}

static inline void *kvmalloc(size_t bytes, gfp_t how)
{
	(void)how;
	return kernel_memory_fails ? NULL : malloc(bytes);
}

#define kfree  free
#define kvfree free

/* ---- numbers, bits, lists ---------------------------------------------------------------- */

typedef struct {
	int64_t counter;
} atomic64_t;

static inline void atomic64_add(int64_t value, atomic64_t *to)
{
	to->counter += value;
}

static inline void atomic64_inc(atomic64_t *to)
{
	to->counter++;
}

static inline u32 get_random_u32(void)
{
	return 1;
}

#define BITS_PER_LONG       ((unsigned int)(sizeof(unsigned long) * CHAR_BIT))
#define BITS_TO_LONGS(bits) (((bits) + BITS_PER_LONG - 1) / BITS_PER_LONG)
#define xchg(word, value)   __atomic_exchange_n((word), (value), __ATOMIC_SEQ_CST)

static inline void set_bit(unsigned int bit, unsigned long *map)
{
	map[bit / BITS_PER_LONG] |= 1ul << bit % BITS_PER_LONG;
}

static inline void clear_bit(unsigned int bit, unsigned long *map)
{
	map[bit / BITS_PER_LONG] &= ~(1ul << bit % BITS_PER_LONG);
}

static inline bool test_bit(unsigned int bit, const unsigned long *map)
{
	return map[bit / BITS_PER_LONG] >> bit % BITS_PER_LONG & 1;
}

#define for_each_set_bit(bit, map, bits)                                                           \
	for ((bit) = 0; (bit) < (bits); (bit)++)                                                   \
		if (test_bit(bit, map))

struct list_head {
	struct list_head *next, *prev;
};

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list->prev = list;
}

static inline void list_add(struct list_head *it, struct list_head *behind)
{
	it->prev = behind;
	it->next = behind->next;
	behind->next->prev = it;
	behind->next = it;
}

static inline void list_add_tail(struct list_head *it, struct list_head *list)
{
	list_add(it, list->prev);
}

static inline void list_del(struct list_head *it)
{
	it->prev->next = it->next;
	it->next->prev = it->prev;
	it->next = it->prev = NULL;
}

static inline bool list_empty(const struct list_head *list)
{
	return list->next == list;
}

#define list_first_entry_or_null(list, type, member)                                               \
	(list_empty(list) ? NULL : container_of((list)->next, type, member))
#define list_for_each_entry_safe(at, after, list, member)                                          \
	for ((at) = container_of((list)->next, __typeof__(*(at)), member),                         \
	    (after) = container_of((at)->member.next, __typeof__(*(at)), member);                  \
		&(at)->member != (list); (at) = (after),                                           \
	    (after) = container_of((at)->member.next, __typeof__(*(at)), member))

/* ---- text -------------------------------------------------------------------------------- */

static inline bool strstarts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static inline void strscpy(char *to, const char *from, size_t bytes)
{
	assert(strlen(from) < bytes);
	memcpy(to, from, strlen(from) + 1);
}

/* Digits, a '+' before them and a newline behind them allowed, and nothing else. */
static inline int kstrtou32(const char *text, unsigned int base, u32 *value)
{
	u64 sum = 0;

	assert(base == 10);
	text += *text == '+';
	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		sum = sum * 10 + (u64)(*text - '0');
		if (sum > UINT32_MAX)
			return -ERANGE;
	}
	text += *text == '\n';
	if (*text)
		return -EINVAL;
	*value = (u32)sum;
	return 0;
}

__attribute__((format(printf, 3, 4))) static inline int scnprintf(
	char *to, size_t bytes, const char *form, ...)
{
	va_list words;
	int length;

	va_start(words, form);
	length = vsnprintf(to, bytes, form, words);
	va_end(words);
	return length < (int)bytes ? length : (int)bytes - 1;
}

/* ---- uevents ----------------------------------------------------------------------------- */

enum { KOBJ_CHANGE };

extern unsigned long kernel_uevents;

static inline int kobject_uevent_env(struct kobject *of, int what, char **words)
{
	(void)of;
	(void)what;
	for (; *words; words++)
		for (const char *c = *words; *c; c++)
			assert(*c > ' ' && *c <= '~');
	kernel_uevents++;
	return 0;
}

static inline bool __ratelimit(struct ratelimit_state *state)
{
	(void)state;
	return !kernel_memory_fails; /* at times */
}

static inline bool device_is_registered(const struct device *device)
{
	(void)device;
	return true;
}

#endif
