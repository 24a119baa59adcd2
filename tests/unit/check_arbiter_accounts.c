/*
 * The accounts of blocks and references (arbiter_unit.h) after every step of a random sequence: sizes, holes, writes,
 * pins, loads and stores to files of which some do not answer revocations; and of a pool that counts every page.
 */
#include <linux/falloc.h>

#include "arbiter_unit.h"

/* Every unit that is mapped is the file's, or in limbo. */
static void mapped_is_owned(struct mapper *m)
{
	struct pgmap *pg = fs_dax(fs)->pgmap;

	for (unsigned int i = 0; i < PAGES; i++)
		if (m->unit[i] && m->unit[i] != DAX_ZEROS)
			ck_assert(folio_owner(pgmap_word(pg, pgmap_head(pg, m->unit[i] - 1))) != FOLIO_FREE ||
				  m->silent);
}

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static void random_pin(struct mapper *m)
{
	int slot = (int)random_below(4);
	uint64_t index = random_below(PAGES);

	if (m->pinned[slot]) {
		unpin(m, slot);
		return;
	}
	(void)try_pin(m, slot, index, 1 + random_below(3));
}

static void random_step(struct mapper *m)
{
	uint64_t index = random_below(PAGES), count = 1 + random_below(random_below(4) ? 8 : 600);

	if (m->told && random_below(3) == 0)
		answer(m);
	switch (random_below(12)) {
	case 0:
		set_size(m, random_below(PAGES) * BLOCK + random_below(2) * 100, &hurried);
		break;
	case 1:
		if (!random_below(4))
			set_size(m, PAGES * BLOCK, &hurried);
		break;
	case 2:
	case 3:
		fs_fallocate(m->f, &hurried,
			     random_below(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE,
			     index * BLOCK, count * BLOCK);
		break;
	case 4:
		fs_fallocate(m->f, &hurried, FALLOC_FL_KEEP_SIZE, index * BLOCK, count * BLOCK);
		break;
	case 5:
		random_pin(m);
		break;
	case 6:
		fs_write(m->f, &user, "written", index * BLOCK, 7, 0);
		break;
	case 7:
		fs_fsync(fs, m->ino, false);
		break;
	case 8:
		if (!random_below(20))
			m->silent = true;
		break;
	default:
		if (!m->silent)		/* one that does not answer does not run */
			random_below(3) ? store(m, index, (unsigned char)index) : touch(m, index, false);
		break;
	}
}

static void random_steps(uint32_t start, unsigned int steps)
{
	seed = start;
	for (unsigned int i = 0; i < FILES; i++)
		grow(&mapper[i], PAGES);
	for (unsigned int i = 0; i < steps; i++) {
		struct mapper *m = &mapper[random_below(FILES)];

		random_step(m);
		balance();
		mapped_is_owned(m);
	}
	for (unsigned int i = 0; i < FILES; i++)
		answer(&mapper[i]);
	balance();
}

START_TEST(the_accounts_are_equal_after_every_random_step)
{
	random_steps((uint32_t)_i * 7919 + 1, 4000);
}
END_TEST

START_TEST(the_accounts_are_equal_in_page_accounting_too)
{
	uint64_t pages = 0;
	struct pgmap_stat st;

	options.accounting = PGMAP_PAGE;
	options.drain = PGMAP_SWEEP;
	remount_with(&options);
	map_file(&mapper[0], "page");
	grow(&mapper[0], PAGES);
	ck_assert_uint_eq(store(&mapper[0], 0, 'a'), 0);
	for (unsigned int i = 0; i < PAGES; i++)
		pages += mapper[0].unit[i] != 0;
	pgmap_stat(fs_dax(fs)->pgmap, &st);
	ck_assert_uint_eq(st.maps, pages);
	ck_assert_uint_eq(pages, PMD_BLOCKS);
	ck_assert_int_eq(punch(&mapper[0], 3, 1), 0);
	pgmap_stat(fs_dax(fs)->pgmap, &st);
	ck_assert_uint_eq(st.refs, 0);
	end_file(&mapper[0]);
	count_blocks();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arbiter_accounts");
	TCase *tc = arbiter_case(s, "accounts");

	tcase_add_loop_test(tc, the_accounts_are_equal_after_every_random_step, 0, 4);
	tcase_add_test(tc, the_accounts_are_equal_in_page_accounting_too);
	return unit_run(s);
}
