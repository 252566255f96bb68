/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What other kernels than Debian 12's 6.1 call by another name. The only file that asks for a
 * kernel's version.
 */
#ifndef FZ_COMPAT_H
#define FZ_COMPAT_H

#include <linux/eventfd.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
#define fz_make_worker kthread_run_worker
#else
#define fz_make_worker kthread_create_worker
#endif

static inline void fz_signal(struct eventfd_ctx *context)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(context);
#else
	eventfd_signal(context, 1);
#endif
}

static inline void fz_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

#endif
