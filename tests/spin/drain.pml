/*
 * Request and release against kill, drain and destroy of the folio table.
 *
 * Mirrors lib/dax/pgmap.c (word_get, put_head) and lib/dax/drain.c (live_get and its kin, pgmap_wait, pgmap_kill,
 * pgmap_drain) under both drain policies (-DSWEEP or -DCOUNTER), with the rule of lib/dax/owner.c that a block let go
 * while references remain (LIMBO) goes to the allocator at the last release.
 *
 * Two threads map and unmap, one pins what it sees mapped, one truncates, one kills, drains and destroys.
 *
 * What is true of the protocol, and checked:
 * - no count rises once the table is drained; drained means that all are 0 and that nobody maps anything;
 * - nobody touches the table, its lock or its waiters once it is destroyed;
 * - a block is freed only at count 0 and once; in the end each is owned or free;
 * - the killer is woken (an end with the killer asleep is an error).
 *
 * Sweep: look at `dying` and rise from 0 lie in one section. The killer waits for the sections that may have seen the
 * table alive, then looks at each word once and waits where it is not 0.
 * Counter: the shard is raised first, then `dying` is looked at. A request that finds the table dying takes its own
 * increment back ON THE SHARD IT WAS MADE ON: the killer reads one shard after the other, and elsewhere the decrement
 * could be seen where the increment was not. All other decrements may go to any shard.
 *
 * A compare-and-swap loop is one step here, or one for each word it may find. So is what is done under pgmap.lock.
 *
 * Left out: folios of more than one unit (folio.pml), mapcounts (fault.pml), and weaker memory orders: what fence_light
 * and fence_heavy are for is taken as given.
 *
 * Errors that can be planted:
 * BUG_AT_TRUNCATE	the pgmap is given back when truncate lets the block go, not at the last release
 * BUG_PRIVATE		mappings of private pages hold no reference, so not the pgmap
 * BUG_KILL_RACE	the table is killed between the look at `dying` and the rise of the count
 * BUG_UNDO_ELSEWHERE	(counter) a failed request decrements any shard
 * BUG_UNDO_SILENT	(counter) a failed request does not wake the killer, who may have counted it
 * BUG_DESTROY_EARLY	destroy does not wait for calls under way: the last release still has the killer to wake
 */
#if !defined(SWEEP) && !defined(COUNTER)
#error either -DSWEEP or -DCOUNTER
#endif

#define FOLIOS	2
#ifdef SWEEP
#define ROUNDS(me)	2
#else
#define ROUNDS(me)	1	/* with each the shards drift apart, and more states there are */
#endif
#define USERS	3	/* two mappers, one that pins */

byte ref[FOLIOS];
bit limbo[FOLIOS];
bit waiters[FOLIOS];
bit asleep;		/* the killer, in a sweep */
bit owned[FOLIOS] = 1;
bit in_allocator[FOLIOS];
byte mapped;		/* page-table entries over all */
byte faults;		/* holders of the invalidate lock, shared */

bit dying;
bit drained;
bit gone;
bit truncated;
bit stopped;
byte calls;		/* under way */

bit inside[USERS];	/* in a read section */
bit old[USERS];		/* in one that began before the killer looked */

#ifdef COUNTER
short live[2];		/* the shards */
bit woken;		/* the killer, since it last began to sum */
#endif

inline enter(me) {
	inside[me] = 1
}

inline leave(me) {
	atomic {
		inside[me] = 0;
		old[me] = 0
	}
}

/* Wait for every section that had begun before now. */
inline synchronize() {
	d_step {
		old[0] = inside[0];
		old[1] = inside[1];
		old[2] = inside[2]
	}
	(!old[0] && !old[1] && !old[2])
}

inline page_free(f) {
	atomic {
		assert(!gone);
		assert(!owned[f] && ref[f] == 0 && !limbo[f]);
		assert(!in_allocator[f]);
		in_allocator[f] = 1
	}
}

/* The compare-and-swap of word_get: `first` when it was 0 to 1. */
inline raise(f) {
	atomic {
		assert(!drained);
		ref[f]++;
		first = (ref[f] == 1)
	}
}

#ifdef COUNTER
inline wake_killer() {
	if
	:: dying ->
		atomic {
			assert(!gone);
			woken = 1
		}
	:: else
	fi
}

/* On whatever processor this runs. */
inline decrement() {
	if
	:: live[0]--
	:: live[1]--
	fi
}

inline give_back() {
	decrement();
	wake_killer()
}
#endif

/* live_get: `live_held`, or the table is dying. */
#ifdef SWEEP
inline live_get() {
	enter(me);
	live_held = !dying;
#ifdef BUG_KILL_RACE
	leave(me);
#endif
	if
	:: !live_held -> leave(me)
	:: else
	fi
}

inline live_got() {
	leave(me)
}

inline live_undo() {
	leave(me)
}
#else
inline live_get() {
#ifdef BUG_KILL_RACE
	live_held = !dying;
	live[me]++;
#else
	live[me]++;
	live_held = !dying;
#endif
	if
	:: !live_held ->
#ifdef BUG_UNDO_ELSEWHERE
		decrement();
#else
		live[me]--;
#endif
#ifndef BUG_UNDO_SILENT
		wake_killer()
#endif
	:: else
	fi
}

inline live_got() {
	skip
}

