/*
 * Faults, pins and layout breaks on one unit of one file, with two mappers and a thread that pins.
 *
 * Mirrors lib/dax/fault.c (the fault), lib/dax/pin.c, lib/dax/layout.c (the layout break, the deletion of the entry),
 * lib/dax/pgmap.c (the counts) and lib/dax/drain.c (pgmap_wait, wake_waiters, the WAITERS bit). The file has one unit,
 * the pool two blocks: what is punched goes to the allocator, and the next fault takes any free block.
 *
 * What is true of the protocol, and checked:
 * - a block leaves the file only at count 0 and with no page-table entry to it, and so it is taken again;
 * - each 0 to 1 of a count takes the pgmap, each 1 to 0 gives it back (`live` is the number of counts that are not 0);
 * - who holds a pin pins the file's block, as long as the pin lasts;
 * - a layout break ends although mappings come back while it sleeps (one that sleeps for ever is an invalid end);
 * - no store is without a dirty mark, whatever was deleted: fsync at the end leaves nothing unflushed.
 *
 * A compare-and-swap loop is one atomic step: the word as found, and what becomes of it. The page-table lock makes one
 * step of the check of a page-table entry and its insertion. The pin is fast GUP's: no lock, and never from 0 to 1
 * (folio.pml has pins that go from 0).
 *
 * Left out: the wakeups of the entry lock and sizes of entries (entry.pml), drain (drain.pml), blocks that are let go
 * while references remain and signals (limbo.pml). Mappers here acknowledge a revocation at once.
 *
 * Errors that can be planted:
 * BUG_NO_TEMPORARY	the mapping is inserted at count 0, without the temporary reference
 * BUG_WAIT_FOR_ZERO	the layout break waits for count 0 (as the kernel and layout=kernel do), and a mapping that
 *			came back keeps it above
 * BUG_WAITERS_BLIND	WAITERS is set after the look at the count, and the look not repeated
 * BUG_PIN_FROM_ZERO	the pin raises a count from 0 to 1, and takes no pgmap for it
 * BUG_ZAP_AFTER_LOOK	the layout break looks for pins first and unmaps then
 * BUG_NO_FLUSH		a dirty entry is deleted without a flush
 */
#define BLOCKS	2
#define MAPPERS	2
#define NONE	2

byte ref[BLOCKS];
byte map[BLOCKS];
bit waiters[BLOCKS];
bit asleep;			/* the one that breaks the layout */
byte live;			/* what the pgmap counts */

byte block = NONE;		/* the file's */
bit is_free[BLOCKS] = 1;
bit unflushed[BLOCKS];		/* stored to since the last flush */

byte entry = NONE;		/* the mapping tree */
bit dirty;
bit entry_locked;

byte pte[MAPPERS] = NONE;	/* each mapper's page-table entry */

byte readers;			/* the invalidate lock */
bit writer;

/* 0 to 1 takes the pgmap. */
inline get(b) {
	atomic {
		ref[b]++;
		if
		:: ref[b] == 1 -> live++
		:: else
		fi
	}
}

#ifdef BUG_WAIT_FOR_ZERO
#define wait_over(b)	(ref[b] == 0)
#else
#define wait_over(b)	(ref[b] == map[b])
#endif

/* Drops a reference. If somebody waits for the folio, and need not any more, wake him. */
inline put(b) {
	atomic {
		assert(ref[b] > map[b]);
		ref[b]--;
		if
		:: ref[b] == 0 ->
			assert(live > 0);
			live--
		:: else
		fi;
		wake = waiters[b]
	}
	if
	:: wake ->
		atomic {	/* pgmap.lock */
			if
			:: wait_over(b) -> asleep = 0
			:: else
			fi;
			wake = 0
		}
	:: else
	fi
}

/* iomap_begin of a write fault: the file's block or, in a hole, any free one. */
inline iomap(b) {
	atomic {
		if
		:: block == NONE && is_free[0] -> block = 0
		:: block == NONE && is_free[1] -> block = 1
		:: block != NONE
		fi;
		b = block;
		assert(!is_free[b] || ref[b] == 0);
		is_free[b] = 0
	}
}

