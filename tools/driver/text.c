// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The text form of a message: `echo "3:hello" >/dev/famez0`, and what cat shows.
 *
 * In front of the first colon stands whom it goes to, or who said it: an ID, "CID,SID", a name or
 * "server". Knows nothing of how messages travel.
 */
#include <linux/kernel.h>
#include <linux/string.h>

#include "fz.h"

/*
 * Whom the words in front of the colon mean. Takes the lock. -EINVAL: nobody could be meant,
 * -ENOTCONN: nobody of that name or address is there, -ENODEV.
 */
int fz_text_address(struct fz_device *dev, char *address, struct fz_to *to)
{
	char *comma = strchr(address, ',');
	u32 cid, sid, id;
	int found;

	to->kind = FAMEZ_KIND(FAMEZ_TYPE_LINK, 0);
	if (!comma && !kstrtou32(address, 10, &id)) {
		to->peer = id;
		return 0;
	}
	if (comma) {
		*comma = 0;
		if (kstrtou32(address, 10, &cid) || kstrtou32(comma + 1, 10, &sid))
			return -EINVAL;
	} else if (!*address || strlen(address) >= FAMEZ_NAME_BYTES) {
		return -EINVAL;
	}
	mutex_lock(&dev->lock);
	if (dev->gone)
		found = -ENODEV;
	else if (comma)
		found = fz_find_address(dev, cid, sid);
	else
		found = fz_find_name(dev, address);
	mutex_unlock(&dev->lock);
	if (found < 0)
		return found == -ENOENT ? -ENOTCONN : found;
	to->peer = found;
	return 0;
}

/* What stands in front of a message that is read. Returns its length. */
int fz_text_head(const struct fz_message *m, char *into, size_t size)
{
	return scnprintf(into, size, "%u,%u:", m->cid, m->sid);
}
