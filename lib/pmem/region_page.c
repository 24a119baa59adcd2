/*
 * How large the pages are that mappings of a region can get.
 *
 * A tmpfs says it in its mount options (huge=), unless the administrator decided for all of them
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled: force or deny; other words there count for memory without a mount
 * of its own, as memfd_create(2) makes it). A mount with huge=advise asks for madvise(2), which is nobody's here to
 * give.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "pmem/region_private.h"

#define PAGE_4K		(1ULL << 12)
#define PAGE_2M		(1ULL << 21)
#define PAGE_1G		(1ULL << 30)
#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define LINE		65536

/* Is `word` the one in brackets? */
static bool setting_is(const char *file, const char *word)
{
	char line[256] = "", bracketed[32];
	FILE *f = fopen(file, "re");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	snprintf(bracketed, sizeof(bracketed), "[%s]", word);
	return strstr(line, bracketed);
}

/* Is it mounted, and with large pages? The options of the superblock stand last in a line of mountinfo. */
static bool mounted_huge(dev_t dev, bool *mounted)
{
	static _Thread_local char line[LINE];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned int major, minor;
	bool huge = false;

	*mounted = false;
	while (f && !*mounted && fgets(line, sizeof(line), f)) {
		const char *options = strrchr(line, ' ');

		if (!options || sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2 || makedev(major, minor) != dev)
			continue;
		*mounted = true;
		huge = strstr(options, "huge=always") || strstr(options, "huge=within_size");
	}
	if (f)
		fclose(f);
	return huge;
}

static uint64_t tmpfs_page(const struct region *r)
{
	struct stat st;
	bool mounted, huge;

	if (setting_is(SHMEM_ENABLED, "deny") || fstat(r->fd, &st))
		return PAGE_4K;
	huge = mounted_huge(st.st_dev, &mounted);
	if (!mounted)
		huge = setting_is(SHMEM_ENABLED, "always") || setting_is(SHMEM_ENABLED, "within_size");
	return huge || setting_is(SHMEM_ENABLED, "force") ? PAGE_2M : PAGE_4K;
}

uint64_t region_page_max(const struct region *r)
{
	switch (r->kind) {
	case REGION_DEVDAX:
		return r->unit >= PAGE_1G ? PAGE_1G : r->unit >= PAGE_2M ? PAGE_2M : PAGE_4K;
	case REGION_FSDAX:
	case REGION_EMU:
		return PAGE_2M;
	case REGION_VOLATILE:
		return tmpfs_page(r);
	case REGION_PAGED:
		break;
	}
	return PAGE_4K;
}
