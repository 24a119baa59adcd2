/*
 * Direct mappings, the client's side: what its files share. lib/direct.h is what is said to the daemon.
 *
 *	client.c	the process: locks, threads, descriptors that may be gone
 *	grant.c		grants: one for all maps of a file that are alike
 *	grant_open.c	how a grant is made
 *	area.c		what the daemon knows of a map, and the guard page
 *	cover.c		the cached mapping put over what is mapped directly
 *	resolve.c	what the daemon answers to FAULT becomes mappings; the thread that asks again
 *	revoke.c	the threads that answer revocations
 *	uffd.c		memory that says when it is touched
 *	hole.c		the thread that gives blocks to a hole when it is stored to
 *	copy.c		private maps: what was stored to them
 *	fork.c		both sides of a fork
 *	part.c		maps cut in two, and their rights
 *	map.c		the calls
 *	pin.c		pins
 *
 * A map has in the address space its range, and a guard page, a private mapping of the file that nobody can touch. What
 * is mapped over the range comes and goes; the guard keeps the FUSE handle, with it the grant. Maps that were one share
 * the guard, and the area that the daemon knows.
 * The cached mapping of the whole range is kept elsewhere too, as a `spare`: mremap() from there puts any of it over
 * the range without asking the filesystem. (mmap() of the file does ask: it waits for dirty and locked pages of it, and
 * those for the daemon.)
 *
 * Locks, outermost first:
 *
 *	a claimed map	one thread at a time asks the daemon for a map or takes it down. A flag: whoever has claimed may
 *			wait for anything but another claim.
 *	client.working	shared: whoever makes or asks for grants, areas and units; held while it waits for the daemon.
 *			Exclusively: fork.
 *	client.making	grants come and go. Held while the daemon is waited for.
 *	client.lock	all else. Never held while the daemon may be waited for: not across an ioctl, an open, or an
 *			access to memory of a map. What the threads of revoke.c and hole.c take, and all they take.
 *			Held with all signals blocked: a handler may touch a hole.
 *
 * A hole of a map for stores is moved and unmapped with client.lock held, while the reader of uffd.c hears of it: that
 * thread takes none of these.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/pieces.h"
#include "direct.h"
#include "util/list.h"

#define PAGE		4096U
#define REASON_MAX	108U		/* as in struct inodax_query */

struct revoker;
struct stat;

struct client {
	pthread_rwlock_t working;
	pthread_mutex_t	 making;
	pthread_mutex_t	 lock;
	pthread_cond_t	 changed;	/* a claim ended, a revocation was answered, a map is due. CLOCK_MONOTONIC */
	struct list	 grants;	/* [lock; and making, to change it] */
	struct list	 revokers;	/* [making] */
	bool		 resolving;	/* the resolver runs. [lock] */
	bool		 settles;	/* map_settle() is called in the child of a fork before it goes on. Constant */
	void		*nothing;	/* a page of an empty file: SIGBUS. Constant */
};

extern struct client client;

/* A descriptor, and what it was open on: programs close what they did not open. */
struct desc {
	int	 fd;			/* -1: none */
	dev_t	 dev;
	uint64_t ino;
};

struct grant {
	struct list	 node;		/* in client.grants */
	struct list	 maps;		/* [lock] */
	unsigned int	 users;		/* maps, and who is about to make one. [making] */
	bool		 write;		/* constant */
	int		 mode;		/* O_RDWR, O_RDONLY: as the descriptor that it was made by. Constant */
	struct desc	 handle;	/* the FUSE handle. Constant, until the last user goes */

	/* [making; and lock, to change it] What there is with the daemon; page NULL: no direct access. */
	struct direct_page *page;
	struct desc	 pool;
	struct direct_name name;
	uint64_t	 pool_bytes;
	uint64_t	 unit;		/* bytes; PAGE without direct access */
	bool		 sync;		/* the pool is mapped with MAP_SYNC */
	bool		 again;		/* no direct access, but worth asking again */
	char		 reason[REASON_MAX];	/* why no direct access. Pieces of its maps refer to it */

	/* [lock] */
	bool		 stale;		/* the parent's, or not known to the daemon: its maps need another one */
	uint32_t	 done;		/* revocations answered, as page->done */
	struct revoker	*revoker;	/* who answers them. [making, lock] */
	struct list	 served;	/* in the revoker's */
};

