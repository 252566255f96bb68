/* SPDX-License-Identifier: MIT */
/*
 * say.h - one line to the operator, on standard error.
 */
#ifndef VM_SAY_H
#define VM_SAY_H

/** say() - "famez-vm: " and that line. Returns -1, so that who fails can return it. */
__attribute__((format(printf, 1, 2))) int say(const char *form, ...);

/** say_step() - what is being done now, that may take a while. */
__attribute__((format(printf, 2, 3))) void say_step(const char *what, const char *form, ...);

#endif
