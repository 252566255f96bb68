/* SPDX-License-Identifier: MIT */
/*
 * report.c - what a run found, for people.
 *
 * Measures nothing, decides nothing. Lines stay within 80 columns.
 */
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "figures.h"

static void line(const char *what, uint64_t count, const char *of, uint64_t ns, const char *remark)
{
	printf("  %-11s%10s %-17s%9s   %s\n", what, figures_grouped(count).s, of,
		ns ? figures_duration(ns).s : "", remark);
	(void)fflush(stdout);
}

void report_head(const struct report *r)
{
	const struct options *o = r->options;
	const struct host *h = r->host;
	char lines[REPORT_METHOD_MAX][96];
	unsigned count = report_method(r, lines);

	printf("famez-stress %s: %u emulated VM%s at %s, seed %" PRIu64 "\n", o->scenario->name,
		o->peers, o->peers == 1 ? "" : "s",
		o->sockets_count ? o->sockets[0] : "a broker of its own", o->seed);
	printf("  %-9s %.36s, %u CPU%s, %.0f GiB%s\n", "machine", h->cpu, h->cpus,
		h->cpus == 1 ? "" : "s", (double)h->memory_bytes / (1u << 30),
		h->virtual_machine ? ", virtual" : "");
	printf("  %-9s %.24s, %.30s, %.10s\n", "system", h->kernel, h->system, h->clock);
	printf("  %-9s famez-stress %s%s%.40s\n", "versions", FAMEZ_VERSION,
		r->server_version[0] ? ", " : "", r->server_version);
	for (unsigned k = 0; k < count; k++)
		printf("  %-9s %s\n", k ? "" : "method", lines[k]);
	printf("\n");
	(void)fflush(stdout);
}

/* From the first connection of the storm to the last vector known, of all processes. */
static uint64_t mesh_ns(const struct report *r)
{
	uint64_t begun = UINT64_MAX, last = 0;

	for (unsigned p = 0; p < r->board->processes; p++) {
		const struct board_process *of = &r->board->process[p];

		begun = of->begun_ns && of->begun_ns < begun ? of->begun_ns : begun;
		last = of->last_notice_ns > last ? of->last_notice_ns : last;
	}
	return last > begun ? last - begun : 0;
}

static void merge_joins(const struct report *r, struct histogram *joined, struct histogram *opened)
{
	histogram_init(joined);
	histogram_init(opened);
	for (unsigned p = 0; p < r->board->processes; p++) {
		histogram_merge(joined, &r->board->process[p].joined_ns);
		histogram_merge(opened, &r->board->process[p].opened_ns);
	}
}

static const char *quantiles(const struct histogram *h, char *text, size_t bytes)
{
	(void)snprintf(text, bytes, "p50 %s, p99 %s",
		figures_duration(histogram_quantile(h, 0.5)).s,
		figures_duration(histogram_quantile(h, 0.99)).s);
	return text;
}

void report_mesh(const struct report *r)
{
	static struct histogram joined, opened;
	const struct board *b = r->board;
	uint64_t ns = mesh_ns(r), notices = 0;
	char remark[96];

	merge_joins(r, &joined, &opened);
	if (b->guests.count)
		line("booted", b->guests.count, b->guests.count == 1 ? "real VM" : "real VMs",
			b->guests.boot_ns, b->guests.what);
	for (unsigned p = 0; p < b->processes; p++)
		notices += b->process[p].mesh_notices;
	line("joined", b->peers, b->peers == 1 ? "VM" : "VMs", histogram_quantile(&joined, 1),
		quantiles(&joined, remark, sizeof(remark)));
	line("ready", (uint64_t)b->peers * b->vectors, "own vectors",
		histogram_quantile(&opened, 1), quantiles(&opened, remark, sizeof(remark)));
	(void)snprintf(remark, sizeof(remark), "%s notices a second",
		figures_grouped(ns ? (uint64_t)((double)notices * 1e9 / (double)ns) : 0).s);
	line("full mesh", (uint64_t)b->peers * b->peers * b->vectors, "vectors known", ns, remark);
}

