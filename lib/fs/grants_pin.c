/*
 * Pins of clients: blocks that stay where they are, whoever unmaps them, until the client lets go of them or the handle
 * of its grant is released. What a client gives to a device, or to the kernel (io_uring's registered buffers), it pins:
 * neither looks at page tables.
 *
 * A pin goes the way of get_user_pages(): the range is faulted in through an area that only this request knows, pinned
 * there, and unmapped. Nothing of it is ever told to the client, so nothing has to be revoked.
 */
#include "fs/grants_private.h"

#include <errno.h>
#include <stdlib.h>

#include "util/fault.h"

struct fs_pin {
	struct dax_pin	dax;
	struct list	link;		/* fs_grant.pins */
};

/* ---- Making one --------------------------------------------------------------------------------------------- */

static int why_stopped(const struct direct_fault *a)
{
	for (uint32_t i = 0; i < a->count; i++) {
		if (a->extent[i].type == DIRECT_ZERO)
			return -ENODATA;
		if (a->extent[i].type == DIRECT_POISON)
			return -EIO;
	}
	switch (a->stop) {
	case DIRECT_MORE:
		return 0;
	case DIRECT_EOF:
		return -ENXIO;
	case DIRECT_NOSPC:
		return -ENOSPC;
	case DIRECT_CACHED:
		return -EOPNOTSUPP;
	}
	return -EAGAIN;
}

/* All of [offset, offset + length), mapped nowhere: addresses are as file offsets, so that large entries can be. */
static int fault_in(struct fs_area *area, uint64_t offset, uint64_t length, bool nowait)
{
	struct direct_fault *a = fault(FAULT_ALLOC) ? NULL : malloc(sizeof(*a));
	uint64_t end = offset + length;
	int rc = a ? 0 : -ENOMEM;

	while (!rc && offset < end) {
		*a = (struct direct_fault){
			.offset = offset, .length = end - offset, .address = offset, .next = offset,
		};
		rc = area_fault(area, a, nowait);
		if (!rc)
			rc = why_stopped(a);
		if (!rc && a->next == offset)
			rc = -EAGAIN;
		offset = a->next;
	}
	free(a);
	return rc;
}

static int pin_area(struct fs_area *area, uint64_t offset, uint64_t length, bool nowait, struct fs_pin *p)
{
	unsigned int flags = DAX_PIN_LONGTERM | (area->write ? DAX_PIN_WRITE : 0);
	int rc = fault_in(area, offset, length, nowait);

	if (!rc)
		rc = dax_pin(&area->dax, area->dax.index, area->dax.count, flags, &p->dax);
	return rc == -EFAULT ? -EAGAIN : rc;	/* revoked in between */
}

/* fault_lock held. */
static int pin(struct fs_grant *g, struct direct_pin *d, bool nowait)
{
	struct direct_map range = { .offset = d->offset, .length = d->length, .flags = d->flags };
	struct fs_pin *p = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*p));
	struct fs_area *area;
	struct grant_ref ref;
	int rc = p ? area_new(g, &range, &area) : -ENOMEM;

	if (rc) {
		free(p);
		return rc;
	}
	p->dax.grant = g->list;
	pthread_mutex_lock(&g->lock);
	rc = area_number(g, &p->dax.area);
	pthread_mutex_unlock(&g->lock);
	if (!rc)
		rc = pin_area(area, d->offset, (uint64_t)area->dax.count << grant_shift(g), nowait, p);
	area_end(area, false);
	if (rc) {
		free(p);
		return rc;
	}
	d->pin = p->dax.area;
	if (grant_find_ref(g->list, GRANT_PIN, d->pin, p->dax.index, &ref))
		d->addr = ref.unit << grant_shift(g);
	pthread_mutex_lock(&g->lock);
	list_add_tail(&p->link, &g->pins);
	pthread_mutex_unlock(&g->lock);
	return 0;
}

int fs_grant_pin(struct fs *fs, struct direct_pin *d, bool nowait)
{
	struct fs_grant *g;
	int rc = grant_begin(fs, &d->name, nowait, &g);

	if (rc)
		return rc;
	rc = d->flags & ~DIRECT_WRITE ? -EINVAL : area_check(g, d->offset, d->length, d->flags);
	if (!rc)
		rc = pin(g, d, nowait);
	return grant_finish(g, rc);
}

/* ---- The end of one ----------------------------------------------------------------------------------------- */

/* lock held. */
static struct fs_pin *find(struct fs_grant *g, uint32_t number)
{
	struct list *pos;

	list_for_each(pos, &g->pins)
		if (list_entry(pos, struct fs_pin, link)->dax.area == number)
			return list_entry(pos, struct fs_pin, link);
	return NULL;
}

bool pin_number_used(struct fs_grant *g, uint32_t number)
{
	return find(g, number) != NULL;
}

int fs_grant_unpin(struct fs *fs, const struct direct_unpin *u, bool nowait)
{
	struct fs_grant *g;
	struct fs_pin *p;
	int rc = grant_begin(fs, &u->name, nowait, &g);

	if (rc)
		return rc;
	pthread_mutex_lock(&g->lock);
	p = find(g, u->pin);
	if (p)
		list_del(&p->link);
	pthread_mutex_unlock(&g->lock);
	if (!p)
		return grant_finish(g, -EINVAL);
	dax_unpin(&p->dax);
	free(p);
	return grant_finish(g, 0);
}

/* A survivor's references are the list's from here on. The inode is not kept for them: what it loses waits in limbo. */
void pins_end(struct fs_grant *g, bool keep)
{
	while (!list_empty(&g->pins)) {
		struct fs_pin *p = list_entry(g->pins.next, struct fs_pin, link);

		list_del(&p->link);
		if (keep)
			dax_pin_abandon(&p->dax);
		else
			dax_unpin(&p->dax);
		free(p);
	}
}
