// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The module's beginning and end; numbers and names of devices; their last moment.
 *
 * A struct fz_device is made here at probe and freed here when the last reference to it goes,
 * which may be long after its PCI device went: openers hold references. It never touches
 * registers or shared memory.
 */
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "fz.h"

#define DEVICES_MAX 256

static dev_t first;
static DEFINE_IDA(numbers);

struct class fz_class = {
	.name = "famez",
	.dev_groups = fz_groups,
};

static void on_last_put(struct device *device)
{
	struct fz_device *dev = container_of(device, struct fz_device, dev);

	fz_queue_destroy(dev);
	fz_map_close(dev);
	kvfree(dev->post.in);
	kvfree(dev->post.out);
	kvfree(dev->told);
	kvfree(dev->bells);
	bitmap_free(dev->rung);
	ida_free(&numbers, dev->number);
	mutex_destroy(&dev->lock);
	kfree(dev);
}

/* A device with a number, that nobody sees yet. put_device() frees it. */
struct fz_device *fz_device_make(struct pci_dev *pci)
{
	struct fz_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int err;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->number = ida_alloc_max(&numbers, DEVICES_MAX - 1, GFP_KERNEL);
	if (dev->number < 0) {
		err = dev->number;
		kfree(dev);
		return ERR_PTR(err);
	}
	dev->pci = pci;
	dev->id = FAMEZ_NOBODY;
	mutex_init(&dev->lock);
	init_rwsem(&dev->map_lock);
	init_waitqueue_head(&dev->room_wait);
	init_waitqueue_head(&dev->queue.wait);
	spin_lock_init(&dev->queue.lock);
	INIT_LIST_HEAD(&dev->queue.messages);
	ratelimit_state_init(&dev->uevents, HZ, 100);
	ratelimit_set_flags(&dev->uevents, RATELIMIT_MSG_ON_RELEASE);
	device_initialize(&dev->dev);
	dev->dev.class = &fz_class;
	dev->dev.parent = &pci->dev;
	dev->dev.devt = MKDEV(MAJOR(first), MINOR(first) + dev->number);
	dev->dev.release = on_last_put;
	dev_set_drvdata(&dev->dev, dev);
	err = dev_set_name(&dev->dev, "famez%d", dev->number);
	if (!err)
		err = fz_map_open(dev);
	if (err) {
		put_device(&dev->dev);
		return ERR_PTR(err);
	}
	return dev;
}

/* From here on it can be opened. */
int fz_device_show(struct fz_device *dev)
{
	cdev_init(&dev->cdev, &fz_file_operations);
	dev->cdev.owner = THIS_MODULE;
	return cdev_device_add(&dev->cdev, &dev->dev);
}

/* No longer: who has opened it keeps what he has. */
void fz_device_hide(struct fz_device *dev)
{
	cdev_device_del(&dev->cdev, &dev->dev);
}

static int __init fz_init(void)
{
	int err = class_register(&fz_class);

	if (err)
		return err;
	err = alloc_chrdev_region(&first, 0, DEVICES_MAX, "famez");
	if (err)
		goto undo_class;
	err = pci_register_driver(&fz_pci_driver);
	if (err)
		goto undo_region;
	return 0;

undo_region:
	unregister_chrdev_region(first, DEVICES_MAX);
undo_class:
	class_unregister(&fz_class);
	return err;
}

static void __exit fz_exit(void)
{
	pci_unregister_driver(&fz_pci_driver);
	unregister_chrdev_region(first, DEVICES_MAX);
	class_unregister(&fz_class);
	ida_destroy(&numbers);
}

module_init(fz_init);
module_exit(fz_exit);
MODULE_AUTHOR("The FAME-Z authors");
MODULE_DESCRIPTION("Bridge to a fabric of VMs: QEMU's ivshmem devices on a famez-server");
MODULE_LICENSE("Dual MIT/GPL");
