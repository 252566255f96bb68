/* SPDX-License-Identifier: MIT */
/*
 * main.c - famez-vm: VMs for a fabric, as arguments, as XML, or running.
 *
 * Reads the options and hands over; plan.c says what would not do.
 */
#include "doors.h"
#include "emit.h"
#include "run.h"
#include "say.h"
#include "size.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_VERSION = 256,
	OPT_ACCEL,
	OPT_CACHE,
	OPT_EXEC,
	OPT_FAM,
	OPT_FAM_FILE,
	OPT_FOLDER,
	OPT_HUGEPAGES,
	OPT_KERNEL,
	OPT_MAILBOX,
	OPT_MEMORY,
	OPT_MODULE,
	OPT_NAME,
	OPT_NODE,
	OPT_NO_DRIVER,
	OPT_PROGRAM,
	OPT_TIMEOUT,
};

/* Of which commands an option is. */
#define OF_PLAN    1u
#define OF_RUN     2u
#define OF_CONSOLE 4u

static const struct option options[] = {
	{"accel", required_argument, NULL, OPT_ACCEL},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"exec", required_argument, NULL, OPT_EXEC},
	{"fam", required_argument, NULL, OPT_FAM},
	{"fam-file", required_argument, NULL, OPT_FAM_FILE},
	{"folder", required_argument, NULL, OPT_FOLDER},
	{"help", no_argument, NULL, 'h'},
	{"hugepages", required_argument, NULL, OPT_HUGEPAGES},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"mailbox", required_argument, NULL, OPT_MAILBOX},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"module", required_argument, NULL, OPT_MODULE},
	{"name", required_argument, NULL, OPT_NAME},
	{"no-driver", no_argument, NULL, OPT_NO_DRIVER},
	{"node", required_argument, NULL, OPT_NODE},
	{"nodes", required_argument, NULL, 'N'},
	{"program", required_argument, NULL, OPT_PROGRAM},
	{"socketpath", required_argument, NULL, 'S'},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"vectors", required_argument, NULL, 'n'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static void print_help(void)
{
	(void)printf(
		"usage: famez-vm args|xml [-S PATH] [-N NODES] [--node I] [OPTION ...]\n"
		"       famez-vm run [-N NODES] [-S PATH] [OPTION ...]\n"
		"       famez-vm console NODE [--folder DIR]\n"
		"VMs for a fabric: as QEMU's arguments, as libvirt's elements, or running.\n"
		"\n"
		"args, xml   -S, --socketpath PATH  the broker's (/run/famez.sock)\n"
		"            -N, --nodes N          VMs of the fabric (2); --node I: only this "
		"one\n"
		"            -n, --vectors N        as famez-server's (4)\n"
		"                --mailbox SIZE     of the shared memory (what famez-server "
		"takes)\n"
		"                --fam SIZE         fabric-attached memory, an ivshmem-plain "
		"device\n"
		"                --fam-file PATH    its file (%s)\n"
		"                --memory SIZE      each VM's RAM; --hugepages 2M|1G: from those\n"
		"                --name NAME        of the VMs, before their number (node)\n"
		"run         -S, --socketpath PATH  a broker that is there (default: one of its "
		"own)\n"
		"            -N, --nodes N          guests, 1 to %u (2); --memory SIZE of each "
		"(128M)\n"
		"                --accel A          as QEMU's -accel ($FAMEZ_ACCEL, or tcg)\n"
		"                --exec CMD         what each runs ($NODE of $NODES), and then "
		"ends;\n"
		"                                   --timeout S: within S seconds\n"
		"                --program FILE     is in each one's /bin, with its libraries\n"
		"                --kernel FILE      an image (the newest in /boot)\n"
		"                --module FILE      famez.ko (found or built); --no-driver: none\n"
		"                --cache DIR        what is made once (~/.cache/famez)\n"
		"\n"
		"The tour, two VMs that chat: famez-vm run --nodes 2\n"
		"Exit: 0 done, 1 failed, 2 wrong usage; --exec: the largest of the guests'\n",
		FAM_PATH_USUAL, RUN_NODES_MAX);
}

