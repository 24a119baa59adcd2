/*
 * A set of names, for finding the same one twice: the entries of one directory, or the attributes of one
 * inode.
 *
 * Names are not copied. A slot of the table holds where in the pool the name lies and 32 bits of its hash;
 * only when the hashes agree are the bytes read again, through the overlay. 16 bytes a slot, at most half of
 * them taken. The hash is seeded at random, once a set, so that no image can be made whose names all fall
 * into one chain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "check/check_private.h"

#define SLOTS_FIRST	64U

struct set_slot {
	uint64_t	off;		/* 0: empty; block 0 holds no names */
	uint32_t	hash;
	uint8_t		len, ns;
};

struct nameset {
	struct set_slot	*slots;
	uint64_t	 size, count;	/* slots, a power of two; taken */
	uint64_t	 seed;
};

struct nameset *nameset_new(void)
{
	struct nameset *set = check_calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	if (getrandom(&set->seed, sizeof(set->seed), GRND_NONBLOCK) < 0)
		set->seed = (uintptr_t)set;
	if (nameset_clear(set)) {
		free(set);
		return NULL;
	}
	return set;
}

void nameset_delete(struct nameset *set)
{
	if (!set)
		return;
	free(set->slots);
	free(set);
}

/* Empty and small again, so that a million small directories after a large one cost little. */
int nameset_clear(struct nameset *set)
{
	set->count = 0;
	if (set->size == SLOTS_FIRST) {
		memset(set->slots, 0, SLOTS_FIRST * sizeof(*set->slots));
		return 0;
	}
	free(set->slots);
	set->slots = check_calloc(SLOTS_FIRST, sizeof(*set->slots));
	set->size = set->slots ? SLOTS_FIRST : 0;
	return set->slots ? 0 : -ENOMEM;
}

static int grow(struct nameset *set)
{
	struct set_slot *slots = check_calloc(set->size * 2, sizeof(*slots));
	uint64_t mask = set->size * 2 - 1, to;

	if (!slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < set->size; i++) {
		if (!set->slots[i].off)
			continue;
		to = set->slots[i].hash & mask;
		while (slots[to].off)
			to = (to + 1) & mask;
		slots[to] = set->slots[i];
	}
	free(set->slots);
	set->slots = slots;
	set->size *= 2;
	return 0;
}

static bool same(const struct set_slot *slot, const struct overlay *ov, const struct set_name *name,
		 uint32_t hash)
{
	char buf[UINT8_MAX];

	if (slot->hash != hash || slot->len != name->len || slot->ns != name->ns)
		return false;
	return memcmp(overlay_read(ov, slot->off, name->len, buf), name->name, name->len) == 0;
}

int nameset_add(struct nameset *set, const struct overlay *ov, const struct set_name *name)
{
	uint32_t hash = (uint32_t)XXH3_64bits_withSeed(name->name, name->len, set->seed + name->ns);
	uint64_t i;

	if (set->count >= set->size / 2 && grow(set))
		return -ENOMEM;
	for (i = hash & (set->size - 1); set->slots[i].off; i = (i + 1) & (set->size - 1))
		if (same(&set->slots[i], ov, name, hash))
			return 1;
	set->slots[i] = (struct set_slot){ name->off, hash, name->len, name->ns };
	set->count++;
	return 0;
}
