/*
 * The arbiter: every use of a file's blocks by anybody but the filesystem itself goes through the mapping of its
 * inode. Mirrors fs/dax.c and what it leans on: struct address_space, vm_area_struct, GUP.
 *
 *	struct dax		a pool: its pgmap, its grants, the modes chosen at mount
 *	struct dax_mapping	an inode's mapping: entries by file index, the invalidate lock, who maps it
 *	struct dax_vma		one mapping of a file range in one address space, with the references it holds
 *	struct dax_fault	a fault on its way: VMA, index, address, what kind
 *
 * Reaches files through dax_file_ops (iomap among them) and mappers through mm_ops, so it knows neither.
 *
 * Units: `index` counts map units in a file, `unit` counts them in the pool (4 KiB, or the pool's larger unit),
 * addresses and file positions are bytes.
 *
 * Lock order, as in the kernel: the mapper's own (mmap_lock) -> invalidate_lock -> lock of an entry -> what iomap_ops
 * takes -> dax_mapping.vma_lock -> the mapper's page tables -> dax_mapping.lock -> grants, pgmap. A fault holds the
 * invalidate lock shared, whoever takes blocks away holds it exclusively from before dax_break_layout() until the
 * blocks are gone.
 */
#ifndef DAX_DAX_H
#define DAX_DAX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dax/grant.h"
#include "dax/iomap.h"
#include "dax/pgmap.h"
#include "dax/radix.h"
#include "util/list.h"

struct dax_mapping;
struct dax_vma;

/* KERNEL: as the kernel breaks layouts, hazards included (doc/mirror.md). INODAX: the range alone, and bounded. */
enum dax_layout { DAX_LAYOUT_INODAX, DAX_LAYOUT_KERNEL };

/* INODE: a pin holds a reference to its inode. EVICT: it does not, the inode's end waits for pins (the kernel). */
enum dax_pin_mode { DAX_PIN_INODE, DAX_PIN_EVICT };

/* What a file system does for lib/dax; `host` is its inode. All may block; none may call back into the same mapping. */
struct dax_file_ops {
	struct iomap_ops iomap;
	uint64_t	(*size)(void *host);			/* i_size_read() */
	void		(*hold)(void *host);			/* igrab() */
	void		(*put)(void *host);			/* iput() */
	void		(*dirty)(void *host);			/* file_update_time(): a mapping is about to store */
	int		(*sync)(void *host, uint64_t pos, uint64_t len);	/* vfs_fsync_range() of a sync fault */
	void		(*flush)(void *host, uint64_t addr, uint64_t len);	/* dax_flush(): bytes to the media */
	/* Copy (from == DAX_ZEROS: zero) pool bytes, durably before a record leads to them: dax_iomap_copy_around(). */
	int		(*copy)(void *host, uint64_t to, uint64_t from, uint64_t len);
};

#define DAX_ZEROS	UINT64_MAX	/* in place of a pool address or unit: the zero page */

struct dax_stat {
	_Atomic uint64_t faults, major, fallbacks, sigbus;
	_Atomic uint64_t breaks, break_waits, silent;
};

struct dax {
	struct pgmap		*pgmap;
	enum dax_layout		 layout;
	enum dax_pin_mode	 pin;
	bool			 pin_busy;	/* a layout that is pinned is not broken: -EBUSY */
	bool			 sync;		/* MAP_SYNC can be promised */
	enum dax_size		 max_size;	/* of page-table entries; the kernel's filesystems stop at PMD */
	int			 mapper_ms;	/* how long a mapper may take to answer a revocation */
	struct dax_stat		 stat;
	pthread_mutex_t		 lock;		/* mappings */
	pthread_cond_t		 left;		/* with lock: a visitor left a mapping */
	struct list		 mappings;
};

void dax_init(struct dax *dax, struct pgmap *pgmap);
void dax_destroy(struct dax *dax);

/* ---- Mappers --------------------------------------------------------------------------------------------- */

#define DAX_MAP_WRITE	(1U << 0)	/* writable, else read-only */
#define DAX_MAP_ZERO	(1U << 1)	/* the zero unit: no folio, no reference */
#define DAX_MAP_THERE	(1U << 2)	/* it is recorded as mapped: flags are raised, nothing new is mapped */

