/*
 * The model's operations: what file system calls, calls on address spaces, pins and media errors change.
 */
#include "arbiter_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t pages(const struct am *m, uint64_t bytes)
{
	return (bytes + m->unit_bytes - 1) / m->unit_bytes;
}

/* ---- Layout breaking ------------------------------------------------------------------------------------- */

/* The range as whole entries; all of the file, where the kernel's way is asked for. */
static void widen(const struct am *m, const struct am_file *f, uint64_t *index, uint64_t *end)
{
	if (*index < m->file_units && f->entry[*index].big)
		*index -= *index % m->big;
	if (*end <= m->file_units && *end && f->entry[*end - 1].big)
		*end += (m->big - *end % m->big) % m->big;
}

static void layout_range(const struct am *m, const struct am_file *f, uint64_t *index, uint64_t *end)
{
	if (m->kernel) {
		*index = 0;
		*end = AM_END;
	}
	widen(m, f, index, end);
}

bool am_break_busy(const struct am *m, unsigned int file, uint64_t index, uint64_t end)
{
	const struct am_file *f = &m->file[file];

	layout_range(m, f, &index, &end);
	for (uint64_t i = index; i < end && i < m->file_units; i++)
		if (f->entry[i].kind == AM_REAL && am_entry_start(m, f, i) == i && am_busy(m, f->entry[i].unit))
			return true;
	return false;
}

int am_break(struct am *m, unsigned int file, uint64_t index, uint64_t end, int busy)
{
	struct am_file *f = &m->file[file];

	if (index == end)
		return 0;
	layout_range(m, f, &index, &end);
	am_zap(m, file, index, end, false);
	if (am_break_busy(m, file, index, end))
		return m->pin_busy && !m->kernel && busy == -EINTR ? -EBUSY : busy;
	for (uint64_t i = index; i < end && i < m->file_units; i++)
		if (f->entry[i].kind != AM_NONE)
			am_delete_entry(m, f, i);
	return 0;
}

int am_invalidate(struct am *m, unsigned int file, uint64_t index, uint64_t count)
{
	struct am_file *f = &m->file[file];
	uint64_t end = index + count, n;
	int rc = 0;

	widen(m, f, &index, &end);
	for (uint64_t i = index; i < end; i += n) {
		struct am_entry e = f->entry[i];

		n = am_entry_units(m, f, i);
		if (e.kind == AM_NONE)
			continue;
		if (!e.dirty && !e.towrite)
			am_zap(m, file, i, i + n, false);
		if (e.dirty || e.towrite || (e.kind == AM_REAL && am_busy(m, e.unit)))
			rc = -EBUSY;
		else
			am_delete_entry(m, f, i);
	}
	return rc;
}

void am_writeback(struct am *m, unsigned int file, uint64_t index, uint64_t count)
{
	struct am_file *f = &m->file[file];
	uint64_t end = index + count;

	widen(m, f, &index, &end);
	for (uint64_t i = index; i < end; i++) {
		struct am_entry *e = &f->entry[i];

		if (e->kind != AM_REAL || (!e->dirty && !e->towrite))
			continue;
		e->dirty = e->towrite = false;
		for (unsigned int k = 0; k < AM_VMAS; k++) {
			struct am_vma *v = m->vma[k];

			if (v && v->file == file && i >= v->index && i < v->index + v->count &&
			    v->pte[i - v->index].kind == AM_UNIT)
				v->pte[i - v->index].write = false;
		}
	}
	f->meta_dirty = false;
}

/* ---- Files ----------------------------------------------------------------------------------------------- */

static void drop_slots(struct am *m, struct am_file *f, uint64_t index, uint64_t end)
{
	for (uint64_t i = index; i < end; i++) {
		struct am_slot s = f->slot[i];

		f->slot[i] = (struct am_slot){ .there = false };
		if (s.there)
			am_disown(m, s.unit);
	}
}

/* What is behind the end of the file in its last block. */
static void zero_tail(struct am *m, struct am_file *f, uint64_t size)
{
	const struct am_slot *s = &f->slot[size / m->unit_bytes];

	if (size % m->unit_bytes && s->there && !s->unwritten)
		m->unit[s->unit].bytes[AM_BYTES - 1] = 0;
}

int am_truncate(struct am *m, unsigned int file, uint64_t size, int busy)
{
	struct am_file *f = &m->file[file];
	uint64_t first = pages(m, size);
	int rc = 0;

	if (m->kernel || size < f->size)
		rc = am_break(m, file, first, AM_END, busy);
	if (rc)
		return rc;
	if (size < f->size) {
		f->size = size;
		am_zap(m, file, first, AM_END, true);
		drop_slots(m, f, first, m->file_units);
		zero_tail(m, f, size);
	} else {
		zero_tail(m, f, f->size);
		f->size = size;
	}
	return 0;
}

