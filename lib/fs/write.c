/*
 * Writing: into blocks the file has, into blocks it gets, and copies within the pool.
 *
 * An overwrite is non-temporal stores and one fence; its times stay in core (attr.c). Where blocks are missing each run
 * is one transaction: the data and the zeros around it are durable before the record that makes them reachable
 * (meta/tx.h orders that), and the size grows in it. Stores into blocks the file has beyond its end are seen by nobody
 * until the size passes them: in the next run's transaction, or in one of their own at the end. So a write of several
 * runs is not atomic as a whole, but each of its runs is; what was written before the pool ran full stays, and the call
 * is short.
 */
#include "fs/fs_private.h"

#include <string.h>

#include "meta/balloc.h"

struct write {
	struct inode	*ip;
	const char	*src;
	uint64_t	 pos, end;	/* still to be written */
	bool		 stored;	/* stores in place wait for a fence */
	bool		 filled;	/* blocks came where holes were */
	enum kill_priv	 kill;		/* still to be done, in the next transaction */
};

/* The part of a mapping that the write covers: store it. */
static uint64_t store_part(struct write *w, const struct iomap *map)
{
	uint64_t end = map->offset + map->length, len;

	len = (end < w->end ? end : w->end) - w->pos;
	persist_store_nt(w->ip->pool->region, pool_at(w->ip->pool, map->addr + (w->pos - map->offset)), w->src, len);
	return len;
}

/* New blocks: zeros before and behind the data, so that every byte of them is ours. */
static void zero_around(struct write *w, const struct iomap *map, uint64_t len)
{
	struct region *r = w->ip->pool->region;
	uint64_t head = w->pos - map->offset, tail = map->length - head - len;

	if (head)
		persist_zero_nt(r, pool_at(w->ip->pool, map->addr), head);
	if (tail)
		persist_zero_nt(r, pool_at(w->ip->pool, map->addr + head + len), tail);
}

static void advance(struct write *w, uint64_t len)
{
	w->src += len;
	w->pos += len;
}

/* What every transaction of a write does: privileges, size up to `end`, times; data stored so far is ordered before. */
static int commit_write(struct write *w, struct tx *tx, uint64_t end)
{
	struct inode *ip = w->ip;
	int rc = inode_kill_priv(tx, ip, w->kill);

	if (rc)
		return rc;
	if (end > ip->core.size)
		ip->core.size = end;
	inode_touch(ip);
	tx_order_data(tx);
	rc = tx_commit(tx);
	if (rc)
		return rc;
	w->kill = KILL_NOTHING;
	w->stored = false;
	return 0;
}

/* Blocks for the next run, its data, the size: one transaction. */
static int write_new(struct write *w)
{
	struct iomap map;
	uint64_t len = 0;
	struct tx tx;
	int rc = tx_begin(&tx, w->ip->pool, 0);

	if (rc)
		return rc;
	rc = inode_join(&tx, w->ip);
	if (!rc)
		rc = iomap_write(&tx, w->ip, w->pos, w->end - w->pos, &map);
	if (!rc) {
		len = store_part(w, &map);
		if (map.flags & IOMAP_F_NEW)
			zero_around(w, &map, len);
		rc = commit_write(w, &tx, w->pos + len);
	}
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	w->filled |= (map.flags & IOMAP_F_NEW) != 0;
	advance(w, len);
	return 0;
}

static int write_run(struct write *w)
{
	struct iomap map;
	int rc;

	rc = iomap_read(w->ip, w->pos, w->end - w->pos, &map);
	if (rc)
		return rc;
	if (map.type != IOMAP_MAPPED)
		return write_new(w);
	advance(w, store_part(w, &map));
	w->stored = true;
	return 0;
}

/* Stores in place are left: they need a transaction if the size grows over them, else a fence. */
static int write_finish(struct write *w)
{
	struct inode *ip = w->ip;
	struct tx tx;
	int rc;

	if (w->pos <= ip->core.size && !w->kill) {
		inode_touch(ip);
		ip->times_dirty = true;
		return persist_fence(ip->pool->region, PERSIST_DATA);
	}
	rc = tx_begin(&tx, ip->pool, 0);
	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = commit_write(w, &tx, w->pos);
	if (rc)
		tx_abort(&tx);
	return rc;
}

