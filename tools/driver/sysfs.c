// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * /sys/class/famez/famezN: who we are, who is there, what was counted.
 *
 * Only `name` can be written. Files are gone before the device is.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "fz.h"

static struct fz_device *of(struct device *device)
{
	return dev_get_drvdata(device);
}

static const char *layout_of(const struct fz_device *dev)
{
	static const char *const layouts[] = {
		[FZ_NOTHING] = "none", [FZ_SLOTS] = "v1", [FZ_LANES] = "v2"
	};

	return layouts[dev->layout];
}

/* -1: there is none. */
static long number_or_none(u32 number)
{
	return number == FAMEZ_NOBODY ? -1 : (long)number;
}

static u64 interrupts_of(const struct fz_device *dev)
{
	u64 sum = 0;
	unsigned int i;

	for (i = 0; i < dev->vectors; i++)
		sum += READ_ONCE(dev->bells[i].interrupts);
	return sum;
}

enum fact {
	KIND,
	LAYOUT,
	ID,
	SERVER,
	CID,
	SID,
	GENERATION,
	CLAIMED,
	BYTES,
	CACHED,
	IDS,
	VECTORS,
	LANE_BYTES,
	PAYLOAD_MAX,
	INTERRUPTS,
	QUEUED_BYTES,
};

/* A file whose text is one number or word. */
struct fact_attribute {
	struct device_attribute attribute;
	enum fact fact;
};

static ssize_t emit_fact(struct fz_device *dev, enum fact fact, char *buf)
{
	switch (fact) {
	case KIND:
		return sysfs_emit(buf, "%s\n", dev->registers ? "doorbell" : "plain");
	case LAYOUT:
		return sysfs_emit(buf, "%s\n", layout_of(dev));
	case ID:
		return sysfs_emit(buf, "%ld\n", number_or_none(dev->id));
	case SERVER:
		return sysfs_emit(buf, "%ld\n",
				  dev->g.ids ? number_or_none(dev->g.server_id) : -1L);
	case CID:
		return sysfs_emit(buf, "%u\n", dev->cid);
	case SID:
		return sysfs_emit(buf, "%u\n", dev->sid);
	case GENERATION:
		return sysfs_emit(buf, "%u\n", dev->post.open ? dev->post.generation : 0);
	case CLAIMED:
		return sysfs_emit(buf, "%d\n", !!dev->claim);
	case BYTES:
		return sysfs_emit(buf, "%llu\n", dev->bytes);
	case CACHED:
		return sysfs_emit(buf, "%d\n", dev->cached);
	case IDS:
		return sysfs_emit(buf, "%u\n", dev->g.ids);
	case VECTORS:
		return sysfs_emit(buf, "%u\n", dev->vectors);
	case LANE_BYTES:
		return sysfs_emit(buf, "%u\n", dev->g.lane_bytes);
	case PAYLOAD_MAX:
		return sysfs_emit(buf, "%u\n", fz_payload_max(dev));
	case INTERRUPTS:
		return sysfs_emit(buf, "%llu\n", interrupts_of(dev));
	case QUEUED_BYTES:
		return sysfs_emit(buf, "%zu\n", READ_ONCE(dev->queue.bytes));
	}
	return -EINVAL;
}

static ssize_t fact_show(struct device *device, struct device_attribute *attribute, char *buf)
{
	enum fact fact = container_of(attribute, struct fact_attribute, attribute)->fact;
	struct fz_device *dev = of(device);
	ssize_t done;

	mutex_lock(&dev->lock);
	done = emit_fact(dev, fact, buf);
	mutex_unlock(&dev->lock);
	return done;
}

#define FACT(file, which)                                  \
	{                                                  \
		__ATTR(file, 0444, fact_show, NULL), which \
	}

static struct fact_attribute facts[] = {
	[KIND] = FACT(kind, KIND),
	[LAYOUT] = FACT(layout, LAYOUT),
	[ID] = FACT(id, ID),
	[SERVER] = FACT(server, SERVER),
	[CID] = FACT(cid, CID),
	[SID] = FACT(sid, SID),
	[GENERATION] = FACT(generation, GENERATION),
	[CLAIMED] = FACT(claimed, CLAIMED),
	[BYTES] = FACT(bytes, BYTES),
	[CACHED] = FACT(cached, CACHED),
	[IDS] = FACT(ids, IDS),
	[VECTORS] = FACT(vectors, VECTORS),
	[LANE_BYTES] = FACT(lane_bytes, LANE_BYTES),
	[PAYLOAD_MAX] = FACT(payload_max, PAYLOAD_MAX),
	[INTERRUPTS] = FACT(interrupts, INTERRUPTS),
	[QUEUED_BYTES] = FACT(queued_bytes, QUEUED_BYTES),
};

/* A file that shows a counter, by where it stands in struct fz_counts. */
struct counter_attribute {
	struct device_attribute attribute;
	size_t offset;
};

static ssize_t counter_show(struct device *device, struct device_attribute *attribute, char *buf)
{
	size_t offset = container_of(attribute, struct counter_attribute, attribute)->offset;
	atomic64_t *counter = (void *)((char *)&of(device)->counts + offset);

	return sysfs_emit(buf, "%lld\n", (long long)atomic64_read(counter));
}

