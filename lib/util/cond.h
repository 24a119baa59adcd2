/*
 * Condition variables whose deadlines are of CLOCK_MONOTONIC: nobody may set that.
 */
#ifndef UTIL_COND_H
#define UTIL_COND_H

#include <pthread.h>
#include <time.h>

static inline void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

#endif
