/*
 * One block of one file that is truncated, unlinked and closed while two grants map it and a pin comes and goes.
 *
 * Mirrors lib/dax/layout.c (the break before truncate and eviction, its bound), lib/dax/owner.c (pgmap_free_blocks and
 * the last release, each one step here; folio.pml has the steps) and lib/dax/pin.c with pins of mode `inode`: a
 * pin holds an inode reference all its life.
 *
 * A grant holds an inode reference (its handle) and a mapping. Revoked, it gives the mapping up at once, later, or not
 * before it ends: a grant that ends closes its handle, and its references may go earlier or later than that (a dead
 * process, a quarantine). The break waits for acknowledgement up to a bound, which may pass at any time here, then for
 * pins, or is interrupted. Then the block is let go: at count 0 straight to the allocator, else LIMBO is set, in one
 * step with the look, and the release that brings the count to 0 clears it and frees the block. A second file takes
 * the block as soon as it is free.
 *
 * What is true of the protocol, and checked:
 * - a block is freed and taken only at count 0, and never freed twice;
 * - in the end it belongs to the file, to the allocator or to the other file: it is not lost;
 * - as long as a pin lasts, the inode lives and the block is the file's;
 * - an inode that is gone has no block.
 *
 * Left out: faults (fault.pml), the pgmap (drain.pml), media, layout=kernel, pins of mode `evict`.
 *
 * Errors that can be planted:
 * BUG_PIN_THEN_INODE	the pin is taken first and the inode reference then: unlink and the last close come between
 * BUG_DOUBLE_FREE	LIMBO is set first, and then who let the block go also frees it if the count is 0
 * BUG_LIMBO_LATE	LIMBO is set after the look at the count, and the last release has been
 * BUG_NO_LIMBO		the block of a grant that is silent past the bound goes to the allocator
 * BUG_LIMBO_PINNED	truncate does not wait for pins either
 * BUG_UNLINK_FREES	unlink frees without waiting for the last inode reference
 */
#define GRANTS	2

#define FILE	0
#define LIMBO	1
#define FREE	2
#define OTHER	3

byte owner = FILE;
bit limbo;			/* in the folio word */
bit waiters;
byte ref = GRANTS;
byte map = GRANTS;
bit valid[GRANTS] = 1;		/* the mapping is in the tables, and may be pinned */

byte inode_refs = GRANTS + 2;	/* the grants, a file to close, a file to truncate */
bit linked = 1;
bit inode_gone;

inline page_free() {
	atomic {
		assert(owner != FREE && owner != OTHER);
		assert(ref == 0 && !limbo);
		owner = FREE
	}
}

/* The owner's side. Nobody can raise a count from 0 then: there is no way to the block any more. */
inline let_go() {
#ifdef BUG_DOUBLE_FREE
	atomic {
		owner = LIMBO;
		limbo = 1
	}
	straight = (ref == 0);
	if
	:: straight -> limbo = 0
	:: else
	fi;
#else
#ifdef BUG_LIMBO_LATE
	straight = (ref == 0);
	atomic {
		owner = LIMBO;
		limbo = !straight
	}
#else
	atomic {
		owner = LIMBO;
#ifdef BUG_NO_LIMBO
		straight = 1;
#else
		straight = (ref == 0);
#endif
		limbo = !straight
	}
#endif
#endif
	if
	:: straight -> page_free()
	:: else
	fi
}

/* Drops a reference; with `m` 1 that of a mapping. */
inline put(m) {
	atomic {
		assert(ref > 0 && map >= m);
		ref--;
		map = map - m;
		last = (ref == 0 && limbo);
		if
		:: last -> limbo = 0
		:: else
		fi;
		if
		:: ref == map -> waiters = 0
		:: else
		fi
	}
	if
	:: last -> page_free()
	:: else
	fi
}

/* The last reference of an inode without a name frees it. */
inline iput() {
	atomic {
		assert(inode_refs > 0);
		inode_refs--;
		last = (inode_refs == 0 && !linked)
	}
	if
	:: last ->
		if
		:: owner == FILE -> let_go()
		:: else
		fi;
		atomic {
			assert(owner != FILE);
			inode_gone = 1
		}
	:: else
	fi
}

proctype grant(byte me)
{
	bit last, straight;

	if
	::	/* unmaps or acknowledges, then closes */
		valid[me] = 0;
		put(1);
		iput()
	::	/* dies or is silent: what it held comes back after its handle */
		valid[me] = 0;
		iput();
		put(1)
	fi
}

/* A pin through the first grant's mapping, and its I/O. */
proctype pinner()
{
	bit got, inode, last, straight;

#ifdef BUG_PIN_THEN_INODE
	inode = 1;
#else
	atomic {
		inode = (inode_refs > 0);
		inode_refs = inode_refs + inode
	}
#endif
	if
	:: inode && valid[0] ->
		atomic {
			got = (ref > 0);
			ref = ref + got
		}
		if
		:: got && valid[0] ->
#ifdef BUG_PIN_THEN_INODE
			inode_refs++;
#endif
			assert(!inode_gone);
			assert(owner == FILE);
			/* The I/O takes its time. */
			assert(!inode_gone);
			assert(owner == FILE)
		:: else
#ifdef BUG_PIN_THEN_INODE
			-> inode = 0
#endif
		fi;
		if
		:: got -> put(0)
		:: else
		fi
	:: else
#ifdef BUG_PIN_THEN_INODE
		-> inode = 0
#endif
	fi;
	if
	:: inode -> iput()
	:: else
	fi
}

/* Holds a file open, hence an inode reference. */
proctype truncate()
{
	bit busy, last, straight;

	do
	::	valid[0] = 0;
		valid[1] = 0;
		if
		:: map == 0	/* acknowledged */
		:: true		/* the bound has passed */
		fi;
		atomic {
#ifdef BUG_LIMBO_PINNED
			busy = 0;
#else
			busy = (ref != map);
#endif
			waiters = busy
		}
		if
		:: !busy ->
			let_go();
			break
		:: busy ->
			if
			:: !waiters
			:: true -> break	/* EINTR: nothing is done */
			fi
		fi
	od;
	iput()
}

proctype unlink()
{
	bit last, straight;

	linked = 0;
#ifdef BUG_UNLINK_FREES
	if
	:: owner == FILE -> let_go()
	:: else
	fi;
#endif
	iput()
}

proctype other()
{
	if
	:: atomic {
		owner == FREE ->
		assert(ref == 0 && !limbo);
		owner = OTHER
	}
	:: true
	fi
}

init {
	atomic {
		run grant(0);
		run grant(1);
		run pinner();
		run truncate();
		run unlink();
		run other()
	}
	_nr_pr == 1;
	assert(ref == 0 && map == 0 && !waiters && inode_refs == 0 && inode_gone);
	assert(owner == FREE || owner == OTHER)
}
