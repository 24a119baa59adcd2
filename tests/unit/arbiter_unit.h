/*
 * Files that are mapped, for the tests of blocks and references together: files of lib/fs, their blocks from the real
 * allocator, under mappings and pins. The mapper here is as simple as one can be: an array of what is mapped where.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_ARBITER_UNIT_H
#define UNIT_ARBITER_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs_pool.h"

#define BLOCK		4096ULL
#define PMD_BLOCKS	512ULL
#define FILES		3U
#define PAGES		2048U			/* of a file that are mapped */

extern struct fs_options options;	/* what the fixture mounted with */

/* A file, mapped once. */
struct mapper {
	struct dax_vma		 vma;
	struct fs_file		*f;
	uint64_t		 ino;
	bool			 attached, silent;
	unsigned int		 told;		/* revocations it has not answered */
	uint64_t		 unit[PAGES];	/* + 1; 0: not mapped */
	enum dax_size		 size[PAGES];
	bool			 write[PAGES];
	struct dax_pin		 pin[4];
	bool			 pinned[4];
};

extern struct mapper mapper[FILES];

/*
 * arbiter_case - a new case of the suite, each of whose tests has a pool with files "a", "b" and "c", empty and mapped.
 * It ends with balance(), an unmount and a check of the pool.
 */
TCase *arbiter_case(Suite *s, const char *name);

/* remount_with - mount anew with other options. All files are ended before. */
void remount_with(const struct fs_options *o);

/* answer - the mapper answers at last: it unmaps all it has. */
void answer(struct mapper *m);

/* touch - a fault at page `index`: what it said. */
unsigned int touch(struct mapper *m, uint64_t index, bool write);

/* store - as hardware does it: faults until the page is there and writable. 0: it is; else what the fault said. */
unsigned int store(struct mapper *m, uint64_t index, unsigned char value);

/*
 * map_file - make a file, open and mapped. unmap_file - unmap all of it; its handle and pins stay. end_file - unpin,
 * unmap and close it.
 */
void map_file(struct mapper *m, const char *name);
void unmap_file(struct mapper *m);
void end_file(struct mapper *m);

/* grow - a file of so many pages, by the user. fill - the same, and a byte stored to each page. */
void grow(struct mapper *m, uint64_t pages);
void fill(struct mapper *m, uint64_t pages);

/* pin, unpin - `count` pages from `index`, in one of the four slots. try_pin - the same; 0 or a negative errno. */
int try_pin(struct mapper *m, int slot, uint64_t index, uint64_t count);
void pin(struct mapper *m, int slot, uint64_t index, uint64_t count);
void unpin(struct mapper *m, int slot);

/* set_size, punch (in pages, by the user) - 0 or a negative errno. hurried: a user whose calls do not wait. */
extern const struct fs_cred hurried;
int set_size(struct mapper *m, uint64_t size, const struct fs_cred *cred);
int punch(struct mapper *m, uint64_t index, uint64_t count);

/* blocks_of - how many the file has. */
uint64_t blocks_of(const struct mapper *m);

/* count_blocks - balance() wants as many as there are now, none in limbo: for tests that change what the pool takes. */
void count_blocks(void);

/*
 * balance - two accounts have to be equal: every block is free, in a file or in limbo; every reference in the folio
 * table is a page-table entry or a pin of ours.
 */
void balance(void);

#endif
