/* SPDX-License-Identifier: MIT */
/*
 * why.h - one clear line that says what was wrong and what would be right.
 *
 * Modules that face the user at start return -errno and leave the line here; main()
 * prints it.
 */
#ifndef WHY_H
#define WHY_H

struct why {
	char text[512];
};

/** why_fail() - write the line, and return @err. */
__attribute__((format(printf, 3, 4))) int why_fail(
	struct why *why, int err, const char *format, ...);

#endif