ssize_t write_locked(struct inode *ip, const void *buf, uint64_t off, size_t len, enum kill_priv kill, bool *filled)
{
	struct write w = { .ip = ip, .src = buf, .pos = off, .end = off + len, .kill = kill };
	int rc = 0, finish;

	if (off > ip->core.size)
		rc = eof_zero_tail(ip, ip->core.size, off, &w.stored);
	while (w.pos < w.end && !rc)
		rc = write_run(&w);
	*filled |= w.filled;
	if (w.stored && w.pos > off) {
		finish = write_finish(&w);
		if (finish)
			return finish;
	}
	return w.pos > off ? (ssize_t)(w.pos - off) : rc;
}

/* Offsets end at INT64_MAX: the part of the request below that, -EFBIG if there is none. */
static ssize_t clamp_range(uint64_t off, size_t len)
{
	if (off >= (uint64_t)INT64_MAX)
		return -EFBIG;
	return (ssize_t)(len > (uint64_t)INT64_MAX - off ? (uint64_t)INT64_MAX - off : len);
}

/* What a write to [off, off + len) changes begins where it does, or at the old end of the file. Lock held. */
static uint64_t changed_from(const struct inode *ip, uint64_t off)
{
	return off < ip->core.size ? off : ip->core.size;
}

/* fs_write() of a regular file at an offset that is decided; the lock is held. FS_WOULD_WAIT. */
static ssize_t write_at(struct inode *ip, const struct fs_cred *cred, const void *buf, uint64_t off, size_t len,
			unsigned int flags, bool *filled)
{
	ssize_t rc = inode_changeable(ip, true);	/* append-only is asked about when a file is opened */
	uint64_t from = changed_from(ip, off);

	if (!rc)
		rc = clamp_range(off, len);
	if (rc > 0 && cred->nowait && layout_filled_waits(ip, from, off - from + (uint64_t)rc))
		rc = FS_WOULD_WAIT;
	if (rc > 0)
		rc = write_locked(ip, buf, off, (size_t)rc,
				  flags & FS_WRITE_BACK ? KILL_NOTHING : inode_kill_what(ip, cred->cap_fsetid), filled);
	return rc;
}

/* 0: go on. */
static int may_write(const struct fs_file *f)
{
	if (f->fs->pool.readonly)
		return -EROFS;
	return f->regular ? 0 : -EINVAL;
}

ssize_t fs_write(struct fs_file *f, const struct fs_cred *cred, const void *buf, uint64_t off, size_t len,
		 unsigned int flags)
{
	struct inode *ip = f->ip;
	bool filled = false;
	ssize_t rc = may_write(f);
	uint64_t from;

	if (rc || len == 0)
		return rc;
	inode_lock(ip);
	from = changed_from(ip, off);
	rc = write_at(ip, cred, buf, off, len, flags, &filled);
	inode_unlock(ip);
	if (filled && !cred->nowait)
		layout_filled(ip, from, off - from + len);
	return rc;
}

/* ---- Appends ------------------------------------------------------------------------------------------- */

/* Does it lie in what pieces before it have left out? */
static bool piece_missing(const struct inode *ip, uint64_t off, size_t len)
{
	return len <= ip->append_missing && off >= ip->append_from && off < ip->core.size && len <= ip->core.size - off;
}

/* `n` bytes went to `off`, when the end was `end`. */
static void piece_done(struct inode *ip, uint64_t off, uint64_t end, size_t n)
{
	if (off < end) {
		ip->append_missing -= n;
	} else if (off > end) {
		if (!ip->append_missing)
			ip->append_from = end;
		ip->append_missing += off - end;
	}
}

