/*
 * Bits in an array of 64-bit words; bit n is bit n % 64 of word n / 64. No locking.
 */
#ifndef UTIL_BITMAP_H
#define UTIL_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_WORDS(bits)	(((bits) + 63) / 64)

/* bitmap_alloc - all bits zero; NULL when out of memory. Freed with free(). */
uint64_t *bitmap_alloc(uint64_t bits);

static inline bool bitmap_test(const uint64_t *map, uint64_t n)
{
	return map[n / 64] >> (n % 64) & 1;
}

static inline void bitmap_set(uint64_t *map, uint64_t n)
{
	map[n / 64] |= 1ULL << (n % 64);
}

static inline void bitmap_clear(uint64_t *map, uint64_t n)
{
	map[n / 64] &= ~(1ULL << (n % 64));
}

void bitmap_set_range(uint64_t *map, uint64_t first, uint64_t count);
void bitmap_clear_range(uint64_t *map, uint64_t first, uint64_t count);

/* First bit at or after `from` and before `end` that is set (clear); `end` when none is. */
uint64_t bitmap_next_set(const uint64_t *map, uint64_t from, uint64_t end);
uint64_t bitmap_next_clear(const uint64_t *map, uint64_t from, uint64_t end);

/* Number of set bits in [first, first + count). */
uint64_t bitmap_count(const uint64_t *map, uint64_t first, uint64_t count);

#endif
