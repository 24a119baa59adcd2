/*
 * Sparse memory, and sets of numbers in it.
 *
 * The allocators keep a few bytes for each block or inode slot that a pool could have. Of a large pool that
 * is a lot of address space, of which little is touched while the pool is empty or full of large files; so
 * it is mapped, with zero standing for the state that most have. Both summary levels of a set change in the
 * same call; a search reads one word of members, then the words of the summary, each standing for 4096
 * numbers.
 */
#include "meta/sparse.h"

#include <errno.h>
#include <sys/mman.h>

#include "util/bitmap.h"
#include "util/fault.h"

void *sparse_alloc(size_t bytes)
{
	void *p;

	if (fault(FAULT_ALLOC))
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void sparse_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

static size_t bits_bytes(const struct sparse_set *s)
{
	return BITMAP_WORDS(s->universe) * sizeof(*s->bits);
}

static size_t words_bytes(const struct sparse_set *s)
{
	return BITMAP_WORDS(BITMAP_WORDS(s->universe)) * sizeof(*s->words);
}

int sparse_set_init(struct sparse_set *s, uint64_t universe)
{
	*s = (struct sparse_set){ .universe = universe };
	s->bits = sparse_alloc(bits_bytes(s));
	s->words = sparse_alloc(words_bytes(s));
	return s->bits && s->words ? 0 : -ENOMEM;
}

void sparse_set_free(struct sparse_set *s)
{
	sparse_free(s->bits, bits_bytes(s));
	sparse_free(s->words, words_bytes(s));
	*s = (struct sparse_set){ 0 };
}

void sparse_set_fill(struct sparse_set *s)
{
	bitmap_set_range(s->bits, 0, s->universe);
	bitmap_set_range(s->words, 0, BITMAP_WORDS(s->universe));
	s->count = s->universe;
}

/* Relaxed atomic stores cost no more than plain ones, and let others look without a lock. */
void sparse_set_assign(struct sparse_set *s, uint64_t n, bool member)
{
	uint64_t *word = &s->bits[n / 64], bit = 1ULL << (n % 64);

	if (!(*word & bit) == !member)
		return;
	__atomic_store_n(word, *word ^ bit, __ATOMIC_RELAXED);
	if (member) {
		bitmap_set(s->words, n / 64);
		s->count++;
	} else {
		if (!*word)
			bitmap_clear(s->words, n / 64);
		s->count--;
	}
}

void sparse_set_add_shared(struct sparse_set *s, uint64_t n)
{
	uint64_t *word = &s->bits[n / 64], bit = 1ULL << (n % 64), w = n / 64;

	if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit)
		return;
	__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	__atomic_fetch_or(&s->words[w / 64], 1ULL << (w % 64), __ATOMIC_RELAXED);
}

uint64_t sparse_set_next(const struct sparse_set *s, uint64_t from)
{
	uint64_t words = BITMAP_WORDS(s->universe), w, rest;

	if (from >= s->universe)
		return s->universe;
	rest = s->bits[from / 64] >> (from % 64);
	if (rest)
		return from + (unsigned int)__builtin_ctzll(rest);
	w = bitmap_next_set(s->words, from / 64 + 1, words);
	return w == words ? s->universe : w * 64 + (unsigned int)__builtin_ctzll(s->bits[w]);
}

uint64_t sparse_set_next_around(const struct sparse_set *s, uint64_t from)
{
	uint64_t n = sparse_set_next(s, from);

	return n < s->universe ? n : sparse_set_next(s, 0);
}
