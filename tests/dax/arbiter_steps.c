/*
 * Steps of arbiter_random: each is chosen at random, done by the simulated world and by the model, and what both
 * say it came to is compared. Arguments are such that it can be done, and does not wait.
 */
#include "arbiter_steps.h"

#include <errno.h>

/* ---- Choices --------------------------------------------------------------------------------------------- */

/* Few places are used often: around the ends of what could be one larger folio. */
static uint64_t any_index(void)
{
	switch (rnd(8)) {
	case 0:
	case 1:
	case 2:
		return rnd(8);
	case 3:
	case 4:
		return BIG - 4 + rnd(8);
	case 5:
		return 2 * BIG - 4 + rnd(8);
	default:
		return rnd(FILE_UNITS);
	}
}

static uint64_t any_count(uint64_t index)
{
	uint64_t n;

	switch (rnd(8)) {
	case 0:
		n = BIG;
		break;
	case 1:
		n = 1 + rnd(FILE_UNITS);
		break;
	default:
		n = 1 + rnd(6);
	}
	return index + n > FILE_UNITS ? FILE_UNITS - index : n;
}

/* Whole larger folios, one time of so many. */
static void any_range(uint64_t *index, uint64_t *count, unsigned int whole)
{
	*index = any_index();
	*count = any_count(*index);
	if (!one_in(whole))
		return;
	*index = rnd(2) * BIG;
	*count = one_in(4) ? FILE_UNITS - *index : BIG;
}

static bool file_usable(unsigned int f)
{
	return p.file[f] && !p.m.file[f].gone && p.m.file[f].cached && p.m.file[f].opens;
}

/* An open file, AM_FILES: none. */
static unsigned int any_file(void)
{
	unsigned int f = (unsigned int)rnd(AM_FILES);

	return file_usable(f) ? f : AM_FILES;
}

static unsigned int vmas_live(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < AM_VMAS; i++)
		n += p.m.vma[i] != NULL;
	return n;
}

static unsigned int vmas_of_mm(unsigned int mm, unsigned int file)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < AM_VMAS; i++)
		n += p.m.vma[i] && p.m.vma[i]->mm == mm && (file == AM_FILES || p.m.vma[i]->file == file);
	return n;
}

static struct am_vma *any_vma(void)
{
	unsigned int first = (unsigned int)rnd(AM_VMAS), i = 0;

	while (i < AM_VMAS - 1 && !p.m.vma[(first + i) % AM_VMAS])
		i++;
	return p.m.vma[(first + i) % AM_VMAS];
}

static uint64_t any_in(const struct am_vma *v)
{
	uint64_t i = any_index();

	return i >= v->index && i < v->index + v->count ? i : v->index + rnd(v->count);
}

static uint64_t address_of(const struct am_vma *v, uint64_t index)
{
	return v->address + (index - v->index) * p.m.unit_bytes;
}

static uint64_t byte_offset(unsigned int byte)
{
	return byte ? p.m.unit_bytes - 1 : 0;
}

/* Would the file go with so many references less, and would that have to wait for a pin? */
static bool would_wait(unsigned int f, unsigned int refs)
{
	return !p.m.file[f].linked && p.m.file[f].refs <= refs && am_file_busy(&p.m, &p.m.file[f]);
}

static bool signal_came(void *arg)
{
	(void)arg;
	return true;
}

/* How a break does not wait: *rc is what it says then. */
static const struct dax_break *any_break(int *rc)
{
	static const struct dax_break nowait = { .nowait = true }, interrupted = { .interrupted = signal_came };

	*rc = one_in(2) ? -EAGAIN : -EINTR;
	return *rc == -EAGAIN ? &nowait : &interrupted;
}

void same(const char *what, long is, long want)
{
	if (is != want)
		am_fail("%s came to %ld; model: %ld", what, is, want);
}

/* ---- Accesses -------------------------------------------------------------------------------------------- */

/* A mapper that owes answers gets nothing: its faults go on for ever. Seldom is enough. */
static bool would_be_stuck(const struct am_vma *v, uint64_t index, bool write)
{
	return (v->n_pending || p.m.mm[v->mm].late) && !am_hit(v, index, write) && !one_in(300);
}