int am_punch(struct am *m, unsigned int file, uint64_t index, uint64_t count, int busy)
{
	int rc = am_break(m, file, index, index + count, busy);

	if (!rc)
		drop_slots(m, &m->file[file], index, index + count);
	return rc;
}

int am_zero_range(struct am *m, unsigned int file, uint64_t index, uint64_t count, int busy)
{
	struct am_file *f = &m->file[file];
	int rc = am_break(m, file, index, index + count, busy);
	bool new;

	for (uint64_t i = index; !rc && i < index + count; i++)
		if (am_shared(m, f, i))
			drop_slots(m, f, i, i + 1);
	if (!rc)
		rc = am_fill(m, file, index, index + count, true, &new);
	for (uint64_t i = index; !rc && i < index + count; i++)
		f->slot[i].unwritten = f->slot[i].there;
	return rc;
}

int am_fallocate(struct am *m, unsigned int file, uint64_t index, uint64_t count, bool written)
{
	struct am_file *f = &m->file[file];
	bool new;
	int rc = am_fill(m, file, index, index + count, true, &new);

	if (!rc && written)
		am_convert(m, f, index, index + count);
	for (uint64_t i = index; i < index + count; i++)
		if (!f->slot[i].there)
			rc = -ENOSPC;
	if (written)
		am_invalidate(m, file, index, count);
	return rc;
}

int am_reflink(struct am *m, unsigned int from, unsigned int to, bool from_first, uint64_t index,
	       uint64_t count, int busy)
{
	struct am_file *a = &m->file[from], *b = &m->file[to];
	int rc = am_break(m, from_first ? from : to, index, index + count, busy);

	/* The second is not waited for, whatever else was said. */
	if (!rc && am_break(m, from_first ? to : from, index, index + count, -EAGAIN))
		rc = busy;
	if (rc)
		return rc;
	for (uint64_t i = index; i < index + count; i++) {
		drop_slots(m, b, i, i + 1);
		b->slot[i] = a->slot[i];
		if (a->slot[i].there)
			m->unit[a->slot[i].unit].owners++;
		b->meta_dirty = true;
	}
	if (b->size < (index + count) * m->unit_bytes)
		b->size = (index + count) * m->unit_bytes;
	return 0;
}

/* A block of its own before write() changes it. */
static int make_own(struct am *m, unsigned int file, uint64_t index)
{
	struct am_file *f = &m->file[file];
	struct am_slot old = f->slot[index];
	int rc = am_break(m, file, index, index + 1, -EINTR);
	uint32_t unit;

	if (rc)
		return rc;
	if (!am_room(m))
		return -ENOSPC;
	unit = am_take(m, file, index);
	if (!old.unwritten)
		memcpy(m->unit[unit].bytes, m->unit[old.unit].bytes, AM_BYTES);
	f->slot[index] = (struct am_slot){ .there = true, .unit = unit };
	am_disown(m, old.unit);
	f->meta_dirty = true;
	return 0;
}

int am_write(struct am *m, unsigned int file, uint64_t index, unsigned int byte, uint8_t value)
{
	struct am_file *f = &m->file[file];
	uint64_t pos = index * m->unit_bytes + (byte ? m->unit_bytes - 1 : 0);
	bool new = false;
	int rc = am_shared(m, f, index) ? make_own(m, file, index) : 0;

	if (rc)
		return rc;
	if (f->slot[index].there && f->slot[index].unwritten)
		new = true;
	rc = am_fill(m, file, index, index + 1, false, &new);
	if (rc)
		return rc;
	am_convert(m, f, index, index + 1);
	if (new)
		am_invalidate(m, file, index, 1);
	if (pos >= f->size) {
		zero_tail(m, f, f->size);
		f->size = pos + 1;
	}
	m->unit[f->slot[index].unit].bytes[byte] = value;
	return 0;
}

uint8_t am_read(const struct am *m, unsigned int file, uint64_t index, unsigned int byte)
{
	const struct am_file *f = &m->file[file];
	const struct am_slot *s = &f->slot[index];
	uint64_t pos = index * m->unit_bytes + (byte ? m->unit_bytes - 1 : 0);

	return s->there && !s->unwritten && pos < f->size ? m->unit[s->unit].bytes[byte] : 0;
}

/* ---- Address spaces -------------------------------------------------------------------------------------- */

static struct am_vma *vma_new(struct am *m, uint64_t count)
{
	for (unsigned int i = 0; i < AM_VMAS; i++) {
		if (m->vma[i])
			continue;
		m->vma[i] = calloc(1, sizeof(*m->vma[i]));
		if (m->vma[i])
			m->vma[i]->pte = calloc(count, sizeof(*m->vma[i]->pte));
		if (!m->vma[i] || !m->vma[i]->pte)
			am_fail("no memory for the model");
		return m->vma[i];
	}
	am_fail("the model has no room for another VMA");
}

