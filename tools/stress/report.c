/* SPDX-License-Identifier: MIT */
/*
 * report.c - what a run found, for people (stdout) and for programs (JSON).
 *
 * Measures nothing, decides nothing. Lines stay within 80 columns.
 */
#include "report.h"

#include "figures.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static void line(const char *what, uint64_t count, const char *of, uint64_t ns, const char *remark)
{
	printf("  %-11s%10s %-17s%9s   %s\n", what, figures_grouped(count).s, of,
		ns ? figures_duration(ns).s : "", remark);
	(void)fflush(stdout);
}

void report_mesh(const struct report *r)
{
	const struct fleet *fleet = r->fleet;
	char remark[96];

	(void)snprintf(remark, sizeof(remark), "p50 %s, p99 %s",
		figures_duration(histogram_quantile(r->joined, 0.5)).s,
		figures_duration(histogram_quantile(r->joined, 0.99)).s);
	line("joined", fleet->joined, fleet->joined == 1 ? "VM" : "VMs",
		histogram_quantile(r->joined, 1), remark);
	(void)snprintf(remark, sizeof(remark), "p50 %s, p99 %s",
		figures_duration(histogram_quantile(r->opened, 0.5)).s,
		figures_duration(histogram_quantile(r->opened, 0.99)).s);
	line("ready", (uint64_t)fleet->joined * fleet->vectors, "own vectors",
		histogram_quantile(r->opened, 1), remark);
	(void)snprintf(remark, sizeof(remark), "%s notices a second",
		figures_grouped((uint64_t)((double)fleet->notices * 1e9 / (double)r->mesh_ns)).s);
	line("full mesh", (uint64_t)fleet->joined * fleet->joined * fleet->vectors, "vectors known",
		r->mesh_ns, remark);
}

void report_rounds(const struct report *r)
{
	const struct rounds_result *rounds = r->rounds;
	char remark[96];

	(void)snprintf(remark, sizeof(remark), "eventfds of %u witness%s", r->fleet->witnesses,
		r->fleet->witnesses == 1 ? "" : "es");
	line("checked", rounds->copies_checked, "rung, arrived", 0, remark);
	if (rounds->all_pairs)
		(void)snprintf(remark, sizeof(remark), "every pair, every vector");
	else
		(void)snprintf(remark, sizeof(remark), "%u random matchings", rounds->rounds);
	line("doorbells", rounds->arrived, "rung, arrived", rounds->ns, remark);
}

static const char *const WAY_NAMES[LATENCY_WAYS] = {
	[LATENCY_FABRIC] = "through FAME-Z",
	[LATENCY_RAW] = "raw eventfd",
};

static const double QUANTILES[] = {0.5, 0.99, 0.999, 1.0};
#define QUANTILE_COUNT (sizeof(QUANTILES) / sizeof(QUANTILES[0]))

static void print_table(const struct latency_result *latency)
{
	if (latency->cpus[0] == latency->cpus[1])
		printf("\n  Doorbell round trip, both sides sleeping, both on CPU %d, in us\n\n",
			latency->cpus[0]);
	else
		printf("\n  Doorbell round trip, both sides sleeping, on CPUs %d and %d, in us\n\n",
			latency->cpus[0], latency->cpus[1]);
	printf("  %-16s%10s%10s%10s%10s%15s\n", "", "p50", "p99", "p99.9", "max", "round trips");
	for (int way = 0; way < LATENCY_WAYS; way++) {
		const struct histogram *h = &latency->ways[way];

		printf("  %-16s", WAY_NAMES[way]);
		for (size_t q = 0; q < QUANTILE_COUNT; q++)
			printf("%10s",
				figures_three((double)histogram_quantile(h, QUANTILES[q]) / 1e3).s);
		printf("%15s\n", figures_grouped(h->count).s);
	}
	printf("  %-16s", "ratio");
	/* Without the last: the ratio of two maxima says nothing. */
	for (size_t q = 0; q + 1 < QUANTILE_COUNT; q++)
		printf("%10.3f",
			(double)histogram_quantile(&latency->ways[LATENCY_FABRIC], QUANTILES[q]) /
				(double)histogram_quantile(
					&latency->ways[LATENCY_RAW], QUANTILES[q]));
	printf("\n");
}

static void print_rows(const struct latency_result *latency)
{
	const struct histogram *ways[LATENCY_WAYS];

	for (int way = 0; way < LATENCY_WAYS; way++)
		ways[way] = &latency->ways[way];
	figures_rows(ways, WAY_NAMES, LATENCY_WAYS);
}

void report_latency(const struct report *r)
{
	print_table(r->latency);
	print_rows(r->latency);
	(void)fflush(stdout);
}

