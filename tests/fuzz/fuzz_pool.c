/*
 * The images and their objects: see fuzz.h.
 *
 * Both images hold directories of one and of several blocks, files of one extent and with a tree of two levels,
 * preallocated space, a sparse file, short and long symlinks, devices, attributes and ACLs. Objects are found by their
 * magic in the finished image; records by walking the ring from the tail.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/posix_acl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "meta/record.h"
#include "pmem/emu.h"
#include "util/bitmap.h"
#include "util/crc32c.h"

static const struct fs_cred cred = { .cap_fsetid = true, .cap_trusted = true };
static const struct fs_options options = { .dax = FS_DAX_ALWAYS, .scan_threads = 1 };

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("fuzz: cannot make the images: %s\n", what);
	exit(EXIT_FAILURE);
}

/* ---- One of everything --------------------------------------------------------------------------------- */

static uint64_t make_dir(struct fs *fs, uint64_t parent, const char *name)
{
	struct stat st;

	need(fs_mkdir(fs, &cred, parent, name, 0755, &st, NULL) == 0, name);
	return st.st_ino;
}

static uint64_t make_node(struct fs *fs, uint64_t parent, const char *name, mode_t mode)
{
	struct stat st;

	need(fs_mknod(fs, &cred, parent, name, mode, makedev(1, 3), &st, NULL) == 0, name);
	return st.st_ino;
}

static struct fs_file *make_file(struct fs *fs, uint64_t parent, const char *name)
{
	struct fs_file *f;

	need(fs_create(fs, &cred, parent, name, 0644, O_RDWR, &f, NULL, NULL) == 0, name);
	return f;
}

static void make_names(struct fs *fs, uint64_t parent, int count)
{
	char name[120];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%0100d", i);
		make_node(fs, parent, name, S_IFREG | 0644);
	}
}

/* `extents` blocks, each with a hole behind it. */
static void make_sparse(struct fs *fs, uint64_t parent, const char *name, uint64_t extents)
{
	struct fs_file *f = make_file(fs, parent, name);

	for (uint64_t i = 0; i < extents; i++)
		need(fs_write(f, &cred, "x", i * 2 * BLOCK_SIZE, 1, 0) == 1, name);
	fs_close(f);
}

static void make_prealloc(struct fs *fs, uint64_t parent)
{
	struct fs_file *f = make_file(fs, parent, "prealloc");

	need(fs_fallocate(f, &cred, FALLOC_FL_KEEP_SIZE, 0, 24 * BLOCK_SIZE) == 0, "prealloc");
	need(fs_write(f, &cred, "data", 5 * BLOCK_SIZE, 4, 0) == 4, "prealloc");
	fs_close(f);
}

static void make_symlink(struct fs *fs, uint64_t parent, const char *name, unsigned int len)
{
	char target[512] = { 0 };

	memset(target, 't', len);
	need(fs_symlink(fs, &cred, parent, name, target, NULL, NULL) == 0, name);
}

static void make_xattrs(struct fs *fs, uint64_t file, uint64_t dir)
{
	static const uint8_t acl[] = {
		2, 0, 0, 0,
		ACL_USER_OBJ, 0, 6, 0, 255, 255, 255, 255, ACL_USER, 0, 4, 0, 7, 0, 0, 0,
		ACL_GROUP_OBJ, 0, 4, 0, 255, 255, 255, 255, ACL_MASK, 0, 4, 0, 255, 255, 255, 255,
		ACL_OTHER, 0, 4, 0, 255, 255, 255, 255,
	};
	static char large[6000];

	need(fs_setxattr(fs, &cred, file, "user.a", "value", 5, 0) == 0, "user.a");
	need(fs_setxattr(fs, &cred, file, "user.large", large, sizeof(large), 0) == 0, "user.large");
	need(fs_setxattr(fs, &cred, file, "security.capability", "cap", 3, 0) == 0, "security.capability");
	need(fs_setxattr(fs, &cred, file, "system.posix_acl_access", acl, sizeof(acl), 0) == 0, "acl");
	need(fs_setxattr(fs, &cred, dir, "system.posix_acl_default", acl, sizeof(acl), 0) == 0, "default acl");
}

