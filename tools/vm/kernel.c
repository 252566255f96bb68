/* SPDX-License-Identifier: MIT */
/*
 * kernel.c - the kernel that guests boot.
 *
 * A distribution's image unpacks itself, which takes an emulated processor three seconds. The
 * kernel inside is an ELF file that QEMU can boot as it is (PVH), so we unpack it, once for each
 * release, into the cache: under another name first, so that there is never half of one. The
 * image's layout is Linux' Documentation/arch/x86/boot.rst. An image that is packed with
 * something else than xz is booted as it is.
 *
 * The image is the administrator's, and yet checked: a length in it may lie.
 */
#include "kernel.h"

#include "say.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGES "/boot/vmlinuz-*"

/* boot.rst, "The Real-Mode Kernel Header". */
#define AT_SETUP_SECTS    0x1f1u
#define AT_HEADER         0x202u
#define AT_KERNEL_VERSION 0x20eu
#define AT_PAYLOAD        0x248u
#define HEADER_END        0x250u
#define SECTOR            512u

static const uint8_t xz_magic[] = {0xfd, '7', 'z', 'X', 'Z', 0};

/* An image in memory. */
struct image {
	const uint8_t *bytes;
	size_t count;
};

static uint32_t word_at(const struct image *i, size_t at)
{
	uint32_t word;

	memcpy(&word, i->bytes + at, sizeof(word));
	return le32toh(word);
}

static bool is_image(const struct image *i)
{
	return i->count >= HEADER_END && memcmp(i->bytes + AT_HEADER, "HdrS", 4) == 0;
}

/* Its release is the first word of the version's text, which lies in the set-up code. */
static bool read_release(const struct image *i, char release[KERNEL_RELEASE_BYTES])
{
	size_t at = (size_t)(i->bytes[AT_KERNEL_VERSION] | i->bytes[AT_KERNEL_VERSION + 1] << 8) +
		    SECTOR;
	size_t length = 0;

	while (at + length < i->count && length < KERNEL_RELEASE_BYTES - 1 &&
		i->bytes[at + length] > ' ' && i->bytes[at + length] <= '~' &&
		i->bytes[at + length] != '/')
		length++;
	if (!length || at + length >= i->count)
		return false;
	memcpy(release, i->bytes + at, length);
	release[length] = 0;
	return true;
}

/* What is packed in it, if that is xz. */
static bool payload(const struct image *i, struct image *packed)
{
	size_t setup = (i->bytes[AT_SETUP_SECTS] ? i->bytes[AT_SETUP_SECTS] : 4u) * SECTOR + SECTOR;
	uint64_t at = (uint64_t)setup + word_at(i, AT_PAYLOAD);
	uint64_t count = word_at(i, AT_PAYLOAD + 4);

	if (at > i->count || count > i->count - at || count < sizeof(xz_magic) ||
		memcmp(i->bytes + at, xz_magic, sizeof(xz_magic)) != 0)
		return false;
	*packed = (struct image){i->bytes + at, count};
	return true;
}

static int unpack_into(FILE *to, const struct image *packed)
{
	static uint8_t buffer[1 << 16];
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret got = lzma_stream_decoder(&stream, UINT64_MAX, 0);

	stream.next_in = packed->bytes;
	stream.avail_in = packed->count;
	while (got == LZMA_OK) {
		stream.next_out = buffer;
		stream.avail_out = sizeof(buffer);
		got = lzma_code(&stream, LZMA_RUN);
		(void)fwrite(buffer, 1, sizeof(buffer) - stream.avail_out, to); /* see ferror() */
		if (got == LZMA_OK && !stream.avail_in && stream.avail_out == sizeof(buffer))
			got = LZMA_DATA_ERROR; /* cut off */
	}
	lzma_end(&stream);
	return got == LZMA_STREAM_END ? 0 : -EBADMSG;
}

/* Under another name first. */
static int unpack(const struct kernel *k, const struct image *packed)
{
	char half[PATH_MAX + 16];
	FILE *to;
	int err, fd;

	(void)snprintf(half, sizeof(half), "%s.XXXXXX", k->boots);
	fd = mkostemp(half, O_CLOEXEC);
	if (fd < 0)
		return say("%s: %s", half, strerror(errno));
	to = fdopen(fd, "we");
	if (!to) {
		(void)close(fd); /* nothing was written */
		(void)unlink(half);
		return say("out of memory");
	}
	err = unpack_into(to, packed);
	if (ferror(to) && !err)
		err = -EIO;
	if (fclose(to) != 0 && !err)
		err = -errno;
	if (!err && rename(half, k->boots) < 0)
		err = -errno;
	if (!err)
		return 0;
	(void)unlink(half);
	if (err == -EBADMSG)
		return say("%s can't be unpacked: it is damaged", k->image);
	return say("%s: %s", k->boots, strerror(-err));
}

/* The newest that we may read. */
static int find_image(char image[PATH_MAX])
{
	const char *best = NULL;
	glob_t all;

	if (glob(IMAGES, 0, NULL, &all) == 0)
		for (size_t i = 0; i < all.gl_pathc; i++)
			if (access(all.gl_pathv[i], R_OK) == 0 &&
				(!best || strverscmp(all.gl_pathv[i], best) > 0))
				best = all.gl_pathv[i];
	if (best)
		(void)snprintf(image, PATH_MAX, "%s", best);
	globfree(&all);
	return best ? 0
		    : say("no readable kernel in /boot: install linux-image-amd64, or give one "
			  "with "
			  "--kernel");
}

/* In the cache already, made from this very image? The name says which release, and size and time
 * of the image which build of it. */
static bool is_cached(const struct kernel *k)
{
	return access(k->boots, R_OK) == 0;
}

static int get(
	struct kernel *k, const struct image *image, const struct stat *st, const char *cache)
{
	struct image packed;
	int length;

	if (!is_image(image) || !read_release(image, k->release))
		return say("%s is no kernel image of an x86 Linux", k->image);
	if (!payload(image, &packed)) {
		(void)snprintf(k->boots, sizeof(k->boots), "%s", k->image);
		return 0;
	}
	length = snprintf(k->boots, sizeof(k->boots), "%s/vmlinux-%s-%" PRIx64 "-%" PRIx64, cache,
		k->release, (uint64_t)st->st_size, (uint64_t)st->st_mtime);
	if (length < 0 || (size_t)length >= sizeof(k->boots))
		return say("--cache: the path is too long");
	if (is_cached(k))
		return 0;
	say_step("kernel", "unpacking %s, once", k->image);
	return unpack(k, &packed);
}

int kernel_get(struct kernel *k, const char *image, const char *cache)
{
	struct image mapped;
	struct stat st;
	void *bytes;
	int fd, err;

	if (!image && find_image(k->image))
		return -1;
	if (image && (size_t)snprintf(k->image, sizeof(k->image), "%s", image) >= sizeof(k->image))
		return say("--kernel: the path is too long");
	fd = open(k->image, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = say("%s: %s", k->image, strerror(errno));
		if (fd >= 0)
			(void)close(fd); /* only read from */
		return err;
	}
	bytes = st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
			       : MAP_FAILED;
	(void)close(fd); /* only read from */
	if (bytes == MAP_FAILED)
		return say("%s is no kernel image of an x86 Linux", k->image);
	mapped = (struct image){bytes, (size_t)st.st_size};
	err = get(k, &mapped, &st, cache);
	(void)munmap(bytes, (size_t)st.st_size);
	return err;
}
