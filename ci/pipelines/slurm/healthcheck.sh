#!/bin/sh
# HealthCheckProgram of slurm.conf: reads the node's last verdict, drains on a fail, undrains what effbench drained.
# Measures nothing. Its own trouble goes to the log of site.conf, beside this file, and touches no node.
hook=healthcheck refused=2 folder=${0%/*}
. "$folder/node.sh"
act_on_verdict
exit 0
