/*
 * Write-back of pages, in batches.
 *
 * Owns the notes of what each thread wants durable, the queue of those that wait, and an io_uring instance.
 * Relies on the kernel seeing stores through a shared mapping: the first store to a clean page marks it
 * dirty, and fsync of its range writes it. Produces durability of page ranges, and the truth about errors.
 *
 * A batch: the thread that finds no leader becomes one, takes the whole queue, merges the ranges of all its
 * members, and submits an IORING_OP_FSYNC with IORING_FSYNC_DATASYNC per merged range, DEPTH at a time.
 * Threads that arrive in the meantime queue up and are the next batch, led by one of them. So under load the
 * number of device flushes depends on the device's speed, not on the number of fences.
 *
 * A thread's notes are kept in a fixed array per region, in memory of its own: noting takes no lock. When
 * the array is full the two nearest ranges become one; writing back more than asked is never wrong.
 */
#include "pmem/writeback.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pmem/region_private.h"
#include "util/log.h"

#define NOTES		64U		/* ranges a thread keeps apart */
#define DEPTH		64U		/* requests in flight */
#define PAGE		4096U		/* smaller than a page of the kernel does no harm */
#define MERGE_GAP	(64U * PAGE)	/* an fsync costs more than to find this much clean */
#define REQUEST_MAX	((uint64_t)1 << 30)	/* bytes of a request; its length field has 32 bits */

struct range {
	uint64_t	start, end;	/* bytes, multiples of PAGE */
};

/* What one thread noted for one region. Belongs to the thread alone. */
struct notes {
	struct notes	*next;
	uint64_t	 owner;		/* writeback.id; none is used twice, so notes may outlive a region */
	unsigned int	 count;
	struct range	 range[NOTES];	/* in order, with gaps between them */
};

/* A thread in writeback_wait(); lives on its stack. Protected by writeback.lock. */
struct waiter {
	struct waiter	*next;
	struct notes	*notes;		/* NULL: the whole file */
	int		 error;
	bool		 done;
};

struct writeback {
	const char		*path;
	int			 fd;
	uint64_t		 id;
	atomic_bool		 whole;		/* a note was lost: only the whole file will do */

	pthread_mutex_t		 lock;		/* protects all below but the ring */
	pthread_cond_t		 wake;		/* a batch is done, or released */
	struct waiter		*queue;
	bool			 led;		/* somebody leads (or holds) */
	int			 error;		/* the first error, for good */
	struct writeback_stats	 stats;

	bool			 have_ring;	/* leader only, as the ring */
	struct io_uring		 ring;
};

/* ---- Notes --------------------------------------------------------------------------------------------- */

static atomic_uint_fast64_t last_id;
static _Thread_local struct notes *my_notes;
static pthread_key_t notes_key;			/* only for its destructor */
static pthread_once_t notes_once = PTHREAD_ONCE_INIT;

static void free_notes(void *list)
{
	struct notes *n = list, *next;

	for (; n; n = next) {
		next = n->next;
		free(n);
	}
	my_notes = NULL;
}

static void make_notes_key(void)
{
	if (pthread_key_create(&notes_key, free_notes))
		abort();
}

/* The thread's notes for this region, or NULL. */
static struct notes *find_notes(const struct writeback *wb)
{
	struct notes *n = my_notes;

	while (n && n->owner != wb->id)
		n = n->next;
	return n;
}

/* Notes that are empty can be of any region. NULL when out of memory. */
static struct notes *get_notes(const struct writeback *wb)
{
	struct notes *n = find_notes(wb);

	if (n)
		return n;
	for (n = my_notes; n && n->count; n = n->next)
		;
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (!n)
			return NULL;
		pthread_once(&notes_once, make_notes_key);
		if (pthread_setspecific(notes_key, n)) {
			free(n);
			return NULL;
		}
		n->next = my_notes;
		my_notes = n;
	}
	n->owner = wb->id;
	return n;
}

static void close_nearest_gap(struct notes *n)
{
	unsigned int best = 1, i;

	for (i = 2; i < n->count; i++)
		if (n->range[i].start - n->range[i - 1].end < n->range[best].start - n->range[best - 1].end)
			best = i;
	n->range[best - 1].end = n->range[best].end;
	n->count--;
	memmove(&n->range[best], &n->range[best + 1], (n->count - best) * sizeof(n->range[0]));
}