/* What the daemon knows of a map, or of several that were one: each of them uses its part. */
struct area {
	unsigned int	 users;		/* [lock] */
	bool		 placed;	/* it knows it. [lock] */
	uint32_t	 number;	/* then. [lock] */
	uint64_t	 start, length;	/* of the file. Constant */
	char		*guard;		/* constant */
};

struct inodax_map {
	struct list	 node;		/* in grant->maps. [lock] */
	struct grant	*grant;		/* [claimed, lock] */
	struct area	*area;		/* [claimed, lock] */
	uint64_t	 start, length;	/* of the file, whole units. [claimed, lock] */
	uint64_t	 asked, asked_length;	/* by the caller, from `start`. [claimed, lock] */
	char		*base;		/* where `start` is mapped. Constant */
	char		*spare;		/* the cached mapping of [start, start + length). [claimed, lock] */
	bool		 write;		/* stores may be allowed: so is the area. [claimed, lock] */
	bool		 private;	/* stores are the process's own: MAP_PRIVATE. Not `write` then. Constant */
	bool		 copies;	/* private, and stored to, perhaps: copy.c. [claimed, lock] */
	bool		 untouched;	/* nobody can have stored to it since it was made, or forked. [claimed, lock] */
	int		 prot;		/* what is allowed now: PROT_... [claimed, lock] */
	bool		 nofork;	/* no child of a fork has any of it: MADV_DONTFORK. [claimed, lock] */
	bool		 claimed;	/* [lock] */
	bool		 sparse;	/* its holes are said as ranges, DIRECT_SPARSE. [claimed] */
	uint64_t	 extents;	/* that were mapped so far: not less than there are. [claimed] */
	bool		 told;		/* what is taken back may say when it is touched. [claimed, lock] */
	bool		 demand;	/* INODAX_ZERO pieces say when they are stored to: hole.c. [claimed, lock] */
	bool		 filling;	/* hole.c asks the daemon: map and grant stay. [lock] */
	uint64_t	 stored_to;	/* where the last store that got blocks ended, and how much that was. [lock] */
	uint64_t	 stored;
	uint64_t	 generation;	/* grows when some of it is revoked. [lock] */
	bool		 revoked;	/* since it was claimed. [lock] */
	struct pieces	 pieces;	/* kinds are INODAX_DIRECT, ...; offsets from `start`. [lock] */
	uint64_t	 due;		/* when to ask again, ms; 0: never. [lock] */
	uint64_t	 pause;		/* how long the last time, ms. [lock] */
};

/* ---- client.c --------------------------------------------------------------------------------------------- */

/* client_enter - before anything else in a call: makes what the process needs once, and anew after a fork. */
int client_enter(void);

/* client_init_locks - all locks free: at the start, and in the child of a fork. */
void client_init_locks(void);

/* client_lock, client_unlock - client.lock, with all signals of the thread blocked. Not nested. */
void client_lock(void);
void client_unlock(void);

/* client_thread - a detached thread with all signals blocked and a small stack. -EAGAIN, -ENOMEM. */
int client_thread(void *(*fn)(void *), void *arg);

/* client_now - monotonic time, ms, never 0. client_wait - for client.changed until then; caller holds client.lock. */
uint64_t client_now(void);
void client_wait(uint64_t until);

/* client_reason - an errno in words; static. */
const char *client_reason(int rc);

/* desc_of - remember what `fd` is open on. -errno. */
int desc_of(struct desc *d, int fd);

/* desc_fd - the descriptor; -EBADF: somebody closed it. Does not wait for the daemon. */
int desc_fd(const struct desc *d);

/*
 * desc_locked - somebody, perhaps this process, has locks of fcntl(2) on the file. To close any descriptor of a file
 * gives up those that the process has, by whatever descriptor they were taken. Does not wait for the daemon.
 */
bool desc_locked(int fd);

/* desc_close - close it if it is still that. */
void desc_close(struct desc *d);

/* ---- grant.c, grant_open.c -------------------------------------------------------------------------------- */

/*
 * grant_get - the grant of the file that `fd` is open on, made if need be; also one without direct access, which then
 * says why. Maps for loads alone have a handle for stores too where `fd` is open for them: mprotect(2) may add the
 * right. Caller holds client.working, and gives it back with grant_put(). -EOPNOTSUPP: no file of inodax.
 */
