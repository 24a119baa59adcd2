/*
 * Extended attributes: reading an inode's run, and writing a new one at each change.
 *
 * A run (format.h) is reachable only through its inode's xattr_block and never changes while it is. A change
 * builds the whole new content in DRAM from the current run, stores it without the cache into blocks of its
 * own, and points the inode to them in the caller's transaction; the old blocks are given back by the same
 * transaction. Crash safety is therefore that of file data: tx_order_data() makes the new run durable before
 * the record that names it, and no record ever names a block of a run, so tx_free_data() is enough for the
 * old one.
 *
 * Several changes in one transaction need no special case: stores without the cache are visible at once, so
 * the second change reads the run of the first by the inode in core, and gives its blocks back.
 *
 * A run is verified each time it is read: runs are small, and reads of them rare beside those of data. Which
 * types of inode may have which namespace, and who may see trusted.*, is decided above.
 *
 * Limits: a value has at most XATTR_VALUE_MAX bytes (-E2BIG). All attributes of an inode fit a run of
 * XATTR_RUN_MAX blocks, and the list of their names fits XATTR_LIST_MAX, so that listxattr(2) can always
 * answer: what would exceed either is refused with -ENOSPC, as ext4 does when its attribute block is full.
 */
#include "meta/xattr.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "meta/balloc.h"
#include "util/crc32c.h"
#include "util/fault.h"
#include "util/log.h"

#define RUN_HEADER	((uint32_t)sizeof(struct disk_xattr_run))

/* ---- Names --------------------------------------------------------------------------------------------- */

/* A name as an entry has it. */
struct xattr_name {
	const char	*suffix;	/* not terminated: `len` bytes */
	uint8_t		 ns, len;
};

/* Index: XATTR_NS_*. A prefix that ends in a dot needs something after it, the others are complete. */
static const char *const prefixes[] = {
	[XATTR_NS_USER]		= "user.",
	[XATTR_NS_TRUSTED]	= "trusted.",
	[XATTR_NS_SECURITY]	= "security.",
	[XATTR_NS_ACL_ACCESS]	= "system.posix_acl_access",
	[XATTR_NS_ACL_DEFAULT]	= "system.posix_acl_default",
};

#define NS_END	(sizeof(prefixes) / sizeof(prefixes[0]))

static bool ns_has_names(unsigned int ns)
{
	return ns < XATTR_NS_ACL_ACCESS;
}

/*
 * As the kernel's xattr_resolve_name(): -EOPNOTSUPP for a namespace we do not have, -EINVAL for one without a
 * name.
 */
static int name_parse(const char *name, struct xattr_name *out)
{
	size_t len = strlen(name);

	if (!len || len > XATTR_NAME_MAX)
		return -ERANGE;
	for (unsigned int ns = XATTR_NS_USER; ns < NS_END; ns++) {
		size_t prefix = strlen(prefixes[ns]);

		if (strncmp(name, prefixes[ns], prefix) || (len > prefix && !ns_has_names(ns)))
			continue;
		if (len == prefix && ns_has_names(ns))
			return -EINVAL;
		*out = (struct xattr_name){ .suffix = name + prefix, .ns = ns, .len = len - prefix };
		return 0;
	}
	return -EOPNOTSUPP;
}

/* ---- Entries and runs ---------------------------------------------------------------------------------- */

static const struct disk_xattr *entry_at(const struct disk_xattr_run *run, uint32_t off)
{
	return (const struct disk_xattr *)((const char *)run + off);
}

static const char *entry_name(const struct disk_xattr *e)
{
	return (const char *)(e + 1);
}

/* value_len is at most XATTR_VALUE_MAX. */
static uint32_t entry_space(uint8_t name_len, uint32_t value_len)
{
	return (sizeof(struct disk_xattr) + name_len + value_len + XATTR_ALIGN - 1) & ~(XATTR_ALIGN - 1);
}

static uint32_t entry_len(const struct disk_xattr *e)
{
	return entry_space(e->name_len, le32_to_cpu(e->value_len));
}

/* Bytes of the complete name in the list of names. */
static size_t list_len(unsigned int ns, uint8_t name_len)
{
	return strlen(prefixes[ns]) + name_len + 1;
}

/* `room`: bytes from the entry to the end of the run's used part. */
static const char *entry_verify(const struct disk_xattr *e, uint32_t room)
{
	if (room < sizeof(*e))
		return "count of entries";
	if (e->ns < XATTR_NS_USER || e->ns >= NS_END)
		return "namespace";
	if (ns_has_names(e->ns) != (e->name_len > 0) || list_len(e->ns, e->name_len) > XATTR_NAME_MAX + 1)
		return "name length";
	if (le32_to_cpu(e->value_len) > XATTR_VALUE_MAX || entry_len(e) > room)
		return "value length";
	return memchr(entry_name(e), 0, e->name_len) ? "name" : NULL;
}

