/*
 * The folio table: its memory, and references on folios.
 *
 * Owns the words' counts. A reference is one atomic operation on the word of the folio's head (PAGE accounting: of
 * every page). Going 0->1 takes the pgmap's liveness first, in the same call, so that no count is ever positive in
 * a pgmap that was drained (drain.c says how that is ordered against pgmap_kill()). Going 1->0 gives it back after
 * the folio was freed. What a release finds to do besides - waiters, limbo, a folio without an owner that must
 * fall apart - is in the word it changed, and takes the slow way in owner.c.
 *
 * Where a folio begins and ends is settled under the mutex: it is taken to build one, and to make the first
 * reference on units that nobody owns. A folio with an owner needs no lock: the compare-and-swap proves that it
 * was still there. In PAGE accounting a folio's state is spread over its words, so all requests take the mutex.
 *
 * Order of a fault, which this interface serves: associate (owner.c), request (temporary), map, release.
 */
#include "dax/pgmap_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/bitmap.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

void pgmap_violation(struct pgmap *pg, const char *what, uint64_t unit)
{
	atomic_fetch_add(&pg->violations, 1);
	if (!atomic_exchange(&pg->warned, true))
		log_error("folio table: %s, unit %llu", what, (unsigned long long)unit);
}

/* ---- Memory ---------------------------------------------------------------------------------------------- */

/* Zero, and without cost until it is written. */
static void *sparse_alloc(uint64_t bytes)
{
	void *p;

	if (fault(FAULT_ALLOC))
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_NOHUGEPAGE);	/* or one word could cost 2 MiB */
	return p;
}

static void sparse_free(void *p, uint64_t bytes)
{
	if (p)
		munmap(p, bytes);
}

static uint64_t touched_bytes(const struct pgmap *pg)
{
	return BITMAP_WORDS((pg->units >> TOUCHED_SHIFT) + 1) * 8;
}

static uint64_t limbo_bytes(const struct pgmap *pg)
{
	return BITMAP_WORDS(pg->blocks) * 8;
}

static void set_orders(struct pgmap *pg)
{
	unsigned int unit = pg->config.unit_shift;

	pg->base = (enum dax_size)((unit - DAX_PTE_SHIFT) / 9);
	for (unsigned int size = 0; size < DAX_SIZES; size++)
		pg->order[size] = (int)dax_size_shift((enum dax_size)size) - (int)unit;
	for (enum dax_size size = DAX_PTE; size <= DAX_PUD; size++) {
		bool never = size < pg->base || pg->config.accounting == PGMAP_PAGE;

		pg->plain[size] = never ? UINT64_MAX : size_field(pg, size);
	}
}

static bool config_valid(const struct pgmap_config *c)
{
	return (c->unit_shift == DAX_PTE_SHIFT || c->unit_shift == DAX_PMD_SHIFT || c->unit_shift == DAX_PUD_SHIFT) &&
	       c->block_shift <= c->unit_shift && c->size >> c->unit_shift && c->page_free;
}

int pgmap_new(struct pgmap **out, const struct pgmap_config *config)
{
	struct pgmap *pg;

	if (!config_valid(config))
		return -EINVAL;
	pg = fault(FAULT_ALLOC) ? NULL : aligned_alloc(64, sizeof(*pg));
	if (!pg)
		return -ENOMEM;
	memset(pg, 0, sizeof(*pg));
	pg->config = *config;
	pg->units = config->size >> config->unit_shift;
	pg->blocks = pg->units << (config->unit_shift - config->block_shift);
	set_orders(pg);
	pg->own_words = !config->words;
	pg->words = config->words ? config->words : sparse_alloc(pg->units * sizeof(*pg->words));
	pg->touched = sparse_alloc(touched_bytes(pg));
	pg->limbo = sparse_alloc(limbo_bytes(pg));
	pthread_mutex_init(&pg->lock, NULL);
	cond_init(&pg->drained);
	list_init(&pg->waiters);
	if (!pg->words || !pg->touched || !pg->limbo) {
		pgmap_delete(pg);
		return -ENOMEM;
	}
	*out = pg;
	return 0;
}

