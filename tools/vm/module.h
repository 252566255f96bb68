/* SPDX-License-Identifier: MIT */
/*
 * module.h - the driver, famez.ko, for the kernel that guests boot. See module.c.
 */
#ifndef VM_MODULE_H
#define VM_MODULE_H

#include <limits.h>

/** module_get() - where it is: installed for this release, or built in the cache from our sources.
 * Says what it does, and why it fails. Returns 0 or -1. */
int module_get(char path[PATH_MAX], const char *release, const char *cache);

#endif