/* cJSON answers every failure, out of memory above all, with NULL and lets NULLs through. */
static cJSON *json_histogram(const struct histogram *h)
{
	cJSON *o = cJSON_CreateObject(), *buckets;

	cJSON_AddNumberToObject(o, "count", (double)h->count);
	if (h->count == 0)
		return o;
	cJSON_AddNumberToObject(o, "min", (double)h->min);
	cJSON_AddNumberToObject(o, "p50", (double)histogram_quantile(h, 0.5));
	cJSON_AddNumberToObject(o, "p90", (double)histogram_quantile(h, 0.9));
	cJSON_AddNumberToObject(o, "p99", (double)histogram_quantile(h, 0.99));
	cJSON_AddNumberToObject(o, "p99.9", (double)histogram_quantile(h, 0.999));
	cJSON_AddNumberToObject(o, "max", (double)h->max);
	/* [least value, largest value, how many], the empty ones left out */
	buckets = cJSON_AddArrayToObject(o, "buckets");
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		double triple[3] = {(double)histogram_bucket_low(b),
			(double)histogram_bucket_high(b), (double)h->buckets[b]};

		if (h->buckets[b])
			cJSON_AddItemToArray(buckets, cJSON_CreateDoubleArray(triple, 3));
	}
	return o;
}

static void json_latency(cJSON *root, const struct latency_result *latency)
{
	static const char *const KEYS[LATENCY_WAYS] = {"fabric", "raw"};
	cJSON *o = cJSON_AddObjectToObject(root, "round_trip_ns"), *rounds;

	cJSON_AddItemToObject(o, "cpus", cJSON_CreateIntArray(latency->cpus, 2));
	cJSON_AddNumberToObject(o, "slice_ns", (double)LATENCY_SLICE_NS);
	rounds = cJSON_AddArrayToObject(o, "rounds_p50");
	for (unsigned i = 0; i < latency->rounds_done; i++) {
		cJSON *round = cJSON_CreateObject();

		for (int way = 0; way < LATENCY_WAYS; way++)
			cJSON_AddNumberToObject(
				round, KEYS[way], (double)latency->rounds[i].p50_ns[way]);
		cJSON_AddItemToArray(rounds, round);
	}
	for (int way = 0; way < LATENCY_WAYS; way++)
		cJSON_AddItemToObject(o, KEYS[way], json_histogram(&latency->ways[way]));
}

static cJSON *json_of(const struct report *r)
{
	cJSON *root = cJSON_CreateObject(), *o;
	struct utsname host;
	char seed[24];

	cJSON_AddStringToObject(root, "program", "famez-stress");
	if (uname(&host) == 0) {
		cJSON_AddStringToObject(root, "kernel", host.release);
		cJSON_AddStringToObject(root, "machine", host.machine);
	}
	cJSON_AddNumberToObject(root, "exit", r->verdict->code);
	cJSON_AddStringToObject(
		root, "verdict", r->verdict->code ? r->verdict->why : "nothing lost");
	cJSON_AddStringToObject(root, "socket", r->socket);
	(void)snprintf(seed, sizeof(seed), "%" PRIu64, r->seed);
	cJSON_AddStringToObject(root, "seed", seed); /* 64 bits: too many for a JSON number */
	cJSON_AddNumberToObject(root, "peers", r->fleet->config.peers);
	cJSON_AddNumberToObject(root, "vectors", r->fleet->vectors);
	cJSON_AddNumberToObject(root, "other_peers", r->fleet->others);
	cJSON_AddNumberToObject(root, "descriptors_needed", (double)r->fleet->descriptors_needed);
	if (r->mesh_ns) {
		cJSON_AddNumberToObject(root, "mesh_ns", (double)r->mesh_ns);
		cJSON_AddNumberToObject(root, "notices", (double)r->fleet->notices);
		cJSON_AddItemToObject(root, "joined_ns", json_histogram(r->joined));
		cJSON_AddItemToObject(root, "ready_ns", json_histogram(r->opened));
	}
	if (r->rounds) {
		o = cJSON_AddObjectToObject(root, "doorbells");
		cJSON_AddBoolToObject(o, "all_pairs", r->rounds->all_pairs);
		cJSON_AddNumberToObject(o, "rung", (double)r->rounds->rung);
		cJSON_AddNumberToObject(o, "arrived", (double)r->rounds->arrived);
		cJSON_AddNumberToObject(o, "strays", (double)r->fleet->strays);
		cJSON_AddNumberToObject(o, "witnesses", r->fleet->witnesses);
		cJSON_AddNumberToObject(o, "copies_checked", (double)r->rounds->copies_checked);
		cJSON_AddNumberToObject(o, "ns", (double)r->rounds->ns);
	}
	if (r->latency)
		json_latency(root, r->latency);
	return root;
}

int report_json(const struct report *r, FILE *file)
{
	cJSON *root = json_of(r);
	char *text = cJSON_PrintUnformatted(root);
	int err = 0;

	if (text == NULL)
		err = -ENOMEM;
	else if (fprintf(file, "%s\n", text) < 0 || fflush(file))
		err = -errno;
	cJSON_free(text);
	cJSON_Delete(root);
	return err;
}
