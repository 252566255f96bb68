/* SPDX-License-Identifier: MIT */
/*
 * fiber.c - threads of the simulated process: stacks that are switched by hand.
 *
 * The driver resumes one; it runs until it enters the kernel or has stored into the state
 * memory, and yields there. Begun by makecontext(3), switched by longjmp(3), which needs no
 * system call. A stack that its process left by dying is used again by the next.
 */
#include "sim.h"

#include <assert.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FIBER_ASAN 1
#else
#define FIBER_ASAN 0
#endif

struct fiber fibers[SIM_FIBERS_MAX];

static struct fiber *now;
static jmp_buf driver;
#if FIBER_ASAN
static void *driver_sanitizer;
static const void *driver_stack;
static size_t driver_stack_bytes;
#endif

struct fiber *fiber_now(void)
{
	return now;
}

static void leave_for_driver(struct fiber *f, bool for_good)
{
	(void)f;
	(void)for_good;
#if FIBER_ASAN
	__sanitizer_start_switch_fiber(
		for_good ? NULL : &f->sanitizer, driver_stack, driver_stack_bytes);
#endif
	_longjmp(driver, 1);
}

static void begin(void)
{
	struct fiber *f = now;

#if FIBER_ASAN
	__sanitizer_finish_switch_fiber(NULL, &driver_stack, &driver_stack_bytes);
#endif
	(void)f->run(f->argument);
	f->done = true;
	now = NULL;
	leave_for_driver(f, true);
}

void fiber_begin(struct fiber *f, const char *name, void *(*run)(void *), void *argument)
{
	void *stack = f->stack ? f->stack : malloc(SIM_STACK_BYTES);

	assert(stack);
	*f = (struct fiber){
		.used = true,
		.name = name,
		.run = run,
		.argument = argument,
		.stack = stack,
	};
#if FIBER_ASAN
	/* Who died in it left its red zones. */
	__asan_unpoison_memory_region(stack, SIM_STACK_BYTES);
#endif
}

unsigned fiber_start(const char *name, void *(*run)(void *), void *argument)
{
	unsigned n = 0;

	while (n < SIM_FIBERS_MAX && fibers[n].used)
		n++;
	assert(n < SIM_FIBERS_MAX);
	fiber_begin(&fibers[n], name, run, argument);
	return n;
}

void fiber_resume(struct fiber *f)
{
	assert(!now && f->used && !f->done);
	now = f;
	f->waits = false;
	if (_setjmp(driver) == 0) {
#if FIBER_ASAN
		__sanitizer_start_switch_fiber(&driver_sanitizer, f->stack, SIM_STACK_BYTES);
#endif
		if (f->begun)
			_longjmp(f->at, 1);
		f->begun = true;
		(void)getcontext(&f->first);
		f->first.uc_stack.ss_sp = f->stack;
		f->first.uc_stack.ss_size = SIM_STACK_BYTES;
		f->first.uc_link = NULL;
		makecontext(&f->first, begin, 0);
		(void)setcontext(&f->first);
	}
#if FIBER_ASAN
	__sanitizer_finish_switch_fiber(driver_sanitizer, NULL, NULL);
#endif
	now = NULL;
}

void fiber_yield(void)
{
	struct fiber *f = now;

	if (!f)
		return;
	if (_setjmp(f->at) == 0) {
		now = NULL;
		leave_for_driver(f, false);
	}
#if FIBER_ASAN
	__sanitizer_finish_switch_fiber(f->sanitizer, &driver_stack, &driver_stack_bytes);
#endif
}

void fiber_wait(bool (*wakes)(void *), void *argument)
{
	struct fiber *f = now;

	assert(f);
	do {
		f->wakes = wakes;
		f->wakes_argument = argument;
		f->waits = true;
		fiber_yield();
	} while (!wakes(argument));
}

void fibers_forget(void)
{
	assert(!now);
	for (unsigned n = 0; n < SIM_FIBERS_MAX; n++)
		fibers[n].used = false;
}
