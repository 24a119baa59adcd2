/*
 * An emulated region that records, and the question its tests ask: what may be on the media if power is lost now?
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_EMU_CUT_H
#define UNIT_EMU_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "pmem/emu.h"
#include "unit.h"

#define SIZE	(1U << 16)
#define LINE	64U

extern struct region *r;		/* SIZE bytes, all zero at first */
extern unsigned char image[SIZE];	/* the media after the last cut that was looked at */

/* emu_cut_setup, emu_cut_teardown - the fixture. */
void emu_cut_setup(void);
void emu_cut_teardown(void);

/* store, store_nt - a word at byte `off`. flush - its line. fence - as a commit does. */
void store(uint64_t off, uint64_t value);
void store_nt(uint64_t off, uint64_t value);
void flush(uint64_t off);
void fence(void);

/* in_image - a word of `image`. */
uint64_t in_image(uint64_t off);

/* oldest, newest - the word's value when no doubtful line, or every one of them, reached the media. */
uint64_t oldest(uint64_t off);
uint64_t newest(uint64_t off);

/* possible - whether some draw gives the word this value. lines_now - lines in doubt. */
bool possible(uint64_t off, uint64_t value);
unsigned int lines_now(void);

#endif
