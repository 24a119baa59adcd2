#include "client/pieces.h"

#include <errno.h>
#include <string.h>

#include "client/mm.h"
#include "util/fault.h"

#define FIRST_BYTES	4096U

static uint64_t end_of(const struct piece *piece)
{
	return piece->offset + piece->length;
}

static bool alike(const struct piece *a, const struct piece *b)
{
	return a->kind == b->kind && a->shift == b->shift && a->reason == b->reason;
}

int pieces_init(struct pieces *p, const struct piece *whole)
{
	void *at = MAP_FAILED;

	if (!fault(FAULT_ALLOC))
		at = mm_mmap(mm_room(FIRST_BYTES), FIRST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	p->piece = at;
	p->room = FIRST_BYTES / sizeof(*p->piece);
	p->count = 1;
	p->piece[0] = *whole;
	p->piece[0].offset = 0;
	return 0;
}

void pieces_fini(struct pieces *p)
{
	if (p->piece)
		mm_munmap(p->piece, p->room * sizeof(*p->piece));
	*p = (struct pieces){ NULL, 0, 0 };
}

static int make_room(struct pieces *p, size_t count)
{
	size_t bytes = p->room * sizeof(*p->piece);
	void *at = MAP_FAILED;

	if (count <= p->room)
		return 0;
	if (!fault(FAULT_ALLOC))
		at = mm_mmap(mm_room(2 * bytes), 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	memcpy(at, p->piece, bytes);
	mm_munmap(p->piece, bytes);
	p->piece = at;
	p->room *= 2;
	return 0;
}

/* Index of the piece that `offset`, which is within the range, is in. */
static size_t find(const struct pieces *p, uint64_t offset)
{
	size_t low = 0, high = p->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (p->piece[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Let `new` take in what is alike on its left, from *first on; a piece that is cut there is left to the caller. */
static void merge_left(const struct pieces *p, struct piece *new, size_t *first)
{
	const struct piece *at = &p->piece[*first];

	if (at->offset == new->offset && *first) {
		at--;
		if (!alike(at, new))
			return;
		(*first)--;
	} else if (!alike(at, new)) {
		return;
	}
	new->length += new->offset - at->offset;
	new->offset = at->offset;
}

static void merge_right(const struct pieces *p, struct piece *new, size_t *last)
{
	const struct piece *at = &p->piece[*last];

	if (end_of(at) == end_of(new) && *last + 1 < p->count) {
		at++;
		if (!alike(at, new))
			return;
		(*last)++;
	} else if (!alike(at, new)) {
		return;
	}
	new->length = end_of(at) - new->offset;
}

int pieces_set(struct pieces *p, const struct piece *what)
{
	struct piece with[3], new = *what;
	size_t first = find(p, what->offset), last = find(p, end_of(what) - 1), n = 0;
	const struct piece *left, *right;

	merge_left(p, &new, &first);
	merge_right(p, &new, &last);
	left = &p->piece[first];
	right = &p->piece[last];
	if (left->offset < new.offset) {
		with[n] = *left;
		with[n++].length = new.offset - left->offset;
	}
	with[n++] = new;
	if (end_of(right) > end_of(&new)) {
		with[n] = *right;
		with[n].offset = end_of(&new);
		with[n++].length = end_of(right) - end_of(&new);
	}
	if (make_room(p, p->count + n))
		return -ENOMEM;
	memmove(&p->piece[first + n], &p->piece[last + 1], (p->count - last - 1) * sizeof(*p->piece));
	memcpy(&p->piece[first], with, n * sizeof(*p->piece));
	p->count += n - (last - first + 1);
	return 0;
}

void pieces_set_all(struct pieces *p, const struct piece *what)
{
	uint64_t length = end_of(&p->piece[p->count - 1]);

	p->piece[0] = *what;
	p->piece[0].offset = 0;
	p->piece[0].length = length;
	p->count = 1;
}

void pieces_cut(struct pieces *p, uint64_t offset)
{
	size_t last = find(p, offset - 1);

	p->piece[last].length = offset - p->piece[last].offset;
	p->count = last + 1;
}

const struct piece *pieces_at(const struct pieces *p, uint64_t offset)
{
	size_t i = find(p, offset);

	return offset < end_of(&p->piece[i]) ? &p->piece[i] : NULL;
}