int grant_get(int fd, bool write, struct grant **out);
void grant_put(struct grant *g);

/*
 * grant_single - one with direct access that no map gets, for one user, who puts it. Caller holds client.working and
 * making. Errors as of open(2) and direct.h.
 */
int grant_single(int fd, bool write, struct grant **out);

/*
 * map_grant - the grant that a map has now, for a caller that has not claimed the map; grant_put() gives it back.
 * Caller holds client.working.
 */
struct grant *map_grant(struct inodax_map *m);

/* grant_retry - ask again for direct access where that is worth it. Caller holds client.working. */
void grant_retry(struct grant *g);

/*
 * grant_open - a grant of its own for a file, by a new handle. grant_connect - direct access for a grant that has none;
 * on failure g->again and g->reason say what comes of it. -ENOTTY, -ENOSYS: the filesystem knows of no such thing.
 * grant_disconnect - the end of that. Caller holds client.making; nobody else uses a grant that is opened.
 */
int grant_open(int fd, const struct stat *st, bool write, int mode, struct grant **out);
int grant_connect(struct grant *g);
void grant_disconnect(struct grant *g);
void grant_close(struct grant *g);

/* grant_ioctl - on its handle. -errno; -EBADF: the handle's descriptor is gone. */
int grant_ioctl(const struct grant *g, unsigned long request, void *arg);

/* grant_behind - a revocation was posted and is not answered. Caller holds client.lock. */
bool grant_behind(const struct grant *g);

/* ---- area.c ----------------------------------------------------------------------------------------------- */

/*
 * area_new - an area of nobody's, unknown to the daemon, with a guard page of the grant's handle. -errno. area_free -
 * one that nobody uses; this may wait for the daemon.
 */
int area_new(const struct grant *g, uint64_t start, uint64_t length, struct area **out);
void area_free(struct area *area);

/*
 * area_leave - the map, of which nothing is mapped directly, does without its area from now on: the daemon is told. It
 * gets `next`, unless NULL. Caller has claimed the map and holds client.working, not client.lock.
 */
void area_leave(struct inodax_map *m, struct area *next);

/* ---- cover.c ---------------------------------------------------------------------------------------------- */

/* Where a map is to be. */
struct place {
	char	*at;		/* NULL: anywhere */
	bool	 fixed;		/* there, whatever is there */
	bool	 noreplace;	/* there, or -EEXIST. Neither: there if nothing is */
};

/*
 * map_place - find room for the range, map the file there, and the spare. Sets base and spare. -errno; -EOPNOTSUPP: a
 * place that is given, and that is not whole units.
 */
int map_place(struct inodax_map *m, const struct place *place);

/*
 * map_uncover - the cached mapping over [offset, offset + length), whatever is there; what was stored to a private map
 * is lost. Caller holds client.lock. -ENOMEM: not done.
 */
int map_uncover(struct inodax_map *m, uint64_t offset, uint64_t length, const char *reason);

/*
 * map_again - what is mapped at `from`, a spare or client.nothing with the rights `has`, is mapped at `at` as well,
 * with those of the map. Of a private mapping mremap() makes no second one, but what it moves leaves the mapping
 * behind, with MREMAP_DONTUNMAP (Linux 5.13): so nobody ever touches a spare. -errno.
 */
int map_again(const struct inodax_map *m, char *from, uint64_t length, int has, char *at);

/*
 * map_withdraw - nothing is mapped where direct mappings were: there is nothing left to revoke. Caller holds
 * client.lock. -ENOMEM: some of them are there.
 */
int map_withdraw(struct inodax_map *m);

/* map_displace - unmap the spare, and the range but where it is to be kept; this may wait for the daemon. */
void map_displace(struct inodax_map *m, bool keep);

/*
 * map_cover - the cached mapping over [offset, offset + length) of the range where it is not there, for `reason`, or
 * what may have been stored to a private map. It may do more. Caller holds client.lock. -ENOMEM: not done; the direct
 * mappings are there, or some of them.
 */
int map_cover(struct inodax_map *m, uint64_t offset, uint64_t length, const char *reason);

/*
 * map_move - to another grant, which the map takes over; the old one is put. All of it is cached afterwards. Caller has
 * claimed the map and holds client.working. On failure it has the old one.
 */
int map_move(struct inodax_map *m, struct grant *to);

