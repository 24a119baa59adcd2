/*
 * A small number for each thread, and fences that cost one side nothing.
 *
 * Slots let hot paths count without sharing a cache line: an array of SLOT_MAX padded cells, each written by one thread
 * at a time. A number is given at a thread's first asking and is reused after its end; whoever sums cells sees what
 * ended threads left in them. When more threads live than there are numbers, they share SLOT_SHARED, whose cell must be
 * changed atomically: slot_shared() says so.
 *
 * fence_light() on the hot side and fence_heavy() on the rare one order a store before a later load on both, as two
 * full fences would: one of two threads that each store and then look at the other's word sees the other's store. Where
 * the kernel has membarrier(2) the light side is a compiler barrier only; elsewhere both are full fences.
 */
#ifndef UTIL_SLOT_H
#define UTIL_SLOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define SLOT_BYTES	64U		/* of a cell: a cache line */
#define SLOT_MAX	256U
#define SLOT_SHARED	(SLOT_MAX - 1)

/*
 * Of slot.c, and known to the linker: without a call in position-independent code, which would cost as much as a count.
 */
#define SLOT_LOCAL	extern _Thread_local __attribute__((tls_model("initial-exec")))

SLOT_LOCAL unsigned int slot_number;		/* of this thread + 1; 0: none yet */
SLOT_LOCAL size_t slot_own;			/* see slot_cell() */
extern bool slot_asymmetric;			/* membarrier(2) is there; constant after the first slot was given */

unsigned int slot_take(void);

/* slot - of the calling thread. */
static inline unsigned int slot(void)
{
	return slot_number ? slot_number - 1 : slot_take();
}

static inline bool slot_shared(unsigned int n)
{
	return n == SLOT_SHARED;
}

/*
 * slot_cell - the calling thread's of `cells`, SLOT_MAX of SLOT_BYTES each, for the hottest paths: found with one look,
 * and what it says holds twice: the cell is this thread's alone, and fence_light() is no instruction. NULL when one of
 * them is not so, or the thread has no number yet: go by slot() then.
 */
static inline void *slot_cell(void *cells)
{
	size_t own = slot_own;

	return own ? (char *)cells + (own - SLOT_BYTES) : NULL;
}

/* fence_light - after slot() was called on this thread. */
static inline void fence_light(void)
{
	if (slot_asymmetric)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
}

/* fence_heavy - false: the kernel took back what it promised, nothing was ordered. Not known to happen. */
bool fence_heavy(void);

#endif