struct am_vma *am_mmap(struct am *m, unsigned int mm, unsigned int file, uint64_t index, uint64_t count,
		       uint64_t address)
{
	struct am_vma *v = vma_new(m, count);

	v->mm = mm;
	v->file = file;
	v->index = index;
	v->count = count;
	v->address = address;
	m->file[file].refs++;
	return v;
}

static void vma_delete(struct am *m, struct am_vma *v)
{
	am_clear(m, v, v->index, v->index + v->count, true);
	for (unsigned int i = 0; i < AM_VMAS; i++)
		if (m->vma[i] == v)
			m->vma[i] = NULL;
	am_put(m, v->file);
	free(v->pte);
	free(v->pending);
	free(v);
}

static void answer(struct am *m, struct am_vma *v)
{
	for (unsigned int i = 0; i < v->n_pending; i++)
		am_clear(m, v, v->pending[i].index, v->pending[i].end, v->pending[i].even_cows);
	v->n_pending = 0;
}

void am_answer(struct am *m, unsigned int mm)
{
	for (unsigned int i = 0; i < AM_VMAS; i++)
		if (m->vma[i] && m->vma[i]->mm == mm)
			answer(m, m->vma[i]);
}

/* Cut in two; what lies across goes. The VMA acknowledges what it was told of before. */
static void split(struct am *m, struct am_vma *v, uint64_t at)
{
	uint64_t keep = at - v->index, count = v->count - keep;
	struct am_vma *new;

	answer(m, v);
	if (v->pte[keep].kind != AM_NOT && v->pte[keep].big && at % m->big)
		am_clear(m, v, at, at + 1, true);
	new = am_mmap(m, v->mm, v->file, at, count, v->address + keep * m->unit_bytes);
	memcpy(new->pte, v->pte + keep, count * sizeof(*new->pte));
	new->shared = v->shared;
	new->write = v->write;
	new->sync = v->sync;
	new->nohuge = v->nohuge;
	v->count = keep;
}

/* The VMA at an address, if any, cut to what of it is in [address, end). */
static struct am_vma *cut_to(struct am *m, unsigned int mm, uint64_t address, uint64_t end)
{
	struct am_vma *v = am_vma_at(m, mm, address);

	if (!v)
		return NULL;
	if (v->address < address) {
		split(m, v, v->index + (address - v->address) / m->unit_bytes);
		v = am_vma_at(m, mm, address);
	}
	if (v->address + v->count * m->unit_bytes > end)
		split(m, v, v->index + (end - v->address) / m->unit_bytes);
	return v;
}

void am_munmap(struct am *m, unsigned int mm, uint64_t address, uint64_t count)
{
	for (uint64_t a = address, end = address + count * m->unit_bytes; a < end; a += m->unit_bytes) {
		struct am_vma *v = cut_to(m, mm, a, end);

		if (v)
			vma_delete(m, v);
	}
}

void am_protect(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool write)
{
	for (uint64_t a = address, end = address + count * m->unit_bytes; a < end; a += m->unit_bytes) {
		struct am_vma *v = cut_to(m, mm, a, end);

		if (!v || v->address != a)
			continue;
		v->write = write;
		/* Stores are noticed anew, also when they are allowed again. */
		for (uint64_t i = 0; i < v->count; i++)
			if (v->pte[i].kind == AM_UNIT)
				v->pte[i].write = false;
		a += (v->count - 1) * m->unit_bytes;
	}
}

void am_nohuge(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool on)
{
	for (uint64_t a = address, end = address + count * m->unit_bytes; a < end; a += m->unit_bytes) {
		struct am_vma *v = cut_to(m, mm, a, end);

		if (!v || v->address != a)
			continue;
		v->nohuge = on;
		a += (v->count - 1) * m->unit_bytes;
	}
}

void am_dontneed(struct am *m, unsigned int mm, uint64_t address, uint64_t count)
{
	for (uint64_t a = address, end = address + count * m->unit_bytes; a < end; a += m->unit_bytes) {
		struct am_vma *v = am_vma_at(m, mm, a);
		uint64_t i;

		if (!v)
			continue;
		i = v->index + (a - v->address) / m->unit_bytes;
		am_clear(m, v, i, i + 1, true);
	}
}

void am_mremap(struct am *m, struct am_vma *v, uint64_t address, uint64_t colour)
{
	v->address = address;
	for (uint64_t i = 0; i < v->count; i++)
		if (v->pte[i].kind != AM_NOT && v->pte[i].big && colour % m->big)
			am_clear(m, v, v->index + i, v->index + i + 1, true);
}

