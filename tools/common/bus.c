/* SPDX-License-Identifier: MIT */
/*
 * bus.c - the end by SIGBUS, in words.
 *
 * A shared memory with a name can lose its pages: it is cut, or the file system where it lies is
 * full when a page is touched for the first time. A guest's device can be unplugged. Nothing can be
 * done about it then, but a user should not be left with "Bus error".
 */
#include "bus.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *who;

static void put(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
}

static void on_bus(int number, siginfo_t *info, void *context)
{
	(void)context;
	/* Sent by somebody, or another fault: what would have happened without us. */
	if (info->si_code != BUS_ADRERR) {
		(void)signal(number, SIG_DFL);
		(void)raise(number);
		return;
	}
	put(who);
	put(": the shared memory has lost pages: its file was cut, the file system where it lies "
	    "is full, or the device is gone\n");
	_exit(EXIT_FAILURE);
}

void bus_explain(const char *program)
{
	struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};

	who = program;
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, NULL); /* fails for wrong arguments only */
}
