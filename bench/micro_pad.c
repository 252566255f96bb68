/* SPDX-License-Identifier: MIT */
/*
 * micro_pad.c - famez-bench-guard with some instructions too many on two hot paths, one of the
 * library and one of the broker: what bench/guard must notice. For tests/bench/guard.py.
 */
#include "famez/peer.h"
#include "view.h"

/* With the jump to what is really called, some 5 % of what one of each takes. */
#define PAD(nops) __asm__ volatile(".rept " #nops "\n\tnop\n\t.endr")

int __real_famez_send(struct famez *f, const struct famez_to *to, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms);
int __wrap_famez_send(struct famez *f, const struct famez_to *to, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms);
int __wrap_famez_send(struct famez *f, const struct famez_to *to, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms)
{
	PAD(5);
	return __real_famez_send(f, to, payload, bytes, flags, timeout_ms);
}

enum view_says __real_view_next(
	struct view *v, const struct view_client *c, const struct roster *r, struct notice *n);
enum view_says __wrap_view_next(
	struct view *v, const struct view_client *c, const struct roster *r, struct notice *n);
enum view_says __wrap_view_next(
	struct view *v, const struct view_client *c, const struct roster *r, struct notice *n)
{
	PAD(7);
	return __real_view_next(v, c, r, n);
}
