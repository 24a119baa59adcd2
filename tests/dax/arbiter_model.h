/*
 * A model of the arbiter, for arbiter_random: what every operation on files, mappings and pins must come to, in
 * plain arrays that are searched from end to end. It shares nothing with lib/dax but the words of its
 * documentation, is used by one thread, and never waits.
 *
 * One thing it does not foretell: where the allocator puts a new block. That it asks (am.where), after the
 * operation was run on the real thing, and checks that the place was free.
 *
 * There are two sizes: units, and, if am.big is not 0, folios and page-table entries of am.big units. `index`
 * counts units in a file, `unit` in the pool, `address` is in bytes. What cannot be, by the documentation, is
 * am_fail(): the model and what it is held against have come apart.
 */
#ifndef DAX_ARBITER_MODEL_H
#define DAX_ARBITER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define AM_FILES	4
#define AM_MMS		4
#define AM_VMAS		24		/* live at a time */
#define AM_PINS		8
#define AM_PIN_UNITS	8
#define AM_END		UINT64_MAX
#define AM_TRIES	400		/* faults of one access, and rounds of one pin, before they are given up */
#define AM_PIN_TRIES	100

/* Bytes that are followed, of each unit: its first and its last. */
#define AM_BYTES	2

enum am_owner { AM_FREE, AM_EXCLUSIVE, AM_SHARED };
enum am_kind { AM_NONE, AM_EMPTY, AM_ZERO, AM_REAL };
enum am_mapped { AM_NOT, AM_ZEROS, AM_UNIT, AM_COPY };
enum am_place { AM_CONGRUENT, AM_INCONGRUENT, AM_SCATTERED };
enum am_result { AM_OK, AM_SEGV, AM_SIGBUS, AM_MCE, AM_OOM, AM_STUCK };

/* Of the pool. Owner, share, big and stale are those of the folio that begins here. */
struct am_unit {
	uint32_t	refs, maps, share;
	enum am_owner	owner;
	bool		big, stale, limbo, poison;
	bool		used;			/* not free */
	uint32_t	owners;			/* places in files */
	uint8_t		bytes[AM_BYTES];
};

struct am_slot {
	bool		there, unwritten;
	uint32_t	unit;
};

/* Of one index; those of a larger entry are alike but for the unit. */
struct am_entry {
	enum am_kind	kind;
	bool		big, dirty, towrite;
	uint32_t	unit;
};

struct am_file {
	struct am_slot	*slot;
	struct am_entry	*entry;
	uint64_t	 entries;		/* how many */
	uint64_t	 size;
	unsigned int	 refs, opens;
	bool		 linked, cached, gone, meta_dirty;
};

struct am_pte {
	enum am_mapped	kind;
	bool		big, write;
	uint32_t	unit;
	uint8_t		bytes[AM_BYTES];	/* AM_COPY */
};

struct am_pending {
	uint64_t	index, end;
	bool		even_cows;
};

struct am_vma {
	unsigned int	 mm, file;
	uint64_t	 index, count, address;
	bool		 shared, write, sync, nohuge;
	struct am_pte	*pte;
	struct am_pending *pending;		/* revocations that it has not acknowledged */
	unsigned int	 n_pending;
};

struct am_mm {
	bool		 live, late;		/* late: does not answer by itself */
	uint64_t	 faults, major, machine_checks;
};

struct am_pin {
	bool		 live;
	unsigned int	 file;
	uint64_t	 count;
	uint32_t	 unit[AM_PIN_UNITS];
};

struct am {
	/* Set by the user. */
	uint64_t	 units, file_units, unit_bytes;
	uint64_t	 big;			/* units in a larger folio, 0: there are none */
	bool		 tables;		/* a page table that is there is seen before a fault is made */
	bool		 pages;			/* PAGE accounting */
	bool		 kernel, pin_holds, pin_busy;
	bool		 dying;
	uint64_t	 room;			/* units until -ENOSPC */
	enum am_place	 place;
	uint32_t	(*where)(void *arg, unsigned int file, uint64_t index);
	void		*arg;

	struct am_unit	*unit;
	uint64_t	 n_free;
	struct am_file	 file[AM_FILES];
	struct am_mm	 mm[AM_MMS];
	struct am_vma	*vma[AM_VMAS];
	struct am_pin	 pin[AM_PINS];
};

_Noreturn void am_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* am_init - with what the user sets filled in. am_free - frees what it has. */
void am_init(struct am *m);
void am_free(struct am *m);

/* ---- Folios, entries, revocation: arbiter_model.c --------------------------------------------------------- */

