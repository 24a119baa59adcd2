/*
 * Faults: which size they get and why a smaller one, what errors come to, what is mapped afterwards. The letters are
 * those of the kernel's list of reasons to fall back from 2 MiB to 4 KiB (doc/mirror.md).
 */
#include <errno.h>

#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

static struct sim_file *f;
static struct sim_mm *a, *b;
static uint64_t A;

static void actors(void)
{
	f = sim_create(w, 8 * MIB);
	a = sim_mm_new(w);
	b = sim_mm_new(w);
	A = sim_mmap(a, f, 0, 4 * PMD, RW, 0);
}

static void setup(void)
{
	world_setup();
	actors();
}

static void world_of(const struct sim_config *config)
{
	world_with(config);
	actors();
}

/* One fault of one size, as the file system's handler gets it. */
static unsigned int attempt(uint64_t index, enum dax_size size, unsigned int flags)
{
	struct sim_vma *v = list_entry(a->vmas.next, struct sim_vma, link);
	struct dax_fault fault = {
		.vma = &v->dax, .index = index, .address = A + index * PAGE, .start = v->address,
		.end = v->address + v->dax.count * PAGE, .flags = flags,
	};
	unsigned int ret;

	pthread_rwlock_rdlock(&f->mapping->invalidate_lock);
	ret = dax_iomap_fault(&fault, size);
	pthread_rwlock_unlock(&f->mapping->invalidate_lock);
	sim_check(w);
	return ret;
}

/* With its locks: as attempt(), of any size. */
static unsigned int handle(struct sim_mm *mm, uint64_t index, unsigned int flags)
{
	struct sim_vma *v = list_entry(mm->vmas.next, struct sim_vma, link);
	struct dax_fault fault = {
		.vma = &v->dax, .index = index, .address = v->address + index * PAGE, .start = v->address,
		.end = v->address + v->dax.count * PAGE, .flags = flags | DAX_FAULT_SHARED,
	};

	return dax_handle_fault(&fault) & ~DAX_MAJOR;
}

START_TEST(a_fault_that_must_not_wait_is_to_be_tried_again)
{
	const unsigned int flags = DAX_FAULT_NOWAIT | DAX_FAULT_NOHUGE;
	uint64_t e;

	sim_mmap(b, f, 0, 4 * PMD, RW, 0);
	/* Zeros that others see have to go before a store has blocks, which is for them to do. */
	ck_assert_uint_eq(handle(a, 3, flags), DAX_NOPAGE);
	ck_assert_uint_eq(handle(b, 3, flags), DAX_NOPAGE);
	ck_assert_uint_eq(handle(b, 3, flags | DAX_FAULT_WRITE), DAX_RETRY);
	ck_assert_uint_eq(sim_blocks(f), 0);
	ck_assert_uint_eq(handle(b, 3, DAX_FAULT_NOHUGE | DAX_FAULT_WRITE), DAX_NOPAGE);
	ck_assert_uint_eq(handle(a, 3, flags | DAX_FAULT_WRITE), DAX_NOPAGE);
	/* Who has an entry, or takes blocks away, may wait himself. */
	ck_assert_int_eq(entry_grab(f->mapping, 3, DAX_PTE, &e), 0);
	ck_assert_uint_eq(handle(a, 3, flags), DAX_RETRY);
	ck_assert_int_eq(dax_writeback_nowait(f->mapping, 0, 4 * PMD), -EAGAIN);
	ck_assert_int_eq(dax_writeback_nowait(f->mapping, 4, PMD), 0);
	entry_unlock(f->mapping, 3, e);
	pthread_rwlock_wrlock(&f->mapping->invalidate_lock);
	ck_assert_uint_eq(handle(a, 3, flags), DAX_RETRY);
	pthread_rwlock_unlock(&f->mapping->invalidate_lock);
	ck_assert_int_eq(dax_writeback_nowait(f->mapping, 0, 4 * PMD), 0);
	sim_check(w);
}
END_TEST

