/*
 * The self-test of the crash tests: six bugs are planted, one at a time, and each must be caught by the same cases that
 * find nothing without them.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>

#include "pmem/persist.h"
#include "util/fault.h"

struct planted {
	const char	*name;
	void		(*plant)(void);
};

static void plant_flush(void)
{
	crash_missing_flush = true;
}

static void plant_fence(void)
{
	crash_missing_fence = PERSIST_COMMIT;
}

static void plant_tail_check(void)
{
	fault_arm_always(FAULT_REPLAY_TAIL_CHECK);
}

static void plant_reuse(void)
{
	fault_arm_always(FAULT_EARLY_REUSE);
}

static void plant_inplace(void)
{
	fault_arm_always(FAULT_EARLY_INPLACE);
}

static void plant_torn(void)
{
	fault_arm_always(FAULT_TORN_RECORD);
}

static const struct planted bugs[] = {
	{ "missing flush", plant_flush },
	{ "missing fence", plant_fence },
	{ "replay without the tail check", plant_tail_check },
	{ "early reuse of a journalled metadata block", plant_reuse },
	{ "in-place store before the fence", plant_inplace },
	{ "torn record accepted", plant_torn },
};

static void unplant(void)
{
	crash_missing_flush = false;
	crash_missing_fence = -1;
	for (int site = 0; site < FAULT_SITES; site++)
		fault_disarm((enum fault_site)site);
}

static uint64_t hunt(const struct crash_options *opt)
{
	struct crash_result r = { 0 };

	for (const struct crash_case *c = crash_sequence_cases; c->name && !r.violations; c++)
		crash_run(c, opt, &r);
	for (const struct crash_case *c = crash_single_cases; c->name && !r.violations; c++)
		crash_run(c, opt, &r);
	return r.violations;
}

int main(void)
{
	struct crash_options opt = {
		.seed = 1, .subset_lines = 6, .samples = 64, .quiet = true, .stop_at_first = true,
	};
	int missed = 0;

	crash_init();
	for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
		uint64_t caught;

		bugs[i].plant();
		caught = hunt(&opt);
		unplant();
		printf("%-45s %s\n", bugs[i].name, caught ? "caught" : "NOT CAUGHT");
		missed += !caught;
	}
	return missed ? EXIT_FAILURE : EXIT_SUCCESS;
}
