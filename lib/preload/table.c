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
	bool	     taken;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;	/* somebody uses a range no more */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Sorted by address. [lock] */
static struct slot *slots;
static size_t room;
static _Atomic size_t count;		/* [lock, to change it] */

/* ---- Forks ------------------------------------------------------------------------------------------------- */

static void lock_table(void)
{
	pthread_mutex_lock(&lock);
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
		slots[i].taken = false;
	}
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
	bool found = false;

	if (!atomic_load_explicit(&count, memory_order_acquire))
		return false;
	pthread_mutex_lock(&lock);
	for (size_t i = first_beyond(from); i < count && slots[i].range.start < to && !found; i++) {
		if (slots[i].taken)
			continue;
		found = true;
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

static int grow(void)
{
	size_t bigger = room ? 2 * room : 16;
	struct slot *more = fault(FAULT_ALLOC) ? NULL : realloc(slots, bigger * sizeof(*slots));

	if (!more)
		return -ENOMEM;
	slots = more;
	room = bigger;
	return 0;
}

int table_insert(const struct range *r)
{
	int rc = 0;
	size_t at;

	pthread_once(&once, init);
	pthread_mutex_lock(&lock);
	if (count == room)
		rc = grow();
	if (!rc) {
		at = first_beyond(r->start);
		memmove(slots + at + 1, slots + at, (count - at) * sizeof(*slots));
		slots[at] = (struct slot){ .range = *r };
		atomic_fetch_add_explicit(&count, 1, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* It stays in the table, though nobody finds it, until the last user has left. */
bool table_take(const struct range *r)
{
	struct slot *s;
	bool mine;
	size_t i;

	pthread_mutex_lock(&lock);
	s = slot_of(r, &i);
	mine = !s->taken;
	s->taken = true;
	s->users--;
	pthread_cond_broadcast(&left);
	while (mine && s->users) {
		pthread_cond_wait(&left, &lock);
		s = slot_of(r, &i);
	}
	if (mine) {
		memmove(slots + i, slots + i + 1, (count - i - 1) * sizeof(*slots));
		atomic_fetch_sub_explicit(&count, 1, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return mine;
}
