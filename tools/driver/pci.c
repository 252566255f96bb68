// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Finds ivshmem devices, and takes each into use and out of it again.
 *
 * Both kinds bear one PCI ID. The one with a doorbell has MSI-X; the other is memory, and BAR0
 * of it says nothing. Undone in the order opposite to how it is done, also when probe fails.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/utsname.h>
#ifdef CONFIG_X86
#include <asm/pgtable_types.h>
#endif

#include "fz.h"

/* QEMU's docs/specs/ivshmem-spec.rst. */
#define VENDOR 0x1af4
#define DEVICE 0x1110
#define REVISION 1
#define BAR_REGISTERS 0
#define BAR_MEMORY 2

static char *name = "";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "name of this VM, before \".<PCI slot>\" (default: its host name)");

/* Is the mapping write-back? An x86 firmware's MTRRs can make another one of it unasked. */
static bool is_cached(void *at)
{
#ifdef CONFIG_X86
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)at, &level);

	return pte && !(pte_flags(*pte) & (_PAGE_PWT | _PAGE_PCD));
#else
	return true;
#endif
}

static int map_memory(struct fz_device *dev)
{
	dev->memory_at = pci_resource_start(dev->pci, BAR_MEMORY);
	dev->bytes = pci_resource_len(dev->pci, BAR_MEMORY);
	if (!dev->memory_at || dev->bytes < PAGE_SIZE) {
		dev_err(&dev->pci->dev,
			"BAR 2, the shared memory, has no place: is it larger than the VM's address space?\n");
		return -ENODEV;
	}
	dev->memory = memremap(dev->memory_at, dev->bytes, MEMREMAP_WB);
	if (!dev->memory)
		return -ENOMEM;
	dev->cached = is_cached(dev->memory);
	if (!dev->cached)
		dev_warn(&dev->pci->dev,
			 "memory not cached, slow: firmware's MTRRs; see docs/driver.md\n");
	return 0;
}

static void unmap_memory(struct fz_device *dev)
{
	memunmap(dev->memory);
}

/*
 * The page of the registers may be given to users only if there is nothing else in it. The
 * registers are the first 256 bytes; we keep the rest, lest another device be put there later.
 */
static void keep_registers_page(struct fz_device *dev)
{
	struct resource *bar = &dev->pci->resource[BAR_REGISTERS];
	struct resource *rest = &dev->registers_rest;

	if (!PAGE_ALIGNED(bar->start) || resource_size(bar) >= PAGE_SIZE)
		return;
	rest->name = "famez";
	rest->start = bar->end + 1;
	rest->end = bar->start + PAGE_SIZE - 1;
	rest->flags = bar->flags;
	if (request_resource(bar->parent, rest))
		rest->parent = NULL;
}

static int map_registers(struct fz_device *dev)
{
	dev->registers = pci_iomap(dev->pci, BAR_REGISTERS, 0);
	if (!dev->registers)
		return -ENOMEM;
	dev->registers_at = pci_resource_start(dev->pci, BAR_REGISTERS);
	dev->id = ioread32(dev->registers + FAMEZ_REGISTER_ID);
	if (dev->id > 65535) {
		dev_err(&dev->pci->dev, "the device has no ID: its server has not given it one\n");
		pci_iounmap(dev->pci, dev->registers);
		return -EIO;
	}
	keep_registers_page(dev);
	return 0;
}

static void unmap_registers(struct fz_device *dev)
{
	if (dev->registers_rest.parent)
		release_resource(&dev->registers_rest);
	pci_iounmap(dev->pci, dev->registers);
}

/* What stands in the memory, taken once. */
static int read_layout(struct fz_device *dev)
{
	int err = famez_geometry_read(&dev->g, dev->memory, dev->bytes);

	dev->layout = FZ_NOTHING;
	if (!err && dev->id && dev->id < dev->g.ids - 1) {
		dev->layout = FZ_LANES;
		dev->post.in = kvcalloc(dev->g.ids, sizeof(*dev->post.in), GFP_KERNEL);
		dev->post.out = kvcalloc(dev->g.ids, sizeof(*dev->post.out), GFP_KERNEL);
		if (!dev->post.in || !dev->post.out)
			return -ENOMEM;
	} else if (err == -ENOENT && !fz_slots_read(dev)) {
		dev->layout = FZ_SLOTS;
	} else {
		dev->g.ids = 0;
		if (err != -ENOENT)
			dev_warn(&dev->pci->dev,
				 "the mailbox's header does not fit: no messages\n");
		return 0;
	}
	dev->told = kvcalloc(dev->g.ids, sizeof(*dev->told), GFP_KERNEL);
	return dev->told ? 0 : -ENOMEM;
}

static void choose_name(struct fz_device *dev)
{
	const char *base = *name ? name : init_utsname()->nodename;
	unsigned int slot = PCI_SLOT(dev->pci->devfn);
	char *c;

	/* EmerGen-Z has it so. The slot must fit. */
	snprintf(dev->name, sizeof(dev->name), "%.*s.%02x", FAMEZ_NAME_BYTES - 4, base, slot);
	for (c = dev->name; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == ':' || *c == ',')
			*c = '-';
}

