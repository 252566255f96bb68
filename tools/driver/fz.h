/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * One ivshmem device of this VM: what all files of the module share.
 *
 * Who calls whom:
 *
 *   pci.c        finds devices, and has each file set up its part, and take it down, backwards
 *   interrupt.c  doorbells in: wakes the device's one thread, and eventfds
 *   post.c       the lanes as one of the fabric's peers: coming, going, the tick
 *   post_in.c    what comes by lanes; post_out.c what goes; slots.c the same by v1 slots
 *   directory.c  who is there; uevents
 *   link.c       what a bridge answers by itself; no device, no memory: text in, text out
 *   queue.c      what has come, until somebody reads it
 *   chardev.c    read, write, poll; text.c their text form; claim.c the ioctls; map.c mmap
 *   sysfs.c      /sys/class/famez
 *
 * Threads. `look` and `tick` run in the device's own thread (kthread_worker), calls of users in
 * theirs; they exclude each other by `lock`, under which nobody waits for anything or touches a
 * user's memory. Interrupts take no lock: they set bits in `rung` and queue `look`.
 *
 * Nothing in the shared memory is believed. `g` is taken once and checked; positions are our own
 * (struct famez_rx, famez_tx); a word is loaded once, checked and used; a payload is copied before
 * anybody looks at it; every loop ends after a number of steps that is ours.
 *
 * A device that is taken away lives on, `gone`, until the last descriptor is closed.
 */
#ifndef FZ_H
#define FZ_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "famez/driver.h"
#include "famez/inbox.h"
#include "famez/lane.h"
#include "famez/mailbox.h"

/* Our component class, as EmerGen-Z has it. Has no blanks, or others could not read it. */
#define FZ_CCLASS "DiscreteBridge"

/* Gen-Z numbers of who was assigned none, as in FAME-Z and F.E.E. */
#define FZ_SID_DEFAULT 27u
#define FZ_CID_DEFAULT(id) (100u * (id))

/* A text with its NUL: link messages, slots. */
#define FZ_TEXT FAMEZ_SLOT_TEXT_BYTES

/* What stands in the shared memory. */
enum fz_layout {
	FZ_NOTHING, /* that we know: memory and doorbells */
	FZ_SLOTS, /* v1 */
	FZ_LANES, /* v2, and perhaps slots */
};

struct fz_opener;

/* One of our vectors. */
struct fz_bell {
	struct fz_device *dev;
	unsigned int vector;
	int irq; /* 0: not requested */
	u64 interrupts; /* the handler writes it */
	struct eventfd_ctx __rcu *wake;
	struct fz_opener *owner; /* who registered it; under lock */
	struct eventfd_ctx *leaving; /* his, while he closes; under lock */
};

/* A lane to us, once something came by it. */
struct fz_in {
	struct famez_rx rx; /* first: the inbox reader knows nothing else of us */
	struct fz_in *next;
	u32 from; /* the sender's generation that was last found in order; 0: look */
	bool stalled; /* what is next in it finds no room in the queue */
};

/* A lane from us, once something went by it. */
struct fz_out {
	struct famez_tx tx;
	struct fz_out *next;
	u32 peer;
};

/* Our part in the lanes. From fz_post_start() to fz_post_stop(). */
struct fz_post {
	bool open; /* also where there are slots only */
	u32 join, generation; /* as they stand in our entry */
	u64 heartbeat;
	struct famez_inbox_reader reader;
	struct fz_in **in; /* by ID; the arrays live as long as the device */
	struct fz_out **out;
	struct fz_in *in_all;
	struct fz_out *out_all;
};

/* A message that has come and was not read yet. */
struct fz_message {
	struct list_head list;
	u32 sender;
	u32 cid, sid; /* of who says it, as it was when it came */
	struct famez_packet head;
	char payload[]; /* head.bytes, and a line's end that text may need */
};

