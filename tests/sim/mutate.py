#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Wrong orders of stores, each of which the simulation must notice.

    mutate.py --list                    a line each: name, file, what is wrong
    mutate.py NAME BROKER_DIR OUTPUT    writes that file with the mutation in it

A mutation that does not find its place any more does nothing, and is not noticed: run.sh fails
then, and it must be brought up to date.
"""
import sys

# name: (file, what is wrong, text as it is, text as it must not be)
MUTATIONS = {
    "view_outside_slot": (
        "state.c", "a cursor is written over after the slot is emptied",
        """	if (sent)
		state_view_put(s, id, &w->after[sent - 1].view, w->after[sent - 1].leave);
	atomic_store_explicit(&w->tell_id, STATE_NOBODY, memory_order_release);
	state_point();
""",
        """	atomic_store_explicit(&w->tell_id, STATE_NOBODY, memory_order_release);
	state_point();
	if (sent)
		state_view_put(s, id, &w->after[sent - 1].view, w->after[sent - 1].leave);
"""),
    "slot_opened_early": (
        "state.c", "the slot counts before what was sent of the last one is forgotten",
        """	for (unsigned i = 0; i < count; i++)
		w->tell[i].msg_len = 0;
	state_point();
	w->tell_count = count;
	state_point();
	atomic_store_explicit(&w->tell_id, id, memory_order_release);
	state_point();
""",
        """	w->tell_count = count;
	state_point();
	atomic_store_explicit(&w->tell_id, id, memory_order_release);
	state_point();
	for (unsigned i = 0; i < count; i++)
		w->tell[i].msg_len = 0;
	state_point();
"""),
    "slot_emptied_early": (
        "state.c", "the slot is empty before what was sent is written down",
        """	held = state_held(s, id);
	for (unsigned i = 0; i < sent; i++) {
""",
        """	held = state_held(s, id);
	atomic_store_explicit(&w->tell_id, STATE_NOBODY, memory_order_release);
	state_point();
	for (unsigned i = 0; i < sent; i++) {
"""),
    "errand_not_taken_up": (
        "broker.c", "a successor does not do what was asked of a broker that died over it",
        "	if (b->reload_due || live->reread)\n",
        "	if (live->reread)\n"),
    "errand_done_early": (
        "orders.c", "a reload is written down as done before the rules are read",
        "	errand_begin(&r->state->live->reload);\n",
        "	errand_begin(&r->state->live->reload);\n	errand_done(&r->state->live->reload);\n"),
    "errand_not_written": (
        "keeper.c", "a broker is told of what is asked for before that is written down",
        """	errand_ask(errand);
	if (s->broker)
		(void)kill(s->broker, number);
""",
        """	if (s->broker)
		(void)kill(s->broker, number);
	errand_ask(errand);
"""),
    "slot_not_redone": (
        "recover.c", "a successor does not look at what was being sent",
        "		state_tell_apply(s, w);",
        "		atomic_store(&s->workers[w].tell_id, STATE_NOBODY);"),
    "sent_before_written": (
        "peer.c", "notices are sent before the slot counts",
        """	state_tell_begin(state, nth, p->client.id, count);
	/* Once""",
        """	for (unsigned i = 0; i < count; i++)
		slot->tell[i].msg_len = 0;
	(void)sys_sendmmsg(p->sock, slot->tell, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (slot->tell[0].msg_len == 8)
		sent = 1;
	state_tell_begin(state, nth, p->client.id, count);
	if (sent)
		slot->tell[0].msg_len = 8;
	/* Once"""),
    "taken_before_view": (
        "ledger.c", "an ID is taken before the last owner's view is gone",
        """	state_view_put(s, id, &nothing_sent, false);
	atomic_store_explicit(&m->sock, n->sock, memory_order_relaxed);
	state_point();
	atomic_store_explicit(&m->taken, 1, memory_order_release);
	state_point();
""",
        """	atomic_store_explicit(&m->sock, n->sock, memory_order_relaxed);
	state_point();
	atomic_store_explicit(&m->taken, 1, memory_order_release);
	state_point();
	state_view_put(s, id, &nothing_sent, false);
"""),
    "freed_before_logged": (
        "registrar.c", "an ID is free before its leave is in the log",
        """		ledger_leave(r->state, m->id, change.said);
		mailbox_absent(r->mailbox, m->id);
		ledger_free(r->state, m->id);
""",
        """		r->state->members[m->id].taken = 0;
		state_point();
		r->state->members[m->id].taken = 1;
		ledger_leave(r->state, m->id, change.said);
		mailbox_absent(r->mailbox, m->id);
		ledger_free(r->state, m->id);
"""),
    "told_before_logged": (
        "registrar.c", "workers are told of a join before it is in the log",
        """		ledger_join(r->state, m->id);
""",
        """		change.kind = MESSAGE_JOINED;
		registrar_tell(r, &change);
		for (unsigned i = 0; i < 40; i++)
			state_point();
		ledger_join(r->state, m->id);
"""),
    "closed_before_let_go": (
        "peer.c", "a socket is closed while the state names it",
        """	ledger_closing(w->shared->state, p->client.id);
	(void)close(p->sock);
""",
        """	(void)close(p->sock);
	ledger_closing(w->shared->state, p->client.id);
"""),
    "tagged_after_refusal": (
        "refusal.c", "a client is refused before its socket is tagged",
        """	refusal_tag(sock);
	/* A client that is gone need not know. */
	(void)send(sock, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL);
""",
        """	(void)send(sock, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL);
	refusal_tag(sock);
"""),
    "stranger_seated": (
        "seating.c", "an ID is given to a peer whom strangers could ring",
        "	return !(search->s->barred[id / VIEW_WORD_BITS] >> (id % VIEW_WORD_BITS) & 1);",
        "	return true;"),
    "kept_forgotten": (
        "door.c", "an ID that is kept for somebody is given to anybody",
        """	seating_keep(&d->seating, rules_binds(d->rules));
	return 0;
}

void door_destroy""",
        """	return 0;
}

