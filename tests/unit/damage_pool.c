/*
 * The pool with one of everything, and where its objects lie: see damage.h.
 */
#include "damage.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/posix_acl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "meta/extent.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/crc32c.h"

#define POOL_SIZE	DAMAGE_POOL_SIZE

static const struct fs_cred cred = { .cap_fsetid = true, .cap_trusted = true };
static const struct fs_options options = { .dax = FS_DAX_ALWAYS };

struct damage_inodes ino;
char *clean_image;
struct region *region;
static struct super sb;

/* ---- The pool ------------------------------------------------------------------------------------------ */

static uint64_t make_dir(struct fs *fs, uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(fs_mkdir(fs, &cred, parent, name, 0755, &st, NULL), 0);
	return st.st_ino;
}

uint64_t make_node(struct fs *fs, uint64_t parent, const char *name, mode_t mode)
{
	struct stat st;

	ck_assert_int_eq(fs_mknod(fs, &cred, parent, name, mode, makedev(1, 3), &st, NULL), 0);
	return st.st_ino;
}

static uint64_t make_link(struct fs *fs, const char *name, unsigned int len)
{
	char target[512] = { 0 };
	struct stat st;

	memset(target, 't', len);
	ck_assert_int_eq(fs_symlink(fs, &cred, INO_ROOT, name, target, &st, NULL), 0);
	return st.st_ino;
}

/* A directory of several blocks. */
static void make_many(struct fs *fs)
{
	char name[160];

	ino.many = make_dir(fs, INO_ROOT, "many");
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "%0150d", i);
		make_node(fs, ino.many, name, S_IFREG | 0644);
	}
}

/* A file of so many extents that they need a tree. */
static void make_tree(struct fs *fs)
{
	struct fs_file *f;
	struct stat st;

	ck_assert_int_eq(fs_create(fs, &cred, INO_ROOT, "tree", 0644, O_RDWR, &f, &st, NULL), 0);
	for (uint64_t i = 0; i < 300; i++)
		ck_assert_int_eq(fs_write(f, &cred, "x", i * 2 * BLOCK_SIZE, 1, 0), 1);
	fs_close(f);
	ino.tree = st.st_ino;
}

static void make_prealloc(struct fs *fs)
{
	struct fs_file *f;
	struct stat st;

	ck_assert_int_eq(fs_create(fs, &cred, INO_ROOT, "prealloc", 0644, O_RDWR, &f, &st, NULL), 0);
	ck_assert_int_eq(fs_fallocate(f, &cred, FALLOC_FL_KEEP_SIZE, 0, 16 * BLOCK_SIZE), 0);
	fs_close(f);
	ino.prealloc = st.st_ino;
}

static void set_xattr(struct fs *fs, uint64_t n, const char *name, const void *value, size_t size)
{
	ck_assert_int_eq(fs_setxattr(fs, &cred, n, name, value, size, 0), 0);
}

/* rw-r--r-- with a named user, hence a mask. */
static void set_acls(struct fs *fs)
{
	static const uint8_t acl[] = {
		2, 0, 0, 0,
		ACL_USER_OBJ, 0, 6, 0, 255, 255, 255, 255, ACL_USER, 0, 4, 0, 7, 0, 0, 0,
		ACL_GROUP_OBJ, 0, 4, 0, 255, 255, 255, 255, ACL_MASK, 0, 4, 0, 255, 255, 255, 255,
		ACL_OTHER, 0, 4, 0, 255, 255, 255, 255,
	};

	set_xattr(fs, ino.file, "system.posix_acl_access", acl, sizeof(acl));
	set_xattr(fs, ino.dir, "system.posix_acl_default", acl, sizeof(acl));
}

static void populate(struct fs *fs)
{
	ino.dir = make_dir(fs, INO_ROOT, "dir");
	ino.sub = make_dir(fs, ino.dir, "sub");
	ino.file = make_node(fs, INO_ROOT, "file", S_IFREG | 0644);
	ino.other = make_node(fs, ino.dir, "other", S_IFREG | 0644);
	make_node(fs, INO_ROOT, "null", S_IFCHR | 0666);
	make_node(fs, INO_ROOT, "fifo", S_IFIFO | 0666);
	ino.short_link = make_link(fs, "short", 96);
	ino.long_link = make_link(fs, "long", 97);
	ck_assert_int_eq(fs_link(fs, ino.file, ino.dir, "link", NULL, NULL), 0);
	set_xattr(fs, ino.file, "user.aa", "value", 5);
	set_xattr(fs, ino.file, "user.bb", "value", 5);
	set_acls(fs);
	make_many(fs);
	make_tree(fs);
	make_prealloc(fs);
}