void report_round(const struct report *r)
{
	const struct board *b = r->board;
	uint64_t checked = 0, rung = 0;
	unsigned copies = 0;
	char remark[96];

	for (unsigned p = 0; p < b->processes; p++) {
		checked += b->process[p].copies_checked;
		rung += b->process[p].rung;
		copies += b->process[p].copies;
	}
	(void)snprintf(remark, sizeof(remark), "%u cop%s of each eventfd", copies,
		copies == 1 ? "y" : "ies");
	line("checked", checked, "rung, arrived", 0, remark);
	if (b->rounds == 0)
		(void)snprintf(remark, sizeof(remark), "every pair, every vector");
	else
		(void)snprintf(remark, sizeof(remark), "%u random matchings", b->rounds);
	line("doorbells", rung, "rung, arrived", b->process[0].round_ns, remark);
}

static const char *const WAY_NAMES[BOARD_WAYS] = {
	[BOARD_FABRIC] = "through FAME-Z",
	[BOARD_RAW] = "raw eventfd",
};

static const double QUANTILES[] = {0.5, 0.99, 0.999, 1.0};
#define QUANTILE_COUNT (sizeof(QUANTILES) / sizeof(QUANTILES[0]))

static void print_trips(const struct report *r)
{
	const struct board_trips *t = &r->board->trips;
	const struct histogram *ways[BOARD_WAYS];

	if (t->cpus[0] == t->cpus[1])
		printf("\n  Doorbell round trip, both sides sleeping, both on CPU %d, in us\n\n",
			t->cpus[0]);
	else
		printf("\n  Doorbell round trip, both sides sleeping, on CPUs %d and %d, in us\n\n",
			t->cpus[0], t->cpus[1]);
	printf("  %-16s%10s%10s%10s%10s%15s\n", "", "p50", "p99", "p99.9", "max", "round trips");
	for (int way = 0; way < BOARD_WAYS; way++) {
		ways[way] = &t->ways[way];
		printf("  %-16s", WAY_NAMES[way]);
		for (size_t q = 0; q < QUANTILE_COUNT; q++)
			printf("%10s",
				figures_three(
					(double)histogram_quantile(ways[way], QUANTILES[q]) / 1e3)
					.s);
		printf("%15s\n", figures_grouped(ways[way]->count).s);
	}
	if (r->board->guests.trips.count) {
		const struct histogram *h = &r->board->guests.trips;

		printf("  %-16s", "to a real VM");
		for (size_t q = 0; q < QUANTILE_COUNT; q++)
			printf("%10s",
				figures_three((double)histogram_quantile(h, QUANTILES[q]) / 1e3).s);
		printf("%15s\n", figures_grouped(h->count).s);
	}
	printf("  %-16s%10.3f   of the p50; the median of %u rounds\n", "ratio",
		report_trips_ratio(r), t->rounds);
	figures_rows(ways, WAY_NAMES, BOARD_WAYS);
}

static void print_share(const struct report *r)
{
	double ns[BOARD_WAYS], share = report_share(r, ns);

	if (share > 0)
		printf("\n  CPU a doorbell: %.0f ns, a bare loop's: %.0f ns; ratio %.3f (%u "
		       "rounds)\n",
			ns[BOARD_FABRIC], ns[BOARD_RAW], share, r->board->share.rounds);
}

/* One line of two: emulated VMs among themselves, and what had a real one at an end. */
static void print_beside(const char *who, const struct board_series *s)
{
	double seconds = (double)s->ns / 1e9,
	       each = s->heard ? (double)s->bytes / (double)s->heard : 0;
	double rate = s->ns ? (double)s->counted / seconds : 0;

	printf("    %-11s%11s%8s%11s%8s", who, figures_grouped(s->heard).s,
		figures_grouped(s->sent - s->heard).s, s->ns ? figures_three(rate).s : "-",
		s->bytes ? figures_three(rate * each / 1e6).s : "-");
	for (size_t q = 0; q < 3; q++)
		printf("%9s",
			s->latency.count
				? figures_duration(histogram_quantile(&s->latency, QUANTILES[q])).s
				: "-");
	printf("\n");
}

