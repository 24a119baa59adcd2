/*
 * The free-map cache of a clean unmount: does it verify, and does it say what the inodes say?
 *
 * The cache is believed by the next mount without a look at any inode, so a bit that is wrong in it is as bad
 * as a shared block (a block in use called free) or lost space (the other way round). It lies in blocks that
 * are free and that it calls free. A cache that does not verify is only a warning: the mount then scans.
 */
#include <stddef.h>

#include "check/check_private.h"

static uint64_t bitmap_bytes(uint64_t bits)
{
	return BITMAP_WORDS(bits) * sizeof(le64);
}

const char *freemap_find(const struct check *c, struct freemap *map)
{
	uint64_t off = c->tail.freemap_block << BLOCK_SHIFT;
	uint64_t room = (uint64_t)c->tail.freemap_blocks << BLOCK_SHIFT;
	const struct disk_freemap *d = region_at(c->region, off);
	uint64_t len;

	if (room < sizeof(*d) || !region_contains(c->region, off, room))
		return "place";
	if (le64_to_cpu(d->blocks) != c->super.blocks)
		return "number of blocks";
	map->inode_bits = le64_to_cpu(d->inodes);
	if (map->inode_bits > INO_MAX + 1)
		return "number of inodes";
	len = sizeof(*d) + bitmap_bytes(c->super.blocks) + bitmap_bytes(map->inode_bits);
	if ((len + BLOCK_SIZE - 1) >> BLOCK_SHIFT != c->tail.freemap_blocks)
		return "length";
	if (le64_to_cpu(d->mount) != c->tail.mount)
		return "mount sequence";
	map->blocks = (const le64 *)(d + 1);
	map->inodes = map->blocks + BITMAP_WORDS(c->super.blocks);
	return check_sealed(c, d, len, off, FREEMAP_MAGIC);
}

/* Bits that differ in one word, counted into the context, which keeps the first. */
static void compare_word(struct problem_context *ctx, uint64_t *first, uint64_t n, uint64_t cached,
			 uint64_t derived)
{
	uint64_t differ = cached ^ derived;
	unsigned int bit;

	if (!differ)
		return;
	if (!ctx->found) {
		bit = (unsigned int)__builtin_ctzll(differ);
		*first = n * 64 + bit;
		ctx->what = cached >> bit & 1 ? "in use" : "free";
		ctx->by = derived >> bit & 1 ? "in use" : "free";
	}
	ctx->found += (unsigned int)__builtin_popcountll(differ);
}

static void compare_blocks(struct check *c, const struct freemap *map)
{
	struct problem_context ctx = { 0 };
	const uint64_t *used = space_used(c);

	for (uint64_t i = 0; i < BITMAP_WORDS(c->super.blocks); i++)
		compare_word(&ctx, &ctx.block, i, le64_to_cpu(map->blocks[i]), used[i]);
	if (ctx.found)
		check_problem(c, PROBLEM_FREEMAP_BLOCKS, &ctx);
}

/* The 64 slots from `ino` on, as a word: 1 for those that are not free. */
static uint64_t derived_inodes(struct check *c, uint64_t ino)
{
	const struct check_slot *slots;
	uint64_t word = 0;

	for (unsigned int i = 0; i < 64; i += INODES_PER_BLOCK) {
		slots = check_slot(c, ino + i);
		for (unsigned int k = 0; slots && k < INODES_PER_BLOCK; k++)
			word |= (uint64_t)(slots[k].state != SLOT_FREE) << (i + k);
	}
	return word;
}

static void compare_inodes(struct check *c, const struct freemap *map)
{
	struct problem_context ctx = { 0 };

	for (uint64_t i = 0; i < BITMAP_WORDS(map->inode_bits); i++)
		compare_word(&ctx, &ctx.ino, i, le64_to_cpu(map->inodes[i]), derived_inodes(c, i * 64));
	if (ctx.found)
		check_problem(c, PROBLEM_FREEMAP_INODES, &ctx);
}

int freemap_check(struct check *c)
{
	struct problem_context ctx = { .block = c->tail.freemap_block };
	uint64_t end = c->tail.freemap_block + c->tail.freemap_blocks;
	struct freemap map;

	ctx.what = freemap_find(c, &map);
	if (!ctx.what && map.inode_bits != c->table_slots)
		ctx.what = "number of inodes";
	if (ctx.what)
		return check_problem(c, PROBLEM_FREEMAP_INVALID, &ctx);
	if (bitmap_next_set(space_used(c), c->tail.freemap_block, end) < end)
		check_problem(c, PROBLEM_FREEMAP_IN_USE, &ctx);
	if (!space_conflicts(c))
		compare_blocks(c, &map);
	compare_inodes(c, &map);
	return 0;
}