/*
 * What a mapper does when told; the kernel's side is mm/memory.c. Called without dax_mapping.lock; the VMA stays.
 *
 * insert and zap of one VMA exclude each other by the lock of the mapper's page tables, and dax_unmap() is called
 * with it
 * held: so what is mapped and what is recorded change together.
 *
 * insert: vmf_insert_page_mkwrite(), vmf_insert_folio_pmd(). The reference is counted and recorded already. If the
 * same is mapped there, its flags are raised. 0; -EAGAIN: something else is in the way, or, with DAX_MAP_THERE,
 * nothing is there any more: the fault is retried; -ENOMEM.
 * zap: unmap_mapping_pages(): nothing of [index, index + count) stays mapped; an entry that reaches beyond is
 * unmapped whole. With even_cows private copies go too. For what it unmapped it calls dax_unmap(). 0: done.
 * -EINPROGRESS: it was told, and calls dax_zap_done() when it is; until then nothing is inserted nor pinned through
 * this VMA.
 * filled: holes of [index, index + count) have blocks now. Of a VMA that maps zeros where no ZERO entry says so; NULL:
 * it does not. Nothing that has blocks is unmapped, nor dax_unmap() called. Returns as zap.
 * write_protect: dax_entry_mkclean(): stores fault from now on. NULL: they cannot be made to; what is mapped for
 * stores stays dirty, however often it is written back.
 * fail: the unit is lost: SIGBUS with BUS_MCEERR, unmapped.
 * huge: is a page-table entry larger than one unit there? May be NULL: the records say so, but not of zero units.
 * cow: a private store: copy the unit (or zeros: DAX_ZEROS) to memory of its own. 0 or -ENOMEM.
 */
struct mm_ops {
	int	(*insert)(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags);
	int	(*zap)(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows);
	int	(*filled)(struct dax_vma *vma, uint64_t index, uint64_t count);
	void	(*write_protect)(struct dax_vma *vma, uint64_t index, uint64_t count);
	void	(*fail)(struct dax_vma *vma, uint64_t index, enum dax_size size);
	bool	(*huge)(struct dax_vma *vma, uint64_t index);
	int	(*cow)(struct dax_vma *vma, uint64_t index, uint64_t unit);
};

struct dax_vma {
	const struct mm_ops	*ops;
	struct grant		*grant;		/* where its references are recorded */
	uint32_t		 area;		/* in the grant; VMAs with disjoint ranges may share one */
	uint64_t		 index, count;	/* of the file */

	/* lib/dax's */
	struct dax_mapping	*mapping;
	struct list		 link;
	unsigned int		 zapping;	/* revocations it was told of and has not acknowledged; mapping.lock */
	uint64_t		 answer_by;	/* monotonic ms: when it has to have answered; mapping.lock */
	bool			 silent;	/* did not in time, is not waited for until it has; mapping.lock */
};

/* dax_vma_attach - vma_link(): from now on it is told. Holds the inode. */
void dax_vma_attach(struct dax_mapping *m, struct dax_vma *vma);

/* dax_vma_detach - it unmapped all it had (dax_unmap() drops what is still recorded), or is dead. Drops the inode. */
void dax_vma_detach(struct dax_vma *vma);

/*
 * dax_vma_abandon - detach what can be told nothing any more and may map all that is recorded: references and records
 * stay, until the grant is dropped. Drops the inode.
 */
void dax_vma_abandon(struct dax_vma *vma);

/*
 * dax_vma_split - __split_vma(): `vma` keeps what is before file index `at`, `new` - zero but for what is its owner's
 * - gets the rest, in the same grant and area. No page-table entry may lie across. Pieces are unmapped by detaching
 * them. -EBUSY: `vma` has a revocation to acknowledge first.
 */
int dax_vma_split(struct dax_vma *vma, struct dax_vma *new, uint64_t at);

/*
 * dax_unmap - page-table entries at [index, index + count) are gone: drop what they held. Whole entries. References
 * dropped. -ENOMEM, -ENOSPC: there is no room to record that the middle of something went, nothing was dropped; the
 * mapper unmaps all that it has, and says so, which cannot fail.
 */
int64_t dax_unmap(struct dax_vma *vma, uint64_t index, uint64_t count);

/*
 * dax_vma_copy - copy_page_range() of a private mapping at fork: `to`, attached, maps what `from` maps. The page
 * tables of both are locked. -ENOMEM, -ENOSPC, -EAGAIN (a revocation is on its way): nothing was copied, `to` will
 * fault.
 */
int dax_vma_copy(struct dax_vma *to, struct dax_vma *from);

/* dax_zap_done - a zap that returned -EINPROGRESS is done. */
void dax_zap_done(struct dax_vma *vma);

/* ---- Faults ---------------------------------------------------------------------------------------------- */

#define DAX_FAULT_WRITE		(1U << 0)	/* FAULT_FLAG_WRITE */
#define DAX_FAULT_SHARED	(1U << 1)	/* VM_SHARED */
#define DAX_FAULT_SYNC		(1U << 2)	/* VM_SYNC */
#define DAX_FAULT_NOHUGE	(1U << 3)	/* VM_NOHUGEPAGE, or a page table is there already */
#define DAX_FAULT_NOWAIT	(1U << 4)	/* FAULT_FLAG_RETRY_NOWAIT: DAX_RETRY instead of a wait for mappers */

