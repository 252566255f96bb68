/* SPDX-License-Identifier: MIT */
/*
 * test_mailbox_geometry.c - where everything is in the mailbox, and that a header which says
 * something else is not believed.
 */
#include "unit.h"

#include <errno.h>

#include "famez/mailbox.h"

static const uint32_t some_ids[] = {3, 4, 63, 64, 65, 66, 100, 1002, 4096, 16000};

/* An address to count from; nothing is read there. */
static char *const nowhere = (char *)(uintptr_t)(1u << 20); /* NOLINT(performance-no-int-to-ptr) */

/* The least power of two that has lanes. */
static uint64_t least_bytes(uint32_t ids)
{
	uint64_t needs = famez_geometry_needs(ids, FAMEZ_LANE_BYTES_MIN), bytes = 1;

	while (bytes < needs)
		bytes *= 2;
	return bytes;
}

static struct famez_geometry geometry(uint64_t bytes, uint32_t ids)
{
	struct famez_geometry g = {0};

	assert_int_equal(famez_geometry_of(&g, bytes, ids), 0);
	return g;
}

static void parts_follow_each_other_and_none_reaches_into_the_next(void **state)
{
	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		uint64_t ids = some_ids[i];
		struct famez_geometry g = geometry(least_bytes(some_ids[i]), some_ids[i]);

		assert_true(ids * FAMEZ_SLOT_BYTES <= g.directory_offset);
		assert_true(
			g.directory_offset + ids * sizeof(struct famez_entry) <= g.inbox_offset);
		assert_true(g.inbox_offset + ids * g.inbox_bytes <= g.lane_offset);
		assert_true(g.lane_offset + ids * ids * sizeof(struct famez_lane) <= g.data_offset);
		assert_true(g.data_offset + ids * ids * g.lane_bytes <= g.bytes);
		assert_int_equal(
			(g.directory_offset | g.inbox_offset | g.lane_offset | g.data_offset) %
				4096,
			0);
	}
}

static void whatever_has_one_writer_has_its_cache_lines_to_itself(void **state)
{
	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		struct famez_geometry g = geometry(least_bytes(some_ids[i]), some_ids[i]);
		char *base = nowhere;
		uint32_t last = g.ids - 1;

		assert_int_equal(g.inbox_bytes % 64, 0);
		assert_int_equal(((char *)famez_entry_at(base, &g, last) - base) % 64, 0);
		assert_int_equal(((char *)famez_inbox_at(base, &g, last) - base) % 64, 0);
		assert_int_equal(((char *)famez_lane_at(base, &g, last, 1) - base) % 64, 0);
	}
}

static void the_last_of_everything_ends_where_the_next_part_may_begin(void **state)
{
	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		struct famez_geometry g = geometry(least_bytes(some_ids[i]), some_ids[i]);
		char *base = nowhere;
		uint32_t last = g.ids - 1;

		assert_true((uint64_t)((char *)(famez_slot_at(base, last) + 1) - base) <=
			    g.directory_offset);
		assert_true((uint64_t)((char *)(famez_entry_at(base, &g, last) + 1) - base) <=
			    g.inbox_offset);
		assert_true((uint64_t)((char *)(famez_bitmap_at(base, &g, last, last) + 1) -
				       base) <= g.lane_offset);
		assert_true((uint64_t)((char *)(famez_lane_at(base, &g, last, last) + 1) - base) <=
			    g.data_offset);
		assert_true((uint64_t)((char *)famez_lane_data_at(base, &g, last, last) - base) +
				    g.lane_bytes <=
			    g.bytes);
	}
}

static void a_bitmap_has_a_bit_for_every_id_and_none_is_shared(void **state)
{
	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		struct famez_geometry g = geometry(least_bytes(some_ids[i]), some_ids[i]);
		char *base = nowhere;

		for (uint32_t id = 0; id < g.ids; id++) {
			uint64_t at = (uint64_t)((char *)famez_bitmap_at(base, &g, 1, id) - base);
			uint64_t inbox = g.inbox_offset + g.inbox_bytes;

			assert_int_equal(
				at, inbox + sizeof(struct famez_inbox) + (uint64_t)(id / 64) * 8);
			assert_true(at + 8 <= inbox + g.inbox_bytes);
		}
	}
}

static void lanes_are_the_largest_power_of_two_that_fits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		uint32_t ids = some_ids[i];

		for (uint64_t bytes = least_bytes(ids); bytes <= UINT64_C(1) << 40; bytes *= 2) {
			struct famez_geometry g = geometry(bytes, ids);

			assert_int_equal(g.lane_bytes & (g.lane_bytes - 1), 0);
			assert_true(g.lane_bytes >= FAMEZ_LANE_BYTES_MIN);
			assert_true(g.lane_bytes == FAMEZ_LANE_BYTES_MAX ||
				    famez_geometry_needs(ids, 2 * g.lane_bytes) > bytes);
		}
	}
}

