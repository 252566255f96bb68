/* SPDX-License-Identifier: MIT */
/*
 * rules.c - the operator's two files, zones and bound IDs, as they are in force.
 *
 * Takes no memory: a file is read into a buffer that is here from the start. Judges nobody.
 */
#include "rules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "sandbox_calls.h"
#include "state.h"

SANDBOX_BROKER(CALL(read), CALL(close));

static char text[RULES_BYTES_MAX + 1];

struct look_file rules_file(const char *path)
{
	return (struct look_file){.path = path, .flags = O_RDONLY | O_CLOEXEC | O_NOCTTY};
}

/* Returns how many bytes there are in `text`. */
static int read_file(const char *path, struct why *why)
{
	const struct look_file file = rules_file(path);
	int fd = look_open(&file);
	size_t at = 0;
	ssize_t n;

	if (fd < 0)
		return why_fail(why, fd, "%.200s: cannot open it: %s", path, strerror(-fd));
	while ((n = read(fd, text + at, sizeof(text) - at)) > 0)
		at += (size_t)n;
	if (n < 0)
		n = why_fail(why, -errno, "%.200s: cannot read it: %s", path, strerror(errno));
	(void)close(fd);
	if (n < 0)
		return (int)n;
	if (at > RULES_BYTES_MAX)
		return why_fail(why, -EFBIG, "%.200s: too long; want at most %u bytes", path,
			RULES_BYTES_MAX);
	return (int)at;
}

int rules_read(struct rules *r, uint64_t carried, struct why *why)
{
	uint32_t sel = atomic_load_explicit(&r->memory->sel, memory_order_relaxed) & 1;
	struct zones *zones = &r->memory->side[!sel].zones;
	struct binds *binds = &r->memory->side[!sel].binds;
	int n = 0;

	if (r->zone_file) {
		n = read_file(r->zone_file, why);
		if (n >= 0)
			n = zones_parse(zones, &r->memory->side[sel].zones, carried, r->zone_file,
				text, (size_t)n, why);
	}
	if (n >= 0 && r->bind_file) {
		n = read_file(r->bind_file, why);
		if (n >= 0)
			n = binds_parse(
				binds, r->first_id, r->peers, r->bind_file, text, (size_t)n, why);
	}
	return n < 0 ? n : 0;
}

/* That counts, and that was read. */
static const struct binds *binds_of(const struct rules *r, bool read)
{
	uint32_t sel = atomic_load_explicit(&r->memory->sel, memory_order_relaxed) & 1;

	return &r->memory->side[read ? !sel : sel].binds;
}

bool rules_same_sockets(const struct rules *r)
{
	return !r->bind_file || binds_same_sockets(binds_of(r, false), binds_of(r, true));
}

int rules_gates(struct rules *r, const struct listener_wish *wish, bool patient, struct why *why)
{
	return r->bind_file ? gates_change(&r->memory->gates, binds_of(r, true), wish, patient, why)
			    : 0;
}

void rules_count(struct rules *r)
{
	uint32_t sel = atomic_load_explicit(&r->memory->sel, memory_order_relaxed) & 1;

	atomic_store_explicit(&r->memory->sel, !sel, memory_order_release);
	state_point();
}

const struct zones *rules_zones(const struct rules *r)
{
	uint32_t sel = atomic_load_explicit(&r->memory->sel, memory_order_acquire) & 1;

	return r->zone_file ? &r->memory->side[sel].zones : NULL;
}

const struct binds *rules_binds(const struct rules *r)
{
	uint32_t sel = atomic_load_explicit(&r->memory->sel, memory_order_acquire) & 1;

	return r->bind_file ? &r->memory->side[sel].binds : NULL;
}

bool rules_want_args(const struct rules *r)
{
	const struct zones *zones = rules_zones(r);
	const struct binds *binds = rules_binds(r);

	return (zones && zones_want_name(zones)) || (binds && binds_want_args(binds));
}

void rules_log(const struct rules *r)
{
	const struct zones *zones = rules_zones(r);
	const struct binds *binds = rules_binds(r);

	log_event(rules, LOG_NUMBER("zone_lines", zones ? zones->rules_count : 0),
		LOG_NUMBER("bound", binds ? binds->count : 0),
		LOG_NUMBER("sockets", gates_count(&r->memory->gates)));
}

void rules_log_wrong(const struct why *why)
{
	log_event(rules_wrong, LOG_TEXT("error", why->text),
		LOG_TEXT("hint", "what was read before stays in force"));
}
