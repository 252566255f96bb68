/* SPDX-License-Identifier: MIT */
/*
 * boot.c - the guests of a run: famez-vm, which boots them, ends them, and says what they said.
 *
 * Owns one process and its outputs' pipe. Should we be killed, famez-vm is told by the kernel, and
 * its QEMUs by the kernel or by it. What guests say is only shown, in part, where something went
 * wrong.
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "progress.h"
#include "words.h"

/* famez-vm gives each of its guests 3 s at most; on a busy host it is slow itself. */
#define END_NS UINT64_C(60000000000)

static void become(const char *vm, const char *socket, const char *self, unsigned guests, int out)
{
	const char *name = strrchr(self, '/');
	char count[16], command[320];
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)snprintf(count, sizeof(count), "%u", guests);
	(void)snprintf(command, sizeof(command), "%s --agent /dev/famez0", name ? name + 1 : self);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)setpgid(0, 0); /* ^C is for us to pass on */
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)dup2(null, STDIN_FILENO);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(out, STDERR_FILENO);
	execlp(vm, vm, "run", "-S", socket, "-N", count, "--program", self, "--exec", command,
		(char *)NULL);
	dprintf(STDERR_FILENO, "famez-vm: cannot be run: %s\n", strerror(errno));
	_exit(127);
}

int boot_start(struct boot *b, const char *socket, unsigned guests, struct verdict *verdict)
{
	static const char *const PLACES[] = {"famez-vm", "../vm/famez-vm", NULL};
	char vm[256], self[256];
	int pipes[2];
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);

	*b = (struct boot){.said = -1};
	if (got <= 0 || pipe2(pipes, O_CLOEXEC))
		return verdict_give(verdict, VERDICT_NOT_JOINED, "no VMs: %s", strerror(errno));
	self[got] = '\0';
	host_find("famez-vm", PLACES, vm, sizeof(vm));
	b->said = pipes[0];
	b->pid = fork();
	if (b->pid == 0)
		become(vm, socket, self, guests, pipes[1]);
	(void)close(pipes[1]); /* the child's */
	if (b->pid < 0) {
		b->pid = 0;
		return verdict_give(
			verdict, VERDICT_NOT_JOINED, "no VMs: fork: %s", strerror(errno));
	}
	(void)fcntl(b->said, F_SETFL, O_NONBLOCK);
	return 0;
}

/* "boot      2 guests, Linux 6.1.0, -accel tcg" says what they are. */
static void on_line(struct boot *b)
{
	const char *kernel = strstr(b->line, "guests, Linux ");
	bool fault = strstr(b->line, "famez-vm: ") || strstr(b->line, "famez-stress: ");

	words_clean(b->line);
	if (kernel && strncmp(b->line, "boot ", 5) == 0)
		(void)snprintf(b->what, sizeof(b->what), "%.63s", kernel + strlen("guests, "));
	if (!b->fault || fault)
		memcpy(b->last, b->line, sizeof(b->last));
	b->fault |= fault;
}

void boot_look(struct boot *b)
{
	char bytes[1024];
	ssize_t count;

	while (b->said >= 0 && (count = read(b->said, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < count; i++) {
			if (bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != '\0' &&
				b->bytes < sizeof(b->line) - 1)
				b->line[b->bytes++] = bytes[i];
			if (bytes[i] != '\n')
				continue;
			b->line[b->bytes] = '\0';
			if (b->bytes)
				on_line(b);
			b->bytes = 0;
		}
	}
	if (b->pid && waitpid(b->pid, NULL, WNOHANG) == b->pid)
		b->pid = 0;
}

void boot_end(struct boot *b)
{
	uint64_t until_ns = progress_now_ns() + END_NS;

	if (b->pid)
		(void)kill(b->pid, SIGTERM);
	while (b->pid && progress_now_ns() < until_ns) {
		const struct timespec ms = {0, 5000000};

		boot_look(b); /* its last words must not hold it up */
		(void)nanosleep(&ms, NULL);
	}
	if (b->pid) {
		(void)kill(b->pid, SIGKILL); /* our own child, not yet reaped */
		(void)waitpid(b->pid, NULL, 0);
	}
	if (b->said >= 0)
		(void)close(b->said); /* only read from */
	*b = (struct boot){.said = -1};
}
