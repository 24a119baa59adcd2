/*
 * A world for lib/dax to run in: a pool, files of a toy file system and simulated address spaces, with page tables
 * that are plain arrays. Loads and stores go the way they go on hardware - look at the page table, fault, look again
 * - and move real bytes of the pool, so that what two processes see can be compared. All of it is reached by lib/dax
 * through dax_file_ops and mm_ops alone.
 *
 * Units: `index` and `count` are map units of a file, `pos` bytes in it, `at` the address of a file's byte 0 in a
 * mapping (so that at + pos is that of byte pos), `unit` a map unit of the pool.
 *
 * Any thread may call anything but sim_check(), which wants the world at rest. Locks, from above: sim_file.rwsem (who
 * changes a file), sim_mm.mmap_lock (shared: faults), lib/dax's, sim_file.lock, sim_mm.ptl (page tables), sim.lock,
 * sim.alloc_lock.
 *
 * Nothing returns an error for what a test did wrong or lib/dax must not do: that is sim_fail().
 */
#ifndef DAX_SIM_H
#define DAX_SIM_H

#include <pthread.h>
#include <stdatomic.h>

#include "dax/dax.h"
#include "util/list.h"

#define SIM_NO_LIMIT	UINT64_MAX

/* ---- The pool: sim.c ------------------------------------------------------------------------------------- */

/* How the allocator places what it gives to a range of a file. */
enum sim_place {
	SIM_CONGRUENT,		/* file and pool agree modulo the largest folio that the range could be */
	SIM_INCONGRUENT,	/* contiguous, and never agreeing modulo 2 MiB */
	SIM_SCATTERED,		/* no two units next to each other */
};

struct sim_config {
	uint64_t		units;		/* of the pool; 0: 4096 */
	uint64_t		file_units;	/* a file has at most so many; 0: 4096 */
	unsigned int		unit_shift;	/* 0: 12 */
	enum pgmap_drain	drain;
	enum pgmap_accounting	accounting;
	enum dax_layout		layout;
	enum dax_pin_mode	pin;
	bool			pin_busy;
	enum dax_size		max_size;	/* DAX_PTE: DAX_PMD */
	int			mapper_ms;	/* 0: 20 */
};

struct sim {
	struct dax		 dax;
	struct pgmap		*pg;
	struct dax_shm		*shm;
	struct grant_set	*grants;
	unsigned int		 shift;
	uint64_t		 units, file_units;
	uint8_t			*data;		/* the pool's bytes */
	_Atomic uint8_t		*stored;	/* a unit: may it have bytes that are not zero? */
	_Atomic uint8_t		*unflushed;	/* a unit: stored to through a mapping since it was last flushed? */

	/* Settings of the allocator, under alloc_lock. */
	enum sim_place		 place;
	uint64_t		 room;		/* units until -ENOSPC, SIM_NO_LIMIT */
	uint64_t		 fail_alloc;	/* the n-th allocation from now fails; 0: none */

	pthread_mutex_t		 alloc_lock;
	uint16_t		*owners;	/* a unit: places in files that have it */
	uint8_t			*used;		/* a unit: not free (in a file, in limbo, or on its way) */
	uint64_t		 used_units, hint;

	pthread_mutex_t		 lock;		/* lists */
	struct list		 files, mms, pins, grant_list;
	uint64_t		 next_id;
	uint64_t		 violations;	/* that the test expects */
	uint64_t		*live_before;	/* sim_check(): units that had references when it looked last, */
	bool			 saw_dying;	/* and whether the pgmap was not LIVE any more then */
};

/* sim_new - a world; config may be NULL. sim_delete - ends all, checks that nothing is left, frees it. */
struct sim *sim_new(const struct sim_config *config);
void sim_delete(struct sim *sim);

_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* sim_check - all invariants of KERNEL-DAX section 7, by brute force over the whole world. sim_check.c */
void sim_check(struct sim *sim);

/* Allocation: units are zero. sim_alloc - up to `count` for `index` of a file, contiguous; how many: *got. -ENOSPC. */
int sim_alloc(struct sim *sim, uint64_t index, uint64_t count, uint64_t *unit, uint64_t *got);
/* sim_own - one place in a file more has the unit. sim_disown - one less; the last lets go of it. */
void sim_own(struct sim *sim, uint64_t unit);
void sim_disown(struct sim *sim, uint64_t unit);
/* sim_put_back - a unit that was allocated and owned once, and never in a file: nobody was given it. */
void sim_put_back(struct sim *sim, uint64_t unit);
bool sim_unit_shared(struct sim *sim, uint64_t unit);
uint64_t sim_used(struct sim *sim);

