#!/bin/sh
# Finds a Python that is new enough and hands over to ci/install.py. Usage: sh ci/bootstrap.sh run|dev
# Plain sh, because the Python that is found first may be too old to read anything else of ours.
set -u
cd "$(dirname "$0")/.." || exit 1

# What would send pip or Python elsewhere. Where packages come from (indexes, proxies, certificates) is left alone.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV __PYVENV_LAUNCHER__
unset PIP_CONSTRAINT PIP_REQUIREMENT PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_REQUIRE_VIRTUALENV PIP_PYTHON
unset PIP_UPGRADE PIP_FORCE_REINSTALL PIP_IGNORE_INSTALLED PIP_NO_DEPS PIP_PRE

# Also read by Pythons that are far too old. The interpreter's own path spares a second way through a version shim.
question='import sys; v = sys.version_info
print("%s %d.%d.%d %s" % ("ok" if v >= (3, 11) else "old", v[0], v[1], v[2], sys.executable))'
seen=''
for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    answer=$("$python" -c "$question" 2>/dev/null) || answer=''
    rest=${answer#* }
    version=${rest%% *}
    case $answer in
    ok\ *) exec "${rest#* }" ci/install.py "$@" ;;
    ?*) seen="$seen $python is $version;" ;;
    esac
    if [ -n "${PYTHON:-}" ]; then
        echo "install: PYTHON=$PYTHON is ${version:-not a Python that starts}; effbench needs 3.11 or newer" >&2
        exit 1
    fi
done
echo "install: effbench needs Python 3.11 or newer;${seen:- no python3 was found;} install one" \
    "(Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make run PYTHON=/path/to/python3.12" >&2
exit 1
