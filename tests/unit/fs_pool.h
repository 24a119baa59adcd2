/*
 * A pool with a filesystem on emulated memory, mounted, for the tests of lib/fs. Each test that uses the fixture
 * ends with an unmount and a check of the pool.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_FS_POOL_H
#define UNIT_FS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"
#include "pmem/region.h"
#include "unit.h"

#define POOL_BYTES	(16U << 20)

extern struct region *region;
extern struct fs *fs;
extern const struct fs_cred user;	/* uid 1000, gid 1000, umask 022 */
extern const struct fs_cred root;	/* with all capabilities */

/* fs_pool_setup, fs_pool_teardown - the fixture: format and mount; unmount and check. */
void fs_pool_setup(void);
void fs_pool_teardown(void);

/* mount_pool - mount, dax and relatime. remount - unmount, check, mount. */
void mount_pool(void);
void remount(void);

/* lookup - inode number of a name, or 0. attributes - of an inode that is there. */
uint64_t lookup(uint64_t parent, const char *name);
struct stat attributes(uint64_t ino);

/* create - a new file of the user in the root, open; fs_close() it. */
struct fs_file *create(const char *name);

/* make_dir, make_file - of the user; its inode number. */
uint64_t make_dir(uint64_t parent, const char *name);
uint64_t make_file(uint64_t parent, const char *name);

/* write_at - len bytes of `fill`, by the user. holds - all of [off, off + len) can be read and is `fill`. */
void write_at(struct fs_file *f, uint64_t off, size_t len, int fill);
bool holds(struct fs_file *f, uint64_t off, size_t len, int fill);

/* free_blocks - as statvfs has it. */
uint64_t free_blocks(void);

#endif
