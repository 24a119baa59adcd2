/*
 * Pass 1: the superblock and its backup, the tail slots, and the ring.
 *
 * A tail slot that does not verify is no finding while the other one does: slots are written in turn, and
 * power lost during the write leaves exactly that. What verifies must make sense, and the newer slot must not
 * go back.
 *
 * Relies on:	nothing
 * Produces:	super, tail; the overlay with every replayable record applied; the space map with the fixed
 *		area claimed; report->blocks, clean, records, backup_super
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check/check_private.h"
#include "meta/record.h"
#include "util/crc32c.h"

#define TAIL_FLAGS_KNOWN	(TAIL_CLEAN | TAIL_FREEMAP)

/* ---- Superblock ---------------------------------------------------------------------------------------- */

/* The superblock's crc is seeded by its position alone: the uuid is inside. */
static uint32_t super_crc(const struct disk_super *d, uint64_t off)
{
	le64 raw = cpu_to_le64(off);

	return crc32c_object(crc32c(0, &raw, sizeof(raw)), d, sizeof(*d), offsetof(struct disk_super, crc));
}

static const char *super_wrong(const struct disk_super *d, uint64_t off)
{
	if (memcmp(d->magic, SUPER_MAGIC, sizeof(d->magic)))
		return "magic";
	if (le32_to_cpu(d->crc) != super_crc(d, off))
		return "crc";
	return le64_to_cpu(d->position) == off ? NULL : "position";
}

/* All but crc and position are the same. */
static bool super_equal(const struct disk_super *a, const struct disk_super *b)
{
	struct disk_super x = *a, y = *b;

	x.crc = y.crc = cpu_to_le32(0);
	x.position = y.position = cpu_to_le64(0);
	return memcmp(&x, &y, sizeof(x)) == 0;
}

static void check_copies(struct check *c)
{
	uint64_t last = c->super.blocks - 1;
	const struct disk_super *primary = region_at(c->region, 0);
	const struct disk_super *backup = region_at(c->region, last << BLOCK_SHIFT);
	struct problem_context ctx = { .block = last, .what = super_wrong(primary, 0) };

	if (ctx.what) {
		check_problem(c, PROBLEM_SUPER_PRIMARY, &ctx);
		return;
	}
	ctx.what = super_wrong(backup, last << BLOCK_SHIFT);
	if (ctx.what)
		check_problem(c, PROBLEM_SUPER_BACKUP, &ctx);
	else if (!super_equal(primary, backup))
		check_problem(c, PROBLEM_SUPER_COPIES, &ctx);
}

static int check_super(struct check *c)
{
	struct err why = { "" };
	int rc = super_read(c->region, c->path, &c->super, &why);

	if (rc == -EUCLEAN)
		return check_problem(c, PROBLEM_SUPER_DAMAGED, &(struct problem_context){ .what = why.text });
	if (rc)
		return err_set(c->err, rc, "%s", why.text);
	c->report->blocks = c->super.blocks;
	c->report->backup_super = c->super.from_backup;
	check_copies(c);
	return 0;
}

/* ---- Tail slots ---------------------------------------------------------------------------------------- */

static void tail_field(struct check *c, const char *what, uint64_t found, uint64_t want)
{
	check_problem(c, PROBLEM_TAIL_FIELD,
		      &(struct problem_context){ .what = what, .found = found, .want = want });
}

/* A slot whose seal holds, or NULL. */
static const struct disk_tail *tail_slot(const struct check *c, unsigned int slot)
{
	uint64_t off = ((uint64_t)BLOCK_TAIL << BLOCK_SHIFT) + slot * TAIL_SLOT_STRIDE;
	const struct disk_tail *d = region_at(c->region, off);

	return check_sealed(c, d, sizeof(*d), off, TAIL_MAGIC) ? NULL : d;
}

static void check_tail_slot(struct check *c, const struct disk_tail *d, unsigned int slot)
{
	uint64_t pos = le64_to_cpu(d->pos), counter = le64_to_cpu(d->counter);
	uint64_t block = le64_to_cpu(d->freemap_block);
	uint32_t flags = le32_to_cpu(d->flags), blocks = le32_to_cpu(d->freemap_blocks);

	if (counter % TAIL_SLOTS != slot)
		tail_field(c, "slot of its counter", slot, counter % TAIL_SLOTS);
	if (pos % RECORD_ALIGN)
		tail_field(c, "position", pos, pos - pos % RECORD_ALIGN);
	if (flags & ~TAIL_FLAGS_KNOWN)
		tail_field(c, "flags", flags, flags & TAIL_FLAGS_KNOWN);
	if (flags & TAIL_FREEMAP && !(flags & TAIL_CLEAN))
		tail_field(c, "flags (free map without clean unmount)", flags, flags & ~TAIL_FREEMAP);
	if (flags & TAIL_FREEMAP && (block >= c->super.blocks || blocks > c->super.blocks - block || !blocks))
		tail_field(c, "end of the free map", block + blocks, c->super.blocks);
}

static void check_tail_order(struct check *c, const struct disk_tail *older, const struct disk_tail *newer)
{
	const struct {
		const char	*what;
		uint64_t	 from, to;
	} fields[] = {
		{ "position", le64_to_cpu(older->pos), le64_to_cpu(newer->pos) },
		{ "sequence", le64_to_cpu(older->seq), le64_to_cpu(newer->seq) },
		{ "mount sequence", le64_to_cpu(older->mount), le64_to_cpu(newer->mount) },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].to < fields[i].from)
			check_problem(c, PROBLEM_TAIL_ORDER, &(struct problem_context){
				.what = fields[i].what, .found = fields[i].from, .want = fields[i].to });
}

static int check_tail(struct check *c)
{
	const struct disk_tail *d[TAIL_SLOTS];
	unsigned int newer;

	for (unsigned int slot = 0; slot < TAIL_SLOTS; slot++) {
		d[slot] = tail_slot(c, slot);
		if (d[slot])
			check_tail_slot(c, d[slot], slot);
	}
	if (d[0] && d[1]) {
		newer = le64_to_cpu(d[1]->counter) > le64_to_cpu(d[0]->counter);
		check_tail_order(c, d[!newer], d[newer]);
	}
	if (tail_read(c->region, &c->super, &c->tail))
		return check_problem(c, PROBLEM_TAIL_DAMAGED, &(struct problem_context){ 0 });
	c->report->clean = c->tail.flags & TAIL_CLEAN;
	return 0;
}

/* ---- Ring ---------------------------------------------------------------------------------------------- */

static int apply_patch(void *arg, const struct record_patch *patch)
{
	struct check *c = arg;

	return overlay_patch(c->overlay, patch->off, patch->data, patch->len);
}

static int replay(struct check *c)
{
	struct record_run run;
	int rc;

	c->overlay = overlay_new(c->region);
	if (!c->overlay)
		return check_nomem(c);
	rc = record_walk(c->region, &c->super, &c->tail, apply_patch, c, &run);
	if (rc)
		return err_set_errno(c->err, rc, "%s: cannot apply the ring's records", c->path);
	c->report->records = run.records;
	if (run.records && c->report->clean)
		check_problem(c, PROBLEM_TAIL_RECORDS, &(struct problem_context){ .found = run.records });
	return 0;
}

int pass_super(struct check *c)
{
	int rc = check_super(c);

	if (!rc)
		rc = check_tail(c);
	if (!rc)
		rc = replay(c);
	return rc ? rc : space_new(c);
}
