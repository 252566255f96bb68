/* SPDX-License-Identifier: MIT */
/*
 * report_sums.c - what the processes measured, added up; and how, in words.
 */
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "report.h"

static void add(struct board_series *sum, const struct board_series *s)
{
	if (s->name[0] == '\0')
		return; /* it did not come so far */
	sum->sent += s->sent;
	sum->heard += s->heard;
	sum->bytes += s->bytes;
	sum->counted += s->counted;
	sum->ns = s->ns > sum->ns ? s->ns : sum->ns;
	histogram_merge(&sum->latency, &s->latency);
}

bool report_series(const struct report *r, unsigned k, struct board_series *sum)
{
	const struct board *b = r->board;

	if (k >= BOARD_SERIES_MAX || b->process[0].series[k].name[0] == '\0')
		return false;
	*sum = b->process[0].series[k];
	for (unsigned p = 1; p < b->processes; p++)
		add(sum, &b->process[p].series[k]);
	return true;
}

bool report_guests(const struct report *r, unsigned k, struct board_series *sum)
{
	const struct board *b = r->board;

	if (b->guests.count == 0 || k >= BOARD_SERIES_MAX ||
		b->process[0].with_guests[k].name[0] == '\0')
		return false;
	*sum = b->process[0].with_guests[k];
	for (unsigned p = 1; p < board_places(b); p++)
		add(sum, &b->process[p].with_guests[k]);
	return sum->sent > 0 || sum->heard > 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_size);
	if (count == 0)
		return 0;
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double ratio_of(const uint64_t (*pairs)[BOARD_WAYS], unsigned count)
{
	static double ratios[BOARD_ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < count && i < BOARD_ROUNDS_MAX; i++)
		if (pairs[i][BOARD_RAW])
			ratios[n++] = (double)pairs[i][BOARD_FABRIC] / (double)pairs[i][BOARD_RAW];
	return median(ratios, n);
}

double report_trips_ratio(const struct report *r)
{
	return ratio_of(r->board->trips.p50_ns, r->board->trips.rounds);
}

double report_share(const struct report *r, double ns[BOARD_WAYS])
{
	static double values[BOARD_ROUNDS_MAX];
	const struct board_share *s = &r->board->share;

	if (s->rounds == 0 || s->doorbells == 0)
		return 0;
	for (int way = 0; way < BOARD_WAYS; way++) {
		for (unsigned i = 0; i < s->rounds; i++)
			values[i] = (double)s->ns[i][way] / s->doorbells;
		ns[way] = median(values, s->rounds);
	}
	return ratio_of(s->ns, s->rounds);
}

unsigned report_method(const struct report *r, char lines[REPORT_METHOD_MAX][96])
{
	const struct options *o = r->options;
	unsigned n = 0;

	(void)snprintf(lines[n++], sizeof(lines[0]),
		"%u process%s, one copy of each eventfd in each; over the real socket",
		r->board->processes, r->board->processes == 1 ? "" : "es");
	if (o->guests)
		(void)snprintf(lines[n++], sizeof(lines[0]), "%u real VM%s besides: QEMU%s%.50s",
			o->guests, o->guests == 1 ? "" : "s", r->board->guests.what[0] ? ", " : "",
			r->board->guests.what);
	if (o->hold || o->join_only || o->time_s <= 0)
		return n;
	if (o->rate > 0)
		(void)snprintf(lines[n++], sizeof(lines[0]),
			"open loop, %g a second in all; times count from when it was due", o->rate);
	else
		(void)snprintf(lines[n++], sizeof(lines[0]),
			"closed loop: the next one when the last was answered");
	(void)snprintf(lines[n++], sizeof(lines[0]),
		"%g s each after %g s of warm-up; 3 digits hold; each one checked", o->time_s,
		o->warm_up_s);
	return n;
}
