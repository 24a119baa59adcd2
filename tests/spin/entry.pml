/*
 * The lock of a mapping entry, its waiters, and entries of two sizes on the same range.
 *
 * Mirrors lib/dax/entry.c: entry_grab (with the downgrade), entry_unlock, entry_insert, entry_lock_mapped,
 * entry_next_unlocked with entry_delete, and wake. The file has one large unit (PMD) of two small ones (PTE), over a
 * folio of two pages. Two threads fault with the small size, each at its index; one faults with the large size; one
 * looks for a REAL entry to lock (and passes the wakeup on when it is none); one deletes what it finds unlocked.
 * A fault is a load (of zeros: a ZERO entry) or a store (blocks: REAL).
 *
 * mapping.lock makes one step of a look and what follows from it. wake() takes any of those who wait exclusively, not
 * the first: what holds here holds in any order.
 *
 * What is true of the protocol, and checked:
 * - nobody waits for ever for a lock that nobody holds (invalid end states);
 * - a page has one entry at a time: no small entry lies in a large one;
 * - the lock is exclusive, and only its holder finds the entry changed by himself;
 * - where blocks are mapped, no page table still shows the zero page there.
 *
 * Left out: the invalidate lock, which would keep the deleting thread from meeting faults (here it meets all); that
 * thread's clearing of page tables is one step with the deletion; sharing; folios and their counts (folio.pml).
 *
 * Errors that can be planted:
 * BUG_NO_CONFLICT	a large entry is stored although small ones are in its range
 * BUG_NO_PASS		who waited exclusively and does not lock what it finds keeps the wakeup
 * BUG_UNLOCK_SILENT	unlock wakes nobody
 * BUG_DELETE_WAKES_ONE	an entry that goes wakes one waiter, and the others wait for an entry that is gone
 * BUG_DOWNGRADE_MAPPED	the large zero page stays in the page tables when its entry makes place for small ones
 * BUG_DOWNGRADE_OPEN	... and is not locked while it is taken out of the page tables
 */
#define NONE	0
#define EMPTY	1
#define ZERO	2
#define REAL	3

/* What a thread does next. */
#define LOOK	0
#define SLEEP	1
#define GOT	2
#define DOWN	3
#define FALLBACK	4
#define IDLE	5

#define THREADS	5

byte kind[2];			/* of the entry that begins at the index */
bit locked[2];
bit large;			/* the entry at 0 covers both */

byte owners[2];			/* of each page: REAL entries */
bit zero_small[2];		/* page tables show the zero page at the index */
bit zero_large;			/* ... the large one at both */

byte waits[THREADS];		/* index + 1 of the entry waited for */
bit woken[THREADS];

#define waiting(t, i)	(waits[t] == i + 1 && !woken[t])

inline wake_one(i) {
	if
	:: waiting(0, i) -> woken[0] = 1
	:: waiting(1, i) -> woken[1] = 1
	:: waiting(2, i) -> woken[2] = 1
	:: waiting(3, i) -> woken[3] = 1
	:: waiting(4, i) -> woken[4] = 1
	:: else
	fi
}

inline wake_all(i) {
#ifdef BUG_DELETE_WAKES_ONE
	wake_one(i)
#else
	for (t : 0 .. THREADS - 1) {
		woken[t] = woken[t] || waiting(t, i)
	}
	t = 0
#endif
}

inline sleep() {
	atomic {
		woken[me] ->
		woken[me] = 0;
		waits[me] = 0
	}
}

/* dax_zap of one small unit, of all. */
inline zap_small(i) {
	atomic {
		zero_small[i] = 0;
		zero_large = 0
	}
}

inline zap_large() {
	atomic {
		zero_small[0] = 0;
		zero_small[1] = 0;
		zero_large = 0
	}
}

/* The entry at `s` goes. mapping.lock held. */
inline delete(s) {
	if
	:: kind[s] == REAL ->
		owners[s]--;
		owners[1] = owners[1] - large
	:: else
	fi;
	kind[s] = NONE;
	large = 0;
	wake_all(s)
}

inline new_small() {
	kind[index] = EMPTY;
	locked[index] = 1;
	s = index;
	state = GOT
}

/* entry_grab, small: `s` is where the entry begins. */
inline grab_small() {
	do
	:: state == LOOK ->
		atomic {
			s = (large -> 0 : index);
			if
			:: kind[s] == NONE -> new_small()
			:: kind[s] != NONE && locked[s] ->
				waits[me] = s + 1;
				state = SLEEP
			:: kind[s] != NONE && !locked[s] && (!large || kind[s] == REAL) ->
				locked[s] = 1;
				state = GOT
			:: kind[s] == EMPTY && !locked[s] && large ->
				delete(s);
				new_small()
			:: kind[s] == ZERO && !locked[s] && large ->
#ifndef BUG_DOWNGRADE_OPEN
				locked[s] = 1;
#endif
				state = DOWN
			fi
		}
	:: state == SLEEP ->
		sleep();
		state = LOOK
	:: state == DOWN ->
#ifndef BUG_DOWNGRADE_MAPPED
		zap_large();
#endif
		atomic {
			assert(large && kind[0] == ZERO);
			locked[0] = 0;
			delete(0);
			new_small()
		}
	:: state == GOT -> break
	od
}

