/*
 * Readers of grant lists, as other processes are: what they see in lists at rest, between any two stores of a writer,
 * and while threads add and remove; and that these threads do not disturb each other.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "grant_unit.h"

/* ---- At rest --------------------------------------------------------------------------------------------- */

static void see_owned(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	struct grant_owner expect = owner(o->id);

	ck_assert_mem_eq(o, &expect, sizeof(expect));
	if (o->id == 1)
		see(arg, r);
}

static const char *scanned(void)
{
	seen[0] = '\0';
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), see_owned, NULL), 0);
	return seen;
}

START_TEST(scan_sees_what_is_in_the_lists)
{
	struct grant_ref r = ref(GRANT_PIN, DAX_PTE, 5, 5, 6, 7);

	ck_assert_int_eq(add(DAX_PTE, 0, 0, 9), 0);
	ck_assert_int_eq(grant_add(g, &r), 0);
	ck_assert_int_eq(grant_add(new_grant(2), &r), 0);
	ck_assert_str_eq(scanned(), "0+9@0/0 5+7@6/0 ");
	grant_remove(g, GRANT_MAP, 0, 3, 1, 0, NULL, NULL);
	ck_assert_str_eq(scanned(), "0+3@0/0 5+7@6/0 4+5@4/0 ");
	grant_remove(g, GRANT_PIN, 5, 5, 7, 0, NULL, NULL);
	ck_assert_str_eq(scanned(), "0+3@0/0 4+5@4/0 ");
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 0, see_owned, NULL), 0);
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 4095, see_owned, NULL), 0);
	list_page_at(set, 0)->check = 0;
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 8192, see_owned, NULL), 0);
	list_page_at(set, 0)->check = 1;
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 8192, see_owned, NULL), -EUCLEAN);
}
END_TEST

/* ---- While lists change ---------------------------------------------------------------------------------- */

#define THREADS		4U
#define ROUNDS		3000U

/* Unit and index of every reference differ by this, so that a word of another entry, or another owner, is seen. */
static uint64_t base_of(uint64_t id, uint32_t area)
{
	return id * 40000000 + area * 4000000;
}

struct worker {
	pthread_t	 thread;
	struct grant	*grant;
	uint32_t	 area;
	unsigned int	 seed;
	uint64_t	 held, removed;
};

static void count_removed(void *arg, const struct grant_ref *r)
{
	struct worker *w = arg;

	ck_assert_uint_eq(r->unit - r->index, base_of(w->grant->owner.id, r->area));
	w->removed += r->count;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t index = (uint64_t)rand_r(&w->seed) % 2000;
		struct grant_ref r = ref((enum grant_kind)(i % 3), DAX_PTE, w->area, index,
					 index + base_of(w->grant->owner.id, w->area), 1 + i % 5);

		if (!grant_add(w->grant, &r))
			w->held += r.count;
		if (i % 2)
			grant_remove(w->grant, r.kind, w->area, (uint64_t)rand_r(&w->seed) % 2000, 1 + i % 40, i % 7,
				     count_removed, w);
		grant_find_ref(w->grant, r.kind, w->area, index, &r);
	}
	return NULL;
}

static void check_owned(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	(void)arg;
	ck_assert_uint_eq(o->ino, o->id * 7);
	ck_assert_uint_eq(r->unit - r->index, base_of(o->id, r->area));
}

static atomic_bool stop;

static void *scan_until_stopped(void *arg)
{
	while (!atomic_load(&stop))
		grant_scan(arg, 16 * GRANT_PAGE_SIZE, check_owned, NULL);
	return NULL;
}

/* A reader between any two stores. */
static bool look;

void grant_stored(void)
{
	if (look)
		grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), check_owned, NULL);
}

static void add_owned(struct grant *to, uint64_t index, uint64_t count)
{
	struct grant_ref r = ref(GRANT_MAP, DAX_PTE, 0, index, index + base_of(to->owner.id, 0), count);

	ck_assert_int_eq(grant_add(to, &r), 0);
}

