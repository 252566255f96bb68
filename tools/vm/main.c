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
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of which commands an option is. */
#define OF_PLAN    1u
#define OF_RUN     2u
#define OF_CONSOLE 4u
#define OF_ALL     (OF_PLAN | OF_RUN | OF_CONSOLE)

struct chosen {
	struct run_how how;
	const char *folder;
	bool help, version;
	unsigned of;     /* commands that all options given are of */
	const char *odd; /* the last option that is not of all of them */
};

enum kind { TEXT, NUMBER, SIZE, FLAG, PROGRAM };

/* Each option once: what it sets in struct chosen, and for a number the most that it may be. */
struct word {
	const char *name;
	int letter; /* 0: none */
	unsigned of;
	enum kind kind;
	unsigned most;
	size_t at;
};

#define AT(field) offsetof(struct chosen, field)

static const struct word words[] = {
	{"accel", 0, OF_RUN, TEXT, 0, AT(how.accel)},
	{"cache", 0, OF_RUN, TEXT, 0, AT(how.cache)},
	{"devices", 0, OF_RUN, NUMBER, PLAN_DEVICES_MAX, AT(how.plan.devices)},
	{"exec", 0, OF_RUN, TEXT, 0, AT(how.exec)},
	{"fam", 0, OF_PLAN, SIZE, 0, AT(how.plan.fam)},
	{"fam-file", 0, OF_PLAN, TEXT, 0, AT(how.plan.fam_path)},
	{"folder", 0, OF_CONSOLE, TEXT, 0, AT(folder)},
	{"help", 'h', OF_ALL, FLAG, 0, AT(help)},
	{"hugepages", 0, OF_PLAN, SIZE, 0, AT(how.plan.page)},
	{"kernel", 0, OF_RUN, TEXT, 0, AT(how.image)},
	{"mailbox", 0, OF_PLAN, SIZE, 0, AT(how.plan.mailbox)},
	{"memory", 0, OF_PLAN | OF_RUN, SIZE, 0, AT(how.plan.ram)},
	{"module", 0, OF_RUN, TEXT, 0, AT(how.module)},
	{"name", 0, OF_PLAN | OF_RUN, TEXT, 0, AT(how.plan.name)},
	{"no-driver", 0, OF_RUN, FLAG, 0, AT(how.no_driver)},
	{"node", 0, OF_PLAN, NUMBER, PLAN_NODES_MAX, AT(how.plan.first)},
	{"nodes", 'N', OF_PLAN | OF_RUN, NUMBER, PLAN_NODES_MAX, AT(how.plan.nodes)},
	{"program", 0, OF_RUN, PROGRAM, 0, 0},
	{"socketpath", 'S', OF_PLAN | OF_RUN, TEXT, 0, AT(how.plan.socket)},
	{"timeout", 0, OF_RUN, NUMBER, 1000000, AT(how.timeout_s)},
	{"vectors", 'n', OF_PLAN, NUMBER, 2048, AT(how.plan.vectors)},
	{"version", 0, OF_ALL, FLAG, 0, AT(version)},
};

#define WORDS (sizeof(words) / sizeof(words[0]))
/* What getopt_long() says of an option without a letter: this and its place in `words`. */
#define LONG_ONLY 256

