"""Owns the sandbox's slurm.conf, gres.conf and the task prolog that marks every task."""

import argparse
import os
import stat
from pathlib import Path

import fabric
from ledger import MARK, NODE_MARK, Ledger, SandboxError

# Ports are private to each namespace, so sandboxes side by side do not meet.
PORT = 26800

CONF = """\
ClusterName=sandbox
SlurmctldHost=controller({controller})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also the wait before a requeued job may start again; Slurm's own value is 120 s
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=200000,batch_sched_delay=0
# virtual nodes are what this file says they are, whatever the machine has
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout={timeout}
InactiveLimit=0
KillWait=2
MinJobAge=300
MessageTimeout=10
JobRequeue=1
RequeueExit=75
TaskProlog={folder}/task-prolog
"""


def write_config(folder: Path, ledger: Ledger, options: argparse.Namespace) -> None:
    """Write what slurmctld, slurmd and the user's commands read."""
    (folder / "state").mkdir(mode=0o700)
    text = CONF.format(
        controller=fabric.SWITCH_ADDRESS, folder=folder, port=PORT, node_port=PORT + 1, timeout=options.silent_after
    )
    gres = ""
    if options.gpus:
        devices = _null_devices(folder / "dev", options.gpus)
        (folder / "gres.conf").write_text(f"Name=gpu Type=fake File={devices}\n", encoding="ascii")
        text += "GresTypes=gpu\n"
        gres = f" Gres=gpu:fake:{options.gpus}"
    text += _hooks(options)
    cpus = max(options.cpus, options.gpus)
    for i in range(1, options.nodes + 1):
        text += f"NodeName=n{i} NodeAddr={fabric.address(i)} CPUs={cpus} RealMemory=2000{gres} State=UNKNOWN\n"
    text += f"PartitionName=main Nodes=n[1-{options.nodes}] Default=YES MaxTime=INFINITE State=UP\n"
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    prolog = folder / "task-prolog"
    lines = ["#!/bin/sh", f'echo "export {MARK}={ledger.mark}"']
    lines.append(f'echo "export {NODE_MARK}={ledger.mark}/$SLURMD_NODENAME"')
    prolog.write_text("\n".join([*lines, ""]), encoding="ascii")
    prolog.chmod(prolog.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _null_devices(folder: Path, count: int) -> str:
    """Make a null device for each pretended GPU; returns them as gres.conf names them."""
    folder.mkdir()
    for i in range(count):
        os.mknod(folder / f"gpu{i}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return f"{folder}/gpu[0-{count - 1}]"


def _hooks(options: argparse.Namespace) -> str:
    text = ""
    for name in ("prolog", "epilog", "health"):
        path = getattr(options, name)
        if path is not None and not (path.is_absolute() and path.is_file()):
            raise SandboxError(f"--{name} {path}: give the absolute path of a program")
    if options.prolog:
        text += f"Prolog={options.prolog}\nPrologFlags=Alloc\n"
    if options.epilog:
        text += f"Epilog={options.epilog}\n"
    if options.health:
        text += f"HealthCheckProgram={options.health}\nHealthCheckInterval={options.health_interval}\n"
        text += "HealthCheckNodeState=ANY\n"
    return text
