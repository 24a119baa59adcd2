#!/bin/bash
# Random operations on the mount, each compared with a model in memory: tests/model/random_ops.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need_root
need_fuse
operations=$(scale 3000 30000 1000000)
for dax in always never; do
	step "dax=$dax"
	make_pool 256
	mount_pool "dax=$dax"
	mkdir "$mnt/work"
	"$(helper model/random_ops)" "$mnt/work" "$operations"
	finish
done