inline live_undo() {
	live[me]--;
	wake_killer()
}
#endif

/* word_get: 0 to 1 only with the liveness; what is not 0 rises by itself. */
inline request(f) {
	do
	:: atomic {
		ref[f] > 0 && !live_held ->
		raise(f);
		got = 1;
		break
	}
	:: ref[f] == 0 && !live_held ->
		live_get();
		if
		:: live_held
		:: else -> break
		fi
	:: live_held ->
		raise(f);
		got = 1;
		if
		:: first -> live_got()
		:: else -> live_undo()
		fi;
		break
	od;
	atomic {
		first = 0;
		live_held = 0
	}
}

inline release(f) {
	calls++;
	atomic {
		assert(ref[f] > 0 && !gone);
		ref[f]--;
		first = (ref[f] == 0);	/* the last, going down */
		to_free = first && limbo[f];
		wake = first && waiters[f];
		if
		:: to_free -> limbo[f] = 0
		:: else
		fi
	}
	if
	:: to_free -> page_free(f)
	:: else
	fi;
	if
	:: first ->
#ifdef COUNTER
#ifdef BUG_AT_TRUNCATE
		if
		:: to_free
		:: else -> give_back()
		fi
#else
		give_back()
#endif
#else
		if
		:: wake ->
			atomic {
				assert(!gone);
				if
				:: ref[f] == 0 -> asleep = 0
				:: else
				fi
			}
		:: else
		fi
#endif
	:: else
	fi;
	atomic {
		first = 0;
		to_free = 0;
		wake = 0;
		calls--
	}
}

/* A fault finds the block by its inode, under the invalidate lock, which truncate takes exclusively. */
inline fault(f) {
	if
	:: atomic {
		owned[f] && !stopped ->
		calls++;
		faults++
	}
		request(f);
		if
		:: got -> mapped++
		:: else
		fi;
		atomic {
			faults--;
			calls--
		}
	:: else
	fi
}

inline unmap(f) {
	if
	:: got ->
		mapped--;
		got = 0;
		release(f)
	:: else
	fi
}

/* Maps its own folio; the first also that of the other, privately. */
proctype mapper(byte me)
{
	byte rounds = ROUNDS(me);
	bit got, first, live_held, to_free, wake;

	do
	:: rounds > 0 ->
		rounds--;
		fault(me);
		unmap(me)
	:: rounds > 0 && me == 0 ->
		rounds--;
#ifdef BUG_PRIVATE
		calls++;
		if
		:: dying -> got = 0
		:: else ->
			got = 1;
			mapped++
		fi;
		calls--;
		if
		:: got -> mapped--
		:: else
		fi
#else
		fault(1);
		unmap(1)
#endif
	:: break
	od
}

/* Pins what it sees mapped: raises a count that is not 0, dying or not. */
proctype pinner(byte me)
{
	byte f;
	bit got, first, to_free, wake;

	if
	:: f = 0
	:: f = 1
	fi;
	calls++;
	if
	:: mapped ->
		atomic {
			assert(!gone);
			got = (ref[f] > 0);
			if
			:: got ->
				assert(!drained);
				ref[f]++
			:: else
			fi
		}
	:: else ->
		got = 0
	fi;
	calls--;
	if
	:: got -> release(f)
	:: else
	fi
}

/* Truncate's last step: the owner lets the block of folio 0 go. */
proctype truncate()
{
	bit straight;

	atomic {
		faults == 0;
		assert(!gone);
		owned[0] = 0;
		straight = (ref[0] == 0);
		limbo[0] = !straight
	}
	if
	:: straight -> page_free(0)
	:: else ->
#if defined(BUG_AT_TRUNCATE) && defined(COUNTER)
		give_back()
#else
		skip
#endif
	fi;
	truncated = 1
}

#ifdef SWEEP
inline drain() {
	synchronize();
	f = 0;
	do
	:: f == FOLIOS -> break
	:: else ->
		/* pgmap_wait: the flag first, then the look. */
		waiters[f] = 1;
		atomic {	/* pgmap.lock, which the sleep gives up */
			if
#ifdef BUG_AT_TRUNCATE
			:: ref[f] == 0 || !owned[f] ->
#else
			:: ref[f] == 0 ->
#endif
				waiters[f] = 0;
				f++
			:: else ->
				asleep = 1
			fi
		}
		!asleep
	od
}
#else
inline drain() {
	do
	::	woken = 0;
		sum = live[0];
		sum = sum + live[1];
		if
		:: sum == 0 -> break
		:: else -> (woken)
		fi
	od
}
#endif

proctype killer()
{
	byte f;
	short sum;

	dying = 1;
	drain();
	atomic {
		drained = 1;
		assert(ref[0] == 0 && ref[1] == 0);
		assert(mapped == 0)
	}
	/* pgmap_destroy's caller sees to it that no other call is under way, and that none comes. */
	truncated;
	atomic {
#ifdef BUG_DESTROY_EARLY
		stopped = 1;
#else
		calls == 0 -> stopped = 1;
#endif
		gone = 1
	}
}

init {
	atomic {
		run mapper(0);
		run mapper(1);
		run pinner(2);
		run truncate();
		run killer()
	}
	_nr_pr == 1;
	assert(gone);
	assert(owned[0] + in_allocator[0] == 1 && owned[1] + in_allocator[1] == 1)
}
