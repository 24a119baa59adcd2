/*
 * A directory for a pool's shared memory and what opens it there, for the tests of shared memory. Another user is a
 * child with another uid.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_SHM_UNIT_H
#define UNIT_SHM_UNIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dax/shm.h"
#include "unit.h"

#define UNITS	100000U
#define USER	65534U
#define GROUP	65533U

#define FOLIOS	"deadbeef-0102-0304-0506-0708090a0b0c.folios"
#define GRANTS	"deadbeef-0102-0304-0506-0708090a0b0c.grants"

extern char base[64];			/* a directory other users may search, as they may /run; new for each test */
extern char dir[128], pool[96];		/* in it, and not there: the directory of shared memory, the pool */
extern const uint8_t uuid[16];
extern struct err last_err;		/* of the last call that can fail */

/* add_case - a new case of the suite, each of whose tests has a directory of its own. */
TCase *add_case(Suite *s, const char *name);

/* config - shared memory in `dir`, like no pool. opened - it, reused or not, as is expected. */
struct dax_shm_config config(void);
struct dax_shm *opened(const struct dax_shm_config *c, bool expect_reused);

/* open_like - shared memory like a pool, made now, of this mode and, with privilege for it, owner and group. */
struct dax_shm *open_like(mode_t mode, uid_t uid, gid_t gid);

/* use - grow the lists, and store to both: the first and the last word, bytes 8191 and 1 MiB - 1 of the lists. */
void use(struct dax_shm *shm);

/* in_dir - path of a name in `dir`; the last two stay. make_file - a new one of that size. */
const char *in_dir(const char *name);
void make_file(const char *path, off_t size);

/* as_user - run fn in a child as an ordinary user, in that user's own directory. Left out without privilege. */
void as_user(void (*fn)(void));

#endif
