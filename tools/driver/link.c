// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What a bridge says on the fabric's link level: short texts.
 *
 * Pure: a text in, an answer out. A text may end in a tracker, "!EZT=n" (F.E.E.) or "!FZT=n"
 * (FAME-Z), which grows by one with the answer. docs/personality.md has the grammar.
 */
#include <linux/kernel.h>
#include <linux/string.h>

#include "fz.h"

/* The number behind a key, which follows a blank or a comma. */
static bool value_of(const char *text, const char *key, u32 *value)
{
	const char *at = text;

	while ((at = strstr(at, key))) {
		if (at > text && (at[-1] == ' ' || at[-1] == ','))
			return sscanf(at + strlen(key), "%u", value) == 1;
		at++;
	}
	return false;
}

/* The manager gives us our numbers. */
static bool hear_write(struct fz_link *link, const char *text, char answer[FZ_TEXT])
{
	u32 cid, sid, tag;

	if (!value_of(text, "CID=", &cid) || !value_of(text, "SID=", &sid) ||
	    !value_of(text, "Tag=", &tag))
		return false;
	link->cid = cid;
	link->sid = sid;
	snprintf(answer, FZ_TEXT, "Standalone Acknowledgment Tag=%u,Reason=OK", tag);
	return true;
}

static bool hear(struct fz_link *link, const char *text, char answer[FZ_TEXT])
{
	if (!strcmp(text, "ping")) {
		strscpy(answer, "pong", FZ_TEXT);
		return true;
	}
	if (!strcmp(text, "Link CTL Peer-Attribute")) {
		if (link->old)
			snprintf(answer, FZ_TEXT, "Link CTL ACK C-Class=%s,SID0=%u,CID0=%u",
				 link->cclass, link->sid, link->cid);
		else
			snprintf(answer, FZ_TEXT, "Link CTL ACK cclass=%s,CID0=%u,SID0=%u",
				 link->cclass, link->cid, link->sid);
		return true;
	}
	return strstarts(text, "CTL-Write ") && link->from_manager &&
	       hear_write(link, text, answer);
}

/* Is @text, which is left as it was, for a bridge? Then with what it answers. */
bool fz_link_hear(struct fz_link *link, char text[FZ_TEXT], char answer[FZ_TEXT])
{
	char *mark = strrchr(text, '!');
	u32 number;
	bool heard;

	if (mark && ((strncmp(mark, "!EZT=", 5) && strncmp(mark, "!FZT=", 5)) ||
		     kstrtou32(mark + 5, 10, &number)))
		mark = NULL;
	if (mark)
		*mark = 0;
	heard = hear(link, text, answer);
	if (mark)
		*mark = '!';
	if (mark && heard)
		snprintf(answer + strlen(answer), FZ_TEXT - strlen(answer), "%.5s%u", mark,
			 number + 1);
	return heard;
}
