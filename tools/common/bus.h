/* SPDX-License-Identifier: MIT */
/*
 * bus.h - the end by SIGBUS, in words. See bus.c.
 */
#ifndef TOOLS_BUS_H
#define TOOLS_BUS_H

/** bus_explain() - from now on who touches shared memory that is not there ends with one line that
 * says so, and exit code 1. @program: its name, kept. For programs: the disposition is theirs. */
void bus_explain(const char *program);

#endif
