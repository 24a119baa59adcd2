/*
 * Who owns a folio, and what becomes of it when the last reference or the last owner goes.
 *
 * Owners are mapping entries: they hold no reference (a folio may be owned and idle), and references need no owner
 * (a mapper that does not answer keeps its own after the entry went). So a folio falls apart into units when both
 * are gone, whichever goes last: at disassociation if it is idle, else - STALE until then - at the last release.
 * In the same way a block that its file lets go returns to the allocator at once if its folio is idle, else - in
 * limbo until then - at the last release.
 *
 * The race between "let go" and "last release" is settled on the folio's word: who lets go sets the flag and sees,
 * in what the word was before, whether a reference was still there; if not, the releaser has seen no flag and he
 * does it himself. All of it is on slow ways, under the mutex; a release looks at the flags in the word it changed
 * anyway.
 */
#include "dax/pgmap_private.h"

#include <errno.h>

#include "util/bitmap.h"

/* A head's word when its folio has fallen apart: what is the unit's own stays. */
static uint64_t word_reset(uint64_t word)
{
	return word & (FOLIO_POISON | FOLIO_WAITERS);
}

static uint64_t word_unowned(uint64_t word)
{
	return word & ~(FOLIO_OWNER_MASK | (uint64_t)FOLIO_SHARE_MAX << FOLIO_SHARE_SHIFT);
}

/* After a folio with this word fell apart. */
static void huge_less(struct pgmap *pg, uint64_t word)
{
	if (size_field(pg, size_of(pg, word)) == DAX_PUD)
		atomic_fetch_sub(&pg->huge, 1);
}

/* ---- Limbo ----------------------------------------------------------------------------------------------- */

static unsigned int block_order(const struct pgmap *pg)
{
	return pg->config.unit_shift - pg->config.block_shift;
}

bool pgmap_block_in_limbo(const struct pgmap *pg, uint64_t block)
{
	struct pgmap *p = (struct pgmap *)pg;
	bool in;

	pthread_mutex_lock(&p->lock);
	in = block < pg->blocks && bitmap_test(pg->limbo, block);
	pthread_mutex_unlock(&p->lock);
	return in;
}

/* Blocks of [first, first + count) that are in limbo go back to the allocator. Lock held. */
static void limbo_return(struct pgmap *pg, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, start, stop;

	for (start = bitmap_next_set(pg->limbo, first, end); start < end;
	     start = bitmap_next_set(pg->limbo, stop, end)) {
		stop = bitmap_next_clear(pg->limbo, start, end);
		bitmap_clear_range(pg->limbo, start, stop - start);
		atomic_fetch_sub(&pg->limbo_blocks, stop - start);
		pg->config.page_free(pg->config.arg, start, stop - start);
	}
}

/*
 * Does an entry refer to all of the folio, and so to every block of it? Of a larger folio with a count of entries
 * nobody knows which units they refer to.
 */
static bool owned_whole(const struct pgmap *pg, uint64_t word)
{
	if (folio_owner(word) == FOLIO_SHARED)
		return size_of(pg, word) == pg->base;
	return folio_owner(word) == FOLIO_EXCLUSIVE;
}

/*
 * Of a folio without a reference: give back what is in limbo, unless an entry refers to it, and take it apart,
 * unless it has an owner. Lock held. In HEAD accounting the compare-and-swap proves that there was no reference;
 * in PAGE nobody makes one without the lock.
 */
static void settle_head(struct pgmap *pg, uint64_t head)
{
	uint64_t old = word_at(pg, head), new;

	do {
		if (!pgmap_quiet(pg, head, old))
			return;
		new = folio_owner(old) == FOLIO_FREE ? word_reset(old) : old;
		if (!owned_whole(pg, old))
			new &= ~FOLIO_LIMBO;
		if (new == old)
			return;
	} while (!atomic_compare_exchange_weak(&pg->words[head], &old, new));
	if (folio_owner(old) == FOLIO_FREE)
		huge_less(pg, old);
	if ((old ^ new) & FOLIO_LIMBO)
		limbo_return(pg, head << block_order(pg), units_of(pg, size_of(pg, old)) << block_order(pg));
}

