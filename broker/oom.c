/* SPDX-License-Identifier: MIT */
/*
 * oom.c - oom_score_adj of the keeper and of its broker; proc_pid_oom_score_adj(5).
 */
#include "oom.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "sys.h"

/* In thousandths of the memory that there is; below OOM_LEAST there is nothing. */
#define OOM_LOWER 100
#define OOM_RAISE 1
#define OOM_LEAST (-1000)
#define OOM_MOST  1000

#define PLACE "/proc/self/oom_score_adj"

static int started_with;
static bool known, lowered;

static bool look_up(int *score)
{
	char text[16] = "", *end;
	int fd = open(PLACE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		(void)close(fd);
	*score = (int)strtol(text, &end, 10);
	return n > 0 && end > text;
}

static bool set(int score)
{
	int fd = open(PLACE, O_WRONLY | O_CLOEXEC);
	char text[16];
	int bytes = snprintf(text, sizeof(text), "%d", score);
	ssize_t n = fd < 0 ? -1 : write(fd, text, (size_t)bytes);

	if (fd >= 0)
		(void)close(fd);
	return n == bytes;
}

void oom_keep(void)
{
	int low;

	known = look_up(&started_with);
	low = started_with - OOM_LOWER;
	lowered = known && set(low < OOM_LEAST ? OOM_LEAST : low);
}

void oom_serve(void)
{
	int high = started_with + (lowered ? 0 : OOM_RAISE);

	if (known)
		(void)set(high > OOM_MOST ? OOM_MOST : high);
}

void oom_as_before(void)
{
	if (lowered)
		(void)set(started_with);
}
