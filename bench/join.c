/* SPDX-License-Identifier: MIT */
/*
 * join.c - one more joins N who are present: how long until it is ready, and until
 * everyone has been told of it. Then it leaves, all are told, and it comes again.
 *
 * Ready: it has the last of the N + 1 peers' vectors, its own. A server whose IDs
 * count up needs room for as many IDs as there are joins.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "crowd.h"
#include "run.h"

struct times {
	uint64_t *ready_ns, *told_ns;
};

static int present(struct crowd *c, const struct run *r)
{
	int err = 0;

	/* One by one where a server would lose notices in a storm. */
	for (uint32_t i = 0; i < r->clients && !err; i++) {
		for (uint32_t j = 0; j < i; j++)
			crowd_expect(c, j, r->vectors);
		err = crowd_join(c, i, (uint64_t)(i + 1) * r->vectors);
		if (!err)
			err = crowd_wait(c, 0);
	}
	return err;
}

static int join_once(struct crowd *c, const struct run *r, uint64_t *ready_ns, uint64_t *told_ns)
{
	uint64_t begun_ns, last_ns = 0, leaves = c->leaves + r->clients;
	struct crowd_account a;
	int err;

	for (uint32_t i = 0; i < r->clients; i++)
		crowd_expect(c, i, r->vectors);
	begun_ns = clock_wall_ns();
	err = crowd_join(c, r->clients, (uint64_t)(r->clients + 1) * r->vectors);
	if (!err)
		err = crowd_wait(c, 0);
	if (err)
		return err;
	for (uint32_t i = 0; i < r->clients; i++)
		if (c->clients[i].goal_ns > last_ns)
			last_ns = c->clients[i].goal_ns;
	*ready_ns = c->clients[r->clients].goal_ns - begun_ns;
	*told_ns = last_ns - begun_ns;
	a = crowd_check(c, r->clients, r->clients + 1);
	if (a.missing || a.surplus)
		return -EBADMSG;
	crowd_leave(c, r->clients);
	return crowd_wait(c, leaves);
}

static void print(const struct run *r, struct times *t, uint64_t server_ns)
{
	run_sort(t->ready_ns, r->repeat);
	run_sort(t->told_ns, r->repeat);
	(void)printf("{\"scenario\": \"join\", \"clients\": %u, \"vectors\": %u, \"joins\": %u, "
		     "\"ready_p50_ns\": %" PRIu64 ", \"ready_p99_ns\": %" PRIu64
		     ", \"told_p50_ns\": %" PRIu64 ", \"told_p99_ns\": %" PRIu64
		     ", \"server_cpu_ns\": %" PRIu64 "}\n",
		r->clients, r->vectors, r->repeat, run_percentile(t->ready_ns, r->repeat, 0.5),
		run_percentile(t->ready_ns, r->repeat, 0.99),
		run_percentile(t->told_ns, r->repeat, 0.5),
		run_percentile(t->told_ns, r->repeat, 0.99), server_ns);
}

int join_run(const struct run *r)
{
	struct times t = {
		.ready_ns = calloc(r->repeat, sizeof(*t.ready_ns)),
		.told_ns = calloc(r->repeat, sizeof(*t.told_ns)),
	};
	uint64_t server_ns;
	struct crowd c;
	int err = -ENOMEM;

	if (!t.ready_ns || !t.told_ns)
		goto out;
	err = crowd_init(&c, r->socket, r->clients + 1, r->vectors, r->clients + r->repeat + 2,
		r->patience_ns);
	if (err)
		goto out;
	err = present(&c, r);
	server_ns = clock_settled_ns(r->server);
	for (uint32_t i = 0; i < r->repeat && !err; i++)
		err = join_once(&c, r, &t.ready_ns[i], &t.told_ns[i]);
	if (!err)
		print(r, &t, clock_settled_ns(r->server) - server_ns);
	crowd_destroy(&c);
out:
	free(t.ready_ns);
	free(t.told_ns);
	return err;
}
