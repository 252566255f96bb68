/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-stress: from the command line to the exit code.
 *
 * Owns the order of things: files that are to be written, limits, the server, the crew, the report.
 * The only place that prints a verdict.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "board.h"
#include "bus.h"
#include "crew.h"
#include "host.h"
#include "limits.h"
#include "options.h"
#include "report.h"
#include "server.h"

#define VECTORS_DEFAULT 4u

/* A file that the report goes to, opened before anything begins. */
struct target {
	const char *path;
	FILE *file;
	int (*write)(const struct report *r, FILE *file);
};

static int open_targets(struct target *targets, size_t count, struct verdict *verdict)
{
	for (size_t i = 0; i < count; i++) {
		if (targets[i].path == NULL)
			continue;
		targets[i].file = fopen(targets[i].path, "we");
		if (targets[i].file == NULL)
			return verdict_give(verdict, VERDICT_USAGE, "cannot write %s: %s",
				targets[i].path, strerror(errno));
	}
	return 0;
}

static void write_targets(
	struct target *targets, size_t count, const struct report *r, struct verdict *verdict)
{
	for (size_t i = 0; i < count; i++) {
		int err;

		if (targets[i].file == NULL)
			continue;
		err = r ? targets[i].write(r, targets[i].file) : 0;
		if (fclose(targets[i].file) && !err)
			err = -errno;
		if (err)
			(void)verdict_give(verdict, VERDICT_LOST, "cannot write %s: %s",
				targets[i].path, strerror(-err));
	}
}

/* How many processes it takes, if that was not said. */
static unsigned processes_of(const struct options *o, const struct server_needs *needs)
{
	struct limits_need need = {
		.peers = o->peers,
		.mail = needs->mail,
		.vectors = o->vectors ? o->vectors : VECTORS_DEFAULT,
		.other_vectors = (uint64_t)(needs->peers - o->peers + 1) *
				 (o->vectors ? o->vectors : VECTORS_DEFAULT),
		.copies = 2,
	};
	unsigned processes;

	if (o->processes)
		return o->processes;
	need.processes = 1;
	processes = limits_processes(
		&need, limits_raise(limits_descriptors(&need)), server_memory_bytes(needs));
	/* None will do: one it is, which says what would. */
	return processes && processes <= o->peers ? processes : 1;
}

static void go(
	const struct options *o, struct target *targets, size_t count, struct verdict *verdict)
{
	unsigned aside = o->scenario->aside ? o->scenario->aside(o->peers) : 0;
	struct server_needs needs = {
		.program = o->server,
		/* a guest, its companion; and who conducts */
		.peers = o->peers + (o->guests ? 2 * o->guests + 1 : 0),
		.vectors = o->vectors ? o->vectors : VECTORS_DEFAULT,
		.mail = options_mail(o) || o->guests,
	};
	struct options told = *o;
	struct server server = {.log = -1};
	struct crew_watch watch = {0};
	struct host host;
	char version[64] = "";
	struct report r = {.options = &told,
		.server = &server,
		.watch = &watch,
		.host = &host,
		.verdict = verdict,
		.server_version = version};
	struct board *board;

	host_look(&host);
	if (!o->sockets_count)
		told.vectors = needs.vectors;
	board = board_open(o->peers - aside, processes_of(&told, &needs),
		told.vectors ? told.vectors : FAMEZ_WIRE_VECTORS_MAX, o->guests);
	if (board == NULL) {
		(void)verdict_give(verdict, VERDICT_LOST, "out of memory");
		write_targets(targets, count, NULL, verdict);
		return;
	}
	r.board = board;
	if (o->sockets_count)
		server_given(&server, o->sockets[0]);
	else if (!server_start(&server, &needs, verdict))
		server_version(&server, version, sizeof(version));
	if (!verdict->code) {
		if (!o->hold)
			report_head(&r);
		(void)crew_run(&told, board, &server, &watch, &r, verdict);
	}
	if (!o->hold)
		report_end(&r);
	write_targets(targets, count, &r, verdict);
	(void)server_stop(&server, verdict);
	board_close(board);
}

int main(int argc, char **argv)
{
	struct verdict verdict = {0};
	struct options options;

	bus_explain("famez-stress");
	(void)setlocale(LC_CTYPE, ""); /* else plain ASCII */
	if (!options_parse(&options, argc, argv, &verdict)) {
		struct target targets[] = {{options.json, NULL, report_json},
			{options.csv, NULL, report_csv}, {options.svg, NULL, report_svg}};
		const size_t count = sizeof(targets) / sizeof(targets[0]);

		if (options.help) {
			options_help();
		} else if (options.version) {
			printf("famez-stress %s\n", FAMEZ_VERSION);
		} else if (options.agent) {
			(void)agent_run(options.agent, &verdict);
		} else if (open_targets(targets, count, &verdict)) {
			write_targets(targets, count, NULL, &verdict);
		} else {
			go(&options, targets, count, &verdict);
		}
	}
	if (ferror(stdout) || fflush(stdout))
		(void)verdict_give(&verdict, VERDICT_LOST, "not all output could be written");
	if (verdict.code)
		fprintf(stderr, "famez-stress: %s\n", verdict.why);
	return verdict.code;
}
