/* SPDX-License-Identifier: MIT */
/*
 * report.c - what SIGUSR1 prints: peers, cursors, counters.
 *
 * Runs in the logger; never touches what workers use.
 */
#include "report.h"

#include <errno.h>

#include "heap.h"
#include "log.h"
#include "sys.h"

int report_init(struct report *r, uint32_t ids_max, uint16_t vectors, uint16_t workers, bool silent)
{
	*r = (struct report){.ids_max = ids_max, .vectors = vectors, .workers = workers};
	atomic_init(&r->busy, false);
	r->notices = sys_calloc(workers, sizeof(*r->notices));
	r->peers = sys_calloc(ids_max, sizeof(*r->peers));
	if (!silent) {
		r->rung = sys_calloc(vectors, sizeof(*r->rung));
		r->mail = sys_calloc(workers, sizeof(*r->mail));
	}
	if (!r->notices || !r->peers || (!silent && (!r->rung || !r->mail))) {
		report_destroy(r);
		return -ENOMEM;
	}
	return 0;
}

void report_destroy(struct report *r)
{
	free(r->mail);
	free(r->rung);
	free(r->peers);
	free(r->notices);
	r->mail = NULL;
	r->rung = NULL;
	r->peers = NULL;
	r->notices = NULL;
}

static void print_peer(uint32_t id, const struct report_peer *p)
{
	static const char *const states[] = {"opening", "current", "behind", "blocked", "retry"};

	log_event(report_peer, LOG_NUMBER("id", id), LOG_NUMBER("pid", (uint32_t)p->pid),
		LOG_TEXT("kind", p->device ? "device" : "plain"), LOG_NUMBER("worker", p->worker),
		LOG_NUMBER("cursor", p->cursor), LOG_NUMBER("end", p->cursor + p->behind),
		LOG_NUMBER("behind", p->behind), LOG_NUMBER("sent", p->sent),
		LOG_NUMBER("held_back", p->held_back), LOG_TEXT("state", states[p->state]));
}

static void print_mail(const struct report *r)
{
	struct report_mail all = {0};

	for (uint16_t w = 0; w < r->workers; w++) {
		const struct report_mail *m = &r->mail[w];

		all.received += m->received;
		all.received_bytes += m->received_bytes;
		all.sent += m->sent;
		all.slots_received += m->slots_received;
		all.slots_sent += m->slots_sent;
		all.dropped += m->dropped;
		all.stuck += m->stuck;
		all.garbled += m->garbled;
		all.ignored += m->ignored;
		all.stale += m->stale;
		all.data += m->data;
		all.group_messages += m->group_messages;
		all.group_copies += m->group_copies;
		all.memberships += m->memberships;
		all.groups += m->groups;
	}
	log_event(report_mail, LOG_NUMBER("received", all.received),
		LOG_NUMBER("received_bytes", all.received_bytes), LOG_NUMBER("sent", all.sent),
		LOG_NUMBER("slots_received", all.slots_received),
		LOG_NUMBER("slots_sent", all.slots_sent), LOG_NUMBER("dropped", all.dropped),
		LOG_NUMBER("stuck", all.stuck), LOG_NUMBER("garbled", all.garbled),
		LOG_NUMBER("ignored", all.ignored), LOG_NUMBER("stale", all.stale),
		LOG_NUMBER("data", all.data), LOG_NUMBER("group_messages", all.group_messages),
		LOG_NUMBER("group_copies", all.group_copies), LOG_NUMBER("groups", all.groups),
		LOG_NUMBER("memberships", all.memberships));
}

void report_print(void *report)
{
	struct report *r = report;
	uint64_t notices = 0, held_back = 0;
	uint32_t present = r->present;
	struct heap_figures heap;

	for (uint16_t w = 0; w < r->workers; w++)
		notices += r->notices[w];
	for (uint32_t id = 0; id < r->ids_max; id++)
		held_back += r->peers[id].filled ? r->peers[id].held_back : 0;
	heap_look(&heap);
	log_event(report, LOG_NUMBER("peers", r->present), LOG_NUMBER("opening", r->opening),
		LOG_NUMBER("joins", r->joins), LOG_NUMBER("leaves", r->leaves),
		LOG_NUMBER("refused", r->refused), LOG_NUMBER("notices", notices),
		LOG_NUMBER("refused_not_allowed", r->refused_for[DOOR_NOT_ALLOWED]),
		LOG_NUMBER("refused_quota", r->refused_for[DOOR_QUOTA]),
		LOG_NUMBER("refused_bound", r->refused_for[DOOR_BOUND]),
		LOG_NUMBER("refused_zones", r->refused_for[DOOR_STRANGERS]),
		LOG_NUMBER("held_back", held_back), LOG_NUMBER("log_dropped", log_dropped()),
		LOG_NUMBER("allocated_bytes", heap.allocated),
		LOG_NUMBER("state_bytes", r->state_bytes),
		LOG_NUMBER("resident_bytes", heap.resident), LOG_NUMBER("arenas", heap.arenas));
	for (uint32_t id = 0; id < r->ids_max; id++)
		if (r->peers[id].filled)
			print_peer(id, &r->peers[id]);
	if (r->mail)
		print_mail(r);
	for (uint16_t v = 0; r->rung && v < r->vectors; v++)
		if (r->rung[v])
			log_event(report_vector, LOG_NUMBER("vector", v),
				LOG_NUMBER("rung", r->rung[v]));
	/* First free, then the last line: who waits for it may ask again at once. */
	atomic_store(&r->busy, false);
	log_event(report_end, LOG_NUMBER("peers", present));
	(void)atomic_fetch_add(&r->over, 1);
	wakeup_ring(r->printed);
}
