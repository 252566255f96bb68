/* SPDX-License-Identifier: MIT */
/*
 * personality.c - which personalities there are, and the one that has next to none.
 */
#include "personality.h"

#include <string.h>

#include "genz.h"

static void none_said(void *peer, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	(void)peer;
	(void)scene;
	/* Clients measure how far away the server is, whatever it speaks besides. */
	if (strcmp(text, "ping") == 0)
		memcpy(answer->text, "pong", sizeof("pong"));
	else
		answer->ignored = true;
}

const struct personality personality_none = {
	.name = "none",
	.server_name = "server",
	.server_class = "Server",
	.said = none_said,
};

const struct personality *personality_find(
	enum options_personality which, enum options_dialect dialect)
{
	if (which == PERSONALITY_NONE)
		return &personality_none;
	return dialect == DIALECT_FAMEZ ? &genz_famez : &genz_fee;
}