const char *disk_xattr_run_verify(const struct super *sb, const struct disk_xattr_run *run, uint64_t block,
				  uint32_t blocks, uint64_t owner, uint64_t generation)
{
	uint32_t used = le32_to_cpu(run->used), off = RUN_HEADER;

	if (!blocks || blocks > XATTR_RUN_MAX)
		return "number of blocks";
	if (le32_to_cpu(run->magic) != XATTR_MAGIC)
		return "magic";
	if (used < RUN_HEADER || used > blocks << BLOCK_SHIFT || used % XATTR_ALIGN)
		return "length";
	if (le32_to_cpu(run->crc) != crc32c_object(format_seed(sb, block << BLOCK_SHIFT), run, used,
						   offsetof(struct disk_xattr_run, crc)))
		return "crc";
	if (le64_to_cpu(run->owner) != owner)
		return "owner";
	if (le64_to_cpu(run->generation) != generation)
		return "generation";
	for (uint32_t n = le32_to_cpu(run->count); n; n--) {
		const char *bad = entry_verify(entry_at(run, off), used - off);

		if (bad)
			return bad;
		off += entry_len(entry_at(run, off));
	}
	return off == used ? NULL : "count of entries";
}

/* The inode's run, verified; *run is NULL when it has none. */
static int run_read(const struct inode *ip, const struct disk_xattr_run **run)
{
	uint64_t block = ip->core.xattr_block;
	uint32_t blocks = ip->core.xattr_blocks;
	const char *bad;

	*run = NULL;
	if (!block)
		return 0;
	if (!pool_blocks_valid(&ip->pool->super, block, blocks)) {
		bad = "place";
	} else {
		*run = pool_block(ip->pool, block);
		bad = disk_xattr_run_verify(&ip->pool->super, *run, block, blocks, ip->ino,
					    ip->core.generation);
	}
	if (!bad)
		return 0;
	log_error("attributes of inode %" PRIu64 ", pool block %" PRIu64 ", %" PRIu32 " blocks: bad %s",
		  ip->ino, block, blocks, bad);
	return -EUCLEAN;
}

