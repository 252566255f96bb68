/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - the operator's terminal, and what its keys mean.
 *
 * ^] and a key are for us, all else for a guest. Owns the terminal's mode, from terminal_raw() to
 * terminal_restore().
 */
#ifndef VM_TERMINAL_H
#define VM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/** The key that goes before one that is for us: ^]. */
#define TERMINAL_KEY 0x1d

/** terminal_raw() - keys come as they are pressed, ^C too. Where standard input is no terminal,
 * nothing is done. */
void terminal_raw(void);

/** terminal_restore() - as it was before. More than once is fine. */
void terminal_restore(void);

/** terminal_keys() - take keys apart. @after: was the last one ^]? Kept from call to call. @send:
 * bytes for the guest. @order: the key after a ^]; returns false to hear no more. */
struct terminal_keys {
	bool after;
	void (*send)(void *owner, const char *bytes, size_t count);
	bool (*order)(void *owner, char key);
	void *owner;
};
void terminal_keys(struct terminal_keys *k, const char *bytes, size_t count);

/** terminal_put() - to standard output, all of it, unless a signal wants otherwise. */
void terminal_put(const char *bytes, size_t count);

#endif
