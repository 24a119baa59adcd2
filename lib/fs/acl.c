/*
 * POSIX ACLs: what the kernel's fs/posix_acl.c does for filesystems in the kernel, on the bytes of the
 * attribute.
 *
 * A FUSE filesystem whose kernel checks permissions (default_permissions with FUSE_POSIX_ACL) still has to
 * keep mode and ACL in agreement by itself: setting an access ACL sets the mode, chmod changes the ACL, and a
 * new object gets its ACL from the parent's default ACL and the mode asked for. lib/fs calls these functions
 * and writes their results in the transaction of the change.
 *
 * The bytes come from users and from media: an entry is copied out before it is looked at, the number of
 * entries follows from the buffer's size alone, and an unknown tag ends each function with an error.
 */
#include "fs/acl.h"

#include <errno.h>
#include <limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "util/le.h"

#define MODE_PERMISSIONS	(S_IRWXU | S_IRWXG | S_IRWXO)

/* On media and on the wire: struct posix_acl_xattr_entry with our integer types. */
struct acl_entry {
	le16	tag;
	le16	perm;
	le32	id;
};

_Static_assert(sizeof(struct acl_entry) == sizeof(struct posix_acl_xattr_entry), "size of an ACL entry");
_Static_assert(ACL_SIZE(1) == sizeof(struct posix_acl_xattr_header) + sizeof(struct acl_entry), "ACL_SIZE");

static struct acl_entry entry_get(const void *acl, int n)
{
	struct acl_entry e;

	memcpy(&e, (const char *)acl + ACL_SIZE(n), sizeof(e));
	return e;
}

static void entry_put(void *acl, int n, unsigned int tag, unsigned int perm, uint32_t id)
{
	struct acl_entry e = { cpu_to_le16(tag), cpu_to_le16(perm), cpu_to_le32(id) };

	memcpy((char *)acl + ACL_SIZE(n), &e, sizeof(e));
}

static void entry_set_perm(void *acl, int n, unsigned int perm)
{
	struct acl_entry e = entry_get(acl, n);

	entry_put(acl, n, le16_to_cpu(e.tag), perm, le32_to_cpu(e.id));
}

int acl_count(size_t size)
{
	if (size < ACL_SIZE(0) || size > INT_MAX || (size - ACL_SIZE(0)) % sizeof(struct acl_entry))
		return -EINVAL;
	return (size - ACL_SIZE(0)) / sizeof(struct acl_entry);
}

/*
 * The tag that must come next is kept as posix_acl_valid() keeps it: `state` names the section entered, and 0
 * is the end, after OTHER. Returns the new state, or -EINVAL if the entry may not stand here.
 */