START_TEST(a_large_entry_of_zeros_is_not_taken_apart_without_waiting)
{
	sim_mmap(b, f, 0, 4 * PMD, RW, 0);
	ck_assert_uint_eq(handle(a, 3, DAX_FAULT_NOWAIT), DAX_NOPAGE);
	ck_assert_int_eq(mapped_size(a, A + 3 * PAGE), DAX_PMD);
	ck_assert_uint_eq(handle(b, 3, DAX_FAULT_NOWAIT | DAX_FAULT_NOHUGE), DAX_RETRY);
	ck_assert_int_eq(mapped_size(a, A + 3 * PAGE), DAX_PMD);
	ck_assert_uint_eq(handle(b, 3, DAX_FAULT_NOHUGE), DAX_NOPAGE);
	sim_check(w);
}
END_TEST

/* ---- What a fault gets ----------------------------------------------------------------------------------- */

START_TEST(a_read_of_a_hole_maps_the_zero_unit_and_allocates_nothing)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, RW, 1);

	ck_assert_uint_eq(load(b, at + 5), 0);
	ck_assert_int_eq(sim_pte_at(b, at).kind, SIM_ZERO);
	ck_assert_int_eq(mapped_size(b, at), DAX_PTE);
	ck_assert_uint_eq(load(a, A + PMD * PAGE), 0);
	ck_assert_int_eq(sim_pte_at(a, A + PMD * PAGE).kind, SIM_ZERO);
	ck_assert_int_eq(mapped_size(a, A + PMD * PAGE), DAX_PMD);
	ck_assert_uint_eq(load_faults(a, A + (PMD + 100) * PAGE), 0);
	ck_assert_uint_eq(sim_blocks(f), 0);
	ck_assert_uint_eq(sim_rss(a) + sim_rss(b), 0);
	ck_assert_uint_eq(a->major + b->major, 0);
}
END_TEST

START_TEST(a_store_gets_two_mebibytes_where_it_can)
{
	ck_assert_uint_eq(store_faults(a, A + 5 * PAGE), 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PMD);
	ck_assert_uint_eq(store_faults(a, A + 511 * PAGE), 0);
	ck_assert_uint_eq(sim_rss(a), PMD);
	ck_assert_uint_eq(sim_blocks(f), PMD);
	ck_assert_uint_eq(w->dax.stat.fallbacks, 0);
}
END_TEST

START_TEST(allocation_by_a_small_fault_is_a_major_fault)
{
	sim_nohuge(a, A, 4 * PMD, true);
	store(a, A, 1);
	store(a, A, 2);
	load(a, A + PAGE);
	ck_assert_uint_eq(a->major, 1);
	ck_assert_uint_eq(w->dax.stat.major, 1);
	ck_assert_uint_eq(sim_blocks(f), 1);
}
END_TEST

START_TEST(a_store_to_what_is_mapped_read_only_raises_its_flags)
{
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	load(a, A);
	ck_assert(!writable(a, A));
	ck_assert_uint_eq(store_faults(a, A), 1);
	ck_assert(writable(a, A));
	ck_assert_uint_eq(folio_refcount(word_of(f, 0)), 1);
}
END_TEST

/* ---- Reasons to fall back -------------------------------------------------------------------------------- */

/* A store at the start of the second 2 MiB of the file falls back, works, and maps one unit. */
static void falls_back(struct sim_mm *mm, uint64_t address)
{
	uint64_t before = w->dax.stat.fallbacks;

	store(mm, address, 1);
	ck_assert_int_eq(mapped_size(mm, address), DAX_PTE);
	ck_assert_uint_eq(w->dax.stat.fallbacks, before + 1);
	ck_assert_uint_eq(load(mm, address), 1);
}

START_TEST(a_not_tried_where_a_page_table_is_or_huge_pages_are_off)
{
	sim_nohuge(a, A, PMD, true);
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	sim_nohuge(a, A, PMD, false);
	store(a, A + PAGE, 1);			/* a page table is there */
	ck_assert_int_eq(mapped_size(a, A + PAGE), DAX_PTE);
	ck_assert_uint_eq(w->dax.stat.fallbacks, 0);
}
END_TEST

START_TEST(b_not_larger_than_the_pool_is_told_to_map)
{
	w->dax.max_size = DAX_PTE;
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	ck_assert_uint_eq(w->dax.stat.fallbacks, 0);
	ck_assert_int_eq(sim_entry(f, 0).size, DAX_PTE);
}
END_TEST

