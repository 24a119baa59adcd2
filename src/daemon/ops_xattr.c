/*
 * Extended attributes, ACLs among them.
 *
 * The kernel checks who may see and set which namespace; only listing trusted.* names is left to the
 * filesystem. Setting an access ACL clears setgid unless the caller has CAP_FSETID or is in the file's group,
 * as chmod does; the kernel would tell us only through an extension of the request that older libfuse cannot
 * read, so it is found out here.
 */
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ACL_ACCESS	"system.posix_acl_access"
#define GROUPS_MAX	65536		/* NGROUPS_MAX of Linux */

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	void *value;

	if (size == 0) {
		reply_xattr_size(req, fs_getxattr(ops_fs(req), ino, name, NULL, 0));
		return;
	}
	value = malloc(size);
	if (!value) {
		reply_status(req, -ENOMEM);
		return;
	}
	reply_data(req, value, fs_getxattr(ops_fs(req), ino, name, value, size));
	free(value);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs_cred cred = ops_cred(req);
	char *list;

	if (size == 0) {
		reply_xattr_size(req, fs_listxattr(ops_fs(req), &cred, ino, NULL, 0));
		return;
	}
	list = malloc(size);
	if (!list) {
		reply_status(req, -ENOMEM);
		return;
	}
	reply_data(req, list, fs_listxattr(ops_fs(req), &cred, ino, list, size));
	free(list);
}

/* Is the caller in the group, by its own gid or by one of its others (which libfuse reads from /proc)? */
static bool caller_in_group(fuse_req_t req, gid_t gid)
{
	bool found = fuse_req_ctx(req)->gid == gid;
	gid_t *list;
	int n;

	if (found)
		return true;
	n = fuse_req_getgroups(req, 0, NULL);
	if (n <= 0 || n > GROUPS_MAX)
		return false;
	list = malloc((size_t)n * sizeof(*list));
	if (!list)
		return false;
	if (fuse_req_getgroups(req, n, list) == n)
		for (int i = 0; i < n && !found; i++)
			found = list[i] == gid;
	free(list);
	return found;
}

/* May a new access ACL leave setgid alone? */
static bool acl_keeps_setgid(fuse_req_t req, fuse_ino_t ino)
{
	struct stat st;

	if (fuse_req_ctx(req)->uid == 0 || fs_getattr(ops_fs(req), ino, &st, NULL))
		return true;
	return !(st.st_mode & S_ISGID) || caller_in_group(req, st.st_gid);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fs_cred cred = ops_cred(req);

	cred.cap_fsetid = strcmp(name, ACL_ACCESS) != 0 || acl_keeps_setgid(req, ino);
	reply_status(req, fs_setxattr(ops_fs(req), &cred, ino, name, value, size, flags));
}

void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	reply_status(req, fs_removexattr(ops_fs(req), ino, name));
}
