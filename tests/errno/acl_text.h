/*
 * POSIX ACLs between text and the bytes of the attribute: "u::rwx,u:member:r--,g::r-x,m::r-x,o::---". Written
 * for tests: what is wrong with a text (order, missing entries) is kept, so that wrong ACLs can be made.
 */
#ifndef ERRNO_ACL_TEXT_H
#define ERRNO_ACL_TEXT_H

#include <stddef.h>

#define ACL_ACCESS	"system.posix_acl_access"
#define ACL_DEFAULT	"system.posix_acl_default"
#define ACL_TEXT_BYTES	512

/* acl_bytes - length of the attribute; named ids are users of table.h. "" is a header without entries. */
size_t acl_bytes(const char *text, void *acl);

/*
 * note_acl - note an ACL of a path, without following symlinks: its text, or the error's name in parentheses.
 */
void note_acl(const char *path, const char *attribute);

/* put_acl - for fixtures. */
void put_acl(const char *path, const char *attribute, const char *text);

#endif
