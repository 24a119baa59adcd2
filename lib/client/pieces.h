/*
 * Pieces: what each part of a mapped range is, in a sorted array without gaps; neighbours that are alike are one.
 *
 * The array lies in memory of its own (anonymous mmap), not in the heap: the thread that answers revocations changes
 * it, and may not wait for whoever holds a lock of malloc(). No locking: the user's.
 */
#ifndef CLIENT_PIECES_H
#define CLIENT_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct piece {
	uint64_t	 offset, length;	/* bytes from the start of the range */
	uint32_t	 kind;			/* the user's */
	uint32_t	 shift;			/* log2 of the page size it is mapped with */
	const char	*reason;		/* compared as a pointer; NULL: none. Outlives the pieces */
};

struct pieces {
	struct piece	*piece;
	size_t		 count;			/* 1 or more */
	size_t		 room;
};

/* pieces_init - one piece of [0, length). -ENOMEM. */
int pieces_init(struct pieces *p, const struct piece *whole);

/* pieces_fini - give the memory back. Also of pieces that were only zeroed. */
void pieces_fini(struct pieces *p);

/*
 * pieces_set - [what->offset, + what->length), not empty, within the range, becomes `what`. -ENOMEM: nothing changed.
 */
int pieces_set(struct pieces *p, const struct piece *what);

/* pieces_set_all - the whole range becomes one piece. Offset and length of `what` are ignored. Cannot fail. */
void pieces_set_all(struct pieces *p, const struct piece *what);

/* pieces_cut - the range ends at `offset`, which is in it and not 0. Cannot fail. */
void pieces_cut(struct pieces *p, uint64_t offset);

/* pieces_at - the piece that `offset` is in; NULL: it is beyond the range. Valid until the next change. */
const struct piece *pieces_at(const struct pieces *p, uint64_t offset);

#endif