static void do_access(bool write)
{
	struct am_vma *v = any_vma();
	uint8_t value = (uint8_t)(1 + rnd(255)), want = value;
	unsigned int byte = (unsigned int)rnd(AM_BYTES), mm;
	enum am_result is, model;
	uint64_t index, address;

	if (!v)
		return;
	index = any_in(v);
	if (would_be_stuck(v, index, write))
		return;
	mm = v->mm;
	address = address_of(v, index);
	say("mm %u %s file %u index %lu byte %u", mm, write ? "stores to" : "loads", v->file, index, byte);
	is = (enum am_result)(write ? sim_store(p.mm[mm], address + byte_offset(byte), value) :
				      sim_load(p.mm[mm], address + byte_offset(byte), &value));
	model = am_access(&p.m, mm, address, byte, write, &want);
	same("the access", is, model);
	if (is == AM_OK)
		same("the byte", value, want);
}

static void do_load(void)
{
	do_access(false);
}

static void do_store(void)
{
	do_access(true);
}

static void do_pin(void)
{
	unsigned int slot = (unsigned int)rnd(AM_PINS), flags = 0, mm;
	struct am_vma *v = any_vma();
	uint64_t index, count, address;
	bool write = one_in(2), longterm = one_in(4);
	int is, want;

	if (!v || p.m.pin[slot].live)
		return;
	index = any_in(v);
	count = 1 + (one_in(2) ? rnd(AM_PIN_UNITS) : 0);
	if (count > v->index + v->count - index)
		count = v->index + v->count - index;
	for (uint64_t i = 0; i < count; i++)
		if (would_be_stuck(v, index + i, write))
			return;
	mm = v->mm;
	address = address_of(v, index);
	flags |= write ? DAX_PIN_WRITE : 0;
	flags |= longterm ? DAX_PIN_LONGTERM : 0;
	say("mm %u pins file %u index %lu+%lu%s%s as %u", mm, v->file, index, count, write ? " to write" : "",
	    longterm ? " long-term" : "", slot);
	is = sim_pin(p.mm[mm], address, count, flags, &p.pin[slot]);
	want = am_pin(&p.m, mm, address, count, write, longterm, slot);
	same("the pin", is, want);
}

/* Would the unpin end the file while others have it pinned? */
static void do_unpin(void)
{
	unsigned int slot = (unsigned int)rnd(AM_PINS);
	const struct am_pin *pin = &p.m.pin[slot];

	if (!pin->live || (p.m.pin_holds && !p.m.file[pin->file].linked && p.m.file[pin->file].refs == 1))
		return;
	say("unpin %u of file %u", slot, pin->file);
	sim_unpin(p.sim, p.pin[slot]);
	am_unpin(&p.m, slot);
}

/* ---- Mappings -------------------------------------------------------------------------------------------- */

static uint64_t any_colour(void)
{
	return one_in(3) ? 1 + rnd(BIG) : 0;
}

static bool can_map(unsigned int mm)
{
	return vmas_live() + 4 <= AM_VMAS && vmas_of_mm(mm, AM_FILES) <= 4;
}

static void map_range(unsigned int mm, unsigned int f, uint64_t index, uint64_t count, unsigned int flags,
		      uint64_t colour)
{
	struct am_vma *v;
	uint64_t at;

	say("mm %u maps file %u index %lu+%lu, flags %x, colour %lu", mm, f, index, count, flags, colour);
	at = sim_mmap(p.mm[mm], p.file[f], index, count, flags, colour);
	v = am_mmap(&p.m, mm, f, index, count, at + index * p.m.unit_bytes);
	v->shared = flags & SIM_SHARED;
	v->write = flags & SIM_WRITE;
	v->sync = flags & SIM_SYNC;
	v->nohuge = flags & SIM_NOHUGE;
}

static void do_mmap(void)
{
	unsigned int mm = (unsigned int)rnd(AM_MMS), f = any_file(), flags = 0;
	uint64_t index, count;

	if (f == AM_FILES || !can_map(mm))
		return;
	any_range(&index, &count, 2);
	flags |= one_in(4) ? 0 : SIM_SHARED;
	flags |= one_in(6) ? 0 : SIM_WRITE;
	flags |= one_in(4) ? SIM_SYNC : 0;
	flags |= one_in(8) ? SIM_NOHUGE : 0;
	map_range(mm, f, index, count, flags, any_colour());
}