inline fault() {
	atomic {
		!writer -> readers++
	}
	atomic {
		!entry_locked -> entry_locked = 1
	}
	iomap(b);
	atomic {
		entry = b;
		dirty = 1
	}
#ifndef BUG_NO_TEMPORARY
	get(b);
#endif
	atomic {
		assert(pte[me] == NONE || pte[me] == b);
		if
		:: pte[me] == NONE ->
			pte[me] = b;
			ref[b]++;
			map[b]++
		:: else
		fi
	}
#ifndef BUG_NO_TEMPORARY
	put(b);
#endif
	entry_locked = 0;
	atomic {
		readers--;
		b = NONE
	}
}

/*
 * munmap, and the unmapping of a layout break. The mapcount falls with the page-table entry, the reference when no
 * processor can use the entry any more: until then it looks like a pin.
 */
inline unmap(m) {
	atomic {
		b = pte[m];
		pte[m] = NONE;
		if
		:: b != NONE -> map[b]--
		:: else
		fi
	}
	if
	:: b != NONE ->
		put(b);
		b = NONE
	:: else
	fi
}

proctype mapper(byte me)
{
	byte b = NONE;
	bit wake;

	do
	:: pte[me] == NONE -> fault()
	:: atomic {
		pte[me] != NONE -> unflushed[pte[me]] = 1	/* a store */
	}
	:: pte[me] != NONE -> unmap(me)
	:: break	/* mapped or not: a mapping may stay for ever */
	od
}

/* Fast GUP through the first mapper's page table, and the I/O that uses the pin. */
proctype pinner()
{
	byte b;
	bit got, wake;

	do
	::	b = pte[0];
		if
		:: b != NONE ->
			atomic {
#ifdef BUG_PIN_FROM_ZERO
				got = 1;
#else
				got = (ref[b] > 0);
#endif
				ref[b] = ref[b] + got
			}
			if
			:: got && pte[0] == b ->
				assert(block == b && !is_free[b]);
				put(b)
			:: got && pte[0] != b -> put(b)
			:: !got
			fi;
			got = 0
		:: else
		fi
	:: break
	od
}

inline zap() {
	unmap(0);
	unmap(1)
}

/* pgmap_wait: the flag first, then the look: a release after the look sees the flag. */
inline wait_for_pins(b) {
	do
#ifdef BUG_WAITERS_BLIND
	:: wait_over(b) -> break
	:: else ->
		waiters[b] = 1;
		asleep = 1;
		!asleep
#else
	::	waiters[b] = 1;
		atomic {	/* pgmap.lock, which the sleep gives up */
			if
			:: wait_over(b) -> break
			:: else -> asleep = 1
			fi
		}
		!asleep
#endif
	od;
	waiters[b] = 0
}

/* Holds the invalidate lock exclusively; gives it up while asleep, and then begins anew. */
inline break_layout() {
	do
	::
#ifndef BUG_ZAP_AFTER_LOOK
		zap();
#endif
		!entry_locked;
		atomic {
			w = entry;
			busy = 0;
			if
			:: w != NONE -> busy = (ref[w] != map[w])
			:: else
			fi
		}
#ifdef BUG_ZAP_AFTER_LOOK
		zap();
#endif
		if
		:: !busy -> break
		:: busy ->
			writer = 0;
			wait_for_pins(w);
			atomic {
				readers == 0 -> writer = 1
			}
		fi
	od
}

/* A punch, or a break that leaves the block with the file (reflink). */
proctype breaker()
{
	byte b = NONE, w = NONE;
	bit busy, wake;

	do
	::	atomic {
			readers == 0 -> writer = 1
		}
		break_layout();
		if
		:: entry != NONE ->
#ifndef BUG_NO_FLUSH
			if
			:: dirty -> unflushed[entry] = 0
			:: else
			fi;
#endif
			atomic {
				entry = NONE;
				dirty = 0
			}
		:: else
		fi;
		if
		:: block != NONE ->
			atomic {
				assert(ref[block] == 0);
				assert(pte[0] != block && pte[1] != block);
				is_free[block] = 1;
				unflushed[block] = 0;
				block = NONE
			}
		:: skip
		fi;
		atomic {
			writer = 0;
			w = NONE;
			busy = 0
		}
	:: break
	od
}

init {
	atomic {
		run mapper(0);
		run mapper(1);
		run pinner();
		run breaker()
	}
	_nr_pr == 1;
	assert(ref[0] == map[0] && ref[1] == map[1]);
	assert(live == (ref[0] > 0) + (ref[1] > 0));
	/* fsync */
	if
	:: entry != NONE && dirty -> unflushed[entry] = 0
	:: else
	fi;
	assert(!unflushed[0] && !unflushed[1])
}