START_TEST(c_file_offset_and_address_disagree)
{
	falls_back(b, sim_mmap(b, f, 0, 4 * PMD, RW, 7) + PMD * PAGE);
}
END_TEST

START_TEST(d_and_l_a_private_store_is_never_large)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, SIM_WRITE, 0);

	ck_assert_int_eq(sim_fallocate(f, 0, 2 * PMD, true), 0);
	store(b, at, 1);
	ck_assert_int_eq(sim_pte_at(b, at).kind, SIM_PRIVATE);
	ck_assert_int_eq(mapped_size(b, at), DAX_PTE);
	ck_assert_uint_eq(w->dax.stat.fallbacks, 1);
	/* One that was read as 2 MiB is taken apart by a store. */
	load(b, at + PMD * PAGE);
	ck_assert_int_eq(mapped_size(b, at + PMD * PAGE), DAX_PMD);
	store(b, at + (PMD + 3) * PAGE, 1);
	ck_assert_int_eq(sim_pte_at(b, at + (PMD + 3) * PAGE).kind, SIM_PRIVATE);
	ck_assert(!is_mapped(b, at + PMD * PAGE));
	load(b, at + PMD * PAGE);
	ck_assert_int_eq(mapped_size(b, at + PMD * PAGE), DAX_PTE);
	ck_assert_int_eq(sim_entry(f, PMD).size, DAX_PMD);
}
END_TEST

START_TEST(e_the_vma_begins_or_ends_inside)
{
	falls_back(b, sim_mmap(b, f, PMD + 1, PMD, RW, 0) + (PMD + 1) * PAGE);
	falls_back(b, sim_mmap(b, f, 2 * PMD, PMD - 1, RW, 0) + 2 * PMD * PAGE);
}
END_TEST

START_TEST(f_the_file_ends_inside)
{
	sim_truncate(f, 2 * PMD * PAGE - PAGE, NULL);
	falls_back(a, A + PMD * PAGE);
	/* Up to a whole unit counts. */
	sim_truncate(f, 0, NULL);
	sim_truncate(f, 2 * PMD * PAGE - 1, NULL);
	store(a, A + PMD * PAGE, 1);
	ck_assert_int_eq(mapped_size(a, A + PMD * PAGE), DAX_PMD);
}
END_TEST

START_TEST(f_beyond_the_end_is_sigbus_at_once)
{
	sim_truncate(f, PMD * PAGE, NULL);
	ck_assert_uint_eq(attempt(PMD, DAX_PMD, DAX_FAULT_SHARED), DAX_SIGBUS);
	ck_assert_uint_eq(attempt(PMD, DAX_PTE, DAX_FAULT_SHARED), DAX_SIGBUS);
	ck_assert_int_eq(load_is(a, A + PMD * PAGE), SIM_SIGBUS);
	ck_assert_uint_eq(w->dax.stat.sigbus, 1);
	ck_assert_uint_eq(sim_entries(f), 0);
}
END_TEST

START_TEST(g_smaller_entries_are_there)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, RW, 1);

	load(b, at + (PMD + 5) * PAGE);
	falls_back(a, A + PMD * PAGE);
}
END_TEST

START_TEST(h_iomap_fails_for_the_large_range)
{
	f->fail_begin = 1;
	f->fail_errno = -EIO;
	falls_back(a, A + PMD * PAGE);
}
END_TEST

START_TEST(h_the_extent_is_short)
{
	/* Half of it only, and the allocator has no room for the rest. */
	ck_assert_int_eq(sim_fallocate(f, PMD, PMD / 2, true), 0);
	w->room = 1;
	falls_back(a, A + PMD * PAGE);
	/* Whole, but told of in pieces. */
	w->room = SIM_NO_LIMIT;
	f->short_units = 511;
	falls_back(a, A + 2 * PMD * PAGE);
}
END_TEST

