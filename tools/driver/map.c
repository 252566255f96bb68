// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The shared memory and the doorbell's page, in the address space of who opened a device.
 *
 * Pages come when they are touched (fault), under map_lock, and not any more once the device is
 * away: then all that were given are taken back at once, and touching one is SIGBUS. For that
 * all files of a device must have one address_space: that of an inode of our own, since
 * /dev/famezN may exist several times.
 */
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "compat.h"
#include "fz.h"

#define MAGIC 0x66616d65 /* of a file system that nobody sees */

/* So many pages come with the one that was touched. */
#define AROUND 16ul

static struct vfsmount *mount;
static int mounts;

static int init_fs_context(struct fs_context *context)
{
	return init_pseudo(context, MAGIC) ? 0 : -ENOMEM;
}

/* Without an owner: it would keep the module for as long as there are devices. They are all away
 * before the module's end, and a mount of this kind ends at once.
 */
static struct file_system_type fs_type = {
	.name = "famez",
	.init_fs_context = init_fs_context,
	.kill_sb = kill_anon_super,
};

int fz_map_open(struct fz_device *dev)
{
	struct inode *inode;
	int err = simple_pin_fs(&fs_type, &mount, &mounts);

	if (err)
		return err;
	inode = alloc_anon_inode(mount->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&mount, &mounts);
		return PTR_ERR(inode);
	}
	dev->inode = inode;
	return 0;
}

void fz_map_close(struct fz_device *dev)
{
	if (!dev->inode)
		return;
	iput(dev->inode);
	simple_release_fs(&mount, &mounts);
}

/* Takes back all that was mapped. Registers and memory may go once this returns. */
void fz_map_away(struct fz_device *dev)
{
	down_write(&dev->map_lock);
	WRITE_ONCE(dev->unmapped, true);
	up_write(&dev->map_lock);
	unmap_mapping_range(dev->inode->i_mapping, 0, 0, 1);
}

static unsigned long pfn_of(struct fz_device *dev, pgoff_t offset)
{
	if (offset >= FAMEZ_MAP_REGISTERS >> PAGE_SHIFT)
		return dev->registers_at >> PAGE_SHIFT;
	return (dev->memory_at >> PAGE_SHIFT) + offset;
}

static vm_fault_t on_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct fz_device *dev = vma->vm_private_data;
	unsigned long at = ALIGN_DOWN(vmf->address, AROUND * PAGE_SIZE),
		      end = at + AROUND * PAGE_SIZE;
	vm_fault_t done = VM_FAULT_SIGBUS;

	at = max(at, vma->vm_start);
	end = min(end, vma->vm_end);
	down_read(&dev->map_lock);
	if (!dev->unmapped) {
		/* First the one that is needed: what the others meet is nobody's concern. */
		done = vmf_insert_pfn(vma, vmf->address, pfn_of(dev, vmf->pgoff));
		for (; done == VM_FAULT_NOPAGE && at < end; at += PAGE_SIZE) {
			pgoff_t offset = vma->vm_pgoff + ((at - vma->vm_start) >> PAGE_SHIFT);

			if (vmf_insert_pfn(vma, at, pfn_of(dev, offset)) != VM_FAULT_NOPAGE)
				break;
		}
	}
	up_read(&dev->map_lock);
	return done;
}

static const struct vm_operations_struct vm_operations = {
	.fault = on_fault,
};

int fz_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct fz_opener *opener = file->private_data;
	struct fz_device *dev = opener->dev;
	u64 pages = vma_pages(vma), from = vma->vm_pgoff;

	if (READ_ONCE(dev->unmapped))
		return -ENODEV;
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		return -EACCES;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (from == FAMEZ_MAP_REGISTERS >> PAGE_SHIFT) {
		if (!dev->registers_rest.parent || pages != 1)
			return -ENXIO;
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	} else if (from + pages > dev->bytes >> PAGE_SHIFT) {
		return -ENXIO;
	}
	vma->vm_private_data = dev;
	vma->vm_ops = &vm_operations;
	fz_vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
