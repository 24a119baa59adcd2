#include "preload/table.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/fault.h"

struct slot {
	struct range range;
	unsigned int users;
	bool	     owned;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;	/* somebody uses a range no more */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Sorted by address. [lock] */
static struct slot *slots;
static size_t room;
static size_t reserved;			/* of it, for those who own ranges. [lock] */
static unsigned int cutting;		/* who own ranges that nobody uses any more. [lock] */
static _Atomic size_t count;		/* [lock, to change it] */

/* ---- Forks ------------------------------------------------------------------------------------------------- */

/* Whoever owns a range is about to cut it: the child finds it whole, or in parts. */
static void lock_table(void)
{
	pthread_mutex_lock(&lock);
	while (cutting)
		pthread_cond_wait(&left, &lock);
}

static void unlock_table(void)
{
	pthread_mutex_unlock(&lock);
}

/* Threads that used ranges, or waited for those who did, are not there. */
static void child(void)
{
	pthread_mutex_init(&lock, NULL);
	pthread_cond_init(&left, NULL);
	for (size_t i = 0; i < count; i++) {
		slots[i].users = 0;
		slots[i].owned = false;
	}
	reserved = 0;
}

static void init(void)
{
	pthread_atfork(lock_table, unlock_table, child);
}

/* ---- Finding ----------------------------------------------------------------------------------------------- */

/* Index of the first that ends beyond `at`; the count: none does. */
static size_t first_beyond(uintptr_t at)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slots[mid].range.end > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static struct slot *slot_of(const struct range *r, size_t *index)
{
	*index = first_beyond(r->start);
	return *index < count && slots[*index].range.map == r->map ? &slots[*index] : NULL;
}

bool table_next(uintptr_t from, uintptr_t to, struct range *out)
{
	bool found;
	size_t i;

	if (!atomic_load_explicit(&count, memory_order_acquire))
		return false;
	pthread_mutex_lock(&lock);
	for (;;) {
		i = first_beyond(from);
		found = i < count && slots[i].range.start < to;
		if (!found || !slots[i].owned)
			break;
		pthread_cond_wait(&left, &lock);
	}
	if (found) {
		slots[i].users++;
		*out = slots[i].range;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

void table_put(const struct range *r)
{
	struct slot *s;
	size_t i;

	pthread_mutex_lock(&lock);
	s = slot_of(r, &i);
	if (s && s->users)
		s->users--;
	pthread_cond_broadcast(&left);
	pthread_mutex_unlock(&lock);
}

/* ---- Changing ---------------------------------------------------------------------------------------------- */

/* Caller holds the lock. */
static int make_room(size_t more)
{
	size_t bigger = room ? 2 * room : 16;
	struct slot *new;

	if (count + more <= room)
		return 0;
	while (bigger < count + more)
		bigger *= 2;
	new = fault(FAULT_ALLOC) ? NULL : realloc(slots, bigger * sizeof(*slots));
	if (!new)
		return -ENOMEM;
	slots = new;
	room = bigger;
	return 0;
}

int table_insert(const struct range *r)
{
	size_t at;
	int rc;

	pthread_once(&once, init);
	pthread_mutex_lock(&lock);
	rc = make_room(1 + reserved);
	if (!rc) {
		at = first_beyond(r->start);
		memmove(slots + at + 1, slots + at, (count - at) * sizeof(*slots));
		slots[at] = (struct slot){ .range = *r };
		atomic_fetch_add_explicit(&count, 1, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* Who owns a range may put TABLE_PARTS in its place: there is room for the others, whoever owns what. */
int table_own(const struct range *r)
{
	struct slot *s;
	size_t i;
	int rc;

	pthread_mutex_lock(&lock);
	rc = make_room(reserved + TABLE_PARTS - 1);
	s = slot_of(r, &i);
	if (!s || s->owned)
		rc = -EAGAIN;
	if (s && s->users)
		s->users--;
	if (!rc) {
		s->owned = true;
		reserved += TABLE_PARTS - 1;
	}
	pthread_cond_broadcast(&left);
	while (!rc && slot_of(r, &i)->users)
		pthread_cond_wait(&left, &lock);
	cutting += !rc;
	pthread_mutex_unlock(&lock);
	return rc;
}

void table_replace(const struct range *r, const struct range *with, unsigned int parts)
{
	size_t i;

	pthread_mutex_lock(&lock);
	if (slot_of(r, &i)) {
		memmove(slots + i + parts, slots + i + 1, (count - i - 1) * sizeof(*slots));
		for (unsigned int n = 0; n < parts; n++)
			slots[i + n] = (struct slot){ .range = with[n] };
		atomic_store_explicit(&count, count + parts - 1, memory_order_release);
		reserved -= TABLE_PARTS - 1;
		cutting--;
	}
	pthread_cond_broadcast(&left);
	pthread_mutex_unlock(&lock);
}
