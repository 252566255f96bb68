// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Doorbells, in and out, and the thread that follows them.
 *
 * In a hard interrupt nothing is done but waking: the device's thread, and the eventfd of the
 * vector. One thread does for all vectors of a device, at normal priority: an interrupt thread for
 * each would be hundreds that wait for one lock, and a peer that floods would have real-time
 * priority in this VM. Doorbells coalesce, so the thread looks until it finds nothing.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "compat.h"
#include "fz.h"

void fz_ring(struct fz_device *dev, u32 peer, u32 vector)
{
	iowrite32(peer << 16 | vector, dev->registers + FAMEZ_REGISTER_DOORBELL);
	atomic64_inc(&dev->counts.rings);
}

void fz_ring_mail(struct fz_device *dev, u32 peer)
{
	fz_ring(dev, peer,
		peer == dev->g.server_id ? famez_server_vector_of(&dev->g, dev->id) :
					   famez_vector_of(&dev->g, dev->id));
}

static void wake_eventfd(struct fz_bell *bell)
{
	struct eventfd_ctx *wake;

	rcu_read_lock();
	wake = rcu_dereference(bell->wake);
	if (wake)
		fz_signal(wake);
	rcu_read_unlock();
}

static irqreturn_t on_interrupt(int irq, void *data)
{
	struct fz_bell *bell = data;
	struct fz_device *dev = bell->dev;

	WRITE_ONCE(bell->interrupts, bell->interrupts + 1);
	wake_eventfd(bell);
	/* Who has the claim does the work; nobody else is woken for it. */
	if (dev->layout != FZ_NOTHING && !READ_ONCE(dev->claim)) {
		set_bit(bell->vector, dev->rung);
		kthread_queue_work(dev->worker, &dev->look);
	}
	return IRQ_HANDLED;
}

static void start_tick(struct fz_device *dev)
{
	kthread_mod_delayed_work(dev->worker, &dev->tick, HZ);
}

static void on_look(struct kthread_work *work)
{
	struct fz_device *dev = container_of(work, struct fz_device, look);
	bool more = false;

	mutex_lock(&dev->lock);
	if (fz_is_at_work(dev)) {
		atomic64_inc(&dev->counts.looks);
		fz_slots_look(dev);
		if (dev->layout == FZ_LANES)
			more = fz_post_look(dev);
		fz_directory_tell(dev, false);
		if (wq_has_sleeper(&dev->room_wait)) {
			WRITE_ONCE(dev->room_looks, dev->room_looks + 1);
			wake_up_interruptible_poll(&dev->room_wait, EPOLLOUT | EPOLLWRNORM);
		}
		/* A flood does not keep the tick or anybody else away: next time. */
		if (more)
			kthread_queue_work(dev->worker, &dev->look);
	}
	mutex_unlock(&dev->lock);
}

static void on_tick(struct kthread_work *work)
{
	struct fz_device *dev = container_of(work, struct fz_device, tick.work);

	mutex_lock(&dev->lock);
	if (!dev->gone) {
		if (dev->post.open)
			fz_post_tick(dev);
		fz_directory_tell(dev, !dev->claim);
		if (fz_is_at_work(dev))
			kthread_queue_work(dev->worker, &dev->look);
		start_tick(dev);
	}
	mutex_unlock(&dev->lock);
}

/* Has the thread look, soon. For who does not know whether the device is still there. */
void fz_look_soon(struct fz_device *dev)
{
	mutex_lock(&dev->lock);
	if (fz_is_at_work(dev))
		kthread_queue_work(dev->worker, &dev->look);
	mutex_unlock(&dev->lock);
}

/* The thread, before there are interrupts. Its ticks begin when it is told to. */
int fz_worker_start(struct fz_device *dev)
{
	struct kthread_worker *worker;

	kthread_init_work(&dev->look, on_look);
	kthread_init_delayed_work(&dev->tick, on_tick);
	worker = fz_make_worker(0, "famez%d", dev->number);
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	dev->worker = worker;
	if (dev->layout != FZ_NOTHING)
		start_tick(dev);
	return 0;
}

/* After the last interrupt, and when `gone`. */
void fz_worker_stop(struct fz_device *dev)
{
	kthread_cancel_delayed_work_sync(&dev->tick);
	kthread_destroy_worker(dev->worker);
}

/* As many vectors as are wanted and to be had; whoever rings before is looked for afterwards. */
int fz_interrupts_start(struct fz_device *dev, unsigned int wanted)
{
	int got, i, err;

	wanted = min_t(unsigned int, wanted, pci_msix_vec_count(dev->pci));
	got = pci_alloc_irq_vectors(dev->pci, 1, wanted, PCI_IRQ_MSIX);
	if (got < 0)
		return got;
	dev->bells = kvcalloc(got, sizeof(*dev->bells), GFP_KERNEL);
	dev->rung = bitmap_zalloc(got, GFP_KERNEL);
	if (!dev->bells || !dev->rung) {
		err = -ENOMEM;
		goto undo;
	}
	dev->vectors = got;
	for (i = 0; i < got; i++) {
		struct fz_bell *bell = &dev->bells[i];
		int irq = pci_irq_vector(dev->pci, i);

		bell->dev = dev;
		bell->vector = i;
		err = request_irq(irq, on_interrupt, 0, dev_name(&dev->dev), bell);
		if (err)
			goto undo;
		bell->irq = irq;
	}
	return 0;

undo:
	fz_interrupts_stop(dev);
	return err;
}

/* No handler runs when this returns. Who waits at an eventfd is woken, to find the device gone. */
void fz_interrupts_stop(struct fz_device *dev)
{
	unsigned int i;

	for (i = 0; dev->bells && i < dev->vectors; i++) {
		struct fz_bell *bell = &dev->bells[i];

		if (!bell->irq)
			continue;
		free_irq(bell->irq, bell);
		bell->irq = 0;
		wake_eventfd(bell);
	}
	pci_free_irq_vectors(dev->pci);
}
