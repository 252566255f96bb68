/* SPDX-License-Identifier: MIT */
/*
 * orders.h - what the operator and the keeper ask of the registrar by signals: to end, to read its
 * files again, to report, to say that it turns.
 *
 * The registrar's thread, in its turn.
 */
#ifndef ORDERS_H
#define ORDERS_H

#include "registrar.h"

/** orders_take() - what came since the last turn. Sets r->stop, r->report_wanted and the like. */
void orders_take(struct registrar *r);

/** orders_report() - begin a report: none is under way, and every worker has room for an event. */
void orders_report(struct registrar *r);

/** orders_reported() - a worker has filled in its part of it. */
void orders_reported(struct registrar *r);

/** orders_over() - has something ended that is not noted as done? */
bool orders_over(const struct registrar *r);

/** orders_note() - note it. */
void orders_note(struct registrar *r);

#endif
