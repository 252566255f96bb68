/* SPDX-License-Identifier: MIT */
/*
 * mesh.c - N clients join at once: how long until everyone knows everyone, what the
 * server's CPU paid for a notice, and whether any was lost.
 *
 * Extras are members before the storm begins: readers, or deaf. The time that counts
 * is that of the N.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "crowd.h"
#include "run.h"

static int seat_extras(struct crowd *c, const struct run *r)
{
	int err;

	for (uint32_t i = 0; i < r->extras; i++) {
		err = crowd_join(c, i, (uint64_t)r->extras * r->vectors);
		if (err)
			return err;
	}
	err = crowd_wait(c, 0);
	for (uint32_t i = 0; i < r->extras && !err; i++) {
		if (r->deaf)
			crowd_deafen(c, i);
		else
			crowd_expect(c, i, (uint64_t)r->clients * r->vectors);
	}
	return err;
}

static void print(const struct run *r, const struct crowd *c, int err, uint64_t notices,
	uint64_t begun_ns, uint64_t server_ns, uint64_t own_ns)
{
	struct crowd_account a = crowd_check(c, r->extras, c->clients_max);
	uint64_t last_ns = begun_ns;

	for (uint32_t i = r->extras; i < c->clients_max; i++)
		if (c->clients[i].goal_ns > last_ns)
			last_ns = c->clients[i].goal_ns;
	(void)printf("{\"scenario\": \"mesh\", \"clients\": %u, \"vectors\": %u, \"extras\": %u, "
		     "\"deaf\": %s, \"complete\": %s, \"error\": \"%s\", \"missing\": %" PRIu64
		     ", \"surplus\": %" PRIu64 ", \"clients_short\": %" PRIu64
		     ", \"leaves\": %" PRIu64 ", \"notices\": %" PRIu64 ", \"wall_ns\": %" PRIu64
		     ", \"server_cpu_ns\": %" PRIu64 ", \"reader_cpu_ns\": %" PRIu64 "}\n",
		r->clients, r->vectors, r->extras, r->deaf ? "true" : "false",
		!err && !a.missing && !a.surplus && !c->leaves ? "true" : "false",
		err ? strerror(-err) : "", a.missing, a.surplus, a.short_of, c->leaves, notices,
		last_ns - begun_ns, server_ns, own_ns);
	(void)fflush(stdout);
}

int mesh_run(const struct run *r)
{
	uint32_t all = r->clients + r->extras;
	uint64_t begun_ns, server_ns, own_ns, notices;
	struct crowd c;
	char byte;
	int err = crowd_init(&c, r->socket, all, r->vectors, all + 2, r->patience_ns);

	if (err)
		return err;
	err = seat_extras(&c, r);
	if (err)
		goto out;
	server_ns = clock_settled_ns(r->server);
	own_ns = clock_thread_ns();
	notices = c.notices;
	begun_ns = clock_wall_ns();
	for (uint32_t i = r->extras; i < all && !err; i++)
		err = crowd_join(&c, i, (uint64_t)all * r->vectors);
	if (!err)
		err = crowd_wait(&c, 0);
	own_ns = clock_thread_ns() - own_ns;
	server_ns = clock_settled_ns(r->server) - server_ns;
	print(r, &c, err, c.notices - notices, begun_ns, server_ns, own_ns);
	err = 0;
	while (r->hold && read(STDIN_FILENO, &byte, 1) > 0)
		;
out:
	crowd_destroy(&c);
	return err;
}
