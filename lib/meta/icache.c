/*
 * The inode cache: one struct inode for each inode anybody works with, found by number, and a bounded number
 * of idle ones.
 *
 * Inodes are spread over stripes by number. A stripe's mutex protects its hash chains, its LRU of idle
 * inodes, and refs, state, hash and lru of its inodes. It is a leaf lock: no other lock is taken and no slot
 * is read under it.
 *
 * Loading. The first to ask for a number hashes an inode in state LOADING and reads the slot without the
 * mutex; others wait for it. inode_new() hashes its inode before its transaction commits, that is before
 * anything is stored in the slot, and displaces what it finds under the number: a LOADING inode of somebody
 * who came with a stale number (who then gives up with -ESTALE, whatever he has read) or a DEAD one. So bytes
 * of a slot that change are never believed. Names are published under the directory's lock, after the commit;
 * who comes by a name finds the inode in the cache or, if it was evicted meanwhile, a slot that is stored.
 * Only stale numbers race with creators, and get -ESTALE or an inode whose lock is held, to be looked at
 * (nlink, generation) once it is not.
 *
 * Eviction. An idle inode with a mapping stays hashed, as LOADING, while the mapping is written back and goes: a second
 * inode of its number would take the same blocks for its own.
 *
 * Death. The last put of an inode without links frees what it holds in core; no record is needed, as the slot
 * with nlink 0 is free by derivation. It stays hashed as DEAD until after ialloc_free(), so that nobody loads
 * the slot while it can be handed out: the order is extents, xattrs, slot, hash.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta/dir.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "meta/inode.h"
#include "meta/xattr.h"
#include "util/fault.h"
#include "util/log.h"

#define ICACHE_STRIPES		64U
#define ICACHE_STRIPED_FROM	1024U	/* idle inodes; a smaller cache keeps one exact LRU */
#define ICACHE_MIN_BUCKETS	64U

enum icache_state {
	ICACHE_LIVE,			/* loaded, or made by inode_new() */
	ICACHE_LOADING,			/* one thread reads the slot, or ends the mapping; others wait for it */
	ICACHE_DEAD,			/* given to nobody; its number may be another inode's already */
};

struct icache_stripe {
	pthread_mutex_t	 lock;
	pthread_cond_t	 loaded;	/* some inode of the stripe left LOADING */
	struct list	*buckets;
	struct list	 lru;		/* idle inodes with clean times, oldest first */
	unsigned int	 idle;		/* length of lru */
} __attribute__((aligned(64)));

/* Constant after icache_new(), but for the stripes' contents. */
struct icache {
	unsigned int		 stripes, buckets;	/* powers of two; buckets of one stripe */
	unsigned int		 limit;			/* idle inodes of one stripe */
	struct list		*heads;
	struct icache_stripe	 stripe[];
};

static struct icache_stripe *stripe_of(struct icache *ic, uint64_t ino)
{
	return &ic->stripe[ino & (ic->stripes - 1)];
}

static struct list *bucket_of(const struct icache *ic, uint64_t ino)
{
	const struct icache_stripe *s = &ic->stripe[ino & (ic->stripes - 1)];

	return &s->buckets[ino / ic->stripes & (ic->buckets - 1)];
}

/* Stripe locked. Whatever is hashed under the number, in any state; NULL. */
static struct inode *find(const struct icache *ic, uint64_t ino)
{
	const struct list *head = bucket_of(ic, ino);
	struct list *pos;

	list_for_each(pos, head) {
		struct inode *ip = list_entry(pos, struct inode, hash);

		if (ip->ino == ino)
			return ip;
	}
	return NULL;
}

/* ---- The cache ----------------------------------------------------------------------------------------- */

