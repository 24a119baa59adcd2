/*
 * The driver: the passes in order, and the small things all of them use.
 *
 * Order matters. pass_super must come first: nothing can be read before the pool's size, identity and replay
 * are known. pass_inode claims blocks and finds the live inodes; pass_space can then say who shares blocks
 * and whether the free-map cache tells the truth; pass_dir counts names, which pass_nlink compares. A fatal
 * finding ends the check: what comes after would be noise.
 *
 * Memory: a bit a block, 12 bytes a slot of inode table blocks that exist, 40 bytes a directory, 24 bytes a
 * directory block, 32 bytes a name of the largest directory. All of these count objects that have blocks of
 * their own, claimed once, so no image can ask for more than a fraction of its own size.
 */
#include "check/check_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/crc32c.h"
#include "util/fault.h"

typedef int (*pass_fn)(struct check *c);

static const pass_fn passes[] = { pass_super, pass_inode, pass_space, pass_dir, pass_nlink };

int check_problem(struct check *c, enum problem number, const struct problem_context *ctx)
{
	const struct problem_row *row = problem_row(number);
	struct check_finding f = { .problem = number, .name = row->name, .severity = row->severity };

	if (c->muted)
		return 0;
	c->report->problems++;
	if (c->fn) {
		problem_text(row, ctx, f.text, sizeof(f.text));
		c->fn(c->arg, &f);
	}
	return strcmp(row->severity, "fatal") == 0 ? CHECK_STOP : 0;
}

int check_nomem(struct check *c)
{
	return err_set_errno(c->err, -ENOMEM, "%s: cannot be checked", c->path);
}

const char *check_sealed(const struct check *c, const void *object, size_t len, uint64_t off, uint32_t magic)
{
	const struct { le32 magic, crc; } *seal = object;

	if (le32_to_cpu(seal->magic) != magic)
		return "magic";
	if (le32_to_cpu(seal->crc) != crc32c_object(format_seed(&c->super, off), object, len, sizeof(le32)))
		return "crc";
	return NULL;
}

void *check_calloc(uint64_t count, size_t size)
{
	return fault(FAULT_ALLOC) ? NULL : calloc(count, size);
}

void *check_vector_add(struct check_vector *v, size_t size)
{
	char *item, *items;
	uint64_t room;

	if (v->count == v->room) {
		room = v->room ? 2 * v->room : 64;
		items = fault(FAULT_ALLOC) ? NULL : reallocarray(v->items, room, size);
		if (!items)
			return NULL;
		v->items = items;
		v->room = room;
	}
	item = (char *)v->items + v->count++ * size;
	memset(item, 0, size);
	return item;
}

struct check_slot *check_slot(struct check *c, uint64_t ino)
{
	const struct table_run *runs = c->table.items, *run;
	uint64_t block = ino / INODES_PER_BLOCK, low = 0, high = c->table.count, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		run = &runs[mid];
		if (block < run->file_block)
			high = mid;
		else if (block - run->file_block >= run->count)
			low = mid + 1;
		else
			return &c->slots[(run->rank + (block - run->file_block)) * INODES_PER_BLOCK +
					 ino % INODES_PER_BLOCK];
	}
	return NULL;
}

struct check_dir *check_dir(struct check *c, uint64_t ino)
{
	struct check_dir *dirs = c->dirs.items;
	uint64_t low = 0, high = c->dirs.count, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (dirs[mid].ino == ino)
			return &dirs[mid];
		if (dirs[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static struct check *check_new(const struct region *r, const char *path, check_fn fn, void *arg,
			       struct check_report *report, struct err *err)
{
	struct check *c = check_calloc(1, sizeof(*c));

	*report = (struct check_report){ 0 };
	if (!c)
		return NULL;
	c->region = r;
	c->path = path;
	c->fn = fn;
	c->arg = arg;
	c->report = report;
	c->err = err;
	return c;
}

static void check_free(struct check *c)
{
	overlay_delete(c->overlay);
	space_delete(c->space);
	nameset_delete(c->names);
	free(c->table.items);
	free(c->slots);
	free(c->dirs.items);
	free(c->dir_blocks.items);
	free(c->run_buf);
	free(c);
}

int check_pool(const struct region *r, const char *path, check_fn fn, void *arg, struct check_report *report,
	       struct err *err)
{
	struct check *c = check_new(r, path, fn, arg, report, err);
	int rc = 0;

	if (!c)
		return err_set_errno(err, -ENOMEM, "%s: cannot be checked", path);
	for (size_t i = 0; !rc && i < sizeof(passes) / sizeof(passes[0]); i++)
		rc = passes[i](c);
	check_free(c);
	return rc == CHECK_STOP ? 0 : rc;
}

static uint64_t count_bits(const le64 *words, uint64_t bits)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < BITMAP_WORDS(bits); i++)
		n += (unsigned int)__builtin_popcountll(words[i].raw);
	return n;
}

int check_clean(const struct region *r, const char *path, struct check_report *report, struct err *err)
{
	struct check *c = check_new(r, path, NULL, NULL, report, err);
	struct freemap map;
	int rc;

	if (!c)
		return err_set_errno(err, -ENOMEM, "%s: cannot be checked", path);
	rc = pass_super(c);
	if (!rc && !report->problems && c->tail.flags & TAIL_FREEMAP && !freemap_find(c, &map)) {
		report->blocks_used = count_bits(map.blocks, c->super.blocks);
		report->inodes_used = count_bits(map.inodes, map.inode_bits);
		report->inodes = map.inode_bits;
		rc = 1;
	} else if (rc == CHECK_STOP) {
		rc = 0;
	}
	check_free(c);
	return rc;
}
