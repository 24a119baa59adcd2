/*
 * Direct mappings: the daemon's side of direct.h. Each call answers one request of a client, by the structure that came
 * with it; what a client may send is checked here. Errors are those of direct.h.
 *
 * Thread rules: any call from any thread; calls of one grant wait for each other. FAULT waits as a fault does: for
 * whoever takes blocks from the file, and for clients that see zeros where it gets blocks. `nowait`: see FS_WOULD_WAIT
 * in fs.h.
 */
#ifndef FS_GRANTS_H
#define FS_GRANTS_H

#include "direct.h"
#include "fs/fs.h"

/*
 * fs_grant_open - the handle `f`, opened by the process `pid` of `cred`, gets a grant; it ends with fs_close(). The
 * page is made as a file that cred->uid owns.
 */
int fs_grant_open(struct fs_file *f, const struct fs_cred *cred, int32_t pid, struct direct_open *open);

int fs_grant_start(struct fs *fs, const struct direct_start *start, bool nowait);
int fs_grant_map(struct fs *fs, struct direct_map *map, bool nowait);
int fs_grant_fault(struct fs *fs, struct direct_fault *fault, bool nowait);
int fs_grant_unmap(struct fs *fs, const struct direct_unmap *unmap, bool nowait);
int fs_grant_pin(struct fs *fs, struct direct_pin *pin, bool nowait);
int fs_grant_unpin(struct fs *fs, const struct direct_unpin *unpin, bool nowait);

/*
 * fs_grants_filled - the page cache is about to get bytes of the file: who maps it directly is told to map the file
 * instead, and FAULT says DIRECT_CACHED for some time. Waits for clients as a layout break does. On return all that
 * direct mappings stored is seen by a read. 0, or FS_WOULD_WAIT. No lock of the inode held.
 */
int fs_grants_filled(struct fs_file *f, bool nowait);

/*
 * fs_grants_storing - is the inode mapped directly for stores: do its attributes change without a request? Takes no
 * lock of an inode, and may be called with one held.
 */
bool fs_grants_storing(struct fs *fs, uint64_t ino);

/*
 * What direct mappings need of who serves the files. Called with no lock of the inode held.
 *
 * uncache: bring the page cache's changes of an inode here and forget its pages. 0 or a negative errno: the file stays
 * cached. Only called where waiting is allowed. forget: ask for the attributes anew when they are needed.
 *
 * fs_grants_serve - set while the filesystem has one thread; before, no file is given out directly. `hooks` stays the
 * caller's.
 */
struct fs_grants_hooks {
	int	(*uncache)(void *arg, uint64_t ino);
	void	(*forget)(void *arg, uint64_t ino);
	void	*arg;
};

void fs_grants_serve(struct fs *fs, const struct fs_grants_hooks *hooks);

#endif
