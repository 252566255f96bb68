/* SPDX-License-Identifier: MIT */
/*
 * link.h - what is said on the fabric's link level. See link.c.
 */
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include "letters.h"

#include <stdbool.h>

/** No text of the link level is longer: it has to fit a v1 slot. With its NUL. */
#define LINK_TEXT_MAX 384

/** link_is() - is it this text, apart from a tracker? */
bool link_is(const struct letter *l, const char *text);

/** link_begins() - does it begin with this text, and is of the link level? */
bool link_begins(const struct letter *l, const char *text);

/** link_asks() - is it a text that those answer who know the link level? */
bool link_asks(const void *text, size_t bytes);

/** link_text_waits() - is a text in our v1 slot that its reader has not taken? */
bool link_text_waits(struct session *s);

/** link_answer() - what is to be said to that, and what we take in from it. False: nothing. */
bool link_answer(struct session *s, const struct letter *l, char answer[LINK_TEXT_MAX]);

/** link_begin() - a text with the tracker of a conversation that we begin. */
void link_begin(struct session *s, char into[LINK_TEXT_MAX], const char *text);

#endif
