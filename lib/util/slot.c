/*
 * Thread numbers from a bitmap under a mutex, given back by a thread-specific key's destructor; membarrier(2).
 */
#include "util/slot.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/bitmap.h"

_Thread_local unsigned int slot_number;
_Thread_local size_t slot_own;
bool slot_asymmetric;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t taken[BITMAP_WORDS(SLOT_MAX)];

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void give_back(void *value)
{
	unsigned int n = (unsigned int)(uintptr_t)value - 1;

	slot_number = 0;
	slot_own = 0;
	if (slot_shared(n))
		return;
	pthread_mutex_lock(&lock);
	bitmap_clear(taken, n);
	pthread_mutex_unlock(&lock);
}

static void set_up(void)
{
	/* Without a key a number is never given back: correct, and at worst shared sooner. */
	if (pthread_key_create(&key, give_back))
		key = (pthread_key_t)-1;
	slot_asymmetric = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

unsigned int slot_take(void)
{
	unsigned int n;

	pthread_once(&once, set_up);
	pthread_mutex_lock(&lock);
	n = (unsigned int)bitmap_next_clear(taken, 0, SLOT_SHARED);
	if (!slot_shared(n))
		bitmap_set(taken, n);
	pthread_mutex_unlock(&lock);
	slot_number = n + 1;
	if (slot_asymmetric && !slot_shared(n))
		slot_own = (size_t)(n + 1) * SLOT_BYTES;
	if (key != (pthread_key_t)-1)
		pthread_setspecific(key, (void *)(uintptr_t)(n + 1));
	return n;
}

bool fence_heavy(void)
{
	pthread_once(&once, set_up);
	atomic_thread_fence(memory_order_seq_cst);
	return !slot_asymmetric || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}
