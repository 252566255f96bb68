/* SPDX-License-Identifier: MIT */
/*
 * account.c - numbers for messages, so that each is accounted for.
 */
#include "account.h"

#include <errno.h>
#include <stdlib.h>

int account_init(struct account *a, uint32_t mine, uint32_t others)
{
	*a = (struct account){.mine = mine, .others = others};
	a->out = calloc(mine, sizeof(*a->out));
	a->in = calloc(mine, sizeof(*a->in));
	if (a->out && a->in)
		return 0;
	account_destroy(a);
	return -ENOMEM;
}

void account_destroy(struct account *a)
{
	for (uint32_t k = 0; k < a->mine; k++) {
		if (a->out)
			free(a->out[k]);
		if (a->in)
			free(a->in[k]);
	}
	free(a->out);
	free(a->in);
	*a = (struct account){0};
}

static uint32_t *last(uint32_t **rows, uint32_t k, uint32_t other, uint32_t others)
{
	if (rows[k] == NULL)
		rows[k] = calloc(others, sizeof(*rows[k]));
	return rows[k] ? &rows[k][other] : NULL;
}

uint32_t account_next(struct account *a, uint32_t k, uint32_t to)
{
	const uint32_t *at = last(a->out, k, to, a->others);

	return at ? *at + 1 : 0;
}

void account_sent(struct account *a, uint32_t k, uint32_t to)
{
	a->out[k][to]++;
}

enum account_finding account_heard(
	struct account *a, uint32_t k, uint32_t from, uint32_t number, uint32_t *due)
{
	uint32_t *at = last(a->in, k, from, a->others);

	*due = at ? *at + 1 : 0;
	if (at && number == *due) {
		*at = number;
		return ACCOUNT_FINE;
	}
	return number > *due ? ACCOUNT_LOST : ACCOUNT_DOUBLE;
}

void account_forget(struct account *a, uint32_t k, uint32_t other)
{
	if (a->out[k])
		a->out[k][other] = 0;
	if (a->in[k])
		a->in[k][other] = 0;
}
