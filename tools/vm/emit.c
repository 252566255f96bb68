/* SPDX-License-Identifier: MIT */
/*
 * emit.c - a plan as QEMU's arguments, or as libvirt's elements.
 *
 * Only prints. The plan was checked; its text may still hold what a shell, QEMU's options or
 * XML would read otherwise, and is quoted here for each of them. What libvirt can't say of its own
 * (a plain device whose file is not /dev/shm/NAME) goes through <qemu:commandline>; that device
 * needs a PCI slot of its own, since libvirt does not know of it.
 */
#include "emit.h"

#include "size.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Free in what libvirt lays out by itself: it begins at the other end. */
#define FAM_SLOT "0x1d"

#define SHM_FOLDER "/dev/shm/"

/* QEMU's options end at a comma, unless there are two of them. */
static void put_option_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		(void)fputc(*text, to);
		if (*text == ',')
			(void)fputc(',', to);
	}
}

static char *option_with_path(const char *before, const char *path, const char *after)
{
	char *text = NULL;
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return NULL;
	(void)fputs(before, to);
	put_option_text(to, path);
	(void)fputs(after, to);
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

/* The first one's has no number. */
static const char *chardev_of(unsigned device, char id[16])
{
	if (!device)
		return "famez";
	(void)snprintf(id, 16, "famez%u", device);
	return id;
}

char *emit_chardev(const struct plan *p, unsigned device)
{
	char id[16], before[40];

	(void)snprintf(before, sizeof(before), "socket,id=%s,path=", chardev_of(device, id));
	return option_with_path(before, p->socket, "");
}

char *emit_doorbell(const struct plan *p, unsigned device)
{
	char id[16], *text;

	if (asprintf(&text, "ivshmem-doorbell,id=famez%u,chardev=%s,vectors=%u", device,
		    chardev_of(device, id), p->vectors) < 0)
		return NULL;
	return text;
}

/* A word, quoted where a shell would take it apart. */
static void put_word(FILE *to, const char *text)
{
	if (!text[strcspn(text, " \t\"'\\$`&|;<>()*?[]#~!{}")]) {
		(void)fputs(text, to);
		return;
	}
	(void)fputc('\'', to);
	for (const char *at = text; *at; at++)
		if (*at == '\'')
			(void)fputs("'\\''", to);
		else
			(void)fputc(*at, to);
	(void)fputc('\'', to);
}

/* One argument. Takes @text, which was malloc()ed. */
static void put_argument(FILE *to, const char *option, char *text)
{
	if (!text) {
		(void)fputs("famez-vm: out of memory\n", stderr);
		abort();
	}
	(void)fprintf(to, " %s ", option);
	put_word(to, text);
	free(text);
}

__attribute__((format(printf, 3, 4))) static void put(
	FILE *to, const char *option, const char *form, ...)
{
	va_list words;
	char *text;

	va_start(words, form);
	if (vasprintf(&text, form, words) < 0)
		text = NULL;
	va_end(words);
	put_argument(to, option, text);
}

static void put_fam(FILE *to, const struct plan *p, const char *slot)
{
	char after[96];

	(void)snprintf(after, sizeof(after), ",size=%" PRIu64 ",share=on", p->fam);
	put_argument(to, "-object",
		option_with_path("memory-backend-file,id=fam,mem-path=", p->fam_path, after));
	put(to, "-device", "ivshmem-plain,id=fam0,memdev=fam%s", slot);
}

void emit_args(FILE *to, const struct plan *p)
{
	char name[64], size[SIZE_TEXT_BYTES];

	for (unsigned node = p->first; node <= p->last; node++) {
		(void)fputs("-name ", to);
		(void)fputs(plan_name(p, node, name, sizeof(name)), to);
		if (p->phys_bits > PLAN_PHYS_BITS_USUAL)
			put(to, "-cpu", "max,phys-bits=%u", p->phys_bits);
		if (p->ram)
			put(to, "-m", "%" PRIu64 "M", p->ram >> 20);
		if (p->page) {
			put(to, "-object",
				"memory-backend-memfd,id=ram,size=%" PRIu64
				"M,hugetlb=on,hugetlbsize=%s",
				p->ram >> 20, size_text(size, p->page));
			put(to, "-machine", "memory-backend=ram");
		}
		put_argument(to, "-chardev", emit_chardev(p, 0));
		put_argument(to, "-device", emit_doorbell(p, 0));
		if (p->fam)
			put_fam(to, p, "");
		(void)fputc('\n', to);
	}
}

/* ---- libvirt ----------------------------------------------------------------------------- */

static void put_xml_text(FILE *to, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			(void)fputs("&amp;", to);
			break;
		case '<':
			(void)fputs("&lt;", to);
			break;
		case '\'':
			(void)fputs("&apos;", to);
			break;
		default:
			(void)fputc(*text, to);
		}
}

