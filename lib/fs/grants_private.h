/*
 * What the files of the daemon's side of direct mappings share.
 *
 * Lock order: fs_grant.fault_lock -> what a fault takes (dax/dax.h) -> dax_mapping.vma_lock -> fs_grant.lock, the page
 * tables of dax/dax.h -> dax_mapping.lock; fs_grants.lock below all.
 */
#ifndef FS_GRANTS_PRIVATE_H
#define FS_GRANTS_PRIVATE_H

#include <pthread.h>

#include "fs/fs_private.h"
#include "fs/grants.h"
#include "util/list.h"

/* A range of a file that a client maps: a VMA. */
struct fs_area {
	struct dax_vma		 dax;
	struct fs_grant		*grant;
	struct list		 link;		/* fs_grant.areas */
	bool			 write;
	bool			 sparse;	/* DIRECT_SPARSE */
};

/* A revocation that was posted and not answered. */
struct fs_revoke {
	struct list		 link;
	struct fs_area		*area;
	uint64_t		 index, count;	/* what is unmapped when it is answered; count 0: only zeros */
	uint32_t		 number;	/* of the page's record */
};

struct fs_grant {
	struct list		 link;		/* fs_grants.list; under its lock */
	struct list		 due;		/* fs_grants.due while an answer is due; both under its lock */
	bool			 is_due;
	unsigned int		 refs;		/* the handle's, one for each call under way; fs_grants.lock */
	struct fs		*fs;
	struct direct_name	 name;
	struct inode		*ip;		/* referenced */
	struct dax_mapping	*mapping;
	bool			 writable;
	_Atomic unsigned int	 storing;	/* areas for stores */
	int32_t			 pid;
	uint32_t		 uid;

	pthread_mutex_t		 fault_lock;	/* one request at a time */
	struct direct_fault	*answer;	/* of the FAULT under way; under fault_lock */

	pthread_mutex_t		 lock;		/* all below */
	struct grant		*list;		/* NULL until it is started; set once, under fault_lock */
	struct list		 areas;
	struct list		 pins;
	uint32_t		 next_area;
	struct list		 revokes;	/* not answered, in order */
	uint32_t		 posted, done;
	unsigned int		 looks;		/* for answers */
	int			 page_fd;
	struct direct_page	*page;		/* for futexes: its bytes are read and written through page_fd, as the
						   client may have cut the file */
	char			 page_path[DIRECT_PATH];
};

/* Of a mounted pool. */
struct fs_grants {
	struct fs		*fs;
	pthread_mutex_t		 lock;		/* down to stop */
	struct list		 list;		/* of handles that are open */
	struct list		 due;		/* those of them with revocations that are not answered */
	struct list		 left;		/* struct survivor: handles are gone, mappings of the pool are not */
	uint64_t		 number;	/* of the last one */
	pthread_cond_t		 work;		/* with lock: something was posted, or somebody survives, or stop */
	bool			 stop;
	pthread_t		 thread;	/* reads what clients answer */
	bool			 running;
	bool			 unknown;	/* somebody maps who knows what: the pool is read-only. The thread's */
	_Atomic unsigned int	 storing;	/* areas for stores */
	pthread_mutex_t		 uncache_lock;	/* one at a time */
	struct fs_grants_hooks	 hooks;		/* zero: nobody serves */
	char			 pool[DIRECT_PATH];
};

/* A list whose handle is gone while somebody still has the grant's byte of the pool locked: its references stay. */
struct survivor {
	struct list	 link;
	struct grant	*list;
	uint64_t	 number;
};

/* ---- grants.c ---------------------------------------------------------------------------------------------- */

/*
 * grant_get - by number and token, started or not; the caller gives it back. -EACCES. grant_put - the last one ends it:
 * no lock held.
 */
int grant_get(struct fs *fs, const struct direct_name *name, struct fs_grant **out);
void grant_put(struct fs_grant *g);

/*
 * grant_lock - grant_get(), and fault_lock, which whoever has it keeps while he waits for clients. grant_finish - both;
 * `rc`.
 */
int grant_lock(struct fs *fs, const struct direct_name *name, bool nowait, struct fs_grant **out);
int grant_finish(struct fs_grant *g, int rc);

/* look_at_unknown - is the pool to be changed again? */
void look_at_unknown(struct fs_grants *gs);

/* ---- grants_map.c ------------------------------------------------------------------------------------------ */

/* grant_shift - log2 of the map unit's bytes. */
unsigned int grant_shift(const struct fs_grant *g);

/*
 * grant_begin - a request to a grant that is started: fault_lock is held from here on, where it succeeds. -EACCES,
 * -EINVAL, -ENOTTY, FS_WOULD_WAIT. grant_finish() ends it.
 */
int grant_begin(struct fs *fs, const struct direct_name *name, bool nowait, struct fs_grant **out);

/*
 * area_check - may the range be mapped so? What MAP answers otherwise. area_new - an area of it; -ENOMEM, -ENOSPC. Both
 * with fault_lock held. area_number - a number that neither an area nor a pin has; lock held. -ENOSPC.
 */
int area_check(const struct fs_grant *g, uint64_t offset, uint64_t length, uint32_t flags);
int area_new(struct fs_grant *g, const struct direct_map *map, struct fs_area **out);
int area_number(struct fs_grant *g, uint32_t *number);

/* area_fault - the units from a->offset on, as FAULT answers; a->next is a->offset, a->count 0. fault_lock held. */
int area_fault(struct fs_area *area, struct direct_fault *a, bool nowait);

/* area_end - the client unmapped all of it, or is gone; `keep`: it maps it still. fault_lock held, lock not. */
void area_end(struct fs_area *area, bool keep);

/* ---- grants_pin.c ------------------------------------------------------------------------------------------ */

/* pin_number_used - has a pin this number? lock held. */
bool pin_number_used(struct fs_grant *g, uint32_t number);

/* pins_end - the grant is gone; `keep`: somebody may use what they hold still. No lock held. */
void pins_end(struct fs_grant *g, bool keep);

/* ---- grants_revoke.c --------------------------------------------------------------------------------------- */

/* revoke_post - tell the client, who answers or does not. lock held. */
void revoke_post(struct fs_area *area, uint64_t index, uint64_t count, uint32_t flags);

/* revoke_forget - of an area that ends: nobody answers for it any more. lock held. */
void revoke_forget(struct fs_area *area);

/* revoke_start, revoke_stop - the thread. */
int revoke_start(struct fs_grants *gs);
void revoke_stop(struct fs_grants *gs);

/* page_make, page_remove - the file of a grant's page. pages_clean - those that an earlier daemon left. */
int page_make(struct fs_grant *g, const struct fs_cred *cred);
void page_remove(struct fs_grant *g);
void pages_clean(const struct fs *fs);

/* byte_locked - does anybody have the grant's byte of the pool locked? */
bool byte_locked(const struct fs *fs, uint64_t number);

#endif
