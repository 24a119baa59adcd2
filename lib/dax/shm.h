/*
 * The shared memory of a pool: what the media does not hold and tools may look at - the folio table and the grant
 * lists.
 *
 * One directory a user (root: /run/inodax, else XDG_RUNTIME_DIR/inodax), one file a part, named by the pool's uuid:
 * UUID.folios, UUID.grants. Written by the daemon alone; mapped read-only by whoever may read the pool: the files
 * get the read bits of the pool's own mode, its owner and group. Tests use memory without a name.
 *
 * The folio words are sparse: what was never written takes no memory. The lists take what dax_shm_lists_grow() asked
 * for. Both outlive a daemon that is killed, and are removed by one that ends with nothing held.
 */
#ifndef DAX_SHM_H
#define DAX_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct dax_shm;

#define DAX_SHM_PAGE		4096U
#define DAX_SHM_LISTS_MAX	(1ULL << 36)	/* bytes of address space kept for lists; grown by need */
#define DAX_SHM_UNITS_MAX	(1ULL << 36)
#define DAX_SHM_NAME		48		/* bytes of a file's name, with the 0 */

/*
 * First page of the file of folios. Host byte order: it never leaves the machine. A reader refuses another version
 * or a uuid that is not its pool's.
 */
struct dax_shm_header {
	uint64_t	magic;		/* DAX_SHM_MAGIC */
	uint32_t	version;	/* DAX_SHM_VERSION */
	uint32_t	unit_shift;
	uint8_t		uuid[16];
	uint64_t	units;		/* words that follow, from byte 4096 on */
	int32_t		pid;		/* of the daemon that writes; 0: none does */
	uint32_t	accounting;	/* enum pgmap_accounting */
	uint32_t	drain;		/* enum pgmap_drain */
	uint32_t	layout;		/* enum dax_layout */
	uint32_t	pin;		/* enum dax_pin_mode */
	uint32_t	reserved0;
	_Atomic uint64_t resting;	/* blocks that clients mapped, and that nobody gets yet */
	uint32_t	reserved[10];
};

#define DAX_SHM_MAGIC	0x74616261646f6e69ULL	/* "inodabat" in memory: inodax, block arbiter table */
#define DAX_SHM_VERSION	1U

/* dax_shm_folios_bytes - size of the file of folios: the header's page and the words, in whole pages. */
static inline uint64_t dax_shm_folios_bytes(uint64_t units)
{
	return DAX_SHM_PAGE + (units * sizeof(uint64_t) + DAX_SHM_PAGE - 1) / DAX_SHM_PAGE * DAX_SHM_PAGE;
}

struct dax_shm_config {
	const char	*dir;		/* NULL: memory without a name */
	uint8_t		 uuid[16];
	uint64_t	 units;		/* 1 to DAX_SHM_UNITS_MAX */
	uint32_t	 unit_shift;
	int		 like;		/* descriptor whose owner, group and read bits the files get; -1: 0600 */
};

/*
 * dax_shm_open - the daemon's side, read and write. The directory is made (0755) if it is not there; it must be a
 * directory of our own that nobody else may write. Files are made with O_EXCL, never followed through a link; files
 * that are there must be ours (or be owned by who owns `like`, to whom we gave them), regular, with one link, without
 * write permission for others and of this pool's size, and are used again; *reused: there were lists. What is there and
 * not that:
 * -EEXIST, naming it. -EBUSY: another daemon uses them. -EINVAL, -ENOMEM, -ENOSPC, or what the filesystem says; then
 * files that were made are gone again, and files that were there are still there.
 *
 * The folio words are zeroed in any case (counts are recomputed from lists). Of the header, magic, version, unit_shift,
 * uuid, units and pid (the calling process) are filled in; the others are 0 and the caller's. A `like` whose owner we
 * may not give files to (no privilege) gets nothing by owner, and by group if we are not in it; they stay ours.
 */
int dax_shm_open(struct dax_shm **out, const struct dax_shm_config *config, bool *reused, struct err *err);

/* dax_shm_close - unmap; remove the files when asked to, else leave them with pid 0 in the header. */
void dax_shm_close(struct dax_shm *shm, bool remove);

struct dax_shm_header *dax_shm_header(struct dax_shm *shm);
_Atomic uint64_t *dax_shm_words(struct dax_shm *shm);

/* dax_shm_dir - where the files are; NULL: memory without a name. */
const char *dax_shm_dir(const struct dax_shm *shm);

/*
 * dax_shm_lists - start of the lists' memory, DAX_SHM_LISTS_MAX bytes of address space of which dax_shm_lists_size()
 * are there (touching what is not is SIGBUS). It never moves.
 * dax_shm_lists_grow - at least `bytes`, zeros, allocated, so that touching them cannot fail: -ENOSPC. Not at once from
 * two threads.
 */
void *dax_shm_lists(struct dax_shm *shm);
uint64_t dax_shm_lists_size(struct dax_shm *shm);
int dax_shm_lists_grow(struct dax_shm *shm, uint64_t bytes);

/*
 * A reader's side: tools. One thread a view.
 *
 * dax_shm_view_open - map both files read-only. `owner`: of the pool. -ENOENT: no daemon serves this pool directly, or
 * none has got so far; -EACCES: the files' mode; -EPERM: owned by neither the pool's owner nor root, or not a regular
 * file; -EPROTO: another version, or not this pool's; -EINVAL, -ENOMEM. What the files say besides is the daemon's
 * word, not checked: pid may be of a process that was killed.
 */
struct dax_shm_view {
	const struct dax_shm_header	*header;
	const _Atomic uint64_t		*words;		/* `units` of them */
	uint64_t			 units;		/* as checked against the file's size when it was opened */
	const void			*lists;
	uint64_t			 lists_size;	/* bytes there were when dax_shm_view_refresh() last looked */
	int				 fd, lists_fd;
};

int dax_shm_view_open(struct dax_shm_view *view, const char *dir, const uint8_t uuid[16], uint32_t owner,
		      struct err *err);
void dax_shm_view_close(struct dax_shm_view *view);

/*
 * dax_shm_view_refresh - see what the lists have grown to. false: files were removed, and perhaps made anew: open
 * again.
 */
bool dax_shm_view_refresh(struct dax_shm_view *view);

/*
 * dax_shm_view_next - first unit at or after `unit` whose word is not zero; units if none. Holes of the file are
 * skipped, not read: reading one would allocate its page.
 */
uint64_t dax_shm_view_next(const struct dax_shm_view *view, uint64_t unit);

/* dax_shm_name - of the file of a part ("folios", "grants") of a pool, without the directory. */
void dax_shm_name(char name[DAX_SHM_NAME], const uint8_t uuid[16], const char *part);

/*
 * dax_shm_default_dir - where the files of this user's daemons are; -ENOENT when XDG_RUNTIME_DIR is not set, or not an
 * absolute path; -ENAMETOOLONG.
 */
int dax_shm_default_dir(char *dir, uint64_t size);

#endif