static int valid_step(int state, unsigned int tag, bool *needs_mask)
{
	switch (tag) {
	case ACL_USER_OBJ:
		return state == ACL_USER_OBJ ? ACL_USER : -EINVAL;
	case ACL_USER:
		*needs_mask = true;
		return state == ACL_USER ? state : -EINVAL;
	case ACL_GROUP_OBJ:
		return state == ACL_USER ? ACL_GROUP : -EINVAL;
	case ACL_GROUP:
		*needs_mask = true;
		return state == ACL_GROUP ? state : -EINVAL;
	case ACL_MASK:
		return state == ACL_GROUP ? ACL_OTHER : -EINVAL;
	case ACL_OTHER:
		return state == ACL_OTHER || (state == ACL_GROUP && !*needs_mask) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

int acl_valid(const void *acl, size_t size)
{
	int count = acl_count(size), state = ACL_USER_OBJ;
	bool needs_mask = false;
	le32 version;

	if (size < ACL_SIZE(0))
		return -EINVAL;
	memcpy(&version, acl, sizeof(version));
	if (le32_to_cpu(version) != POSIX_ACL_XATTR_VERSION)
		return -EOPNOTSUPP;
	if (count <= 0)
		return count;
	for (int n = 0; n < count; n++) {
		struct acl_entry e = entry_get(acl, n);
		unsigned int tag = le16_to_cpu(e.tag);

		if (le16_to_cpu(e.perm) & ~(ACL_READ | ACL_WRITE | ACL_EXECUTE))
			return -EINVAL;
		if ((tag == ACL_USER || tag == ACL_GROUP) && le32_to_cpu(e.id) == (uint32_t)ACL_UNDEFINED_ID)
			return -EINVAL;
		state = valid_step(state, tag, &needs_mask);
		if (state < 0)
			return state;
	}
	return state == 0 ? 0 : -EINVAL;
}

int acl_equiv_mode(const void *acl, size_t size, mode_t *mode)
{
	int count = acl_count(size), more = 0;
	mode_t bits = 0;

	for (int n = 0; n < count; n++) {
		struct acl_entry e = entry_get(acl, n);
		mode_t perm = le16_to_cpu(e.perm) & S_IRWXO;

		switch (le16_to_cpu(e.tag)) {
		case ACL_USER_OBJ:
			bits |= perm << 6;
			break;
		case ACL_GROUP_OBJ:
			bits |= perm << 3;
			break;
		case ACL_OTHER:
			bits |= perm;
			break;
		case ACL_MASK:
			bits = (bits & ~S_IRWXG) | perm << 3;
			more = 1;
			break;
		case ACL_USER:
		case ACL_GROUP:
			more = 1;
			break;
		default:
			return -EINVAL;
		}
	}
	if (count <= 0)
		return -EINVAL;
	*mode = (*mode & ~MODE_PERMISSIONS) | bits;
	return more;
}

void acl_from_mode(void *acl, mode_t mode)
{
	le32 version = cpu_to_le32(POSIX_ACL_XATTR_VERSION);

	memcpy(acl, &version, sizeof(version));
	entry_put(acl, 0, ACL_USER_OBJ, (mode & S_IRWXU) >> 6, ACL_UNDEFINED_ID);
	entry_put(acl, 1, ACL_GROUP_OBJ, (mode & S_IRWXG) >> 3, ACL_UNDEFINED_ID);
	entry_put(acl, 2, ACL_OTHER, mode & S_IRWXO, ACL_UNDEFINED_ID);
}

/* Where the entries that a mode speaks of stand; the mask stands for the group bits where there is one. */
struct acl_base {
	int	user, group, other;
	bool	named;		/* the ACL says more than a mode can */
};

static int acl_find_base(const void *acl, size_t size, struct acl_base *base)
{
	int count = acl_count(size), mask = -1;

	*base = (struct acl_base){ .user = -1, .group = -1, .other = -1 };
	for (int n = 0; n < count; n++) {
		switch (le16_to_cpu(entry_get(acl, n).tag)) {
		case ACL_USER_OBJ:
			base->user = n;
			break;
		case ACL_GROUP_OBJ:
			base->group = n;
			break;
		case ACL_OTHER:
			base->other = n;
			break;
		case ACL_MASK:
			mask = n;
			base->named = true;
			break;
		case ACL_USER:
		case ACL_GROUP:
			base->named = true;
			break;
		default:
			return -EIO;
		}
	}
	if (mask >= 0)
		base->group = mask;
	return base->user < 0 || base->group < 0 || base->other < 0 ? -EIO : 0;
}

int acl_chmod(void *acl, size_t size, mode_t mode)
{
	struct acl_base base;
	int err = acl_find_base(acl, size, &base);

	if (err)
		return err;
	entry_set_perm(acl, base.user, (mode & S_IRWXU) >> 6);
	entry_set_perm(acl, base.group, (mode & S_IRWXG) >> 3);
	entry_set_perm(acl, base.other, mode & S_IRWXO);
	return 0;
}

/* One class of the new object: allowed is what both the default ACL and the creator's mode allow. */
static mode_t entry_masq(void *acl, int n, mode_t asked)
{
	mode_t perm = le16_to_cpu(entry_get(acl, n).perm) & asked & S_IRWXO;

	entry_set_perm(acl, n, perm);
	return perm;
}

int acl_create_masq(void *acl, size_t size, mode_t *mode)
{
	struct acl_base base;
	int err = acl_find_base(acl, size, &base);
	mode_t bits;

	if (err)
		return err;
	bits = entry_masq(acl, base.user, *mode >> 6) << 6;
	bits |= entry_masq(acl, base.group, *mode >> 3) << 3;
	bits |= entry_masq(acl, base.other, *mode);
	*mode = (*mode & ~MODE_PERMISSIONS) | bits;
	return base.named;
}