static int start_doorbell(struct fz_device *dev)
{
	int err = fz_worker_start(dev);

	if (err)
		return err;
	/* Where there are no messages we can't know how many are used. */
	err = fz_interrupts_start(dev, dev->layout == FZ_NOTHING ? ~0u : dev->g.vectors);
	if (err) {
		fz_worker_stop(dev);
		return err;
	}
	if (dev->layout != FZ_NOTHING && dev->vectors < dev->g.vectors)
		dev_warn(&dev->pci->dev,
			 "%u vectors, the fabric uses %u: some wake us a second late\n",
			 dev->vectors, dev->g.vectors);
	dev->slots = dev->layout != FZ_NOTHING && dev->vectors >= dev->g.ids &&
		     (dev->g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER);
	mutex_lock(&dev->lock);
	fz_post_start(dev);
	mutex_unlock(&dev->lock);
	return 0;
}

/* When this returns nobody uses registers, memory or interrupts; users' calls fail. */
static void stop_doorbell(struct fz_device *dev)
{
	mutex_lock(&dev->lock);
	fz_post_stop(dev);
	WRITE_ONCE(dev->gone, true);
	mutex_unlock(&dev->lock);
	if (dev->registers) {
		fz_interrupts_stop(dev);
		fz_worker_stop(dev);
	}
	wake_up_interruptible_all(&dev->queue.wait);
	wake_up_interruptible_all(&dev->room_wait);
}

static int map_device(struct fz_device *dev)
{
	struct pci_dev *pci = dev->pci;
	int err = pci_enable_device(pci);

	if (err)
		return err;
	err = pci_request_regions(pci, "famez");
	if (err)
		goto undo_enable;
	pci_set_master(pci); /* an interrupt by MSI-X is a write of the device */
	err = map_memory(dev);
	if (err)
		goto undo_regions;
	err = pci->msix_cap ? map_registers(dev) : 0;
	if (err)
		goto undo_memory;
	return 0;

undo_memory:
	unmap_memory(dev);
undo_regions:
	pci_release_regions(pci);
undo_enable:
	pci_disable_device(pci);
	return err;
}

static void unmap_device(struct fz_device *dev)
{
	if (dev->registers)
		unmap_registers(dev);
	unmap_memory(dev);
	pci_release_regions(dev->pci);
	pci_disable_device(dev->pci);
}

static void say_what_it_is(struct fz_device *dev)
{
	static const char *const layouts[] = {
		[FZ_NOTHING] = "no messages", [FZ_SLOTS] = "slots (v1)", [FZ_LANES] = "lanes (v2)"
	};

	if (dev->registers)
		dev_info(&dev->pci->dev, "%s: peer %u, %u vectors, %llu KiB, %s\n",
			 dev_name(&dev->dev), dev->id, dev->vectors, dev->bytes >> 10,
			 layouts[dev->layout]);
	else
		dev_info(&dev->pci->dev, "%s: plain memory, %llu KiB\n", dev_name(&dev->dev),
			 dev->bytes >> 10);
}

static int on_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct fz_device *dev;
	int err;

	if (pci->revision != REVISION) {
		dev_info(&pci->dev, "revision %u: not the ivshmem device of QEMU 2.6 and later\n",
			 pci->revision);
		return -ENODEV;
	}
	dev = fz_device_make(pci);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = map_device(dev);
	if (err)
		goto undo_make;
	choose_name(dev);
	err = dev->registers ? read_layout(dev) : 0;
	if (!err)
		err = fz_queue_init(dev);
	if (!err && dev->registers)
		err = start_doorbell(dev);
	if (err)
		goto undo_map;
	err = fz_device_show(dev);
	if (err)
		goto undo_start;
	pci_set_drvdata(pci, dev);
	say_what_it_is(dev);
	return 0;

undo_start:
	stop_doorbell(dev);
undo_map:
	unmap_device(dev);
undo_make:
	put_device(&dev->dev);
	return err;
}

static void on_remove(struct pci_dev *pci)
{
	struct fz_device *dev = pci_get_drvdata(pci);

	fz_device_hide(dev);
	stop_doorbell(dev);
	fz_map_away(dev);
	unmap_device(dev);
	put_device(&dev->dev);
}

/* The VM ends or boots anew: the others need not wait until that shows. */
static void on_shutdown(struct pci_dev *pci)
{
	struct fz_device *dev = pci_get_drvdata(pci);

	mutex_lock(&dev->lock);
	fz_post_stop(dev);
	mutex_unlock(&dev->lock);
}

static const struct pci_device_id ids[] = { { PCI_DEVICE(VENDOR, DEVICE) }, {} };
MODULE_DEVICE_TABLE(pci, ids);

struct pci_driver fz_pci_driver = {
	.name = "famez",
	.id_table = ids,
	.probe = on_probe,
	.remove = on_remove,
	.shutdown = on_shutdown,
};
