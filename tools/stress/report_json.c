/* SPDX-License-Identifier: MIT */
/*
 * report_json.c - what a run found, for programs: all figures, histograms bucket by bucket.
 *
 * cJSON answers every failure, out of memory above all, with NULL and lets NULLs through.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "crew.h"
#include "report.h"

static cJSON *histogram(const struct histogram *h)
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

static void trips(cJSON *root, const struct report *r)
{
	static const char *const KEYS[BOARD_WAYS] = {"fabric", "raw"};
	const struct board_trips *t = &r->board->trips;
	cJSON *o = cJSON_AddObjectToObject(root, "round_trip_ns"), *rounds;

	cJSON_AddItemToObject(o, "cpus", cJSON_CreateIntArray(t->cpus, 2));
	cJSON_AddNumberToObject(o, "ratio_p50", report_trips_ratio(r));
	rounds = cJSON_AddArrayToObject(o, "rounds_p50");
	for (unsigned i = 0; i < t->rounds && i < BOARD_ROUNDS_MAX; i++) {
		cJSON *round = cJSON_CreateObject();

		for (int way = 0; way < BOARD_WAYS; way++)
			cJSON_AddNumberToObject(round, KEYS[way], (double)t->p50_ns[i][way]);
		cJSON_AddItemToArray(rounds, round);
	}
	for (int way = 0; way < BOARD_WAYS; way++)
		cJSON_AddItemToObject(o, KEYS[way], histogram(&t->ways[way]));
}

static void share(cJSON *root, const struct report *r)
{
	double ns[BOARD_WAYS], ratio = report_share(r, ns);
	cJSON *o;

	if (ratio <= 0)
		return;
	o = cJSON_AddObjectToObject(root, "cpu_a_doorbell_ns");
	cJSON_AddNumberToObject(o, "ours", ns[BOARD_FABRIC]);
	cJSON_AddNumberToObject(o, "bare", ns[BOARD_RAW]);
	cJSON_AddNumberToObject(o, "ratio", ratio);
	cJSON_AddNumberToObject(o, "rounds", r->board->share.rounds);
}

static cJSON *one_series(const struct board_series *s)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "name", s->name);
	cJSON_AddStringToObject(o, "unit", s->unit);
	cJSON_AddStringToObject(o, "latency_is", s->what);
	cJSON_AddNumberToObject(o, "sent", (double)s->sent);
	cJSON_AddNumberToObject(o, "heard", (double)s->heard);
	cJSON_AddNumberToObject(o, "payload_bytes", (double)s->bytes);
	cJSON_AddNumberToObject(o, "counted", (double)s->counted);
	cJSON_AddNumberToObject(o, "ns", (double)s->ns);
	cJSON_AddItemToObject(o, "latency_ns", histogram(&s->latency));
	return o;
}

static void series(cJSON *root, const struct report *r)
{
	struct board_series *s = malloc(sizeof(*s));
	cJSON *all = cJSON_AddArrayToObject(root, "series");

	for (unsigned k = 0; s && report_series(r, k, s); k++)
		cJSON_AddItemToArray(all, one_series(s));
	free(s);
}

/* What had a real VM at one end; `of`: the series that it is beside. */
static void guests(cJSON *root, const struct report *r)
{
	struct board_series *s = malloc(sizeof(*s));
	cJSON *o, *all;

	if (r->board->guests.count == 0) {
		free(s);
		return;
	}
	o = cJSON_AddObjectToObject(root, "real_vms");
	cJSON_AddNumberToObject(o, "count", r->board->guests.count);
	cJSON_AddStringToObject(o, "what", r->board->guests.what);
	cJSON_AddItemToObject(o, "round_trip_ns", histogram(&r->board->guests.trips));
	all = cJSON_AddArrayToObject(o, "series");
	for (unsigned k = 0; s && report_series(r, k, s); k++)
		if (report_guests(r, k, s))
			cJSON_AddItemToArray(all, one_series(s));
	free(s);
}

static void machine(cJSON *root, const struct report *r)
{
	const struct host *h = r->host;
	cJSON *o = cJSON_AddObjectToObject(root, "machine");

	cJSON_AddStringToObject(o, "cpu", h->cpu);
	cJSON_AddNumberToObject(o, "cpus", h->cpus);
	cJSON_AddNumberToObject(o, "memory_bytes", (double)h->memory_bytes);
	cJSON_AddBoolToObject(o, "virtual", h->virtual_machine);
	cJSON_AddStringToObject(o, "machine", h->machine);
	cJSON_AddStringToObject(o, "kernel", h->kernel);
	cJSON_AddStringToObject(o, "system", h->system);
	cJSON_AddStringToObject(o, "clock", h->clock);
	cJSON_AddNumberToObject(o, "load", h->load);
	cJSON_AddStringToObject(o, "date", h->date);
}