/* Part of a VMA, often all of it. */
static bool part_of(struct am_vma **v, uint64_t *address, uint64_t *count, unsigned int whole)
{
	uint64_t index;

	*v = any_vma();
	if (!*v || vmas_live() + 4 > AM_VMAS)
		return false;
	index = one_in(whole) ? (*v)->index : any_in(*v);
	*address = address_of(*v, index);
	*count = one_in(whole) ? (*v)->count : any_count(index);
	if (*count > (*v)->index + (*v)->count - index)
		*count = (*v)->index + (*v)->count - index;
	return true;
}

static void do_munmap(void)
{
	uint64_t address, count;
	struct am_vma *v;
	unsigned int mm;

	if (!part_of(&v, &address, &count, 2) || would_wait(v->file, 1))
		return;
	mm = v->mm;
	say("mm %u unmaps file %u at %lx+%lu", mm, v->file, address, count);
	sim_munmap(p.mm[mm], address, count);
	am_munmap(&p.m, mm, address, count);
}

static void do_protect(void)
{
	uint64_t address, count;
	bool write = one_in(2);
	struct am_vma *v;
	unsigned int mm;

	if (!part_of(&v, &address, &count, 2))
		return;
	mm = v->mm;
	say("mm %u protects file %u at %lx+%lu, write %d", mm, v->file, address, count, write);
	sim_protect(p.mm[mm], address, count, write);
	am_protect(&p.m, mm, address, count, write);
}

static void do_nohuge(void)
{
	uint64_t address, count;
	bool on = one_in(2);
	struct am_vma *v;
	unsigned int mm;

	if (!part_of(&v, &address, &count, 2))
		return;
	mm = v->mm;
	say("mm %u: nohuge %d for file %u at %lx+%lu", mm, on, v->file, address, count);
	sim_nohuge(p.mm[mm], address, count, on);
	am_nohuge(&p.m, mm, address, count, on);
}

static void do_dontneed(void)
{
	uint64_t address, count;
	struct am_vma *v;
	unsigned int mm;

	if (!part_of(&v, &address, &count, 4))
		return;
	mm = v->mm;
	say("mm %u does not need file %u at %lx+%lu", mm, v->file, address, count);
	sim_dontneed(p.mm[mm], address, count);
	am_dontneed(&p.m, mm, address, count);
}

static void do_mremap(void)
{
	uint64_t colour = any_colour(), at;
	struct am_vma *v = any_vma();

	if (!v)
		return;
	say("mm %u moves file %u index %lu+%lu to colour %lu", v->mm, v->file, v->index, v->count, colour);
	at = sim_mremap(p.mm[v->mm], v->address, colour);
	if (p.m.big)
		am_mremap(&p.m, v, at + v->index * p.m.unit_bytes, colour);
	else
		v->address = at + v->index * p.m.unit_bytes;
}

/* ---- Address spaces -------------------------------------------------------------------------------------- */

static bool can_exit(unsigned int mm)
{
	for (unsigned int f = 0; f < AM_FILES; f++)
		if (vmas_of_mm(mm, f) && would_wait(f, vmas_of_mm(mm, f)))
			return false;
	return true;
}

void new_mm(unsigned int mm)
{
	p.mm[mm] = sim_mm_new(p.sim);
	p.m.mm[mm] = (struct am_mm){ .live = true };
}

static void do_exit(void)
{
	unsigned int mm = (unsigned int)rnd(AM_MMS);

	if (!can_exit(mm))
		return;
	say("mm %u exits", mm);
	sim_exit(p.mm[mm]);
	am_exit(&p.m, mm);
	new_mm(mm);
}

static void do_fork(void)
{
	unsigned int mm = (unsigned int)rnd(AM_MMS), child = (unsigned int)rnd(AM_MMS);

	/* Of a file that has its last VMA in the child the parent has none. */
	if (mm == child || !can_exit(child) || vmas_live() + vmas_of_mm(mm, AM_FILES) + 4 > AM_VMAS)
		return;
	say("mm %u forks as %u", mm, child);
	sim_exit(p.mm[child]);
	am_exit(&p.m, child);
	p.mm[child] = sim_fork(p.mm[mm]);
	am_fork(&p.m, mm, child);
}

