/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - how the program ends, and how every command does.
 */
#ifndef CLIENT_OUTCOME_H
#define CLIENT_OUTCOME_H

enum outcome {
	OUTCOME_OK = 0,
	OUTCOME_FAILED = 1,
	OUTCOME_USAGE = 2,
	OUTCOME_NOT_JOINED = 3,
	OUTCOME_TIMED_OUT = 4,
	OUTCOME_QUIT, /* a command's only: no more commands */
};

#endif
