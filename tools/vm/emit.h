/* SPDX-License-Identifier: MIT */
/*
 * emit.h - a plan as QEMU's arguments, or as libvirt's elements. See emit.c.
 */
#ifndef VM_EMIT_H
#define VM_EMIT_H

#include "plan.h"

#include <stdio.h>

/** emit_chardev(), emit_doorbell() - the two arguments' values of a VM's doorbell device number
 * @device, from 0: -chardev and -device. Each is malloc()ed; NULL: out of memory. */
char *emit_chardev(const struct plan *p, unsigned device);
char *emit_doorbell(const struct plan *p, unsigned device);

/** emit_args() - a line a node: QEMU's arguments, quoted as a shell wants them. */
void emit_args(FILE *to, const struct plan *p);

/** emit_xml() - libvirt's elements of each node, and where they go. */
void emit_xml(FILE *to, const struct plan *p);

/** emit_remarks() - what the operator must see to: a line each. */
void emit_remarks(FILE *to, const struct plan *p);

#endif