/* Results: VM_FAULT_*. */
#define DAX_NOPAGE		(1U << 0)	/* mapped, or to be retried: the access says */
#define DAX_FALLBACK		(1U << 1)	/* not with this size */
#define DAX_SIGBUS		(1U << 2)
#define DAX_OOM			(1U << 3)
#define DAX_HWPOISON		(1U << 4)
#define DAX_NEEDDSYNC		(1U << 5)	/* dax_finish_sync_fault() is due */
#define DAX_MAJOR		(1U << 6)	/* blocks were allocated by a fault of the smallest size */
#define DAX_RETRY		(1U << 7)	/* NOWAIT: it would have to wait; nothing is mapped. Call without */

struct dax_fault {
	struct dax_vma	*vma;
	uint64_t	 index;		/* of the faulting unit in the file */
	uint64_t	 address;	/* and where it begins in the address space */
	uint64_t	 start, end;	/* addresses of the VMA */
	unsigned int	 flags;		/* DAX_FAULT_* */
};

/* dax_iomap_fault - of the same name: one attempt with `size`. Caller holds the invalidate lock shared. */
unsigned int dax_iomap_fault(struct dax_fault *f, enum dax_size size);

/* dax_finish_sync_fault - of the same name, after DAX_NEEDDSYNC with that size. Invalidate lock shared. */
unsigned int dax_finish_sync_fault(struct dax_fault *f, enum dax_size size);

/*
 * dax_handle_fault - handle_mm_fault() and ext4_dax_huge_fault(): the largest size first, smaller ones on FALLBACK,
 * the sync where one is needed. Takes the invalidate lock. Never FALLBACK nor NEEDDSYNC. A page-table entry that is
 * larger than what the fault can have is zapped, in this VMA: split_huge_pmd(). RETRY with NOWAIT alone: others map
 * zeros that would have to go first, or somebody who waits for mappers has the entry or the invalidate lock.
 */
unsigned int dax_handle_fault(struct dax_fault *f);

/* ---- Pins ------------------------------------------------------------------------------------------------ */

#define DAX_PIN_LONGTERM	(1U << 0)	/* FOLL_LONGTERM: -EOPNOTSUPP with layout=kernel, as on fsdax */
#define DAX_PIN_WRITE		(1U << 1)	/* FOLL_WRITE: only what a store has made dirty already, else -EFAULT */

/* Held by whoever moves data to or from the units themselves. Outlives the mapping it was made through. */
struct dax_pin {
	struct dax		*dax;
	struct dax_mapping	*mapping;	/* INODE: whose inode it holds. EVICT: NULL, it may be gone first */
	struct grant		*grant;
	uint32_t		 area;		/* of its own, in the grant */
	uint64_t		 index, count;
};

/*
 * dax_pin - pin_user_pages_fast() without the fault: the units of [index, index + count) that `vma` maps. The count
 * goes up first, then the mapping is looked at again: a revocation sees the count, or the pin backs off. `pin->grant`
 * and `area` are the caller's to fill in. -EFAULT: not mapped (fault and try again), nothing is pinned then.
 */
int dax_pin(struct dax_vma *vma, uint64_t index, uint64_t count, unsigned int flags, struct dax_pin *pin);
void dax_unpin(struct dax_pin *pin);

/* dax_pin_abandon - the references stay, recorded in the grant; the inode is not held for them any more. */
void dax_pin_abandon(struct dax_pin *pin);

/* ---- Inodes ---------------------------------------------------------------------------------------------- */

struct dax_mapping {
	struct dax			*dax;
	const struct dax_file_ops	*ops;
	void				*host;
	pthread_rwlock_t		 invalidate_lock;
	pthread_rwlock_t		 vma_lock;	/* i_mmap_rwsem: vmas */
	struct list			 vmas;
	pthread_mutex_t			 lock;		/* i_pages: all below */
	struct radix			 entries;	/* entry.h */
	struct list			 waiters;	/* for entry locks */
	pthread_cond_t			 zapped;	/* a revocation was acknowledged */
	uint64_t			 nrpages;	/* units covered by entries, EMPTY and ZERO included */
	unsigned int			 visitors;	/* dax.lock: who looks at it without holding its inode */
	struct list			 link;		/* dax.mappings, under dax.lock */
};

/* dax_mapping_new - an inode's mapping, made when it is first mapped. -ENOMEM. */
int dax_mapping_new(struct dax_mapping **out, struct dax *dax, const struct dax_file_ops *ops, void *host);

/*
 * dax_mapping_delete - clear_inode(): after dax_break_layout_final(); entries that are left are a violation
 * (truncate_inode_pages).
 */
void dax_mapping_delete(struct dax_mapping *m);

/* ---- Layout breaking ------------------------------------------------------------------------------------- */