static void settings(cJSON *root, const struct report *r)
{
	const struct options *o = r->options;
	char lines[REPORT_METHOD_MAX][96];
	unsigned count = report_method(r, lines);
	cJSON *method = cJSON_AddArrayToObject(root, "method");
	char seed[24];

	for (unsigned k = 0; k < count; k++)
		cJSON_AddItemToArray(method, cJSON_CreateString(lines[k]));
	cJSON_AddStringToObject(root, "scenario", o->scenario->name);
	cJSON_AddStringToObject(root, "socket", r->server->socket);
	cJSON_AddStringToObject(root, "server", r->server_version);
	(void)snprintf(seed, sizeof(seed), "%" PRIu64, o->seed);
	cJSON_AddStringToObject(root, "seed", seed); /* 64 bits: too many for a JSON number */
	cJSON_AddNumberToObject(root, "peers", o->peers);
	cJSON_AddNumberToObject(root, "vectors", r->board->vectors);
	cJSON_AddNumberToObject(root, "processes", r->board->processes);
	cJSON_AddNumberToObject(root, "other_peers", r->board->others);
	cJSON_AddNumberToObject(root, "descriptors_needed", (double)r->board->descriptors_needed);
	cJSON_AddNumberToObject(root, "rate", o->rate);
	cJSON_AddNumberToObject(root, "time_s", o->time_s);
	cJSON_AddNumberToObject(root, "warm_up_s", o->warm_up_s);
}

static void joins(cJSON *root, const struct board *b)
{
	static struct histogram joined, opened;
	uint64_t begun = UINT64_MAX, last = 0, notices = 0;

	histogram_init(&joined);
	histogram_init(&opened);
	for (unsigned p = 0; p < b->processes; p++) {
		const struct board_process *of = &b->process[p];

		begun = of->begun_ns < begun ? of->begun_ns : begun;
		last = of->last_notice_ns > last ? of->last_notice_ns : last;
		notices += of->mesh_notices;
		histogram_merge(&joined, &of->joined_ns);
		histogram_merge(&opened, &of->opened_ns);
	}
	cJSON_AddNumberToObject(root, "mesh_ns", (double)(last - begun));
	cJSON_AddNumberToObject(root, "notices", (double)notices);
	cJSON_AddItemToObject(root, "joined_ns", histogram(&joined));
	cJSON_AddItemToObject(root, "ready_ns", histogram(&opened));
}

static void doorbells(cJSON *root, const struct board *b)
{
	cJSON *o = cJSON_AddObjectToObject(root, "doorbells");
	uint64_t rung = 0, checked = 0, strays = 0;
	unsigned copies = 0;

	for (unsigned p = 0; p < b->processes; p++) {
		rung += b->process[p].rung;
		checked += b->process[p].copies_checked;
		copies += b->process[p].copies;
		strays += atomic_load(&b->process[p].strays);
	}
	cJSON_AddBoolToObject(o, "all_pairs", b->rounds == 0);
	cJSON_AddNumberToObject(o, "rung", (double)rung);
	cJSON_AddNumberToObject(o, "arrived", (double)rung); /* else there is no such stage */
	cJSON_AddNumberToObject(o, "strays", (double)strays);
	cJSON_AddNumberToObject(o, "copies", copies);
	cJSON_AddNumberToObject(o, "copies_checked", (double)checked);
	cJSON_AddNumberToObject(o, "ns", (double)b->process[0].round_ns);
}

static void server(cJSON *root, const struct crew_watch *w)
{
	cJSON *o = cJSON_AddObjectToObject(root, "broker");

	cJSON_AddNumberToObject(o, "cpu_ns", (double)w->after.cpu_ns);
	cJSON_AddNumberToObject(
		o, "cpu_since_mesh_ns", (double)(w->after.cpu_ns - w->before.cpu_ns));
	cJSON_AddNumberToObject(o, "since_mesh_ns", (double)w->seen_ns);
	cJSON_AddNumberToObject(o, "memory_max_bytes", (double)w->memory_max_bytes);
	cJSON_AddNumberToObject(o, "processes", w->after.processes);
}

int report_json(const struct report *r, FILE *file)
{
	cJSON *root = cJSON_CreateObject();
	struct board_sums sums = board_sum(r->board);
	int stage = atomic_load(&r->board->stage), err = 0;
	char *text;

	cJSON_AddStringToObject(root, "program", "famez-stress");
	cJSON_AddStringToObject(root, "version", FAMEZ_VERSION);
	cJSON_AddNumberToObject(root, "exit", r->verdict->code);
	cJSON_AddStringToObject(
		root, "verdict", r->verdict->code ? r->verdict->why : "nothing lost");
	cJSON_AddNumberToObject(root, "sent", (double)sums.sent);
	cJSON_AddNumberToObject(root, "heard", (double)sums.heard);
	cJSON_AddNumberToObject(
		root, "unaccounted", (double)(sums.sent - sums.heard + sums.strays));
	machine(root, r);
	settings(root, r);
	if (stage >= BOARD_MESH)
		joins(root, r->board);
	if (stage >= BOARD_ROUND)
		doorbells(root, r->board);
	if (r->board->trips.rounds)
		trips(root, r);
	share(root, r);
	series(root, r);
	guests(root, r);
	if (r->watch->after.processes)
		server(root, r->watch);
	text = cJSON_PrintUnformatted(root);
	if (text == NULL)
		err = -ENOMEM;
	else if (fprintf(file, "%s\n", text) < 0 || fflush(file))
		err = -errno;
	cJSON_free(text);
	cJSON_Delete(root);
	return err;
}
