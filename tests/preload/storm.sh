#!/bin/bash
# Threads of several processes that map the same files and do with their maps what programs may: under inodax-run each
# sees what it has to, all of it is what it would be on a tmpfs, and nothing is held when they end.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
storm=$(helper preload/storm)
seed=${INODAX_TEST_SEED:-$RANDOM}
steps=${INODAX_TEST_STEPS:-$(scale 5000 20000 1000000)}
processes=$(scale 1 1 4)
threads=$(scale 2 2 16)

# trace WHAT COMMAND...: what it says.
trace() {
	local what=$1
	shift
	"$@" "$steps" "$seed" "$processes" "$threads" > "$dir/out" 2> "$dir/err" || fail "$what: status $?: $(tail -3 "$dir/err")"
	cat "$dir/out"
}

mount_tmpfs never 1024
mkdir "$pools/files"
step "on a tmpfs, seed $seed, $steps steps"
wanted=$(trace "on a tmpfs" "$storm" "$pools/files")
rm -r "$pools/files"
make_pool 256
mount_pool
before=$(free_blocks)
step "on the mount, with inodax-run"
same "with inodax-run, seed $seed" \
	"$(trace "with inodax-run, seed $seed" "$run" --explain="$dir/explained" "$storm" "$mnt")" "$wanted"
grep -q ': direct [0-9]' "$dir/explained" || fail "no map was direct"
! grep 'not direct' "$dir/explained" || fail "there are calls that the library leaves to the kernel"
rm "$mnt"/*
accounts "with inodax-run, seed $seed"
finish
unmount_tmpfs
