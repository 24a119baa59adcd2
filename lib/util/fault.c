/*
 * Fault injection: one counter a site.
 *
 * 0: not armed, the state of every program that is not a test, found out with one relaxed load. n > 0: the
 * n-th asking from now fails, once. FAULT_ALWAYS: every asking fails. Threads that ask at the same moment
 * count each other, exactly one of them gets the fault. The counters are global on purpose: the sites are
 * compiled into code that has no test context to pass along.
 */
#include "util/fault.h"

#include <stdatomic.h>

#define FAULT_ALWAYS	(-1L)

static atomic_long armed[FAULT_SITES];

bool fault(enum fault_site site)
{
	long n = atomic_load_explicit(&armed[site], memory_order_relaxed);

	while (n > 0)
		if (atomic_compare_exchange_weak_explicit(&armed[site], &n, n - 1, memory_order_relaxed,
							  memory_order_relaxed))
			return n == 1;
	return n == FAULT_ALWAYS;
}

void fault_arm(enum fault_site site, unsigned long n)
{
	atomic_store_explicit(&armed[site], (long)n, memory_order_relaxed);
}

void fault_arm_always(enum fault_site site)
{
	atomic_store_explicit(&armed[site], FAULT_ALWAYS, memory_order_relaxed);
}

void fault_disarm(enum fault_site site)
{
	atomic_store_explicit(&armed[site], 0, memory_order_relaxed);
}
