/* SPDX-License-Identifier: MIT */
/*
 * control.h - what famez-server does about one that runs: --stop and --upgrade.
 *
 * Of that one it opens the state memory, read only, and sends it a signal. Nothing else is
 * touched, neither its socket: who connects is a peer. One thread, at start, in place of serving.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "options.h"

/**
 * control_run() - do as o->control says. The server is the one whose process ID stands in
 * o->pidfile, else in the lock of o->socket_path. Says on standard output what has been done, or
 * on standard error what was wrong. Returns the exit code, EXIT_STRANDS where devices were the
 * reason not to stop.
 */
int control_run(const struct options *o);

#endif
