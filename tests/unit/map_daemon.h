/*
 * Maps with a daemon that is played: ioctl() of the library ends here (-Wl,--wrap=ioctl). The "mount" is a file of Fs
 * in memory, the pool another of Ps: which letter is read tells what is mapped. One test, one process.
 */
#ifndef UNIT_MAP_DAEMON_H
#define UNIT_MAP_DAEMON_H

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <inodax.h>

#include "direct.h"

#define FILE_BYTES	(4ULL << 20)
#define POOL_BYTES	(8ULL << 20)
#define POOL_AT		(2ULL << 20)	/* where the file lies in it */
#define UNIT		4096ULL
#define GRANTS		8

/* Some tests end by a signal: what they made lies in a directory that main() makes, and takes away. */
extern char dir[], file[64], pool[64], page[64];
extern int fd;				/* of the file */

/* The daemon: what it answers, and what it was told. */
struct fake {
	_Atomic int opened, areas, faults, unmapped;
	_Atomic int open_error, map_error;
	_Atomic bool cached;
	_Atomic uint64_t eof;		/* bytes */
	_Atomic uint64_t limit;		/* bytes of an answer; 0: none */
	_Atomic bool stale[GRANTS];
	_Atomic bool revoke_in_fault;	/* post a revocation after the answer is made */
	_Atomic uint32_t flags;		/* of the last MAP */
	_Atomic bool hole, full;	/* the file is one; no blocks for it */
	_Atomic bool filled[FILE_BYTES / UNIT];	/* but here */
	_Atomic int stores;		/* FAULTs that fill */
	struct direct_page *page[GRANTS];
};

extern struct fake fake;

/* setup - a fixture: the file and the pool of a test. run_suite - its main(). */
void setup(void);
int run_suite(Suite *s);

/* post - a revocation; take_back - and wait until it is answered. */
void post(uint64_t number, const struct direct_revoke *r, bool all);
void take_back(uint64_t number, const struct direct_revoke *r, bool all);

/* map, query - of the file, which have to work. at - where a byte is mapped. */
struct inodax_map *map(uint64_t offset, size_t length, unsigned int flags);
struct inodax_query query(struct inodax_map *m, size_t offset);
volatile char *at(struct inodax_map *m, size_t offset);

/* until_kind - wait until `offset` of the map is of a kind. expect_cached - it is, for a reason with these words. */
void until_kind(struct inodax_map *m, size_t offset, uint32_t kind);
void expect_cached(struct inodax_map *m, const char *reason);

#endif
