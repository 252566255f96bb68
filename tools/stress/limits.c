/* SPDX-License-Identifier: MIT */
/*
 * limits.c - how many descriptors a run needs, and getting leave to open them.
 *
 * Changes RLIMIT_NOFILE of this process; opens nothing.
 */
#include "limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

/* libfamez: its socket and its epoll. The memory's descriptor is closed once it is mapped. */
#define PEER_DESCRIPTORS 2u

/* stdio, our own epoll, the raw pair, a file for --json, descriptors that are just coming in. */
#define SPARE_DESCRIPTORS 64u

uint64_t limits_descriptors(const struct limits_need *need)
{
	return need->peers * PEER_DESCRIPTORS +
	       need->copies * (need->peers * need->vectors + need->other_vectors) +
	       SPARE_DESCRIPTORS;
}

uint64_t limits_raise(uint64_t wanted)
{
	struct rlimit limit, more;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	more = limit;
	more.rlim_cur = limit.rlim_max;
	if (limit.rlim_max < wanted) {
		/* Only root may, and no further than fs.nr_open; if not, the next call does. */
		more.rlim_cur = more.rlim_max = wanted;
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return wanted;
		more.rlim_cur = more.rlim_max = limit.rlim_max;
	}
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		return more.rlim_cur;
	return limit.rlim_cur;
}

static uint64_t nr_open(void)
{
	FILE *f = fopen("/proc/sys/fs/nr_open", "re");
	uint64_t n = UINT64_MAX;

	if (f == NULL)
		return n;
	if (fscanf(f, "%" SCNu64, &n) != 1) /* NOLINT(cert-err34-c): the kernel's own number */
		n = UINT64_MAX;
	(void)fclose(f);
	return n;
}

int limits_explain(const struct limits_need *need, uint64_t may, struct verdict *verdict)
{
	uint64_t wanted = limits_descriptors(need), most = nr_open();
	struct limits_need none = *need, one = *need;
	uint64_t peers, others;

	none.peers = 0;
	one.peers = 1;
	others = limits_descriptors(&none);
	peers = may > others ? (may - others) / (limits_descriptors(&one) - others) : 0;
	if (wanted > most)
		return verdict_give(verdict, VERDICT_DESCRIPTORS,
			"%" PRIu64 " peers x %" PRIu64 " vectors need %" PRIu64
			" descriptors, the kernel allows %" PRIu64
			": as root `sysctl fs.nr_open=%" PRIu64 "; ulimit -n %" PRIu64
			"`, or --peers %" PRIu64 " at most",
			need->peers, need->vectors, wanted, most, wanted, wanted, peers);
	return verdict_give(verdict, VERDICT_DESCRIPTORS,
		"%" PRIu64 " peers x %" PRIu64 " vectors need %" PRIu64
		" descriptors, this process may open %" PRIu64 ": as root `ulimit -n %" PRIu64
		"` (or `nofile` in /etc/security/limits.conf), or --peers %" PRIu64 " at most",
		need->peers, need->vectors, wanted, may, wanted, peers);
}
