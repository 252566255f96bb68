/* SPDX-License-Identifier: MIT */
/*
 * log_line.h - how a line of the log looks: key=value or JSON, always one line, always printable.
 */
#ifndef LOG_LINE_H
#define LOG_LINE_H

#include "log.h"

struct log_kind {
	const char *name;
	enum log_level level;
	bool flood; /* a client can cause it at will */
};

/* By enum log_event. */
extern const struct log_kind log_kinds[];

/** log_format() - the line of an event, of @bytes at most, with its newline. Returns its length. */
size_t log_format(char *line, size_t bytes, bool json, uint64_t time_ns, enum log_event event,
	const struct log_field *fields);

#endif
