/*
 * Arrays as large as the pool could ever need, at the cost of what is touched; sets of numbers on top.
 */
#ifndef META_SPARSE_H
#define META_SPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* sparse_alloc - `bytes` zero bytes that take memory page by page, once written to. NULL: out of memory. */
void *sparse_alloc(size_t bytes);
void sparse_free(void *p, size_t bytes);	/* NULL is allowed */

/*
 * A set of numbers below `universe`: a bit each, and a bit for each word of those that is not zero, so that
 * the next member is found in few steps however few there are. No locking, but the bits may be read by
 * __atomic loads at any time.
 */
struct sparse_set {
	uint64_t	*bits, *words;
	uint64_t	 universe;
	uint64_t	 count;		/* members; not kept by sparse_set_add_shared() */
};

/* sparse_set_init - empty. -ENOMEM; sparse_set_free() is due in any case, and may be called again. */
int sparse_set_init(struct sparse_set *s, uint64_t universe);
void sparse_set_free(struct sparse_set *s);
void sparse_set_fill(struct sparse_set *s);	/* all below universe */

/* sparse_set_assign - make n a member or not, whatever it was. */
void sparse_set_assign(struct sparse_set *s, uint64_t n, bool member);

/* sparse_set_add_shared - add n from any thread at once with others that do; count is not kept. */
void sparse_set_add_shared(struct sparse_set *s, uint64_t n);

/* sparse_set_next - first member at or after `from`; universe when there is none. */
uint64_t sparse_set_next(const struct sparse_set *s, uint64_t from);

/* sparse_set_next_around - the same, going on at 0 behind the last. The set is not empty. */
uint64_t sparse_set_next_around(const struct sparse_set *s, uint64_t from);

#endif
