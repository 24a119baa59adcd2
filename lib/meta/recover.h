/*
 * Recovery: prefix replay of the ring, at a writable mount that finds the pool not cleanly unmounted.
 */
#ifndef META_RECOVER_H
#define META_RECOVER_H

#include "meta/super.h"

/*
 * recover - replay, make the result durable (PERSIST_REPLAY), then move the tail beyond the run, with the
 * mount sequence raised by one, the clean and free-map flags dropped, and the sequence raised by more than
 * the ring can hold records, so that no record of an earlier life is ever taken for one of this
 * (PERSIST_TAIL). May be cut anywhere and run again. Also called after a clean unmount (then nothing is
 * replayed, the rest is the same).
 *
 * `tail` is read by the caller and updated. `replayed` gets the number of records.
 */
int recover(struct region *r, const struct super *sb, struct tail *tail, uint64_t *replayed);

#endif
