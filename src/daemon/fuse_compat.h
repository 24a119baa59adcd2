/*
 * The one place that knows which libfuse this is: 3.14 is the least, newer ones have more members (found by
 * configure). Everything of the daemon includes libfuse through here.
 */
#ifndef DAEMON_FUSE_COMPAT_H
#define DAEMON_FUSE_COMPAT_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

/*
 * Since 3.17 the capabilities are 64 bits wide, in want_ext; an old-style `want` that was changed as well is
 * an error there, so exactly one of the two is set.
 */
#ifdef HAVE_STRUCT_FUSE_CONN_INFO_WANT_EXT
static inline void compat_want(struct fuse_conn_info *conn, uint64_t caps)
{
	conn->want_ext = caps & conn->capable_ext;
}
#else
static inline void compat_want(struct fuse_conn_info *conn, uint64_t caps)
{
	conn->want = (unsigned int)caps & conn->capable;
}
#endif

/*
 * Where libfuse passes on kill_suidgid it knows all that init_exchange.c is for, and may be built without the
 * custom I/O that needs: then it is asked for the capabilities and says the flags itself. Before that, the
 * functions here have nothing to say.
 */
#ifdef HAVE_STRUCT_FUSE_FILE_INFO_KILL_SUIDGID
#define COMPAT_NEEDS_EXCHANGE	false
#define COMPAT_CAPS		(FUSE_CAP_DIRECT_IO_ALLOW_MMAP | FUSE_CAP_HANDLE_KILLPRIV_V2)

static inline bool compat_write_kills_priv(const struct fuse_file_info *fi)
{
	return fi->kill_suidgid;
}

/* The bit is the protocol's FATTR_KILL_SUIDGID: both, whatever its name says. */
static inline bool compat_setattr_kills_priv(int to_set)
{
	return to_set & FUSE_SET_ATTR_KILL_SUID;
}

static inline void compat_parallel_writes(struct fuse_file_info *fi)
{
	fi->parallel_direct_writes = fi->direct_io;
}
#else
#define COMPAT_NEEDS_EXCHANGE	true
#define COMPAT_CAPS		0

static inline bool compat_write_kills_priv(const struct fuse_file_info *fi)
{
	(void)fi;
	return false;
}

static inline bool compat_setattr_kills_priv(int to_set)
{
	(void)to_set;
	return false;
}

static inline void compat_parallel_writes(struct fuse_file_info *fi)
{
	(void)fi;
}
#endif

#ifdef HAVE_STRUCT_FUSE_LOWLEVEL_OPS_TMPFILE
#define COMPAT_OP_TMPFILE(fn)	.tmpfile = (fn),
#else
#define COMPAT_OP_TMPFILE(fn)
#endif

#ifdef HAVE_STRUCT_FUSE_LOWLEVEL_OPS_STATX
#define COMPAT_OP_STATX(fn)	.statx = (fn),

static inline int compat_reply_statx(fuse_req_t req, struct statx *stx, double timeout)
{
	return fuse_reply_statx(req, 0, stx, timeout);
}
#else
#define COMPAT_OP_STATX(fn)

/*
 * Never called: without the operation libfuse answers ENOSYS itself, and the kernel asks with GETATTR from
 * then on.
 */
static inline int compat_reply_statx(fuse_req_t req, struct statx *stx, double timeout)
{
	(void)stx, (void)timeout;
	return fuse_reply_err(req, ENOSYS);
}
#endif

#endif