void pgmap_settle(struct pgmap *pg, uint64_t unit)
{
	uint64_t word, head = head_of(pg, unit, &word);

	if (word_reset(word) != word && folio_owner(word) == FOLIO_FREE)
		settle_head(pg, head);
}

void pgmap_folio_freed(struct pgmap *pg, uint64_t head)
{
	pthread_mutex_lock(&pg->lock);
	settle_head(pg, head);
	if (word_at(pg, head) & FOLIO_WAITERS && !wake_waiters(pg, head))
		atomic_fetch_and(&pg->words[head], ~FOLIO_WAITERS);
	pthread_mutex_unlock(&pg->lock);
}

/*
 * Blocks of one unit are let go. True: nothing refers to them, they are the caller's to free. Lock held. Blocks
 * that an entry still refers to stay in limbo until it goes, or another file would get what a mapper can be given.
 */
static bool unit_let_go(struct pgmap *pg, uint64_t unit, uint64_t block, uint64_t count)
{
	uint64_t word, head = head_of(pg, unit, &word), known = bitmap_count(pg->limbo, block, count);
	bool owned = owned_whole(pg, word);

	if (owned || known)
		pgmap_violation(pg, owned ? "blocks were let go that an entry refers to" : "blocks were let go twice",
				unit);
	else if (pgmap_quiet(pg, head, word))
		return true;
	bitmap_set_range(pg->limbo, block, count);
	atomic_fetch_add(&pg->limbo_blocks, count - known);
	touch(pg, head);
	word = atomic_fetch_or(&pg->words[head], FOLIO_LIMBO);
	/* The last reference went between, and its releaser saw no flag. */
	if (pgmap_quiet(pg, head, word))
		settle_head(pg, head);
	return false;
}

/* Blocks from `block` on that lie in memory of the table nobody ever wrote: they cannot be referred to. */
static uint64_t untouched_blocks(const struct pgmap *pg, uint64_t block, uint64_t end)
{
	uint64_t unit = block >> block_order(pg), next;

	while (block < end && !is_touched(pg, unit)) {
		/* A PUD folio's head lies elsewhere in the table. */
		if (pgmap_head(pg, unit) != unit)
			break;
		unit = (unit | ((1ULL << TOUCHED_SHIFT) - 1)) + 1;
		next = unit << block_order(pg);
		block = next < end ? next : end;
	}
	return block;
}

void pgmap_free_blocks(struct pgmap *pg, uint64_t block, uint64_t count)
{
	uint64_t end = block + count, start = block, next;

	pthread_mutex_lock(&pg->lock);
	while (block < end) {
		/* Behind the last whole unit of the pool nothing is ever mapped. */
		next = block >= pg->blocks ? end : untouched_blocks(pg, block, end);
		if (next > block) {
			block = next;
			continue;
		}
		next = ((block >> block_order(pg)) + 1) << block_order(pg);
		if (next > end)
			next = end;
		if (!unit_let_go(pg, block >> block_order(pg), block, next - block)) {
			if (block > start)
				pg->config.page_free(pg->config.arg, start, block - start);
			start = next;
		}
		block = next;
	}
	if (end > start)
		pg->config.page_free(pg->config.arg, start, end - start);
	pthread_mutex_unlock(&pg->lock);
}

/* ---- Association ----------------------------------------------------------------------------------------- */

bool pgmap_build(struct pgmap *pg, uint64_t unit, enum dax_size size, uint64_t rest)
{
	uint64_t none = 0, word = size_field(pg, size) | rest;

	if (pgmap_head(pg, unit) != unit || !pgmap_clear(pg, unit, units_of(pg, size)))
		return false;
	/* Counted before it is there: head_of() must not miss it. */
	if (size_field(pg, size) == DAX_PUD)
		atomic_fetch_add(&pg->huge, 1);
	touch(pg, unit);
	if (atomic_compare_exchange_strong(&pg->words[unit], &none, word))
		return true;
	huge_less(pg, word);
	return false;
}

/*
 * The word with one entry more. A folio that outlived its entry (STALE), or that somebody holds without an owner,
 * counts its entries from one: they may be smaller than it is.
 */
