/* SPDX-License-Identifier: MIT */
/*
 * report_svg.c - the latencies of a run as a plot: a curve of quantiles for each series.
 *
 * Across, the share of all that took at most so long, in nines: 50 %, 90 %, 99 % and so on are
 * equally far apart, so that the tail is as wide as the rest. Up, the time, by powers of ten.
 * Drawn by hand: one kind of picture, which needs neither gnuplot where the tool is installed
 * nor a library whose smallest part is what we use.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "crew.h"
#include "figures.h"
#include "report.h"

#define WIDTH  800
#define HEIGHT 460
#define LEFT   70.0
#define RIGHT  560.0
#define TOP    50.0
#define BOTTOM 400.0

/* Points of a curve, and its nines at most: one in ten thousand, as there are seldom more. */
#define POINTS 200
#define NINES  4.0

/* Told apart by the colour-blind, too (Okabe and Ito). */
static const char *const COLOURS[] = {
	"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"};
#define COLOUR_COUNT (sizeof(COLOURS) / sizeof(COLOURS[0]))

struct frame {
	FILE *file;
	double low, high; /* decades of nanoseconds */
	unsigned curves;
};

static double x_of(double nines)
{
	return LEFT + (RIGHT - LEFT) * nines / NINES;
}

static double y_of(const struct frame *f, double ns)
{
	return BOTTOM - (BOTTOM - TOP) * (log10(fmax(ns, 1)) - f->low) / (f->high - f->low);
}

static void text(const struct frame *f, double x, double y, const char *anchor, const char *words)
{
	fprintf(f->file, "<text x='%.1f' y='%.1f' text-anchor='%s'>%s</text>\n", x, y, anchor,
		words);
}

static void axes(const struct frame *f, const struct report *r)
{
	static const char *const SHARES[] = {"0", "90 %", "99 %", "99.9 %", "99.99 %"};
	char title[160];

	fprintf(f->file,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
		"viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n"
		"<rect width='100%%' height='100%%' fill='#fff'/>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	(void)snprintf(title, sizeof(title), "famez-stress %s: %u VMs x %u vectors, %s",
		r->options->scenario->name, r->options->peers, r->board->vectors,
		r->options->rate > 0 ? "open loop" : "closed loop");
	text(f, LEFT, 24, "start", title);
	for (int n = 0; n <= (int)NINES; n++) {
		fprintf(f->file, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>\n",
			x_of(n), TOP, x_of(n), BOTTOM);
		text(f, x_of(n), BOTTOM + 18, "middle", SHARES[n]);
	}
	for (int d = (int)f->low; d <= (int)f->high; d++) {
		double y = y_of(f, pow(10, d));

		fprintf(f->file, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>\n",
			LEFT, y, RIGHT, y);
		text(f, LEFT - 6, y + 4, "end", figures_duration((uint64_t)pow(10, d)).s);
	}
	text(f, (LEFT + RIGHT) / 2, BOTTOM + 40, "middle", "share that took at most so long");
}

static void curve(struct frame *f, const char *name, const struct histogram *h)
{
	const char *colour = COLOURS[f->curves % COLOUR_COUNT];
	double most = fmin(NINES, log10((double)h->count));
	double y = TOP + 16.0 * f->curves;

	fprintf(f->file, "<polyline fill='none' stroke='%s' stroke-width='1.5' points='", colour);
	for (int i = 0; i <= POINTS; i++) {
		double nines = most * i / POINTS;

		fprintf(f->file, "%.1f,%.1f ", x_of(nines),
			y_of(f, (double)histogram_quantile(h, 1 - pow(10, -nines))));
	}
	fprintf(f->file, "'/>\n<rect x='%.1f' y='%.1f' width='12' height='3' fill='%s'/>\n",
		RIGHT + 20, y, colour);
	text(f, RIGHT + 38, y + 6, "start", name);
	f->curves++;
}

static void widen(struct frame *f, const struct histogram *h)
{
	if (h->count == 0)
		return;
	f->low = fmin(f->low, floor(log10(fmax((double)h->min, 1))));
	f->high = fmax(f->high, ceil(log10(fmax((double)h->max, 10))));
}

int report_svg(const struct report *r, FILE *file)
{
	static const char *const WAYS[BOARD_WAYS] = {
		"round trip, through FAME-Z", "round trip, raw eventfd"};
	struct board_series *s = malloc(sizeof(*s));
	struct frame f = {.file = file, .low = 12, .high = 0};
	const struct board_trips *t = &r->board->trips;

	if (s == NULL)
		return -ENOMEM;
	for (int way = 0; t->rounds && way < BOARD_WAYS; way++)
		widen(&f, &t->ways[way]);
	for (unsigned k = 0; report_series(r, k, s); k++)
		widen(&f, &s->latency);
	if (f.low >= f.high) { /* nothing was measured */
		f.low = 3;
		f.high = 9;
	}
	axes(&f, r);
	for (int way = 0; t->rounds && way < BOARD_WAYS; way++)
		curve(&f, WAYS[way], &t->ways[way]);
	for (unsigned k = 0; report_series(r, k, s); k++)
		if (s->latency.count)
			curve(&f, s->name, &s->latency);
	fputs("</svg>\n", file);
	free(s);
	return ferror(file) || fflush(file) ? -errno : 0;
}