/* entry_grab, large. */
inline grab_large() {
	do
	:: state == LOOK ->
		atomic {
			if
#ifdef BUG_NO_CONFLICT
			:: !large && (kind[0] == NONE || !locked[0]) ->
#else
			:: !large && kind[0] == NONE && kind[1] == NONE ->
#endif
				large = 1;
				kind[0] = EMPTY;
				locked[0] = 1;
				state = GOT
#ifndef BUG_NO_CONFLICT
			:: !large && (kind[0] != NONE || kind[1] != NONE) ->
				state = FALLBACK
#endif
			:: large && !locked[0] ->
				locked[0] = 1;
				state = GOT
#ifdef BUG_NO_CONFLICT
			:: kind[0] != NONE && locked[0] ->
#else
			:: large && locked[0] ->
#endif
				waits[me] = 1;
				state = SLEEP
			fi
		}
	:: state == SLEEP ->
		sleep();
		state = LOOK
	:: state == GOT || state == FALLBACK -> break
	od
}

inline unlock(s) {
	atomic {
		assert(locked[s]);
		locked[s] = 0;
#ifndef BUG_UNLOCK_SILENT
		wake_one(s)
#endif
	}
}

/* A load of a hole: ZERO stays or comes to be, and the zero page is mapped with the entry's size. */
inline map_zero() {
	kind[s] = ZERO;
	if
	:: large -> zero_large = 1
	:: else -> zero_small[s] = 1
	fi
}

/* entry_insert of blocks. */
inline map_blocks() {
	if
	:: kind[s] == ZERO && large -> zap_large()
	:: kind[s] == ZERO && !large -> zap_small(s)
	:: else
	fi;
	atomic {
		assert(locked[s]);
		if
		:: kind[s] != REAL ->
			kind[s] = REAL;
			owners[s]++;
			owners[1] = owners[1] + large
		:: else
		fi;
		assert(owners[0] <= 1 && owners[1] <= 1);
		assert(!zero_large && !zero_small[s] && (!large || !zero_small[1]))
	}
}

inline fault() {
	if
	:: kind[s] != REAL -> map_zero()
	:: true -> map_blocks()
	:: true		/* iomap failed: the entry stays as it is */
	fi;
	unlock(s)
}

proctype small(byte me; byte index)
{
	byte s, state, t;

	do
	::	grab_small();
		fault();
		atomic {
			state = LOOK;
			s = 0
		}
	:: break
	od
}

proctype large_fault(byte me)
{
	byte s, state;

	do
	::	grab_large();
		if
		:: state == GOT -> fault()
		:: else
		fi;
		state = LOOK
	:: break
	od
}

/* entry_lock_mapped: a REAL entry is locked, of anything else the wakeup is passed on. */
proctype looker(byte me)
{
	byte s, state = IDLE;

	do
	:: state == LOOK ->
		atomic {
			s = (large -> 0 : 1);
			if
			:: kind[s] == NONE -> state = IDLE
			:: kind[s] != NONE && locked[s] ->
				waits[me] = s + 1;
				state = SLEEP
			:: kind[s] == REAL && !locked[s] ->
				locked[s] = 1;
				state = GOT
			:: kind[s] != NONE && kind[s] != REAL && !locked[s] ->
#ifndef BUG_NO_PASS
				wake_one(s);
#endif
				state = IDLE
			fi
		}
	:: state == SLEEP ->
		sleep();
		state = LOOK
	:: state == GOT ->
		unlock(s);
		state = IDLE
	:: state == IDLE -> state = LOOK
	:: state == IDLE -> break
	od
}

/* The deletion of a layout break, or of an invalidation, at index 1. */
proctype deleter(byte me)
{
	byte s, state = IDLE, t;

	do
	:: state == LOOK ->
		atomic {
			s = (large -> 0 : 1);
			if
			:: kind[s] == NONE -> state = IDLE
			:: kind[s] != NONE && locked[s] ->
				waits[me] = s + 1;
				state = SLEEP
			:: kind[s] != NONE && !locked[s] ->
				zero_small[s] = 0;
				zero_large = 0;
				delete(s);
				state = IDLE
			fi
		}
	:: state == SLEEP ->
		sleep();
		state = LOOK
	:: state == IDLE -> state = LOOK
	:: state == IDLE -> break
	od
}

init {
	atomic {
		run small(0, 0);
		run small(1, 1);
		run large_fault(2);
		run looker(3);
		run deleter(4)
	}
	_nr_pr == 1;
	assert(!locked[0] && !locked[1])
}
