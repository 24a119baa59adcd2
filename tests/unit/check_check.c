/*
 * The checker: a pool with one of everything has no findings, each kind of damage has its own, and no bytes
 * stop it.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check/check.h"
#include "check/problem.h"
#include "damage.h"
#include "pmem/emu.h"
#include "util/fault.h"

#define UNCLEAN_FILES	150U		/* their records fit half the ring */
#define UNCLEAN_IMAGES	4U
#define FUZZ_ROUNDS	5000U
#define FUZZ_CHANGES	4U

/* What one check found: the names, and the text of the first finding looked for. */
struct found {
	const char	*want;
	unsigned int	 count;
	char		 text[256], all[2048];
};

static void note(void *arg, const struct check_finding *f)
{
	struct found *found = arg;
	size_t used = strlen(found->all);

	snprintf(found->all + used, sizeof(found->all) - used, "%s: %s\n", f->name, f->text);
	if (!found->want || strcmp(f->name, found->want))
		return;
	if (!found->count++)
		strcpy(found->text, f->text);
}

static struct check_report check(struct found *found)
{
	struct check_report report;
	struct err err = { "" };

	ck_assert_msg(check_pool(region, "test", note, found, &report, &err) == 0, "%s", err.text);
	return report;
}

/* ---- Tests --------------------------------------------------------------------------------------------- */

START_TEST(clean_pool_has_no_findings)
{
	struct found found = { 0 };
	struct check_report report = check(&found);

	ck_assert_msg(report.problems == 0, "%s", found.all);
	ck_assert(report.clean);
	ck_assert_uint_eq(report.records, 0);
	ck_assert_uint_eq(report.directories, DAMAGE_DIRECTORIES);
	ck_assert_uint_eq(report.files, DAMAGE_FILES);
	ck_assert_uint_eq(report.inodes_used, DAMAGE_DIRECTORIES + DAMAGE_FILES);
	ck_assert_uint_eq(report.blocks, DAMAGE_POOL_BLOCKS);
}
END_TEST

START_TEST(damage_is_found_by_name)
{
	struct found found = { .want = damages[_i].finding };
	struct check_report report;

	damages[_i].damage();
	report = check(&found);
	ck_assert_msg(found.count > 0, "%s is not among:\n%s", found.want, found.all);
	ck_assert_uint_gt(report.problems, 0);
}
END_TEST

START_TEST(each_finding_has_a_damage)
{
	unsigned int rows, i;
	const struct problem_row *row = problem_rows(&rows);

	for (; rows; rows--, row++) {
		for (i = 0; i < damage_count && strcmp(damages[i].finding, row->name); i++)
			;
		ck_assert_msg(i < damage_count, "no damage leads to %s", row->name);
	}
}
END_TEST

START_TEST(shared_block_names_both_owners)
{
	struct found found = { .want = "block-shared" };
	char want[256];

	slot(ino.prealloc)->extent[0] = slot(ino.long_link)->extent[0];
	seal(slot(ino.prealloc), INODE_SIZE);
	check(&found);
	snprintf(want, sizeof(want),
		 "block %llu belongs to data of inode %llu and also to data of inode %llu",
		 (unsigned long long)first_block(ino.prealloc), (unsigned long long)ino.long_link,
		 (unsigned long long)ino.prealloc);
	ck_assert_str_eq(found.text, want);
	ck_assert_uint_eq(found.count, 1);
}
END_TEST

START_TEST(names_are_shown_with_escapes)
{
	struct found found = { .want = "dirent-dangling" };

	memcpy(entry(ino.dir, "other")->name, "\x1b[\"\xff-", 5);
	entry(ino.dir, "\x1b[\"\xff-")->ino = cpu_to_le64(250);
	seal(dir_block(ino.dir), BLOCK_SIZE);
	check(&found);
	ck_assert_ptr_nonnull(strstr(found.text, "\"\\x1b[\\x22\\xff-\""));
}
END_TEST

START_TEST(torn_older_tail_slot_is_no_finding)
{
	struct found found = { 0 };

	flip(&other_tail_slot()->pos);
	ck_assert_uint_eq(check(&found).problems, 0);
}
END_TEST

