/*
 * Ranges in bitmaps, a word at a time.
 *
 * Owns nothing: the caller owns the words and locks them. Every loop works on one 64-bit word and a mask of
 * the bits of the range that lie in it, so that a range costs its length divided by 64. Bits outside the
 * range are neither changed nor looked at; words past the last bit of a range are never touched, which lets
 * callers pass maps of exactly BITMAP_WORDS() words.
 */
#include "util/bitmap.h"

#include <stdlib.h>

#include "util/fault.h"

uint64_t *bitmap_alloc(uint64_t bits)
{
	uint64_t words = BITMAP_WORDS(bits);

	if (fault(FAULT_ALLOC) || words > SIZE_MAX / sizeof(uint64_t))
		return NULL;
	return calloc(words ? words : 1, sizeof(uint64_t));
}

/* The bits of [from, end) that lie in from's word; from < end. */
static uint64_t word_mask(uint64_t from, uint64_t end)
{
	uint64_t mask = ~0ULL << (from % 64);

	if (end / 64 == from / 64)
		mask &= ~(~0ULL << (end % 64));
	return mask;
}

/* First bit of the word after n's, or `end` if that is before it. */
static uint64_t next_word(uint64_t n, uint64_t end)
{
	return end - n <= 64 - n % 64 ? end : n + 64 - n % 64;
}

void bitmap_set_range(uint64_t *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, n;

	for (n = first; n < end; n = next_word(n, end))
		map[n / 64] |= word_mask(n, end);
}

void bitmap_clear_range(uint64_t *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, n;

	for (n = first; n < end; n = next_word(n, end))
		map[n / 64] &= ~word_mask(n, end);
}

uint64_t bitmap_next_set(const uint64_t *map, uint64_t from, uint64_t end)
{
	uint64_t n, bits;

	for (n = from; n < end; n = next_word(n, end)) {
		bits = map[n / 64] & word_mask(n, end);
		if (bits)
			return n - n % 64 + (uint64_t)__builtin_ctzll(bits);
	}
	return end;
}

uint64_t bitmap_next_clear(const uint64_t *map, uint64_t from, uint64_t end)
{
	uint64_t n, bits;

	for (n = from; n < end; n = next_word(n, end)) {
		bits = ~map[n / 64] & word_mask(n, end);
		if (bits)
			return n - n % 64 + (uint64_t)__builtin_ctzll(bits);
	}
	return end;
}

uint64_t bitmap_count(const uint64_t *map, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, n, sum = 0;

	for (n = first; n < end; n = next_word(n, end))
		sum += (uint64_t)__builtin_popcountll(map[n / 64] & word_mask(n, end));
	return sum;
}