static const struct disk_xattr *run_find(const struct disk_xattr_run *run, const struct xattr_name *name)
{
	uint32_t used = run ? le32_to_cpu(run->used) : 0;

	for (uint32_t off = RUN_HEADER; off < used; off += entry_len(entry_at(run, off))) {
		const struct disk_xattr *e = entry_at(run, off);

		if (e->ns == name->ns && e->name_len == name->len &&
		    !memcmp(entry_name(e), name->suffix, name->len))
			return e;
	}
	return NULL;
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

ssize_t xattr_get(struct inode *ip, const char *name, void *value, size_t size)
{
	const struct disk_xattr_run *run;
	const struct disk_xattr *e;
	struct xattr_name n;
	uint32_t len;
	int err;

	err = name_parse(name, &n);
	if (err)
		return err;
	err = run_read(ip, &run);
	if (err)
		return err;
	e = run_find(run, &n);
	if (!e)
		return -ENODATA;
	len = le32_to_cpu(e->value_len);
	if (!size)
		return len;
	if (len > size)
		return -ERANGE;
	memcpy(value, entry_name(e) + e->name_len, len);
	return len;
}

ssize_t xattr_list(struct inode *ip, char *list, size_t size, bool trusted)
{
	const struct disk_xattr_run *run;
	size_t total = 0;
	uint32_t used;
	int err;

	err = run_read(ip, &run);
	if (err)
		return err;
	used = run ? le32_to_cpu(run->used) : 0;
	for (uint32_t off = RUN_HEADER; off < used; off += entry_len(entry_at(run, off))) {
		const struct disk_xattr *e = entry_at(run, off);
		size_t len = list_len(e->ns, e->name_len);

		if (e->ns == XATTR_NS_TRUSTED && !trusted)
			continue;
		if (size && len > size - total)
			return -ERANGE;
		if (size) {
			char *end = stpcpy(list + total, prefixes[e->ns]);

			memcpy(end, entry_name(e), e->name_len);
			end[e->name_len] = '\0';
		}
		total += len;
	}
	return total;
}

/* ---- Changing ------------------------------------------------------------------------------------------ */

/* A run being built: `blocks` whole blocks in DRAM, zeros after `used`. */
struct xattr_build {
	struct disk_xattr_run	*run;
	uint32_t		 used, count;
	uint32_t		 blocks;
	size_t			 list;	/* bytes of the list of names */
};

static int build_init(struct xattr_build *b, uint32_t used)
{
	uint32_t blocks = (used + BLOCK_SIZE - 1) >> BLOCK_SHIFT;

	if (blocks > XATTR_RUN_MAX)
		return -ENOSPC;
	*b = (struct xattr_build){ .used = RUN_HEADER, .blocks = blocks };
	b->run = fault(FAULT_ALLOC) ? NULL : calloc(blocks, BLOCK_SIZE);
	return b->run ? 0 : -ENOMEM;
}

static void build_add(struct xattr_build *b, const struct xattr_name *name, const void *value,
		      uint32_t value_len)
{
	struct disk_xattr *e = (struct disk_xattr *)((char *)b->run + b->used);

	e->ns = name->ns;
	e->name_len = name->len;
	e->value_len = cpu_to_le32(value_len);
	memcpy(e + 1, name->suffix, name->len);
	memcpy((char *)(e + 1) + name->len, value, value_len);
	b->used += entry_space(name->len, value_len);
	b->list += list_len(name->ns, name->len);
	b->count++;
}

/* Every entry of the current run but `except`. */
static void build_copy(struct xattr_build *b, const struct disk_xattr_run *run,
		       const struct disk_xattr *except)
{
	uint32_t used = run ? le32_to_cpu(run->used) : 0;

	for (uint32_t off = RUN_HEADER; off < used; off += entry_len(entry_at(run, off))) {
		const struct disk_xattr *e = entry_at(run, off);
		struct xattr_name name = { entry_name(e), e->ns, e->name_len };

		if (e != except)
			build_add(b, &name, entry_name(e) + e->name_len, le32_to_cpu(e->value_len));
	}
}

/* Store what was built into new blocks, durable before the record. *block: the first. */
static int build_store(struct tx *tx, const struct inode *ip, struct xattr_build *b, uint64_t *block)
{
	const struct super *sb = &ip->pool->super;
	struct disk_xattr_run *run = b->run;
	uint64_t count;
	int err;

	err = tx_alloc(tx, b->blocks, 0, 0, BALLOC_WHOLE | BALLOC_NOT_CONGRUENT, block, &count);
	if (err)
		return err;
	run->magic = cpu_to_le32(XATTR_MAGIC);
	run->owner = cpu_to_le64(ip->ino);
	run->generation = cpu_to_le64(ip->core.generation);
	run->used = cpu_to_le32(b->used);
	run->count = cpu_to_le32(b->count);
	run->crc = cpu_to_le32(crc32c_object(format_seed(sb, *block << BLOCK_SHIFT), run, b->used,
					     offsetof(struct disk_xattr_run, crc)));
	persist_store_nt(ip->pool->region, pool_block(ip->pool, *block), run,
			 (size_t)b->blocks << BLOCK_SHIFT);
	tx_order_data(tx);
	return 0;
}

/* The inode gets another run, or none (block 0). The inode is changed only when nothing can fail any more. */
static int run_replace(struct tx *tx, struct inode *ip, uint64_t block, uint32_t blocks)
{
	int err;

	if (ip->core.xattr_block) {
		err = tx_free_data(tx, ip->core.xattr_block, ip->core.xattr_blocks);
		if (err)
			return err;
	}
	ip->core.blocks += (uint64_t)blocks - ip->core.xattr_blocks;
	ip->core.xattr_block = block;
	ip->core.xattr_blocks = blocks;
	return 0;
}

/* What xattr_set() is asked for. */
struct xattr_change {
	struct xattr_name	 name;
	const void		*value;		/* NULL: remove */
	size_t			 size;
	const struct disk_xattr	*old;		/* in the current run; NULL: not there */
};

/* The current run (NULL: none) with the change made becomes the inode's run. */
static int run_rebuild(struct tx *tx, struct inode *ip, const struct disk_xattr_run *run,
		       const struct xattr_change *c)
{
	uint32_t used = run ? le32_to_cpu(run->used) : RUN_HEADER;
	struct xattr_build b;
	uint64_t block;
	int err;

	used -= c->old ? entry_len(c->old) : 0;
	used += c->value ? entry_space(c->name.len, c->size) : 0;
	if (used == RUN_HEADER)
		return run_replace(tx, ip, 0, 0);
	err = build_init(&b, used);
	if (err)
		return err;
	build_copy(&b, run, c->old);
	if (c->value)
		build_add(&b, &c->name, c->value, c->size);
	err = c->value && b.list > XATTR_LIST_MAX ? -ENOSPC : build_store(tx, ip, &b, &block);
	if (!err)
		err = run_replace(tx, ip, block, b.blocks);
	free(b.run);
	return err;
}

int xattr_set(struct tx *tx, struct inode *ip, const char *name, const void *value, size_t size, int flags)
{
	struct xattr_change c = { .value = value, .size = size };
	const struct disk_xattr_run *run;
	int err;

	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	err = name_parse(name, &c.name);
	if (err)
		return err;
	if (value && size > XATTR_VALUE_MAX)
		return -E2BIG;
	err = run_read(ip, &run);
	if (err)
		return err;
	c.old = run_find(run, &c.name);
	if (c.old && value && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!c.old && (!value || (flags & XATTR_REPLACE)))
		return -ENODATA;
	return run_rebuild(tx, ip, run, &c);
}

void xattr_free_all(struct inode *ip)
{
	if (!ip->core.xattr_block)
		return;
	if (balloc_free(ip->pool->balloc, ip->core.xattr_block, ip->core.xattr_blocks))
		balloc_leak(ip->pool->balloc);
	ip->core.blocks -= ip->core.xattr_blocks;
	ip->core.xattr_block = 0;
	ip->core.xattr_blocks = 0;
}