START_TEST(h_a_short_hole_is_read_in_small_ones)
{
	ck_assert_int_eq(sim_fallocate(f, 2 * PMD - 1, 1, true), 0);
	load(a, A + PMD * PAGE);
	ck_assert_int_eq(mapped_size(a, A + PMD * PAGE), DAX_PTE);
	ck_assert_int_eq(sim_pte_at(a, A + PMD * PAGE).kind, SIM_ZERO);
}
END_TEST

START_TEST(k_the_pool_is_not_aligned_there)
{
	w->place = SIM_INCONGRUENT;
	falls_back(a, A + PMD * PAGE);
	/* It allocated all of it before it found out, as the kernel does. */
	ck_assert_uint_eq(sim_blocks(f), PMD);
	ck_assert_uint_eq(store_faults(a, A + (PMD + 1) * PAGE), 1);
}
END_TEST

START_TEST(k_a_unit_of_the_range_is_poisoned)
{
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	pgmap_poison(w->pg, sim_unit_of(f, 7));
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	ck_assert_int_eq(store_is(a, A + 7 * PAGE, 1), SIM_MCE);
	ck_assert_int_eq(load_is(a, A + 7 * PAGE), SIM_MCE);
	pgmap_unpoison(w->pg, sim_unit_of(f, 7));
	store(a, A + 7 * PAGE, 1);
}
END_TEST

START_TEST(k_the_pool_is_being_removed)
{
	ck_assert_int_eq(sim_fallocate(f, 0, 2 * PMD, true), 0);
	store(a, A, 1);
	ck_assert_int_eq(pgmap_kill(w->pg), 0);
	ck_assert_int_eq(load_is(a, A), SIM_OK);		/* mapped */
	ck_assert_int_eq(load_is(a, A + PMD * PAGE), SIM_SIGBUS);
	ck_assert_int_eq(load_is(b, sim_mmap(b, f, 0, PMD, RW, 0)), SIM_SIGBUS);
	ck_assert_int_eq(store_is(b, sim_mmap(b, f, 0, PMD, SIM_WRITE, 0), 1), SIM_SIGBUS);
	ck_assert_int_eq(pgmap_drain(w->pg, 0), -ETIMEDOUT);
	sim_dontneed(a, A, PMD);
	ck_assert_int_eq(pgmap_drain(w->pg, 0), 0);
	sim_check(w);
}
END_TEST

START_TEST(a_mapping_that_is_too_large_for_a_store_is_taken_apart)
{
	/* Read as 2 MiB; the store's iomap fails for that size each time. */
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	load(a, A);
	ck_assert_int_eq(mapped_size(a, A), DAX_PMD);
	pgmap_poison(w->pg, sim_unit_of(f, 100));
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	ck_assert_int_eq(store_is(a, A + 100 * PAGE, 1), SIM_MCE);
}
END_TEST

START_TEST(a_read_only_large_mapping_is_stored_to_as_it_is_where_huge_pages_are_off)
{
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	load(a, A);
	sim_nohuge(a, A, PMD, true);
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PMD);
}
END_TEST

START_TEST(a_hole_under_a_real_entry_is_a_violation)
{
	uint8_t v;

	ck_assert_uint_eq(attempt(0, DAX_PTE, DAX_FAULT_WRITE | DAX_FAULT_SHARED) & DAX_NOPAGE, DAX_NOPAGE);
	/* A hole under an entry: the file system took blocks and broke no layout. */
	pthread_mutex_lock(&f->lock);
	f->slot[1] = f->slot[0];
	f->slot[0] = 0;
	pthread_mutex_unlock(&f->lock);
	sim_dontneed(a, A, 1);
	ck_assert_int_eq(sim_load(a, A, &v), SIM_SIGBUS);
	ck_assert_uint_eq(pgmap_violations(w->pg), 1);
	w->violations = 1;
	f->slot[0] = f->slot[1];
	f->slot[1] = 0;
	sim_check(w);
}
END_TEST

START_TEST(other_blocks_under_a_real_entry_are_a_violation)
{
	uint64_t slot;
	uint8_t v;

	sim_nohuge(a, A, PMD, true);
	store(a, A, 1);
	store(a, A + PAGE, 1);
	slot = f->slot[0];
	f->slot[0] = f->slot[1];
	f->slot[1] = slot;
	sim_dontneed(a, A, 1);
	ck_assert_int_eq(sim_load(a, A, &v), SIM_SIGBUS);
	ck_assert_uint_eq(pgmap_violations(w->pg), 1);
	w->violations = 1;
	f->slot[1] = f->slot[0];
	f->slot[0] = slot;
	sim_check(w);
}
END_TEST

