// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Who is there: for names and Gen-Z addresses, and told by uevents.
 *
 * Reads entries, and where there are none slots; writes neither. What was told last of each ID is
 * remembered and compared, so a look ends whatever stands there. Uevents are at most 100 a second,
 * since each is work for all who listen; what was not told is told later. Runs under the
 * device's lock.
 */
#include <linux/kobject.h>
#include <linux/string.h>

#include "fz.h"

/* A word from the memory: the first 31 bytes, and of them what can be printed. */
static void show(char to[FAMEZ_NAME_BYTES], const char *from)
{
	size_t i;

	memcpy(to, from, FAMEZ_NAME_BYTES);
	to[FAMEZ_NAME_BYTES - 1] = 0;
	for (i = 0; to[i]; i++)
		if (to[i] <= ' ' || to[i] > '~')
			to[i] = '?';
}

struct fz_presence fz_presence_of(struct fz_device *dev, u32 id)
{
	struct fz_presence is = {};
	struct famez_entry *e;

	if (!id || id >= dev->g.ids)
		return is;
	is.slot = READ_ONCE(*fz_slot_name(dev, id)) || id == dev->g.server_id;
	if (dev->layout != FZ_LANES) {
		is.present = is.slot;
		is.joins = 1;
		return is;
	}
	e = famez_entry_at(dev->memory, &dev->g, id);
	is.presence = famez_load_acquire(&e->presence);
	is.present = is.presence == FAMEZ_JOINING || is.presence == FAMEZ_PRESENT;
	is.joins = famez_load_relaxed(&e->joins);
	is.lanes = is.present && (famez_load_acquire(&e->speaks) & FAMEZ_SPEAKS_LANES) &&
		   famez_load_relaxed(&e->join) == is.joins;
	is.generation = is.lanes ? famez_load_relaxed(&e->generation) : 0;
	return is;
}

void fz_who_is(struct fz_device *dev, u32 id, struct fz_who *who)
{
	struct fz_presence is = fz_presence_of(dev, id);
	const char *cclass;

	memset(who, 0, sizeof(*who));
	if (!is.present)
		return;
	if (is.lanes) {
		struct famez_entry *e = famez_entry_at(dev->memory, &dev->g, id);

		show(who->name, e->name);
		show(who->cclass, e->cclass);
	} else if (is.slot) {
		show(who->name, fz_slot_name(dev, id));
		cclass = fz_slot_class(dev, id);
		if (cclass)
			show(who->cclass, cclass);
	}
	if (dev->layout == FZ_LANES) {
		struct famez_entry *e = famez_entry_at(dev->memory, &dev->g, id);

		who->cid = famez_load_relaxed(&e->cid);
		who->sid = famez_load_relaxed(&e->sid);
	}
	if (!who->cid) {
		who->cid = FZ_CID_DEFAULT(id);
		who->sid = FZ_SID_DEFAULT;
	}
}

/* The ID of the first of that name, or of "server"; -ENOENT. */
int fz_find_name(struct fz_device *dev, const char *name)
{
	struct fz_who who;
	u32 id;

	for (id = 1; id < dev->g.ids; id++) {
		fz_who_is(dev, id, &who);
		if (who.name[0] && !strcmp(who.name, name))
			return id;
	}
	if (!strcmp(name, "server") && dev->g.server_id != FAMEZ_NOBODY)
		return dev->g.server_id;
	return -ENOENT;
}

int fz_find_address(struct fz_device *dev, u32 cid, u32 sid)
{
	struct fz_who who;
	u32 id;

	for (id = 1; id < dev->g.ids; id++) {
		if (!fz_presence_of(dev, id).present)
			continue;
		fz_who_is(dev, id, &who);
		if (who.cid == cid && who.sid == sid)
			return id;
	}
	return -ENOENT;
}

static bool tell(struct fz_device *dev, u32 id, bool here)
{
	char event[24], peer[24], name[12 + FAMEZ_NAME_BYTES];
	char *const environment[] = { event, peer, name, NULL };
	struct fz_who who = {};

	if (!__ratelimit(&dev->uevents))
		return false;
	if (here)
		fz_who_is(dev, id, &who);
	snprintf(event, sizeof(event), "FAMEZ_EVENT=%s", here ? "join" : "leave");
	snprintf(peer, sizeof(peer), "FAMEZ_PEER=%u", id);
	snprintf(name, sizeof(name), "FAMEZ_NAME=%s", who.name);
	(void)kobject_uevent_env(&dev->dev.kobj, KOBJ_CHANGE, (char **)environment);
	return true;
}

/* False: no more for now. */
static bool tell_of(struct fz_device *dev, u32 id)
{
	struct fz_presence is = fz_presence_of(dev, id);
	struct fz_told *told = &dev->told[id];

	if (told->joins && (!is.present || told->joins != is.joins ||
			    (told->generation && told->generation != is.generation))) {
		if (!tell(dev, id, false))
			return false;
		*told = (struct fz_told){};
	}
	if (!is.present || !is.joins)
		return true;
	/* Who has lanes now and had none goes on to be there. */
	if (!told->joins && !tell(dev, id, true))
		return false;
	*told = (struct fz_told){ .joins = is.joins, .generation = is.generation };
	return true;
}

/* Tells what has changed since it was told. @anyway: even where the server says that nothing has.
 */
void fz_directory_tell(struct fz_device *dev, bool anyway)
{
	u64 changes = 0;
	u32 id;

	if (dev->layout == FZ_NOTHING || !device_is_registered(&dev->dev))
		return;
	if (dev->layout == FZ_LANES)
		changes = famez_load_acquire(&famez_header_at(dev->memory)->changes);
	if (!anyway && changes == dev->changes)
		return;
	for (id = 1; id < dev->g.ids; id++)
		if (id != dev->id && !tell_of(dev, id))
			return;
	dev->changes = changes;
}