static void populate(struct fs *fs)
{
	uint64_t dir = make_dir(fs, INO_ROOT, "dir"), sub = make_dir(fs, dir, "sub");
	uint64_t many = make_dir(fs, sub, "many"), file = make_node(fs, INO_ROOT, "file", S_IFREG | 06755);

	make_dir(fs, sub, "empty");
	make_node(fs, dir, "null", S_IFCHR | 0666);
	make_node(fs, dir, "fifo", S_IFIFO | 0666);
	make_symlink(fs, INO_ROOT, "short", 96);
	make_symlink(fs, dir, "long", 97);
	need(fs_link(fs, file, sub, "link", NULL, NULL) == 0, "link");
	make_xattrs(fs, file, dir);
	make_names(fs, many, 60);
	make_sparse(fs, INO_ROOT, "few", 5);
	make_sparse(fs, dir, "tree", 300);
	make_prealloc(fs, sub);
}

/* Records for the ring, of several objects each. */
static void change_more(struct fs *fs)
{
	char name[32];

	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "more%d", i);
		make_node(fs, INO_ROOT, name, S_IFREG | 0644);
	}
	need(fs_rename(fs, INO_ROOT, "more1", INO_ROOT, "more2", 0) == 0, "rename");
	need(fs_unlink(fs, INO_ROOT, "more3") == 0, "unlink");
	make_sparse(fs, INO_ROOT, "more", 12);
}

/* ---- Where the objects lie ----------------------------------------------------------------------------- */

static void add_object(struct fuzz_image *im, enum fuzz_kind kind, uint64_t off, uint64_t len)
{
	need(im->objects < FUZZ_OBJECTS && len <= FUZZ_BYTES - off, "more objects than expected");
	im->object[im->objects++] = (struct fuzz_object){ .off = off, .len = (uint32_t)len, .kind = kind };
}

static uint32_t magic_at(const struct fuzz_image *im, uint64_t off)
{
	le32 magic;

	memcpy(&magic, im->bytes + off, sizeof(magic));
	return le32_to_cpu(magic);
}

static uint64_t freemap_len(const struct disk_freemap *fm)
{
	return sizeof(*fm) + 8 * (BITMAP_WORDS(le64_to_cpu(fm->blocks)) + BITMAP_WORDS(le64_to_cpu(fm->inodes)));
}

/* Objects of a kind whose size is that of a block, or said by themselves. */
static void add_sealed(struct fuzz_image *im, enum fuzz_kind kind, uint32_t magic)
{
	uint64_t first = BLOCK_JOURNAL + im->super.journal_blocks;

	for (uint64_t off = first << BLOCK_SHIFT; off < FUZZ_BYTES; off += BLOCK_SIZE) {
		uint64_t len = BLOCK_SIZE;

		if (magic_at(im, off) != magic)
			continue;
		if (kind == FUZZ_XATTR)
			len = le32_to_cpu(((struct disk_xattr_run *)(im->bytes + off))->used);
		if (kind == FUZZ_FREEMAP)
			len = freemap_len((struct disk_freemap *)(im->bytes + off));
		add_object(im, kind, off, len);
	}
}