/* Put [start, end) among the ranges: it swallows those it touches. */
static void add_range(struct notes *n, uint64_t start, uint64_t end)
{
	unsigned int first, last;

	if (n->count == NOTES)
		close_nearest_gap(n);
	for (first = 0; first < n->count && n->range[first].end < start; first++)
		;
	for (last = first; last < n->count && n->range[last].start <= end; last++) {
		start = n->range[last].start < start ? n->range[last].start : start;
		end = n->range[last].end > end ? n->range[last].end : end;
	}
	memmove(&n->range[first + 1], &n->range[last], (n->count - last) * sizeof(n->range[0]));
	n->range[first] = (struct range){ start, end };
	n->count += first + 1 - last;
}

void writeback_note(struct writeback *wb, uint64_t off, uint64_t len)
{
	struct notes *n;

	if (!len)
		return;
	n = get_notes(wb);
	if (n)
		add_range(n, off / PAGE * PAGE, (off + len + PAGE - 1) / PAGE * PAGE);
	else
		atomic_store(&wb->whole, true);
}

/* ---- A batch; the leader only, without the lock -------------------------------------------------------- */

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* All ranges of the batch, merged. NULL when some waiter wants the whole file, or memory is short. */
static struct range *merge_ranges(const struct waiter *batch, size_t *count)
{
	const struct waiter *w;
	struct range *all;
	size_t n = 0, out = 0, i;

	for (w = batch; w; w = w->next) {
		if (!w->notes)
			return NULL;
		n += w->notes->count;
	}
	all = malloc(n * sizeof(*all));
	if (!all)
		return NULL;
	for (n = 0, w = batch; w; w = w->next) {
		memcpy(&all[n], w->notes->range, w->notes->count * sizeof(*all));
		n += w->notes->count;
	}
	qsort(all, n, sizeof(*all), compare_ranges);
	for (i = 1; i < n; i++) {
		if (all[i].start > all[out].end + MERGE_GAP)
			all[++out] = all[i];
		else if (all[i].end > all[out].end)
			all[out].end = all[i].end;
	}
	*count = out + 1;
	return all;
}

/* Queue up to DEPTH requests from the ranges on; *next and its start move on. Returns how many. */
static unsigned int fill_ring(struct writeback *wb, struct range **next, const struct range *end)
{
	struct io_uring_sqe *sqe;
	unsigned int n;
	uint64_t len;

	for (n = 0; n < DEPTH && *next < end; n++) {
		len = (*next)->end - (*next)->start;
		len = len < REQUEST_MAX ? len : REQUEST_MAX;
		sqe = io_uring_get_sqe(&wb->ring);
		io_uring_prep_fsync(sqe, wb->fd, IORING_FSYNC_DATASYNC);
		sqe->off = (*next)->start;
		sqe->len = (uint32_t)len - 1;	/* the kernel takes off + len as the last byte */
		(*next)->start += len;
		if ((*next)->start == (*next)->end)
			(*next)++;
	}
	return n;
}

/* Submit what is queued, take n completions. *error: of the requests; returns an error of the ring itself. */
static int run_ring(struct writeback *wb, unsigned int n, int *error)
{
	struct io_uring_cqe *cqe;
	int ret;

	while (io_uring_sq_ready(&wb->ring)) {
		ret = io_uring_submit(&wb->ring);
		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
			return ret;
	}
	while (n) {
		ret = io_uring_wait_cqe(&wb->ring, &cqe);
		if (ret == -EINTR)
			continue;
		if (ret)
			return ret;
		if (cqe->res < 0 && !*error)
			*error = cqe->res;
		io_uring_cqe_seen(&wb->ring, cqe);
		n--;
	}
	return 0;
}

/* Returns an error of the ring itself, after which it cannot be used. */
static int sync_ranges(struct writeback *wb, struct range *ranges, size_t count, uint64_t *requests,
		       int *error)
{
	struct range *next = ranges;
	unsigned int n;
	int ret = 0;

	while (!ret && next < ranges + count) {
		n = fill_ring(wb, &next, ranges + count);
		*requests += n;
		ret = run_ring(wb, n, error);
	}
	return ret;
}

static int sync_whole(struct writeback *wb)
{
	return fdatasync(wb->fd) ? -errno : 0;
}

static int sync_batch(struct writeback *wb, const struct waiter *batch, uint64_t *requests)
{
	struct range *ranges = NULL;
	int error = 0, ret;
	size_t count;

	if (wb->have_ring)
		ranges = merge_ranges(batch, &count);
	if (!ranges)
		return sync_whole(wb);
	ret = sync_ranges(wb, ranges, count, requests, &error);
	free(ranges);
	if (!ret)
		return error;
	log_warn("%s: io_uring failed (%s), fdatasync takes its place", wb->path, strerror(-ret));
	io_uring_queue_exit(&wb->ring);
	wb->have_ring = false;
	*requests = 0;
	ret = sync_whole(wb);
	return error ? error : ret;
}