static void lanes_stop_growing_where_positions_of_31_bits_end(void **state)
{
	(void)state;
	assert_int_equal(geometry(UINT64_C(1) << 40, 3).lane_bytes, FAMEZ_LANE_BYTES_MAX);
	assert_int_equal(geometry(UINT64_C(1) << 63, 3).lane_bytes, FAMEZ_LANE_BYTES_MAX);
}

static void a_file_that_is_too_small_by_half_is_refused_and_nothing_is_written(void **state)
{
	struct famez_geometry g, untouched;

	(void)state;
	memset(&untouched, 0xa5, sizeof(untouched));
	for (unsigned i = 0; i < UNIT_COUNT(some_ids); i++) {
		g = untouched;
		assert_int_equal(
			famez_geometry_of(&g, least_bytes(some_ids[i]) / 2, some_ids[i]), -EFBIG);
		assert_memory_equal(&g, &untouched, sizeof(g));
	}
}

static void numbers_of_ids_and_sizes_that_cannot_be_are_refused(void **state)
{
	struct famez_geometry g = {0};

	(void)state;
	for (uint32_t ids = 0; ids < 3; ids++)
		assert_int_equal(famez_geometry_of(&g, 1 << 20, ids), -EINVAL);
	assert_int_equal(famez_geometry_of(&g, UINT64_C(1) << 50, 65539), -EINVAL);
	assert_int_equal(famez_geometry_of(&g, UINT64_C(1) << 50, UINT32_MAX), -EINVAL);
	assert_int_equal(famez_geometry_of(&g, 0, 3), -EINVAL);
	assert_int_equal(famez_geometry_of(&g, (1 << 20) + 4096, 3), -EINVAL);
	assert_int_equal(famez_geometry_of(&g, UINT64_MAX, 3), -EINVAL);
}

static void as_many_ids_as_there_are_overflow_nothing(void **state)
{
	struct famez_geometry g = geometry(UINT64_C(1) << 45, 65538);
	char *base = nowhere;

	(void)state;
	assert_int_equal(g.data_offset + UINT64_C(65538) * 65538 * g.lane_bytes,
		famez_geometry_needs(65538, g.lane_bytes));
	assert_int_equal((uint64_t)((char *)famez_lane_data_at(base, &g, 65537, 65537) - base) +
				 g.lane_bytes,
		famez_geometry_needs(65538, g.lane_bytes));
	assert_int_equal(famez_geometry_of(&g, UINT64_C(1) << 44, 65538), -EFBIG);
}

/* ---- a header that is read -------------------------------------------------------------- */

#define BYTES (1u << 20)

/* Static, and aligned as a mapping is. */
static _Alignas(4096) unsigned char file[BYTES];

static struct famez_header *good_header(uint32_t ids, uint32_t vectors, uint32_t features)
{
	struct famez_geometry g = geometry(BYTES, ids);
	struct famez_header *h = famez_header_at(file);

	memset(file, 0, sizeof(file));
	*h = (struct famez_header){
		.magic = FAMEZ_HEADER_MAGIC,
		.version = FAMEZ_HEADER_VERSION,
		.features = features,
		.bytes = BYTES,
		.ids = ids,
		.server_id = ids - 1,
		.vectors = vectors,
		.lane_bytes = g.lane_bytes,
		.inbox_bytes = g.inbox_bytes,
		.server_shards = 2,
		.directory_offset = g.directory_offset,
		.inbox_offset = g.inbox_offset,
		.lane_offset = g.lane_offset,
		.data_offset = g.data_offset,
	};
	return h;
}

static int read_geometry(void)
{
	struct famez_geometry g = {0};

	return famez_geometry_read(&g, file, BYTES);
}

static void a_header_tells_what_does_not_follow_from_size_and_ids(void **state)
{
	struct famez_geometry g = {0}, of = geometry(BYTES, 6);

	(void)state;
	(void)good_header(6, 6, FAMEZ_FEATURE_VECTOR_IS_SENDER);
	assert_int_equal(famez_geometry_read(&g, file, BYTES), 0);
	assert_int_equal(g.ids, 6);
	assert_int_equal(g.server_id, 5);
	assert_int_equal(g.vectors, 6);
	assert_int_equal(g.features, FAMEZ_FEATURE_VECTOR_IS_SENDER);
	assert_int_equal(g.server_shards, 2);
	assert_int_equal(g.lane_bytes, of.lane_bytes);
	assert_int_equal(g.data_offset, of.data_offset);
}