START_TEST(short_check_believes_a_clean_pool)
{
	struct check_report full, report;
	struct found found = { 0 };
	struct err err = { "" };

	full = check(&found);
	ck_assert_int_eq(check_clean(region, "test", &report, &err), 1);
	ck_assert_uint_eq(report.blocks_used, full.blocks_used);
	ck_assert_uint_eq(report.inodes_used, full.inodes_used);
	ck_assert_uint_eq(report.inodes, full.inodes);
	flip(&slot(ino.file)->uid);
	ck_assert_int_eq(check_clean(region, "test", &report, &err), 1);
	tail_slot()->flags = cpu_to_le32(0);
	seal(tail_slot(), sizeof(struct disk_tail));
	ck_assert_int_eq(check_clean(region, "test", &report, &err), 0);
}
END_TEST

START_TEST(what_is_no_pool_cannot_be_checked)
{
	struct check_report report;
	struct err err = { "" };

	memset(region->base, 0, DAMAGE_POOL_SIZE);
	ck_assert_int_eq(check_pool(region, "test", NULL, NULL, &report, &err), -EMEDIUMTYPE);
	ck_assert_str_ne(err.text, "");
}
END_TEST

/* Each allocation of a check fails once, until one check meets none that does. */
START_TEST(no_memory_is_an_error)
{
	struct check_report report;
	struct err err;
	unsigned long n;
	int rc = -1;

	slot(ino.tree)->index[1] = slot(ino.tree)->index[0];
	seal(slot(ino.tree), INODE_SIZE);
	for (n = 1; rc; n++) {
		err.text[0] = 0;
		fault_arm(FAULT_ALLOC, n);
		rc = check_pool(region, "test", NULL, NULL, &report, &err);
		ck_assert(rc == 0 || (rc == -ENOMEM && err.text[0]));
	}
	fault_disarm(FAULT_ALLOC);
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_gt(report.problems, 0);
}
END_TEST

/*
 * Power is lost after many operations, of which the records are durable and what they say in place is a
 * mixture of old and new words, drawn anew for each image. The check reads them all as the one state that
 * replay leads to.
 */
START_TEST(unclean_pool_is_checked_as_replayed)
{
	char *image = malloc(DAMAGE_POOL_SIZE), name[16];
	struct fs *fs = mount_region(region);
	struct check_report report;
	unsigned int stale = 0;

	emu_record(region);
	for (unsigned int i = 0; i < UNCLEAN_FILES; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		make_node(fs, ino.many, name, S_IFREG | 0644);
	}
	emu_crash_begin(region, emu_events(region));
	for (unsigned int seed = 1; seed <= UNCLEAN_IMAGES; seed++) {
		struct region *live = region;
		struct found found = { 0 };

		emu_crash_random(live, seed, image);
		region = emu_open(DAMAGE_POOL_SIZE, image);
		stale += memcmp(slot(0), live->base + offset_of(slot(0)), 16 * BLOCK_SIZE) != 0;
		report = check(&found);
		emu_close(region);
		region = live;
		ck_assert_msg(report.problems == 0, "seed %u: %s", seed, found.all);
		ck_assert(!report.clean);
		ck_assert_uint_eq(report.records, UNCLEAN_FILES);
		ck_assert_uint_eq(report.files, DAMAGE_FILES + UNCLEAN_FILES);
	}
	ck_assert_uint_eq(stale, UNCLEAN_IMAGES);
	free(image);
	fs_unmount(fs);
}
END_TEST

/* ---- Whatever the bytes -------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static uint64_t interesting(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 15, 252, 253, 4095, 4096, DAMAGE_POOL_BLOCKS - 1, DAMAGE_POOL_BLOCKS, 0xffff,
		0xffffffff, 1ULL << 51, 1ULL << 63, UINT64_MAX,
	};

	return draw(3) ? values[draw(sizeof(values) / sizeof(values[0]))] : draw(UINT64_MAX);
}

/* An object that is changed and sealed again. Where it lies is looked up once, before anything is changed. */
struct object {
	char	*at;
	size_t	 len;
};

/* The tail comes last: records do not patch it. */
static unsigned int collect(struct object *objects)
{
	struct disk_xattr_run *run = run_of(ino.file);
	unsigned int n = 0;

	for (unsigned int i = 1; i < 72; i++)
		objects[n++] = (struct object){ (char *)slot(i), INODE_SIZE };
	for (unsigned int i = 0; i < 8; i++) {
		objects[n++] = (struct object){ (char *)slot(ino.tree), INODE_SIZE };
		objects[n++] = (struct object){ (char *)leaf(i % 2), BLOCK_SIZE };
		objects[n++] = (struct object){ (char *)dir_block(ino.dir), BLOCK_SIZE };
		objects[n++] = (struct object){ (char *)dir_block(ino.many), BLOCK_SIZE };
		objects[n++] = (struct object){ (char *)run, le32_to_cpu(run->used) };
	}
	objects[n++] = (struct object){ (char *)table_inode(), INODE_SIZE };
	objects[n++] = (struct object){ (char *)tail_slot(), sizeof(struct disk_tail) };
	return n;
}

