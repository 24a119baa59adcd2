#!/bin/bash
# Nothing that a client does, or fails to do, makes a block be used again that it still maps: files without a name, cut,
# and mapped by clients that fork, exec, close everything, stop, and are killed; daemons that are killed. Whenever a
# block is free, a file takes it at once, and each file has words of its own: a block with two owners shows in both.
# After each round nothing is referenced, nothing is in limbo, and as much is free as before.
#
# INODAX_TEST_SEED sets the seed, INODAX_TEST_ROUNDS how often each scenario is played.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

life=$(helper direct/life_client)
rounds=${INODAX_TEST_ROUNDS:-$(scale 1 4 200)}
seed=${INODAX_TEST_SEED:-$RANDOM}
RANDOM=$seed
printf 'seed %s, %s rounds\n' "$seed" "$rounds"

# begin_mount [OPTIONS]: a directory that has what blocks it needs for names, and what is free then.
begin_mount() {
	make_pool 48
	mount_pool "$@"
	mkdir "$mnt/d"
	touch "$mnt/d/stays" "$mnt/d/"{1..20}
	rm "$mnt/d/"[0-9]*
	before=$(free_blocks)
}

# play SCENARIO: so often.
play() {
	local round
	step "$1"
	for ((round = 0; round < rounds; round++)); do
		"$life" "$1" "$mnt/d" $((seed * 1000 + round)) || fail "life_client $1 $mnt/d $((seed * 1000 + round))"
		accounts "$1, seed $((seed * 1000 + round))"
	done
}

# Whoever is to answer answers in time, however busy the machine is.
begin_mount mapper_timeout=60000,quarantine=0
for scenario in unlink cut close fork idle clone exec; do
	play "$scenario"
done
finish

# Here it is waited in vain: for a client that is stopped, or dies while the kernel keeps it from writing its pages back
# because the file is being cut.
begin_mount mapper_timeout=100,quarantine=0
for scenario in kill parked stop; do
	play "$scenario"
done
finish

# ---- The daemon is killed ------------------------------------------------------------------------

# hold CLIENTS SEED
hold() {
	local held
	coproc HOLD { exec "$life" hold "$mnt/d" "$@" 2>> "$dir/hold"; }
	# shellcheck disable=SC2153 # coproc sets it
	hold_pid=$HOLD_PID
	read -r -t 600 held <&"${HOLD[0]}" || fail "the clients did not start: $(cat "$dir/hold")"
	same "the clients" "$held" held
}

whole() {
	local found
	printf 'look\n' >&"${HOLD[1]}"
	read -r -t 600 found <&"${HOLD[0]}" || fail "$1: $(cat "$dir/hold")"
	same "$1: the clients' memory" "$found" whole
}

end_hold() {
	local fd=${HOLD[1]}
	exec {fd}>&-
	until_true 600 gone "$hold_pid" || fail "the clients do not end"
	wait_ended "$hold_pid"
	same "status of the clients: $(cat "$dir/hold")" "$ended" 0
}

# killed_daemon SEED
killed_daemon() {
	local times
	hold 4 "$1"
	for ((times = 1 + RANDOM % 2; times; times--)); do
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		kill_daemon
		mount_pool quarantine=0
		"$life" fill "$mnt/full" "$1" || fail "filling what is free"
		whole "the pool is full"
		"$life" verify "$mnt/full" "$1" || fail "a block of a client is in a file"
		rm "$mnt/full"
	done
	end_hold
	rm -f "$mnt/d/held"*
	accounts "daemon killed, seed $1"
}

step "the daemon is killed"
begin_mount quarantine=0
for ((round = 0; round < rounds; round++)); do
	killed_daemon $((seed * 1000 + round))
done
finish
