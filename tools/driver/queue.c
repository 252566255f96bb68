// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Messages that have come and that nobody has read yet.
 *
 * It holds `queue_kib` at most, an eighth of it of one sender's; but one message always finds
 * room where there is none. Who finds no room for a message leaves it where it is, and is called
 * (fz_look_soon) once half is free again. All memory is counted, so short ones are not free.
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "fz.h"

static unsigned int queue_kib = 4096;
module_param(queue_kib, uint, 0444);
MODULE_PARM_DESC(queue_kib, "KiB of unread messages for a device, 64..1048576 (4096)");

static size_t budget(void)
{
	return (size_t)clamp(queue_kib, 64u, 1u << 20) << 10;
}

static size_t share(void)
{
	return budget() / 8;
}

static size_t cost_of(u32 bytes)
{
	return sizeof(struct fz_message) + bytes + 1;
}

/* Bytes of the largest message that read and write take. */
u32 fz_payload_max(const struct fz_device *dev)
{
	if (dev->layout == FZ_LANES)
		return min_t(size_t, famez_payload_max(&dev->g), budget());
	return dev->layout == FZ_SLOTS ? FZ_TEXT - 1 : 0;
}

int fz_queue_init(struct fz_device *dev)
{
	dev->queue.of = kvcalloc(max(dev->g.ids, 1u), sizeof(*dev->queue.of), GFP_KERNEL);
	return dev->queue.of ? 0 : -ENOMEM;
}

void fz_queue_destroy(struct fz_device *dev)
{
	struct fz_message *m, *next;

	list_for_each_entry_safe(m, next, &dev->queue.messages, list)
		kvfree(m);
	kvfree(dev->queue.of);
}

static void account(struct fz_device *dev, struct fz_message *m, int sign)
{
	size_t cost = cost_of(m->head.bytes);

	WRITE_ONCE(dev->queue.bytes, dev->queue.bytes + sign * cost); /* sysfs looks */
	dev->queue.of[m->sender] += sign * cost;
}

/*
 * Room for a message, to be filled in; then fz_queue_put() or fz_queue_drop(). Returns 0,
 * -EMSGSIZE (never), -ENOSPC or -ENOMEM (not now: one is called when there may be).
 */
int fz_queue_room(struct fz_device *dev, u32 sender, u32 bytes, struct fz_message **made)
{
	struct fz_queue *q = &dev->queue;
	size_t cost = cost_of(bytes);
	struct fz_message *m;
	bool room;

	if (bytes > fz_payload_max(dev))
		return -EMSGSIZE;
	spin_lock(&q->lock);
	room = (!q->bytes || q->bytes + cost <= budget()) &&
	       (!q->of[sender] || q->of[sender] + cost <= share());
	if (!room)
		q->wanted = true;
	spin_unlock(&q->lock);
	if (!room)
		return -ENOSPC;
	m = kvmalloc(cost, GFP_KERNEL | __GFP_NOWARN);
	if (!m)
		return -ENOMEM;
	memset(m, 0, sizeof(*m));
	m->sender = sender;
	m->head.peer = sender;
	m->head.bytes = bytes;
	spin_lock(&q->lock);
	account(dev, m, 1);
	spin_unlock(&q->lock);
	*made = m;
	return 0;
}

void fz_queue_drop(struct fz_device *dev, struct fz_message *m)
{
	spin_lock(&dev->queue.lock);
	account(dev, m, -1);
	spin_unlock(&dev->queue.lock);
	kvfree(m);
}

/* It is complete, and anybody's who reads. Under dev->lock. */
void fz_queue_put(struct fz_device *dev, struct fz_message *m)
{
	u32 bytes = m->head.bytes;
	struct fz_who who;

	/* A group's message comes by the server, for somebody else. */
	fz_who_is(dev, m->head.type == FAMEZ_TYPE_GROUP ? m->head.origin : m->sender, &who);
	m->cid = who.cid;
	m->sid = who.sid;
	atomic64_inc(&dev->counts.received);
	atomic64_add(bytes, &dev->counts.received_bytes);
	spin_lock(&dev->queue.lock);
	list_add_tail(&m->list, &dev->queue.messages);
	spin_unlock(&dev->queue.lock);
	wake_up_interruptible_poll(&dev->queue.wait, EPOLLIN | EPOLLRDNORM);
}

/* The oldest message, the caller's to kvfree(), or NULL. *look: call fz_look_soon(). */
struct fz_message *fz_queue_take(struct fz_device *dev, bool *look)
{
	struct fz_queue *q = &dev->queue;
	struct fz_message *m;

	*look = false;
	spin_lock(&q->lock);
	m = list_first_entry_or_null(&q->messages, struct fz_message, list);
	if (m) {
		list_del(&m->list);
		account(dev, m, -1);
		if (q->wanted && (q->bytes <= budget() / 2 || q->of[m->sender] <= share() / 2)) {
			q->wanted = false;
			*look = true;
		}
	}
	spin_unlock(&q->lock);
	return m;
}

/* It was not read after all. */
void fz_queue_put_back(struct fz_device *dev, struct fz_message *m)
{
	spin_lock(&dev->queue.lock);
	account(dev, m, 1);
	list_add(&m->list, &dev->queue.messages);
	spin_unlock(&dev->queue.lock);
	wake_up_interruptible_poll(&dev->queue.wait, EPOLLIN | EPOLLRDNORM);
}

bool fz_queue_has(struct fz_device *dev)
{
	bool has;

	spin_lock(&dev->queue.lock);
	has = !list_empty(&dev->queue.messages);
	spin_unlock(&dev->queue.lock);
	return has;
}

/* Is it worth trying again for this sender? If not, one is called. */
bool fz_queue_may(struct fz_device *dev, u32 sender)
{
	struct fz_queue *q = &dev->queue;
	bool may;

	spin_lock(&q->lock);
	may = q->bytes <= budget() / 2 && q->of[sender] <= share() / 2;
	if (!may)
		q->wanted = true;
	spin_unlock(&q->lock);
	return may;
}
