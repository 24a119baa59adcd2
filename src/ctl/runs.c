/*
 * inodaxctl: runs of references from the grant lists, in an order that a command can use.
 *
 * The lists have no order and change meanwhile. A pass over them (grant_scan()) takes the runs that come next in the
 * order wanted into an array; when it is full, the later half is dropped, and the next pass begins where it was cut.
 * So a list of any length costs the memory of one array. Nothing that a list says is believed: a run that cannot be in
 * this pool is left out. One that moved while it was read, and was seen twice, is shown once.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_FIRST	1024U
#define RUNS_MAX	(1U << 20)	/* 56 MiB; a page of a list has 247 */

uint64_t ctl_run_units(const struct ctl_view *v, const struct ctl_run *run)
{
	return run->count * ctl_view_units(v, run->size);
}

/* ---- Order ----------------------------------------------------------------------------------------------- */

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* What does not decide for a reader decides at last, so that no two different runs are equal. */
static int compare_rest(const struct ctl_run *a, const struct ctl_run *b)
{
	int c = compare(a->id, b->id);

	c = c ? c : compare(a->kind, b->kind);
	c = c ? c : compare(a->area, b->area);
	c = c ? c : compare(a->count, b->count);
	c = c ? c : compare(a->size, b->size);
	c = c ? c : compare((uint32_t)a->pid, (uint32_t)b->pid);
	return c ? c : compare(a->uid, b->uid);
}

static int by_unit(const void *left, const void *right)
{
	const struct ctl_run *a = left, *b = right;
	int c = compare(a->unit, b->unit);

	c = c ? c : compare(a->ino, b->ino);
	c = c ? c : compare(a->index, b->index);
	return c ? c : compare_rest(a, b);
}

static int by_file(const void *left, const void *right)
{
	const struct ctl_run *a = left, *b = right;
	int c = compare(a->ino, b->ino);

	c = c ? c : compare(a->index, b->index);
	c = c ? c : compare(a->unit, b->unit);
	return c ? c : compare_rest(a, b);
}

static int (*const compare_by[])(const void *, const void *) = {
	[CTL_BY_UNIT] = by_unit,
	[CTL_BY_FILE] = by_file,
};

/* ---- One pass -------------------------------------------------------------------------------------------- */

/* Can this be in the pool, and in a file? */
static bool possible(const struct ctl_view *v, const struct grant_ref *ref)
{
	uint64_t n = ctl_view_units(v, ref->size), units = ref->count * n, end = (uint64_t)INT64_MAX >> v->unit_shift;

	return n && units && units <= v->units && ref->unit <= v->units - units && !(ref->unit & (n - 1)) &&
	       ref->index <= end && units <= end - ref->index;
}

static void sort(struct ctl_runs *r)
{
	if (r->count)
		qsort(r->run, r->count, sizeof(*r->run), compare_by[r->order]);
}

/* Room for one more: a larger array, or the later half of a full one goes. */
static bool make_room(struct ctl_runs *r)
{
	size_t room = r->room ? 2 * r->room : RUNS_FIRST;
	struct ctl_run *grown;

	if (r->count < r->room)
		return true;
	if (r->room < RUNS_MAX) {
		grown = realloc(r->run, room * sizeof(*grown));
		if (!grown)
			return false;
		r->run = grown;
		r->room = room;
		return true;
	}
	sort(r);
	r->count /= 2;
	r->high = r->run[r->count - 1];
	r->has_high = true;
	return true;
}

static bool in_pass(const struct ctl_runs *r, const struct ctl_run *run)
{
	return (!r->has_low || compare_by[r->order](run, &r->low) > 0) &&
	       (!r->has_high || compare_by[r->order](run, &r->high) <= 0);
}

static void add_run(void *arg, const struct grant_owner *owner, const struct grant_ref *ref)
{
	struct ctl_runs *r = arg;
	struct ctl_run run;

	if ((r->ino != CTL_ANY && owner->ino != r->ino) || (r->kind != CTL_ANY && ref->kind != r->kind))
		return;
	if (r->nomem || !possible(r->view, ref))
		return;
	memset(&run, 0, sizeof(run));
	run.id = owner->id;
	run.ino = owner->ino;
	run.index = ref->index;
	run.unit = ref->unit;
	run.count = (uint32_t)ref->count;
	run.area = (uint16_t)ref->area;
	run.kind = (uint8_t)ref->kind;
	run.size = (uint8_t)ref->size;
	run.pid = owner->pid;
	run.uid = owner->uid;
	if (!in_pass(r, &run))
		return;
	if (!make_room(r))
		r->nomem = true;
	else if (in_pass(r, &run))
		r->run[r->count++] = run;
}

static int fill(struct ctl_runs *r)
{
	struct dax_shm_view *shm = &r->view->shm;
	int rc;

	r->count = r->at = 0;
	r->has_high = false;
	dax_shm_view_refresh(shm);
	rc = grant_scan(shm->lists, shm->lists_size, add_run, r);
	if (r->nomem)
		rc = -ENOMEM;
	if (rc == -EUCLEAN)
		fprintf(stderr, "inodaxctl: %s: the file of its grants does not begin as one does\n", r->view->pool);
	else if (rc)
		fprintf(stderr, "inodaxctl: %s: %s\n", r->view->pool, strerror(-rc));
	else
		sort(r);
	return rc;
}

/* ---- All passes ------------------------------------------------------------------------------------------ */

int ctl_runs_open(struct ctl_runs *r, struct ctl_view *v, enum ctl_order order, uint64_t ino, uint64_t kind)
{
	int rc;

	*r = (struct ctl_runs){ .view = v, .order = order, .ino = ino, .kind = kind };
	rc = fill(r);
	if (rc)
		ctl_runs_close(r);
	return rc;
}

void ctl_runs_close(struct ctl_runs *r)
{
	free(r->run);
	r->run = NULL;
}

int ctl_runs_next(struct ctl_runs *r, struct ctl_run *out)
{
	int rc;

	for (;;) {
		while (r->at < r->count) {
			*out = r->run[r->at++];
			if (r->has_low && compare_by[r->order](out, &r->low) == 0)
				continue;
			r->low = *out;
			r->has_low = true;
			return 1;
		}
		if (!r->has_high)
			return 0;
		r->low = r->high;
		rc = fill(r);
		if (rc)
			return rc;
	}
}