/* ---- part.c ----------------------------------------------------------------------------------------------- */

/*
 * map_split - the part from byte `offset` of what was asked for on, neither 0 nor the end, becomes a map of its own.
 * What is mapped stays as it is. Caller has claimed the map; he has claimed the other too. -EOPNOTSUPP: not between
 * units; -ENOMEM.
 */
int map_split(struct inodax_map *m, size_t offset, struct inodax_map **out);

/*
 * map_protect - mprotect(2). Caller has claimed the map, which is asked for by map_resolve() when the answer is 1. 0;
 * -EACCES: the file is not open for stores, or the kernel says so; -ENOMEM.
 */
int map_protect(struct inodax_map *m, int prot);

/*
 * map_borrow - the library's descriptor of the file, which stays open until map_return(). -EBADF: the program has
 * closed it. One of the caller's own could not be closed: see desc_locked().
 */
int map_borrow(struct inodax_map *m, struct grant **g);
void map_return(struct grant *g);

/* map_same_file - are both of one file, for the same? Neither is claimed by the caller. */
bool map_same_file(const struct inodax_map *a, const struct inodax_map *b);

/* map_inherit - MADV_DOFORK, MADV_DONTFORK. Caller has claimed the map. */
void map_inherit(struct inodax_map *m, bool inherit);

/* ---- copy.c ------------------------------------------------------------------------------------------------ */

/* copy_begin - a private map may be stored to from now on. Caller holds client.lock. -errno: as it was. */
int copy_begin(struct inodax_map *m);

/*
 * copy_keep - what is direct of [offset, offset + length), in one piece, becomes the process's own, as if all of it had
 * been stored to. copy_zeros - the same for a hole. Caller holds client.lock. -ENOMEM: not done.
 */
int copy_keep(struct inodax_map *m, uint64_t offset, uint64_t length);
int copy_zeros(struct inodax_map *m, uint64_t offset, uint64_t length);

/*
 * copy_fits - may an answer be mapped over [pos, end) of the file: can nothing have been stored there, as far as stores
 * are the process's own? Another thread may have been answered since the question. Caller holds client.lock.
 */
bool copy_fits(const struct inodax_map *m, uint64_t pos, uint64_t end);

/* copy_inherit - the child of a fork, before anything else: what was stored stays, the rest is cached. */
void copy_inherit(struct inodax_map *m);

/*
 * copy_drop - MADV_DONTNEED: in [offset, offset + length) of the range the file is seen again, whatever was stored.
 * Caller has claimed the map. -errno.
 */
int copy_drop(struct inodax_map *m, uint64_t offset, uint64_t length);

/*
 * copy_carry - what was stored to [offset, offset + length) of the range is stored to `to` also, which is as long.
 * Caller has claimed the map; nobody stores to either. May wait for the daemon.
 */
void copy_carry(struct inodax_map *m, uint64_t offset, uint64_t length, char *to);

/* ---- map.c ------------------------------------------------------------------------------------------------ */

/*
 * map_open - inodax_map(), at a place and with rights (PROT_...) within what `flags` says. map_claim - wait until it is
 * nobody else's to change; map_release() ends that.
 */
int map_open(int fd, uint64_t offset, size_t length, unsigned int flags, const struct place *place, int prot,
	     struct inodax_map **out);
void map_claim(struct inodax_map *m);

/* map_settle - ask for what is not direct, as inodax_map() does, and end the claim. Caller has claimed the map. */
void map_settle(struct inodax_map *m);

/*
 * map_end - the end of a map that the caller has claimed. `keep`: its range stays mapped as mmap(2) does it, without
 * direct access, and is the caller's alone; -ENOMEM: it is there still, cached perhaps.
 */
int map_end(struct inodax_map *m, bool keep);

/*
 * map_has - is [offset, offset + length), from what the caller asked for, in the map? `offset` has to be, in any case.
 */
bool map_has(const struct inodax_map *m, size_t offset, size_t length);

/* ---- resolve.c -------------------------------------------------------------------------------------------- */

/*
 * map_resolve - ask for all that is not direct, once. Caller has claimed the map. 0: that was all for now; -EAGAIN:
 * call again in a moment.
 */
int map_resolve(struct inodax_map *m);

/*
 * map_ask - FAULT [pos, end) with these flags, with client.lock not held. *generation: of the map, before. The answer
 * counts if, with the lock held, that is the same and grant_behind() says no. -EAGAIN: not now.
 */
