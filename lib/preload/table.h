/*
 * The direct maps of the process by address. Ranges do not overlap and are whole pages.
 *
 * A map that is in use (table_next) stays; who takes one out (table_take) waits until nobody uses it. The lock is of
 * the table alone: nothing is called with it held.
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
 * table_take - out of the table, for the caller to do away with, who uses it (table_next) and does not after. false:
 * another thread was faster; it is not the caller's any more.
 */
bool table_take(const struct range *r);

#endif
