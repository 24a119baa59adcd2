/*
 * Who maps a file: VMAs, the references they hold, and telling them that a range is going.
 *
 * A reference is made in this order: counted on the folio, recorded in the grant's list, inserted by the mapper; and
 * undone the other way round. So a record without a count cannot be, and what a mapper has is always recorded.
 *
 * Revocation goes to all VMAs of the mapping under vma_lock, shared; a VMA that attaches meanwhile waits for the
 * lock, and its faults for the invalidate lock, which whoever breaks a layout holds.
 */
#include <errno.h>
#include <stdlib.h>

#include "dax/entry.h"
#include "util/clock.h"
#include "util/fault.h"

#define MAPPER_MS	1000

void dax_init(struct dax *dax, struct pgmap *pgmap)
{
	*dax = (struct dax){ .pgmap = pgmap, .max_size = DAX_PMD, .mapper_ms = MAPPER_MS };
	pthread_mutex_init(&dax->lock, NULL);
	pthread_cond_init(&dax->left, NULL);
	list_init(&dax->mappings);
}

void dax_destroy(struct dax *dax)
{
	pthread_cond_destroy(&dax->left);
	pthread_mutex_destroy(&dax->lock);
}

/* As the kernel's rwsem, and unlike the library's default: readers that keep coming do not keep a writer out. */
static void fair_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

int dax_mapping_new(struct dax_mapping **out, struct dax *dax, const struct dax_file_ops *ops, void *host)
{
	struct dax_mapping *m = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->dax = dax;
	m->ops = ops;
	m->host = host;
	fair_init(&m->invalidate_lock);
	fair_init(&m->vma_lock);
	pthread_mutex_init(&m->lock, NULL);
	cond_init(&m->zapped);
	list_init(&m->vmas);
	list_init(&m->waiters);
	radix_init(&m->entries);
	pthread_mutex_lock(&dax->lock);
	list_add_tail(&m->link, &dax->mappings);
	pthread_mutex_unlock(&dax->lock);
	*out = m;
	return 0;
}

void dax_mapping_delete(struct dax_mapping *m)
{
	if (!m)
		return;
	if (!radix_empty(&m->entries))
		pgmap_violation(m->dax->pgmap, "an inode went with mapping entries left", m->nrpages);
	pthread_mutex_lock(&m->dax->lock);
	while (m->visitors)
		pthread_cond_wait(&m->dax->left, &m->dax->lock);
	list_del(&m->link);
	pthread_mutex_unlock(&m->dax->lock);
	radix_destroy(&m->entries);
	pthread_cond_destroy(&m->zapped);
	pthread_mutex_destroy(&m->lock);
	pthread_rwlock_destroy(&m->vma_lock);
	pthread_rwlock_destroy(&m->invalidate_lock);
	free(m);
}

/* ---- VMAs ------------------------------------------------------------------------------------------------ */

void dax_vma_attach(struct dax_mapping *m, struct dax_vma *vma)
{
	vma->mapping = m;
	vma->zapping = 0;
	vma->silent = false;
	m->ops->hold(m->host);
	pthread_rwlock_wrlock(&m->vma_lock);
	list_add_tail(&vma->link, &m->vmas);
	pthread_rwlock_unlock(&m->vma_lock);
}

static void detach(struct dax_vma *vma, bool unmap)
{
	struct dax_mapping *m = vma->mapping;

	pthread_rwlock_wrlock(&m->vma_lock);
	list_del(&vma->link);
	pthread_rwlock_unlock(&m->vma_lock);
	if (unmap)
		dax_unmap(vma, vma->index, vma->count);
	pthread_mutex_lock(&m->lock);
	vma->zapping = 0;
	pthread_cond_broadcast(&m->zapped);
	pthread_mutex_unlock(&m->lock);
	m->ops->put(m->host);
}

bool dax_mapped(struct dax_mapping *m)
{
	bool mapped;

	pthread_rwlock_rdlock(&m->vma_lock);
	mapped = !list_empty(&m->vmas);
	pthread_rwlock_unlock(&m->vma_lock);
	return mapped;
}

void dax_vma_detach(struct dax_vma *vma)
{
	detach(vma, true);
}

void dax_vma_abandon(struct dax_vma *vma)
{
	detach(vma, false);
}

