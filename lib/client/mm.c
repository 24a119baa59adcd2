#include "client/mm.h"

#include <stdatomic.h>
#include <stdint.h>

#define FIRST	(32ULL << 40)
#define LAST	(64ULL << 40)
#define PAGES	4095ULL

void *mm_room(size_t length)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	(void)length;
	return NULL;	/* they have their own view of what lies where */
#else
	static _Atomic uint64_t next = FIRST;
	uint64_t need = (length + PAGES) & ~PAGES, at = atomic_load(&next), from;

	do
		from = need < LAST - at ? at : FIRST;
	while (!atomic_compare_exchange_weak(&next, &at, need < LAST - FIRST ? from + need : from));
	return (void *)(uintptr_t)from;
#endif
}