static void do_late(void)
{
	unsigned int mm = (unsigned int)rnd(AM_MMS);

	say("mm %u does not answer any more", mm);
	p.mm[mm]->answer = one_in(2) ? SIM_LATE : SIM_SILENT;
	p.m.mm[mm].late = true;
}

static void do_answer(void)
{
	unsigned int mm = (unsigned int)rnd(AM_MMS);
	bool prompt = one_in(2);

	say("mm %u answers%s", mm, prompt ? ", as it will from now on" : "");
	sim_answer(p.mm[mm]);
	am_answer(&p.m, mm);
	if (!prompt)
		return;
	p.mm[mm]->answer = SIM_PROMPT;
	p.m.mm[mm].late = false;
}

/* ---- Files ----------------------------------------------------------------------------------------------- */

/* Places at which to end a file; one byte into a block, where it is cheap and nobody shares it. */
static uint64_t any_size(unsigned int f)
{
	static const uint64_t ends[] = { 0, 1, BIG / 2, BIG, BIG + 1, 2 * BIG };
	uint64_t units = one_in(2) ? FILE_UNITS : one_in(2) ? ends[rnd(6)] : any_index(), last;

	last = units ? units - 1 : 0;
	if (p.m.unit_bytes == 4096 && one_in(3) && !am_shared(&p.m, &p.m.file[f], last))
		return last * p.m.unit_bytes + 1;
	return units * p.m.unit_bytes;
}

/* The end of the file lies in a block that others have too: the toy file system zeroes it in place. */
static bool tail_shared(unsigned int f)
{
	const struct am_file *file = &p.m.file[f];

	return file->size % p.m.unit_bytes && am_shared(&p.m, file, file->size / p.m.unit_bytes);
}

static void do_truncate(void)
{
	unsigned int f = any_file();
	const struct dax_break *how;
	uint64_t size;
	int busy, is;

	if (f == AM_FILES || tail_shared(f))
		return;
	how = any_break(&busy);
	size = any_size(f);
	say("truncate file %u from %lu to %lu, %s", f, p.m.file[f].size, size, how->nowait ? "nowait" : "interrupted");
	is = sim_truncate(p.file[f], size, how);
	same("the truncate", is, am_truncate(&p.m, f, size, busy));
}

typedef int (*range_fn)(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how);
typedef int (*range_model)(struct am *m, unsigned int f, uint64_t index, uint64_t count, int busy);

static void one_range(const char *what, range_fn fn, range_model model, unsigned int f, uint64_t index, uint64_t count)
{
	const struct dax_break *how;
	int busy, is;

	how = any_break(&busy);
	say("%s file %u index %lu+%lu, %s", what, f, index, count, how->nowait ? "nowait" : "interrupted");
	is = fn(p.file[f], index, count, how);
	same(what, is, model(&p.m, f, index, count, busy));
}

static void do_range(const char *what, range_fn fn, range_model model)
{
	unsigned int f = any_file();
	uint64_t index, count;

	if (f == AM_FILES)
		return;
	any_range(&index, &count, 8);
	one_range(what, fn, model, f, index, count);
}

static void do_punch(void)
{
	do_range("punch", sim_punch, am_punch);
}

static void do_zero_range(void)
{
	do_range("zero", sim_zero_range, am_zero_range);
}

static int model_break(struct am *m, unsigned int f, uint64_t index, uint64_t count, int busy)
{
	return am_break(m, f, index, index + count, busy);
}

static void do_break(void)
{
	do_range("break", sim_break, model_break);
}

static void fallocate_range(unsigned int f, uint64_t index, uint64_t count, bool written)
{
	int is;

	say("fallocate file %u index %lu+%lu, written %d", f, index, count, written);
	is = sim_fallocate(p.file[f], index, count, written);
	same("fallocate", is, am_fallocate(&p.m, f, index, count, written));
}

static void do_fallocate(void)
{
	unsigned int f = any_file();
	uint64_t index, count;

	if (f == AM_FILES)
		return;
	any_range(&index, &count, 2);
	fallocate_range(f, index, count, one_in(2));
}

