/*
 * The ring of redo records: commit, group commit, retire, tail. (Replay is meta/recover.h, bytes are
 * meta/record.h.)
 */
#ifndef META_JOURNAL_H
#define META_JOURNAL_H

#include <stdint.h>

#include "meta/super.h"

struct journal;

/*
 * journal_open - take over the ring at tail->pos with tail->seq: nothing is to be replayed any more.
 * `settled` is called (any thread, no journal lock held) with a sequence S whenever the durable tail has come
 * to stand at S: every record below S can no longer be replayed. It may be called again with the same S.
 * -ENOMEM.
 */
int journal_open(struct journal **out, struct region *r, const struct super *sb, const struct tail *tail,
		 void (*settled)(void *arg, uint64_t seq), void *arg);

/*
 * journal_close - free; the caller retired everything first (journal_retire) or does not care. NULL is
 * allowed.
 */
void journal_close(struct journal *j);

/*
 * journal_commit - make one record durable.
 *
 * `record` holds `len` bytes (from record_end()) with room for struct disk_record first and the patches after
 * it; header and crc are filled in here. The caller holds the locks of all that the patches name, from before
 * this call until after journal_applied(). On return 0 this record and all earlier ones are durable and *seq
 * is its sequence; the caller stores in place and then calls journal_applied(j, *seq), always, and without
 * waiting for anybody in between. Waits for ring space (retiring itself when needed) and for earlier records;
 * never for the caller's locks.
 *
 * Errors: -EIO/-ENOSPC of a write-back (REGION_PAGED), of this record, of an earlier one, or of a retiring;
 * -EUCLEAN when the ring was changed behind our back. Whether the record is on media is not known then:
 * nothing of it is to be stored in place, none of its new blocks to be used again, and the pool must fail.
 * Every later call fails alike.
 */
int journal_commit(struct journal *j, void *record, uint32_t len, uint32_t patches, uint64_t *seq);
void journal_applied(struct journal *j, uint64_t seq);

/*
 * journal_retire - flush the in-place lines of all applied records, fence, move the durable tail. Called when
 * the ring is half full, when revoked blocks are wanted, and at unmount. Waits for records whose commit began
 * before the call; the caller must not have one of them itself. `settled` was called with a sequence past all
 * of them when it returns 0. Errors as of journal_commit().
 */
int journal_retire(struct journal *j);

/* journal_next_seq - sequence the next record will get: a lower bound for "named by a record after now". */
uint64_t journal_next_seq(struct journal *j);

/*
 * journal_set_tail - write a tail slot with these flags and free-map cache at once (mount: clear; clean
 * unmount: set). Caller has retired everything and no commit is in flight.
 */
int journal_set_tail(struct journal *j, uint32_t flags, uint64_t freemap_block, uint32_t freemap_blocks);

#endif
