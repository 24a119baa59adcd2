/*
 * File range to pool range, as the kernel's iomap: what lib/fs reads and writes through, and what it answers lib/dax's
 * iomap_ops with.
 */
#ifndef META_IOMAP_H
#define META_IOMAP_H

#include <stdint.h>

#include "dax/iomap.h"
#include "meta/inode.h"
#include "meta/tx.h"

/*
 * iomap_read - the mapping at byte `pos`; starts at pos rounded down to a block, ends at or before pos + len
 * rounded up (and holds at least one block): where the range does, or what it is mapped to does not go on. Inode lock
 * shared. 0, -EUCLEAN, or -EFBIG when pos is not below 2^63.
 */
int iomap_read(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map);

/*
 * iomap_write - the mapping at `pos` for a write of `len` bytes, inside a transaction with the inode joined,
 * lock exclusive: a hole gets blocks (IOMAP_F_NEW, type IOMAP_MAPPED), an unwritten extent is marked written
 * and also comes as IOMAP_F_NEW. The caller fills or zeroes every byte of F_NEW blocks (non-temporal) and
 * calls tx_order_data() before commit. Comes back with at least one block, or -ENOSPC/-EUCLEAN.
 */
int iomap_write(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map);

/*
 * iomap_alloc_unwritten - blocks for the holes at the start of the range, unwritten: fallocate. `map` says
 * how far it came (an existing mapping is returned as it is).
 */
int iomap_alloc_unwritten(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map);

/*
 * iomap_seek - SEEK_DATA or SEEK_HOLE from `pos`; unwritten counts as a hole. Offset, -ENXIO, -EUCLEAN. Lock
 * shared.
 */
int64_t iomap_seek(struct inode *ip, uint64_t pos, int whence);

#endif