void sim_zero(struct sim *sim, uint64_t unit);
void sim_copy(struct sim *sim, uint64_t to, uint64_t from);
uint8_t sim_peek(struct sim *sim, uint64_t unit, uint64_t offset);
void sim_poke(struct sim *sim, uint64_t unit, uint64_t offset, uint8_t value);

static inline uint64_t sim_unit_bytes(const struct sim *sim)
{
	return 1ULL << sim->shift;
}

/* ---- Files: sim_file.c ----------------------------------------------------------------------------------- */

struct sim_file {
	struct sim		*sim;
	struct list		 link;
	uint64_t		 id;
	struct dax_mapping	*mapping;	/* NULL: evicted */
	_Atomic uint64_t	 size;
	_Atomic unsigned int	 refs;		/* opens, VMAs, pins */
	unsigned int		 nlink;
	bool			 gone;		/* its blocks were freed */
	pthread_mutex_t		 rwsem;		/* i_rwsem, exclusive */

	pthread_mutex_t		 lock;		/* below */
	uint64_t		*slot;		/* an index: SIM_SLOT(), 0 a hole */
	uint64_t		*cow;		/* an index: unit + 1 of a copy that is being made */
	bool			 meta_dirty;	/* allocations since the last sync */

	/* Injected. The n-th asking from now fails with the errno, 0: none. */
	unsigned int		 fail_begin, fail_copy, fail_sync;
	int			 fail_errno;
	uint64_t		 short_units;	/* begin() tells of no more; 0: no limit */

	_Atomic unsigned int	 dirtied, syncs, flushes, begins;
};

#define SIM_SLOT(unit)		((unit) << 2 | 1)
#define SIM_UNWRITTEN		2ULL
#define SIM_SLOT_UNIT(slot)	((slot) >> 2)

/* sim_create - an empty file, open once. sim_close - the end of that open. sim_open - another. */
struct sim_file *sim_create(struct sim *sim, uint64_t size);
void sim_open(struct sim_file *f);
void sim_close(struct sim_file *f);

/* sim_unlink - no name any more: gone with the last reference. sim_evict - a file nobody has open leaves the cache. */
void sim_unlink(struct sim_file *f);
void sim_evict(struct sim_file *f);

/*
 * What takes blocks away breaks the layout first: errors are dax_break_layout()'s, and then nothing is changed. `how`
 * may be NULL.
 * sim_zero_range - unwritten blocks. sim_fallocate - allocates what is missing, unwritten or (written) zeros;
 * -ENOSPC.
 */
int sim_truncate(struct sim_file *f, uint64_t size, const struct dax_break *how);
int sim_punch(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how);
int sim_zero_range(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how);
int sim_fallocate(struct sim_file *f, uint64_t index, uint64_t count, bool written);
int sim_reflink(struct sim_file *from, struct sim_file *to, uint64_t index, uint64_t count,
		const struct dax_break *how);
/* sim_break - break the layout and change nothing. */
int sim_break(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how);

/* sim_write, sim_read - write() and read() of one byte. -ENOSPC. */
int sim_write(struct sim_file *f, uint64_t pos, uint8_t value);
uint8_t sim_read(struct sim_file *f, uint64_t pos);

/* sim_fsync - msync() of a range. */
void sim_fsync(struct sim_file *f, uint64_t index, uint64_t count);

/* sim_unit_of - where an index lies in the pool; SIM_NO_LIMIT: a hole. sim_blocks - units the file has. */
uint64_t sim_unit_of(struct sim_file *f, uint64_t index);
uint64_t sim_blocks(struct sim_file *f);

/* sim_entry - the mapping entry that covers an index; kind DAX_NONE: none. sim_entries - how many there are. */
struct dax_entry_info sim_entry(struct sim_file *f, uint64_t index);
unsigned int sim_entries(struct sim_file *f);

/* ---- Address spaces: sim_mm.c ---------------------------------------------------------------------------- */

/* How a mapper answers a revocation. */
enum sim_answer {
	SIM_PROMPT,
	SIM_LATE,		/* at sim_answer(), or after mm.late_steps calls of sim_step() */
	SIM_SILENT,		/* it does not, until it is told to by sim_answer() */
};

enum sim_pte_kind { SIM_NONE, SIM_ZERO, SIM_UNIT, SIM_PRIVATE };

