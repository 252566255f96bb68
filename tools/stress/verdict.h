/* SPDX-License-Identifier: MIT */
/*
 * verdict.h - how a run ended: the exit code and the one line that says why.
 *
 * Every module that can end a run is handed the verdict, fills it in once, and
 * returns -1; only main.c prints it. The first reason given stays.
 */
#ifndef STRESS_VERDICT_H
#define STRESS_VERDICT_H

enum verdict_code {
	VERDICT_FINE = 0,        /* nothing lost */
	VERDICT_LOST = 1,        /* lost or incomplete, or the run broke off */
	VERDICT_USAGE = 2,       /* wrong options */
	VERDICT_NOT_JOINED = 3,  /* the server let us in not at all, or not all of us */
	VERDICT_DESCRIPTORS = 4, /* this process may not open what the run needs */
};

struct verdict {
	enum verdict_code code;
	char why[400];
};

/* Always returns -1. */
int verdict_give(struct verdict *v, enum verdict_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