START_TEST(scan_between_stores_sees_whole_entries)
{
	struct grant *other = new_grant(2);
	uint64_t i;

	look = true;
	for (i = 0; i < 20; i++)
		add_owned(other, 20 * i, 10);
	for (i = 0; i < 20; i++) {
		grant_remove(other, GRANT_MAP, 0, 20 * i + i % 3 * 3, 4, 0, NULL, NULL);
		if (i % 2)
			add_owned(other, 1000 + 2 * i, 1);
	}
	grant_remove(other, GRANT_MAP, 0, 0, 2000, 0, NULL, NULL);
	ck_assert_int_eq(grant_delete(other), 0);
	add_owned(new_grant(3), 5, 5);
	look = false;
}
END_TEST

/* The page is another grant's when the reader goes on, with entries at the same places. */
static void change_hands(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	struct grant *next;
	uint64_t i;

	check_owned(NULL, o, r);
	++*(unsigned int *)arg;
	if (o->id != 2)
		return;
	grant_remove(grant_find(set, 2), GRANT_MAP, 0, 0, 1000, 0, NULL, NULL);
	ck_assert_int_eq(grant_delete(grant_find(set, 2)), 0);
	next = new_grant(3);
	for (i = 0; i < 10; i++)
		add_owned(next, 2 * i, 1);
}

START_TEST(scan_sees_that_a_page_changed_hands)
{
	struct grant *other = new_grant(2);
	unsigned int count = 0;
	uint64_t i;

	for (i = 0; i < 10; i++)
		add_owned(other, 2 * i, 1);
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), change_hands, &count), 0);
	ck_assert_uint_ge(count, 10);
}
END_TEST

/* Grants come and go, so that pages change hands. */
static void *come_and_go(void *arg)
{
	struct grant_ref r = ref(GRANT_MAP, DAX_PTE, 3, 0, 0, 1);
	struct grant_owner o;
	struct grant *at;
	uint64_t id = 10;

	(void)arg;
	while (!atomic_load(&stop)) {
		id = id == 19 ? 10 : id + 1;
		o = owner(id);
		r.unit = base_of(id, 3);
		if (grant_new(set, &o, &at) || grant_add(at, &r) ||
		    grant_remove(at, GRANT_MAP, 3, 0, 1, 0, NULL, NULL) != 1 || grant_delete(at))
			return (void *)1;
	}
	return NULL;
}

/* Two on one grant, each in its area; two on grants of their own; a reader; and pages that change hands. */
START_TEST(threads_do_not_disturb_each_other)
{
	struct worker w[THREADS] = { 0 };
	pthread_t reader, other;
	unsigned int i;
	uint64_t sum = 0;
	void *failed;

	pthread_create(&reader, NULL, scan_until_stopped, dax_shm_lists(shm));
	pthread_create(&other, NULL, come_and_go, NULL);
	for (i = 0; i < THREADS; i++) {
		w[i].grant = i < 2 ? g : new_grant(i);
		w[i].area = i % 2;
		w[i].seed = i;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		sum += w[i].held - w[i].removed;
	}
	atomic_store(&stop, true);
	pthread_join(reader, NULL);
	pthread_join(other, &failed);
	ck_assert_ptr_null(failed);
	ck_assert_uint_eq(all_refs(), sum);
	adopt(0);
	ck_assert_uint_eq(all_refs(), sum);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grant_scan");
	TCase *tc = add_case(s, "readers");

	tcase_add_test(tc, scan_sees_what_is_in_the_lists);
	tcase_add_test(tc, scan_between_stores_sees_whole_entries);
	tcase_add_test(tc, scan_sees_that_a_page_changed_hands);
	tcase_add_test(tc, threads_do_not_disturb_each_other);
	return unit_run(s);
}