void door_destroy"""),
    "broken_rules_count": (
        "door.c", "a file of rules counts that could not be read to its end",
        "	if (err || *sockets)\n		return err;",
        "	if (*sockets)\n		return err;"),
    "present_not_counted": (
        "door.c", "a successor does not count whom it found towards their users' quotas",
        "			admit_known(&d->admit, state->members[id].uid);",
        "			continue;"),
    "quota_not_given_back": (
        "registrar.c", "who has left counts towards its user's quota for ever",
        "		door_left(&r->door, r->state->members[m->id].uid);\n",
        ""),
    "answer_not_looked_for": (
        "mail_resume.c", "a successor answers again what was answered",
        "		state_mail_apply(state, nth);\n	else\n		state_mail_forget(state, nth);",
        "		state_mail_forget(state, nth);\n	else\n		state_mail_forget(state, nth);"),
    "answer_believed": (
        "mail_resume.c", "a successor takes an answer for said that was only begun",
        "			famez_tx_published(m->base, m->g, id, m->g->server_id, tx_from)))",
        "			true))"),
    "settled_late": (
        "mail_hear.c", "what was said is given back before it is written down that it was heard",
        """		m->unsettled = NULL;
		mail_settle(m, p, p->rx.at + p->rx.size);
		famez_inbox_release(&m->reader, &p->rx);
""",
        """		m->unsettled = NULL;
		famez_inbox_release(&m->reader, &p->rx);
		for (unsigned i = 0; i < 40; i++)
			state_point();
		mail_settle(m, p, p->rx.at);