int dax_vma_split(struct dax_vma *vma, struct dax_vma *new, uint64_t at)
{
	struct dax_mapping *m = vma->mapping;
	int rc = 0;

	pthread_rwlock_wrlock(&m->vma_lock);
	if (dax_vma_told(vma)) {
		rc = -EBUSY;
		goto out;
	}
	new->ops = vma->ops;
	new->grant = vma->grant;
	new->area = vma->area;
	new->index = at;
	new->count = vma->index + vma->count - at;
	new->mapping = m;
	new->zapping = 0;
	new->silent = false;
	vma->count -= new->count;
	m->ops->hold(m->host);
	list_add_tail(&new->link, &m->vmas);
out:
	pthread_rwlock_unlock(&m->vma_lock);
	return rc;
}

static void unmap_run(void *arg, const struct grant_ref *ref)
{
	struct dax_mapping *m = arg;
	uint64_t n = size_units(m, ref->size);

	for (uint64_t i = 0; i < ref->count; i++)
		pgmap_unmap_folio(m->dax->pgmap, ref->unit + i * n, ref->size);
}

int64_t dax_unmap(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	return grant_remove(vma->grant, GRANT_MAP, vma->area, index, count, 0, unmap_run, vma->mapping);
}

/* Count and record one page-table entry. */
static int map_one(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit)
{
	struct pgmap *pg = vma->mapping->dax->pgmap;
	struct grant_ref ref = {
		.kind = GRANT_MAP, .size = size, .area = vma->area, .index = index, .unit = unit, .count = 1,
	};
	int rc = pgmap_map_folio(pg, unit, size);

	if (rc)
		return rc;
	rc = grant_add(vma->grant, &ref);
	if (rc)
		pgmap_unmap_folio(pg, unit, size);
	return rc;
}

/* What was recorded was not inserted. */
static void unmap_one(struct dax_vma *vma, uint64_t index)
{
	if (dax_unmap(vma, index, 1) < 0)
		dax_zap_one(vma, vma->index, vma->count);
}

/* Recorded: insert_page_into_pte_locked() and insert_pmd() raise flags if it is the same, and take no reference. */
static int insert_again(struct dax_vma *vma, uint64_t index, const struct grant_ref *old, const struct grant_ref *new,
			unsigned int flags)
{
	if (old->size != new->size)
		return old->size < new->size ? -EEXIST : -EAGAIN;
	if (old->unit != new->unit)
		return -EFAULT;
	return vma->ops->insert(vma, index, new->size, new->unit, flags | DAX_MAP_THERE);
}

static int insert_new(struct dax_vma *vma, const struct grant_ref *ref, unsigned int flags)
{
	int rc = vma->ops->insert(vma, ref->index, ref->size, ref->unit, flags);

	/* Smaller page-table entries have no place above them; what is larger is in the way of one attempt only. */
	return rc == -EAGAIN && ref->size != pgmap_base_size(vma->mapping->dax->pgmap) ? -EEXIST : rc;
}

/*
 * A VMA that was told of a revocation gets nothing before it has acknowledged: its answer will drop all that it has
 * in the range, whenever it got that. Asked after the record was made, as zap looks for records after it told.
 */
int dax_insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	struct grant_ref old, new = { .size = size, .index = index, .unit = unit };
	bool zero = flags & DAX_MAP_ZERO;
	int rc;

	if (dax_vma_told(vma))
		return -EAGAIN;
	if (!zero && grant_find_ref(vma->grant, GRANT_MAP, vma->area, index, &old))
		return insert_again(vma, index, &old, &new, flags);
	rc = zero ? 0 : map_one(vma, index, size, unit);
	if (rc)
		return rc;
	rc = dax_vma_told(vma) ? -EAGAIN : insert_new(vma, &new, flags);
	if (rc && !zero)
		unmap_one(vma, index);
	return rc;
}

/* ---- fork ------------------------------------------------------------------------------------------------ */

struct copy {
	struct dax_vma	*to, *from;
	int		 rc;
};

static void copy_run(void *arg, const struct grant_ref *ref)
{
	struct copy *c = arg;
	uint64_t n = size_units(c->from->mapping, ref->size);

	if (ref->kind != GRANT_MAP || ref->area != c->from->area)
		return;
	for (uint64_t i = 0; i < ref->count && !c->rc; i++) {
		uint64_t index = ref->index + i * n;

		if (index >= c->from->index && index < c->from->index + c->from->count)
			c->rc = map_one(c->to, index, ref->size, ref->unit + i * n);
	}
}

int dax_vma_copy(struct dax_vma *to, struct dax_vma *from)
{
	struct copy c = { .to = to, .from = from };

	grant_walk(from->grant, copy_run, &c);
	/* Told before this look: what was copied may be on its way out. After it: so is `to`, behind it in the list. */
	if (!c.rc && dax_vma_told(from))
		c.rc = -EAGAIN;
	if (c.rc)
		dax_unmap(to, to->index, to->count);
	return c.rc;
}

