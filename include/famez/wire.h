/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * wire.h - the numbers of the ivshmem client-server protocol.
 *
 * Source of all of them: QEMU docs/specs/ivshmem-spec.rst, "Inter-VM Shared
 * Memory device", part "Interrupts: client-server protocol". Plain constants
 * and fixed-width types only, so that everybody (broker, library, guest) can
 * include it. docs/wire.md tells the protocol as we speak it.
 */
#ifndef FAMEZ_WIRE_H
#define FAMEZ_WIRE_H

/** Bytes of every message: one little-endian signed 64-bit integer. */
#define FAMEZ_WIRE_BYTES 8

/** First message from server to client. Any other value is a refusal. */
#define FAMEZ_WIRE_VERSION 0

/** What we send instead of the version to someone we refuse, then close. */
#define FAMEZ_WIRE_REFUSED (-1)

/** Third message; comes with the shared memory's descriptor. */
#define FAMEZ_WIRE_MEMORY (-1)

/** Largest peer ID (ivshmem spec, "Doorbell register": 16 bits). */
#define FAMEZ_WIRE_ID_MAX 65535

/** Most vectors a device can be given (PCI: an MSI-X table's size). */
#define FAMEZ_WIRE_VECTORS_MAX 2048

#endif
