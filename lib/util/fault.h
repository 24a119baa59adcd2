/*
 * Named, counted fault injection: code at a place that can fail asks fault(FAULT_X); a test arms the n-th
 * asking to fail. Nothing is armed outside tests, and then a call is one load.
 */
#ifndef UTIL_FAULT_H
#define UTIL_FAULT_H

#include <stdbool.h>

enum fault_site {
	FAULT_ALLOC,			/* DRAM allocation */
	FAULT_BALLOC,			/* block allocation: behave as if no block were free */
	FAULT_REPLAY_TAIL_CHECK,	/* planted bug: replay does not check that a record continues the run */
	FAULT_EARLY_REUSE,		/* planted bug: journalled metadata blocks are free at once */
	FAULT_EARLY_INPLACE,		/* planted bug: in-place stores before the commit fence */
	FAULT_TORN_RECORD,		/* planted bug: record crc is not checked */
	FAULT_SITES
};

/* fault - true if this asking was armed to fail. */
bool fault(enum fault_site site);

/* fault_arm - the n-th asking from now fails, 1: the next; fault_arm_always - all do; fault_disarm - none */
void fault_arm(enum fault_site site, unsigned long n);
void fault_arm_always(enum fault_site site);
void fault_disarm(enum fault_site site);

#endif
