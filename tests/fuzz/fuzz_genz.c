/* SPDX-License-Identifier: MIT */
/*
 * fuzz_genz.c - what a peer says to a personality, line by line: whatever it is, the answer
 * is a short printable text, and none where it was ignored.
 */
#include "fuzz.h"

#include "genz.h"

static void check(const struct personality *who, const struct personality_answer *answer)
{
	const char *end = memchr(answer->text, '\0', sizeof(answer->text));

	assert(end);
	for (const char *c = answer->text; c < end; c++)
		assert(*c >= ' ' && *c <= '~');
	if (answer->ignored)
		assert(end == answer->text && !answer->named && !answer->show);
	if (answer->named)
		assert(answer->cid == 900 && answer->sid == GENZ_SID);
	assert(who != &personality_none || (!answer->named && !answer->show));
}

static void talk(const struct personality *who, const uint8_t *data, size_t size)
{
	const struct personality_scene scene = {.server_id = 15, .peer_id = 9};
	_Alignas(8) unsigned char peer[PERSONALITY_PEER_BYTES] = {0};
	struct personality_shown shown = {.state = ""};

	if (who->joined)
		who->joined(peer, &scene);
	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t bytes = end ? (size_t)(end - data) : size;
		struct personality_answer answer = {.text = ""};
		char *text = fuzz_text(
			data, bytes < PERSONALITY_TEXT_BYTES ? bytes : PERSONALITY_TEXT_BYTES - 1);

		who->said(peer, &scene, text, &answer);
		check(who, &answer);
		free(text);
		data += bytes;
		size -= bytes;
		if (end) {
			data++;
			size--;
		}
	}
	if (!who->show)
		return;
	who->show(peer, &shown);
	assert(memchr(shown.cclass, '\0', sizeof(shown.cclass)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	talk(&genz_fee, data, size);
	talk(&genz_famez, data, size);
	talk(&personality_none, data, size);
	return 0;
}
