/* SPDX-License-Identifier: MIT */
/*
 * recover.c - what a broker makes of the state that it finds.
 *
 * Decides from the state alone; which sockets are gone the sweep has found out before.
 */
#include "recover.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "sys.h"

void recover_redo(struct state *s)
{
	state_count_on(s);
	for (uint16_t w = 0; w < s->head->wish.workers; w++)
		state_tell_apply(s, w);
}

enum recover_how recover_how(
	const struct state *s, uint32_t id, struct view *view, bool *leave_unread)
{
	if (!ledger_sound(s, id) || !state_view_get(s, id, view, leave_unread))
		return RECOVER_KEEP;
	return view->step == VIEW_VERSION ? RECOVER_ADOPT : RECOVER_RESUME;
}

void recover_finish(
	struct state *s, const struct recover_mailbox *mailbox, struct recover_found *found)
{
	const struct state_wish *wish = &s->head->wish;

	*found = (struct recover_found){0};
	for (uint32_t id = wish->first_id; id < wish->first_id + wish->peers; id++) {
		enum recover_how how;
		bool leave_unread;
		struct view view;

		if (!ledger_taken(s, id))
			continue;
		if (ledger_sock(s, id) < 0) {
			if (ledger_present(s, id))
				ledger_leave(s, id, mailbox->said(mailbox->argument, id));
			mailbox->absent(mailbox->argument, id);
			ledger_free(s, id);
			found->left++;
			continue;
		}
		how = recover_how(s, id, &view, &leave_unread);
		if (how == RECOVER_RESUME && view_opened(&view) && !ledger_present(s, id)) {
			ledger_join(s, id);
			mailbox->present(mailbox->argument, id);
			found->joined++;
		}
		found->damaged += how == RECOVER_KEEP;
		if (ledger_present(s, id))
			found->present++;
		else
			found->opening++;
	}
}

static int by_seq(const void *a, const void *b)
{
	uint64_t left = ((const struct roster_change *)a)->seq;
	uint64_t right = ((const struct roster_change *)b)->seq;

	return left < right ? -1 : left > right;
}

int recover_plan(struct recover_plan *plan, const struct state *s)
{
	uint32_t ids_max = s->head->wish.ids_max;

	*plan = (struct recover_plan){.order = sys_calloc(ids_max, sizeof(*plan->order))};
	if (!plan->order)
		return -ENOMEM;
	for (uint32_t id = 0; id < ids_max; id++) {
		uint64_t change =
			atomic_load_explicit(&s->members[id].change, memory_order_acquire);

		if (change)
			plan->order[plan->changes++] = (struct roster_change){
				.seq = change >> 1, .id = id, .present = change & 1};
	}
	qsort(plan->order, plan->changes, sizeof(*plan->order), by_seq);
	return 0;
}

void recover_plan_free(struct recover_plan *plan)
{
	free(plan->order);
	*plan = (struct recover_plan){0};
}
