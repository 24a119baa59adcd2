/*
 * The simulated world and the model side by side: what arbiter_random.c runs steps on, and arbiter_compare.c
 * compares.
 */
#ifndef DAX_ARBITER_COMPARE_H
#define DAX_ARBITER_COMPARE_H

#include "arbiter_model.h"
#include "sim.h"

struct pair {
	struct am	 m;
	struct sim	*sim;
	struct sim_file	*file[AM_FILES];
	struct sim_mm	*mm[AM_MMS];
	struct sim_pin	*pin[AM_PINS];
};

/* compare_all - everything but bytes; what differs is am_fail(). */
void compare_all(const struct pair *p);
/* compare_bytes - the followed bytes of all that is in files. */
void compare_bytes(const struct pair *p);

#endif
