/* SPDX-License-Identifier: MIT */
/*
 * limits.c - how many descriptors a run needs, and getting leave to open them.
 *
 * Changes RLIMIT_NOFILE of this process; opens nothing.
 */
#include "limits.h"

#include "board.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

/* libfamez: its socket and its epoll. The memory's descriptor is closed once it is mapped. */
#define PEER_DESCRIPTORS 2u

/* With a mailbox: its timer, and what calls back. */
#define MAIL_DESCRIPTORS 2u

/* Half of what 47 bits address: the other half is for the heap, and luck. */
#define ADDRESSES (UINT64_C(1) << 46)

/* stdio, our own epolls, the raw pair, a file for --json, descriptors that are just coming in. */
#define SPARE_DESCRIPTORS 64u

uint64_t limits_descriptors(const struct limits_need *need)
{
	uint64_t mine = (need->peers + need->processes - 1) / need->processes;

	return mine * (PEER_DESCRIPTORS + (need->mail ? MAIL_DESCRIPTORS : 0)) +
	       need->copies * (need->peers * need->vectors + need->other_vectors) +
	       SPARE_DESCRIPTORS;
}

unsigned limits_processes(const struct limits_need *need, uint64_t may, uint64_t memory_bytes)
{
	struct limits_need tried = *need;

	for (tried.processes = 1; tried.processes <= BOARD_PROCESSES_MAX; tried.processes++) {
		uint64_t mine = (need->peers + tried.processes - 1) / tried.processes;

		if (limits_descriptors(&tried) <= may &&
			(memory_bytes == 0 || mine <= ADDRESSES / memory_bytes))
			return (unsigned)tried.processes;
	}
	return 0;
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
	uint64_t wanted = limits_descriptors(need), most = nr_open(), peers;
	struct limits_need fewer = *need;
	unsigned processes = limits_processes(need, may, 0);
	char instead[64];

	for (; fewer.peers > 0 && limits_descriptors(&fewer) > may; fewer.peers--)
		continue;
	peers = fewer.peers;
	if (processes > need->processes)
		(void)snprintf(instead, sizeof(instead), "--processes %u, or --peers %" PRIu64,
			processes, peers);
	else
		(void)snprintf(instead, sizeof(instead), "--peers %" PRIu64, peers);
	if (wanted > most)
		return verdict_give(verdict, VERDICT_DESCRIPTORS,
			"%" PRIu64 " peers x %" PRIu64 " vectors need %" PRIu64
			" descriptors in each process, the kernel allows %" PRIu64
			": as root `sysctl fs.nr_open=%" PRIu64 "; ulimit -n %" PRIu64
			"`, or %s at most",
			need->peers, need->vectors, wanted, most, wanted, wanted, instead);
	return verdict_give(verdict, VERDICT_DESCRIPTORS,
		"%" PRIu64 " peers x %" PRIu64 " vectors need %" PRIu64
		" descriptors in each process, which may open %" PRIu64
		": as root `ulimit -n %" PRIu64
		"` (or `nofile` in /etc/security/limits.conf), or %s at most",
		need->peers, need->vectors, wanted, may, wanted, instead);
}
