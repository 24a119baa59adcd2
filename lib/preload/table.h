/*
 * The direct maps of the process by address. Ranges do not overlap and are whole pages.
 *
 * A map that is in use (table_next) stays as it is; who changes one owns it before (table_own), and waits for that
 * until nobody uses it. Who looks for it meanwhile waits for him. The lock is of the table alone: nothing is called
 * with it held.
 */
#ifndef PRELOAD_TABLE_H
#define PRELOAD_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct inodax_map;

struct range {
	uintptr_t	   start, end;
	struct inodax_map *map;
	int		   prot;	/* as mmap(2) was told */
};

/* table_insert - a map that is in nobody's use. -ENOMEM. */
int table_insert(const struct range *r);

/*
 * table_next - the first range that has something in common with [from, to), and is from now on in use by the caller,
 * who gives it back with table_put(). false: there is none. Costs one load while the table is empty.
 */
bool table_next(uintptr_t from, uintptr_t to, struct range *out);
void table_put(const struct range *r);

/*
 * table_own - from now on it is the caller's alone, who uses it (table_next) and does not after, but by
 * table_replace(). -EAGAIN: another thread was faster: look again. -ENOMEM: there may be no room for what is to replace
 * it.
 */
int table_own(const struct range *r);

#define TABLE_PARTS	3U

/*
 * table_replace - a range that the caller owns becomes up to TABLE_PARTS others, by address, within it or none, which
 * are in nobody's use.
 */
void table_replace(const struct range *r, const struct range *with, unsigned int count);

#endif
