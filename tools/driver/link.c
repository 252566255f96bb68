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

static enum fz_heard hear(struct fz_link *link, const char *text, char answer[FZ_TEXT])
{
	if (!strcmp(text, "ping")) {
		strscpy(answer, "pong", FZ_TEXT);
		return FZ_ANSWER;
	}
	if (!strcmp(text, "Link CTL Peer-Attribute")) {
		if (link->old)
			snprintf(answer, FZ_TEXT, "Link CTL ACK C-Class=%s,SID0=%u,CID0=%u",
				 link->cclass, link->sid, link->cid);
		else
			snprintf(answer, FZ_TEXT, "Link CTL ACK cclass=%s,CID0=%u,SID0=%u",
				 link->cclass, link->cid, link->sid);
		return FZ_ANSWER;
	}
	if (strstarts(text, "CTL-Write ") && link->from_manager)
		return hear_write(link, text, answer) ? FZ_ANSWER : FZ_NOT_LINK;
	/* What the server says of itself when asked; nobody here has asked. */
	if (strstarts(text, "Link CTL ACK ") && link->from_manager)
		return FZ_HEARD;
	return FZ_NOT_LINK;
}

/* What of @text, which is left as it was, is for a bridge, and what it answers. */
enum fz_heard fz_link_hear(struct fz_link *link, char text[FZ_TEXT], char answer[FZ_TEXT])
{
	char *mark = strrchr(text, '!');
	enum fz_heard heard;
	u32 number;

	if (mark && ((strncmp(mark, "!EZT=", 5) && strncmp(mark, "!FZT=", 5)) ||
		     kstrtou32(mark + 5, 10, &number)))
		mark = NULL;
	if (mark)
		*mark = 0;
	heard = hear(link, text, answer);
	if (mark)
		*mark = '!';
	if (mark && heard == FZ_ANSWER)
		snprintf(answer + strlen(answer), FZ_TEXT - strlen(answer), "%.5s%u", mark,
			 number + 1);
	return heard;
}
