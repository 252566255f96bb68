/* SPDX-License-Identifier: MIT */
/*
 * figures.c - numbers as people read them, and a distribution as rows of bars.
 *
 * Works on standard output only, and within 80 columns. Decides nothing.
 */
#include "figures.h"

#include <assert.h>
#include <inttypes.h>
#include <langinfo.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ROWS     14
#define BAR      23
#define WAYS_MAX 2

struct figures_text figures_grouped(uint64_t n)
{
	struct figures_text out;
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out.s[at++] = ',';
		out.s[at++] = digits[i];
	}
	out.s[at] = '\0';
	return out;
}

struct figures_text figures_three(double value)
{
	struct figures_text out;
	int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;

	if (value >= 999.5)
		return figures_grouped((uint64_t)llround(value));
	(void)snprintf(out.s, sizeof(out.s), "%.*f", decimals, value);
	return out;
}

struct figures_text figures_duration(uint64_t ns)
{
	double value = (double)ns;
	const char *unit = "s";
	struct figures_text out;

	if (value < 1e6) {
		value /= 1e3;
		unit = "us";
	} else if (value < 1e9) {
		value /= 1e6;
		unit = "ms";
	} else {
		value /= 1e9;
	}
	(void)snprintf(out.s, sizeof(out.s), "%.20s %s", figures_three(value).s, unit);
	return out;
}

/* In eighths where the terminal can show them. */
void figures_bar(double share, int columns)
{
	static const char *const EIGHTHS[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	int eighths = (int)lround(share * columns * 8), whole = eighths / 8;
	bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;

	if (share > 0 && eighths == 0)
		eighths = 1; /* seen is seen */
	for (int i = 0; i < whole; i++)
		fputs(utf8 ? "█" : "#", stdout);
	if (eighths % 8) {
		fputs(utf8 ? EIGHTHS[eighths % 8] : eighths % 8 >= 4 ? "#" : ".", stdout);
		whole++;
	}
	printf("%*s", columns - whole, "");
}

static void row_of_names(const char *const *names, unsigned count)
{
	printf("\n  %10s   %-*s", "us from", count > 1 ? BAR + 1 : 0, names[0]);
	if (count > 1)
		printf("%9s%-*s", "", BAR, names[1]);
	printf("\n");
}

void figures_rows(const struct histogram *const *ways, const char *const *names, unsigned count)
{
	uint64_t counts[WAYS_MAX][ROWS] = {0};
	double low = INFINITY, high = 0, most = 0, step;

	assert(count >= 1 && count <= WAYS_MAX);
	for (unsigned way = 0; way < count; way++) {
		low = fmin(low, (double)histogram_quantile(ways[way], 0.001));
		high = fmax(high, (double)histogram_quantile(ways[way], 0.999));
	}
	step = fmax(log(high / low) / ROWS, 1e-6);
	for (unsigned way = 0; way < count; way++) {
		const struct histogram *h = ways[way];

		for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
			double row;

			if (h->buckets[b] == 0)
				continue;
			row = floor(log(fmax((double)histogram_bucket_low(b), 1) / low) / step);
			counts[way][(int)fmin(fmax(row, 0), ROWS - 1)] += h->buckets[b];
		}
		for (int row = 0; row < ROWS; row++)
			most = fmax(most, (double)counts[way][row] / (double)h->count);
	}
	row_of_names(names, count);
	for (int row = 0; row < ROWS; row++) {
		printf("  %10s  ", row == 0 ? "0" : figures_three(low * exp(step * row) / 1e3).s);
		for (unsigned way = 0; way < count; way++) {
			double share = (double)counts[way][row] / (double)ways[way]->count;

			printf(" ");
			figures_bar(share / most, BAR);
			if (share > 0)
				printf(share < 0.99995 ? " %5.2f %%" : " %5.1f %%", share * 100);
			else
				printf(" %7s", "");
			printf(" ");
		}
		printf("\n");
	}
}