void pgmap_delete(struct pgmap *pg)
{
	if (!pg)
		return;
	if (pg->own_words)
		sparse_free(pg->words, pg->units * sizeof(*pg->words));
	sparse_free(pg->touched, touched_bytes(pg));
	sparse_free(pg->limbo, limbo_bytes(pg));
	pthread_cond_destroy(&pg->drained);
	pthread_mutex_destroy(&pg->lock);
	free(pg);
}

int pgmap_destroy(struct pgmap *pg)
{
	if (pgmap_state(pg) != PGMAP_DRAINED)
		return -EBUSY;
	pgmap_delete(pg);
	return 0;
}

/* ---- Looking --------------------------------------------------------------------------------------------- */

enum pgmap_state pgmap_state(const struct pgmap *pg)
{
	return (enum pgmap_state)atomic_load(&pg->state);
}

const struct pgmap_config *pgmap_config(const struct pgmap *pg)
{
	return &pg->config;
}

uint64_t pgmap_units(const struct pgmap *pg)
{
	return pg->units;
}

int pgmap_order(const struct pgmap *pg, enum dax_size size)
{
	return pg->order[size] < 0 ? -1 : pg->order[size];
}

enum dax_size pgmap_base_size(const struct pgmap *pg)
{
	return pg->base;
}

uint64_t pgmap_word(const struct pgmap *pg, uint64_t unit)
{
	return unit < pg->units ? word_at(pg, unit) : 0;
}

uint64_t pgmap_head(const struct pgmap *pg, uint64_t unit)
{
	uint64_t word;

	return head_of(pg, unit, &word);
}

bool pgmap_clear(const struct pgmap *pg, uint64_t unit, uint64_t count)
{
	const uint64_t page = 1ULL << TOUCHED_SHIFT;
	uint64_t end = unit + count, next, any = 0;

	for (; unit < end; unit = next) {
		next = (unit | (page - 1)) + 1;
		if (next > end)
			next = end;
		if (!is_touched(pg, unit))
			continue;
		for (uint64_t i = unit; i < next; i++)
			any |= atomic_load_explicit(&pg->words[i], memory_order_acquire);
		if (any)
			return false;
	}
	return true;
}

/* The units whose counts tell about a folio whose head has this word. */
static uint64_t counting_units(const struct pgmap *pg, uint64_t word)
{
	return pg->config.accounting == PGMAP_PAGE ? units_of(pg, size_of(pg, word)) : 1;
}

bool pgmap_quiet(const struct pgmap *pg, uint64_t head, uint64_t word)
{
	uint64_t n = counting_units(pg, word);

	if (!folio_idle(word))
		return false;
	for (uint64_t i = 1; i < n; i++)
		if (!folio_idle(word_at(pg, head + i)))
			return false;
	return true;
}

bool pgmap_idle(const struct pgmap *pg, uint64_t unit)
{
	uint64_t word, head = head_of(pg, unit, &word);

	return pgmap_quiet(pg, head, word);
}

bool pgmap_busy(const struct pgmap *pg, uint64_t unit)
{
	uint64_t word, head = head_of(pg, unit, &word), n = counting_units(pg, word);

	if (folio_busy(word))
		return true;
	for (uint64_t i = 1; i < n; i++)
		if (folio_busy(word_at(pg, head + i)))
			return true;
	return false;
}

uint64_t pgmap_limbo(const struct pgmap *pg)
{
	return atomic_load(&pg->limbo_blocks);
}

uint64_t pgmap_violations(const struct pgmap *pg)
{
	return atomic_load(&pg->violations);
}

uint64_t pgmap_refused(const struct pgmap *pg)
{
	return atomic_load(&pg->refused);
}

