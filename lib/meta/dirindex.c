/*
 * The index of one directory, in DRAM.
 *
 * Names: an open-addressing table of 8-byte slots, each the 32-bit hash of a name and the place of its entry;
 * linear probing, at most 7/8 full, doubled from the stored hashes without a look at the media. A removal
 * shifts the slots behind it back, so that there are no tombstones and the table never needs cleaning. Names
 * are not kept: of two names with one hash meta/dir.c finds the right one by comparing with the media, which
 * happens about once in 4,000 lookups of a directory of a million entries.
 *
 * Room: an implicit tree over the blocks' gaps, each node the larger of its two children (node 1 is the root,
 * the children of node n are 2n and 2n + 1, the leaves stand at the end in block order). "First block with
 * room for n bytes" is one walk down, a changed gap one walk up.
 *
 * Relies on: dirindex_reserve() before a change, so that no change and no undoing of one needs memory.
 * Neither table ever shrinks while the index lives, for the same reason. Crash safety is not a matter here:
 * the index is rebuilt.
 */
#include "meta/dirindex.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#include "util/fault.h"

#define SLOTS_MIN	16U
#define LEAVES_MIN	4U

/* place 0: the slot is free. */
struct slot {
	uint32_t	hash;
	uint32_t	place;
};

struct dir_index {
	struct slot	*slots;
	uint64_t	 mask;		/* slots - 1, a power of two less one */
	uint64_t	 count;		/* slots taken */
	uint16_t	*gaps;		/* 2 * leaves nodes, node 0 unused */
	uint64_t	 leaves;	/* a power of two */
	uint64_t	 hole_hint;	/* no hole lies below */
};

/* Drawn once, constant after. */
static uint64_t hash_seed;
static pthread_once_t hash_seed_once = PTHREAD_ONCE_INIT;

static void hash_seed_draw(void)
{
	struct timespec now;

	if (getrandom(&hash_seed, sizeof(hash_seed), 0) == sizeof(hash_seed))
		return;
	/* No random numbers in this sandbox: a guessable seed costs speed under attack, nothing else. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	hash_seed = (uint64_t)now.tv_nsec << 32 ^ (uintptr_t)&now;
}

uint32_t dirindex_hash(const char *name, unsigned int len)
{
	pthread_once(&hash_seed_once, hash_seed_draw);
	return XXH3_64bits_withSeed(name, len, hash_seed);
}

static void *zalloc(uint64_t count, size_t size)
{
	return fault(FAULT_ALLOC) ? NULL : calloc(count, size);
}

struct dir_index *dirindex_new(void)
{
	struct dir_index *idx = zalloc(1, sizeof(*idx));

	if (!idx)
		return NULL;
	idx->mask = SLOTS_MIN - 1;
	idx->leaves = LEAVES_MIN;
	idx->slots = zalloc(SLOTS_MIN, sizeof(*idx->slots));
	idx->gaps = zalloc(2 * LEAVES_MIN, sizeof(*idx->gaps));
	if (!idx->slots || !idx->gaps) {
		dirindex_delete(idx);
		return NULL;
	}
	return idx;
}

void dirindex_delete(struct dir_index *idx)
{
	if (!idx)
		return;
	free(idx->slots);
	free(idx->gaps);
	free(idx);
}

uint64_t dirindex_count(const struct dir_index *idx)
{
	return idx->count;
}

uint64_t dirindex_bytes(const struct dir_index *idx)
{
	return sizeof(*idx) + (idx->mask + 1) * sizeof(*idx->slots) + 2 * idx->leaves * sizeof(*idx->gaps);
}

/* ---- Names --------------------------------------------------------------------------------------------- */

static void slot_put(struct slot *slots, uint64_t mask, struct slot new)
{
	uint64_t i = new.hash & mask;

	while (slots[i].place)
		i = (i + 1) & mask;
	slots[i] = new;
}

static int slots_grow(struct dir_index *idx)
{
	uint64_t mask = 2 * idx->mask + 1;
	struct slot *slots = zalloc(mask + 1, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint64_t i = 0; i <= idx->mask; i++)
		if (idx->slots[i].place)
			slot_put(slots, mask, idx->slots[i]);
	free(idx->slots);
	idx->slots = slots;
	idx->mask = mask;
	return 0;
}

static bool slots_full(const struct dir_index *idx)
{
	uint64_t size = idx->mask + 1;

	return idx->count >= size - size / 8;
}

void dirindex_insert(struct dir_index *idx, uint32_t hash, uint32_t place)
{
	assert(place && !slots_full(idx));
	slot_put(idx->slots, idx->mask, (struct slot){ hash, place });
	idx->count++;
}

/*
 * Knuth's algorithm R: after the slot at `hole` is emptied, a later slot of the same run moves into it unless
 * its home lies behind the hole, for then a probe that starts there would miss it.
 */
void dirindex_remove(struct dir_index *idx, uint32_t hash, uint32_t place)
{
	uint64_t mask = idx->mask, hole = hash & mask;

	while (idx->slots[hole].place != place) {
		assert(idx->slots[hole].place);
		hole = (hole + 1) & mask;
	}
	for (uint64_t i = (hole + 1) & mask; idx->slots[i].place; i = (i + 1) & mask) {
		uint64_t home = idx->slots[i].hash & mask;

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			idx->slots[hole] = idx->slots[i];
			hole = i;
		}
	}
	idx->slots[hole].place = 0;
	idx->count--;
}