static void do_write(void)
{
	unsigned int f = any_file(), byte = (unsigned int)rnd(AM_BYTES);
	uint8_t value = (uint8_t)(1 + rnd(255));
	uint64_t index = any_index();
	int is;

	if (f == AM_FILES || tail_shared(f))
		return;
	/* It would wait for pins, uninterruptibly. */
	if (am_shared(&p.m, &p.m.file[f], index) && am_break_busy(&p.m, f, index, index + 1) &&
	    (!p.m.pin_busy || p.m.kernel))
		return;
	say("write to file %u index %lu byte %u", f, index, byte);
	is = sim_write(p.file[f], index * p.m.unit_bytes + byte_offset(byte), value);
	same("the write", is, am_write(&p.m, f, index, byte, value));
}

static void do_read(void)
{
	unsigned int f = any_file(), byte = (unsigned int)rnd(AM_BYTES);
	uint64_t index = any_index();

	if (f == AM_FILES)
		return;
	say("read file %u index %lu byte %u", f, index, byte);
	same("the read", sim_read(p.file[f], index * p.m.unit_bytes + byte_offset(byte)),
	     am_read(&p.m, f, index, byte));
}

static void reflink_range(unsigned int from, unsigned int to, uint64_t index, uint64_t count)
{
	bool first = p.file[from]->id < p.file[to]->id;
	const struct dax_break *how;
	int busy, is;

	how = any_break(&busy);
	say("reflink file %u to %u, index %lu+%lu, %s", from, to, index, count, how->nowait ? "nowait" : "interrupted");
	is = sim_reflink(p.file[from], p.file[to], index, count, how);
	same("the reflink", is, am_reflink(&p.m, from, to, first, index, count, busy));
}

static void do_reflink(void)
{
	unsigned int from = any_file(), to = any_file();
	uint64_t index, count;

	if (from == AM_FILES || to == AM_FILES || from == to)
		return;
	any_range(&index, &count, 2);
	reflink_range(from, to, index, count);
}

static void do_fsync(void)
{
	unsigned int f = any_file();
	uint64_t index, count;

	if (f == AM_FILES)
		return;
	any_range(&index, &count, 4);
	say("fsync file %u index %lu+%lu", f, index, count);
	sim_fsync(p.file[f], index, count);
	am_writeback(&p.m, f, index, count);
}

static void do_invalidate(void)
{
	unsigned int f = any_file();
	uint64_t index, count;
	int is;

	if (f == AM_FILES)
		return;
	any_range(&index, &count, 4);
	say("invalidate file %u index %lu+%lu", f, index, count);
	pthread_rwlock_rdlock(&p.file[f]->mapping->invalidate_lock);
	is = dax_invalidate(p.file[f]->mapping, index, count);
	pthread_rwlock_unlock(&p.file[f]->mapping->invalidate_lock);
	same("invalidate", is, am_invalidate(&p.m, f, index, count));
}

/* What leads to larger folios, shared ones too, which chance alone seldom does: anew, in one piece, and mapped. */
static void do_large(void)
{
	unsigned int f = any_file(), to = any_file(), mm = (unsigned int)rnd(AM_MMS);
	uint64_t index = rnd(2) * BIG;

	if (f == AM_FILES)
		return;
	one_range("punch", sim_punch, am_punch, f, index, BIG);
	fallocate_range(f, index, BIG, !one_in(4));
	if (to != AM_FILES && to != f && one_in(2))
		reflink_range(f, to, index, BIG);
	else
		to = f;
	if (can_map(mm))
		map_range(mm, to, index, BIG, SIM_SHARED | SIM_WRITE, 0);
	say("the range %lu+%u of file %u is made anew, reflinked to %u, and mapped by mm %u", index, BIG, f, to, mm);
}

/* ---- Life of files --------------------------------------------------------------------------------------- */

void new_file(unsigned int f)
{
	uint64_t size = (one_in(2) ? FILE_UNITS : one_in(2) ? 2 * BIG : any_index()) * p.m.unit_bytes;

	say("file %u is made, size %lu", f, size);
	p.file[f] = sim_create(p.sim, size);
	am_create(&p.m, f, size);
}

/* Is a pin on it that outlives it? Its grant has the file. */
static bool pinned_file(unsigned int f)
{
	for (unsigned int i = 0; i < AM_PINS; i++)
		if (p.m.pin[i].live && p.m.pin[i].file == f)
			return true;
	return false;
}