/* Private mappings are copied, unless a revocation is under way; shared ones are faulted again. */
static void copy_vma(struct am *m, const struct am_vma *from, unsigned int child)
{
	struct am_vma *to = am_mmap(m, child, from->file, from->index, from->count, from->address);
	bool units = !from->shared && !from->n_pending;

	to->shared = from->shared;
	to->write = from->write;
	to->sync = from->sync;
	to->nohuge = from->nohuge;
	for (uint64_t i = 0; i < from->count; i++) {
		const struct am_pte *p = &from->pte[i];

		if (!units && p->kind != AM_COPY)
			continue;
		to->pte[i] = *p;
		if (p->kind == AM_UNIT && (!p->big || (from->index + i) % m->big == 0))
			am_count(m, p->unit, p->big, 1, 1);
	}
}

void am_fork(struct am *m, unsigned int mm, unsigned int child)
{
	struct am_vma *parents[AM_VMAS];
	unsigned int n = 0;

	for (unsigned int i = 0; i < AM_VMAS; i++)
		if (m->vma[i] && m->vma[i]->mm == mm)
			parents[n++] = m->vma[i];
	m->mm[child] = (struct am_mm){ .live = true };
	while (n--)
		copy_vma(m, parents[n], child);
}

void am_exit(struct am *m, unsigned int mm)
{
	for (unsigned int i = 0; i < AM_VMAS; i++)
		if (m->vma[i] && m->vma[i]->mm == mm)
			vma_delete(m, m->vma[i]);
	m->mm[mm].live = false;
}

/* ---- Pins and media errors ------------------------------------------------------------------------------- */

/* Nothing is pinned that a revocation is on its way to, nor what is not the file's. */
static int pin_mapped(struct am *m, const struct am_vma *v, uint64_t index, uint64_t count, struct am_pin *pin)
{
	for (uint64_t i = 0; i < count; i++) {
		const struct am_pte *p = &v->pte[index + i - v->index];

		if (p->kind != AM_UNIT)
			return -EFAULT;
		if (m->unit[p->unit].poison)
			return -EHWPOISON;
		if (v->n_pending)
			return -EFAULT;
		pin->unit[i] = p->unit;
	}
	return 0;
}

static int try_pin(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool write, bool longterm,
		   struct am_pin *pin)
{
	struct am_vma *v;
	uint64_t index;

	for (uint64_t i = 0; i < count; i++)
		if (am_access(m, mm, address + i * m->unit_bytes, 0, write, NULL) != AM_OK)
			return -EIO;
	v = am_vma_at(m, mm, address);
	index = v->index + (address - v->address) / m->unit_bytes;
	if (index + count > v->index + v->count)
		return -EINVAL;
	pin->file = v->file;
	return longterm && m->kernel ? -EOPNOTSUPP : pin_mapped(m, v, index, count, pin);
}

int am_pin(struct am *m, unsigned int mm, uint64_t address, uint64_t count, bool write, bool longterm,
	   unsigned int pin)
{
	struct am_pin *p = &m->pin[pin];
	int rc = -EFAULT;

	for (unsigned int i = 0; i < AM_PIN_TRIES && rc == -EFAULT; i++)
		rc = try_pin(m, mm, address, count, write, longterm, p);
	if (rc)
		return rc == -EIO ? -EFAULT : rc;
	p->live = true;
	p->count = count;
	for (uint64_t i = 0; i < count; i++)
		am_count(m, p->unit[i], false, 1, 0);
	m->file[p->file].refs += m->pin_holds;
	return 0;
}

void am_unpin(struct am *m, unsigned int pin)
{
	struct am_pin *p = &m->pin[pin];

	p->live = false;
	for (uint64_t i = 0; i < p->count; i++)
		am_count(m, p->unit[i], false, -1, 0);
	if (m->pin_holds)
		am_put(m, p->file);
}

/* Everybody who could map it is told, wherever an entry leads to it. Returns how many. */
unsigned int am_memory_failure(struct am *m, uint64_t unit)
{
	unsigned int told = 0;

	m->unit[unit].poison = true;
	for (unsigned int i = 0; i < AM_FILES; i++) {
		struct am_file *f = &m->file[i];

		for (uint64_t index = 0; index < m->file_units && f->cached; index++) {
			if (f->entry[index].kind != AM_REAL || f->entry[index].unit != unit)
				continue;
			for (unsigned int k = 0; k < AM_VMAS; k++) {
				struct am_vma *v = m->vma[k];

				if (!v || v->file != i || index < v->index || index >= v->index + v->count)
					continue;
				m->mm[v->mm].machine_checks++;
				am_clear(m, v, index, index + 1, false);
				told++;
			}
		}
	}
	return told;
}
