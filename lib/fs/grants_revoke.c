/*
 * Revocation: the page of a grant, what is posted there, and the thread that reads the answers.
 *
 * A client may write anything into its page, and cut or remove the file: the daemon reads and writes it with pread(2)
 * and pwrite(2), which cannot fault, remembers itself what it has posted, and takes from the client one number: up to
 * which revocation it has answered. One that is no answer to anything that was posted is as none. The page is mapped
 * for futexes alone, which say EFAULT where a load would be SIGBUS.
 */
#include "fs/grants_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dax/entry.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

#define ANSWER_US	200	/* between looks, while an answer is due */
#define SURVIVOR_MS	100	/* between looks at the lock bytes of those that outlived their handles */
#define DEAD_LOOKS	64U	/* without an answer, before the lock byte is looked at */

/* ---- The page ---------------------------------------------------------------------------------------------- */

static void page_write(struct fs_grant *g, size_t offset, const void *bytes, size_t len)
{
	/* A client that cut its page sees nothing, is silent, and keeps its blocks from everybody. */
	ssize_t n = pwrite(g->page_fd, bytes, len, (off_t)offset);

	(void)n;
}

static uint32_t page_done(const struct fs_grant *g)
{
	uint32_t done;

	if (pread(g->page_fd, &done, sizeof(done), offsetof(struct direct_page, done)) != (ssize_t)sizeof(done))
		return g->done;
	return done;
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Whose page it is to be: the client's, who may be another user if we may give files away. */
static int page_own(int fd, const struct fs_cred *cred)
{
	if (cred->uid == geteuid())
		return 0;
	return fchown(fd, cred->uid, cred->gid) ? -EOPNOTSUPP : 0;
}

static int page_fill(struct fs_grant *g, const struct fs_cred *cred)
{
	const uint32_t head[2] = { DIRECT_PAGE_MAGIC, DIRECT_VERSION };
	int rc = -posix_fallocate(g->page_fd, 0, DIRECT_PAGE_BYTES);

	if (rc)
		return rc;
	page_write(g, 0, head, sizeof(head));
	g->page = mmap(NULL, DIRECT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->page_fd, 0);
	if (g->page == MAP_FAILED) {
		g->page = NULL;
		return -ENOMEM;
	}
	return page_own(g->page_fd, cred);
}

/* Pages lie beside the pool's other shared memory, UUID.grant-NUMBER; without that there are none. */
static void page_prefix(const struct fs *fs, char prefix[DAX_SHM_NAME])
{
	dax_shm_name(prefix, fs->pool.super.uuid, "grant-");
}

int page_make(struct fs_grant *g, const struct fs_cred *cred)
{
	const char *dir = dax_shm_dir(g->fs->shm);
	char prefix[DAX_SHM_NAME];
	int rc;

	if (!dir)
		return -EOPNOTSUPP;
	page_prefix(g->fs, prefix);
	if (snprintf(g->page_path, sizeof(g->page_path), "%s/%s%llx", dir, prefix,
		     (unsigned long long)g->name.number) >= (int)sizeof(g->page_path))
		return -EOPNOTSUPP;
	g->page_fd = open(g->page_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (g->page_fd < 0)
		return -errno;
	rc = page_fill(g, cred);
	if (rc)
		page_remove(g);
	return rc;
}

void page_remove(struct fs_grant *g)
{
	if (g->page_fd < 0)
		return;
	if (g->page)
		munmap(g->page, DIRECT_PAGE_BYTES);
	unlink(g->page_path);
	close(g->page_fd);
	g->page = NULL;
	g->page_fd = -1;
}

void pages_clean(const struct fs *fs)
{
	const char *dir = dax_shm_dir(fs->shm);
	DIR *d = dir ? opendir(dir) : NULL;
	char prefix[DAX_SHM_NAME];
	struct dirent *e;

	page_prefix(fs, prefix);
	while (d && (e = readdir(d)) != NULL)
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

/* ---- Posting ------------------------------------------------------------------------------------------------ */

/* The first one, or the last, of a grant: the thread looks, or need not any more. fs_grant.lock held. */
static void set_due(struct fs_grant *g, bool due)
{
	struct fs_grants *gs = g->fs->direct;

	pthread_mutex_lock(&gs->lock);
	if (due && !g->is_due && g->refs)
		list_add_tail(&g->due, &gs->due);
	else if (!due && g->is_due)
		list_del(&g->due);
	g->is_due = due && g->refs;
	pthread_cond_signal(&gs->work);
	pthread_mutex_unlock(&gs->lock);
}

/* The record, then the count: who sees the count sees the record. */
static void page_post(struct fs_grant *g, const struct direct_revoke *r)
{
	uint32_t posted = g->posted;

	if (posted - g->done <= DIRECT_REVOKES)
		page_write(g, offsetof(struct direct_page, revoke[posted % DIRECT_REVOKES]), r, sizeof(*r));
	else
		page_write(g, offsetof(struct direct_page, all), &posted, sizeof(posted));
	atomic_thread_fence(memory_order_release);	/* the kernel copies with plain stores */
	page_write(g, offsetof(struct direct_page, posted), &posted, sizeof(posted));
	futex_wake(&g->page->posted);
}

void revoke_post(struct fs_area *area, uint64_t index, uint64_t count, uint32_t flags)
{
	struct fs_grant *g = area->grant;
	unsigned int shift = unit_shift(g->mapping);
	struct direct_revoke r = {
		.offset = index << shift, .length = count << shift, .area = area->dax.area, .flags = flags,
	};
	struct fs_revoke *w = fault(FAULT_ALLOC) ? NULL : malloc(sizeof(*w));

	/*
	 * Without memory to wait for the answer it is posted and never answered: the client is silent from then on, and
	 * what it holds stays its own until its handle goes.
	 */
	g->posted++;
	page_post(g, &r);
	if (!w)
		return;
	*w = (struct fs_revoke){ .area = area, .index = index, .number = g->posted };
	if (!(flags & DIRECT_REVOKE_ZEROS))
		w->count = count;
	if (list_empty(&g->revokes))
		set_due(g, true);
	list_add_tail(&w->link, &g->revokes);
}

static void revoke_free(struct fs_grant *g, struct fs_revoke *w)
{
	list_del(&w->link);
	free(w);
	if (list_empty(&g->revokes))
		set_due(g, false);
}

void revoke_forget(struct fs_area *area)
{
	struct list *pos, *next;

	list_for_each_safe(pos, next, &area->grant->revokes) {
		struct fs_revoke *w = list_entry(pos, struct fs_revoke, link);

		if (w->area == area)
			revoke_free(area->grant, w);
	}
}

/* ---- Answers ------------------------------------------------------------------------------------------------ */

/* One was answered. lock held. */
static void answered(struct fs_grant *g, struct fs_revoke *w)
{
	struct fs_area *area = w->area;

	if (w->count && dax_unmap(&area->dax, w->index, w->count) < 0)
		log_warn("no memory to record that process %d has unmapped part of a file: its blocks stay in use "
			 "until it ends", g->pid);
	revoke_free(g, w);
	dax_zap_done(&area->dax);
}

/*
 * Whoever maps the pool has the grant's byte locked. A client that died leaves nobody to answer, and its handle may
 * stay: a child that has not asked for anything since fork() has the guard page.
 */
static bool is_dead(struct fs_grant *g)
{
	return ++g->looks % DEAD_LOOKS == 0 && !byte_locked(g->fs, g->name.number);
}

static void read_answers(struct fs_grant *g)
{
	uint32_t done = page_done(g);

	pthread_mutex_lock(&g->lock);
	/* Between what it had answered and what was posted: anything else is nonsense. */
	if (done - g->done <= g->posted - g->done)
		g->done = done;
	if (g->done != g->posted && is_dead(g))
		g->done = g->posted;
	while (!list_empty(&g->revokes)) {
		struct fs_revoke *w = list_entry(g->revokes.next, struct fs_revoke, link);

		if ((int32_t)(g->done - w->number) < 0)
			break;
		answered(g, w);
	}
	pthread_mutex_unlock(&g->lock);
}

static unsigned int count_due(const struct fs_grants *gs)
{
	unsigned int n = 0;
	struct list *pos;

	list_for_each(pos, &gs->due)
		n++;
	return n;
}

/* Each that an answer is due of, once. gs->lock held, dropped between. */
static void read_all(struct fs_grants *gs)
{
	for (unsigned int n = count_due(gs); n && !list_empty(&gs->due); n--) {
		struct fs_grant *g = list_entry(gs->due.next, struct fs_grant, due);

		list_del(&g->due);
		list_add_tail(&g->due, &gs->due);
		g->refs++;
		pthread_mutex_unlock(&gs->lock);
		read_answers(g);
		grant_put(g);
		pthread_mutex_lock(&gs->lock);
	}
}

/* Survivors whose byte is free now are gone. gs->lock held. */
static void look_at_survivors(struct fs_grants *gs)
{
	struct fs *fs = gs->fs;
	struct list *pos, *next;

	list_for_each_safe(pos, next, &gs->left) {
		struct survivor *s = list_entry(pos, struct survivor, link);

		if (byte_locked(fs, s->number))
			continue;
		list_del(&s->link);
		dax_drop_grant(fs->dax.pgmap, s->list);
		free(s);
	}
}

static void sleep_for(struct fs_grants *gs, uint64_t us)
{
	struct timespec until = clock_after(us);

	pthread_cond_timedwait(&gs->work, &gs->lock, &until);
}

static void *revoke_thread(void *arg)
{
	struct fs_grants *gs = arg;

	pthread_mutex_lock(&gs->lock);
	while (!gs->stop) {
		read_all(gs);
		look_at_survivors(gs);
		look_at_unknown(gs);
		if (gs->stop)
			break;
		if (!list_empty(&gs->due))
			sleep_for(gs, ANSWER_US);
		else if (!list_empty(&gs->left) || gs->unknown)
			sleep_for(gs, SURVIVOR_MS * 1000);
		else
			pthread_cond_wait(&gs->work, &gs->lock);
	}
	pthread_mutex_unlock(&gs->lock);
	return NULL;
}

int revoke_start(struct fs_grants *gs)
{
	int rc = -pthread_create(&gs->thread, NULL, revoke_thread, gs);

	gs->running = !rc;
	return rc;
}

void revoke_stop(struct fs_grants *gs)
{
	pthread_mutex_lock(&gs->lock);
	gs->stop = true;
	pthread_cond_signal(&gs->work);
	pthread_mutex_unlock(&gs->lock);
	if (gs->running)
		pthread_join(gs->thread, NULL);
	gs->running = false;
}

bool byte_locked(const struct fs *fs, uint64_t number)
{
	return region_client(fs->pool.region, number) == (int64_t)number;
}