/* One unit's page-table entry; those of a larger one are alike but for the unit. */
struct sim_pte {
	enum sim_pte_kind	 kind;
	enum dax_size		 size;
	bool			 write;
	uint64_t		 unit;		/* SIM_UNIT */
	uint8_t			*page;		/* SIM_PRIVATE */
};

struct sim_mm {
	struct sim		*sim;
	struct list		 link;
	_Atomic enum sim_answer	 answer;
	unsigned int		 late_steps, steps;
	unsigned int		 fail_insert;	/* the n-th page-table entry from now cannot be had; ptl */
	pthread_rwlock_t	 mmap_lock;	/* vmas, next */
	pthread_mutex_t		 ptl;		/* page tables, pending */
	struct list		 vmas;
	uint64_t		 next;		/* free address space */
	_Atomic uint64_t	 faults, major, machine_checks;
};

struct sim_table {
	unsigned int		 refs;		/* mmap_lock */
	struct sim_pte		 pte[];
};

/* Of one mm on one file; outlives both the mm and its VMAs while there are pins. */
struct sim_grant {
	struct list		 link;		/* sim.grant_list */
	struct sim_mm		*mm;		/* NULL: exited */
	struct sim_file		*file;
	struct grant		*grant;
	unsigned int		 refs;
	uint8_t			 areas[GRANT_AREA_MAX + 1];	/* VMAs and pins in each */
};

struct sim_vma {
	struct dax_vma		 dax;
	struct list		 link;
	struct sim_mm		*mm;
	struct sim_file		*file;
	struct sim_grant	*grant;
	uint64_t		 address;
	unsigned int		 flags;		/* SIM_* */
	struct sim_pte		*pte;		/* one a unit, in `table` */
	struct sim_table	*table;		/* shared by the parts of a VMA that was split */
	struct list		 pending;	/* revocations it was told of */
};

#define SIM_SHARED	(1U << 0)	/* else private */
#define SIM_WRITE	(1U << 1)	/* PROT_WRITE, else read-only */
#define SIM_SYNC	(1U << 2)	/* MAP_SYNC */
#define SIM_NOHUGE	(1U << 3)	/* MADV_NOHUGEPAGE */

/* What an access came to. */
enum sim_result { SIM_OK, SIM_SEGV, SIM_SIGBUS, SIM_MCE, SIM_OOM, SIM_STUCK };

struct sim_mm *sim_mm_new(struct sim *sim);
/* sim_exit - the process ends, or, dead already, is noticed. The mm is gone; pins are not. */
void sim_exit(struct sim_mm *mm);
struct sim_mm *sim_fork(struct sim_mm *mm);

/* sim_mmap - returns `at`. `colour`: units by which address and file offset disagree (0: congruent modulo 1 GiB). */
uint64_t sim_mmap(struct sim_mm *mm, struct sim_file *f, uint64_t index, uint64_t count, unsigned int flags,
		  uint64_t colour);
/* Addresses are multiples of a unit; ranges may lie in several VMAs, and what is not mapped is passed over. */
void sim_munmap(struct sim_mm *mm, uint64_t address, uint64_t count);
void sim_protect(struct sim_mm *mm, uint64_t address, uint64_t count, bool write);
void sim_nohuge(struct sim_mm *mm, uint64_t address, uint64_t count, bool on);
void sim_dontneed(struct sim_mm *mm, uint64_t address, uint64_t count);
/* sim_mremap - move the whole VMA at `address` to another colour; returns the new `at`. */
uint64_t sim_mremap(struct sim_mm *mm, uint64_t address, uint64_t colour);

enum sim_result sim_load(struct sim_mm *mm, uint64_t address, uint8_t *value);
enum sim_result sim_store(struct sim_mm *mm, uint64_t address, uint8_t value);

/*
 * sim_answer - acknowledge all revocations it was told of, and say how many. sim_step - time goes by for those that
 * answer late.
 */
unsigned int sim_answer(struct sim_mm *mm);
void sim_step(struct sim *sim);

/* sim_pte_at - a copy of what is mapped there. sim_rss - units of files mapped. */
struct sim_pte sim_pte_at(struct sim_mm *mm, uint64_t address);
uint64_t sim_rss(struct sim_mm *mm);

struct sim_pin {
	struct dax_pin		 dax;
	struct list		 link;
	struct sim_grant	*grant;
};

/* sim_pin - faults in and pins; dax_pin()'s errors, -EFAULT if the access fails. Of one VMA. */
int sim_pin(struct sim_mm *mm, uint64_t address, uint64_t count, unsigned int flags, struct sim_pin **out);
void sim_unpin(struct sim *sim, struct sim_pin *pin);

#endif