static void offsets_are_computed_never_believed(void **state)
{
	struct famez_geometry g = {0}, of = geometry(BYTES, 6);
	struct famez_header *h = good_header(6, 6, 0);

	(void)state;
	h->directory_offset = UINT64_MAX;
	h->inbox_offset = 1;
	h->lane_offset = BYTES;
	h->data_offset = UINT64_MAX - 7;
	h->inbox_bytes = UINT32_MAX;
	assert_int_equal(famez_geometry_read(&g, file, BYTES), 0);
	assert_int_equal(g.directory_offset, of.directory_offset);
	assert_int_equal(g.inbox_offset, of.inbox_offset);
	assert_int_equal(g.lane_offset, of.lane_offset);
	assert_int_equal(g.data_offset, of.data_offset);
	assert_int_equal(g.inbox_bytes, of.inbox_bytes);
}

static void a_file_without_a_header_or_with_one_unfinished_has_none(void **state)
{
	struct famez_header *h = good_header(6, 6, 0);
	struct famez_geometry g = {0};

	(void)state;
	h->version = 0;
	assert_int_equal(read_geometry(), -ENOENT);
	h = good_header(6, 6, 0);
	h->magic++;
	assert_int_equal(read_geometry(), -ENOENT);
	(void)good_header(6, 6, 0);
	assert_int_equal(famez_geometry_read(&g, file, 256), -ENOENT);
	memset(file, 0, sizeof(file));
	assert_int_equal(read_geometry(), -ENOENT);
}

#define REFUSES(field, value)                                                                      \
	do {                                                                                       \
		struct famez_header *h_ = good_header(6, 6, 0);                                    \
                                                                                                   \
		h_->field = (value);                                                               \
		if (read_geometry() != -EPROTO)                                                    \
			fail_msg("%s = %s is taken", #field, #value);                              \
	} while (0)

static void a_header_that_cannot_be_true_is_refused(void **state)
{
	(void)state;
	REFUSES(version, 1);
	REFUSES(version, 3);
	REFUSES(bytes, 2 * (uint64_t)BYTES);
	REFUSES(bytes, 0);
	REFUSES(ids, 0);
	REFUSES(ids, 2);
	REFUSES(ids, 5); /* other lanes, and not the server's place */
	REFUSES(ids, 65538);
	REFUSES(ids, UINT32_MAX);
	REFUSES(server_id, 4);
	REFUSES(server_id, 6);
	REFUSES(server_id, FAMEZ_NOBODY - 1);
	REFUSES(lane_bytes, 0);
	REFUSES(lane_bytes, 3);
	REFUSES(lane_bytes, 1u << 31);
	REFUSES(lane_bytes, FAMEZ_LANE_BYTES_MIN / 2);
	REFUSES(vectors, 0);
	REFUSES(vectors, 2049);
	REFUSES(server_shards, 0);
	REFUSES(server_shards, FAMEZ_SHARDS_MAX + 1);
}

static void a_header_for_another_size_of_file_is_refused(void **state)
{
	struct famez_geometry g = {0};

	(void)state;
	(void)good_header(6, 6, 0);
	assert_int_equal(famez_geometry_read(&g, file, BYTES / 2), -EPROTO);
}

static void vectors_that_are_to_be_senders_must_be_enough(void **state)
{
	(void)state;
	(void)good_header(6, 5, FAMEZ_FEATURE_VECTOR_IS_SENDER);
	assert_int_equal(read_geometry(), -EPROTO);
	(void)good_header(6, 5, 0);
	assert_int_equal(read_geometry(), 0);
}

static void there_may_be_no_server(void **state)
{
	struct famez_geometry g = {0};

	(void)state;
	good_header(6, 6, 0)->server_id = FAMEZ_NOBODY;
	assert_int_equal(famez_geometry_read(&g, file, BYTES), 0);
	assert_int_equal(g.server_id, FAMEZ_NOBODY);
}

static void features_from_the_future_do_no_harm(void **state)
{
	(void)state;
	(void)good_header(6, 6, 0xfffffffcu);
	assert_int_equal(read_geometry(), 0);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(parts_follow_each_other_and_none_reaches_into_the_next),
		T(whatever_has_one_writer_has_its_cache_lines_to_itself),
		T(the_last_of_everything_ends_where_the_next_part_may_begin),
		T(a_bitmap_has_a_bit_for_every_id_and_none_is_shared),
		T(lanes_are_the_largest_power_of_two_that_fits),
		T(lanes_stop_growing_where_positions_of_31_bits_end),
		T(a_file_that_is_too_small_by_half_is_refused_and_nothing_is_written),
		T(numbers_of_ids_and_sizes_that_cannot_be_are_refused),
		T(as_many_ids_as_there_are_overflow_nothing),
		T(a_header_tells_what_does_not_follow_from_size_and_ids),
		T(offsets_are_computed_never_believed),
		T(a_file_without_a_header_or_with_one_unfinished_has_none),
		T(a_header_that_cannot_be_true_is_refused),
		T(a_header_for_another_size_of_file_is_refused),
		T(vectors_that_are_to_be_senders_must_be_enough),
		T(there_may_be_no_server),
		T(features_from_the_future_do_no_harm),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
