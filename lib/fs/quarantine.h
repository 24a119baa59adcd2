/*
 * Quarantine: blocks that clients mapped, between their freeing and their next use.
 *
 * The kernel may hold a page that a process has unmapped - io_uring's registered buffers, vmsplice, an O_DIRECT read
 * that is under way - and user space does not see it. So a block that was ever told to a client rests for a time when
 * nothing refers to it any more, before the allocator gets it: what is still under way then lands in nobody's file.
 * Pins that are known of (direct.h) need no such time; what lasts longer and is not known of is in doc/coherence.md.
 *
 * Blocks that no client ever mapped go to the allocator at once. Blocks rest for at least the time given, and for at
 * most twice that: they are kept in two generations, and one that is old enough goes as a whole. They count as free,
 * for whoever finds no others waits for them (pool.wait_free).
 *
 * Any thread; one mutex inside, before balloc's and after the pgmap's. A block that is freed twice fails the pool.
 */
#ifndef FS_QUARANTINE_H
#define FS_QUARANTINE_H

#include <stdatomic.h>
#include <stdint.h>

struct pool;
struct quarantine;

/*
 * quarantine_new - for the blocks of a pool, whose free map is there. rest_ms 0: nothing rests. `shown` (or NULL) is
 * kept at how many blocks rest, for whoever looks. -ENOMEM.
 */
int quarantine_new(struct quarantine **out, struct pool *p, uint64_t rest_ms, _Atomic uint64_t *shown);

/*
 * quarantine_start - the thread that ends what has rested. Without it quarantine_expire() has to be called. -EAGAIN,
 * -ENOMEM.
 */
int quarantine_start(struct quarantine *q);

/* quarantine_end - free what rests, now and from now on at once. No thread any more. */
void quarantine_end(struct quarantine *q);

/* quarantine_delete - after quarantine_end(). */
void quarantine_delete(struct quarantine *q);

/* quarantine_mark - a client may map these from now on. They are not free. */
void quarantine_mark(struct quarantine *q, uint64_t block, uint64_t count);

/* quarantine_free - nobody owns these any more, nor refers to them: balloc_free(), now or later. `now`: clock_ms() */
void quarantine_free(struct quarantine *q, uint64_t block, uint64_t count, uint64_t now);

/* quarantine_expire - free what has rested long enough. When there will be something to do again; 0: nothing rests. */
uint64_t quarantine_expire(struct quarantine *q, uint64_t now);

/* quarantine_wait - until something that rests is free. 0, or -ENOSPC: nothing rests. Once it was started. */
int quarantine_wait(struct quarantine *q);

/* quarantine_count - blocks that rest. */
uint64_t quarantine_count(const struct quarantine *q);

#endif