/* ---- What errors come to --------------------------------------------------------------------------------- */

START_TEST(errors_of_iomap)
{
	static const struct {
		int		rc;
		enum sim_result	result;
	} row[] = {
		{ -ENOMEM, SIM_OOM }, { -EHWPOISON, SIM_MCE }, { -ENOSPC, SIM_SIGBUS }, { -EIO, SIM_SIGBUS },
		{ -ENXIO, SIM_SIGBUS }, { -EDQUOT, SIM_SIGBUS },
	};

	f->fail_errno = row[_i].rc;
	sim_nohuge(a, A, PMD, true);
	f->fail_begin = 1;
	ck_assert_int_eq(load_is(a, A), row[_i].result);
	f->fail_begin = 1;
	ck_assert_int_eq(store_is(a, A, 1), row[_i].result);
	store(a, A, 1);
}
END_TEST

START_TEST(errors_of_iomap_again)
{
	f->fail_errno = -EAGAIN;
	f->fail_begin = 1;
	store(a, A, 1);
}
END_TEST

START_TEST(no_space_is_sigbus_and_the_file_is_whole)
{
	sim_nohuge(a, A, PMD, true);
	store(a, A, 1);
	w->room = 0;
	ck_assert_int_eq(store_is(a, A + PAGE, 1), SIM_SIGBUS);
	ck_assert_int_eq(sim_write(f, PAGE, 1), -ENOSPC);
	ck_assert_uint_eq(load(a, A), 1);
	ck_assert_uint_eq(load(a, A + PAGE), 0);
	ck_assert_uint_eq(sim_blocks(f), 1);
}
END_TEST

START_TEST(no_space_in_the_middle_of_two_mebibytes)
{
	w->room = 100;
	store(a, A + 5 * PAGE, 1);
	ck_assert_int_eq(mapped_size(a, A + 5 * PAGE), DAX_PTE);
	ck_assert_uint_eq(sim_blocks(f), 100);
	ck_assert_int_eq(store_is(a, A + 200 * PAGE, 1), SIM_SIGBUS);
}
END_TEST

START_TEST(the_nth_allocation_fails_and_all_is_well)
{
	w->place = SIM_SCATTERED;
	w->fail_alloc = (uint64_t)_i + 1;
	store_is(a, A, 1);
	store_is(a, A + 3 * PAGE, 1);
	w->fail_alloc = 0;
	store(a, A, 1);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	sim_check(w);
}
END_TEST

START_TEST(the_last_unit_is_mapped_whole_and_the_next_is_not)
{
	sim_truncate(f, PAGE + 10, NULL);
	store(a, A + PAGE + 10, 5);		/* beyond the end, in its unit */
	ck_assert_int_eq(store_is(a, A + 2 * PAGE, 1), SIM_SIGBUS);
	ck_assert_int_eq(sim_truncate(f, 4 * PAGE, NULL), 0);
	ck_assert_uint_eq(sim_read(f, PAGE + 10), 0);
	ck_assert_uint_eq(load(a, A + PAGE + 10), 0);
}
END_TEST

/* ---- Private mappings ------------------------------------------------------------------------------------ */

START_TEST(a_private_store_copies_and_owns_nothing)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, SIM_WRITE, 0);

	store(b, at + 3, 5);			/* over a hole */
	ck_assert_uint_eq(sim_blocks(f), 0);
	ck_assert_int_eq(sim_entry(f, 0).kind, DAX_EMPTY);
	ck_assert_int_eq(sim_fallocate(f, 0, 2, true), 0);
	ck_assert_int_eq(sim_write(f, PAGE, 7), 0);
	store(b, at + PAGE + 1, 8);		/* over a block */
	ck_assert_uint_eq(load(b, at + PAGE), 7);
	ck_assert_uint_eq(sim_read(f, PAGE + 1), 0);
	ck_assert_uint_eq(sim_rss(b), 0);
	ck_assert_int_eq(folio_owner(word_of(f, 1)), FOLIO_FREE);
	ck_assert_uint_eq(f->dirtied, 0);
}
END_TEST

