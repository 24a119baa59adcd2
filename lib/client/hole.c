/*
 * Holes of maps for stores, which get blocks when they are stored to: the thread that does that.
 *
 * A hole is memory that says when it is touched (uffd.c). A load asks the daemon what is there, for 2 MiB around: where
 * it still is a hole, zeros come that can be loaded from then on without anybody being asked. A store asks for blocks,
 * and what comes is mapped. A revocation takes away what is there, zeros or the pool's memory, in maps for loads too,
 * and leaves such a hole: the next touch asks again, as a fault does. (The page cache in its place would be filled by
 * that touch, and then be in everybody's way.)
 *
 * How much is asked for: a store gets its unit alone, so what is stored to at random is all that is allocated. Stores
 * one after the other get twice as much each time, up to 2 MiB. Each unit in the middle of a hole makes three mappings
 * of one, and a process has no more than vm.max_map_count: a map in more than half as many pieces fills 2 MiB around
 * each store. Where the kernel has none left all the same, the map is cached.
 *
 * The thread of a program that touches a hole may hold whatever lock the program has, malloc()'s too. So the thread
 * here takes client.lock and nothing else, which no thread touches a map with, in a signal handler neither; it
 * allocates nothing from the heap, asks by a buffer of its own, and touches no map. It claims no map, as who has a
 * claim may wait for whatever it likes: the map and its grant stay as long as `filling` is set.
 */
#include "client/client.h"

#include <errno.h>

#include "client/inodax.h"
#include "client/mm.h"

#define AROUND		(2ULL << 20)
#define WAIT_MS		5000U		/* for revocations elsewhere, before the page cache has to do */
#define AGAIN_MS	1U
#define RETRY_MS	100U		/* when there is no way to go on */
#define NOSPC_MS	1000U		/* until what got no blocks is a hole again */

const char hole_at_end[] = "asked for when it is touched: the file may have grown";
const char hole_beyond[] = "touched beyond the end of the file";
const char hole_no_space[] = "no space for the blocks of a hole";

/* Where something was touched, and what is asked for. */
struct fill {
	struct inodax_map *m;
	uint64_t	 pos;		/* the unit, in the file */
	uint64_t	 first, end;	/* pos is within */
	bool		 store;		/* that gets blocks */
	bool		 copy;		/* that is to a private map: zeros become the process's own */
};

bool hole_at(const struct inodax_map *m, const struct piece *at)
{
	return at->kind == INODAX_ASKED || at->reason == hole_at_end || (m->demand && at->kind == INODAX_ZERO);
}

/* ---- Made, revoked ---------------------------------------------------------------------------------------- */

/* One part, alike throughout. */
static int put_part(struct inodax_map *m, const struct piece *part, bool zeros)
{
	int rc = pieces_set(&m->pieces, part);

	if (!rc)
		rc = uffd_put(m->base + part->offset, part->length, m->prot, zeros);
	if (rc)
		(void)map_cover(m, part->offset, part->length, client_reason(rc));
	return rc;
}

int hole_put(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t shift, bool zeros)
{
	struct piece part = { .kind = INODAX_ZERO, .shift = shift };
	uint64_t end = offset + length;
	int rc = 0;

	for (part.offset = offset; part.offset < end && !rc; part.offset += part.length) {
		const struct piece *at = pieces_at(&m->pieces, part.offset);

		part.length = (at->offset + at->length < end ? at->offset + at->length : end) - part.offset;
		if (at->kind == INODAX_DIRECT)
			continue;
		if (hole_at(m, at) && !zeros)
			rc = pieces_set(&m->pieces, &part);
		else
			rc = put_part(m, &part, zeros);
	}
	return rc;
}

int hole_ask(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece part = { .offset = offset, .length = length, .kind = INODAX_ASKED };

	if (m->told && !((offset | length) & (m->grant->unit - 1)) && !put_part(m, &part, false))
		return 0;
	return m->copies ? map_uncover(m, offset, length, "revoked") : map_cover(m, offset, length, "revoked");
}

/* Nothing is left in what is a hole already. */
static int empty(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece part = { .offset = offset, .length = length, .kind = INODAX_ASKED };
	int rc;

	if (mm_madvise(m->base + offset, length, MADV_DONTNEED))
		rc = -errno;
	else
		rc = pieces_set(&m->pieces, &part);
	return rc ? map_cover(m, offset, length, "revoked") : 0;
}

/* Does it go, now that there are blocks or the file has grown? */
static bool is_no_block(const struct piece *at)
{
	return at->kind == INODAX_ZERO || at->reason == hole_beyond;
}

/* Is it the kernel's own mapping, or the process's own memory? Then it stays; copies only where the file goes on. */
static bool stays(const struct piece *at, uint32_t flags)
{
	if (at->kind == INODAX_CACHED || (at->kind == INODAX_BEYOND && at->reason != hole_beyond))
		return true;
	if (at->kind == INODAX_COPY)
		return !(flags & DIRECT_REVOKE_COWS);
	return flags & DIRECT_REVOKE_ZEROS && !is_no_block(at);
}

