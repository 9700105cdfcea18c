#!/usr/bin/env bash
# The one gate: runs every check, even when one fails, then prints a table of times. Usage: ci/check.sh [PYTEST WORDS]
# Called by `make test`, which installs what this needs. Ends with pytest's own closing line; 0 only when all passed.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
unset PYTHONPATH PYTHONHOME
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
table=()
failed=0
began=$SECONDS

row() {  # name, status, seconds
    local word=ok
    if [ "$2" -ne 0 ]; then
        word="FAILED ($2)"
        failed=1
    fi
    table+=("$(printf '  %-16s %5d s  %s' "$1" "$3" "$word")")
}

check() {  # name, command...
    local name=$1 start=$SECONDS status
    shift
    echo "== $name: $*"
    "$@" </dev/null
    status=$?
    row "$name" "$status" $((SECONDS - start))
}

check "ruff check" $bin/ruff check effbench tests ci
check "ruff format" $bin/ruff format --check effbench tests ci
check "mypy" $bin/mypy --strict
check "import-linter" $bin/lint-imports
check "generated files" $bin/python -m effbench.catalog.schema --check

# The benchmarks in tests/overhead take minutes and judge nothing: `make bench` runs them.
start=$SECONDS
echo "== pytest"
# The last line is held back, so that it stays the last one after the table.
$bin/python -m pytest --ignore=tests/overhead --durations=10 "$@" </dev/null 2>&1 | tee "$log" | sed -u '$d'
row "pytest" "${PIPESTATUS[0]}" $((SECONDS - start))

echo
echo "Checks"
printf '%s\n' "${table[@]}"
printf '  %-16s %5d s  %s\n' "all" $((SECONDS - began)) "$([ "$failed" = 0 ] && echo ok || echo FAILED)"
echo
tail -n 1 "$log"
exit "$failed"
