/*
 * Shared memory with a set of grant lists in it, for the tests of grant lists: grant 1 is there, the next daemon can be
 * played, and what is in the lists can be had as text.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_GRANT_UNIT_H
#define UNIT_GRANT_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "dax/grant_private.h"
#include "dax/shm.h"
#include "unit.h"

#define UNITS	(1ULL << 30)

extern const int orders[DAX_SIZES];	/* small, so that borders of folios are met often */
extern struct dax_shm *shm;
extern struct grant_set *set;
extern struct grant *g;			/* grant 1, NULL when adopt() did not find it */
extern unsigned int damaged;		/* pages, as the last grant_set_new() said */

/* add_case - a new case of the suite, each of whose tests has shared memory and a set of its own. */
TCase *add_case(Suite *s, const char *name);

/* owner - of a grant, all of it made from the id. new_grant - a grant of that owner. */
struct grant_owner owner(uint64_t id);
struct grant *new_grant(uint64_t id);

/* adopt - the set once more from the lists, as the next daemon does it, with so many pages damaged. */
void adopt(unsigned int expect_damaged);

/* ref - a reference. add - one of GRANT_MAP to `g`, in area 0: 0 or a negative errno. */
struct grant_ref ref(enum grant_kind kind, enum dax_size size, uint32_t area, uint64_t index, uint64_t unit,
		     uint64_t count);
int add(enum dax_size size, uint64_t index, uint64_t unit, uint64_t count);

/* fill_page - fill the first page but for `free` entries. */
void fill_page(unsigned int free);

/* Pieces and runs as text: "index+count@unit/size " each. see - for grant_walk(): adds one. runs - those of `g`. */
extern char seen[4096];
void see(void *arg, const struct grant_ref *r);
const char *runs(void);

/* pages_used - by all lists. all_refs - of all grants of the set. */
unsigned int pages_used(void);
uint64_t all_refs(void);

/* seed_random - for random(), by the clock; printed. */
void seed_random(void);

#endif