int hole_revoke(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t flags)
{
	bool keeps = m->copies && !(flags & DIRECT_REVOKE_COWS);
	uint64_t end = offset + length, next;
	int rc = 0;

	for (; offset < end && !rc; offset = next) {
		const struct piece *at = pieces_at(&m->pieces, offset);

		next = at->offset + at->length < end ? at->offset + at->length : end;
		if (hole_at(m, at))
			rc = empty(m, offset, next - offset);
		else if (stays(at, flags))
			continue;
		else if (keeps && at->reason != hole_beyond)
			rc = map_cover(m, offset, next - offset, "revoked");
		else
			rc = hole_ask(m, offset, next - offset);
	}
	return rc;
}

int hole_end(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece part = { .kind = INODAX_BEYOND, .reason = hole_at_end };
	uint64_t end = offset + length;
	int rc = 0;

	for (part.offset = offset; part.offset < end && !rc; part.offset += part.length) {
		const struct piece *at = pieces_at(&m->pieces, part.offset);

		part.length = (at->offset + at->length < end ? at->offset + at->length : end) - part.offset;
		if (hole_at(m, at))
			rc = pieces_set(&m->pieces, &part);
		else
			rc = put_part(m, &part, false);
	}
	return rc;
}

void hole_wait(struct inodax_map *m)
{
	while (m->filling)
		pthread_cond_wait(&client.changed, &client.lock);
}

/* ---- How much --------------------------------------------------------------------------------------------- */

/* `size` bytes around the unit, aligned, as far as the hole goes. */
static void around(struct fill *f, const struct piece *hole, uint64_t size)
{
	uint64_t first = f->m->start + hole->offset, end = first + hole->length;

	f->first = f->pos & ~(size - 1);
	f->end = f->first + size;
	if (f->first < first)
		f->first = first;
	if (f->end > end)
		f->end = end;
}

static void how_much(struct fill *f, const struct piece *hole)
{
	uint64_t size = f->m->grant->unit, around_size = size > AROUND ? size : AROUND;
	uint64_t end = f->m->start + hole->offset + hole->length;

	if (!f->store || f->m->pieces.count > uffd_map_count() / 2) {
		around(f, hole, around_size);
		return;
	}
	if (f->m->stored && f->pos == f->m->stored_to)
		size = 2 * f->m->stored < around_size ? 2 * f->m->stored : around_size;
	f->first = f->pos;
	f->end = f->pos + size;
	if (f->end > end)
		f->end = end;
}

/* ---- Filling ---------------------------------------------------------------------------------------------- */

static struct inodax_map *map_of(uint64_t address)
{
	struct list *i, *j;

	list_for_each(i, &client.grants) {
		list_for_each(j, &list_entry(i, struct grant, node)->maps) {
			struct inodax_map *m = list_entry(j, struct inodax_map, node);

			if (address - (uintptr_t)m->base < m->length)
				return m;
		}
	}
	return NULL;
}

/* The hole that was touched. false: somebody was faster, and who waited was woken. */
static bool find(const struct touch *t, struct fill *f)
{
	const struct piece *at;
	bool store;

	f->m = map_of(t->address);
	if (!f->m)
		return false;
	at = pieces_at(&f->m->pieces, t->address - (uintptr_t)f->m->base);
	if (!hole_at(f->m, at))
		return false;
	/* Who lost the right meanwhile is shown what is there, and then SIGSEGV. */
	store = t->store && f->m->prot & PROT_WRITE;
	f->store = store && !f->m->private;
	f->copy = store && f->m->private;
	f->pos = (f->m->start + (t->address - (uintptr_t)f->m->base)) & ~(f->m->grant->unit - 1);
	how_much(f, at);
	return true;
}

static bool still(const struct fill *f)
{
	return hole_at(f->m, pieces_at(&f->m->pieces, f->pos - f->m->start));
}

/* A hole, as far as is known. */
static bool is_zero(const struct fill *f)
{
	return pieces_at(&f->m->pieces, f->pos - f->m->start)->kind == INODAX_ZERO;
}

/* Zeros that a store was asked for are none any more where the answer does not have it, since there may be blocks. */
static int drop_zeros(const struct fill *f, uint64_t from)
{
	return f->store && from < f->end ? hole_revoke(f->m, from - f->m->start, f->end - from,
							DIRECT_REVOKE_ZEROS) : 0;
}