#define COUNTER(file, field)                                                              \
	{                                                                                 \
		__ATTR(file, 0444, counter_show, NULL), offsetof(struct fz_counts, field) \
	}

static struct counter_attribute counts[] = {
	COUNTER(received, received), COUNTER(received_bytes, received_bytes),
	COUNTER(sent, sent),	     COUNTER(sent_bytes, sent_bytes),
	COUNTER(rings, rings),	     COUNTER(full, full),
	COUNTER(answered, answered), COUNTER(dropped, dropped),
	COUNTER(garbled, garbled),   COUNTER(looks, looks),
};

static ssize_t name_show(struct device *device, struct device_attribute *attribute, char *buf)
{
	struct fz_device *dev = of(device);
	ssize_t done;

	mutex_lock(&dev->lock);
	done = sysfs_emit(buf, "%s\n", dev->name);
	mutex_unlock(&dev->lock);
	return done;
}

static ssize_t name_store(struct device *device, struct device_attribute *attribute,
			  const char *buf, size_t count)
{
	struct fz_device *dev = of(device);
	size_t bytes = count && buf[count - 1] == '\n' ? count - 1 : count, i;

	if (!bytes || bytes >= FAMEZ_NAME_BYTES)
		return -EINVAL;
	for (i = 0; i < bytes; i++)
		if (buf[i] <= ' ' || buf[i] > '~' || buf[i] == ':' || buf[i] == ',')
			return -EINVAL;
	mutex_lock(&dev->lock);
	memset(dev->name, 0, sizeof(dev->name));
	memcpy(dev->name, buf, bytes);
	fz_post_rename(dev);
	mutex_unlock(&dev->lock);
	return count;
}
static DEVICE_ATTR_RW(name);

/* The IDs of those present, as a list: 1-3,7. */
static ssize_t peers_show(struct device *device, struct device_attribute *attribute, char *buf)
{
	struct fz_device *dev = of(device);
	unsigned long *there = bitmap_zalloc(dev->g.ids + 1, GFP_KERNEL);
	ssize_t done;
	u32 id;

	if (!there)
		return -ENOMEM;
	mutex_lock(&dev->lock);
	for (id = 1; id < dev->g.ids; id++)
		if (fz_presence_of(dev, id).present)
			__set_bit(id, there);
	mutex_unlock(&dev->lock);
	done = sysfs_emit(buf, "%*pbl\n", (int)dev->g.ids + 1, there);
	bitmap_free(there);
	return done;
}
static DEVICE_ATTR_RO(peers);

/* A line for each: ID, CID,SID, name, class; "..." where there is no room for all. */
static ssize_t names_show(struct device *device, struct device_attribute *attribute, char *buf)
{
	const int line_max = 2 * FAMEZ_NAME_BYTES + 48;
	struct fz_device *dev = of(device);
	struct fz_who who;
	int at = 0;
	u32 id;

	mutex_lock(&dev->lock);
	for (id = 1; id < dev->g.ids; id++) {
		if (!fz_presence_of(dev, id).present)
			continue;
		if (at + line_max > PAGE_SIZE) {
			at += sysfs_emit_at(buf, at, "...\n");
			break;
		}
		fz_who_is(dev, id, &who);
		at += sysfs_emit_at(buf, at, "%u %u,%u %s %s\n", id, who.cid, who.sid,
				    *who.name ? who.name : "-", *who.cclass ? who.cclass : "-");
	}
	mutex_unlock(&dev->lock);
	return at;
}
static DEVICE_ATTR_RO(names);

#define ATTRIBUTE(which) (&facts[which].attribute.attr)

static struct attribute *attributes[] = {
	ATTRIBUTE(KIND),     ATTRIBUTE(LAYOUT),	   ATTRIBUTE(ID),	  ATTRIBUTE(SERVER),
	ATTRIBUTE(CID),	     ATTRIBUTE(SID),	   ATTRIBUTE(GENERATION), ATTRIBUTE(CLAIMED),
	&dev_attr_name.attr, &dev_attr_peers.attr, &dev_attr_names.attr,  NULL,
};

static struct attribute *geometry_attributes[] = {
	ATTRIBUTE(BYTES),      ATTRIBUTE(CACHED),      ATTRIBUTE(IDS), ATTRIBUTE(VECTORS),
	ATTRIBUTE(LANE_BYTES), ATTRIBUTE(PAYLOAD_MAX), NULL,
};

static struct attribute *counter_attributes[] = {
	&counts[0].attribute.attr,
	&counts[1].attribute.attr,
	&counts[2].attribute.attr,
	&counts[3].attribute.attr,
	&counts[4].attribute.attr,
	&counts[5].attribute.attr,
	&counts[6].attribute.attr,
	&counts[7].attribute.attr,
	&counts[8].attribute.attr,
	&counts[9].attribute.attr,
	ATTRIBUTE(INTERRUPTS),
	ATTRIBUTE(QUEUED_BYTES),
	NULL,
};

static const struct attribute_group group = { .attrs = attributes };
static const struct attribute_group geometry = { .name = "geometry", .attrs = geometry_attributes };
static const struct attribute_group counters = { .name = "counters", .attrs = counter_attributes };

const struct attribute_group *fz_groups[] = { &group, &geometry, &counters, NULL };
