#!/usr/bin/env bash
# effbench's own speed: the pytest-benchmark files and the scripts of tests/overhead, one after another.
# Called by `make bench`. Times are printed, never judged; ends non-zero only when one of them broke.
set -u
cd "$(dirname "$0")/.." || exit 1
unset PYTHONPATH PYTHONHOME
failed=0
shopt -s nullglob
tests=(tests/overhead/test_*.py)
if [ ${#tests[@]} -gt 0 ]; then
    echo "== pytest-benchmark"
    .venv/bin/python -m pytest tests/overhead --benchmark-only --benchmark-columns=min,median,iqr,rounds "$@" \
        </dev/null || failed=1
fi
for script in tests/overhead/*.py; do
    case ${script##*/} in test_* | conftest.py | _*) continue ;; esac
    echo
    echo "== $script"
    start=$SECONDS
    .venv/bin/python "$script" </dev/null || failed=1
    echo "   ($((SECONDS - start)) s)"
done
exit "$failed"