static int wrong(const char *what, const char *text, const char *right)
{
	(void)say("%s '%.100s' would not do: %s", what, text, right);
	return 2;
}

static int number(const char *what, const char *text, unsigned most, unsigned *out)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
	if (errno || !value || *end || value > most) {
		(void)say("%s '%.100s' would not do: a number from 1 to %u", what, text, most);
		return 2;
	}
	*out = (unsigned)value;
	return 0;
}

static int size(const char *what, const char *text, uint64_t *out)
{
	if (size_parse(text, out) && *out)
		return 0;
	return wrong(what, text, "bytes, or with K, M, G or T, such as 64M");
}

struct chosen {
	struct run_how how;
	const char *folder;
	unsigned of;     /* commands that all options given are of */
	const char *odd; /* the last option that is not of all of them */
};

static int add_program(struct chosen *c, const char *path)
{
	if (c->how.programs_count == RUN_PROGRAMS_MAX)
		return wrong("--program", path, "there are 16 already");
	c->how.programs[c->how.programs_count++] = path;
	return 0;
}

static void only_of(struct chosen *c, unsigned of, const char *name)
{
	c->of &= of;
	c->odd = name;
}

static int take_plan(struct chosen *c, int which, const char *text)
{
	struct plan *p = &c->how.plan;

	switch (which) {
	case 'N':
		only_of(c, OF_PLAN | OF_RUN, "--nodes");
		return number("--nodes", text, PLAN_NODES_MAX, &p->nodes);
	case 'S':
		only_of(c, OF_PLAN | OF_RUN, "--socketpath");
		p->socket = text;
		return 0;
	case 'n':
		only_of(c, OF_PLAN, "--vectors");
		return number("--vectors", text, 2048, &p->vectors);
	case OPT_NODE:
		only_of(c, OF_PLAN, "--node");
		if (number("--node", text, PLAN_NODES_MAX, &p->first))
			return 2;
		p->last = p->first;
		return 0;
	case OPT_MAILBOX:
		only_of(c, OF_PLAN, "--mailbox");
		return size("--mailbox", text, &p->mailbox);
	case OPT_FAM:
		only_of(c, OF_PLAN, "--fam");
		return size("--fam", text, &p->fam);
	case OPT_FAM_FILE:
		only_of(c, OF_PLAN, "--fam-file");
		p->fam_path = text;
		return 0;
	case OPT_MEMORY:
		only_of(c, OF_PLAN | OF_RUN, "--memory");
		return size("--memory", text, &p->ram);
	case OPT_HUGEPAGES:
		only_of(c, OF_PLAN, "--hugepages");
		return size("--hugepages", text, &p->page);
	default:
		only_of(c, OF_PLAN | OF_RUN, "--name");
		p->name = text;
		return 0;
	}
}

static int take_run(struct chosen *c, int which, const char *text)
{
	struct run_how *how = &c->how;

	if (which == OPT_FOLDER) {
		only_of(c, OF_CONSOLE, "--folder");
		c->folder = text;
		return 0;
	}
	switch (which) {
	case OPT_ACCEL:
		only_of(c, OF_RUN, "--accel");
		how->accel = text;
		return 0;
	case OPT_CACHE:
		only_of(c, OF_RUN, "--cache");
		how->cache = text;
		return 0;
	case OPT_EXEC:
		only_of(c, OF_RUN, "--exec");
		how->exec = text;
		return 0;
	case OPT_KERNEL:
		only_of(c, OF_RUN, "--kernel");
		how->image = text;
		return 0;
	case OPT_MODULE:
		only_of(c, OF_RUN, "--module");
		how->module = text;
		return 0;
	case OPT_NO_DRIVER:
		only_of(c, OF_RUN, "--no-driver");
		how->no_driver = true;
		return 0;
	case OPT_PROGRAM:
		only_of(c, OF_RUN, "--program");
		return add_program(c, text);
	default:
		only_of(c, OF_RUN, "--timeout");
		return number("--timeout", text, 1000000, &how->timeout_s);
	}
}

