/*
 * A directory against a plain model of names: random changes, some of them aborted, while a listing goes on over
 * many of them; now and then the index is dropped, or the pool opened again.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dir_names.h"

#define NAMES	1500
#define STEPS	20000

struct model_name {
	uint64_t	ino;		/* 0: not there */
	bool		stable;		/* there since the listing began */
	unsigned int	seen;		/* in the listing under way */
};

static struct model_name model[NAMES];
static uint64_t model_cookie;		/* of the listing under way */

/* Unique names of all lengths: the number in letters, then filling. */
static unsigned int model_spell(int n, char *name)
{
	unsigned int len = 0, want = 1 + n * 37 % NAME_MAX_LEN;

	for (int rest = n; len == 0 || rest; rest /= 50)
		name[len++] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"[rest % 50];
	while (len < want)
		name[len++] = '~';
	name[len] = '\0';
	return len;
}

static int model_number(const char *name)
{
	int n = 0, place = 1;

	for (; *name && *name != '~'; name++, place *= 50)
		n += place * (*name >= 'a' ? *name - 'a' : *name - 'A' + 26);
	return n;
}

static int model_see_all(void *arg, const struct dir_entry *e)
{
	int n = model_number(e->name);

	(void)arg;
	ck_assert_uint_eq(e->ino, model[n].ino);
	ck_assert_uint_eq(strlen(e->name), e->name_len);
	return 0;
}

/* Everything the directory says of every name is what the model says. */
static void model_compare(void)
{
	uint64_t there = 0;
	char name[NAME_MAX_LEN + 1];

	for (int n = 0; n < NAMES; n++) {
		model_spell(n, name);
		ck_assert_uint_eq(lookup(name), model[n].ino);
		there += model[n].ino != 0;
	}
	ck_assert_uint_eq(count(), there);
	ck_assert_int_eq(dir_fill(dir, 0, model_see_all, NULL), 0);
}

/*
 * A listing has come to its end: what was there all the time was seen once, the rest at most once for each
 * life.
 */
static void model_listing_ends(void)
{
	for (int n = 0; n < NAMES; n++) {
		if (model[n].stable)
			ck_assert_uint_eq(model[n].seen, 1);
		model[n].stable = model[n].ino != 0;
		model[n].seen = 0;
	}
	model_cookie = 0;
}

/* One step of a listing that goes on while the directory changes. */
static void model_list(void)
{
	struct dir_entry e;
	int err;

	ck_assert_int_eq(dir_lock_shared(dir), 0);
	err = dir_next(dir, model_cookie, &e);
	pthread_rwlock_unlock(&dir->lock);
	if (err) {
		ck_assert_int_eq(err, -ENOENT);
		model_listing_ends();
		return;
	}
	ck_assert_uint_gt(e.cookie, model_cookie);
	ck_assert_uint_gt(e.cookie, 3);
	model_cookie = e.cookie;
	model[model_number(e.name)].seen++;
}

static void model_change(struct tx *tx, unsigned int *seed, bool growing)
{
	int n = rand_r(seed) % NAMES;
	uint64_t ino = 1 + rand_r(seed) % 1000000;
	char name[NAME_MAX_LEN + 1];
	unsigned int len = model_spell(n, name);
	bool often = rand_r(seed) % 4 != 0;

	if (!model[n].ino && growing == often) {
		ck_assert_int_eq(dir_add(tx, dir, name, len, ino, DT_REG), 0);
		model[n].ino = ino;
	} else if (model[n].ino && growing != often) {
		ck_assert_int_eq(dir_remove(tx, dir, name, len), 0);
		model[n].ino = 0;
		model[n].stable = false;
	} else if (model[n].ino) {
		ck_assert_int_eq(dir_replace(tx, dir, name, len, ino, DT_REG), 0);
		model[n].ino = ino;
	} else {
		ck_assert_int_eq(dir_remove(tx, dir, name, len), -ENOENT);
	}
}

/* One transaction of one to four changes, aborted one time in four. */
static void model_step(unsigned int *seed, bool growing)
{
	static struct model_name saved[NAMES];
	bool abort = rand_r(seed) % 4 == 0;
	int changes = 1 + rand_r(seed) % 4;
	struct tx tx;

	if (abort)
		memcpy(saved, model, sizeof(model));
	begin(&tx);
	while (changes--)
		model_change(&tx, seed, growing);
	if (abort) {
		unit_abort(&tx, dir);
		memcpy(model, saved, sizeof(model));
	} else {
		unit_commit(&tx, dir);
	}
}

START_TEST(random_changes_agree_with_a_model)
{
	unsigned int seed = 20261121, highest = 0, lowest = NAMES;
	uint64_t before = unit_pool_free(up);
	struct tx tx;

	memset(model, 0, sizeof(model));
	model_cookie = 0;
	printf("random_changes_agree_with_a_model: seed %u\n", seed);
	for (int step = 1; step <= STEPS; step++) {
		model_step(&seed, step / 2500 % 2 == 0);
		model_list();
		if (step % 2500 == 0 && count() > highest)
			highest = count();
		if (step % 5000 == 0 && count() < lowest)
			lowest = count();
		if (step % 1000 == 0)
			forget_index();
		if (step % 4000 == 0)
			reopen();
		if (step % 500 == 0)
			model_compare();
	}
	ck_assert_uint_gt(highest, NAMES * 2 / 3);
	ck_assert_uint_lt(lowest, NAMES / 3);
	for (int n = 0; n < NAMES; n++) {
		char name[NAME_MAX_LEN + 1];

		if (!model[n].ino)
			continue;
		begin(&tx);
		ck_assert_int_eq(dir_remove(&tx, dir, name, model_spell(n, name)), 0);
		unit_commit(&tx, dir);
	}
	ck_assert_uint_eq(dir->core.size, 0);
	ck_assert_uint_eq(unit_pool_free(up), before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dir_model");
	TCase *tc = tcase_create("model");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, dir_names_setup, dir_names_teardown);
	tcase_add_test(tc, random_changes_agree_with_a_model);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