/* Some aligned word of the object, more often near its start, becomes something else. */
static void change(const struct object *o)
{
	size_t width = 1U << draw(4), room = draw(2) && o->len > 128 ? 128 : o->len;
	size_t off = 8 + draw((room - 8) / width) * width;
	uint64_t v = interesting();

	memcpy(o->at + off, &v, width);
	seal(o->at, o->len);
}

/* A record that replay takes, with patches of random bytes on random objects. Returns where it lies. */
static struct object put_record(const struct object *objects, unsigned int count)
{
	struct disk_tail *tail = tail_slot();
	uint64_t at = le64_to_cpu(tail->pos) % (JOURNAL_MIN_BLOCKS * BLOCK_SIZE);
	char *record = (char *)block_at(BLOCK_JOURNAL) + at, *p = record + sizeof(struct disk_record);
	struct disk_record *d = (struct disk_record *)record;
	struct object o = { record, BLOCK_SIZE };
	unsigned int patches = 1 + (unsigned int)draw(16);

	ck_assert_uint_le(at + BLOCK_SIZE, JOURNAL_MIN_BLOCKS * BLOCK_SIZE);
	memset(record, 0, BLOCK_SIZE);
	*d = (struct disk_record){ .magic = cpu_to_le32(RECORD_MAGIC), .seq = tail->seq, .pos = tail->pos,
				   .patches = cpu_to_le32(patches) };
	for (unsigned int i = 0; i < patches; i++) {
		const struct object *to = &objects[draw(count)];
		uint64_t words = 1 + draw(8), v = interesting();

		*(struct disk_patch *)p = (struct disk_patch){
			.off = cpu_to_le64(offset_of(to->at) + draw((to->len - 64) / 8) * 8),
			.len = cpu_to_le32((uint32_t)words * 8) };
		p += sizeof(struct disk_patch);
		for (; words; words--, p += 8)
			memcpy(p, &v, 8);
	}
	d->len = cpu_to_le32((uint32_t)(p - record + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1U));
	seal_record(d);
	return o;
}

START_TEST(no_bytes_stop_the_checker)
{
	const char *given = getenv("INODAX_TEST_SEED");
	struct object objects[128], changed[FUZZ_CHANGES + 1];
	unsigned int count = collect(objects);
	struct check_report report;
	uint64_t refused = 0;
	struct err err;

	random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("no_bytes_stop_the_checker: INODAX_TEST_SEED=%llu\n", (unsigned long long)random_state);
	for (unsigned int round = 0; round < FUZZ_ROUNDS; round++) {
		changed[FUZZ_CHANGES] = put_record(objects, count - 1);
		for (unsigned int i = 0; i < FUZZ_CHANGES; i++) {
			changed[i] = objects[draw(count)];
			change(&changed[i]);
		}
		ck_assert_int_eq(check_pool(region, "test", NULL, NULL, &report, &err), 0);
		refused += report.problems > 0;
		for (unsigned int i = 0; i <= FUZZ_CHANGES; i++)
			memcpy(changed[i].at, clean_image + offset_of(changed[i].at), changed[i].len);
	}
	ck_assert_uint_gt(refused, FUZZ_ROUNDS / 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("check");
	TCase *tc = tcase_create("check");

	tcase_add_unchecked_fixture(tc, damage_make_image, NULL);
	tcase_add_checked_fixture(tc, damage_setup, damage_teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, clean_pool_has_no_findings);
	tcase_add_loop_test(tc, damage_is_found_by_name, 0, (int)damage_count);
	tcase_add_test(tc, each_finding_has_a_damage);
	tcase_add_test(tc, shared_block_names_both_owners);
	tcase_add_test(tc, names_are_shown_with_escapes);
	tcase_add_test(tc, torn_older_tail_slot_is_no_finding);
	tcase_add_test(tc, short_check_believes_a_clean_pool);
	tcase_add_test(tc, what_is_no_pool_cannot_be_checked);
	tcase_add_test(tc, no_memory_is_an_error);
	tcase_add_test(tc, unclean_pool_is_checked_as_replayed);
	tcase_add_test(tc, no_bytes_stop_the_checker);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