static int owner_added(const struct pgmap *pg, uint64_t word, enum dax_size size, bool shared, uint64_t *out)
{
	bool stale = word & FOLIO_STALE, part = size < size_of(pg, word);
	unsigned int share = folio_share(word);

	/* Without sharing, others can have no more than other parts of it. */
	if (folio_owner(word) != FOLIO_FREE && !shared && !(stale && part))
		return -EEXIST;
	if (part && size > pg->base)
		return -EBUSY;		/* the caller comes again with units */
	if (folio_owner(word) == FOLIO_FREE && !part && !stale) {
		*out = word | owner_field(FOLIO_EXCLUSIVE, 0);
		return 0;
	}
	if (folio_owner(word) == FOLIO_EXCLUSIVE)
		share = 1;
	if (share == FOLIO_SHARE_MAX)
		return -EMLINK;
	*out = word_unowned(word) | owner_field(FOLIO_SHARED, share + 1);
	return 0;
}

/* What smaller folios in the range say to an entry over all of them. */
static int smaller_there(const struct pgmap *pg, uint64_t unit, enum dax_size size, bool shared)
{
	uint64_t end = unit + units_of(pg, size);

	for (uint64_t u = pgmap_next_before(pg, unit, end); u < end && !shared; u = pgmap_next_before(pg, u + 1, end))
		if (folio_owner(word_at(pg, u)) != FOLIO_FREE)
			return -EEXIST;
	return -EBUSY;
}

/* Lock held. */
static int associate_used(struct pgmap *pg, uint64_t unit, enum dax_size size, bool shared)
{
	uint64_t old, head, new = 0;
	int rc;

	do {
		head = head_of(pg, unit, &old);
		if (size > size_of(pg, old))
			rc = smaller_there(pg, unit, size, shared);
		else
			rc = owner_added(pg, old, size, shared, &new);
	} while (!rc && !atomic_compare_exchange_weak(&pg->words[head], &old, new));
	if (rc == -EEXIST)
		pgmap_violation(pg, "a folio that has an owner was to get another", unit);
	return rc;
}

int pgmap_associate(struct pgmap *pg, uint64_t unit, enum dax_size size, bool shared)
{
	int rc = 0;

	if (!range_valid(pg, unit, size))
		return -EINVAL;
	pthread_mutex_lock(&pg->lock);
	pgmap_settle(pg, unit);
	if (!pgmap_build(pg, unit, size, owner_field(FOLIO_EXCLUSIVE, 0)))
		rc = associate_used(pg, unit, size, shared);
	pthread_mutex_unlock(&pg->lock);
	return rc;
}

/*
 * One entry less in the word of `head`, in PAGE accounting with the lock. Returns the word as it is now, *was as it was
 * before: the same when no entry owned it. `whole`: the entry was of a larger folio's own size; those that are left may
 * be over parts of it, which are others' then: STALE.
 */
static uint64_t owner_less(struct pgmap *pg, uint64_t head, bool whole, uint64_t *was)
{
	uint64_t old = word_at(pg, head), new;

	do {
		*was = old;
		if (folio_owner(old) == FOLIO_FREE)
			return old;
		if (folio_owner(old) == FOLIO_SHARED && folio_share(old) > 1)
			new = (old - FOLIO_SHARE_ONE) | (whole ? FOLIO_STALE : 0);
		else if (pgmap_quiet(pg, head, old) && !(old & FOLIO_LIMBO))
			new = word_reset(old);
		else
			new = word_unowned(old) | FOLIO_STALE;
	} while (!atomic_compare_exchange_weak(&pg->words[head], &old, new));
	return new;
}

void pgmap_disassociate(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	bool page = pg->config.accounting == PGMAP_PAGE;
	uint64_t head, was, now;

	if (!range_valid(pg, unit, size)) {
		pgmap_violation(pg, "an entry let go of what is no folio", unit);
		return;
	}
	if (page)
		pthread_mutex_lock(&pg->lock);
	head = pgmap_head(pg, unit);
	now = owner_less(pg, head, size > pg->base, &was);
	if (page)
		pthread_mutex_unlock(&pg->lock);
	if (now == was)
		pgmap_violation(pg, "an entry let go of a folio that it did not own", unit);
	else if (folio_owner(now) == FOLIO_FREE && !(now & FOLIO_STALE))
		huge_less(pg, was);
	else if (folio_owner(now) == FOLIO_FREE)
		pgmap_folio_freed(pg, head);	/* PAGE: the last release saw the owner still. Or limbo is left */
}
