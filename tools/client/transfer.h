/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - how a file goes as messages: the line that each begins with. See transfer.c.
 */
#ifndef CLIENT_TRANSFER_H
#define CLIENT_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSFER_NAME_MAX   200 /* bytes: leaves room for what makes it unique */
#define TRANSFER_REASON_MAX 80
/* The longest line: a name, every byte of it spelled out, and the rest. */
#define TRANSFER_LINE_MAX (3 * TRANSFER_NAME_MAX + 100)

enum transfer_kind {
	TRANSFER_BEGIN,   /* bytes, name */
	TRANSFER_PART,    /* offset; the data follow the line */
	TRANSFER_END,     /* crc, of all */
	TRANSFER_STORED,  /* the receiver's answer */
	TRANSFER_REFUSED, /* its other answer: reason */
};

struct transfer {
	enum transfer_kind kind;
	uint64_t number; /* which of the sender's transfers */
	uint64_t bytes;
	uint64_t offset;
	uint32_t crc;
	char name[TRANSFER_NAME_MAX + 1];     /* fit to be a file's name in a folder */
	char reason[TRANSFER_REASON_MAX + 1]; /* printable ASCII */
	size_t line_bytes;                    /* with its end */
};

/** transfer_read() - the line that this message begins with. False: it is none. */
bool transfer_read(struct transfer *t, const unsigned char *text, size_t bytes);

/** transfer_write() - the line, NUL-terminated. Returns its length. */
size_t transfer_write(char into[TRANSFER_LINE_MAX], const struct transfer *t);

/** transfer_name() - of any bytes, a name that does no harm in a folder: without "/", not
 * hidden, not an option, printable. */
void transfer_name(char into[TRANSFER_NAME_MAX + 1], const char *path);

/** transfer_crc() - CRC-32 (IEEE 802.3) of what came so far, begun with 0, and of this. */
uint32_t transfer_crc(uint32_t crc, const void *bytes, size_t count);

#endif