struct fz_queue {
	spinlock_t lock; /* of all here but `wait` */
	struct list_head messages;
	size_t bytes; /* of memory */
	size_t *of; /* by ID: how many of them are this sender's */
	bool wanted; /* somebody found no room */
	wait_queue_head_t wait;
};

/* What was told of an ID by uevents; joins 0: it is away. */
struct fz_told {
	u32 joins;
	u32 generation;
};

struct fz_counts {
	atomic64_t received, received_bytes, sent, sent_bytes, rings, full;
	atomic64_t answered, dropped, garbled, looks;
};

struct fz_device {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pci;
	int number; /* /dev/famezN */

	/* what does not change from probe to remove */
	void __iomem *registers; /* NULL: ivshmem-plain */
	phys_addr_t registers_at, memory_at;
	struct resource registers_rest; /* of their page; kept from others while it has a parent */
	void *memory;
	u64 bytes;
	bool cached;
	enum fz_layout layout;
	struct famez_geometry g; /* FZ_SLOTS: ids, server_id, vectors and features only */
	bool slots; /* texts by slots work */
	u32 id; /* FAMEZ_NOBODY: none */
	unsigned int vectors;
	struct fz_bell *bells;
	unsigned long *rung; /* bitmap of vectors, set by interrupts */
	struct kthread_worker *worker;
	struct kthread_work look;
	struct kthread_delayed_work tick;

	struct mutex lock; /* of what follows */
	bool gone;
	struct fz_opener *claim;
	char name[FAMEZ_NAME_BYTES];
	u32 cid, sid; /* as the fabric's manager has assigned */
	struct fz_post post;
	u32 text_to, text_joins; /* whom the text in our slot is for */
	u64 changes;
	struct fz_told *told; /* by ID */
	struct ratelimit_state uevents;
	char text[FZ_TEXT], answer[FZ_TEXT];

	struct fz_queue queue;
	struct fz_counts counts;
	wait_queue_head_t room_wait;
	unsigned int room_looks; /* grows when there may be room */

	struct rw_semaphore map_lock; /* of `unmapped`; taken below mmap_lock */
	bool unmapped; /* registers and memory are away */
	struct inode *inode; /* whose mapping all openers' are */
};

/* An open file. */
struct fz_opener {
	struct fz_device *dev;
	struct mutex lock; /* of what follows; taken before dev->lock */
	struct fz_message *message; /* taken, and not read to its end */
	size_t read; /* bytes of it, as text */
	bool binary;
	u32 full_to; /* a message to this ID found no room; FAMEZ_NOBODY: none */
	u32 full_bytes;
};

/* Whom a message goes to. */
struct fz_to {
	u32 peer;
	u16 kind;
};

/* What the directory, or a slot, says of one ID, read once. */
struct fz_presence {
	bool present, lanes, slot;
	u32 presence, joins, generation;
};

struct fz_who {
	char name[FAMEZ_NAME_BYTES], cclass[FAMEZ_NAME_BYTES];
	u32 cid, sid;
};

/* device.c */
extern struct class fz_class;
struct fz_device *fz_device_make(struct pci_dev *pci);
int fz_device_show(struct fz_device *dev);
void fz_device_hide(struct fz_device *dev);

/* pci.c */
extern struct pci_driver fz_pci_driver;

/* interrupt.c */
int fz_interrupts_start(struct fz_device *dev, unsigned int wanted);
void fz_interrupts_stop(struct fz_device *dev);
int fz_worker_start(struct fz_device *dev);
void fz_worker_stop(struct fz_device *dev);
void fz_look_soon(struct fz_device *dev);

/* Writes the doorbell. Under lock, or map_lock; not when gone. */
void fz_ring(struct fz_device *dev, u32 peer, u32 vector);
/* The same, with the vector that mail to this peer rings. */
void fz_ring_mail(struct fz_device *dev, u32 peer);

