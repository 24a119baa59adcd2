/*
 * Every way to damage the pool: see damage.h.
 */
#include "damage.h"

#include <linux/posix_acl.h>
#include <string.h>

#include "meta/extent.h"
#include "unit.h"
#include "util/bitmap.h"
#include "util/crc32c.h"

#define POOL_BLOCKS	DAMAGE_POOL_BLOCKS

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static void add64(le64 *v, uint64_t add)
{
	*v = cpu_to_le64(le64_to_cpu(*v) + add);
}

static void seal_slot(uint64_t n)
{
	seal(slot(n), INODE_SIZE);
}

static void set_extent(struct disk_inode *d, unsigned int i, uint64_t file_block, uint64_t block,
		       uint64_t count)
{
	struct extent e = { .file_block = file_block, .block = block, .count = count };

	d->extent[i] = extent_pack(&e);
}

static void seal_run(struct disk_xattr_run *run)
{
	seal(run, le32_to_cpu(run->used));
}

static struct disk_xattr *xattr_next(struct disk_xattr *e)
{
	return (struct disk_xattr *)((char *)e + ((8U + e->name_len + le32_to_cpu(e->value_len) + 3U) & ~3U));
}

/* First attribute of a namespace. */
static struct disk_xattr *xattr_of(struct disk_xattr_run *run, unsigned int ns)
{
	struct disk_xattr *e = (struct disk_xattr *)(run + 1);

	for (uint32_t i = 0; i < le32_to_cpu(run->count); i++, e = xattr_next(e))
		if (e->ns == ns)
			return e;
	ck_abort_msg("no attribute of namespace %u", ns);
	return NULL;
}

static struct disk_freemap *freemap(void)
{
	ck_assert(le32_to_cpu(tail_slot()->flags) & TAIL_FREEMAP);
	return block_at(le64_to_cpu(tail_slot()->freemap_block));
}

static size_t freemap_len(void)
{
	const struct disk_freemap *fm = freemap();

	return sizeof(*fm) + 8 * BITMAP_WORDS(le64_to_cpu(fm->blocks)) +
	       8 * BITMAP_WORDS(le64_to_cpu(fm->inodes));
}

/* ---- Damage: superblock, tail, free-map cache ---------------------------------------------------------- */

static void super_both(void)
{
	flip(region->base + 40);
	flip((char *)block_at(POOL_BLOCKS - 1) + 40);
}

static void super_primary(void)
{
	flip(region->base + 40);
}

static void super_backup(void)
{
	flip((char *)block_at(POOL_BLOCKS - 1) + 40);
}

static void super_differ(void)
{
	struct disk_super *d = block_at(POOL_BLOCKS - 1);
	le64 off = cpu_to_le64(offset_of(d));

	d->label[0] = 'X';
	d->crc = cpu_to_le32(crc32c_object(crc32c(0, &off, sizeof(off)), d, sizeof(*d),
					   offsetof(struct disk_super, crc)));
}

static void tail_both(void)
{
	flip(tail_slot());
	flip(other_tail_slot());
}

static void tail_position(void)
{
	add64(&tail_slot()->pos, 8);
	seal(tail_slot(), sizeof(struct disk_tail));
}

static void tail_freemap_outside(void)
{
	tail_slot()->freemap_block = cpu_to_le64(POOL_BLOCKS);
	seal(tail_slot(), sizeof(struct disk_tail));
}

static void tail_goes_back(void)
{
	add64(&other_tail_slot()->mount, 5);
	seal(other_tail_slot(), sizeof(struct disk_tail));
}

