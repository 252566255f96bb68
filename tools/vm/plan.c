/* SPDX-License-Identifier: MIT */
/*
 * plan.c - a fabric's VMs as they are to be attached, and what that takes.
 *
 * Pure: numbers and text in, numbers and text out; nothing is looked at or made. The limits are
 * those of QEMU's device (hw/misc/ivshmem.c), of its PCI, and of the protocol:
 *
 *   vectors    1 to 2048, an MSI-X table's size
 *   memory     a power of two, since it is a PCI BAR
 *   addresses  64-bit BARs lie above the RAM, in what two bits less than phys-bits can reach:
 *              256 GiB with QEMU's 40 bits, and so on
 *   files      QEMU has a descriptor for each vector of each peer, and dies when there are no more
 */
#include "plan.h"

#include "famez/mailbox.h"
#include "famez/wire.h"
#include "size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Descriptors that QEMU has besides those of peers: 14 to 22 were seen. */
#define FILES_BESIDES 64u
/* Up to here a BAR fits below 4 GiB. */
#define SMALL_BAR (UINT64_C(1) << 30)
/* Bytes of a lane for few peers; famez-server(8), --size. */
#define LANE_BYTES 65536u

__attribute__((format(printf, 2, 3))) static int wrong(
	char why[PLAN_WHY_BYTES], const char *form, ...)
{
	va_list words;

	va_start(words, form);
	(void)vsnprintf(why, PLAN_WHY_BYTES, form, words);
	va_end(words);
	return -EINVAL;
}

/* Text that goes into XML, QEMU's options and file names: no control characters. */
static int check_text(const char *what, const char *text, size_t most, char why[PLAN_WHY_BYTES])
{
	if (!*text || strlen(text) > most)
		return wrong(why, "%s must have 1 to %zu characters", what, most);
	for (const char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			return wrong(why, "%s must not have control characters", what);
	return 0;
}

static int check_name(const char *name, char why[PLAN_WHY_BYTES])
{
	size_t good =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	/* Two dashes would end the comment that it stands in in XML. */
	if (!*name || name[good] || strlen(name) > 24 || strstr(name, "--"))
		return wrong(why,
			"--name '%.40s' would not do: 1 to 24 letters, digits, '_', '.' or '-', "
			"and no two '-' in a row",
			name);
	return 0;
}

static int check_path(const char *what, const char *path, size_t most, char why[PLAN_WHY_BYTES])
{
	int err = check_text(what, path, most, why);

	if (!err && *path != '/')
		err = wrong(why, "%s '%.200s' must begin with '/': QEMU may run in another folder",
			what, path);
	return err;
}

static int check_counts(struct plan *p, char why[PLAN_WHY_BYTES])
{
	if (!p->nodes || p->nodes > PLAN_NODES_MAX)
		return wrong(why, "--nodes must be 1 to %u: IDs have 16 bits", PLAN_NODES_MAX);
	if (!p->vectors || p->vectors > FAMEZ_WIRE_VECTORS_MAX)
		return wrong(why, "--vectors must be 1 to %d, and the same as famez-server's",
			FAMEZ_WIRE_VECTORS_MAX);
	if (!p->first) {
		p->first = 1;
		p->last = p->nodes;
	}
	if (p->first > p->nodes || p->last > p->nodes)
		return wrong(why, "--node must be 1 to %u, as many as --nodes says", p->nodes);
	p->files = (uint64_t)(p->nodes + 1) * p->vectors + FILES_BESIDES;
	return 0;
}

static int check_memory(struct plan *p, char why[PLAN_WHY_BYTES])
{
	char a[SIZE_TEXT_BYTES], b[SIZE_TEXT_BYTES];

	if (!p->mailbox) {
		p->mailbox = size_power(famez_geometry_needs(p->nodes + 2, LANE_BYTES));
	} else if (p->mailbox < 4096 || size_power(p->mailbox) != p->mailbox) {
		return wrong(why, "--mailbox %s is no power of two from 4K on: QEMU would abort",
			size_text(a, p->mailbox));
	}
	p->fam_asked = p->fam;
	if (p->fam) {
		p->fam = size_power(p->fam);
		if (p->fam < 4096)
			return wrong(why, "--fam %s would not do: 4K at least",
				size_text(a, p->fam_asked));
	}
	if (p->page && p->page != UINT64_C(2) << 20 && p->page != UINT64_C(1) << 30)
		return wrong(why, "--hugepages %s would not do: 2M or 1G", size_text(a, p->page));
	if (p->page && !p->ram)
		return wrong(why,
			"--hugepages needs --memory, the VM's RAM that is to be taken from them");
	if (p->ram && p->ram < UINT64_C(32) << 20)
		return wrong(why, "--memory %s would not do: 32M at least", size_text(a, p->ram));
	if (p->ram && p->ram % (p->page ? p->page : UINT64_C(1) << 20))
		return wrong(why, "--memory %s is no multiple of %s", size_text(a, p->ram),
			size_text(b, p->page ? p->page : UINT64_C(1) << 20));
	return 0;
}

/* Bits of an address that reach all large BARs. */
static int check_addresses(struct plan *p, char why[PLAN_WHY_BYTES])
{
	char a[SIZE_TEXT_BYTES];
	uint64_t bars = (p->mailbox > SMALL_BAR ? p->mailbox * p->devices : 0) +
			(p->fam > SMALL_BAR ? p->fam : 0);
	unsigned bits = 2;

	for (uint64_t reach = 1; reach && reach < bars; reach *= 2)
		bits++;
	if (bits > PLAN_PHYS_BITS_MAX || (p->fam_asked && !p->fam))
		return wrong(why,
			"%s of device memory are too much: with 52 bits, the most of any x86, a "
			"guest "
			"reaches 1P",
			size_text(a, p->fam ? bars : p->fam_asked));
	p->phys_bits = bits > PLAN_PHYS_BITS_USUAL ? bits : PLAN_PHYS_BITS_USUAL;
	return 0;
}

int plan_check(struct plan *p, char why[PLAN_WHY_BYTES])
{
	int err = check_counts(p, why);

	if (!p->fam_path)
		p->fam_path = FAM_PATH_USUAL;
	/* An address of a UNIX socket has room for 107 bytes. */
	if (!err)
		err = check_path("--socket", p->socket, 107, why);
	if (!err)
		err = check_path("--fam-file", p->fam_path, 4095, why);
	if (!err)
		err = check_name(p->name, why);
	if (!err)
		err = check_memory(p, why);
	return err ? err : check_addresses(p, why);
}

const char *plan_name(const struct plan *p, unsigned node, char *to, size_t bytes)
{
	int wide = 1;

	for (unsigned last = p->nodes; last >= 10; last /= 10)
		wide++;
	(void)snprintf(to, bytes, "%s%0*u", p->name, wide, node);
	return to;
}