int icache_new(struct pool *p, unsigned int idle)
{
	unsigned int stripes = idle < ICACHE_STRIPED_FROM ? 1 : ICACHE_STRIPES;
	unsigned int buckets = ICACHE_MIN_BUCKETS, i;
	struct icache *ic;
	size_t size;

	while (buckets < idle / stripes)
		buckets *= 2;
	size = sizeof(*ic) + stripes * sizeof(ic->stripe[0]);
	ic = aligned_alloc(64, (size + 63) & ~(size_t)63);
	if (!ic)
		return -ENOMEM;
	*ic = (struct icache){ .stripes = stripes, .buckets = buckets, .limit = idle / stripes };
	ic->heads = calloc((size_t)stripes * buckets, sizeof(*ic->heads));
	if (!ic->heads) {
		free(ic);
		return -ENOMEM;
	}
	for (i = 0; i < stripes * buckets; i++)
		list_init(&ic->heads[i]);
	for (i = 0; i < stripes; i++) {
		struct icache_stripe *s = &ic->stripe[i];

		pthread_mutex_init(&s->lock, NULL);
		pthread_cond_init(&s->loaded, NULL);
		s->buckets = ic->heads + (size_t)i * buckets;
		list_init(&s->lru);
		s->idle = 0;
	}
	p->icache = ic;
	return 0;
}

static struct inode *inode_alloc(struct pool *p, uint64_t ino, enum icache_state state)
{
	struct inode *ip = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*ip));

	if (!ip)
		return NULL;
	ip->pool = p;
	ip->ino = ino;
	ip->refs = 1;
	ip->state = state;
	list_init(&ip->hash);
	list_init(&ip->lru);
	pthread_rwlock_init(&ip->lock, NULL);
	return ip;
}

/* No longer hashed, nobody references it. */
static void inode_destroy(struct inode *ip)
{
	if (atomic_load(&ip->mapping))
		ip->pool->evict(ip);
	if (ip->dir)
		dir_index_free(ip);
	pthread_rwlock_destroy(&ip->lock);
	free(ip);
}

void icache_delete(struct pool *p)
{
	struct icache *ic = p->icache;
	struct list *pos, *next;
	unsigned int i;

	for (i = 0; i < ic->stripes * ic->buckets; i++)
		list_for_each_safe(pos, next, &ic->heads[i])
			inode_destroy(list_entry(pos, struct inode, hash));
	for (i = 0; i < ic->stripes; i++) {
		pthread_cond_destroy(&ic->stripe[i].loaded);
		pthread_mutex_destroy(&ic->stripe[i].lock);
	}
	free(ic->heads);
	free(ic);
	p->icache = NULL;
}

/* ---- References ---------------------------------------------------------------------------------------- */

/* Stripe locked: one more reference; an idle inode leaves the LRU. */
static void take_ref(struct icache_stripe *s, struct inode *ip)
{
	ip->refs++;
	if (!list_empty(&ip->lru)) {
		list_del(&ip->lru);
		s->idle--;
	}
}

/*
 * Stripe locked, refs just became 0: keep the inode idle. Returns the one that is too much: in nobody's reach, or, if
 * it has a mapping, hashed as LOADING with a reference. NULL: none. One whose times are newer than the media's stays
 * out of the LRU until somebody has written them back.
 */
static struct inode *make_idle(const struct icache *ic, struct icache_stripe *s, struct inode *ip)
{
	struct inode *old;

	if (ip->times_dirty)
		return NULL;
	list_add_tail(&ip->lru, &s->lru);
	if (++s->idle <= ic->limit)
		return NULL;
	old = list_entry(s->lru.next, struct inode, lru);
	list_del(&old->lru);
	s->idle--;
	if (atomic_load(&old->mapping)) {
		old->refs = 1;
		old->state = ICACHE_LOADING;
	} else {
		list_del(&old->hash);
	}
	return old;
}

/* The slot is free on media and nobody can find the inode: give all it holds back in core. */
static void release_blocks(struct inode *ip)
{
	if (atomic_load(&ip->mapping))
		ip->pool->evict(ip);
	if (INODE_IS_DIR(ip))
		extent_free_all_meta(ip);
	else
		extent_free_all(ip);
	xattr_free_all(ip);
	ialloc_free(ip->pool, ip->ino);
}