/* Emulated and real, side by side. */
static void print_guests(const struct report *r)
{
	static struct board_series s;

	printf("\n  %-13s%11s%8s%11s%8s%9s%9s%9s\n", "", "accounted", "lost", "a second", "MB/s",
		"p50", "p99", "p99.9");
	for (unsigned k = 0; report_series(r, k, &s); k++) {
		printf("  %s\n", s.name);
		print_beside("emulated", &s);
		if (report_guests(r, k, &s))
			print_beside("real VM", &s);
	}
}

static void print_series_head(void)
{
	printf("\n  %-18s%11s%10s%7s%8s%8s%8s%8s\n", "", "accounted", "a second", "MB/s", "p50",
		"p99", "p99.9", "max");
}

static void print_series(const struct board_series *s)
{
	double seconds = (double)s->ns / 1e9,
	       each = s->heard ? (double)s->bytes / (double)s->heard : 0;
	double rate = s->ns ? (double)s->counted / seconds : 0;

	printf("  %-18.18s%11s%10s%7s", s->name, figures_grouped(s->heard).s,
		s->ns ? figures_three(rate).s : "",
		s->bytes ? figures_three(rate * each / 1e6).s : "");
	for (size_t q = 0; q < QUANTILE_COUNT; q++)
		printf("%8s",
			s->latency.count
				? figures_duration(histogram_quantile(&s->latency, QUANTILES[q])).s
				: "-");
	printf("\n");
}

static void print_server(const struct report *r)
{
	const struct server_use *before = &r->watch->before, *after = &r->watch->after;
	double seconds = (double)r->watch->seen_ns / 1e9;

	if (after->processes == 0 || r->watch->seen_ns == 0)
		return;
	printf("\n  broker: %.2f s of CPU in all, %.2f s (%.1f %%) since the mesh; %.1f MiB at "
	       "most\n",
		(double)after->cpu_ns / 1e9, (double)(after->cpu_ns - before->cpu_ns) / 1e9,
		seconds > 0 ? (double)(after->cpu_ns - before->cpu_ns) / 1e7 / seconds : 0.0,
		(double)r->watch->memory_max_bytes / 1048576);
}

/* The distribution of the last series that has one; beside it none: they are of other things. */
static void print_rows(const struct report *r)
{
	static struct board_series s;
	const struct histogram *one = &s.latency;
	unsigned last = BOARD_SERIES_MAX;

	for (unsigned k = 0; report_series(r, k, &s); k++)
		if (s.latency.count)
			last = k;
	if (last == BOARD_SERIES_MAX || !report_series(r, last, &s))
		return;
	figures_rows(&one, (const char *const[]){s.name}, 1);
}

void report_end(const struct report *r)
{
	static struct board_series s;
	struct board_sums sums = board_sum(r->board);
	bool head = false;

	if (r->board->trips.rounds)
		print_trips(r);
	print_share(r);
	if (r->board->guests.count && report_series(r, 0, &s))
		print_guests(r);
	for (unsigned k = 0; r->board->guests.count == 0 && report_series(r, k, &s); k++) {
		if (!head)
			print_series_head();
		head = true;
		print_series(&s);
	}
	if (head && r->board->trips.rounds == 0)
		print_rows(r);
	print_server(r);
	if (sums.sent)
		printf("\n  %s: %s sent, %s heard, %s unaccounted\n",
			r->verdict->code ? "NOT all accounted for" : "all accounted for",
			figures_grouped(sums.sent).s, figures_grouped(sums.heard).s,
			figures_grouped(sums.sent - sums.heard + sums.strays).s);
	(void)fflush(stdout);
}
