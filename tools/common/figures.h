/* SPDX-License-Identifier: MIT */
/*
 * figures.h - numbers as people read them, and a distribution as rows of bars. See figures.c.
 */
#ifndef TOOLS_FIGURES_H
#define TOOLS_FIGURES_H

#include "histogram.h"

#include <stdint.h>

struct figures_text {
	char s[32];
};

/** figures_grouped() - 1234567 as 1,234,567. */
struct figures_text figures_grouped(uint64_t n);

/** figures_three() - three significant digits, or all that are before the point. */
struct figures_text figures_three(double value);

/** figures_duration() - nanoseconds as us, ms or s. */
struct figures_text figures_duration(uint64_t ns);

/** figures_bar() - print a bar for a share (0..1) of so many columns, padded to these. */
void figures_bar(double share, int columns);

/** figures_rows() - print one or two histograms of nanoseconds side by side, as rows of equal
 * ratio from the 0.1 % to the 99.9 % quantile; what is outside goes into the first and the last
 * row. None may be empty. */
void figures_rows(const struct histogram *const *ways, const char *const *names, unsigned count);

#endif