static void bury(struct icache_stripe *s, struct inode *ip)
{
	release_blocks(ip);
	pthread_mutex_lock(&s->lock);
	list_del(&ip->hash);	/* a new inode of this number may have displaced it already */
	pthread_mutex_unlock(&s->lock);
	inode_destroy(ip);
}

/* What make_idle() returned with a reference. Whoever asked for it meanwhile loads it anew. */
static void end_mapping(struct icache_stripe *s, struct inode *ip)
{
	ip->pool->evict(ip);
	pthread_mutex_lock(&s->lock);
	ip->state = ICACHE_DEAD;
	list_del(&ip->hash);
	pthread_cond_broadcast(&s->loaded);
	pthread_mutex_unlock(&s->lock);
	inode_put(ip);
}

void inode_hold(struct inode *ip)
{
	struct icache_stripe *s = stripe_of(ip->pool->icache, ip->ino);

	pthread_mutex_lock(&s->lock);
	assert(ip->refs);
	ip->refs++;
	pthread_mutex_unlock(&s->lock);
}

void inode_put(struct inode *ip)
{
	struct icache *ic = ip->pool->icache;
	struct icache_stripe *s = stripe_of(ic, ip->ino);
	struct inode *victim = NULL;
	bool unlinked = false;

	pthread_mutex_lock(&s->lock);
	assert(ip->refs);
	if (--ip->refs == 0) {
		unlinked = ip->state == ICACHE_LIVE && ip->core.nlink == 0;
		if (unlinked) {
			ip->state = ICACHE_DEAD;
		} else if (ip->state == ICACHE_DEAD) {
			list_del(&ip->hash);
			victim = ip;
		} else {
			victim = make_idle(ic, s, ip);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (unlinked)
		bury(s, ip);
	if (victim && atomic_load(&victim->mapping))
		end_mapping(s, victim);
	else if (victim)
		inode_destroy(victim);
}

/* ---- Loading ------------------------------------------------------------------------------------------- */

/*
 * A creator that displaces us may store to the slot at this very moment; load_hashed() finds that out and drops what
 * was read. So this is no plain copy but loads that may race with stores.
 */
static void read_slot(struct disk_inode *d, const void *slot)
{
	uint64_t words[INODE_SIZE / sizeof(uint64_t)];
	const uint64_t *from = slot;

	for (size_t i = 0; i < INODE_SIZE / sizeof(uint64_t); i++)
		words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	memcpy(d, words, sizeof(*d));
}

/* Read the slot into ip, whose state is LOADING. *wrong tells what does not verify. */
static int load(struct inode *ip, const char **wrong)
{
	struct pool *p = ip->pool;
	struct disk_inode d;

	*wrong = NULL;
	ip->slot = inode_offset(p, ip->ino);
	if (!ip->slot)
		return -ESTALE;
	read_slot(&d, pool_at(p, ip->slot));
	if (disk_inode_free(&d))
		return -ESTALE;
	*wrong = disk_inode_verify(&p->super, &d, ip->ino, ip->slot);
	if (*wrong)
		return -EUCLEAN;
	inode_decode(&d, &ip->core);
	return 0;
}

/* Load an inode that was hashed as LOADING, and wake who waits. On error the reference is gone. */
static int load_hashed(struct icache_stripe *s, struct inode *ip)
{
	const char *wrong;
	int rc = load(ip, &wrong);

	pthread_mutex_lock(&s->lock);
	if (ip->state == ICACHE_DEAD)
		rc = -ESTALE;		/* displaced by a creator: what was read may be anything */
	ip->state = rc ? ICACHE_DEAD : ICACHE_LIVE;
	if (rc)
		list_del(&ip->hash);
	pthread_cond_broadcast(&s->loaded);
	pthread_mutex_unlock(&s->lock);
	if (rc == -EUCLEAN)
		log_error("inode %llu at byte %llu: wrong %s: run fsck.inodax", (unsigned long long)ip->ino,
			  (unsigned long long)ip->slot, wrong);
	if (rc)
		inode_put(ip);
	return rc;
}

/*
 * Stripe locked: take a reference to an inode that is hashed, waiting for its load. 0; -ESTALE for a dead
 * one; -EAGAIN when the load failed, so that everybody finds out for himself why.
 */
static int get_hashed(struct icache_stripe *s, struct inode *ip)
{
	if (ip->state == ICACHE_DEAD)
		return -ESTALE;
	take_ref(s, ip);
	if (ip->state == ICACHE_LIVE)
		return 0;
	while (ip->state == ICACHE_LOADING)
		pthread_cond_wait(&s->loaded, &s->lock);
	if (ip->state == ICACHE_LIVE)
		return 0;
	pthread_mutex_unlock(&s->lock);
	inode_put(ip);
	pthread_mutex_lock(&s->lock);
	return -EAGAIN;
}

int inode_get(struct pool *p, uint64_t ino, struct inode **out)
{
	struct icache *ic = p->icache;
	struct icache_stripe *s = stripe_of(ic, ino);
	struct inode *ip;
	int rc;

	if (ino == INO_ITABLE || ino > INO_MAX)
		return -ESTALE;
	pthread_mutex_lock(&s->lock);
	do {
		ip = find(ic, ino);
		rc = ip ? get_hashed(s, ip) : 0;
	} while (rc == -EAGAIN);
	if (ip || rc) {
		pthread_mutex_unlock(&s->lock);
		if (!rc)
			*out = ip;
		return rc;
	}
	ip = inode_alloc(p, ino, ICACHE_LOADING);
	if (ip)
		list_add_tail(&ip->hash, bucket_of(ic, ino));
	pthread_mutex_unlock(&s->lock);
	if (!ip)
		return -ENOMEM;
	rc = load_hashed(s, ip);
	if (!rc)
		*out = ip;
	return rc;
}

/* ---- Creation ------------------------------------------------------------------------------------------ */

/* Hash a new inode; whoever has its number now is of the past. */
static void hash_new(struct icache *ic, struct inode *ip)
{
	struct icache_stripe *s = stripe_of(ic, ip->ino);
	struct inode *old;

	pthread_mutex_lock(&s->lock);
	old = find(ic, ip->ino);
	if (old) {
		assert(old->state != ICACHE_LIVE);
		list_del(&old->hash);
		old->state = ICACHE_DEAD;
		pthread_cond_broadcast(&s->loaded);
	}
	list_add_tail(&ip->hash, bucket_of(ic, ip->ino));
	pthread_mutex_unlock(&s->lock);
}

/*
 * The creating transaction ends; its own reference goes. Runs before the one of ialloc_alloc(), which frees
 * the slot.
 */
static void end_new(void *arg, bool committed)
{
	struct inode *ip = arg;
	struct icache_stripe *s = stripe_of(ip->pool->icache, ip->ino);

	if (!committed) {
		pthread_mutex_lock(&s->lock);
		ip->state = ICACHE_DEAD;
		pthread_mutex_unlock(&s->lock);
	}
	inode_put(ip);
}

int inode_new(struct tx *tx, struct inode **out)
{
	struct pool *p = tx->pool;
	uint64_t ino, generation;
	struct inode *ip;
	int rc;

	rc = ialloc_alloc(tx, &ino, &generation);
	if (rc)
		return rc;
	ip = inode_alloc(p, ino, ICACHE_LIVE);
	if (!ip)
		return -ENOMEM;
	ip->slot = inode_offset(p, ino);
	ip->core.generation = generation;
	ip->core.format = INODE_FORMAT_EXTENTS;
	rc = tx_on_end(tx, end_new, ip);
	if (rc) {
		inode_destroy(ip);
		return rc;
	}
	ip->refs++;
	/* Not to be waited for, as nobody can find it yet: ialloc.lock may be held, which comes after inodes' locks. */
	rc = pthread_rwlock_trywrlock(&ip->lock);
	assert(!rc);
	hash_new(p->icache, ip);
	rc = inode_join(tx, ip);
	if (rc) {
		pthread_rwlock_unlock(&ip->lock);
		inode_put(ip);
		return rc;
	}
	*out = ip;
	return 0;
}
