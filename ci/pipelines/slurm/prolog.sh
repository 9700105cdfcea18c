#!/bin/sh
# Prolog of slurm.conf: the quick level where the site wants it, then the last verdict. On a node that is drained for
# its verdict the job must not start: status 1, on which Slurm requeues it, held unless SchedulerParameters has
# nohold_on_prolog_fail. Anything else is 0, for a failing Prolog drains the node, and effbench's trouble is not its.
hook=prolog refused=0 folder=${0%/*}
. "$folder/node.sh"
quick_level "${PROLOG_RECIPE:-}"
act_on_verdict
case $act in drain | held) exit 1 ;; esac
exit 0
