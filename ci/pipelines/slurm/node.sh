# Owns what the hooks share: the site's settings, the log, asking effbench, the quick level. Sourced by POSIX sh.
# Set before: hook, its name in the log; refused, its exit status when it cannot work; folder, where site.conf is.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
node=${SLURMD_NODENAME:-$(hostname)}

say() {
    line="$(date -u +%Y-%m-%dT%H:%M:%SZ) $node $hook: $*"
    { [ -n "${LOG:-}" ] && printf '%s\n' "$line" >>"$LOG"; } 2>/dev/null ||
        logger -t effbench -- "$line" 2>/dev/null || printf '%s\n' "$line" >&2
}

refuse() {
    say "$*; nothing was done"
    printf 'effbench: %s\n' "$*" >&2
    exit "$refused"
}

[ -r "$folder/site.conf" ] || refuse "$folder/site.conf is missing: copy it there and set its paths"
set -a
# shellcheck source=/dev/null
. "$folder/site.conf"
set +a
case ${EFFBENCH:-} in /*) ;; *) refuse "$folder/site.conf: EFFBENCH is no absolute path" ;; esac
case ${FOLDER:-} in /*) ;; *) refuse "$folder/site.conf: FOLDER is no absolute path" ;; esac
[ -x "$EFFBENCH" ] || refuse "$folder/site.conf: EFFBENCH=$EFFBENCH is no program"
[ -d "$FOLDER" ] || refuse "$folder/site.conf: FOLDER=$FOLDER is no folder"
case ${ON_NOT_RATED:-}/${ON_UNDECIDED:-} in
keep/keep | keep/drain | drain/keep | drain/drain) ;;
*) refuse "$folder/site.conf: ON_NOT_RATED and ON_UNDECIDED are keep or drain" ;;
esac

# Asks for the last verdict and lets effbench drain or undrain the node. Well within the 60 s of a health check. Sets
# `act` to drain, undrain, held or nothing; to crashed when effbench did not answer, and then nothing was done.
act_on_verdict() {
    set -- --folder "$FOLDER" --slurm
    [ -z "${MAX_AGE_H:-}" ] || set -- "$@" --max-age "$MAX_AGE_H"
    [ -z "${POLICY:-}" ] || set -- "$@" --policy "$POLICY"
    [ "$ON_NOT_RATED" = keep ] || set -- "$@" --drain-on not_rated
    [ "$ON_UNDECIDED" = keep ] || set -- "$@" --drain-on undecided
    said=$(timeout -k 3 50 "$EFFBENCH" verdict "$@" 2>&1)
    code=$?
    act=crashed
    for word in drain undrain held nothing; do
        printf '%s\n' "$said" | grep -q "^$word: " && act=$word
    done
    said=$(printf '%s' "$said" | tr '\n' ' ' | tail -c 600)
    if [ "$act" = crashed ]; then
        say "effbench verdict ended with $code and did not decide, so nothing was done: $said"
    elif [ "$act:$code" != nothing:0 ]; then
        say "exit code $code: $said"
    fi
}

# Qualifies this node by recipe $1 into FOLDER/NODE; the other words go to effbench. Its folder is hidden until it has
# ended, so that nobody takes a look in between for the verdict. Sets `code` to the exit code of effbench.
qualify() {
    recipe=$1
    shift
    run=${SLURM_JOB_ID:-$$}-$hook
    mkdir -p "$FOLDER/$node" || refuse "$FOLDER/$node cannot be made"
    "$@" "$EFFBENCH" qualify "$recipe" ${BUDGET_S:+--budget "$BUDGET_S"} -o "$FOLDER/$node/.$run" \
        >"$FOLDER/$node/.$hook.log" 2>&1
    code=$?
    if [ -s "$FOLDER/$node/.$run/grade.json" ] && [ "$code" != 130 ]; then
        mv "$FOLDER/$node/.$run" "$FOLDER/$node/$(date -u +%Y%m%dT%H%M%SZ)-$run"
    else
        say "effbench qualify $recipe ended with $code and left no verdict: $(tail -n 3 "$FOLDER/$node/.$hook.log" | tr '\n' ' ')"
    fi
}

# The quick level by recipe $1, where there is one, the last verdict is old, and no other job is on the node.
quick_level() {
    [ -n "$1" ] || return 0
    timeout -k 3 50 "$EFFBENCH" verdict --folder "$FOLDER" --max-age "${EVERY_H:-24}" >/dev/null 2>&1
    case $? in 0 | 1 | 4) return 0 ;; esac
    # slurmd names a step's daemon `slurmstepd: [JOB.STEP]`
    if grep -sahoE '^slurmstepd: \[[0-9]+' "${PROC:-/proc}"/[0-9]*/cmdline | grep -qvx "slurmstepd: \[${SLURM_JOB_ID:-0}"; then
        say "another job is on this node: not qualified"
        return 0
    fi
    BUDGET_S=${BUDGET_S:-120}
    qualify "$1" timeout -k 10 "$((BUDGET_S + 60))"
}