uint32_t dirindex_probe(const struct dir_index *idx, struct dirindex_probe *probe)
{
	const struct slot *s;

	for (;;) {
		s = &idx->slots[(probe->hash + probe->step) & idx->mask];
		if (!s->place)
			return 0;
		probe->step++;
		if (s->hash == probe->hash)
			return s->place;
	}
}

/* ---- Room ---------------------------------------------------------------------------------------------- */

static uint16_t larger(uint16_t a, uint16_t b)
{
	return a > b ? a : b;
}

static int gaps_grow(struct dir_index *idx, uint64_t blocks)
{
	uint64_t leaves = idx->leaves;
	uint16_t *gaps;

	while (leaves < blocks)
		leaves *= 2;
	gaps = zalloc(2 * leaves, sizeof(*gaps));
	if (!gaps)
		return -ENOMEM;
	for (uint64_t i = 0; i < idx->leaves; i++)
		gaps[leaves + i] = idx->gaps[idx->leaves + i];
	for (uint64_t n = leaves - 1; n; n--)
		gaps[n] = larger(gaps[2 * n], gaps[2 * n + 1]);
	free(idx->gaps);
	idx->gaps = gaps;
	idx->leaves = leaves;
	return 0;
}

void dirindex_set_gap(struct dir_index *idx, uint64_t block, uint16_t gap)
{
	uint64_t n = idx->leaves + block;

	assert(block < idx->leaves);
	if (gap == DIRINDEX_HOLE && block < idx->hole_hint)
		idx->hole_hint = block;
	idx->gaps[n] = gap;
	for (n /= 2; n; n /= 2) {
		uint16_t max = larger(idx->gaps[2 * n], idx->gaps[2 * n + 1]);

		if (idx->gaps[n] == max)
			break;
		idx->gaps[n] = max;
	}
}

uint16_t dirindex_gap(const struct dir_index *idx, uint64_t block)
{
	return block < idx->leaves ? idx->gaps[idx->leaves + block] : 0;
}

uint64_t dirindex_find_gap(const struct dir_index *idx, uint16_t need)
{
	uint64_t n = 1;

	if (idx->gaps[1] < need)
		return DIRINDEX_NONE;
	while (n < idx->leaves) {
		n *= 2;
		if (idx->gaps[n] < need)
			n++;
	}
	return n - idx->leaves;
}

/*
 * The hint only rises here and is lowered only to a new hole; since a hole is looked for only once every gap
 * below is too small, a block's worth of entries pays for each block that is passed.
 */
uint64_t dirindex_find_hole(struct dir_index *idx, uint64_t blocks)
{
	while (idx->hole_hint < blocks && dirindex_gap(idx, idx->hole_hint) != DIRINDEX_HOLE)
		idx->hole_hint++;
	return idx->hole_hint < blocks ? idx->hole_hint : blocks;
}

int dirindex_reserve(struct dir_index *idx, uint64_t blocks)
{
	int err = 0;

	if (slots_full(idx))
		err = slots_grow(idx);
	if (!err && blocks > idx->leaves)
		err = gaps_grow(idx, blocks);
	return err;
}