static void add_inodes(struct fuzz_image *im)
{
	for (uint64_t off = (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT; off < FUZZ_BYTES; off += INODE_SIZE)
		if (magic_at(im, off) == INODE_MAGIC)
			add_object(im, FUZZ_INODE, off, INODE_SIZE);
}

/* Records from the tail on; they do not wrap in images as small as these. */
static void add_records(struct fuzz_image *im, const struct region *r)
{
	uint64_t size = im->super.journal_blocks << BLOCK_SHIFT, start = BLOCK_JOURNAL << BLOCK_SHIFT;
	struct disk_record *d = malloc(RECORD_MAX);
	struct tail tail;

	need(d && tail_read(r, &im->super, &tail) == 0, "tail");
	while (record_read(r, &im->super, tail.pos, tail.seq, d) && tail.pos % size + le32_to_cpu(d->len) <= size) {
		add_object(im, FUZZ_RECORD, start + tail.pos % size, le32_to_cpu(d->len));
		tail.pos += le32_to_cpu(d->len);
		tail.seq++;
	}
	free(d);
}

static void find_objects(struct fuzz_image *im, const struct region *r)
{
	static const uint32_t magics[FUZZ_KINDS] = {
		[FUZZ_NODE] = EXTENT_MAGIC, [FUZZ_DIR] = DIR_MAGIC, [FUZZ_XATTR] = XATTR_MAGIC,
		[FUZZ_FREEMAP] = FREEMAP_MAGIC,
	};
	uint64_t tail = (uint64_t)BLOCK_TAIL << BLOCK_SHIFT;

	for (int kind = 0; kind < FUZZ_KINDS; kind++) {
		im->first[kind] = im->objects;
		if (kind == FUZZ_SUPER) {
			add_object(im, kind, 0, sizeof(struct disk_super));
			add_object(im, kind, FUZZ_BYTES - BLOCK_SIZE, sizeof(struct disk_super));
		} else if (kind == FUZZ_TAIL) {
			add_object(im, kind, tail, sizeof(struct disk_tail));
			add_object(im, kind, tail + TAIL_SLOT_STRIDE, sizeof(struct disk_tail));
		} else if (kind == FUZZ_INODE) {
			add_inodes(im);
		} else if (kind == FUZZ_RECORD) {
			add_records(im, r);
		} else {
			add_sealed(im, kind, magics[kind]);
		}
	}
	im->first[FUZZ_KINDS] = im->objects;
}

static void take_image(struct fuzz_image *im, const struct region *r)
{
	struct err err = { "" };

	im->bytes = malloc(FUZZ_BYTES);
	need(im->bytes && super_read(r, "fuzz", &im->super, &err) == 0, "superblock");
	memcpy(im->bytes, r->base, FUZZ_BYTES);
	find_objects(im, r);
}

void fuzz_make_images(struct fuzz_image *clean, struct fuzz_image *killed)
{
	const struct fs_format format = { .uuid = { 'f', 'u', 'z', 'z' }, .journal_blocks = JOURNAL_MIN_BLOCKS };
	struct region *r = emu_open(FUZZ_BYTES, NULL);
	struct err err = { "" };
	struct fs *fs;

	need(r && fs_format(r, &format, &err) == 0, "format");
	need(fs_mount(&fs, "fuzz", r, &options, &err) == 0, "mount");
	populate(fs);
	need(fs_unmount(fs) == 0, "unmount");
	take_image(clean, r);
	need(fs_mount(&fs, "fuzz", r, &options, &err) == 0, "mount");
	change_more(fs);
	take_image(killed, r);
	fs_unmount(fs);
	emu_close(r);
}

/* ---- Sealing ------------------------------------------------------------------------------------------- */

static void put_crc(void *object, size_t len, size_t crc_off, uint32_t seed)
{
	le32 crc = cpu_to_le32(crc32c_object(seed, object, len, crc_off));

	memcpy((char *)object + crc_off, &crc, sizeof(crc));
}

/* The length that the reader will take, where the object says it itself. */
static size_t sealed_len(const char *bytes, const struct fuzz_object *o)
{
	uint64_t len = o->len, room = FUZZ_BYTES - o->off;

	if (o->kind == FUZZ_XATTR)
		len = le32_to_cpu(((const struct disk_xattr_run *)(bytes + o->off))->used);
	if (o->kind == FUZZ_RECORD)
		len = le32_to_cpu(((const struct disk_record *)(bytes + o->off))->len);
	return len > room || len < o->len / 8 ? o->len : len;
}

void fuzz_seal(const struct fuzz_image *image, char *bytes, const struct fuzz_object *o)
{
	char *object = bytes + o->off;
	size_t len = sealed_len(bytes, o);
	le64 off = cpu_to_le64(o->off);
	struct super sb = image->super;

	if (o->kind == FUZZ_SUPER)
		put_crc(object, len, offsetof(struct disk_super, crc), crc32c(0, &off, sizeof(off)));
	else if (o->kind == FUZZ_RECORD)
		put_crc(object, len, offsetof(struct disk_record, crc),
			record_seed(&sb, le64_to_cpu(((struct disk_record *)object)->seq)));
	else
		put_crc(object, len, sizeof(le32), format_seed(&sb, o->off));
}