int map_ask(struct inodax_map *m, uint64_t pos, uint64_t end, uint32_t flags, struct direct_fault *f,
	    uint64_t *generation);

/*
 * map_put - map an extent of an answer that counts. Caller holds client.lock. On failure the cached mapping is there.
 */
int map_put(struct inodax_map *m, const struct direct_extent *e);

/*
 * map_stopped - an answer ended before `end` for a reason, other than DIRECT_MORE and DIRECT_AGAIN: the rest is cached.
 * Caller holds client.lock. -ENOMEM.
 */
int map_stopped(struct inodax_map *m, const struct direct_fault *f, uint64_t end);

/* map_release - end a claim and say when the resolver is to look at the map. `rc`: of map_resolve(). */
void map_release(struct inodax_map *m, int rc);

/* resolver - the thread. */
void *resolver(void *arg);

/* ---- revoke.c --------------------------------------------------------------------------------------------- */

/* revoker_add - answer the revocations of a grant from now on. Caller holds client.making. -EAGAIN, -ENOMEM. */
int revoker_add(struct grant *g);

/* revoker_remove - not any more. Caller holds client.making. */
void revoker_remove(struct grant *g);

/* revokers_forget - the child of a fork has no such threads. */
void revokers_forget(void);

/* ---- uffd.c ----------------------------------------------------------------------------------------------- */

struct touch {
	uint64_t	 address;	/* of the page */
	bool		 store;
};

/*
 * uffd_start - from now on there can be holes that say when they are touched. Caller holds client.making. Else why not,
 * and uffd_refusal() has it in words.
 */
int uffd_start(void);
const char *uffd_refusal(void);

/* uffd_map_count - how many mappings the process may have. Once uffd_start() said 0. */
uint64_t uffd_map_count(void);

/*
 * uffd_put - a hole over [at, at + length), whole pages, with these rights; `zeros`: only a store is told. Whoever
 * waits there is woken. Caller holds client.lock. On failure nothing may be mapped there.
 */
int uffd_put(char *at, uint64_t length, int prot, bool zeros);

/* uffd_next - wait for a touch. Nobody who touched a hole goes on before something else is mapped there. */
void uffd_next(struct touch *t);

/* uffd_forget - the child of a fork has neither threads nor holes. */
void uffd_forget(void);

/* ---- hole.c ----------------------------------------------------------------------------------------------- */

/*
 * Reasons of pieces, compared as pointers. hole_no_space: to be asked for. hole_at_end: it says when it is touched.
 * hole_beyond: it was, and is SIGBUS until the daemon says that the file has grown.
 */
extern const char hole_no_space[], hole_at_end[], hole_beyond[];

/* hole_at - is the piece a hole that says when it is touched? Caller holds client.lock, here and below. */
bool hole_at(const struct inodax_map *m, const struct piece *at);

/*
 * hole_put - [offset, offset + length) of the range becomes such a hole where it is not direct; `zeros`: one that is
 * known to be a hole still. On failure the cached mapping is there.
 */
int hole_put(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t shift, bool zeros);

/*
 * hole_ask - nothing of what is there stays: who touches it asks; where nothing can say that it is touched, it is
 * cached. -ENOMEM, and others: not done.
 */
int hole_ask(struct inodax_map *m, uint64_t offset, uint64_t length);

/*
 * hole_revoke - nothing of what is mapped in [offset, offset + length) stays. `flags`: DIRECT_REVOKE_..., with ZEROS
 * only what is no block goes, with COWS what was stored to a private map, too. What went is asked for when it is
 * touched; where nothing can say that it is, it is cached. -ENOMEM: not done, or not all.
 */
int hole_revoke(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t flags);

/*
 * hole_end - the file ends before [offset, offset + length): it says when it is touched, as the file may have grown by
 * then. On failure the cached mapping is there, or what was there.
 */
int hole_end(struct inodax_map *m, uint64_t offset, uint64_t length);

/* hole_wait - until nobody uses the map and its grant on behalf of a store. The lock is dropped meanwhile. */
void hole_wait(struct inodax_map *m);

/* hole_thread - the thread. */
void *hole_thread(void *arg);

/* ---- fork.c ----------------------------------------------------------------------------------------------- */

int fork_init(void);

#endif
