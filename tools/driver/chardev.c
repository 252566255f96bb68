// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * /dev/famezN: open, read, write, poll.
 *
 * One message a read and one a write, as text or as a struct famez_packet with its payload. It
 * copies between users and the kernel's own memory only; lanes, slots and the queue are others'.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "fz.h"

/* Of an address in front of a text, with its colon. */
#define ADDRESS_MAX 64u

static int on_open(struct inode *inode, struct file *file)
{
	struct fz_device *dev = container_of(inode->i_cdev, struct fz_device, cdev);
	struct fz_opener *opener = kzalloc(sizeof(*opener), GFP_KERNEL);

	if (!opener)
		return -ENOMEM;
	get_device(&dev->dev);
	opener->dev = dev;
	opener->full_to = FAMEZ_NOBODY;
	mutex_init(&opener->lock);
	file->private_data = opener;
	file->f_mapping = dev->inode->i_mapping;
	return stream_open(inode, file);
}

static int on_release(struct inode *inode, struct file *file)
{
	struct fz_opener *opener = file->private_data;
	struct fz_device *dev = opener->dev;

	fz_claim_forget(opener);
	if (opener->message && !opener->read)
		fz_queue_put_back(dev, opener->message);
	else
		kvfree(opener->message);
	mutex_destroy(&opener->lock);
	kfree(opener);
	put_device(&dev->dev);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Have a message in hand. */
static int fetch(struct fz_opener *opener, bool nonblock)
{
	struct fz_device *dev = opener->dev;
	bool look;
	int err;

	while (!opener->message) {
		struct fz_message *m;

		if (READ_ONCE(dev->gone))
			return -ENODEV;
		if (dev->layout == FZ_NOTHING)
			return -EOPNOTSUPP;
		m = fz_queue_take(dev, &look);
		if (look)
			fz_look_soon(dev);
		opener->read = 0;
		WRITE_ONCE(opener->message, m);
		if (m)
			break;
		if (nonblock)
			return -EAGAIN;
		err = wait_event_interruptible(dev->queue.wait,
					       fz_queue_has(dev) || READ_ONCE(dev->gone));
		if (err)
			return err;
	}
	return 0;
}

static void done_with_message(struct fz_opener *opener)
{
	struct fz_message *m = opener->message;

	WRITE_ONCE(opener->message, NULL);
	opener->read = 0;
	kvfree(m);
}

static ssize_t read_packet(struct fz_opener *opener, struct iov_iter *to)
{
	struct fz_message *m = opener->message;
	size_t bytes = sizeof(m->head) + m->head.bytes;

	if (iov_iter_count(to) < bytes)
		return -EMSGSIZE; /* it stays */
	if (copy_to_iter(&m->head, sizeof(m->head), to) != sizeof(m->head) ||
	    copy_to_iter(m->payload, m->head.bytes, to) != m->head.bytes)
		return -EFAULT;
	done_with_message(opener);
	return bytes;
}

/* What of a part comes behind the first *skip bytes. */
static size_t read_part(const char *part, size_t bytes, size_t *skip, struct iov_iter *to)
{
	size_t from = min(*skip, bytes);

	*skip -= from;
	return copy_to_iter(part + from, bytes - from, to);
}

/* As much of it as there is room for; the next read goes on there. A line ends where it ends. */
static ssize_t read_text(struct fz_opener *opener, struct iov_iter *to)
{
	struct fz_message *m = opener->message;
	size_t skip = opener->read, bytes = m->head.bytes, done, whole;
	char head[ADDRESS_MAX];
	size_t head_bytes = fz_text_head(m, head, sizeof(head));

	if (!bytes || m->payload[bytes - 1] != '\n')
		m->payload[bytes++] = '\n'; /* fz_queue_room() left a byte for it */
	whole = head_bytes + bytes;
	done = read_part(head, head_bytes, &skip, to);
	if (opener->read + done >= head_bytes)
		done += read_part(m->payload, bytes, &skip, to);
	if (!done && iov_iter_count(to))
		return -EFAULT;
	opener->read += done;
	if (opener->read == whole)
		done_with_message(opener);
	return done;
}

static ssize_t on_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct fz_opener *opener = iocb->ki_filp->private_data;
	ssize_t done;

	if (!iov_iter_count(to))
		return 0;
	if (mutex_lock_interruptible(&opener->lock))
		return -ERESTARTSYS;
	done = fetch(opener, iocb->ki_filp->f_flags & O_NONBLOCK || iocb->ki_flags & IOCB_NOWAIT);
	if (!done && READ_ONCE(opener->binary) && !opener->read)
		done = read_packet(opener, to);
	else if (!done)
		done = read_text(opener, to);
	mutex_unlock(&opener->lock);
	return done;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The payload of what was written, and whom it goes to. @bytes: there is a 0 behind them. */
static int parse_packet(char *written, size_t bytes, struct fz_to *to, char **payload)
{
	struct famez_packet head;

	if (bytes < sizeof(head))
		return -EINVAL;
	memcpy(&head, written, sizeof(head));
	if (head.bytes != bytes - sizeof(head) || head.type > FAMEZ_TYPE_LINK || head.origin ||
	    head.flags || head.group || head.generation)
		return -EINVAL;
	to->peer = head.peer;
	to->kind = FAMEZ_KIND(head.type, 0);
	*payload = written + sizeof(head);
	return head.bytes;
}

/* The same of a text. A newline at its end is echo's, and no part of it. */
static int parse_text(struct fz_device *dev, char *written, size_t bytes, struct fz_to *to,
		      char **payload)
{
	char *colon = memchr(written, ':', min_t(size_t, bytes, ADDRESS_MAX));
	int err;

	if (!colon || memchr(written, 0, colon - written))
		return -EINVAL;
	*colon = 0;
	err = fz_text_address(dev, written, to);
	if (err)
		return err;
	*payload = colon + 1;
	bytes -= *payload - written;
	if (bytes && (*payload)[bytes - 1] == '\n')
		bytes--;
	return bytes ? bytes : -EINVAL;
}

static ssize_t on_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct fz_opener *opener = iocb->ki_filp->private_data;
	bool nonblock = iocb->ki_filp->f_flags & O_NONBLOCK || iocb->ki_flags & IOCB_NOWAIT;
	struct fz_device *dev = opener->dev;
	size_t bytes = iov_iter_count(from);
	char *written, *payload = NULL;
	struct fz_to to;
	ssize_t done;

	if (READ_ONCE(dev->gone))
		return -ENODEV;
	if (dev->layout == FZ_NOTHING)
		return -EOPNOTSUPP;
	if (bytes > ADDRESS_MAX + 1 + fz_payload_max(dev))
		return -EMSGSIZE;
	written = kvmalloc(bytes + 1, GFP_KERNEL);
	if (!written)
		return -ENOMEM;
	written[bytes] = 0;
	done = -EFAULT;
	if (!copy_from_iter_full(written, bytes, from))
		goto out;
	if (READ_ONCE(opener->binary))
		done = parse_packet(written, bytes, &to, &payload);
	else
		done = parse_text(dev, written, bytes, &to, &payload);
	if (done < 0)
		goto out;
	WRITE_ONCE(opener->full_bytes, done);
	done = fz_send(opener, to, payload, done, nonblock);
	WRITE_ONCE(opener->full_to, done == -EAGAIN ? to.peer : FAMEZ_NOBODY);
out:
	kvfree(written);
	return done ? done : bytes;
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* Always, unless the last message found no room, and would find none now. */
static bool is_writable(struct fz_opener *opener)
{
	struct fz_device *dev = opener->dev;
	u32 peer = READ_ONCE(opener->full_to);
	bool room;

	if (peer == FAMEZ_NOBODY)
		return true;
	mutex_lock(&dev->lock);
	room = !fz_is_at_work(dev) || fz_post_has_room(dev, peer, READ_ONCE(opener->full_bytes));
	mutex_unlock(&dev->lock);
	if (room)
		WRITE_ONCE(opener->full_to, FAMEZ_NOBODY);
	return room;
}

static __poll_t on_poll(struct file *file, struct poll_table_struct *table)
{
	struct fz_opener *opener = file->private_data;
	struct fz_device *dev = opener->dev;
	__poll_t now = 0;

	poll_wait(file, &dev->queue.wait, table);
	poll_wait(file, &dev->room_wait, table);
	if (READ_ONCE(dev->gone))
		return EPOLLHUP | EPOLLERR;
	if (dev->layout == FZ_NOTHING)
		return 0;
	if (READ_ONCE(opener->message) || fz_queue_has(dev))
		now |= EPOLLIN | EPOLLRDNORM;
	if (is_writable(opener))
		now |= EPOLLOUT | EPOLLWRNORM;
	return now;
}

const struct file_operations fz_file_operations = {
	.owner = THIS_MODULE,
	.open = on_open,
	.release = on_release,
	.read_iter = on_read,
	.write_iter = on_write,
	.poll = on_poll,
	.unlocked_ioctl = fz_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = fz_mmap,
};