START_TEST(a_private_mapping_shows_the_file_until_it_stores)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, SIM_WRITE, 0);

	ck_assert_uint_eq(load(b, at), 0);
	ck_assert_int_eq(sim_write(f, 0, 4), 0);
	ck_assert_uint_eq(load(b, at), 4);
	store(a, A, 5);
	ck_assert_uint_eq(load(b, at), 5);
	store(b, at + 1, 6);
	store(a, A, 7);
	ck_assert_uint_eq(load(b, at), 5);
	ck_assert_uint_eq(load(a, A + 1), 0);
}
END_TEST

START_TEST(a_private_copy_outlives_a_break_but_not_a_truncate)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, SIM_WRITE, 0);

	store(a, A, 1);
	store(b, at, 2);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	ck_assert_uint_eq(load(b, at), 2);
	ck_assert_int_eq(sim_truncate(f, 0, NULL), 0);
	ck_assert_int_eq(load_is(b, at), SIM_SIGBUS);
}
END_TEST

START_TEST(a_private_store_to_a_poisoned_unit)
{
	uint64_t at = sim_mmap(b, f, 0, 4 * PMD, SIM_WRITE, 0);

	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	pgmap_poison(w->pg, sim_unit_of(f, 0));
	ck_assert_int_eq(store_is(b, at, 1), SIM_MCE);
	pgmap_unpoison(w->pg, sim_unit_of(f, 0));
}
END_TEST

/* ---- Other units and sizes ------------------------------------------------------------------------------- */

START_TEST(a_pool_of_two_mebibyte_units)
{
	static const struct sim_config config = { .units = 16, .file_units = 8, .unit_shift = 21 };
	uint64_t at;

	world_of(&config);
	at = sim_mmap(b, f, 0, 4, RW, 0);
	ck_assert_uint_eq(load(b, at), 0);
	ck_assert_int_eq(mapped_size(b, at), DAX_PMD);
	store(b, at + MIB, 3);
	store(b, at + 5 * MIB, 4);
	ck_assert_uint_eq(sim_blocks(f), 2);
	ck_assert_uint_eq(folio_refcount(word_of(f, 0)), 1);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	ck_assert_uint_eq(load(b, at + MIB), 0);
	ck_assert_uint_eq(load(b, at + 5 * MIB), 4);
	w->room = 0;
	ck_assert_int_eq(store_is(b, at, 1), SIM_SIGBUS);
	at = sim_mmap(b, f, 0, 4, SIM_WRITE, 0);
	store(b, at + 5 * MIB, 6);
	ck_assert_uint_eq(sim_read(f, 5 * MIB), 4);
}
END_TEST

START_TEST(one_gibibyte_where_it_is_allowed)
{
	static const struct sim_config config = { .units = 3 << 18, .file_units = 1 << 18, .max_size = DAX_PUD };
	struct sim_file *g;
	uint64_t at, small;

	world_with(&config);
	g = sim_create(w, 1 << 30);
	a = sim_mm_new(w);
	b = sim_mm_new(w);
	at = sim_mmap(a, g, 0, 1 << 18, RW, 0);
	store(a, at + 7, 1);
	ck_assert_int_eq(mapped_size(a, at), DAX_PUD);
	ck_assert_int_eq(sim_entry(g, 4096).size, DAX_PUD);
	ck_assert_uint_eq(folio_refcount(word_of(g, 0)), 1);
	/* Parts of it: 2 MiB, and 4 KiB. */
	small = sim_mmap(b, g, PMD, 2 * PMD, RW, 0);
	store(b, small + PMD * PAGE, 2);
	ck_assert_int_eq(mapped_size(b, small + PMD * PAGE), DAX_PMD);
	small = sim_mmap(b, g, 0, 8, RW, 0);
	ck_assert_uint_eq(load(b, small + 7), 1);
	ck_assert_uint_eq(folio_refcount(word_of(g, 0)), 3);
	ck_assert_int_eq(sim_punch(g, 9, 1, NULL), 0);
	ck_assert_uint_eq(sim_entries(g), 0);
	ck_assert_uint_eq(load(a, at + PMD * PAGE), 2);
	ck_assert_int_eq(mapped_size(a, at + PMD * PAGE), DAX_PMD);
}
END_TEST

