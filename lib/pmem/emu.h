/*
 * Emulated persistent memory, for tests only: a region in DRAM that records every store, flush and fence by
 * thread and can say what the media may hold if power is lost after any of them.
 *
 * The model is adversarial. A line may be evicted at any moment, so that any store not yet durable may or
 * may not be on media. Only aligned 8-byte words are whole: a line that is not durable may be torn between
 * them, each word holding any value it had since its last durable one. A flush makes durable, at its
 * thread's next fence, what the line held when it was flushed, whoever stored it, but not other threads'
 * non-temporal stores: those are pending until a fence of their own thread, whatever anybody flushes.
 */
#ifndef PMEM_EMU_H
#define PMEM_EMU_H

#include <stdbool.h>
#include <stdint.h>

#include "pmem/persist.h"
#include "pmem/region.h"

/*
 * emu_open - a region of `size` bytes, a multiple of BLOCK_SIZE: zeros, or the image given, copied. It does
 * not record yet. NULL when out of memory. emu_close is the same as region_close.
 */
struct region *emu_open(uint64_t size, const void *image);
void emu_close(struct region *r);

/* emu_record - start recording: everything stored so far is taken as durable; the trace is emptied. */
void emu_record(struct region *r);

/* Trace: events are numbered from 0; a fence is one event. emu_is_fence tells the fences. */
uint64_t emu_events(const struct region *r);
bool emu_is_fence(const struct region *r, uint64_t event, enum persist_point *point);

/*
 * emu_crash_begin - fix the moment: power is lost after `events` events. Computes what is durable then and
 * which 8-byte words of which lines are in doubt.
 *
 * emu_crash_lines  - number of lines in doubt at that moment.
 * emu_crash_subset - build into `image` (size bytes) the media with exactly the lines of the mask (bit i:
 * line i)
 *                    as new as can be, the others as old as can be. At most 64 lines in doubt.
 * emu_crash_random - the same with every word in doubt at a value drawn by `seed` among all it may have.
 * A crash state is over at the next emu_crash_begin or emu_record. Recording goes on being readable.
 */
void emu_crash_begin(struct region *r, uint64_t events);
unsigned int emu_crash_lines(const struct region *r);
void emu_crash_subset(struct region *r, uint64_t mask, void *image);
void emu_crash_random(struct region *r, uint64_t seed, void *image);

/*
 * Planted bugs, for the self-test of the crash tests: drop every flush, or every fence, of a point. -1: none.
 */
void emu_plant_missing_fence(struct region *r, int point);
void emu_plant_missing_flush(struct region *r, bool on);

#endif