/* A record where the next mount looks for the first; its patch says what is there already. */
static void tail_with_record(void)
{
	uint64_t pos = le64_to_cpu(tail_slot()->pos), off = (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT;
	char *ring = block_at(BLOCK_JOURNAL);
	struct disk_record *d = (struct disk_record *)(ring + pos % (JOURNAL_MIN_BLOCKS * BLOCK_SIZE));
	struct disk_patch *p = (struct disk_patch *)(d + 1);

	memset(d, 0, 2 * RECORD_ALIGN);
	*d = (struct disk_record){ .magic = cpu_to_le32(RECORD_MAGIC), .seq = tail_slot()->seq,
				   .pos = cpu_to_le64(pos), .len = cpu_to_le32(2 * RECORD_ALIGN),
				   .patches = cpu_to_le32(1) };
	*p = (struct disk_patch){ .off = cpu_to_le64(off), .len = cpu_to_le32(8) };
	memcpy(p + 1, table_inode(), 8);
	seal_record(d);
}

static void freemap_crc(void)
{
	flip(freemap() + 1);
}

static void freemap_frees_used_block(void)
{
	le64 *word = (le64 *)(freemap() + 1);

	word->raw &= ~cpu_to_le64(1ULL << BLOCK_ITABLE_INODE).raw;
	seal(freemap(), freemap_len());
}

static void freemap_frees_used_inode(void)
{
	le64 *word = (le64 *)(freemap() + 1) + BITMAP_WORDS(POOL_BLOCKS) + ino.file / 64;

	word->raw &= ~cpu_to_le64(1ULL << ino.file % 64).raw;
	seal(freemap(), freemap_len());
}

static void freemap_in_file(void)
{
	struct disk_freemap *from = freemap();
	uint64_t block = first_block(ino.prealloc);

	memcpy(block_at(block), from, freemap_len());
	tail_slot()->freemap_block = cpu_to_le64(block);
	seal(tail_slot(), sizeof(struct disk_tail));
	seal(freemap(), freemap_len());
}

/* ---- Damage: inodes ------------------------------------------------------------------------------------ */

static void itable_crc(void)
{
	flip(&table_inode()->uid);
}

static void itable_short(void)
{
	add64(&table_inode()->size, -(uint64_t)BLOCK_SIZE);
	seal(table_inode(), INODE_SIZE);
}

static void itable_blocks(void)
{
	add64(&table_inode()->blocks, 1);
	seal(table_inode(), INODE_SIZE);
}

static void inode_crc(void)
{
	flip(&slot(ino.file)->uid);
}

static void inode_number(void)
{
	add64(&slot(ino.file)->ino, 1);
	seal_slot(ino.file);
}

/* Only the daemon's verifier looks at it. */
static void inode_nanoseconds(void)
{
	slot(ino.file)->mtime_nsec = cpu_to_le32(1000000000);
	seal_slot(ino.file);
}

static void inode_future(void)
{
	add64(&slot(ino.file)->generation, 1000ULL << 32);
	slot(ino.file)->xattr_block = cpu_to_le64(0);
	slot(ino.file)->xattr_blocks = cpu_to_le32(0);
	slot(ino.file)->blocks = cpu_to_le64(0);
	seal_slot(ino.file);
}

static void inode_format(void)
{
	slot(ino.other)->format = INODE_FORMAT_INLINE;
	seal_slot(ino.other);
}

static void tree_depth(void)
{
	slot(ino.tree)->depth = EXTENT_TREE_MAX_DEPTH + 1;
	seal_slot(ino.tree);
}

static void file_size(void)
{
	slot(ino.other)->size = cpu_to_le64(1ULL << 63);
	seal_slot(ino.other);
}

static void inode_blocks(void)
{
	add64(&slot(ino.tree)->blocks, 1);
	seal_slot(ino.tree);
}

static void target_nul(void)
{
	slot(ino.short_link)->target[3] = 0;
	seal_slot(ino.short_link);
}

static void target_tail(void)
{
	((char *)block_at(first_block(ino.long_link)))[97] = 'x';
}

static void target_moved(void)
{
	set_extent(slot(ino.long_link), 0, 1, first_block(ino.long_link), 1);
	seal_slot(ino.long_link);
}

static void root_gone(void)
{
	slot(INO_ROOT)->nlink = cpu_to_le32(0);
	seal_slot(INO_ROOT);
}

/* ---- Damage: extents and space ------------------------------------------------------------------------- */

static void extent_outside(void)
{
	set_extent(slot(ino.prealloc), 0, 0, POOL_BLOCKS - 2, 16);
	seal_slot(ino.prealloc);
}

/* Length 0, which extent_pack() refuses to make. */
static void extent_empty(void)
{
	struct disk_extent *d = &slot(ino.prealloc)->extent[0];

	d->lo = cpu_to_le64(le64_to_cpu(d->lo) & ~0xfffULL);
	d->hi = cpu_to_le64(le64_to_cpu(d->hi) & ~0xffeULL);
	seal_slot(ino.prealloc);
}

static void extent_overlap(void)
{
	uint64_t block = first_block(ino.prealloc);

	set_extent(slot(ino.prealloc), 0, 0, block, 8);
	set_extent(slot(ino.prealloc), 1, 7, block + 8, 8);
	slot(ino.prealloc)->count = cpu_to_le16(2);
	seal_slot(ino.prealloc);
}

static void extent_below_key(void)
{
	struct extent e = extent_unpack(leaf(1)->extent[0]);

	e.file_block = extent_unpack(leaf(0)->extent[0]).file_block + 1;
	leaf(1)->extent[0] = extent_pack(&e);
	seal(leaf(1), BLOCK_SIZE);
}

static void dir_unwritten(void)
{
	struct extent e = extent_unpack(slot(ino.dir)->extent[0]);

	e.unwritten = true;
	slot(ino.dir)->extent[0] = extent_pack(&e);
	seal_slot(ino.dir);
}

static void node_crc(void)
{
	flip(&leaf(0)->extent[3]);
}

static void node_owner(void)
{
	add64(&leaf(0)->owner, 1);
	seal(leaf(0), BLOCK_SIZE);
}

static void node_level(void)
{
	leaf(0)->level = cpu_to_le16(1);
	seal(leaf(0), BLOCK_SIZE);
}

static void node_count(void)
{
	leaf(0)->count = cpu_to_le16(EXTENT_NODE_ENTRIES + 1);
	seal(leaf(0), BLOCK_SIZE);
}

static void node_outside(void)
{
	slot(ino.tree)->index[0].child = cpu_to_le64(1ULL << 51);
	seal_slot(ino.tree);
}

static void node_keys(void)
{
	slot(ino.tree)->index[1].key = slot(ino.tree)->index[0].key;
	seal_slot(ino.tree);
}

static void node_shared(void)
{
	slot(ino.tree)->index[1].child = slot(ino.tree)->index[0].child;
	seal_slot(ino.tree);
}

/* A node above the leaves whose only child is itself. */
static void node_loop(void)
{
	struct disk_extent_node *node = leaf(0);

	slot(ino.tree)->depth = 2;
	node->level = cpu_to_le16(1);
	node->count = cpu_to_le16(1);
	node->index[0].key = cpu_to_le64(0);
	node->index[0].child = slot(ino.tree)->index[0].child;
	seal(node, BLOCK_SIZE);
	seal_slot(ino.tree);
}

static void extent_in_journal(void)
{
	set_extent(slot(ino.prealloc), 0, 0, BLOCK_JOURNAL, 16);
	seal_slot(ino.prealloc);
}

static void extent_of_other_file(void)
{
	set_extent(slot(ino.prealloc), 0, 0, first_block(ino.long_link), 1);
	seal_slot(ino.prealloc);
}

/* ---- Damage: attributes -------------------------------------------------------------------------------- */

static void xattr_outside(void)
{
	slot(ino.file)->xattr_block = cpu_to_le64(POOL_BLOCKS);
	seal_slot(ino.file);
}

static void xattr_crc(void)
{
	flip(run_of(ino.file) + 1);
}

static void xattr_used(void)
{
	run_of(ino.file)->used = cpu_to_le32(0xffffffffU);
}

static void xattr_count(void)
{
	run_of(ino.file)->count = cpu_to_le32(le32_to_cpu(run_of(ino.file)->count) - 1);
	seal_run(run_of(ino.file));
}

static void xattr_value(void)
{
	xattr_of(run_of(ino.file), XATTR_NS_USER)->value_len = cpu_to_le32(XATTR_VALUE_MAX);
	seal_run(run_of(ino.file));
}

static void xattr_namespace(void)
{
	xattr_of(run_of(ino.file), XATTR_NS_USER)->ns = 77;
	seal_run(run_of(ino.file));
}

static void xattr_twice(void)
{
	struct disk_xattr *first = xattr_of(run_of(ino.file), XATTR_NS_USER), *second = xattr_next(first);

	ck_assert_uint_eq(second->ns, XATTR_NS_USER);
	memcpy(second + 1, first + 1, first->name_len);
	seal_run(run_of(ino.file));
}

static void acl_no_mask(void)
{
	uint8_t *acl = (uint8_t *)(xattr_of(run_of(ino.file), XATTR_NS_ACL_ACCESS) + 1);

	acl[4 + 3 * 8] = ACL_GROUP;
	seal_run(run_of(ino.file));
}

static void acl_differs(void)
{
	slot(ino.file)->mode = cpu_to_le32(S_IFREG | 0600);
	seal_slot(ino.file);
}

static void acl_default_on_file(void)
{
	xattr_of(run_of(ino.file), XATTR_NS_ACL_ACCESS)->ns = XATTR_NS_ACL_DEFAULT;
	seal_run(run_of(ino.file));
}

/* ---- Damage: directories and links --------------------------------------------------------------------- */

static void dir_crc(void)
{
	flip(&dir_block(ino.many)->entries[100]);
}

static void dir_index(void)
{
	add64(&dir_block(ino.many)->index, 1);
	seal(dir_block(ino.many), BLOCK_SIZE);
}

static void dir_record(void)
{
	((struct disk_dirent *)dir_block(ino.many)->entries)->rec_len = cpu_to_le16(0);
	seal(dir_block(ino.many), BLOCK_SIZE);
}

static void dir_size(void)
{
	add64(&slot(ino.many)->size, BLOCK_SIZE);
	seal_slot(ino.many);
}

static void name_slash(void)
{
	entry(ino.dir, "other")->name[2] = '/';
	seal(dir_block(ino.dir), BLOCK_SIZE);
}

static void name_twice(void)
{
	memcpy(entry(INO_ROOT, "file")->name, "many", 4);
	seal(dir_block(INO_ROOT), BLOCK_SIZE);
}

static void entry_to(uint64_t dir, const char *name, uint64_t to)
{
	entry(dir, name)->ino = cpu_to_le64(to);
	seal(dir_block(dir), BLOCK_SIZE);
}

static void entry_to_free(void)
{
	entry_to(ino.dir, "other", 250);
}

static void entry_beyond_table(void)
{
	entry_to(ino.dir, "other", INO_MAX);
}

static void entry_type(void)
{
	entry(ino.dir, "other")->type = 4;
	seal(dir_block(ino.dir), BLOCK_SIZE);
}

static void dir_two_names(void)
{
	entry(ino.dir, "other")->type = 4;
	entry_to(ino.dir, "other", ino.many);
}

static void drop_entry(uint64_t dir, const char *name)
{
	entry(dir, name)->name_len = 0;
	for (char *p = (char *)dir_block(dir)->entries; p < (char *)dir_block(dir) + BLOCK_SIZE;) {
		struct disk_dirent *d = (struct disk_dirent *)p;

		if (d->name_len == 0) {
			d->ino = cpu_to_le64(0);
			d->type = 0;
		}
		p += le16_to_cpu(d->rec_len);
	}
	seal(dir_block(dir), BLOCK_SIZE);
}

static void dir_no_name(void)
{
	drop_entry(INO_ROOT, "many");
}

static void file_no_name(void)
{
	drop_entry(ino.dir, "other");
}

static void dir_parent(void)
{
	slot(ino.sub)->rdev = cpu_to_le64(INO_ROOT);
	seal_slot(ino.sub);
}

/* The root's entry for dir becomes one for nothing, and dir gets its name from inside its own subtree. */
static void dir_cycle(void)
{
	drop_entry(INO_ROOT, "dir");
	entry(ino.dir, "other")->type = 4;
	entry_to(ino.dir, "other", ino.dir);
}

static void dir_nlink(void)
{
	slot(ino.dir)->nlink = cpu_to_le32(9);
	seal_slot(ino.dir);
}

static void file_nlink(void)
{
	slot(ino.file)->nlink = cpu_to_le32(3);
	seal_slot(ino.file);
}

/* ---- The table ----------------------------------------------------------------------------------------- */

const struct damage damages[] = {
	{ super_both, "super-damaged" },
	{ super_primary, "super-primary" },
	{ super_backup, "super-backup" },
	{ super_differ, "super-copies" },
	{ tail_both, "tail-damaged" },
	{ tail_position, "tail-field" },
	{ tail_freemap_outside, "tail-field" },
	{ tail_goes_back, "tail-order" },
	{ tail_with_record, "tail-records" },
	{ freemap_crc, "freemap-invalid" },
	{ freemap_frees_used_block, "freemap-blocks" },
	{ freemap_frees_used_inode, "freemap-inodes" },
	{ freemap_in_file, "freemap-in-use" },
	{ itable_crc, "itable-damaged" },
	{ itable_short, "itable-size" },
	{ itable_blocks, "inode-blocks" },
	{ inode_crc, "inode-invalid" },
	{ inode_number, "inode-invalid" },
	{ inode_nanoseconds, "inode-invalid" },
	{ inode_future, "inode-generation" },
	{ inode_format, "inode-format" },
	{ tree_depth, "inode-format" },
	{ file_size, "inode-size" },
	{ inode_blocks, "inode-blocks" },
	{ target_nul, "symlink-target" },
	{ target_tail, "symlink-target" },
	{ target_moved, "symlink-target" },
	{ root_gone, "root-missing" },
	{ extent_outside, "extent-bounds" },
	{ extent_empty, "extent-bounds" },
	{ extent_overlap, "extent-order" },
	{ extent_below_key, "extent-range" },
	{ dir_unwritten, "extent-unwritten" },
	{ node_crc, "node-invalid" },
	{ node_owner, "node-invalid" },
	{ node_level, "node-invalid" },
	{ node_count, "node-invalid" },
	{ node_outside, "node-bounds" },
	{ node_keys, "node-order" },
	{ node_shared, "block-shared" },
	{ node_loop, "block-shared" },
	{ extent_in_journal, "block-shared" },
	{ extent_of_other_file, "block-shared" },
	{ xattr_outside, "xattr-run" },
	{ xattr_crc, "xattr-invalid" },
	{ xattr_used, "xattr-invalid" },
	{ xattr_count, "xattr-invalid" },
	{ xattr_value, "xattr-entry" },
	{ xattr_namespace, "xattr-entry" },
	{ xattr_twice, "xattr-duplicate" },
	{ acl_no_mask, "acl-invalid" },
	{ acl_differs, "acl-mode" },
	{ acl_default_on_file, "acl-place" },
	{ dir_crc, "dir-block-invalid" },
	{ dir_index, "dir-block-invalid" },
	{ dir_record, "dir-block-invalid" },
	{ dir_size, "dir-size" },
	{ name_slash, "dirent-name" },
	{ name_twice, "dirent-duplicate" },
	{ entry_to_free, "dirent-dangling" },
	{ entry_beyond_table, "dirent-dangling" },
	{ entry_type, "dirent-type" },
	{ dir_two_names, "dir-linked-twice" },
	{ dir_no_name, "dir-unconnected" },
	{ file_no_name, "inode-unconnected" },
	{ dir_parent, "dir-parent" },
	{ dir_cycle, "dir-cycle" },
	{ dir_nlink, "dir-nlink" },
	{ file_nlink, "inode-nlink" },
};

const unsigned int damage_count = sizeof(damages) / sizeof(damages[0]);