START_TEST(one_gibibyte_is_refused_by_default)
{
	static const struct sim_config config = { .units = 1 << 18, .file_units = 1 << 18 };
	struct sim_file *g;

	world_with(&config);
	g = sim_create(w, 1 << 30);
	a = sim_mm_new(w);
	A = sim_mmap(a, g, 0, 1 << 18, RW, 0);
	store(a, A, 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PMD);
}
END_TEST

static void add_fallbacks(TCase *t)
{
	tcase_add_test(t, a_not_tried_where_a_page_table_is_or_huge_pages_are_off);
	tcase_add_test(t, b_not_larger_than_the_pool_is_told_to_map);
	tcase_add_test(t, c_file_offset_and_address_disagree);
	tcase_add_test(t, d_and_l_a_private_store_is_never_large);
	tcase_add_test(t, e_the_vma_begins_or_ends_inside);
	tcase_add_test(t, f_the_file_ends_inside);
	tcase_add_test(t, f_beyond_the_end_is_sigbus_at_once);
	tcase_add_test(t, g_smaller_entries_are_there);
	tcase_add_test(t, h_iomap_fails_for_the_large_range);
	tcase_add_test(t, h_the_extent_is_short);
	tcase_add_test(t, h_a_short_hole_is_read_in_small_ones);
	tcase_add_test(t, k_the_pool_is_not_aligned_there);
	tcase_add_test(t, k_a_unit_of_the_range_is_poisoned);
	tcase_add_test(t, k_the_pool_is_being_removed);
	tcase_add_test(t, a_mapping_that_is_too_large_for_a_store_is_taken_apart);
	tcase_add_test(t, a_read_only_large_mapping_is_stored_to_as_it_is_where_huge_pages_are_off);
	tcase_add_test(t, a_hole_under_a_real_entry_is_a_violation);
	tcase_add_test(t, other_blocks_under_a_real_entry_are_a_violation);
}

static TCase *test_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, setup, world_teardown);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("fault");
	TCase *t = test_case(s, "outcomes");

	tcase_add_test(t, a_read_of_a_hole_maps_the_zero_unit_and_allocates_nothing);
	tcase_add_test(t, a_fault_that_must_not_wait_is_to_be_tried_again);
	tcase_add_test(t, a_large_entry_of_zeros_is_not_taken_apart_without_waiting);
	tcase_add_test(t, a_store_gets_two_mebibytes_where_it_can);
	tcase_add_test(t, allocation_by_a_small_fault_is_a_major_fault);
	tcase_add_test(t, a_store_to_what_is_mapped_read_only_raises_its_flags);
	add_fallbacks(test_case(s, "fallbacks"));
	t = test_case(s, "errors");
	tcase_add_loop_test(t, errors_of_iomap, 0, 6);
	tcase_add_test(t, errors_of_iomap_again);
	tcase_add_test(t, no_space_is_sigbus_and_the_file_is_whole);
	tcase_add_test(t, no_space_in_the_middle_of_two_mebibytes);
	tcase_add_loop_test(t, the_nth_allocation_fails_and_all_is_well, 0, 4);
	tcase_add_test(t, the_last_unit_is_mapped_whole_and_the_next_is_not);
	t = test_case(s, "private");
	tcase_add_test(t, a_private_store_copies_and_owns_nothing);
	tcase_add_test(t, a_private_mapping_shows_the_file_until_it_stores);
	tcase_add_test(t, a_private_copy_outlives_a_break_but_not_a_truncate);
	tcase_add_test(t, a_private_store_to_a_poisoned_unit);
	t = test_case(s, "sizes");
	tcase_add_test(t, a_pool_of_two_mebibyte_units);
	tcase_add_test(t, one_gibibyte_where_it_is_allowed);
	tcase_add_test(t, one_gibibyte_is_refused_by_default);
	return unit_run(s);
}
