/* SPDX-License-Identifier: MIT */
/*
 * echo.c - an example of a personality: the server says again what it was told, numbered.
 *
 * docs/personality.md explains it.
 */
#include <stdio.h>
#include <string.h>

#include "personality.h"

/* What is remembered of each peer. */
struct echo_peer {
	unsigned heard;
};

_Static_assert(sizeof(struct echo_peer) <= PERSONALITY_PEER_BYTES, "fits a peer's memory");

static void said(void *peer, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	struct echo_peer *p = peer;

	(void)scene;
	if (!*text) {
		answer->ignored = true;
		return;
	}
	if (strcmp(text, "ping") == 0) {
		(void)snprintf(answer->text, sizeof(answer->text), "pong");
		return;
	}
	(void)snprintf(answer->text, sizeof(answer->text), "%u: %s", ++p->heard, text);
}

static void show(const void *peer, struct personality_shown *shown)
{
	const struct echo_peer *p = peer;

	shown->state = p->heard ? "talking" : "silent";
}

const struct personality personality_echo = {
	.name = "echo",
	.server_name = "echo",
	.server_class = "Example",
	.said = said,
	.show = show,
};
