/*
 * What arbiter_random.c, which runs rounds, and arbiter_steps.c, which knows the steps, have of each other.
 */
#ifndef DAX_ARBITER_STEPS_H
#define DAX_ARBITER_STEPS_H

#include "arbiter_compare.h"

#define UNITS		3584U
#define FILE_UNITS	1280U
#define BIG		512U		/* units in a larger folio */

/* The world and its model. */
extern struct pair p;

/* rnd - below n. one_in - true one time of n. say - what this step is, in words; the last one counts. */
uint64_t rnd(uint64_t n);
bool one_in(uint64_t n);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* same - both came to the same, or it ends here. */
void same(const char *what, long is, long want);

/* random_step - one step, in both. */
void random_step(void);

/* new_file, new_mm - both get one, in that place. */
void new_file(unsigned int f);
void new_mm(unsigned int mm);

#endif
