#!/bin/sh
# Epilog of slurm.conf: the quick level where the site wants it, then the last verdict, after each job. Always 0, for a
# failing Epilog drains the node. It takes at most BUDGET_S and three minutes; PrologEpilogTimeout must be above that.
hook=epilog refused=0 folder=${0%/*}
. "$folder/node.sh"
quick_level "${EPILOG_RECIPE:-}"
act_on_verdict
exit 0
