/*
 * Extended attributes of one inode, on behalf of pass_inode.
 *
 * A run is read as a whole (contiguous blocks; composed in a buffer when replay would touch it). Checked: it
 * lies inside the pool and is nobody else's; seal, owner and generation; the chain of entries fills exactly
 * what it says is used; namespaces and names; no name twice; ACLs are ones the kernel would take, stand where
 * an ACL may, and an access ACL agrees with the mode. The verifier of lib/meta has the last word, as in
 * extent_map.c.
 */
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "check/check_private.h"
#include "meta/xattr.h"

#define RUN_HEADER	((uint32_t)sizeof(struct disk_xattr_run))
#define ENTRY_HEADER	((uint32_t)sizeof(struct disk_xattr))
#define ACL_HEADER	4U
#define ACL_ENTRY	8U
#define ACL_ENTRIES_MAX	511U			/* what lib/fs keeps, and can change */

struct xattr_visit {
	struct check			*c;
	const struct disk_inode		*d;
	const struct disk_xattr_run	*run;
	uint64_t			 ino, block;
	bool				 damaged;
};

static void xattr_problem(struct xattr_visit *v, enum problem number, struct problem_context *ctx)
{
	v->damaged = true;
	ctx->ino = v->ino;
	ctx->block = v->block;
	check_problem(v->c, number, ctx);
}

bool xattr_claim(struct check *c, uint64_t ino, const struct disk_inode *d)
{
	uint64_t block = le64_to_cpu(d->xattr_block), blocks = le32_to_cpu(d->xattr_blocks);
	struct problem_context ctx = { .ino = ino, .block = block, .found = blocks };

	if (!block && !blocks)
		return true;
	if (!block || !blocks || blocks > XATTR_RUN_MAX)
		ctx.what = "1 to 64 blocks and a place needed";
	else if (block >= c->super.blocks || blocks > c->super.blocks - block)
		ctx.what = "outside the pool";
	if (ctx.what) {
		check_problem(c, PROBLEM_XATTR_RUN, &ctx);
		return false;
	}
	return space_claim(c, (struct owner){ OWNER_XATTR, ino }, block, blocks) == blocks;
}

/* ---- ACLs ---------------------------------------------------------------------------------------------- */

static unsigned int acl_tag(const uint8_t *entry)
{
	return entry[0] | (unsigned int)entry[1] << 8;
}

static unsigned int acl_perm(const uint8_t *entry)
{
	return entry[2] | (unsigned int)entry[3] << 8;
}

/* Rank of a tag in the order that posix_acl_valid() asks for; 0: no such tag. */
static unsigned int acl_rank(unsigned int tag)
{
	static const unsigned int order[] = {
		ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER,
	};

	for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (order[i] == tag)
			return i + 1;
	return 0;
}

struct acl_summary {
	unsigned int	seen;		/* tags, or-ed */
	mode_t		user, group, mask, other;
};

static const char *acl_entry_wrong(struct acl_summary *sum, const uint8_t *entry, unsigned int *last)
{
	unsigned int tag = acl_tag(entry), rank = acl_rank(tag), perm = acl_perm(entry);
	bool many = tag == ACL_USER || tag == ACL_GROUP;

	if (!rank)
		return "unknown tag";
	if (perm & ~(unsigned int)(ACL_READ | ACL_WRITE | ACL_EXECUTE))
		return "unknown permissions";
	if (rank < *last || (rank == *last && !many))
		return "entries out of order";
	*last = rank;
	sum->seen |= tag;
	switch (tag) {
	case ACL_USER_OBJ:
		sum->user = perm;
		break;
	case ACL_GROUP_OBJ:
		sum->group = perm;
		break;
	case ACL_MASK:
		sum->mask = perm;
		break;
	case ACL_OTHER:
		sum->other = perm;
		break;
	}
	return NULL;
}

static const char *acl_wrong(const uint8_t *acl, uint32_t len, struct acl_summary *sum)
{
	const unsigned int base = ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER;
	const uint8_t version[ACL_HEADER] = { POSIX_ACL_XATTR_VERSION };
	const char *wrong = NULL;
	unsigned int last = 0;

	*sum = (struct acl_summary){ 0 };
	if (len < ACL_HEADER + ACL_ENTRY || (len - ACL_HEADER) % ACL_ENTRY ||
	    len > ACL_HEADER + ACL_ENTRIES_MAX * ACL_ENTRY)
		return "length";
	if (memcmp(acl, version, ACL_HEADER))
		return "version";
	for (uint32_t off = ACL_HEADER; !wrong && off < len; off += ACL_ENTRY)
		wrong = acl_entry_wrong(sum, acl + off, &last);
	if (wrong)
		return wrong;
	if ((sum->seen & base) != base)
		return "owner, group or others missing";
	if (sum->seen & (ACL_USER | ACL_GROUP) && !(sum->seen & ACL_MASK))
		return "mask missing";
	return NULL;
}

static void acl_problem(struct xattr_visit *v, enum problem number, const char *name, const char *what)
{
	xattr_problem(v, number, &(struct problem_context){ .by = name, .what = what });
}

static void check_acl_mode(struct xattr_visit *v, const struct acl_summary *sum)
{
	mode_t mode = le32_to_cpu(v->d->mode) & (S_IRWXU | S_IRWXG | S_IRWXO);
	mode_t says = sum->user << 6 | (sum->seen & ACL_MASK ? sum->mask : sum->group) << 3 | sum->other;
	char found[12], want[12];

	if (mode == says)
		return;
	snprintf(found, sizeof(found), "%04o", mode);
	snprintf(want, sizeof(want), "%04o", says);
	acl_problem(v, PROBLEM_ACL_MODE, found, want);
}

