/*
 * Areas: what the daemon knows of maps, and the guard pages that keep the handles of their grants.
 *
 * A map that is cut in two (part.c) leaves both halves in one area: references are by area and place in the file, so
 * the daemon need not know. Each half is unmapped by itself, and the last one takes the area with it.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>

#include "client/mm.h"
#include "util/fault.h"

int area_new(const struct grant *g, uint64_t start, uint64_t length, struct area **out)
{
	int fd = desc_fd(&g->handle);
	struct area *a;

	if (fd < 0)
		return fd;
	a = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->start = start;
	a->length = length;
	a->guard = mm_mmap(mm_room(PAGE), PAGE, PROT_NONE, MAP_PRIVATE, fd, 0);
	if (a->guard == MAP_FAILED) {
		int rc = errno == ENODEV ? -EOPNOTSUPP : -errno;

		free(a);
		return rc;
	}
	*out = a;
	return 0;
}

void area_free(struct area *area)
{
	mm_munmap(area->guard, PAGE);
	free(area);
}

/* The references go before the handle does. */
void area_leave(struct inodax_map *m, struct area *next)
{
	struct direct_unmap u = { .name = m->grant->name, .offset = m->start, .length = m->length };
	struct area *area = m->area;
	bool last, tell;

	client_lock();
	u.area = area->number;
	tell = area->placed;
	last = !--area->users;
	m->area = next;
	if (next)
		next->users++;
	client_unlock();
	if (last) {
		u.offset = area->start;
		u.length = area->length;
	}
	if (tell)
		(void)grant_ioctl(m->grant, DIRECT_IOC_UNMAP, &u);
	if (last)
		area_free(area);
}