/* The first page of the table at or after `page` that was ever written; or one behind the table. */
static uint64_t next_touched(const struct pgmap *pg, uint64_t page)
{
	uint64_t end = BITMAP_WORDS((pg->units >> TOUCHED_SHIFT) + 1), bits, mask = ~0ULL << (page % 64);

	for (uint64_t n = page / 64; n < end; n++, mask = ~0ULL) {
		bits = atomic_load_explicit(&pg->touched[n], memory_order_acquire) & mask;
		if (bits)
			return n * 64 + (uint64_t)__builtin_ctzll(bits);
	}
	return end * 64;
}

uint64_t pgmap_next_before(const struct pgmap *pg, uint64_t unit, uint64_t end)
{
	while (unit < end) {
		if (!is_touched(pg, unit))
			unit = next_touched(pg, unit >> TOUCHED_SHIFT) << TOUCHED_SHIFT;
		else if (atomic_load_explicit(&pg->words[unit], memory_order_relaxed))
			return unit;
		else
			unit++;
	}
	return end;
}

uint64_t pgmap_next_used(const struct pgmap *pg, uint64_t unit)
{
	return pgmap_next_before(pg, unit, pg->units);
}

static void stat_word(struct pgmap *pg, uint64_t unit, uint64_t word, struct pgmap_stat *out)
{
	out->live += !folio_idle(word);
	out->refs += folio_refcount(word);
	out->maps += folio_mapcount(word);
	if ((word & ~(FOLIO_POISON | FOLIO_WAITERS)) && pgmap_head(pg, unit) == unit)
		out->folios[size_of(pg, word)]++;
}

void pgmap_stat(struct pgmap *pg, struct pgmap_stat *out)
{
	uint64_t pages = (pg->units >> TOUCHED_SHIFT) + 1, word;

	memset(out, 0, sizeof(*out));
	for (uint64_t u = pgmap_next_used(pg, 0); u < pg->units; u = pgmap_next_used(pg, u + pgmap_step(pg, word))) {
		word = word_at(pg, u);
		stat_word(pg, u, word, out);
	}
	out->poisoned = atomic_load(&pg->poisoned);
	for (uint64_t i = 0; i < BITMAP_WORDS(pages); i++)
		out->table_bytes += (uint64_t)__builtin_popcountll(atomic_load(&pg->touched[i])) << (TOUCHED_SHIFT + 3);
	out->limbo = pgmap_limbo(pg);
}

/* ---- The fast way ------------------------------------------------------------------------------------------ */

#define MAP_DELTA	(FOLIO_REF_ONE + FOLIO_MAP_ONE)

/* Can this be taken off the word? The last references of a page-table entry are not a pin's to give back. */
static inline bool is_held(uint64_t word, uint64_t delta)
{
	return !folio_idle(word) && (delta == MAP_DELTA ? folio_mapcount(word) != 0 : folio_busy(word));
}

#define PLAIN_MASK	(FOLIO_SIZE_MASK | FOLIO_STALE | FOLIO_LIMBO | FOLIO_POISON | FOLIO_WAITERS)

/*
 * The word of a folio of exactly this size at `unit`, with an owner and without anything that asks for more than
 * counting; or 0. HEAD accounting: an owner makes it a head's word, and its size says that it is aligned and in
 * the table. What is done by a compare-and-swap with it needs no other look; everything else goes the general way.
 */
static inline uint64_t plain_word(const struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t word;

	if (unit >= pg->units)
		return 0;
	word = word_at(pg, unit);
	return (word & PLAIN_MASK) == pg->plain[size] && (word & FOLIO_OWNER_MASK) ? word : 0;
}

static inline bool plain_get(struct pgmap *pg, uint64_t unit, uint64_t old)
{
	return atomic_compare_exchange_strong(&pg->words[unit], &old, old + FOLIO_REF_ONE);
}