"""),
    "members_forgotten": (
        "mail.c", "a successor does not count which workers have members of a group",
        "	groups_recount(shared);\n",
        ""),
    "pause_forgotten": (
        "keeper.c", "a broker that keeps dying is started again at once",
        "	s->pause_ns = s->pause_ns ? 2 * s->pause_ns : PAUSE_FIRST_NS;",
        "	s->pause_ns = 0;"),
    "checker_not_heard": (
        "keeper.c", "a program takes over that has said that it can't",
        "	if (WIFEXITED(status) && WEXITSTATUS(status) == HANDOVER_CHECK_FINE)",
        "	if (WIFEXITED(status))"),
    "not_rolled_back": (
        "keeper.c", "a program that does not come to serve is kept",
        "	if (s->k->handed.old.fd >= 0 && s->stillborn >= STILLBORN_PROBATION)",
        "	if (0)"),
    "handed_over_alive": (
        "keeper.c", "the program is changed while its broker lives",
        """		(void)kill(s->broker, SIGKILL);
		while (waitpid(s->broker, NULL, 0) < 0 && errno == EINTR)
			;
""",
        ""),
    "left_unreaped": (
        "keeper.c", "who died under the program before is not reaped",
        ", .reap_ns = 1};",
        "};"),
    "unheard_of": (
        "keeper.c", "that a broker serves is believed to be said by the signal alone",
        "	if (!s->broker || s->served_ns || live->ready != live->births)",
        "	(void)live;\n	if (!s->broker || s->served_ns)"),
    "watchdog_left_on": (
        "keeper.c", "the watchdog still looks at a broker that was killed for an upgrade",
        "		s->broker = 0;\n		watchdog_end(&s->watchdog);\n	}\n",
        "		s->broker = 0;\n	}\n"),
    "killed_again": (
        "keeper.c", "who is late is killed over and over until it is heard of",
        "		s->check_by_ns = 0;\n",
        ""),
    "serving_unheard": (
        "keeper.c", "a broker is killed that came to serve while the keeper slept",
        "		on_serving(s); /* it may have said so while we slept */\n",
        ""),
    "stopped_ended": (
        "watchdog.c", "a broker that is stopped counts as one that hangs",
        "missing >= 0 && is_stopped(broker)",
        "missing >= 0 && is_stopped(broker) && false"),
    "worker_unwatched": (
        "watchdog.c", "nobody looks whether the last worker answers",
        "	for (unsigned w = 0; w < s->head->wish.workers; w++)\n",
        "	for (unsigned w = 0; w + 1 < s->head->wish.workers; w++)\n"),
    "abort_believed": (
        "watchdog.c", "a broker that does not die of SIGABRT is left alone",
        "		return WATCHDOG_KILL;\n",
        "		return WATCHDOG_WAIT;\n"),
    "rate_forgotten": (
        "admit.c", "a successor does not know how often a second users have joined",
        "		users[i].peers = 0;\n",
        "		users[i] = (struct admit_user){0};\n"),
    "gone_not_found": (
        "sweep.c", "who came by an ID's own socket that is no more is not found by a successor",
        "		*own = GATES_GONE;\n",
        "		return false;\n"),
    "own_forgotten": (
        "registrar.c", "who comes by an ID's own socket counts as anybody",
        "		port->own = gates->gate[n].id;\n",
        "		port->own = GATES_NOBODY;\n"),
    "ring_lost": (
        "mail_peers.c", "who is to be rung while its doorbell is written to is not rung again",
        "		p->ring_again = true;\n",
        ""),
    "finish_forgotten": (
        "recover.c", "a successor does not put into the log whose opening is over",
        """		if (how == RECOVER_RESUME && view_opened(&view) && !ledger_present(s, id)) {
""",
        """		if (0) {
"""),
}


def main(arguments):
    if arguments == ["--list"]:
        for name, (file, what, _, _) in MUTATIONS.items():
            print(f"{name}\t{file}\t{what}")
        return
    name, broker, output = arguments
    file, _, old, new = MUTATIONS[name]
    with open(f"{broker}/{file}", encoding="utf-8") as source:
        text = source.read()
    if text.count(old) != 1:
        # Then the simulation notices nothing, and run.sh fails; the build does not.
        print(f"mutate.py: {name}: {file} has its place {text.count(old)} times, want once")
    with open(output, "w", encoding="utf-8") as target:
        target.write(f'#line 1 "{broker}/{file}"\n' + (text.replace(old, new) if text.count(old) == 1 else text))


main(sys.argv[1:])