static void print_help(void)
{
	(void)printf(
		"usage: famez-vm args|xml [-S PATH] [-N NODES] [--node I] [OPTION ...]\n"
		"       famez-vm run [-N NODES] [-S PATH] [OPTION ...]\n"
		"       famez-vm console NODE [--folder DIR]\n"
		"VMs for a fabric: as QEMU's arguments, as libvirt's elements, or running.\n"
		"\n"
		"args, xml -S, --socketpath PATH  the broker's (/run/famez.sock)\n"
		"          -N, --nodes N          VMs of the fabric (2); --node I: only this one\n"
		"          -n, --vectors N        as famez-server's (4)\n"
		"              --mailbox SIZE     of the shared memory (what famez-server "
		"takes)\n"
		"              --fam SIZE         fabric-attached memory, an ivshmem-plain device\n"
		"              --fam-file PATH    its file (%s)\n"
		"              --memory SIZE      each VM's RAM; --hugepages 2M|1G: from those\n"
		"              --name NAME        of the VMs, before their number (node)\n"
		"run       -S, --socketpath PATH  a broker that is there (default: its own)\n"
		"          -N, --nodes N          guests, 1 to %u (2); --memory SIZE: each (128M)\n"
		"              --accel A          as QEMU's -accel ($FAMEZ_ACCEL, or tcg)\n"
		"              --devices N        of each guest, 1 to %u (1): /dev/famez0 and on\n"
		"              --exec CMD         what each runs ($NODE of $NODES), then ends;\n"
		"                                 --timeout S: within S seconds\n"
		"              --program FILE     is in each one's /bin, with its libraries\n"
		"              --kernel FILE      an image (the newest in /boot)\n"
		"              --module FILE      famez.ko (found or built); --no-driver: none\n"
		"              --cache DIR        what is made once (~/.cache/famez)\n"
		"\n"
		"The tour, two VMs that chat: famez-vm run --nodes 2\n"
		"Exit: 0 done, 1 failed, 2 wrong usage; --exec: the largest of the guests'\n",
		FAM_PATH_USUAL, RUN_NODES_MAX, PLAN_DEVICES_MAX);
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

static int add_program(struct chosen *c, const char *path)
{
	if (c->how.programs_count == RUN_PROGRAMS_MAX)
		return wrong("--program", path, "there are 16 already");
	c->how.programs[c->how.programs_count++] = path;
	return 0;
}

/* One option that was given. Returns 0, or 2 after having said what was wrong. */
static int take(struct chosen *c, const struct word *w, const char *text)
{
	char *at = (char *)c + w->at, dashed[16];

	(void)snprintf(dashed, sizeof(dashed), "--%s", w->name);
	if (w->of != OF_ALL) {
		c->of &= w->of;
		c->odd = w->name;
	}
	switch (w->kind) {
	case TEXT:
		*(const char **)(void *)at = text;
		return 0;
	case NUMBER:
		return number(dashed, text, w->most, (unsigned *)(void *)at);
	case SIZE:
		return size(dashed, text, (uint64_t *)(void *)at);
	case FLAG:
		*(bool *)at = true;
		return 0;
	default:
		return add_program(c, text);
	}
}

static const struct word *word_of(int which)
{
	for (size_t i = 0; i < WORDS; i++)
		if (words[i].letter ? words[i].letter == which : LONG_ONLY + (int)i == which)
			return &words[i];
	return NULL;
}

/* Returns -1 to go on, else an exit code. */
static int take_options(struct chosen *c, int argc, char **argv)
{
	struct option longs[WORDS + 1] = {0};
	int which;

	for (size_t i = 0; i < WORDS; i++)
		longs[i] = (struct option){words[i].name,
			words[i].kind == FLAG ? no_argument : required_argument, NULL,
			words[i].letter ? words[i].letter : LONG_ONLY + (int)i};
	while ((which = getopt_long(argc, argv, "hN:n:S:", longs, NULL)) != -1) {
		const struct word *w = word_of(which);

		if (!w || take(c, w, optarg))
			return 2;
		if (c->help)
			print_help();
		else if (c->version)
			(void)printf("famez-vm %s\n", FAMEZ_VERSION);
		if (c->help || c->version)
			return 0;
	}
	c->how.plan.last = c->how.plan.first;
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
	struct chosen c = {.of = OF_ALL};
	unsigned command = 0;
	int code;

	c.how.plan = (struct plan){.nodes = 2, .devices = 1, .name = "node"};
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
		(void)say(
			"--%s is not an option of %s (see --help)", c.odd, commands[command].name);
		return 2;
	}
	if (optind < argc - (command == 3))
		return wrong("the argument", argv[argc - 1], "there is nothing that it could be");
	if (command == 3)
		return visit(argv[optind], c.folder);
	return command == 2 ? start(&c.how) : print(&c.how.plan, command == 1);
}
