/*
 * The recording region and its cuts: see emu_cut.h.
 *
 * Each question sets the emulation's crash state to the last event and draws images from it; recording goes on
 * afterwards. Each test runs in a process of its own, so the region is in a plain variable.
 */
#include "emu_cut.h"

#include <string.h>

struct region *r;
unsigned char image[SIZE];

void emu_cut_setup(void)
{
	r = emu_open(SIZE, NULL);
	ck_assert_ptr_nonnull(r);
	emu_record(r);
}

void emu_cut_teardown(void)
{
	region_close(r);
}

void store(uint64_t off, uint64_t value)
{
	persist_store(r, region_at(r, off), &value, sizeof(value));
}

void store_nt(uint64_t off, uint64_t value)
{
	persist_store_nt(r, region_at(r, off), &value, sizeof(value));
}

void flush(uint64_t off)
{
	persist_flush(r, region_at(r, off), 8);
}

void fence(void)
{
	ck_assert_int_eq(persist_fence(r, PERSIST_COMMIT), 0);
}

uint64_t in_image(uint64_t off)
{
	uint64_t v;

	memcpy(&v, image + off, sizeof(v));
	return v;
}

uint64_t oldest(uint64_t off)
{
	emu_crash_begin(r, emu_events(r));
	emu_crash_subset(r, 0, image);
	return in_image(off);
}

uint64_t newest(uint64_t off)
{
	emu_crash_begin(r, emu_events(r));
	emu_crash_subset(r, ~0ULL, image);
	return in_image(off);
}

/* 400 draws miss one of 8 values about once in 10^23. */
bool possible(uint64_t off, uint64_t value)
{
	uint64_t seed;

	emu_crash_begin(r, emu_events(r));
	for (seed = 0; seed < 400; seed++) {
		emu_crash_random(r, seed, image);
		if (in_image(off) == value)
			return true;
	}
	return false;
}

unsigned int lines_now(void)
{
	emu_crash_begin(r, emu_events(r));
	return emu_crash_lines(r);
}
