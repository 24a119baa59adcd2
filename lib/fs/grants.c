/*
 * Grants of direct mappings: their beginning, who may use them, and their end.
 *
 * A grant belongs to the handle it was opened on, and ends when the kernel releases that: no process has the handle
 * open or maps through it any more. If somebody has the grant's byte of the pool locked even then, he may map the
 * pool still (a client that lost its guard page, or a mount that was cut off): the list of references survives until
 * the byte is free. So do lists of an earlier daemon whose bytes are locked. As long as a byte is locked that has no
 * list, nothing of the pool is changed.
 */
#include "fs/grants_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta/balloc.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

/* ---- Finding ------------------------------------------------------------------------------------------------ */

static bool same_token(const uint8_t a[16], const uint8_t b[16])
{
	uint8_t differ = 0;

	for (unsigned int i = 0; i < 16; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

int grant_get(struct fs *fs, const struct direct_name *name, struct fs_grant **out)
{
	struct fs_grants *gs = fs->direct;
	struct list *pos;
	int rc = -EACCES;

	if (!gs)
		return -ENOTTY;
	pthread_mutex_lock(&gs->lock);
	list_for_each(pos, &gs->list) {
		struct fs_grant *g = list_entry(pos, struct fs_grant, link);

		if (g->name.number != name->number || !same_token(g->name.token, name->token))
			continue;
		g->refs++;
		*out = g;
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&gs->lock);
	return rc;
}

int grant_lock(struct fs *fs, const struct direct_name *name, bool nowait, struct fs_grant **out)
{
	int rc = grant_get(fs, name, out);

	if (rc)
		return rc;
	if (!nowait) {
		pthread_mutex_lock(&(*out)->fault_lock);
	} else if (pthread_mutex_trylock(&(*out)->fault_lock)) {
		grant_put(*out);
		return FS_WOULD_WAIT;
	}
	return 0;
}

int grant_finish(struct fs_grant *g, int rc)
{
	pthread_mutex_unlock(&g->fault_lock);
	grant_put(g);
	return rc;
}

/* ---- The end ------------------------------------------------------------------------------------------------ */

/* The references go, or stay for as long as somebody has the byte. */
static void list_end(struct fs *fs, struct grant *list, uint64_t number)
{
	struct survivor *s;

	if (!byte_locked(fs, number)) {
		dax_drop_grant(fs->dax.pgmap, list);
		return;
	}
	s = malloc(sizeof(*s));
	if (!s) {
		log_warn("no memory to watch grant %llu: its blocks stay in use until the pool is mounted again",
			 (unsigned long long)number);
		return;
	}
	*s = (struct survivor){ .list = list, .number = number };
	pthread_mutex_lock(&fs->direct->lock);
	list_add_tail(&s->link, &fs->direct->left);
	pthread_cond_signal(&fs->direct->work);
	pthread_mutex_unlock(&fs->direct->lock);
}

static void grant_free(struct fs_grant *g)
{
	page_remove(g);
	inode_put(g->ip);
	pthread_mutex_destroy(&g->fault_lock);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/*
 * What a survivor maps has to stay recorded: its areas are told of nothing more, but their references are not dropped
 * by detaching them.
 */
static void grant_end(struct fs_grant *g)
{
	bool survives = g->list && byte_locked(g->fs, g->name.number);

	while (!list_empty(&g->areas)) {
		struct fs_area *area = list_entry(g->areas.next, struct fs_area, link);

		area_end(area, survives);
	}
	pins_end(g, survives);
	if (g->list)
		list_end(g->fs, g->list, g->name.number);
	grant_free(g);
}

void grant_put(struct fs_grant *g)
{
	struct fs_grants *gs = g->fs->direct;
	bool last;

	pthread_mutex_lock(&gs->lock);
	last = --g->refs == 0;
	if (last) {
		list_del(&g->link);
		if (g->is_due)
			list_del(&g->due);
		g->is_due = false;
	}
	pthread_mutex_unlock(&gs->lock);
	if (last)
		grant_end(g);
}

/* ---- The beginning ------------------------------------------------------------------------------------------ */

/* The pool as its users find it: by path, and by what tells that the path leads there. */
static int pool_identity(const struct fs *fs, struct direct_open *open)
{
	struct stat st;

	if (!fs->direct->pool[0] || fs->pool.region->fd < 0 || fstat(fs->pool.region->fd, &st))
		return -EOPNOTSUPP;
	open->pool_dev = S_ISCHR(st.st_mode) ? st.st_rdev : st.st_dev;
	open->pool_ino = S_ISCHR(st.st_mode) ? 0 : st.st_ino;
	open->pool_bytes = fs->pool.region->size;
	memcpy(open->pool, fs->direct->pool, sizeof(open->pool));
	return 0;
}

static void random_bytes(void *p, size_t len)
{
	/* Up to 256 bytes come whole. */
	while (getrandom(p, len, 0) != (ssize_t)len)
		;
}

/* A number that is nobody's, neither here nor on the pool. gs->lock held. */
static uint64_t new_number(struct fs_grants *gs)
{
	do
		gs->number = gs->number % (DIRECT_NUMBER_MAX - 1) + 1;
	while (grant_find(gs->fs->grants, gs->number) || byte_locked(gs->fs, gs->number));
	return gs->number;
}

static struct fs_grant *grant_alloc(struct fs_file *f, const struct fs_cred *cred, int32_t pid)
{
	struct fs_grant *g = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->fs = f->fs;
	g->refs = 1;
	g->ip = f->ip;
	inode_hold(g->ip);
	g->writable = (f->flags & O_ACCMODE) == O_RDWR;
	g->pid = pid;
	g->uid = cred->uid;
	g->page_fd = -1;
	pthread_mutex_init(&g->fault_lock, NULL);
	pthread_mutex_init(&g->lock, NULL);
	list_init(&g->areas);
	list_init(&g->pins);
	list_init(&g->revokes);
	random_bytes(g->name.token, sizeof(g->name.token));
	return g;
}

/* May the file's blocks be mapped at all? */
static int may_grant(const struct fs_file *f)
{
	if (!f->fs->direct)
		return -ENOTTY;
	if (!f->dax || f->fs->pool.readonly || (f->flags & O_ACCMODE) == O_WRONLY)
		return -EOPNOTSUPP;
	return 0;
}

static int open_grant(struct fs_file *f, const struct fs_cred *cred, int32_t pid, struct fs_grant **out)
{
	struct fs_grants *gs = f->fs->direct;
	struct fs_grant *g = grant_alloc(f, cred, pid), *none = NULL;
	int rc;

	if (!g)
		return -ENOMEM;
	pthread_mutex_lock(&gs->lock);
	g->name.number = new_number(gs);
	pthread_mutex_unlock(&gs->lock);
	rc = fs_file_mapping(f, &g->mapping);
	if (!rc)
		rc = page_make(g, cred);
	if (!rc && !atomic_compare_exchange_strong(&f->grant, &none, g))
		rc = -EBUSY;
	if (rc) {
		grant_free(g);
		return rc;
	}
	pthread_mutex_lock(&gs->lock);
	list_add_tail(&g->link, &gs->list);
	pthread_mutex_unlock(&gs->lock);
	*out = g;
	return 0;
}

int fs_grant_open(struct fs_file *f, const struct fs_cred *cred, int32_t pid, struct direct_open *open)
{
	uint32_t version = open->version, flags = open->flags;
	struct fs_grant *g = NULL;
	int rc = may_grant(f);

	memset(open, 0, sizeof(*open));
	open->version = DIRECT_VERSION;
	if (!rc && version != DIRECT_VERSION)
		rc = -EPROTO;
	if (!rc && flags)
		rc = -EINVAL;
	if (!rc)
		rc = pool_identity(f->fs, open);
	if (!rc)
		rc = open_grant(f, cred, pid, &g);
	if (rc)
		return rc;
	open->name = g->name;
	open->unit_shift = pgmap_config(f->fs->dax.pgmap)->unit_shift;
	open->sync = f->fs->dax.sync;
	memcpy(open->page, g->page_path, sizeof(open->page));
	return 0;
}

static int start_list(struct fs_grant *g)
{
	struct grant_owner owner = {
		.id = g->name.number, .ino = g->ip->ino, .generation = g->ip->core.generation,
		.pid = g->pid, .uid = g->uid,
	};

	memcpy(owner.token, g->name.token, sizeof(owner.token));
	return grant_new(g->fs->grants, &owner, &g->list);
}

int fs_grant_start(struct fs *fs, const struct direct_start *start, bool nowait)
{
	struct fs_grant *g;
	int rc = grant_lock(fs, &start->name, nowait, &g);

	if (rc)
		return rc;
	if (g->list)
		rc = -EINVAL;
	else if (!byte_locked(fs, g->name.number))
		rc = -EACCES;
	else
		rc = start_list(g);
	return grant_finish(g, rc);
}

void fs_grants_serve(struct fs *fs, const struct fs_grants_hooks *hooks)
{
	fs->direct->hooks = *hooks;
}

void grants_release(struct fs_file *f)
{
	struct fs_grant *g = atomic_load(&f->grant);

	if (g)
		grant_put(g);
}

/* ---- A mount's beginning and end ---------------------------------------------------------------------------- */

/*
 * A list of a client that has outlived the daemon which knew it. Blocks that are nobody's any more - of a file that
 * had no name, or was cut - are free by the media: they are taken back before anybody else gets them, and wait in
 * limbo.
 */
static void hold_blocks(void *arg, const struct grant_ref *ref)
{
	struct fs *fs = arg;
	unsigned int order = pgmap_config(fs->dax.pgmap)->unit_shift - BLOCK_SHIFT;
	uint64_t units = ref->count << pgmap_order(fs->dax.pgmap, ref->size), first, count;
	uint64_t block = ref->unit << order, end = (ref->unit + units) << order;

	quarantine_mark(fs->quarantine, block, end - block);
	while ((count = balloc_take(fs->pool.balloc, block, end, &first)) != 0) {
		pgmap_free_blocks(fs->dax.pgmap, first, count);
		block = first + count;
	}
}

/* Lists of an earlier daemon: those of clients that are gone are given up, with what they still count. */
static uint64_t adopt(struct fs *fs)
{
	struct grant *g, *before = NULL;
	uint64_t kept = 0;

	while ((g = grant_set_next(fs->grants, before)) != NULL) {
		if (!byte_locked(fs, grant_owner(g)->id)) {
			dax_drop_grant(fs->dax.pgmap, g);
			continue;
		}
		log_info("process %d maps files of the pool since an earlier mount: what it maps stays in use",
			 grant_owner(g)->pid);
		grant_walk(g, hold_blocks, fs);
		list_end(fs, g, grant_owner(g)->id);
		before = g;
		kept++;
	}
	return kept;
}

/* A byte that is locked and has no list: nobody knows what its holder maps. Its number, or -ENOENT. */
static int64_t unknown_client(struct fs *fs)
{
	int64_t number = region_client(fs->pool.region, 0);

	while (number >= 0 && grant_find(fs->grants, (uint64_t)number))
		number = region_client(fs->pool.region, (uint64_t)number + 1);
	return number;
}

/* What is not changed cannot be changed under anybody. */
static void close_for_unknown(struct fs_grants *gs)
{
	int64_t number = unknown_client(gs->fs);

	if (number < 0)
		return;
	gs->unknown = true;
	gs->fs->pool.readonly = true;
	log_warn("%s: a process maps files of it (lock byte 2^62+%lld), and the record of which blocks is lost: "
		 "read-only until it ends", gs->pool, (long long)number + 2);
}

void look_at_unknown(struct fs_grants *gs)
{
	if (!gs->unknown || unknown_client(gs->fs) >= 0)
		return;
	gs->unknown = false;
	gs->fs->pool.readonly = false;
	log_info("%s: nobody maps unknown blocks of it any more: it can be changed again", gs->pool);
}

int grants_start(struct fs *fs, const char *path, uint64_t *kept, struct err *err)
{
	struct fs_grants *gs = calloc(1, sizeof(*gs));
	int rc;

	*kept = 0;
	if (!gs)
		return err_set_errno(err, -ENOMEM, "%s: direct mappings", path);
	gs->fs = fs;
	pthread_mutex_init(&gs->lock, NULL);
	pthread_mutex_init(&gs->uncache_lock, NULL);
	cond_init(&gs->work);
	list_init(&gs->list);
	list_init(&gs->due);
	list_init(&gs->left);
	random_bytes(&gs->number, sizeof(gs->number));
	fs->direct = gs;
	if (path && !realpath(path, gs->pool))
		gs->pool[0] = '\0';
	if (fs->pool.readonly)
		return 0;
	pages_clean(fs);
	*kept = adopt(fs);
	close_for_unknown(gs);
	rc = revoke_start(gs);
	return rc ? err_set_errno(err, rc, "%s: thread for revocations", path) : 0;
}

void grants_stop(struct fs *fs)
{
	struct fs_grants *gs = fs->direct;

	if (!gs)
		return;
	revoke_stop(gs);
	/* Handles that the kernel did not release: the mount was cut off. */
	while (!list_empty(&gs->list))
		grant_put(list_entry(gs->list.next, struct fs_grant, link));
	while (!list_empty(&gs->left)) {
		struct survivor *s = list_entry(gs->left.next, struct survivor, link);

		list_del(&s->link);
		free(s);
	}
	pthread_cond_destroy(&gs->work);
	pthread_mutex_destroy(&gs->uncache_lock);
	pthread_mutex_destroy(&gs->lock);
	free(gs);
	fs->direct = NULL;
}
