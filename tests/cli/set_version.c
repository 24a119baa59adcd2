/*
 * Makes a pool one of another format version, with superblocks that verify.
 *
 *	set_version POOL VERSION
 */
#include <stdio.h>
#include <stdlib.h>

#include "meta/super.h"
#include "pmem/region.h"

int main(int argc, char **argv)
{
	struct err err = { "" };
	struct region *r;
	struct super sb;
	int rc;

	if (argc != 3) {
		fprintf(stderr, "usage: set_version POOL VERSION\n");
		return 2;
	}
	rc = region_open(&r, argv[1], 0, 0, &err);
	if (rc) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	rc = super_read(r, argv[1], &sb, &err);
	if (rc) {
		fprintf(stderr, "%s\n", err.text);
	} else {
		sb.version = (uint32_t)strtoul(argv[2], NULL, 10);
		rc = super_write(r, &sb);
	}
	region_close(r);
	return rc ? 1 : 0;
}
