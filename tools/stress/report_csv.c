/* SPDX-License-Identifier: MIT */
/*
 * report_csv.c - the measured series, one line each, for a spreadsheet.
 */
#include <errno.h>
#include <stdlib.h>

#include "crew.h"
#include "report.h"

static const double QUANTILES[] = {0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
#define QUANTILE_COUNT (sizeof(QUANTILES) / sizeof(QUANTILES[0]))

/* Names are ours, and have commas: quoted. No quote is in them. */
static void row(FILE *file, const struct report *r, const char *name, const char *unit,
	const struct board_series *s, const struct histogram *h)
{
	fprintf(file, "%s,%u,%u,%u,\"%s\",%s,%llu,%llu,%llu,%.6f", r->options->scenario->name,
		r->options->peers, r->board->vectors, r->board->processes, name, unit,
		(unsigned long long)(s ? s->sent : h->count),
		(unsigned long long)(s ? s->heard : h->count),
		(unsigned long long)(s ? s->bytes : 0),
		s && s->ns ? (double)s->counted * 1e9 / (double)s->ns : 0.0);
	for (size_t q = 0; q < QUANTILE_COUNT; q++)
		fprintf(file, ",%llu", (unsigned long long)histogram_quantile(h, QUANTILES[q]));
	fputs("\n", file);
}

int report_csv(const struct report *r, FILE *file)
{
	struct board_series *s = malloc(sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	fputs("scenario,peers,vectors,processes,series,unit,sent,heard,payload_bytes,per_second,"
	      "min_ns,p50_ns,p90_ns,p99_ns,p99.9_ns,p99.99_ns,max_ns\n",
		file);
	if (r->board->trips.rounds) {
		row(file, r, "round trip, through FAME-Z", "doorbells", NULL,
			&r->board->trips.ways[BOARD_FABRIC]);
		row(file, r, "round trip, raw eventfd", "doorbells", NULL,
			&r->board->trips.ways[BOARD_RAW]);
	}
	if (r->board->guests.trips.count)
		row(file, r, "round trip, to a real VM", "doorbells", NULL,
			&r->board->guests.trips);
	for (unsigned k = 0; report_series(r, k, s); k++) {
		char name[64];

		row(file, r, s->name, s->unit, s, &s->latency);
		(void)snprintf(name, sizeof(name), "%s, real VM", s->name);
		if (report_guests(r, k, s))
			row(file, r, name, s->unit, s, &s->latency);
	}
	free(s);
	return ferror(file) || fflush(file) ? -errno : 0;
}