/* How a break waits for pins. All NULL and 0: for ever. */
struct dax_break {
	bool	(*interrupted)(void *arg);	/* a signal came: -EINTR. pgmap_wake() makes it be asked again */
	void	*arg;
	bool	 nowait;			/* -EAGAIN instead of a wait for pins */
	bool	 unmapped;			/* no VMA since the invalidate lock is held: nobody is told */
};

/*
 * dax_break_layout - of the same name: nobody maps [index, index + count) any more, no pin is on it, and its entries
 * are gone, when it returns 0; blocks may then be taken away, until the invalidate lock - held exclusively, dropped
 * while
 * asleep - is given up. What a silent mapper holds stays referenced: its blocks go to limbo. -EINTR, -EBUSY, -EAGAIN:
 * nothing is lost but mappings, which faults bring back.
 *
 * Default: what was dirty is flushed before its entry goes; waits until there are no pins; breaks the entries of the
 * range alone. layout=kernel: all of the inode whatever the range; waits for refcount 0; nothing is flushed.
 */
int dax_break_layout(struct dax_mapping *m, uint64_t index, uint64_t count, const struct dax_break *how);

/*
 * dax_break_layout_final - of the same name: the inode goes. No VMA is left. With pins=evict it waits for pins,
 * uninterruptibly; else there are none that are this inode's, they would hold it. Nothing is flushed: who evicts an
 * inode that has a name still calls dax_writeback() before.
 */
void dax_break_layout_final(struct dax_mapping *m);

/*
 * dax_invalidate - invalidate_inode_pages2_range(): write() put blocks where holes were: unmap, and drop clean
 * entries; what is dirty or pinned stays: -EBUSY. Invalidate lock shared or exclusive.
 */
int dax_invalidate(struct dax_mapping *m, uint64_t index, uint64_t count);

/*
 * dax_unmap_range - unmap_mapping_range(): nothing of the range stays mapped, with even_cows (truncate_pagecache())
 * not even as a private copy. Waits for mappers that answer late, as long as dax.mapper_ms, and so do all of the
 * above.
 */
void dax_unmap_range(struct dax_mapping *m, uint64_t index, uint64_t count, bool even_cows);

/*
 * dax_filled - blocks came where holes were, by a store of `by` or, NULL, by nobody's who maps them: whoever else maps
 * them as zeros without an entry drops that. Waits as dax_unmap_range() does; no lock but the invalidate lock is held.
 */
void dax_filled(struct dax_mapping *m, const struct dax_vma *by, uint64_t index, uint64_t count);

/* dax_fill_told - is there anybody now whom dax_filled() would tell? */
bool dax_fill_told(struct dax_mapping *m, const struct dax_vma *by);

/*
 * dax_mapped - mapping_mapped(): is any VMA attached? One that attaches later has nothing mapped before it faults, and
 * nothing that a fault finds then is older than this look.
 */
bool dax_mapped(struct dax_mapping *m);

/*
 * dax_writeback - dax_writeback_mapping_range(): write-protect what is dirty in the range, everywhere, flush it, and
 * call it clean. Whole entries. Waits for entries that others have locked, who may wait for mappers;
 * dax_writeback_nowait() stops at the first such entry: -EAGAIN.
 */
void dax_writeback(struct dax_mapping *m, uint64_t index, uint64_t count);
int dax_writeback_nowait(struct dax_mapping *m, uint64_t index, uint64_t count);

/*
 * dax_memory_failure - mf_dax_kill_procs() of a unit of the pool: poison it, tell every mapper. Returns how many were
 * told.
 */
unsigned int dax_memory_failure(struct dax *dax, uint64_t unit);

/* ---- After a daemon's death ------------------------------------------------------------------------------ */

/*
 * dax_adopt - count every reference that the lists record, in a table that is all zero: before anything else uses it.
 * *counted: how many. -EINVAL: a list names a folio that cannot be; -ENOMEM: too many references to one. adopt.c
 */
int dax_adopt(struct pgmap *pg, struct grant_set *set, uint64_t *counted);

/* dax_drop_grant - its holder is gone: give back every reference that it has, and the grant. Returns how many. */
uint64_t dax_drop_grant(struct pgmap *pg, struct grant *g);

/* ---- Looking, for tests and tools ------------------------------------------------------------------------ */

enum dax_kind { DAX_NONE, DAX_EMPTY, DAX_ZERO, DAX_REAL };

struct dax_entry_info {
	uint64_t	index, unit;
	enum dax_kind	kind;
	enum dax_size	size;
	bool		locked, dirty, towrite;
};

/* dax_next_entry - the entry that covers `index`, or the first after it. false: none. */
bool dax_next_entry(struct dax_mapping *m, uint64_t index, struct dax_entry_info *out);

#endif
