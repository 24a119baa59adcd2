/*
 * ACLs as text (acl_text.h).
 *
 * An entry of a text is "TAG:NAME:PERMISSIONS"; tags are u, g, m and o. A name is one of the users of table.h
 * or, to make a wrong ACL, anything else, which becomes the undefined id; "?" among the permissions is a bit
 * that there is not. No library for ACLs is used: it would refuse to make what is to be refused by the
 * filesystem.
 */
#include "acl_text.h"

#include "table.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static unsigned int tag_of(char c, bool named)
{
	switch (c) {
	case 'u':
		return named ? ACL_USER : ACL_USER_OBJ;
	case 'g':
		return named ? ACL_GROUP : ACL_GROUP_OBJ;
	case 'm':
		return ACL_MASK;
	default:
		return ACL_OTHER;
	}
}

static uint32_t id_of(char tag, const char *name, size_t len)
{
	for (enum who who = ROOT; who < WHO_COUNT; who++)
		if (strlen(who_name(who)) == len && memcmp(who_name(who), name, len) == 0)
			return tag == 'u' ? who_uid(who) : who_gid(who);
	return (uint32_t)ACL_UNDEFINED_ID;
}

/* One entry; the text after it. */
static const char *entry_bytes(const char *text, struct posix_acl_xattr_entry *e)
{
	char tag = *text;
	const char *name = text + 2, *perm = strchr(name, ':') + 1;
	size_t name_len = (size_t)(perm - 1 - name);
	unsigned int bits = 0;

	for (; *perm && *perm != ','; perm++)
		bits |= *perm == 'r' ? ACL_READ : *perm == 'w' ? ACL_WRITE : *perm == 'x' ? ACL_EXECUTE :
			*perm == '?' ? 8 : 0;
	e->e_tag = htole16((uint16_t)tag_of(tag, name_len > 0));
	e->e_perm = htole16((uint16_t)bits);
	e->e_id = htole32(name_len > 0 ? id_of(tag, name, name_len) : (uint32_t)ACL_UNDEFINED_ID);
	return *perm ? perm + 1 : perm;
}

size_t acl_bytes(const char *text, void *acl)
{
	struct posix_acl_xattr_header header = { .a_version = htole32(POSIX_ACL_XATTR_VERSION) };
	struct posix_acl_xattr_entry e;
	size_t len = sizeof(header);

	memcpy(acl, &header, sizeof(header));
	while (*text && len + sizeof(e) <= ACL_TEXT_BYTES) {
		text = entry_bytes(text, &e);
		memcpy((char *)acl + len, &e, sizeof(e));
		len += sizeof(e);
	}
	return len;
}

static const char *id_name(unsigned int tag, uint32_t id)
{
	for (enum who who = ROOT; who < WHO_COUNT; who++)
		if ((tag == ACL_USER && who_uid(who) == id) || (tag == ACL_GROUP && who_gid(who) == id))
			return who_name(who);
	return "";
}

static char tag_letter(unsigned int tag)
{
	switch (tag) {
	case ACL_USER_OBJ:
	case ACL_USER:
		return 'u';
	case ACL_GROUP_OBJ:
	case ACL_GROUP:
		return 'g';
	case ACL_MASK:
		return 'm';
	default:
		return 'o';
	}
}

static void note_entry(const struct posix_acl_xattr_entry *e)
{
	unsigned int tag = le16toh(e->e_tag), perm = le16toh(e->e_perm);

	note(" %c:%s:%c%c%c", tag_letter(tag), id_name(tag, le32toh(e->e_id)), perm & ACL_READ ? 'r' : '-',
	     perm & ACL_WRITE ? 'w' : '-', perm & ACL_EXECUTE ? 'x' : '-');
}

void note_acl(const char *path, const char *attribute)
{
	struct posix_acl_xattr_entry e;
	char acl[ACL_TEXT_BYTES];
	ssize_t len = lgetxattr(path, attribute, acl, sizeof(acl));

	if (len < 0) {
		note(" (%s)", errno_name(errno));
		return;
	}
	note(" {");
	for (size_t i = sizeof(struct posix_acl_xattr_header); i + sizeof(e) <= (size_t)len; i += sizeof(e)) {
		memcpy(&e, acl + i, sizeof(e));
		note_entry(&e);
	}
	note(" }");
}

void put_acl(const char *path, const char *attribute, const char *text)
{
	char acl[ACL_TEXT_BYTES];
	size_t len = acl_bytes(text, acl);

	must(setxattr(path, attribute, acl, len, 0), attribute);
}