/* Open, closed, without a name, out of the cache, made anew: one step further. */
static void do_life(void)
{
	unsigned int f = (unsigned int)rnd(AM_FILES);
	struct am_file *m = &p.m.file[f];

	if (m->gone) {
		if (!pinned_file(f))
			new_file(f);
	} else if (!m->opens) {
		if (!m->linked)
			return;
		if (!m->refs && m->cached && one_in(2) && !am_file_busy(&p.m, m)) {
			say("file %u is evicted", f);
			sim_evict(p.file[f]);
			am_evict(&p.m, f);
			return;
		}
		say("file %u is opened", f);
		sim_open(p.file[f]);
		m->refs++;
		m->opens++;
		m->cached = true;
	} else if (m->linked && one_in(3)) {
		say("file %u is unlinked", f);
		sim_unlink(p.file[f]);
		m->linked = false;
	} else if (!would_wait(f, 1) && (!m->linked || one_in(3))) {
		say("file %u is closed", f);
		sim_close(p.file[f]);
		m->opens--;
		am_put(&p.m, f);
	}
}

/* ---- The pool -------------------------------------------------------------------------------------------- */

static void do_place(void)
{
	static const enum sim_place places[] = {
		[AM_CONGRUENT] = SIM_CONGRUENT, [AM_INCONGRUENT] = SIM_INCONGRUENT, [AM_SCATTERED] = SIM_SCATTERED,
	};

	p.m.place = one_in(2) ? AM_CONGRUENT : (enum am_place)rnd(3);
	p.sim->place = places[p.m.place];
	say("blocks are placed: %d", p.m.place);
}

static void do_room(void)
{
	p.m.room = one_in(3) ? rnd(8) : AM_END;
	p.sim->room = p.m.room;
	say("there is room for %ld units", (long)p.m.room);
}

static void do_poison(void)
{
	unsigned int f = any_file();
	uint64_t index = any_index();
	const struct am_slot *s;

	if (f == AM_FILES)
		return;
	s = &p.m.file[f].slot[index];
	if (!s->there)
		return;
	say("unit %u, file %u index %lu, fails", s->unit, f, index);
	same("the mappers told", dax_memory_failure(&p.sim->dax, s->unit), am_memory_failure(&p.m, s->unit));
}

/* Half of what is poisoned is repaired; and all that is free, as the allocator's next user would. */
static void repair(bool all)
{
	for (uint64_t u = 0; u < UNITS; u++) {
		if (!p.m.unit[u].poison || (p.m.unit[u].used && (!all || one_in(2))))
			continue;
		pgmap_unpoison(p.sim->pg, u);
		p.m.unit[u].poison = false;
	}
}

static void do_repair(void)
{
	say("media errors are repaired");
	repair(true);
}

/* ---- One of them ----------------------------------------------------------------------------------------- */

static const struct {
	void		(*fn)(void);
	unsigned int	 weight;
} ops[] = {
	{ do_load, 180 }, { do_store, 180 }, { do_pin, 40 }, { do_unpin, 60 },
	{ do_mmap, 60 }, { do_munmap, 20 }, { do_protect, 10 }, { do_nohuge, 6 }, { do_dontneed, 20 },
	{ do_mremap, 10 }, { do_exit, 4 }, { do_fork, 10 }, { do_late, 4 }, { do_answer, 16 },
	{ do_truncate, 10 }, { do_punch, 24 }, { do_zero_range, 10 }, { do_break, 10 }, { do_fallocate, 16 },
	{ do_write, 40 }, { do_read, 30 }, { do_reflink, 14 }, { do_fsync, 20 }, { do_invalidate, 10 }, { do_large, 6 },
	{ do_life, 10 }, { do_place, 6 }, { do_room, 6 }, { do_poison, 4 }, { do_repair, 6 },
};

void random_step(void)
{
	const unsigned int kinds = sizeof(ops) / sizeof(*ops);
	unsigned int n, total = 0;

	for (unsigned int i = 0; i < kinds; i++)
		total += ops[i].weight;
	n = (unsigned int)rnd(total);
	say("(nothing)");
	for (unsigned int i = 0; i < kinds; i++) {
		if (n < ops[i].weight) {
			ops[i].fn();
			break;
		}
		n -= ops[i].weight;
	}
	repair(false);
}
