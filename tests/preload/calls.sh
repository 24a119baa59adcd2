#!/bin/bash
# A program that knows nothing of inodax and does with shared maps what programs may: under inodax-run it sees what it
# sees without, its maps are direct where they can be, and nothing is held when it ends.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
calls=$(helper preload/calls)
seed=${INODAX_TEST_SEED:-$RANDOM}
steps=$(scale 1000 5000 200000)
make_pool 64
mount_pool

# agree WHAT COMMAND...
agree() {
	local what=$1
	shift
	"$@" > "$dir/out" 2> "$dir/err" || fail "$what, seed $seed: status $?: $(cat "$dir/err")"
	same "$what, seed $seed" "$(cat "$dir/out")" "$steps steps agree"
}

step "without inodax-run, seed $seed"
agree "without inodax-run" "$calls" "$mnt/plain" "$steps" "$seed"

step "with it"
agree "with inodax-run" "$run" --explain="$dir/explained" "$calls" "$mnt/direct" "$steps" "$seed"
some_direct "$dir/explained"
nothing_held "with inodax-run"

step "on another filesystem"
: > "$dir/explained"
agree "on another filesystem" "$run" --explain="$dir/explained" "$calls" "$dir/elsewhere" "$steps" "$seed"
same "what was explained of another filesystem" "$(cat "$dir/explained")" ""

step "what inodax-run says"
status=0
"$run" sh -c 'exit 7' || status=$?
same "status of the command" "$status" 7
# ends STATUS TEXT COMMAND...
ends() {
	local want=$1 text=$2 status=0
	shift 2
	"$@" > "$dir/out" 2> "$dir/err" || status=$?
	same "status of $*" "$status" "$want"
	grep -q -F -- "$text" "$dir/err" || fail "$* says '$(cat "$dir/err")', '$text' was needed"
}

ends 125 'a COMMAND is needed' "$run"
ends 127 '/no/such/program: No such file' "$run" /no/such/program
ends 126 'Permission denied' "$run" "$dir"
# shellcheck disable=SC2016	# the shell that is run expands it
same "LD_PRELOAD of the command, of two" \
	"$(LD_PRELOAD=/none.so "$run" sh -c 'echo "$LD_PRELOAD"' 2>> "$dir/err" | sed 's,.*/libinodax,libinodax,')" \
	libinodax-preload.so:/none.so
finish
