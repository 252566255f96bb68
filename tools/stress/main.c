/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-stress: the run from its first join to its exit code.
 *
 * Owns the order of things: join, mesh, doorbells, round trips, or after the
 * mesh hold or leave. The only place that prints a verdict.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "latency.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "rounds.h"

/* Big (a histogram is 248 KiB), one each, and of the one thread that runs main(). */
static struct histogram joined, opened;
static struct latency_result latency;
static struct rounds_result rounds;

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

/* Stays until a signal comes. Whoever rings us meanwhile may: nobody is accounting. */
static int hold(struct fleet *fleet)
{
	struct sigaction action = {.sa_handler = on_signal};

	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL); /* cannot fail: valid signals, valid action */
	(void)sigaction(SIGTERM, &action, NULL);
	printf("holding %u peers\n", fleet->config.peers);
	(void)fflush(stdout);
	/* A signal breaks the wait off; one that comes just before it costs a second. */
	while (!ended)
		if (fleet_turn(fleet, 1000))
			return -1;
	return 0;
}

static int after_join(const struct options *o, struct fleet *fleet, struct report *report,
	struct progress *progress)
{
	struct dice dice = {o->seed};

	if (o->hold)
		return hold(fleet);
	report_mesh(report);
	if (o->join_only)
		return 0;
	report->rounds = &rounds;
	if (rounds_run(fleet, o->rounds, &dice, progress, &rounds))
		return -1;
	report_rounds(report);
	if (o->seconds > 0) {
		int err = latency_run(fleet, o->seconds, &dice, progress, &latency);

		report->latency = &latency;
		if (err)
			return err;
		report_latency(report);
	}
	/* What the server still had to say, a peer lost for instance, and rings nobody awaited. */
	if (fleet_turn(fleet, 0))
		return -1;
	if (fleet->strays)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"%llu rings arrived that nobody here sent%s",
			(unsigned long long)fleet->strays,
			fleet->others ? " (other peers are there, was it one of them?)" : "");
	return 0;
}

static void run(const struct options *o, FILE *json, struct verdict *verdict)
{
	struct fleet_config config = {
		.socket = o->socket,
		.peers = o->peers,
		.vectors = o->vectors,
		.patience_ns = (uint64_t)(o->patience_s * 1e9),
	};
	struct report report = {.socket = o->socket,
		.seed = o->seed,
		.joined = &joined,
		.opened = &opened,
		.verdict = verdict};
	struct progress progress;
	struct fleet fleet;
	int err;

	if (!o->hold && !o->join_only)
		config.witnesses_max = o->peers > 2 ? 2 : 1;
	if (!o->hold)
		printf("famez-stress: %u emulated VM%s at %s, seed %llu\n\n", o->peers,
			o->peers == 1 ? "" : "s", o->socket, (unsigned long long)o->seed);
	(void)fflush(stdout);
	if (fleet_init(&fleet, &config, verdict))
		return;
	report.fleet = &fleet;
	histogram_init(&joined);
	histogram_init(&opened);
	err = fleet_join(&fleet, &progress);
	progress_end(&progress);
	if (!err) {
		fleet_join_times(&fleet, &joined, &opened);
		report.mesh_ns = fleet.last_notice_ns - fleet.begun_ns;
		(void)after_join(o, &fleet, &report, &progress); /* the verdict tells */
	}
	if (json) {
		err = report_json(&report, json);
		if (err)
			(void)verdict_give(verdict, VERDICT_LOST, "cannot write %s: %s", o->json,
				strerror(-err));
	}
	free(latency.rounds);
	fleet_destroy(&fleet);
}

int main(int argc, char **argv)
{
	struct verdict verdict = {0};
	struct options options;
	FILE *json = NULL;

	(void)setlocale(LC_CTYPE, ""); /* else plain ASCII */
	if (options_parse(&options, argc, argv, &verdict))
		goto out;
	if (options.help) {
		options_help();
		return 0;
	}
	if (options.version) {
		printf("famez-stress %s\n", FAMEZ_VERSION);
		return 0;
	}
	if (options.json) {
		json = fopen(options.json, "we");
		if (json == NULL) {
			(void)verdict_give(&verdict, VERDICT_USAGE, "cannot write %s: %s",
				options.json, strerror(errno));
			goto out;
		}
	}
	run(&options, json, &verdict);
	if (json && fclose(json))
		(void)verdict_give(&verdict, VERDICT_LOST, "cannot write %s: %s", options.json,
			strerror(errno));
out:
	if (ferror(stdout) || fflush(stdout))
		(void)verdict_give(&verdict, VERDICT_LOST, "not all output could be written");
	if (verdict.code)
		fprintf(stderr, "famez-stress: %s\n", verdict.why);
	return verdict.code;
}