static void check_acl(struct xattr_visit *v, unsigned int ns, const uint8_t *acl, uint32_t len)
{
	const char *name = ns == XATTR_NS_ACL_ACCESS ? "access ACL" : "default ACL";
	mode_t mode = le32_to_cpu(v->d->mode);
	struct acl_summary sum;
	const char *wrong = acl_wrong(acl, len, &sum);

	if (ns == XATTR_NS_ACL_DEFAULT && !S_ISDIR(mode))
		acl_problem(v, PROBLEM_ACL_PLACE, name, "non-directory");
	else if (S_ISLNK(mode))
		acl_problem(v, PROBLEM_ACL_PLACE, name, "symlink");
	else if (wrong)
		acl_problem(v, PROBLEM_ACL_INVALID, name, wrong);
	else if (ns == XATTR_NS_ACL_ACCESS)
		check_acl_mode(v, &sum);
}

/* ---- Entries ------------------------------------------------------------------------------------------- */

/* `room`: bytes from the entry to the end of what the run uses, at least its header. */
static const char *entry_wrong(const struct disk_xattr *e, uint32_t room)
{
	uint32_t value_len = le32_to_cpu(e->value_len);
	bool acl = e->ns == XATTR_NS_ACL_ACCESS || e->ns == XATTR_NS_ACL_DEFAULT;

	if (value_len > XATTR_VALUE_MAX || ENTRY_HEADER + e->name_len + value_len > room)
		return "value is longer than the run";
	if (!acl && e->ns != XATTR_NS_USER && e->ns != XATTR_NS_TRUSTED && e->ns != XATTR_NS_SECURITY)
		return "unknown namespace";
	if (acl != (e->name_len == 0))
		return acl ? "ACL with a name" : "no name";
	return memchr(e + 1, 0, e->name_len) ? "name with a NUL inside" : NULL;
}

static int check_entry(struct xattr_visit *v, const struct disk_xattr *e, uint64_t off)
{
	const char *name = (const char *)(e + 1);
	struct problem_context ctx = { .found = e->ns, .name = name, .name_len = e->name_len };
	struct set_name set_name = { .name = name, .len = e->name_len, .ns = e->ns,
				     .off = (v->block << BLOCK_SHIFT) + off + ENTRY_HEADER };
	int rc = nameset_add(v->c->names, v->c->overlay, &set_name);

	if (rc < 0)
		return check_nomem(v->c);
	if (rc)
		xattr_problem(v, PROBLEM_XATTR_DUPLICATE, &ctx);
	else if (e->ns == XATTR_NS_ACL_ACCESS || e->ns == XATTR_NS_ACL_DEFAULT)
		check_acl(v, e->ns, (const uint8_t *)name, le32_to_cpu(e->value_len));
	return 0;
}

static int check_entries(struct xattr_visit *v)
{
	uint32_t used = le32_to_cpu(v->run->used), off = RUN_HEADER, n = le32_to_cpu(v->run->count), len;
	const struct disk_xattr *e;
	const char *wrong;
	int rc = 0;

	for (; !rc && n && used - off >= ENTRY_HEADER; n--, off += len) {
		e = (const struct disk_xattr *)((const char *)v->run + off);
		wrong = entry_wrong(e, used - off);
		if (wrong) {
			xattr_problem(v, PROBLEM_XATTR_ENTRY, &(struct problem_context){
				.found = e->ns, .what = wrong, .name = "", .name_len = 0 });
			return 0;
		}
		rc = check_entry(v, e, off);
		len = ENTRY_HEADER + e->name_len + le32_to_cpu(e->value_len);
		len = (len + XATTR_ALIGN - 1) & ~(XATTR_ALIGN - 1);
	}
	if (!rc && (n || off != used))
		xattr_problem(v, PROBLEM_XATTR_INVALID,
			      &(struct problem_context){ .what = "count of entries" });
	return rc;
}

static const char *run_wrong(const struct xattr_visit *v, uint32_t blocks)
{
	uint32_t used = le32_to_cpu(v->run->used);
	const char *wrong;

	if (used < RUN_HEADER || used > blocks << BLOCK_SHIFT || used % XATTR_ALIGN)
		return "length";
	wrong = check_sealed(v->c, v->run, used, v->block << BLOCK_SHIFT, XATTR_MAGIC);
	if (wrong)
		return wrong;
	if (le64_to_cpu(v->run->owner) != v->ino)
		return "owner";
	return le64_to_cpu(v->run->generation) == le64_to_cpu(v->d->generation) ? NULL : "generation";
}

int xattr_check(struct check *c, uint64_t ino, const struct disk_inode *d)
{
	struct xattr_visit v = { .c = c, .d = d, .ino = ino, .block = le64_to_cpu(d->xattr_block) };
	uint32_t blocks = le32_to_cpu(d->xattr_blocks);
	const char *wrong;
	int rc = 0;

	if (!blocks)
		return 0;
	v.run = overlay_read(c->overlay, v.block << BLOCK_SHIFT, (uint64_t)blocks << BLOCK_SHIFT, c->run_buf);
	wrong = run_wrong(&v, blocks);
	if (!wrong) {
		rc = nameset_clear(c->names) ? check_nomem(c) : check_entries(&v);
		if (!v.damaged)
			wrong = disk_xattr_run_verify(&c->super, v.run, v.block, blocks, ino,
						      le64_to_cpu(d->generation));
	}
	if (wrong)
		xattr_problem(&v, PROBLEM_XATTR_INVALID, &(struct problem_context){ .what = wrong });
	return rc;
}