/* The lock is given up while the daemon is asked; the map stays. -EAGAIN: the answer is void. */
static int ask(const struct fill *f, struct direct_fault *answer)
{
	struct inodax_map *m = f->m;
	uint64_t generation;
	int rc, err;

	if (!m->area->placed || m->grant->stale)
		return -EIO;
	m->filling = true;
	client_unlock();
	rc = map_ask(m, f->first, f->end, f->store ? 0 : DIRECT_LOAD, answer, &generation);
	client_lock();
	m->filling = false;
	pthread_cond_broadcast(&client.changed);
	if (!rc && (generation != m->generation || grant_behind(m->grant) || !copy_fits(m, f->first, f->end)))
		rc = -EAGAIN;
	err = drop_zeros(f, rc ? f->first : answer->next);
	return rc ? rc : err;
}

static int put_answer(struct inodax_map *m, const struct direct_fault *answer)
{
	int rc = desc_fd(&m->grant->pool) < 0 && answer->count ? -EBADF : 0;

	for (uint32_t i = 0; i < answer->count && !rc; i++) {
		const struct direct_extent *e = &answer->extent[i];

		if (e->type == DIRECT_ZERO && m->demand)
			rc = hole_put(m, e->offset - m->start, e->length, e->shift, true);
		else
			rc = map_put(m, e);
	}
	return rc;
}

/* Whoever touches the unit has SIGBUS. */
static int put_nothing(const struct fill *f, uint32_t kind, const char *reason)
{
	struct inodax_map *m = f->m;
	uint64_t unit = m->grant->unit;
	struct piece what = { .offset = f->pos - m->start, .length = unit, .kind = kind, .reason = reason };
	char *at = m->base + what.offset;
	int rc = pieces_set(&m->pieces, &what);

	if (!rc)
		rc = map_again(m, client.nothing, unit, PROT_READ | PROT_WRITE, at);
	if (!rc && mm_madvise(at, unit, MADV_DONTFORK))
		rc = -errno;
	return rc ? map_cover(m, what.offset, unit, reason) : 0;
}

/* Nothing came for the unit. */
static int stopped(const struct fill *f, const struct direct_fault *answer)
{
	if (answer->next != f->pos || answer->stop == DIRECT_MORE)
		return -EPROTO;
	if (answer->stop == DIRECT_AGAIN)
		return -EAGAIN;
	/* The daemon says when the file has grown; when there is space it does not. */
	if (answer->stop == DIRECT_EOF)
		return put_nothing(f, INODAX_BEYOND, hole_beyond);
	f->m->due = client_now() + NOSPC_MS;
	if (answer->stop == DIRECT_NOSPC && f->store)
		return put_nothing(f, INODAX_LOST, hole_no_space);
	return map_stopped(f->m, answer, f->end);
}

/* Once. -EAGAIN: again, in a moment. Else an error, or whoever waits was woken. client.lock held, dropped between. */
static int attempt(const struct touch *t, struct fill *f)
{
	static struct direct_fault answer;	/* one thread: its own */
	int rc;

	if (!find(t, f))
		return 0;
	if (f->copy && is_zero(f))
		return copy_zeros(f->m, f->pos - f->m->start, f->m->grant->unit);
	rc = ask(f, &answer);
	if (!rc)
		rc = put_answer(f->m, &answer);
	if (rc)
		return rc;
	if (f->copy && is_zero(f))
		return copy_zeros(f->m, f->pos - f->m->start, f->m->grant->unit);
	if (f->store) {
		f->m->stored_to = answer.next;
		f->m->stored = answer.next - f->first;
	}
	if (f->store ? !still(f) : answer.next > f->pos)
		return 0;
	if (f->first < f->pos) {
		/* What was answered ended before the unit. */
		f->first = f->pos;
		rc = ask(f, &answer);
		if (!rc)
			rc = put_answer(f->m, &answer);
		if (rc || (f->store ? !still(f) : answer.next > f->pos))
			return rc;
	}
	return stopped(f, &answer);
}

/* The page cache has to do: cached, from the unit to the end of what was asked for. */
static int give_up(const struct touch *t, struct fill *f, int rc)
{
	if (!find(t, f))
		return 0;
	if (rc == -EACCES)
		f->m->grant->stale = true;
	f->m->due = client_now();
	return map_cover(f->m, f->pos - f->m->start, f->end - f->pos, client_reason(rc));
}

static void touched(const struct touch *t)
{
	uint64_t until = client_now() + WAIT_MS;
	struct fill f;
	int rc;

	client_lock();
	while ((rc = attempt(t, &f)) == -EAGAIN && client_now() < until)
		client_wait(client_now() + AGAIN_MS);
	while (rc) {
		rc = give_up(t, &f, rc);
		if (rc)
			client_wait(client_now() + RETRY_MS);
	}
	pthread_cond_broadcast(&client.changed);	/* a map may be due */
	client_unlock();
}

void *hole_thread(void *arg)
{
	struct touch t;

	for (;;) {
		uffd_next(&t);
		touched(&t);
	}
	return arg;
}
