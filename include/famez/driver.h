/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/**
 * driver.h - what /dev/famezN of the guest's driver (tools/driver, famez.ko) takes and gives.
 *
 * Three ways to use a device; docs/driver.md tells them with examples:
 *
 *   text     read(2) and write(2), as in `echo "3:hello" >/dev/famez0`; what one gets at open(2)
 *   binary   the same calls after FAMEZ_IOC_FORM: a struct famez_packet, then the payload
 *   claimed  after FAMEZ_IOC_CLAIM the lanes are the caller's: he has the shared memory mapped,
 *            follows docs/mailbox.md himself, and asks the kernel only to be woken. libfamez
 *
 * Who may do what. A descriptor that is open for reading gets what was sent to this VM, and
 * FAMEZ_IOC_INFO. All else, mmap(2) and all other ioctls, needs one that is open for reading
 * and writing: who maps the memory can read and change what all peers of the fabric say, and
 * who maps the registers can ring any of them. That is as much as the VM's root can do to the
 * fabric, and not more: the memory of this VM, and other devices' registers, are out of reach.
 *
 * Several openers. Whatever comes is given to one of those who read, once. Each write is one
 * message, and they are sent in the order of the calls. One opener at a time may have the claim:
 * while he has, the kernel reads and writes no lane and no slot; others' writes fail with EBUSY,
 * and their reads give what the kernel had taken before, then wait. The claim ends with its
 * descriptor, at the latest; then the kernel is there again, with a generation of its own.
 * Each change of hands is a restart as the others see it: what was unread in the lanes is lost.
 *
 * When the device is unplugged or unbound all calls fail with ENODEV, poll(2) says EPOLLHUP, and
 * who touches what he has mapped gets SIGBUS.
 */
#ifndef FAMEZ_DRIVER_H
#define FAMEZ_DRIVER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** Changes when something that was here before does; what is added sets a flag. */
#define FAMEZ_DRIVER_ABI 1u

/* famez_info.flags */
#define FAMEZ_INFO_DOORBELL  1u  /* ivshmem-doorbell; else ivshmem-plain: memory, and that is all */
#define FAMEZ_INFO_LANES     2u  /* there is a header v2: lanes, and a directory */
#define FAMEZ_INFO_SLOTS     4u  /* texts by v1 slots work: there is a vector for each ID */
#define FAMEZ_INFO_REGISTERS 8u  /* the registers can be mapped; else FAMEZ_IOC_RING only */
#define FAMEZ_INFO_CACHED    16u /* the memory is mapped write-back; else it is slow */
#define FAMEZ_INFO_CLAIMED   32u /* somebody has the claim now */

/** The device, as it is. */
struct famez_info {
	__u32 abi;         /* FAMEZ_DRIVER_ABI */
	__u32 flags;       /* FAMEZ_INFO_x */
	__u64 bytes;       /* of the shared memory */
	__u32 id;          /* ours; ~0: none (ivshmem-plain) */
	__u32 vectors;     /* that we are interrupted by: 0 .. vectors-1 */
	__u32 ids;         /* IDs are less; 0 without lanes and slots */
	__u32 server_id;   /* ~0: the server is no peer */
	__u32 generation;  /* the kernel's in the directory; 0 while it takes no lanes */
	__u32 payload_max; /* bytes of the largest message by a lane; by a slot it is 383 */
	__u32 unused[6];   /* 0 */
};

/** famez_packet.flags: it came by a v1 slot. Not for sending. */
#define FAMEZ_PACKET_SLOT 1u

/** In front of each message that is read or written in binary form. */
struct famez_packet {
	__u16 peer;       /* whom it goes to; who sent it */
	__u16 origin;     /* who says it: read only, and proven by nobody */
	__u8 type;        /* 0 data, 1 link; read only: 2 group */
	__u8 flags;       /* FAMEZ_PACKET_x */
	__u16 group;      /* of type 2 */
	__u32 bytes;      /* of the payload, which follows */
	__u32 generation; /* of the sender; 0 by a slot. Read only: what is written is 0 */
};

#define FAMEZ_FORM_TEXT   0u
#define FAMEZ_FORM_BINARY 1u

/** Whom to ring. As a write of (peer << 16 | vector) to the doorbell register. */
struct famez_doorbell {
	__u16 peer;
	__u16 vector;
};

/** An eventfd for one of our vectors. */
struct famez_wake {
	__u32 vector; /* 0 .. famez_info.vectors-1 */
	__s32 fd;     /* of the eventfd; -1: no longer */
};

/** FAMEZ_IOC_INFO - always possible, the claim or not. */
#define FAMEZ_IOC_INFO _IOR(0xFA, 0, struct famez_info)

/**
 * FAMEZ_IOC_CLAIM - have the lanes, our entry in the directory and our slot. They are left as by a
 * driver that has stopped: `speaks` is 0, and the caller's generation is the entry's plus one.
 * EBUSY: somebody has them. EOPNOTSUPP: there are neither lanes nor slots.
 */
#define FAMEZ_IOC_CLAIM _IO(0xFA, 1)

/** FAMEZ_IOC_RELEASE - give them back; also done by close(2). EPERM: not ours. */
#define FAMEZ_IOC_RELEASE _IO(0xFA, 2)

/**
 * FAMEZ_IOC_FORM - what read(2) and write(2) of this opener take and give: FAMEZ_FORM_x, as the
 * argument itself. EINVAL: another one.
 */
#define FAMEZ_IOC_FORM _IO(0xFA, 3)

/** FAMEZ_IOC_RING - ring a peer. Never waits, and nobody learns whether there is such a peer.
 * EOPNOTSUPP: ivshmem-plain.
 */
#define FAMEZ_IOC_RING _IOW(0xFA, 4, struct famez_doorbell)

/**
 * FAMEZ_IOC_WAKE - add 1 to this eventfd whenever the vector interrupts us; straight from the
 * interrupt, so nothing is between the doorbell and who waits. One for each vector: another
 * one replaces it, and close(2) of the device's descriptor that registered it ends it. Interrupts
 * that came before are not told: register, then look. Needs no claim; who has none hears of the
 * same doorbells as the kernel, which goes on with its own work.
 * EINVAL: no such vector, or no eventfd. EBADF. EBUSY: another opener has one there.
 */
#define FAMEZ_IOC_WAKE _IOW(0xFA, 5, struct famez_wake)

/*
 * Where mmap(2) finds what. MAP_SHARED only, since a private copy of either would mean nothing.
 *
 * FAMEZ_MAP_MEMORY: the shared memory, famez_info.bytes long; any part of it. It is ordinary cached
 * memory, and atomic operations on it work between VMs.
 *
 * FAMEZ_MAP_REGISTERS: one page, of which the first 256 bytes are the device's (ivshmem-spec,
 * "Register map"). A store of 32 bits at FAMEZ_REGISTER_DOORBELL rings, without a call of the
 * kernel. It is there (FAMEZ_INFO_REGISTERS) only where no other device has its registers in that
 * page; else mmap(2) gives ENXIO.
 */
#define FAMEZ_MAP_MEMORY        0
#define FAMEZ_MAP_REGISTERS     0x100000000000000ull
#define FAMEZ_REGISTER_ID       8
#define FAMEZ_REGISTER_DOORBELL 12

#endif