uint64_t am_head(const struct am *m, uint64_t unit);
bool am_idle(const struct am *m, uint64_t unit);
bool am_busy(const struct am *m, uint64_t unit);
/* am_count - references and mappings of one page-table entry or pin more (or less). */
void am_count(struct am *m, uint64_t unit, bool big, int refs, int maps);
bool am_associate(struct am *m, uint64_t unit, bool big, bool shared);
void am_disassociate(struct am *m, uint64_t unit, bool big);

/* am_take - the unit that was allocated for an index; am_room - how many could be. */
uint32_t am_take(struct am *m, unsigned int file, uint64_t index);
uint64_t am_room(const struct am *m);
/* am_disown - a place in a file less. */
void am_disown(struct am *m, uint64_t unit);

void am_set_entry(struct am *m, struct am_file *f, uint64_t index, struct am_entry e);
void am_delete_entry(struct am *m, struct am_file *f, uint64_t index);
/* am_entry_start, am_entry_units - of the entry at an index, that is. */
uint64_t am_entry_start(const struct am *m, const struct am_file *f, uint64_t index);
uint64_t am_entry_units(const struct am *m, const struct am_file *f, uint64_t index);

void am_clear(struct am *m, struct am_vma *v, uint64_t index, uint64_t end, bool even_cows);
void am_zap_vma(struct am *m, struct am_vma *v, uint64_t index, uint64_t end, bool even_cows);
void am_zap(struct am *m, unsigned int file, uint64_t index, uint64_t end, bool even_cows);
/* am_put - a reference to a file less: it may go. */
void am_put(struct am *m, unsigned int file);
/* am_file_busy - would its end have to wait for pins? */
bool am_file_busy(const struct am *m, const struct am_file *f);

/* ---- Accesses: arbiter_model_fault.c ---------------------------------------------------------------------- */

/* am_access - a load (*value: what it reads) or a store (*value: what it writes); value NULL: only made possible. */
enum am_result am_access(struct am *m, unsigned int mm, uint64_t address, unsigned int byte, bool write,
			 uint8_t *value);

/* am_fill - allocate what is missing. 0 if the first is there after it, else -ENOSPC. *new: something was. */
int am_fill(struct am *m, unsigned int file, uint64_t index, uint64_t end, bool unwritten, bool *new);
/* am_convert - unwritten blocks of its own become zeros. */
void am_convert(struct am *m, struct am_file *f, uint64_t index, uint64_t end);
bool am_shared(const struct am *m, const struct am_file *f, uint64_t index);
struct am_vma *am_vma_at(const struct am *m, unsigned int mm, uint64_t address);
/* am_hit - would this access go through without a fault? */
bool am_hit(const struct am_vma *v, uint64_t index, bool write);

/* ---- Operations: arbiter_model_ops.c ---------------------------------------------------------------------- */

/* Errors as those of the simulator's function of the same name. `busy`: what a break that would wait comes to. */
int am_break(struct am *m, unsigned int file, uint64_t index, uint64_t end, int busy);
/* am_break_busy - would it wait? */
bool am_break_busy(const struct am *m, unsigned int file, uint64_t index, uint64_t end);
int am_truncate(struct am *m, unsigned int file, uint64_t size, int busy);
int am_punch(struct am *m, unsigned int file, uint64_t index, uint64_t count, int busy);
int am_zero_range(struct am *m, unsigned int file, uint64_t index, uint64_t count, int busy);
int am_fallocate(struct am *m, unsigned int file, uint64_t index, uint64_t count, bool written);
int am_reflink(struct am *m, unsigned int from, unsigned int to, bool from_first, uint64_t index,
	       uint64_t count, int busy);
int am_write(struct am *m, unsigned int file, uint64_t index, unsigned int byte, uint8_t value);
uint8_t am_read(const struct am *m, unsigned int file, uint64_t index, unsigned int byte);
int am_invalidate(struct am *m, unsigned int file, uint64_t index, uint64_t count);
void am_writeback(struct am *m, unsigned int file, uint64_t index, uint64_t count);

void am_create(struct am *m, unsigned int file, uint64_t size);
void am_evict(struct am *m, unsigned int file);

struct am_vma *am_mmap(struct am *m, unsigned int mm, unsigned int file, uint64_t index, uint64_t count,
		       uint64_t address);
void am_munmap(struct am *m, unsigned int mm, uint64_t address, uint64_t count);
void am_protect(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool write);
void am_nohuge(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool on);
void am_dontneed(struct am *m, unsigned int mm, uint64_t address, uint64_t count);
void am_mremap(struct am *m, struct am_vma *v, uint64_t address, uint64_t colour);
void am_fork(struct am *m, unsigned int mm, unsigned int child);
void am_exit(struct am *m, unsigned int mm);
void am_answer(struct am *m, unsigned int mm);

int am_pin(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool write, bool longterm,
	   unsigned int pin);
void am_unpin(struct am *m, unsigned int pin);
unsigned int am_memory_failure(struct am *m, uint64_t unit);

#endif
