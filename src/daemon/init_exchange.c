/*
 * The exchange beneath libfuse.
 *
 * libfuse mounts and reads the FUSE device; we put our own read and writev under it (custom I/O on the same
 * descriptor). What passes is libfuse's own traffic, with three changes and one note taken:
 *
 * - INIT, request: the flags the kernel offers are remembered.
 * - INIT, reply: FUSE_DIRECT_IO_ALLOW_MMAP (shared mappings of files opened for direct I/O) and
 *   FUSE_HANDLE_KILLPRIV_V2 are set if the kernel offered them. With the latter we clear setuid, setgid and
 *   security.capability where a request says so, and the kernel asks for security.capability no more at each
 *   write. The older FUSE_HANDLE_KILLPRIV would make us clear them always; it is taken out. A libfuse that
 *   knows these flags is not asked for them (ops.c), so it never holds another opinion.
 * - OPEN, CREATE and TMPFILE, replies: files opened for direct I/O get FOPEN_PARALLEL_DIRECT_WRITES, which
 *   the kernel (6.2 and later) only reads together with FOPEN_DIRECT_IO and which older libfuse cannot say.
 * - Each request's header and the start of its body are kept for the thread that handles it: libfuse drops
 *   the flags that init_exchange_*_kills_priv() are about. libfuse handles a request on the thread that read
 *   it, operations ask before they return, so there is one a thread; opening is answered before that, too.
 *
 * Splice is off: libfuse offers it with custom I/O only where there are splice hooks, and it is not asked
 * for. Reads need none, the pool's memory goes to the device by writev.
 *
 * Newer libfuse does all this itself, and may be built without custom I/O: see fuse_compat.h. Then nothing is
 * attached, and what is asked here is answered from what libfuse passed on.
 */
#include "daemon/init_exchange.h"

#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#define INIT_KILLPRIV_V1	(1ULL << 19)
#define INIT_KILLPRIV_V2	(1ULL << 28)
#define INIT_EXT		(1ULL << 30)
#define INIT_ALLOW_MMAP		(1ULL << 36)	/* newer than some <linux/fuse.h> */
#define OPEN_PARALLEL_WRITES	(1U << 6)
#define INIT_IN_FLAGS_END	(offsetof(struct fuse_init_in, flags) + sizeof(uint32_t))
#define INIT_IN_FLAGS2_END	(offsetof(struct fuse_init_in, flags2) + sizeof(uint32_t))
#define INIT_OUT_FLAGS_END	(offsetof(struct fuse_init_out, flags) + sizeof(uint32_t))
#define INIT_OUT_FLAGS2_END	(offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t))

/* The request this thread is handling, as far as it fits; `len` bytes of it hold. */
struct request {
	size_t			len;
	struct fuse_in_header	header;
	union {
		struct fuse_init_in	init;
		struct fuse_write_in	write;
		struct fuse_setattr_in	setattr;
	};
};

static _Thread_local struct request request;

/* Does the body of the request have `size` bytes? Older kernels send shorter ones. */
static bool request_has(size_t size)
{
	return request.len >= sizeof(request.header) + size;
}

static void note_offer(struct init_exchange *init)
{
	if (!request_has(INIT_IN_FLAGS_END) || request.init.major != FUSE_KERNEL_VERSION)
		return;
	init->unique = request.header.unique;
	init->offered = request.init.flags;
	if ((init->offered & INIT_EXT) && request_has(INIT_IN_FLAGS2_END))
		init->offered |= (uint64_t)request.init.flags2 << 32;
}

/* Errors (EINTR, EAGAIN, ENOENT, ENODEV) are for libfuse's loop, which knows what each means. */
static ssize_t exchange_read(int fd, void *buf, size_t len, void *userdata)
{
	struct daemon *d = userdata;
	ssize_t n = read(fd, buf, len);
	size_t keep = sizeof(request) - offsetof(struct request, header);

	if (n < (ssize_t)sizeof(request.header)) {
		request.len = 0;
		return n;
	}
	request.len = (size_t)n < keep ? (size_t)n : keep;
	memcpy(&request.header, buf, request.len);
	if (request.header.opcode == FUSE_INIT)
		note_offer(&d->init);
	return n;
}

static void edit_init_reply(const struct init_exchange *init, struct fuse_init_out *out, size_t len)
{
	if (len < INIT_OUT_FLAGS_END || out->major != FUSE_KERNEL_VERSION)
		return;
	out->flags &= ~(uint32_t)INIT_KILLPRIV_V1;
	out->flags |= (uint32_t)(init->offered & INIT_KILLPRIV_V2);
	if (len < INIT_OUT_FLAGS2_END || !(init->offered & INIT_EXT))
		return;
	out->flags |= (uint32_t)INIT_EXT;
	out->flags2 |= (uint32_t)((init->offered & INIT_ALLOW_MMAP) >> 32);
}

static void edit_open_reply(struct iovec *body)
{
	struct fuse_open_out *out;

	if (body->iov_len < sizeof(*out))
		return;
	out = (void *)((char *)body->iov_base + body->iov_len - sizeof(*out));
	if (out->open_flags & FOPEN_DIRECT_IO)
		out->open_flags |= OPEN_PARALLEL_WRITES;
}

/* Is this the answer to the request of this thread, and that request one that opens a regular file? */
static bool answers_open(const struct fuse_out_header *out)
{
	if (request.len == 0 || out->unique != request.header.unique)
		return false;
	return request.header.opcode == FUSE_OPEN || request.header.opcode == FUSE_CREATE ||
	       request.header.opcode == FUSE_TMPFILE;
}

/* The bodies that are edited are local structs of libfuse, written for this one call. */
static ssize_t exchange_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct daemon *d = userdata;
	const struct fuse_out_header *out = iov[0].iov_base;

	if (count == 2 && out->error == 0 && out->unique != 0) {
		if (out->unique == d->init.unique) {
			edit_init_reply(&d->init, iov[1].iov_base, iov[1].iov_len);
			d->init.unique = 0;
		} else if (answers_open(out)) {
			edit_open_reply(&iov[1]);
		}
	}
	return writev(fd, iov, count);
}

bool init_exchange_write_kills_priv(const struct fuse_file_info *fi)
{
	if (!COMPAT_NEEDS_EXCHANGE)
		return compat_write_kills_priv(fi);
	return request.header.opcode == FUSE_WRITE && request_has(sizeof(request.write)) &&
	       (request.write.write_flags & FUSE_WRITE_KILL_SUIDGID);
}

bool init_exchange_setattr_kills_priv(int to_set)
{
	if (!COMPAT_NEEDS_EXCHANGE)
		return compat_setattr_kills_priv(to_set);
	return request.header.opcode == FUSE_SETATTR && request_has(sizeof(request.setattr)) &&
	       (request.setattr.valid & FATTR_KILL_SUIDGID);
}

int init_exchange_attach(struct fuse_session *se)
{
	static const struct fuse_custom_io io = { .read = exchange_read, .writev = exchange_writev };

	if (!COMPAT_NEEDS_EXCHANGE)
		return 0;
	return fuse_session_custom_io(se, &io, fuse_session_fd(se));
}