struct fs *mount_region(struct region *r)
{
	struct err err = { "" };
	struct fs *fs;

	ck_assert_msg(fs_mount(&fs, "test", r, &options, &err) == 0, "%s", err.text);
	return fs;
}

void damage_make_image(void)
{
	const struct fs_format format = { .uuid = { 1, 2, 3, 4 }, .label = "check",
					  .journal_blocks = JOURNAL_MIN_BLOCKS };
	struct region *r = emu_open(POOL_SIZE, NULL);
	struct err err = { "" };
	struct fs *fs;

	ck_assert_msg(fs_format(r, &format, &err) == 0, "%s", err.text);
	fs = mount_region(r);
	populate(fs);
	ck_assert_int_eq(fs_unmount(fs), 0);
	clean_image = malloc(POOL_SIZE);
	memcpy(clean_image, r->base, POOL_SIZE);
	emu_close(r);
}

void damage_setup(void)
{
	struct err err;

	region = emu_open(POOL_SIZE, clean_image);
	ck_assert_int_eq(super_read(region, "test", &sb, &err), 0);
}

void damage_teardown(void)
{
	emu_close(region);
}

/* ---- Finding and sealing objects ----------------------------------------------------------------------- */

void *block_at(uint64_t block)
{
	return region->base + (block << BLOCK_SHIFT);
}

uint64_t offset_of(const void *object)
{
	return (uint64_t)((const char *)object - region->base);
}

/* Magic and crc begin every sealed object but the superblock. */
void seal(void *object, size_t len)
{
	le32 *crc = (le32 *)object + 1;

	*crc = cpu_to_le32(crc32c_object(format_seed(&sb, offset_of(object)), object, len, sizeof(le32)));
}

void seal_record(struct disk_record *d)
{
	uint32_t seed = crc32c(crc32c(0, sb.uuid, sizeof(sb.uuid)), &d->seq, sizeof(d->seq));

	d->crc = cpu_to_le32(crc32c_object(seed, d, le32_to_cpu(d->len), sizeof(le32)));
}

struct disk_inode *table_inode(void)
{
	return block_at(BLOCK_ITABLE_INODE);
}

struct disk_inode *slot(uint64_t n)
{
	return (struct disk_inode *)block_at(extent_unpack(table_inode()->extent[0]).block) + n;
}

uint64_t first_block(uint64_t n)
{
	return extent_unpack(slot(n)->extent[0]).block;
}

/* A node right below the inode; the tree of the image has one level of them. */
struct disk_extent_node *leaf(unsigned int i)
{
	return block_at(le64_to_cpu(slot(ino.tree)->index[i].child));
}

struct disk_dir_block *dir_block(uint64_t n)
{
	return block_at(first_block(n));
}

struct disk_xattr_run *run_of(uint64_t n)
{
	return block_at(le64_to_cpu(slot(n)->xattr_block));
}

struct disk_dirent *entry(uint64_t dir, const char *name)
{
	struct disk_dir_block *b = dir_block(dir);
	struct disk_dirent *d;

	for (char *p = (char *)b->entries; p < (char *)b + BLOCK_SIZE; p += le16_to_cpu(d->rec_len)) {
		d = (struct disk_dirent *)p;
		if (le64_to_cpu(d->ino) && d->name_len == strlen(name) && !memcmp(d->name, name, d->name_len))
			return d;
	}
	ck_abort_msg("no entry %s in directory %llu", name, (unsigned long long)dir);
	return NULL;
}

/* The tail slot that holds. */
struct disk_tail *tail_slot(void)
{
	char *block = block_at(BLOCK_TAIL);
	struct disk_tail *a = (struct disk_tail *)block, *b = (struct disk_tail *)(block + TAIL_SLOT_STRIDE);

	return le64_to_cpu(a->counter) > le64_to_cpu(b->counter) ? a : b;
}

struct disk_tail *other_tail_slot(void)
{
	char *block = block_at(BLOCK_TAIL), *newer = (char *)tail_slot();

	return (struct disk_tail *)(newer == block ? block + TAIL_SLOT_STRIDE : block);
}

void flip(void *byte)
{
	*(uint8_t *)byte ^= 1;
}
