/* SPDX-License-Identifier: MIT */
/*
 * plan.h - a fabric's VMs as they are to be attached, and what that takes. See plan.c.
 */
#ifndef VM_PLAN_H
#define VM_PLAN_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of a reason why a plan would not do, with its NUL. */
#define PLAN_WHY_BYTES 320

/** IDs are 0 to 65535; 0 is nobody's, and the server has one too. */
#define PLAN_NODES_MAX 65534u

/** Doorbell devices of one VM. */
#define PLAN_DEVICES_MAX 4u

/** Bits of an address that QEMU gives a guest unless told otherwise; the most that x86 has. */
#define PLAN_PHYS_BITS_USUAL 40u
#define PLAN_PHYS_BITS_MAX   52u

/** What is asked for. Zero every field you don't set; plan_check() fills in what is 0. */
struct plan {
	unsigned nodes;
	unsigned first, last; /* which of them are to be shown, from 1 */
	unsigned devices;     /* doorbell devices of each VM, all of this fabric */
	unsigned vectors;     /* of each peer */
	const char *socket;   /* the broker's; borrowed, as all text here */
	const char *name;     /* of the VMs, before the number */
	uint64_t mailbox;     /* bytes of the shared memory; 0: what famez-server lays out */
	uint64_t fam;         /* bytes of fabric-attached memory; 0: none */
	uint64_t fam_asked;   /* before it became a power of two */
	const char *fam_path; /* its file; NULL: FAM_PATH_USUAL */
	uint64_t ram;         /* of each VM; 0: not ours to say */
	uint64_t page;        /* of huge pages that the RAM is to be taken from; 0: none */
	unsigned phys_bits;   /* out: that the guest's processor must have */
	uint64_t files;       /* out: descriptors of one QEMU */
};

#define FAM_PATH_USUAL "/dev/shm/famez-fam"

/**
 * plan_check() - would this do? Completes it.
 * Returns 0, or -EINVAL with one line in @why that says what was wrong, and what would be right.
 */
int plan_check(struct plan *p, char why[PLAN_WHY_BYTES]);

/** plan_name() - of a node: name and number, as wide as the last one's. Returns @to. */
const char *plan_name(const struct plan *p, unsigned node, char *to, size_t bytes);

#endif
