/*
 * Runs the cases of both tables. `--full` looks at more states of each cut, INODAX_TEST_QUICK in the environment at
 * fewer; `--seed N` and `--case NAME` repeat what a failure printed.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t pick_seed(void)
{
	uint64_t seed = 0;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed >> 1 : 1;
}

static void run_table(const struct crash_case *table, const char *only, const struct crash_options *opt,
		      struct crash_result *total)
{
	for (; table->name; table++) {
		struct crash_result r = { 0 };

		if (only && strcmp(only, table->name) != 0)
			continue;
		crash_run(table, opt, &r);
		printf("%-34s %4llu fences %7llu images %6llu recoveries %llu violations\n", table->name,
		       (unsigned long long)r.fences, (unsigned long long)r.images, (unsigned long long)r.recoveries,
		       (unsigned long long)r.violations);
		fflush(stdout);
		total->images += r.images;
		total->violations += r.violations;
	}
}

int main(int argc, char **argv)
{
	struct crash_options opt = { .subset_lines = 6, .samples = 48, .recovery_every = 40 };
	struct crash_result total = { 0 };
	const char *only = NULL;

	if (getenv("INODAX_TEST_QUICK")) {	/* under a sanitizer */
		opt.subset_lines = 3;
		opt.samples = 12;
		opt.recovery_every = 80;
	}
	opt.seed = pick_seed();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--full") == 0) {
			opt.subset_lines = 12;
			opt.samples = 2000;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			opt.seed = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--case") == 0 && i + 1 < argc) {
			only = argv[++i];
		} else {
			fprintf(stderr, "usage: %s [--full] [--seed N] [--case NAME]\n", argv[0]);
			return 2;
		}
	}
	crash_init();
	printf("seed %llu\n", (unsigned long long)opt.seed);
	run_table(crash_single_cases, only, &opt, &total);
	run_table(crash_sequence_cases, only, &opt, &total);
	printf("%llu images, %llu violations\n", (unsigned long long)total.images,
	       (unsigned long long)total.violations);
	return total.images == 0 || total.violations ? EXIT_FAILURE : EXIT_SUCCESS;
}