/* The name of a file that libvirt's own element can say; NULL: it can't. */
static const char *shm_name(const struct plan *p)
{
	const char *name = p->fam_path + strlen(SHM_FOLDER);

	if (strncmp(p->fam_path, SHM_FOLDER, strlen(SHM_FOLDER)) != 0 || !*name ||
		strchr(name, '/') || p->fam < UINT64_C(1) << 20)
		return NULL;
	return name;
}

static void put_domain(FILE *to, const struct plan *p)
{
	if (p->ram)
		(void)fprintf(to, "<memory unit='MiB'>%" PRIu64 "</memory>\n", p->ram >> 20);
	if (p->page)
		(void)fprintf(to,
			"<memoryBacking>\n"
			"  <hugepages>\n"
			"    <page size='%" PRIu64 "' unit='MiB'/>\n"
			"  </hugepages>\n"
			"</memoryBacking>\n",
			p->page >> 20);
	if (p->phys_bits > PLAN_PHYS_BITS_USUAL)
		(void)fprintf(to,
			"<cpu mode='maximum'>\n"
			"  <maxphysaddr mode='emulate' bits='%u'/>\n"
			"</cpu>\n",
			p->phys_bits);
}

static void put_devices(FILE *to, const struct plan *p)
{
	(void)fputs("<shmem name='famez'>\n"
		    "  <model type='ivshmem-doorbell'/>\n"
		    "  <server path='",
		to);
	put_xml_text(to, p->socket);
	(void)fprintf(to,
		"'/>\n"
		"  <msi vectors='%u' ioeventfd='on'/>\n"
		"</shmem>\n",
		p->vectors);
	if (!p->fam || !shm_name(p))
		return;
	(void)fputs("<shmem name='", to);
	put_xml_text(to, shm_name(p));
	(void)fprintf(to,
		"'>\n"
		"  <model type='ivshmem-plain'/>\n"
		"  <size unit='M'>%" PRIu64 "</size>\n"
		"</shmem>\n",
		p->fam >> 20);
}

/* What libvirt has no element for. */
static void put_commandline(FILE *to, const struct plan *p)
{
	char after[96];
	char *object;

	(void)snprintf(after, sizeof(after), ",size=%" PRIu64 ",share=on", p->fam);
	object = option_with_path("memory-backend-file,id=fam,mem-path=", p->fam_path, after);
	(void)fputs("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
		    "  <qemu:arg value='-object'/>\n"
		    "  <qemu:arg value='",
		to);
	put_xml_text(to, object ? object : "");
	free(object);
	(void)fputs("'/>\n"
		    "  <qemu:arg value='-device'/>\n"
		    "  <qemu:arg value='ivshmem-plain,id=fam0,memdev=fam,addr=" FAM_SLOT "'/>\n"
		    "</qemu:commandline>\n",
		to);
}

void emit_xml(FILE *to, const struct plan *p)
{
	char name[64];

	for (unsigned node = p->first; node <= p->last; node++) {
		bool by_hand = p->fam && !shm_name(p);

		(void)plan_name(p, node, name, sizeof(name));
		if (p->ram || p->phys_bits > PLAN_PHYS_BITS_USUAL) {
			(void)fprintf(to, "<!-- %s: in <domain> -->\n", name);
			put_domain(to, p);
		}
		(void)fprintf(to, "<!-- %s: in <devices> -->\n", name);
		put_devices(to, p);
		if (by_hand) {
			(void)fprintf(to, "<!-- %s: in <domain>, after <devices> -->\n", name);
			put_commandline(to, p);
		}
	}
}

/* ---- remarks ----------------------------------------------------------------------------- */

void emit_remarks(FILE *to, const struct plan *p)
{
	char a[SIZE_TEXT_BYTES], b[SIZE_TEXT_BYTES];

	(void)fprintf(to,
		"descriptors: %" PRIu64
		" for each QEMU (%u peers and the server, %u vectors each): "
		"max_files = %" PRIu64 " in libvirt's qemu.conf, or ulimit -n\n",
		p->files, p->nodes, p->vectors, p->files);
	(void)fputs("broker: famez-server -S ", to);
	put_word(to, p->socket);
	(void)fprintf(to, " --peers %u -n %u\n", p->nodes, p->vectors);
	if (p->fam != p->fam_asked)
		(void)fprintf(to,
			"--fam %s is no power of two: the device has %s, the file is sparse\n",
			size_text(a, p->fam_asked), size_text(b, p->fam));
	if (p->phys_bits > PLAN_PHYS_BITS_USUAL)
		(void)fprintf(to,
			"addresses: %s of device memory take phys-bits=%u; with KVM the host's "
			"processor "
			"must have as many (address sizes in /proc/cpuinfo)\n",
			size_text(a, p->mailbox > p->fam ? p->mailbox : p->fam), p->phys_bits);
	if (p->fam >= UINT64_C(64) << 40)
		(void)fputs("addresses: a QEMU that maps so much needs a host with five levels of "
			    "pages "
			    "(la57), and so does its guest\n",
			to);
}
