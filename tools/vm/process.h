/* SPDX-License-Identifier: MIT */
/*
 * process.h - the programs that famez-vm runs: started so that none outlives it, and ended.
 */
#ifndef VM_PROCESS_H
#define VM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** How to start one. Zero every field you don't set. */
struct process {
	char *const *argv;  /* argv[0]: a path, or a name that is looked for in $PATH */
	const char *folder; /* NULL: ours */
	const char *notify; /* its NOTIFY_SOCKET; NULL: none */
	int output;         /* its standard output and error; 0: ours */
	int input;          /* 0: /dev/null */
	int keep;           /* these two descriptors it has besides; 0: none */
	int keep_too;
	bool apart; /* in a group of its own: ^C at the terminal is not for it */
};

/** process_start() - its process ID, or -errno. It gets SIGTERM when we die. */
pid_t process_start(const struct process *how);

/** process_run() - start it and wait. Returns its exit code, 128 + the signal that ended it, or
 * -errno. */
int process_run(const struct process *how);

/** process_end() - SIGTERM, and SIGKILL when that is not enough; it is waited for. */
void process_end(pid_t pid, unsigned patience_ms);

/** process_code() - of a status as waitpid(2) gives it. */
int process_code(int status);

/** process_path() - where a program is: beside our own, a folder of the build, or in $PATH.
 * Returns @to, or NULL. @build: where the build puts it, from where it put us. */
const char *process_path(const char *name, const char *build, char *to, size_t bytes);

/** now_ms() - a clock that only goes forward. */
int64_t now_ms(void);

#endif