/* post.c; under lock */
void fz_post_start(struct fz_device *dev);
void fz_post_stop(struct fz_device *dev);
void fz_post_tick(struct fz_device *dev);
void fz_post_rename(struct fz_device *dev);

static inline bool fz_post_is_ours(const struct fz_device *dev)
{
	return famez_load_relaxed(&famez_entry_at(dev->memory, &dev->g, dev->id)->joins) ==
	       dev->post.join;
}

/* Are lanes and slots the kernel's to write and read now? */
static inline bool fz_is_at_work(const struct fz_device *dev)
{
	return dev->post.open;
}

/* post_in.c; under lock */
struct famez_rx *fz_post_open_lane(struct famez_inbox_reader *r, uint32_t sender);
void fz_post_take_up(struct fz_device *dev);
bool fz_post_look(struct fz_device *dev);
bool fz_hear_text(struct fz_device *dev, u32 sender);

/* post_out.c */
int fz_post_try(struct fz_device *dev, struct fz_to to, const void *payload, u32 bytes);
bool fz_post_has_room(struct fz_device *dev, u32 peer, u32 bytes);
int fz_send(struct fz_opener *opener, struct fz_to to, const void *payload, u32 bytes,
	    bool nonblock);
void fz_say_to_server(struct fz_device *dev, const char *text);

/* slots.c; under lock */
int fz_slots_read(struct fz_device *dev);
void fz_slots_start(struct fz_device *dev);
void fz_slots_rename(struct fz_device *dev);
void fz_slots_stop(struct fz_device *dev);
int fz_slots_try(struct fz_device *dev, u32 peer, const void *text, u32 bytes);
void fz_slots_look(struct fz_device *dev);
const char *fz_slot_name(struct fz_device *dev, u32 id);
const char *fz_slot_class(struct fz_device *dev, u32 id);

/* directory.c; under lock */
struct fz_presence fz_presence_of(struct fz_device *dev, u32 id);
void fz_who_is(struct fz_device *dev, u32 id, struct fz_who *who);
int fz_find_name(struct fz_device *dev, const char *name);
int fz_find_address(struct fz_device *dev, u32 cid, u32 sid);
void fz_directory_tell(struct fz_device *dev, bool anyway);

/* link.c */
struct fz_link {
	const char *cclass;
	bool old; /* FAME-Z's dialect */
	bool from_manager; /* the server says it */
	u32 cid, sid;
};

bool fz_link_hear(struct fz_link *link, char text[FZ_TEXT], char answer[FZ_TEXT]);

/* queue.c */
u32 fz_payload_max(const struct fz_device *dev);
int fz_queue_init(struct fz_device *dev);
void fz_queue_destroy(struct fz_device *dev);
int fz_queue_room(struct fz_device *dev, u32 sender, u32 bytes, struct fz_message **made);
void fz_queue_drop(struct fz_device *dev, struct fz_message *m);
void fz_queue_put(struct fz_device *dev, struct fz_message *m);
struct fz_message *fz_queue_take(struct fz_device *dev, bool *look);
void fz_queue_put_back(struct fz_device *dev, struct fz_message *m);
bool fz_queue_has(struct fz_device *dev);
bool fz_queue_may(struct fz_device *dev, u32 sender);

/* chardev.c, text.c, claim.c, map.c */
extern const struct file_operations fz_file_operations;
int fz_text_address(struct fz_device *dev, char *address, struct fz_to *to);
int fz_text_head(const struct fz_message *m, char *into, size_t size);
long fz_ioctl(struct file *file, unsigned int command, unsigned long argument);
void fz_claim_forget(struct fz_opener *opener);
int fz_mmap(struct file *file, struct vm_area_struct *vma);
int fz_map_open(struct fz_device *dev);
void fz_map_close(struct fz_device *dev);
void fz_map_away(struct fz_device *dev);

/* sysfs.c */
extern const struct attribute_group *fz_groups[];

#endif
