// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The ioctls: what the device is, who has the lanes, whom a doorbell wakes.
 *
 * Copies structs from and to users outside of all locks. What an opener registered or claimed
 * ends with him: fz_claim_forget().
 */
#include <linux/fs.h>
#include <linux/uaccess.h>

#include "fz.h"

static long get_info(struct fz_device *dev, void __user *to)
{
	struct famez_info info = {
		.abi = FAMEZ_DRIVER_ABI,
		.bytes = dev->bytes,
		.id = dev->id,
		.vectors = dev->vectors,
		.ids = dev->g.ids,
		.server_id = dev->g.ids ? dev->g.server_id : FAMEZ_NOBODY,
		.payload_max = fz_payload_max(dev),
	};

	if (dev->registers)
		info.flags |= FAMEZ_INFO_DOORBELL;
	if (dev->layout == FZ_LANES)
		info.flags |= FAMEZ_INFO_LANES;
	if (dev->slots)
		info.flags |= FAMEZ_INFO_SLOTS;
	if (dev->registers_rest.parent)
		info.flags |= FAMEZ_INFO_REGISTERS;
	if (dev->cached)
		info.flags |= FAMEZ_INFO_CACHED;
	mutex_lock(&dev->lock);
	if (dev->claim)
		info.flags |= FAMEZ_INFO_CLAIMED;
	if (dev->post.open)
		info.generation = dev->post.generation;
	mutex_unlock(&dev->lock);
	return copy_to_user(to, &info, sizeof(info)) ? -EFAULT : 0;
}

static long claim(struct fz_opener *opener)
{
	struct fz_device *dev = opener->dev;
	long err = 0;

	mutex_lock(&dev->lock);
	if (dev->gone) {
		err = -ENODEV;
	} else if (dev->layout == FZ_NOTHING) {
		err = -EOPNOTSUPP;
	} else if (dev->claim) {
		err = -EBUSY;
	} else {
		fz_post_stop(dev);
		WRITE_ONCE(dev->claim, opener);
	}
	mutex_unlock(&dev->lock);
	wake_up_interruptible(&dev->room_wait);
	return err;
}

static long release(struct fz_opener *opener)
{
	struct fz_device *dev = opener->dev;
	long err = 0;

	mutex_lock(&dev->lock);
	if (dev->claim != opener) {
		err = -EPERM;
	} else {
		WRITE_ONCE(dev->claim, NULL);
		if (!dev->gone)
			fz_post_start(dev);
	}
	mutex_unlock(&dev->lock);
	return err;
}

static long ring(struct fz_device *dev, const void __user *from)
{
	struct famez_doorbell bell;
	long err = 0;

	if (copy_from_user(&bell, from, sizeof(bell)))
		return -EFAULT;
	if (!dev->registers)
		return -EOPNOTSUPP;
	down_read(&dev->map_lock);
	if (dev->unmapped)
		err = -ENODEV;
	else
		fz_ring(dev, bell.peer, bell.vector);
	up_read(&dev->map_lock);
	return err;
}

/* Puts an eventfd, or NULL, at a vector; who was there before is handed out. */
static long exchange(struct fz_opener *opener, u32 vector, struct eventfd_ctx **context)
{
	struct fz_device *dev = opener->dev;
	struct fz_bell *bell = &dev->bells[vector];
	long err = 0;

	mutex_lock(&dev->lock);
	if (dev->gone && *context)
		err = -ENODEV;
	else if (bell->owner && bell->owner != opener)
		err = -EBUSY;
	if (!err) {
		bell->owner = *context ? opener : NULL;
		*context = rcu_replace_pointer(bell->wake, *context, lockdep_is_held(&dev->lock));
	}
	mutex_unlock(&dev->lock);
	return err;
}

static long set_wake(struct fz_opener *opener, const void __user *from)
{
	struct eventfd_ctx *context = NULL;
	struct famez_wake wake;
	long err;

	if (copy_from_user(&wake, from, sizeof(wake)))
		return -EFAULT;
	if (wake.vector >= opener->dev->vectors || wake.fd < -1)
		return -EINVAL;
	if (wake.fd >= 0)
		context = eventfd_ctx_fdget(wake.fd);
	if (IS_ERR(context))
		return PTR_ERR(context);
	err = exchange(opener, wake.vector, &context);
	if (context) {
		/* An interrupt may be at it. */
		if (!err)
			synchronize_rcu();
		eventfd_ctx_put(context);
	}
	return err;
}

/* He closes the device. His vectors stay his until no interrupt can be at his eventfds; one wait
 * does for all of them.
 */
void fz_claim_forget(struct fz_opener *opener)
{
	struct fz_device *dev = opener->dev;
	unsigned int vector;
	bool any = false;

	mutex_lock(&dev->lock);
	for (vector = 0; vector < dev->vectors; vector++) {
		struct fz_bell *bell = &dev->bells[vector];

		if (bell->owner != opener)
			continue;
		bell->leaving = rcu_replace_pointer(bell->wake, NULL, lockdep_is_held(&dev->lock));
		any = true;
	}
	mutex_unlock(&dev->lock);
	if (any)
		synchronize_rcu();
	mutex_lock(&dev->lock);
	for (vector = 0; any && vector < dev->vectors; vector++) {
		struct fz_bell *bell = &dev->bells[vector];

		if (bell->owner != opener)
			continue;
		eventfd_ctx_put(bell->leaving);
		bell->leaving = NULL;
		bell->owner = NULL;
	}
	mutex_unlock(&dev->lock);
	(void)release(opener);
}

long fz_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct fz_opener *opener = file->private_data;
	struct fz_device *dev = opener->dev;
	void __user *user = (void __user *)argument;

	if (READ_ONCE(dev->gone))
		return -ENODEV;
	if (command == FAMEZ_IOC_INFO)
		return get_info(dev, user);
	if (command == FAMEZ_IOC_FORM) {
		if (argument > FAMEZ_FORM_BINARY)
			return -EINVAL;
		WRITE_ONCE(opener->binary, argument == FAMEZ_FORM_BINARY);
		return 0;
	}
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		return -EACCES;
	switch (command) {
	case FAMEZ_IOC_CLAIM:
		return claim(opener);
	case FAMEZ_IOC_RELEASE:
		return release(opener);
	case FAMEZ_IOC_RING:
		return ring(dev, user);
	case FAMEZ_IOC_WAKE:
		return set_wake(opener, user);
	default:
		return -ENOTTY;
	}
}
