/*
 * Who owns which block, and pass 3: shared blocks and the free-map cache.
 *
 * Every block has at most one owner: the fixed area, an inode's data, one of its extent nodes, or its
 * attributes. The walks of the other passes claim what they find in a bitmap. A bit that is set already is a
 * shared block: the claim stops there and remembers the block and the second owner. The first owner was not
 * recorded (that would cost many bytes a block on all pools for the sake of the damaged ones), so when there
 * are conflicts the same claims are made once more, in the same order, on an empty bitmap: the first claim
 * that covers a remembered block is its owner.
 *
 * Relies on:	pass_super (fixed area claimed), pass_inode (all inodes' blocks claimed)
 * Produces:	report->blocks_used; a finding for each shared run, with both owners; findings on the free-map
 *		cache
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check_private.h"

#define CONFLICTS_KEPT	4096U		/* beyond that, no first owner is looked for */

struct conflict {
	uint64_t	block;
	struct owner	first, second;
	bool		found;		/* `first` is set */
};

struct space {
	uint64_t	*used;
	uint64_t	 blocks;
	uint64_t	 count;		/* conflicts met */
	struct conflict	*conflicts;	/* the first CONFLICTS_KEPT of them; then sorted by block */
	bool		 looking;	/* second round: look for first owners */
};

void space_delete(struct space *s)
{
	if (!s)
		return;
	free(s->used);
	free(s->conflicts);
	free(s);
}

const uint64_t *space_used(const struct check *c)
{
	return c->space->used;
}

uint64_t space_conflicts(const struct check *c)
{
	return c->space->count;
}

static uint64_t conflicts_kept(const struct space *s)
{
	return s->count < CONFLICTS_KEPT ? s->count : CONFLICTS_KEPT;
}

static int conflict_order(const void *a, const void *b)
{
	const struct conflict *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/* Second round: this claim comes first for the remembered blocks in it that have no owner yet. */
static void conflict_match(struct space *s, struct owner owner, uint64_t start, uint64_t count)
{
	uint64_t low = 0, high = conflicts_kept(s), end = high, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (s->conflicts[mid].block < start)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < end && s->conflicts[low].block - start < count; low++) {
		if (s->conflicts[low].found)
			continue;
		s->conflicts[low].first = owner;
		s->conflicts[low].found = true;
	}
}

static const char *owner_name(const struct owner *o, char *buf, size_t size)
{
	static const char *const names[] = {
		[OWNER_SUPER] = "the superblock", [OWNER_TAIL] = "the tail slots",
		[OWNER_ITABLE_INODE] = "the inode table's inode", [OWNER_JOURNAL] = "the journal",
		[OWNER_BACKUP] = "the backup superblock", [OWNER_ITABLE] = "the inode table",
		[OWNER_DATA] = "data", [OWNER_DIR] = "entries", [OWNER_NODE] = "an extent node",
		[OWNER_XATTR] = "attributes",
	};

	if (o->kind <= OWNER_ITABLE)
		return names[o->kind];
	if (o->kind == OWNER_NODE && o->ino == INO_ITABLE)
		return "an extent node of the inode table";
	snprintf(buf, size, "%s of inode %" PRIu64, names[o->kind], o->ino);
	return buf;
}

static void report_conflict(struct check *c, const struct conflict *conflict)
{
	char first[64], second[64];

	check_problem(c, PROBLEM_BLOCK_SHARED, &(struct problem_context){
		.block = conflict->block, .ino = conflict->second.ino, .other = conflict->first.ino,
		.by = conflict->found ? owner_name(&conflict->first, first, sizeof(first)) : "another owner",
		.what = owner_name(&conflict->second, second, sizeof(second)) });
}

/* Keep it for the second round, or, when there are too many, report it at once. */
static void conflict_add(struct check *c, struct owner second, uint64_t block)
{
	struct conflict conflict = { .block = block, .second = second };
	struct space *s = c->space;

	if (s->count < CONFLICTS_KEPT)
		s->conflicts[s->count] = conflict;
	else
		report_conflict(c, &conflict);
	s->count++;
}

uint64_t space_claim(struct check *c, struct owner owner, uint64_t start, uint64_t count)
{
	struct space *s = c->space;
	uint64_t shared = bitmap_next_set(s->used, start, start + count);

	bitmap_set_range(s->used, start, shared - start);
	if (s->looking)
		conflict_match(s, owner, start, shared - start);
	else if (shared < start + count)
		conflict_add(c, owner, shared);
	return shared - start;
}

/* The claims that every pool makes: superblock, tail, the table's inode, ring, backup. */
static void claim_fixed(struct check *c)
{
	space_claim(c, (struct owner){ .kind = OWNER_SUPER }, BLOCK_SUPER, 1);
	space_claim(c, (struct owner){ .kind = OWNER_TAIL }, BLOCK_TAIL, 1);
	space_claim(c, (struct owner){ .kind = OWNER_ITABLE_INODE }, BLOCK_ITABLE_INODE, 1);
	space_claim(c, (struct owner){ .kind = OWNER_JOURNAL }, c->super.journal_block,
		    c->super.journal_blocks);
	space_claim(c, (struct owner){ .kind = OWNER_BACKUP }, c->super.blocks - 1, 1);
}

int space_new(struct check *c)
{
	struct space *s = check_calloc(1, sizeof(*s));

	if (!s)
		return check_nomem(c);
	c->space = s;
	s->blocks = c->super.blocks;
	s->used = bitmap_alloc(s->blocks);
	s->conflicts = check_calloc(CONFLICTS_KEPT, sizeof(*s->conflicts));
	if (!s->used || !s->conflicts)
		return check_nomem(c);
	claim_fixed(c);
	return 0;
}

static void find_first_owners(struct check *c)
{
	struct space *s = c->space;

	qsort(s->conflicts, conflicts_kept(s), sizeof(*s->conflicts), conflict_order);
	memset(s->used, 0, BITMAP_WORDS(s->blocks) * sizeof(*s->used));
	s->looking = true;
	c->muted = true;
	claim_fixed(c);
	inode_claim_all(c);
	c->muted = false;
	s->looking = false;
}

int pass_space(struct check *c)
{
	struct space *s = c->space;

	if (s->count)
		find_first_owners(c);
	for (uint64_t i = 0; i < conflicts_kept(s); i++)
		report_conflict(c, &s->conflicts[i]);
	c->report->blocks_used = bitmap_count(s->used, 0, s->blocks);
	return c->tail.flags & TAIL_FREEMAP ? freemap_check(c) : 0;
}
