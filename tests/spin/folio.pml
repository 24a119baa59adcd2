/*
 * A folio of two units that loses its owner while references remain, and falls apart at the last of them.
 *
 * Mirrors lib/dax/owner.c: pgmap_disassociate (STALE), pgmap_free_blocks (LIMBO, with the bitmap of units in limbo),
 * take_apart; lib/dax/pgmap.c: pgmap_head, and references on the head's word; and lib/dax/pin.c. Word 0 is the head's
 * as long as `large`, then each unit has its own. A mapper that does not answer keeps its reference on unit 1; two
 * threads pin unit 1 as fast GUP does, from 0 if need be, and look again; the owner deletes the entry and lets both
 * blocks go, one after the other; another file takes unit 0 when it is free, maps and unmaps it.
 *
 * Words change by compare-and-swap: loads and swaps are steps of their own. `pgmap.lock` is a lock.
 *
 * What is true of the protocol, and checked:
 * - a reference is given back on the word that it was taken on: no count falls below 0, none is left over;
 * - units are freed once each, and not while a mapping or a pin (not one that will back off) lasts on them;
 * - the folio is one of two units until the last reference that saw it so is gone.
 *
 * Left out: waiters (fault.pml), sharing, liveness (drain.pml), page accounting.
 *
 * Errors that can be planted:
 * BUG_SPLIT		the folio is reset when its entry goes, under a reader
 * BUG_HEAD_ONCE	a pin does not look at the head again after its count went up, and finds it anew to back off
 * BUG_QUIET_NOW	deletion swaps the word it loaded, but asks a later state of the count whether it may reset
 * BUG_BOTH_FREE	who lets a block go and finds the count 0 after LIMBO was set frees it and leaves it in limbo
 * BUG_NOBODY_FREES	who lets a block go does not look again after LIMBO was set
 */
#define UNITS	2

byte ref[UNITS];
bit limbo[UNITS];		/* in the words */
bit large = 1;			/* size, stale, owned: in word 0 */
bit stale;
bit owned = 1;

bit in_limbo[UNITS];		/* the bitmap, under the lock */
bit lock;
byte held[UNITS];		/* references that last */
byte freed[UNITS];		/* times */

bit mapped = 1;			/* unit 1, in a page table */
byte map = 1;			/* the head's mapcount */

#define head(u)	(large -> 0 : u)

inline acquire() {
	atomic {
		!lock -> lock = 1
	}
}

inline page_free(u) {
	atomic {
		assert(!freed[u] && !held[u] && !owned);
		freed[u] = 1
	}
}

/* The word of the head is swapped for one of a unit that nobody uses, if its count still is `old`. */
inline swap_reset(old) {
	atomic {
		done = (ref[0] == old);
		if
		:: done ->
			ref[0] = 0;
			large = 0;
			stale = 0;
			owned = 0
		:: else
		fi
	}
}

/* pgmap_folio_freed */
inline take_apart(h) {
	acquire();
	if
	:: ref[h] == 0 ->
		if
		:: limbo[h] ->
			limbo[h] = 0;
			if
			:: in_limbo[h] ->
				in_limbo[h] = 0;
				page_free(h)
			:: else
			fi;
			if
			:: large && in_limbo[1] ->
				in_limbo[1] = 0;
				page_free(1)
			:: else
			fi
		:: else
		fi;
		if
		:: large && !owned -> swap_reset(0)
		:: else
		fi
	:: else
	fi;
	lock = 0
}

inline put_word(h) {
	atomic {
		assert(ref[h] > 0);
		ref[h]--;
		slow = (ref[h] == 0 && (limbo[h] || (h == 0 && (stale || (large && !owned)))))
	}
	if
	:: slow -> take_apart(h)
	:: else
	fi
}

/* put_head: a reference on the folio keeps its head where it is. */
inline put(u) {
	h = head(u);
	put_word(h)
}

proctype mapper()
{
	bit slow, done;
	byte h;

	/* Its reference and its mapping were made when all was well. */
	atomic {
		held[1]--;
		map--;
		put(1)
	}
}

proctype pinner()
{
	bit slow, done;
	byte h;

	if
	:: mapped ->
		h = head(1);
		ref[h]++;
#ifdef BUG_HEAD_ONCE
		if
		:: mapped -> put(1)
		:: else -> put(1)
		fi
#else
		if
		:: head(1) != h -> put_word(h)
		:: else ->
			atomic {
				done = mapped;
				held[1] = held[1] + done
			}
			held[1] = held[1] - done;
			put(1)
		fi
#endif
	:: !mapped
	fi
}

/* unit_let_go, of one unit after the other. */
inline let_go(u) {
	acquire();
	h = head(u);
	if
	:: ref[h] == 0 -> straight = 1
	:: else ->
		in_limbo[u] = 1;
		atomic {
			was = limbo[h];
			limbo[h] = 1
		}
#ifdef BUG_NOBODY_FREES
		straight = 0;
#else
		straight = (ref[h] == 0 && !was);
#endif
		if
		:: straight ->
#ifndef BUG_BOTH_FREE
			limbo[h] = 0;
			in_limbo[u] = 0
#else
			skip
#endif
		:: else
		fi
	fi;
	if
	:: straight -> page_free(u)
	:: else
	fi;
	straight = 0;
	lock = 0
}

proctype owner()
{
	bit straight, was, done, slow, quiet;
	byte old, h;

	mapped = 0;
	/* The layout break has seen that there is no pin: count and mapcount are the same. */
	ref[0] == map;
	do
	::	old = ref[0];
#ifdef BUG_QUIET_NOW
		quiet = (ref[0] == 0);
#else
		quiet = (old == 0);
#endif
#ifdef BUG_SPLIT
		atomic {
			done = (ref[0] == old);
			if
			:: done ->
				large = 0;
				owned = 0
			:: else
			fi
		}
#else
		if
		:: quiet -> swap_reset(old)
		:: else ->
			atomic {
				done = (ref[0] == old);
				if
				:: done ->
					stale = 1;
					owned = 0
				:: else
				fi
			}
		fi;
#endif
		if
		:: done -> break
		:: else
		fi
	od;
	if
	:: stale -> take_apart(0)
	:: else
	fi;
	let_go(0);
	let_go(1)
}

/* Another file, on unit 0: takes a reference as its own, and gives it back. */
proctype other()
{
	bit slow, done;
	byte h;

	if
	:: freed[0] ->
		h = head(0);
		ref[h]++;
		held[0]++;
		held[0]--;
		put(0)
	:: true
	fi
}

init {
	atomic {
		ref[0] = 1;
		held[1] = 1;
		run mapper();
		run pinner();
		run pinner();
		run owner();
		run other()
	}
	_nr_pr == 1;
	assert(ref[0] == 0 && ref[1] == 0 && !large && !stale && !owned);
	assert(!limbo[0] && !limbo[1] && !in_limbo[0] && !in_limbo[1]);
	assert(freed[0] == 1 && freed[1] == 1)
}