ssize_t fs_append(struct fs_file *f, const struct fs_cred *cred, const void *buf, uint64_t *off, size_t len)
{
	struct inode *ip = f->ip;
	bool filled = false;
	ssize_t rc = may_write(f);
	uint64_t end, at;

	if (rc || len == 0)
		return rc;
	inode_lock(ip);
	end = ip->core.size;
	at = *off > end || piece_missing(ip, *off, len) ? *off : end;
	rc = write_at(ip, cred, buf, at, len, 0, &filled);
	if (rc > 0) {
		piece_done(ip, at, end, (size_t)rc);
		*off = at;
	}
	inode_unlock(ip);
	if (filled && !cred->nowait)
		layout_filled(ip, at < end ? at : end, at < end ? len : at - end + len);
	return rc;
}

/* ---- copy_file_range ----------------------------------------------------------------------------------- */

/* One run of the source, read where it lies: the destination is written from the pool itself. */
static ssize_t copy_run(struct fs *fs, struct inode *in, uint64_t off_in, struct inode *out, uint64_t off_out,
			size_t len, enum kill_priv kill, bool *filled)
{
	struct iomap map;
	uint64_t run;
	int rc = iomap_read(in, off_in, len, &map);

	if (rc)
		return rc;
	run = map.offset + map.length - off_in;
	if (run > len)
		run = len;
	if (map.type == IOMAP_MAPPED)
		return write_locked(out, pool_at(in->pool, map.addr + (off_in - map.offset)), off_out, run, kill,
				    filled);
	if (run > FS_ZEROS_SIZE)
		run = FS_ZEROS_SIZE;
	return write_locked(out, fs->zeros, off_out, run, kill, filled);
}

static ssize_t copy_locked(struct fs *fs, struct inode *in, uint64_t off_in, struct inode *out, uint64_t off_out,
			   size_t len, enum kill_priv kill, bool *filled)
{
	ssize_t done = 0, n = 0;

	if (off_in >= in->core.size)
		return 0;
	if (len > in->core.size - off_in)
		len = in->core.size - off_in;
	while ((size_t)done < len) {
		n = copy_run(fs, in, off_in + (uint64_t)done, out, off_out + (uint64_t)done, len - (size_t)done,
			     kill, filled);
		if (n <= 0)
			break;
		done += n;
		kill = KILL_NOTHING;
	}
	return done ? done : n;
}

/* Two inodes, one read and one written: by number. */
static void lock_pair(struct inode *in, struct inode *out)
{
	if (in == out) {
		inode_lock(out);
	} else if (in->ino < out->ino) {
		inode_lock_shared(in);
		inode_lock(out);
	} else {
		inode_lock(out);
		inode_lock_shared(in);
	}
}

ssize_t fs_copy_range(struct fs_file *fin, uint64_t off_in, struct fs_file *fout, uint64_t off_out, size_t len,
		      const struct fs_cred *cred)
{
	struct inode *in = fin->ip, *out = fout->ip;
	bool filled = false;
	uint64_t from;
	ssize_t rc;

	if (fout->fs->pool.readonly)
		return -EROFS;
	if (!fin->regular || !fout->regular)
		return INODE_IS_DIR(in) || INODE_IS_DIR(out) ? -EISDIR : -EINVAL;
	if (off_in > (uint64_t)INT64_MAX)
		return -EOVERFLOW;
	if (len == 0)
		return 0;
	if (in == out && off_in < off_out + len && off_out < off_in + len)
		return -EINVAL;
	lock_pair(in, out);
	rc = inode_changeable(out, true);
	from = changed_from(out, off_out);
	if (!rc)
		rc = clamp_range(off_out, len);
	if (rc > 0 && cred->nowait && layout_filled_waits(out, from, off_out - from + (uint64_t)rc))
		rc = FS_WOULD_WAIT;
	if (rc > 0)
		rc = copy_locked(fin->fs, in, off_in, out, off_out, (size_t)rc,
				 inode_kill_what(out, cred->cap_fsetid), &filled);
	if (in != out)
		inode_unlock(in);
	inode_unlock(out);
	if (filled && !cred->nowait)
		layout_filled(out, from, off_out - from + len);
	return rc;
}
