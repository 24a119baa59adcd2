#!/bin/bash
# The models of lib/dax's protocols: each holds in every interleaving, and in each an error that is planted is found.
# README.md says which.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need spin
cc=
for candidate in gcc cc clang; do
	if command -v "$candidate" > "$dir/need"; then
		cc=$candidate
		break
	fi
done
[ -n "$cc" ] || skip "no C compiler is installed"

models=$top_srcdir/tests/spin
mkdir "$dir/run"
cd "$dir/run"
found=

# search OPTIMISE MODEL OPTION...: what the verifier says is in out, the number of errors in $found. OPTIONs are spin's.
search() {
	local optimise=$1 model=$2
	shift 2
	find . -type f -delete
	spin -P"$cc -E -x c" "$@" -a "$models/$model.pml" > spin.out 2>&1 ||
		fail "$model.pml $*: spin: $(cat spin.out)"
	"$cc" -w "$optimise" -DSAFETY -DMEMLIM=800 -o pan pan.c > cc.out 2>&1 ||
		fail "$model.pml $*: $cc: $(tail -n 5 cc.out)"
	./pan -m1000000 > out 2>&1 || true
	found=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' out)
	[ -n "$found" ] || fail "$model.pml $*: no result: $(tail -n 5 out)"
}

states() {
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out
}

# holds MODEL OPTION...: in every interleaving, all of which were searched.
holds() {
	search -O2 "$@"
	if [ "$found" != 0 ] || grep -E 'max search depth too small|Search not completed|MEMLIM|out of memory' out; then
		fail "$*: $(grep -E '^pan|errors:' out)"
	fi
	printf '%-8s %-26s %9s states, all of them\n' "$1" "${*:2}" "$(states)"
}

# catches HOW BUG MODEL OPTION...: HOW is assertion or hang.
catches() {
	local how=$1 bug=$2 want='assertion violated'
	shift 2
	[ "$how" = assertion ] || want='invalid end state'
	search -O0 "$@" "-DBUG_$bug"
	[ "$found" != 0 ] || fail "$*: $bug is not found in $(states) states"
	grep -q "^pan.*$want" out || fail "$*: $bug: needed is '$want', found: $(grep '^pan' out)"
	printf '%-8s %-26s %9s states, %s\n' "$1" "${*:2} $bug" "$(states)" "$how"
}

step "faults, pins and layout breaks"
holds fault
catches assertion NO_TEMPORARY fault
catches hang WAIT_FOR_ZERO fault
catches hang WAITERS_BLIND fault
catches assertion PIN_FROM_ZERO fault
catches assertion ZAP_AFTER_LOOK fault
catches assertion NO_FLUSH fault

step "kill and drain"
for policy in SWEEP COUNTER; do
	holds drain "-D$policy"
	for bug in AT_TRUNCATE PRIVATE KILL_RACE DESTROY_EARLY; do
		catches assertion "$bug" drain "-D$policy"
	done
done
catches assertion UNDO_ELSEWHERE drain -DCOUNTER
catches hang UNDO_SILENT drain -DCOUNTER

step "limbo, unlink and pins"
holds limbo
for bug in PIN_THEN_INODE DOUBLE_FREE LIMBO_LATE NO_LIMBO LIMBO_PINNED UNLINK_FREES; do
	catches assertion "$bug" limbo
done

step "a folio that falls apart"
holds folio
for bug in SPLIT HEAD_ONCE QUIET_NOW BOTH_FREE NOBODY_FREES; do
	catches assertion "$bug" folio
done

step "the lock of an entry"
holds entry
catches assertion NO_CONFLICT entry
catches hang NO_PASS entry
catches hang UNLOCK_SILENT entry
catches hang DELETE_WAKES_ONE entry
catches assertion DOWNGRADE_MAPPED entry
catches assertion DOWNGRADE_OPEN entry
