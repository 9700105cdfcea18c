"""What is handed to `sbatch`: its options, and the scripts of a campaign's task and of a whole run. Pure.

A script says what became of it in small files beside the results, because a site may keep no accounting:
`started/NAME` when it began (so storage that is not shared is found out at once), `ended/NAME` with the exit status
of effbench, `logs/NAME` with what it printed. A script that is started again after a requeue goes on where it was.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

__all__ = ["FOLDER", "NOT_SHARED", "Asked", "job_name", "script", "words"]

FOLDER = ".campaign"
NOT_SHARED = 66  # sysexits.h: EX_NOINPUT


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the user asks of Slurm, in sbatch's own words; empty leaves it to the site."""

    partition: str = ""
    account: str = ""
    constraint: str = ""
    gres: str = ""
    time: str = ""
    exclusive: bool = False


def job_name(token: str) -> str:
    """Name a job by its campaign's token, so that it can be found and cancelled by that."""
    return f"effbench-{token}"


def words(asked: Asked, token: str) -> list[str]:
    """Return the options that a campaign's array and a whole run share.

    Output is written by the script itself; `--requeue` lets Slurm start it again elsewhere or later.
    """
    given = [
        f"--{name}={value}"
        for name in ("partition", "account", "constraint", "gres", "time")
        if (value := getattr(asked, name))
    ]
    return [
        f"--job-name={job_name(token)}",
        "--output=/dev/null",
        "--error=/dev/null",
        "--requeue",
        "--open-mode=append",
        *(["--exclusive"] if asked.exclusive else []),
        *given,
    ]


_SCRIPT = """#!/bin/sh
# effbench {token}: {title}
c={folder}
name={name}
[ "$(cat "$c/token" 2>/dev/null)" = {token} ] || exit {not_shared}
printf '%s\\n' "${{SLURM_RESTART_COUNT:-0}}" > "$c/started/$name" || exit {not_shared}
d={results}
if [ -s "$d/journal.jsonl.gz" ]; then
  {words} --resume "$d" >> "$c/logs/$name" 2>&1
  code=$?
  if [ "$code" = 2 ] && [ ! -e "$d/record.json" ]; then
    # not one whole trial before the requeue: nothing to go on with, so it is put aside and begun again
    aside="$c/aside-$name-${{SLURM_RESTART_COUNT:-0}}"
    mkdir "$aside" && mv "$d"/* "$aside"/ && {words} -o "$d" >> "$c/logs/$name" 2>&1
    code=$?
  fi
else
  {words} -o "$d" >> "$c/logs/$name" 2>&1
  code=$?
fi
# interrupted by Slurm (requeue, cancel, time limit): how it ends is Slurm's to say, and it may come again
[ "$code" = 130 ] && exit 0
printf '%s\\n' "$code" > "$c/.ended-$name" && mv "$c/.ended-$name" "$c/ended/$name"
"""


def script(token: str, root: Path, called: Sequence[str], each: bool) -> str:
    """Write the script that runs `called` (`effbench run SUITE ...` without `-o`).

    Args:
        token: of the campaign; the script stops at once where it does not find it, for then storage is not shared.
        root: the campaign's folder with one folder per node; or the run's folder.
        called: the words of the run.
        each: one run per node, in the folder that has the node's name; else one run, in `root` itself.
    """
    folder = root / FOLDER
    return _SCRIPT.format(
        token=token,
        title="one node of a campaign" if each else "one run over nodes",
        folder=shlex.quote(str(folder)),
        name='"${SLURMD_NODENAME:?}"' if each else "run",
        results=f'{shlex.quote(str(root))}/"$name"' if each else shlex.quote(str(root)),
        words=shlex.join(called),
        not_shared=NOT_SHARED,
    )