/* ---- Waiting ------------------------------------------------------------------------------------------- */

static void finish_batch(struct writeback *wb, struct waiter *batch, int ret, uint64_t requests)
{
	struct waiter *w;

	if (ret && !wb->error)
		wb->error = ret;
	wb->stats.batches++;
	wb->stats.ring_requests += requests;
	wb->stats.whole_syncs += !requests;
	for (w = batch; w; w = w->next) {
		w->error = wb->error;
		w->done = true;
	}
}

/* Lead one batch, the caller's own among it. Called and returns with the lock held. */
static void lead(struct writeback *wb)
{
	struct waiter *batch = wb->queue;
	uint64_t requests = 0;
	int ret;

	wb->queue = NULL;
	wb->stats.queued = 0;
	wb->led = true;
	pthread_mutex_unlock(&wb->lock);
	ret = sync_batch(wb, batch, &requests);
	pthread_mutex_lock(&wb->lock);
	finish_batch(wb, batch, ret, requests);
	wb->led = false;
	pthread_cond_broadcast(&wb->wake);
}

/* The notes are read by the leader while their thread waits here. */
static int wait_for(struct writeback *wb, struct notes *notes)
{
	struct waiter me = { .notes = notes };

	pthread_mutex_lock(&wb->lock);
	me.next = wb->queue;
	wb->queue = &me;
	wb->stats.waits++;
	wb->stats.queued++;
	while (!me.done) {
		if (wb->led)
			pthread_cond_wait(&wb->wake, &wb->lock);
		else
			lead(wb);
	}
	pthread_mutex_unlock(&wb->lock);
	return me.error;
}

int writeback_wait(struct writeback *wb)
{
	struct notes *n = find_notes(wb);
	bool whole = atomic_load(&wb->whole);
	int ret;

	if (!whole && (!n || !n->count))
		return 0;
	ret = wait_for(wb, whole ? NULL : n);
	if (n)
		n->count = 0;
	return ret;
}

void writeback_hold(struct writeback *wb)
{
	pthread_mutex_lock(&wb->lock);
	while (wb->led)
		pthread_cond_wait(&wb->wake, &wb->lock);
	wb->led = true;
	pthread_mutex_unlock(&wb->lock);
}

void writeback_release(struct writeback *wb)
{
	pthread_mutex_lock(&wb->lock);
	wb->led = false;
	pthread_cond_broadcast(&wb->wake);
	pthread_mutex_unlock(&wb->lock);
}

struct writeback_stats writeback_stats(struct writeback *wb)
{
	struct writeback_stats stats;

	pthread_mutex_lock(&wb->lock);
	stats = wb->stats;
	pthread_mutex_unlock(&wb->lock);
	return stats;
}

struct writeback *region_writeback(const struct region *r)
{
	const struct region_map *m = r->priv;

	return r->kind == REGION_PAGED ? m->wb : NULL;
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static void open_ring(struct writeback *wb)
{
	static atomic_bool warned;
	int ret = io_uring_queue_init(DEPTH, &wb->ring, 0);

	wb->have_ring = !ret;
	if (ret && !atomic_exchange(&warned, true))
		log_warn("io_uring cannot be used (%s), fdatasync takes its place", strerror(-ret));
}

int writeback_new(struct writeback **out, const char *path, int fd, struct err *err)
{
	struct writeback *wb = calloc(1, sizeof(*wb));

	if (!wb)
		return err_set_errno(err, -ENOMEM, "%s", path);
	wb->path = path;
	wb->fd = fd;
	wb->id = atomic_fetch_add(&last_id, 1) + 1;
	pthread_mutex_init(&wb->lock, NULL);
	pthread_cond_init(&wb->wake, NULL);
	open_ring(wb);
	*out = wb;
	return 0;
}

void writeback_free(struct writeback *wb)
{
	int ret;

	if (!wb)
		return;
	assert(!wb->led && !wb->queue);
	ret = sync_whole(wb);
	if (ret)
		log_error("%s: write-back at close failed: %s", wb->path, strerror(-ret));
	if (wb->have_ring)
		io_uring_queue_exit(&wb->ring);
	pthread_cond_destroy(&wb->wake);
	pthread_mutex_destroy(&wb->lock);
	free(wb);
}