/* ---- Revocation ------------------------------------------------------------------------------------------ */

static bool overlaps(const struct dax_vma *vma, uint64_t index, uint64_t end)
{
	return vma->index < end && index < vma->index + vma->count;
}

bool dax_vma_told(struct dax_vma *vma)
{
	bool told;

	pthread_mutex_lock(&vma->mapping->lock);
	told = vma->zapping != 0;
	pthread_mutex_unlock(&vma->mapping->lock);
	return told;
}

void dax_zap_done(struct dax_vma *vma)
{
	struct dax_mapping *m = vma->mapping;

	pthread_mutex_lock(&m->lock);
	if (vma->zapping && --vma->zapping == 0) {
		vma->silent = false;
		pthread_cond_broadcast(&m->zapped);
	}
	pthread_mutex_unlock(&m->lock);
}

/* It counts as told before it is told: so its answer finds the count. */
static void zap_begin(struct dax_vma *vma)
{
	struct dax_mapping *m = vma->mapping;

	pthread_mutex_lock(&m->lock);
	if (!vma->zapping++)
		vma->answer_by = clock_ms() + (uint64_t)m->dax->mapper_ms;
	pthread_mutex_unlock(&m->lock);
}

static void zap_vma(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows)
{
	zap_begin(vma);
	if (vma->ops->zap(vma, index, count, even_cows) != -EINPROGRESS)
		dax_zap_done(vma);
}

void dax_zap_one(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	zap_vma(vma, index, count, false);
}

static void zap_all(struct dax_mapping *m, uint64_t index, uint64_t count, bool even_cows)
{
	uint64_t end = range_end(index, count);
	struct list *pos;

	pthread_rwlock_rdlock(&m->vma_lock);
	list_for_each(pos, &m->vmas) {
		struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		if (overlaps(vma, index, end))
			zap_vma(vma, index, count, even_cows);
	}
	pthread_rwlock_unlock(&m->vma_lock);
}

/*
 * When the next of those that were told has to have answered, 0 if all have. Who has not by now is silent, and is not
 * waited for again until he has. mapping.lock and vma_lock held.
 */
static uint64_t next_answer(struct dax_mapping *m)
{
	uint64_t now = clock_ms(), next = 0;
	struct list *pos;

	list_for_each(pos, &m->vmas) {
		struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		if (!vma->zapping || vma->silent)
			continue;
		if (vma->answer_by <= now) {
			vma->silent = true;
			atomic_fetch_add(&m->dax->stat.silent, 1);
		} else if (!next || vma->answer_by < next) {
			next = vma->answer_by;
		}
	}
	return next;
}

static void wait_answers(struct dax_mapping *m)
{
	struct timespec deadline;
	uint64_t next;

	do {
		/* A VMA may detach while we sleep: the list is looked at anew each time. */
		pthread_rwlock_rdlock(&m->vma_lock);
		pthread_mutex_lock(&m->lock);
		next = next_answer(m);
		pthread_rwlock_unlock(&m->vma_lock);
		deadline = clock_timespec(next);
		if (next)
			pthread_cond_timedwait(&m->zapped, &m->lock, &deadline);
		pthread_mutex_unlock(&m->lock);
	} while (next);
}

void dax_unmap_range(struct dax_mapping *m, uint64_t index, uint64_t count, bool even_cows)
{
	zap_all(m, index, count, even_cows);
	wait_answers(m);
}

bool dax_fill_told(struct dax_mapping *m, const struct dax_vma *by)
{
	bool found = false;
	struct list *pos;

	pthread_rwlock_rdlock(&m->vma_lock);
	list_for_each(pos, &m->vmas) {
		const struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		found = found || (vma != by && vma->ops->filled);
	}
	pthread_rwlock_unlock(&m->vma_lock);
	return found;
}

void dax_filled(struct dax_mapping *m, const struct dax_vma *by, uint64_t index, uint64_t count)
{
	uint64_t end = range_end(index, count);
	bool told = false;
	struct list *pos;

	pthread_rwlock_rdlock(&m->vma_lock);
	list_for_each(pos, &m->vmas) {
		struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		if (vma == by || !vma->ops->filled || !overlaps(vma, index, end))
			continue;
		told = true;
		zap_begin(vma);
		if (vma->ops->filled(vma, index, count) != -EINPROGRESS)
			dax_zap_done(vma);
	}
	pthread_rwlock_unlock(&m->vma_lock);
	if (told)
		wait_answers(m);
}
