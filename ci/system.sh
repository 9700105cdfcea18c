#!/usr/bin/env bash
# Real engines and known truth: links of known speed and a real Slurm on this machine. Usage: ci/system.sh [PYTEST WORDS]
# Called by `make test-system`. Runs what is installed and lists what it skipped and why; with REQUIRE=1 a missing
# part fails. Needs root. Ends everything that it started, on every way out, and first what an earlier run left.
set -u
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME
case ${REQUIRE:-0} in '' | 0 | no) REQUIRE='' ;; *) REQUIRE=1 ;; esac
export REQUIRE
PATH=$PATH:/usr/sbin:/sbin
python=.venv/bin/python

if [ "$(id -u)" != 0 ]; then
    echo "test-system: skipped, all of it: network namespaces and slurmd need root; run it as root or in a container" >&2
    [ -z "$REQUIRE" ] && exit 0
    exit 1
fi

# One folder per checkout: checkouts do not meet, and what a killed run left is found again. Munge's socket lies in it,
# and a socket's path may have 107 characters only.
EFFBENCH_SYSTEM=${EFFBENCH_SYSTEM:-/tmp/effbench-system-$(pwd -P | cksum | cut -d' ' -f1)}
export EFFBENCH_SYSTEM
mkdir -p "$EFFBENCH_SYSTEM"
exec 9>"$EFFBENCH_SYSTEM/running"
if ! flock -n 9; then
    echo "test-system: another one runs in this checkout ($EFFBENCH_SYSTEM); wait for it" >&2
    exit 1
fi

clear() {
    local folder
    for folder in "$EFFBENCH_SYSTEM"/*/ledger.json; do
        [ -e "$folder" ] || continue
        folder=${folder%/ledger.json}
        $python ci/sandbox/slurm.py --dir "$folder" down 9>&-
    done
}
trap clear EXIT
trap 'exit 130' INT TERM HUP
clear

places=(tests/system)
for word in "$@"; do
    [ -e "${word%%::*}" ] && places=()
done
limit=${EFFBENCH_SYSTEM_LIMIT_S:-900}
timeout --foreground --kill-after=20 "$limit" \
    $python -m pytest "${places[@]}" --durations=10 -p no:cacheprovider "$@" </dev/null 9>&-
status=$?
[ "$status" != 124 ] || echo "test-system: not done after $limit s, ended" >&2
exit "$status"
