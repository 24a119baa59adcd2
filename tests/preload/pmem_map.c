/*
 * pmem_map FILE write|read GRANULARITY SEED: libpmem2 maps the file, with `page` or `cache-line` at most, says what it
 * got, and stores to all of it, or looks at what was stored. Knows nothing of inodax.
 */
#include <fcntl.h>
#include <libpmem2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK	(96UL << 10)

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "%s: %s\n", what, pmem2_errormsg());
	exit(1);
}

static void fill(uint64_t *words, size_t at, uint64_t seed)
{
	for (size_t i = 0; i < CHUNK / 8; i++)
		words[i] = seed * 0x9e3779b97f4a7c15 + at + i;
}

/* By each way that it has: stores and a persist, and its own memcpy. */
static void store(struct pmem2_map *map, uint64_t seed)
{
	pmem2_persist_fn persist = pmem2_get_persist_fn(map);
	pmem2_memcpy_fn copy = pmem2_get_memcpy_fn(map);
	char *base = pmem2_map_get_address(map);
	static uint64_t words[CHUNK / 8];

	for (size_t at = 0; at + CHUNK <= pmem2_map_get_size(map); at += CHUNK) {
		fill(words, at, seed);
		if (at / CHUNK % 2) {
			copy(base + at, words, CHUNK, PMEM2_F_MEM_NONTEMPORAL);
		} else {
			memcpy(base + at, words, CHUNK);
			persist(base + at, CHUNK);
		}
	}
}

static void look(struct pmem2_map *map, uint64_t seed)
{
	const char *base = pmem2_map_get_address(map);
	static uint64_t words[CHUNK / 8];

	for (size_t at = 0; at + CHUNK <= pmem2_map_get_size(map); at += CHUNK) {
		fill(words, at, seed);
		if (memcmp(base + at, words, CHUNK) != 0) {
			fprintf(stderr, "at %zu is not what was stored\n", at);
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	static const char *const names[] = {
		[PMEM2_GRANULARITY_BYTE] = "byte", [PMEM2_GRANULARITY_CACHE_LINE] = "cache-line",
		[PMEM2_GRANULARITY_PAGE] = "page",
	};
	struct pmem2_config *config;
	struct pmem2_source *source;
	struct pmem2_map *map;
	bool write;
	int fd;

	if (argc != 5)
		return 2;
	write = !strcmp(argv[2], "write");
	fd = open(argv[1], write ? O_RDWR : O_RDONLY);
	must(fd < 0, argv[1]);
	must(pmem2_source_from_fd(&source, fd), "pmem2_source_from_fd");
	must(pmem2_config_new(&config), "pmem2_config_new");
	must(pmem2_config_set_required_store_granularity(config, strcmp(argv[3], "page") ?
			PMEM2_GRANULARITY_CACHE_LINE : PMEM2_GRANULARITY_PAGE), "granularity");
	must(write ? 0 : pmem2_config_set_protection(config, PMEM2_PROT_READ), "protection");
	must(pmem2_map_new(&map, config, source), "pmem2_map_new");
	puts(names[pmem2_map_get_store_granularity(map)]);
	(write ? store : look)(map, strtoull(argv[4], NULL, 10));
	must(pmem2_map_delete(&map), "pmem2_map_delete");
	return 0;
}