/* Returns -1 to go on, else an exit code. */
static int take_options(struct chosen *c, int argc, char **argv)
{
	int which, code;

	while ((which = getopt_long(argc, argv, "hN:n:S:", options, NULL)) != -1) {
		switch (which) {
		case 'h':
			print_help();
			return 0;
		case OPT_VERSION:
			(void)printf("famez-vm %s\n", FAMEZ_VERSION);
			return 0;
		case '?':
			return 2;
		case OPT_ACCEL:
		case OPT_CACHE:
		case OPT_EXEC:
		case OPT_FOLDER:
		case OPT_KERNEL:
		case OPT_MODULE:
		case OPT_NO_DRIVER:
		case OPT_PROGRAM:
		case OPT_TIMEOUT:
			code = take_run(c, which, optarg);
			break;
		default:
			code = take_plan(c, which, optarg);
			break;
		}
		if (code)
			return code;
	}
	return -1;
}

static int print(struct plan *p, bool xml)
{
	char why[PLAN_WHY_BYTES];

	if (!p->socket)
		p->socket = "/run/famez.sock";
	if (!p->vectors)
		p->vectors = 4;
	if (plan_check(p, why)) {
		(void)say("%s", why);
		return 2;
	}
	if (xml)
		emit_xml(stdout, p);
	else
		emit_args(stdout, p);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)say("standard output: %s", strerror(errno));
		return 1;
	}
	emit_remarks(stderr, p);
	return 0;
}

static int start(struct run_how *how)
{
	const char *accel = getenv("FAMEZ_ACCEL");
	char why[PLAN_WHY_BYTES];
	struct plan trial = how->plan;

	if (how->plan.nodes > RUN_NODES_MAX) {
		(void)say("--nodes %u would not do: run starts 1 to %u guests", how->plan.nodes,
			RUN_NODES_MAX);
		return 2;
	}
	if (how->timeout_s && !how->exec) {
		(void)say("--timeout is for --exec");
		return 2;
	}
	if (how->module && how->no_driver) {
		(void)say("--module and --no-driver contradict each other");
		return 2;
	}
	/* What only the broker can tell is asked there; all else is known now. */
	trial.vectors = 1;
	if (!trial.socket)
		trial.socket = "/";
	if (plan_check(&trial, why)) {
		(void)say("%s", why);
		return 2;
	}
	if (!how->accel)
		how->accel = accel && *accel ? accel : "tcg";
	return run(how);
}

static int visit(const char *word, const char *folder)
{
	unsigned node;

	if (!word) {
		(void)say("console: of which node? Such as famez-vm console 2");
		return 2;
	}
	return number("console", word, RUN_NODES_MAX, &node) ? 2 : doors_visit(folder, node);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		unsigned of;
	} commands[] = {
		{"args", OF_PLAN}, {"xml", OF_PLAN}, {"run", OF_RUN}, {"console", OF_CONSOLE}};
	struct chosen c = {.of = OF_PLAN | OF_RUN | OF_CONSOLE};
	unsigned command = 0;
	int code;

	c.how.plan = (struct plan){.nodes = 2, .name = "node"};
	code = take_options(&c, argc, argv);
	if (code >= 0)
		return code;
	if (optind == argc) {
		print_help();
		return 2;
	}
	while (command < 4 && strcmp(argv[optind], commands[command].name) != 0)
		command++;
	if (command == 4)
		return wrong("the command", argv[optind], "args, xml, run or console");
	optind++;
	if (!(c.of & commands[command].of)) {
		(void)say("%s is not an option of %s (see --help)", c.odd, commands[command].name);
		return 2;
	}
	if (optind < argc - (command == 3))
		return wrong("the argument", argv[argc - 1], "there is nothing that it could be");
	if (command == 3)
		return visit(argv[optind], c.folder);
	return command == 2 ? start(&c.how) : print(&c.how.plan, command == 1);
}
