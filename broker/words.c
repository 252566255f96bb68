/* SPDX-License-Identifier: MIT */
/*
 * words.c - the last words of a broker that ends itself, or is ended by what it does.
 *
 * A handler calls nothing that may not be called there: it has its own few letters of text.
 * Part of the program only, not of what tests link.
 */
#include "words.h"

#include <assert.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static char *words;
static size_t words_bytes;

void words_open(char *place, size_t bytes)
{
	words = place;
	words_bytes = bytes;
}

/* In the place of the C library's, assert(3)'s: that one allocates, and tells standard error
 * only. */
void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
	char text[384];
	const char *slash = strrchr(file, '/');
	int n = snprintf(text, sizeof(text), "%s:%u: %s: Assertion `%s' failed.",
		slash ? slash + 1 : file, line, function, assertion);

	if (words)
		(void)snprintf(words, words_bytes, "%s", text);
	if (n > 0) {
		size_t bytes = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

		text[bytes < sizeof(text) - 1 ? bytes++ : bytes - 1] = '\n';
		(void)!write(STDERR_FILENO, text, bytes);
	}
	abort();
}

/* ---- faults ----------------------------------------------------------------------------- */

/* The program as it lies in memory; the linker's. */
extern const char __ehdr_start[], etext[];

static size_t put(size_t at, const char *text)
{
	while (*text && at + 1 < words_bytes)
		words[at++] = *text++;
	words[at] = '\0';
	return at;
}

static size_t put_number(size_t at, uint64_t number, unsigned base)
{
	char text[24], *digit = text + sizeof(text) - 1;

	*digit = '\0';
	do
		*--digit = "0123456789abcdef"[number % base];
	while (number /= base);
	return put(put(at, base == 16 ? "0x" : ""), digit);
}

static uintptr_t instruction(const ucontext_t *c)
{
#if defined(__x86_64__)
	return (uintptr_t)c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)c->uc_mcontext.pc;
#else
	(void)c;
	return 0;
#endif
}

/* It has been reset: the instruction is repeated when this returns, and ends us. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	uintptr_t at = instruction(context), program = (uintptr_t)__ehdr_start;
	bool ours = at >= program && at < (uintptr_t)etext;
	size_t n;

	if (info->si_code <= 0) {
		n = put(0, "sent by process ");
		(void)put_number(n, (uint64_t)info->si_pid, 10);
		(void)raise(number);
		return;
	}
	n = put_number(put(0, "address "), (uintptr_t)info->si_addr, 16);
	n = put(n, ours ? ", instruction famez-server+" : ", instruction of a library, ");
	(void)put_number(n, ours ? at - program : at, 16);
}

void words_of_faults(void)
{
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
	struct sigaction action = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | (int)SA_RESETHAND,
	};
	struct sigaction before;

	(void)sigemptyset(&action.sa_mask);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
			(void)sigaction(numbers[i], &action, NULL);
}
