/*
 * The overlay: what replay would change, kept beside the pool.
 *
 * The records of the ring are patches of 8 to 4072 bytes anywhere outside the fixed area. They are kept as
 * cache lines of 64 bytes, found by a hash of the line's number, with a bit a block that says whether any of
 * its lines is there at all: a pool unmounted cleanly costs one test a read and no copy. Lines rather than
 * blocks, because a ring of many small patches in many blocks would otherwise need a hundred times its own
 * size; a line costs at most 4 times the patch that made it, so the whole is bounded by the size of the ring.
 *
 * Relies on record_walk() for the order of the patches; later ones win. Nothing is ever written to the pool.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check/check_private.h"

#define LINE_SHIFT	6
#define LINE_SIZE	(1U << LINE_SHIFT)
#define INDEX_FIRST	1024U			/* slots; a power of two */

struct line {
	uint64_t	number;			/* byte offset in the pool / LINE_SIZE */
	uint8_t		data[LINE_SIZE];
};

struct overlay {
	const struct region	*region;
	uint64_t		*touched;	/* a bit a block */
	struct check_vector	 lines;		/* struct line */
	uint32_t		*index;		/* position in lines + 1; 0: empty; open addressing */
	uint32_t		 index_size;
};

struct overlay *overlay_new(const struct region *r)
{
	struct overlay *ov = check_calloc(1, sizeof(*ov));

	if (!ov)
		return NULL;
	ov->region = r;
	ov->index_size = INDEX_FIRST;
	ov->touched = bitmap_alloc(r->size >> BLOCK_SHIFT);
	ov->index = check_calloc(ov->index_size, sizeof(*ov->index));
	if (!ov->touched || !ov->index) {
		overlay_delete(ov);
		return NULL;
	}
	return ov;
}

void overlay_delete(struct overlay *ov)
{
	if (!ov)
		return;
	free(ov->touched);
	free(ov->index);
	free(ov->lines.items);
	free(ov);
}

/* The slot of the index that holds this line, or the empty one where it belongs. */
static uint32_t index_slot(const struct overlay *ov, uint64_t number)
{
	const struct line *lines = ov->lines.items;
	uint32_t mask = ov->index_size - 1;
	uint32_t i = (uint32_t)(number * 0x9e3779b97f4a7c15ULL >> 32) & mask;

	while (ov->index[i] && lines[ov->index[i] - 1].number != number)
		i = (i + 1) & mask;
	return i;
}

static int index_grow(struct overlay *ov)
{
	const struct line *lines = ov->lines.items;
	uint32_t *index = check_calloc(ov->index_size, 2 * sizeof(*index));

	if (!index)
		return -ENOMEM;
	free(ov->index);
	ov->index = index;
	ov->index_size *= 2;
	for (uint32_t i = 0; i < ov->lines.count; i++)
		ov->index[index_slot(ov, lines[i].number)] = i + 1;
	return 0;
}

/* The line, taken from the pool when it is new; NULL when out of memory. */
static struct line *line_get(struct overlay *ov, uint64_t number)
{
	uint32_t i = index_slot(ov, number);
	struct line *line;

	if (ov->index[i])
		return (struct line *)ov->lines.items + (ov->index[i] - 1);
	if (ov->lines.count >= ov->index_size / 2) {
		if (index_grow(ov))
			return NULL;
		i = index_slot(ov, number);
	}
	line = check_vector_add(&ov->lines, sizeof(*line));
	if (!line)
		return NULL;
	line->number = number;
	memcpy(line->data, region_at(ov->region, number << LINE_SHIFT), LINE_SIZE);
	ov->index[i] = (uint32_t)ov->lines.count;
	return line;
}

int overlay_patch(struct overlay *ov, uint64_t off, const void *data, uint32_t len)
{
	const uint8_t *src = data;
	struct line *line;
	uint32_t part;

	if (!len || !region_contains(ov->region, off, len) || off % BLOCK_SIZE + len > BLOCK_SIZE)
		return -EUCLEAN;
	bitmap_set(ov->touched, off >> BLOCK_SHIFT);
	while (len) {
		line = line_get(ov, off >> LINE_SHIFT);
		if (!line)
			return -ENOMEM;
		part = LINE_SIZE - (uint32_t)(off % LINE_SIZE);
		if (part > len)
			part = len;
		memcpy(line->data + off % LINE_SIZE, src, part);
		off += part;
		src += part;
		len -= part;
	}
	return 0;
}

/* Put the lines that touch [off, off + len) over the copy in `buf`. */
static void compose(const struct overlay *ov, uint64_t off, uint64_t len, uint8_t *buf)
{
	const struct line *lines = ov->lines.items;
	uint64_t end = off + len, from, to, start;
	uint32_t i;

	for (uint64_t number = off >> LINE_SHIFT; number << LINE_SHIFT < end; number++) {
		i = index_slot(ov, number);
		if (!ov->index[i])
			continue;
		start = number << LINE_SHIFT;
		from = start > off ? start : off;
		to = start + LINE_SIZE < end ? start + LINE_SIZE : end;
		memcpy(buf + (from - off), lines[ov->index[i] - 1].data + (from - start), to - from);
	}
}

const void *overlay_read(const struct overlay *ov, uint64_t off, uint64_t len, void *buf)
{
	uint64_t first = off >> BLOCK_SHIFT, end = ((off + len - 1) >> BLOCK_SHIFT) + 1;
	const void *media = region_at(ov->region, off);

	if (bitmap_next_set(ov->touched, first, end) == end)
		return media;
	memcpy(buf, media, len);
	compose(ov, off, len, buf);
	return buf;
}
