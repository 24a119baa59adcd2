/*
 * What sim_mm.c and sim_access.c share.
 */
#ifndef DAX_SIM_PRIVATE_H
#define DAX_SIM_PRIVATE_H

#include "sim.h"

static inline uint64_t sim_size_units(const struct sim *sim, enum dax_size size)
{
	return 1ULL << pgmap_order(sim->pg, size);
}

static inline uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline struct sim_pte *sim_pte(struct sim_vma *v, uint64_t index)
{
	if (index < v->dax.index || index >= v->dax.index + v->dax.count)
		sim_fail("index %lu is not in the VMA %lu+%lu", index, v->dax.index, v->dax.count);
	return &v->pte[index - v->dax.index];
}

static inline uint64_t sim_vma_end(const struct sim_vma *v)
{
	return v->address + (v->dax.count << v->mm->sim->shift);
}

static inline uint64_t sim_index_at(const struct sim_vma *v, uint64_t address)
{
	return v->dax.index + ((address - v->address) >> v->mm->sim->shift);
}

/* sim_vma_at - the VMA of an address, NULL: none. mmap_lock held. */
struct sim_vma *sim_vma_at(struct sim_mm *mm, uint64_t address);

/* sim_grant_get - the grant of this mm on this file, and an area of it. sim_grant_put - the end of that use. */
struct sim_grant *sim_grant_get(struct sim_mm *mm, struct sim_file *f, uint32_t *area);
void sim_grant_put(struct sim *sim, struct sim_grant *g, uint32_t area);

#endif