/* announce() and fence_light(), for slot_cell(). */
static inline void plain_announce(struct pgmap_cell *cell, int64_t delta)
{
	int64_t now = atomic_load_explicit(&cell->announced, memory_order_relaxed) + delta;

	atomic_store_explicit(&cell->announced, now, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/* ---- One reference less ---------------------------------------------------------------------------------- */

/* `delta` off a word that was `old`. True: that was the last reference. *left: the word now. */
static inline bool put_word(struct pgmap *pg, uint64_t unit, uint64_t old, uint64_t delta, uint64_t *left)
{
	do {
		*left = old;
		if (!is_held(old, delta)) {
			pgmap_violation(pg, "a reference was given back that nobody held", unit);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&pg->words[unit], &old, old - delta));
	*left = old - delta;
	return folio_idle(*left);
}

/* Is there more to do for the folio than to count? `word`: the head's, after the count went down. */
static inline bool needs_slow_way(const struct pgmap *pg, uint64_t word)
{
	if (word & (FOLIO_WAITERS | FOLIO_LIMBO | FOLIO_STALE))
		return true;
	return folio_owner(word) == FOLIO_FREE && size_of(pg, word) > pg->base;
}

/* After a head's count went down to `left`, `last`: to 0. */
static inline void put_done(struct pgmap *pg, uint64_t head, uint64_t left, bool last)
{
	if ((last && needs_slow_way(pg, left)) || (left & FOLIO_WAITERS))
		pgmap_folio_freed(pg, head);
	if (last)
		live_put(pg, 1);
}

static inline void put_head(struct pgmap *pg, uint64_t unit, uint64_t delta)
{
	uint64_t left, head = head_of(pg, unit, &left);
	bool last = put_word(pg, head, left, delta, &left);

	put_done(pg, head, left, last);
}

static void put_pages(struct pgmap *pg, uint64_t unit, uint64_t count, uint64_t delta)
{
	uint64_t head = pgmap_head(pg, unit), last = 0, left;

	for (uint64_t i = 0; i < count; i++) {
		last += put_word(pg, unit + i, word_at(pg, unit + i), delta, &left);
		/* A request that came too late for the folio holds units. */
		if (unit + i != head && needs_slow_way(pg, left))
			pgmap_folio_freed(pg, unit + i);
	}
	/* What is to be done stands in the head's word, and is looked at after all counts went down. */
	if (needs_slow_way(pg, word_at(pg, head)))
		pgmap_folio_freed(pg, head);
	if (last)
		live_put(pg, last);
}

static __attribute__((noinline)) void put(struct pgmap *pg, uint64_t unit, enum dax_size size, uint64_t delta)
{
	if (!range_valid(pg, unit, size))
		pgmap_violation(pg, "a reference was given back on what is no folio", unit);
	else if (pg->config.accounting == PGMAP_HEAD)
		put_head(pg, unit, delta);
	else
		put_pages(pg, unit, units_of(pg, size), delta);
}

/*
 * `delta` was taken off a head's word that was `old`, and it was not plain any more, or its count is 0 now.
 * A reference too many takes what nobody holds, and gives it back: for that long the count says nothing.
 */
static __attribute__((noinline)) void plain_done(struct pgmap *pg, uint64_t head, uint64_t old, uint64_t delta)
{
	uint64_t left = old - delta;

	if (is_held(old, delta)) {
		put_done(pg, head, left, folio_idle(left));
		return;
	}
	pgmap_violation(pg, "a reference was given back that nobody held", head);
	left = atomic_fetch_add(&pg->words[head], delta) + delta;
	/* Who looked meanwhile took it for used. */
	if (folio_idle(left) && needs_slow_way(pg, left))
		pgmap_folio_freed(pg, head);
}

/*
 * Whoever holds a reference on a plain folio knows its head: it stays what it is until he gives it back, whatever
 * flags come up meanwhile. So the look is not part of the atomic operation, which need not wait for it.
 */
static inline void put_plain(struct pgmap *pg, uint64_t unit, enum dax_size size, uint64_t delta)
{
	uint64_t old = plain_word(pg, unit, size);
	struct pgmap_cell *cell;

	if (!old || !is_held(old, delta)) {
		put(pg, unit, size, delta);
		return;
	}
	old = atomic_fetch_sub(&pg->words[unit], delta);
	if ((old & PLAIN_MASK) != pg->plain[size] || !(old & FOLIO_OWNER_MASK) || !is_held(old, delta)) {
		plain_done(pg, unit, old, delta);
		return;
	}
	if (!folio_idle(old - delta) || pg->config.drain != PGMAP_COUNTER)
		return;
	cell = slot_cell(pg->cell);
	if (!cell) {
		plain_done(pg, unit, old, delta);
		return;
	}
	plain_announce(cell, -1);
	if (!is_live(pg))
		live_wake(pg);
}

void pgmap_release_folio(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	put_plain(pg, unit, size, FOLIO_REF_ONE);
}

void pgmap_unmap_folio(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	put_plain(pg, unit, size, MAP_DELTA);
}

/* ---- One reference more ---------------------------------------------------------------------------------- */

/*
 * On the head, with nothing locked. -EAGAIN: it would be the first on a folio that nobody owns; it may be about to fall
 * apart, or its units to become part of another.
 */
static int get_owned(struct pgmap *pg, uint64_t unit)
{
	uint64_t old, head;
	bool live = false;
	int rc = 0;

	do {
		head = head_of(pg, unit, &old);
		if (folio_idle(old) && !live) {
			if (folio_owner(old) == FOLIO_FREE)
				return is_live(pg) ? -EAGAIN : -ENXIO;
			live = live_get(pg, 1);
			if (!live)
				return -ENXIO;
		}
		if (folio_idle(old) && folio_owner(old) == FOLIO_FREE)
			rc = -EAGAIN;
		else if (folio_refcount(old) >= FOLIO_REF_MAX)
			rc = -ENOMEM;
	} while (!rc && !atomic_compare_exchange_weak(&pg->words[head], &old, old + FOLIO_REF_ONE));
	if (live)
		live_done(pg, rc || !folio_idle(old));
	return rc;
}

/* On one word; `live`: it may go 0->1. 1: it did. Lock held. */
static int get_word(struct pgmap *pg, uint64_t unit, bool live)
{
	uint64_t old;

	touch(pg, unit);
	old = atomic_load(&pg->words[unit]);
	do {
		if (folio_refcount(old) >= FOLIO_REF_MAX)
			return -ENOMEM;
		if (folio_idle(old) && !live)
			return -ENXIO;
	} while (!atomic_compare_exchange_weak(&pg->words[unit], &old, old + FOLIO_REF_ONE));
	return folio_idle(old);
}

/*
 * HEAD: on a folio that nobody owns. While the mutex is held it stays so, and what it is. -EAGAIN: it has an owner
 * now.
 */
static int get_unowned(struct pgmap *pg, uint64_t unit)
{
	bool live = live_get(pg, 1);
	uint64_t word, head;
	int rc;

	pthread_mutex_lock(&pg->lock);
	pgmap_settle(pg, unit);
	head = head_of(pg, unit, &word);
	rc = folio_owner(word) == FOLIO_FREE ? get_word(pg, head, live) : -EAGAIN;
	pthread_mutex_unlock(&pg->lock);
	if (live)
		live_done(pg, rc != 1);
	return rc == 1 ? 0 : rc;
}

/* PAGE: on each page. */
static int get_pages(struct pgmap *pg, uint64_t unit, uint64_t count)
{
	bool live = live_get(pg, count);
	uint64_t i, went = 0;
	int rc = 0;

	pthread_mutex_lock(&pg->lock);
	pgmap_settle(pg, unit);
	for (i = 0; i < count; i++) {
		rc = get_word(pg, unit + i, live);
		if (rc < 0)
			break;
		went += (uint64_t)rc;
	}
	pthread_mutex_unlock(&pg->lock);
	if (live)
		live_done(pg, count - went);
	if (rc < 0 && i)
		put_pages(pg, unit, i, FOLIO_REF_ONE);
	return rc < 0 ? rc : 0;
}

static inline int get(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	int rc;

	if (pg->config.accounting == PGMAP_PAGE)
		return get_pages(pg, unit, units_of(pg, size));
	do {
		rc = get_owned(pg, unit);
		if (rc == -EAGAIN)
			rc = get_unowned(pg, unit);
	} while (rc == -EAGAIN);
	return rc;
}

bool pgmap_poisoned(const struct pgmap *pg, uint64_t unit, uint64_t count)
{
	uint64_t end = unit + count;

	if (!atomic_load_explicit(&pg->poisoned, memory_order_acquire))
		return false;
	for (uint64_t u = pgmap_next_before(pg, unit, end); u < end; u = pgmap_next_before(pg, u + 1, end))
		if (word_at(pg, u) & FOLIO_POISON)
			return true;
	return false;
}

static __attribute__((noinline)) int request(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	int rc;

	if (!range_valid(pg, unit, size))
		return -EINVAL;
	if (pgmap_poisoned(pg, unit, units_of(pg, size)))
		return -EHWPOISON;
	rc = get(pg, unit, size);
	if (rc == -ENXIO)
		atomic_fetch_add(&pg->refused, 1);
	return rc;
}

/* It was announced that the folio goes 0->1, and it did not. */
static __attribute__((noinline)) int request_again(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	live_done(pg, 1);
	return request(pg, unit, size);
}

/* live_get() and live_done() are written out here: with what they do for all cases this took a quarter longer. */
int pgmap_request_folio(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t old = plain_word(pg, unit, size);
	struct pgmap_cell *cell;

	if (!old || atomic_load_explicit(&pg->poisoned, memory_order_acquire) || folio_refcount(old) >= FOLIO_REF_MAX)
		return request(pg, unit, size);
	if (!folio_idle(old))
		return plain_get(pg, unit, old) ? 0 : request(pg, unit, size);
	cell = slot_cell(pg->cell);
	if (!cell || !is_live(pg))
		return request(pg, unit, size);
	plain_announce(cell, 1);
	if (!is_live(pg) || !plain_get(pg, unit, old))
		return request_again(pg, unit, size);
	if (pg->config.drain == PGMAP_SWEEP)
		plain_announce(cell, -1);
	return 0;
}

/* ---- Page-table entries ---------------------------------------------------------------------------------- */

static inline int map_word(struct pgmap *pg, uint64_t unit, uint64_t old)
{
	do {
		if (folio_idle(old)) {
			pgmap_violation(pg, "a folio without a reference was to be mapped", unit);
			return -EINVAL;
		}
		if (folio_refcount(old) >= FOLIO_REF_MAX)
			return -ENOMEM;
	} while (!atomic_compare_exchange_weak(&pg->words[unit], &old, old + MAP_DELTA));
	return 0;
}

static int map_pages(struct pgmap *pg, uint64_t unit, uint64_t count)
{
	int rc = 0;

	for (uint64_t i = 0; i < count && !rc; i++) {
		rc = map_word(pg, unit + i, word_at(pg, unit + i));
		if (rc && i)
			put_pages(pg, unit, i, MAP_DELTA);
	}
	return rc;
}

int pgmap_map_folio(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t head, word = plain_word(pg, unit, size);

	if (word)
		return map_word(pg, unit, word);
	if (!range_valid(pg, unit, size))
		return -EINVAL;
	head = head_of(pg, unit, &word);
	if (size > size_of(pg, word)) {
		pgmap_violation(pg, "a page-table entry was to map more than its folio", unit);
		return -EINVAL;
	}
	if (pg->config.accounting == PGMAP_HEAD)
		return map_word(pg, head, word);
	return map_pages(pg, unit, units_of(pg, size));
}

/* ---- Media errors ---------------------------------------------------------------------------------------- */

void pgmap_poison(struct pgmap *pg, uint64_t unit)
{
	if (unit >= pg->units)
		return;
	touch(pg, unit);
	if (!(atomic_fetch_or(&pg->words[unit], FOLIO_POISON) & FOLIO_POISON))
		atomic_fetch_add(&pg->poisoned, 1);
}

void pgmap_unpoison(struct pgmap *pg, uint64_t unit)
{
	if (pgmap_word(pg, unit) & FOLIO_POISON && (atomic_fetch_and(&pg->words[unit], ~FOLIO_POISON) & FOLIO_POISON))
		atomic_fetch_sub(&pg->poisoned, 1);
}
