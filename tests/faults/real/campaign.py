"""The faults, and the runs with and without them: one after the other, mixed, each kept when it is whole."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import injectors
from .injectors import Injector, NotInjectableError
from .judging import EXIT_CODES, Sought
from .parts import BOTH, COMPUTE, MEMORY, READ, STORAGE, Part

RUN_LIMIT_S = 240
BROKEN_MAX = 5


class BrokenRunError(Exception):
    """A run that counts for nothing: nothing was measured, or nothing shows that the fault was there."""


class Fault(NamedTuple):
    """A fault, where it is looked for, and what would name it. A healthy node is the fault `healthy`."""

    title: str
    part: Part
    inject: Injector
    sought: Sought = Sought()
    healthy: bool = False


OTHERS = Sought(("foreign-load", "steal", "psi-pressure"))
FAULTS: dict[str, Fault] = {
    "healthy": Fault("the same healthy node, GEMM and memory", BOTH, injectors.nothing, healthy=True),
    "healthy-disk": Fault("the same healthy node, disk", STORAGE, injectors.nothing, healthy=True),
    "load": Fault("a busy loop on each core", COMPUTE, injectors.competing_load, OTHERS),
    "hog": Fault("a process that copies memory without a pause", MEMORY, injectors.bandwidth_hog, OTHERS),
    "quota": Fault(
        "a cgroup quota of half of the cores",
        COMPUTE,
        injectors.quota,
        Sought(("cgroup-quota", "cgroup-throttled")),
    ),
    "affinity": Fault("all cores but one taken away", COMPUTE, injectors.affinity, Sought(("cpu-affinity",))),
    "disk": Fault("a disk held to 200 MB/s", STORAGE, injectors.slow_disk, Sought(rules=(READ,))),
    "flip": Fault(
        "one flipped bit in each result, from some product on",
        COMPUTE,
        injectors.flipped_bit,
        Sought(rules=("health.wrong_results",)),
    ),
    "clock": Fault("the date jumps by an hour", MEMORY, injectors.clock_jump, Sought(("clock-jumped",))),
}


def healthy(name: str) -> str:
    """The healthy runs that those of a fault are held against: the same trials without it."""
    return "healthy-disk" if FAULTS[name].part is STORAGE else "healthy"


class Run(NamedTuple):
    """One run that was made: of which fault, its number, its folder, how long it took, and what proves the fault."""

    fault: str
    number: int
    folder: str
    seconds: float
    proof: str


class Journal:
    """The runs so far, one JSON line each, appended when a run is whole."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._path = work / "runs.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self.runs = [Run(**json.loads(line)) for line in lines]

    def add(self, run: Run) -> None:
        """Keep a run for good."""
        self.runs.append(run)
        with self._path.open("a") as file:
            file.write(json.dumps(run._asdict()) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def of(self, fault: str) -> list[Run]:
        """The runs of a fault, in order."""
        return sorted((run for run in self.runs if run.fault == fault), key=lambda run: run.number)


def order(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Spread the runs of every fault evenly over the whole time, so that a drifting host looks like no fault."""
    places = [((number + 0.5) / n, name, number) for name, n in counts.items() for number in range(n)]
    return [(name, number) for _, name, number in sorted(places)]


def carry_out(journal: Journal, counts: dict[str, int]) -> Iterator[str]:
    """Make the runs that are still missing; yield a line for each, and for each fault that cannot be injected here.

    A run that counts for nothing is made again by the next call.

    Raises:
        BrokenRunError: the fifth such run.
    """
    made = {(run.fault, run.number) for run in journal.runs}
    todo = [one for one in order(counts) if one not in made]
    refused: set[str] = set()
    broken = 0
    for place, (name, number) in enumerate(todo, 1):
        if name in refused:
            continue
        try:
            run = one(journal.work, name, number)
        except NotInjectableError as error:
            refused.add(name)
            yield f"[{place}/{len(todo)}] {name}: cannot be injected here: {error}"
            continue
        except BrokenRunError as error:
            broken += 1
            yield f"[{place}/{len(todo)}] {name} {number + 1}: {error}"
            if broken == BROKEN_MAX:
                raise
            continue
        journal.add(run)
        yield f"[{place}/{len(todo)}] {name} {number + 1}: {run.seconds:.1f} s, {run.proof}"


def one(work: Path, name: str, number: int) -> Run:
    """Run `effbench run` once with the fault around it.

    Raises:
        NotInjectableError: this machine does not let the fault be injected.
        BrokenRunError: the command did not measure, or the fault cannot be shown to have been there.
    """
    fault = FAULTS[name]
    folder = work / "runs" / f"{name}-{number + 1}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    with fault.inject(number, folder) as around, _log(work) as log:
        words = [sys.executable, "-P", "-m", "effbench", "run", fault.part.suite, "--device", "cpu"]
        words = [*around.words, *words, "--only", fault.part.only, "-o", str(folder)]
        environment = {**os.environ, **around.environment}
        code = ended(words, environment, work, log)
        proof = around.proof()
    if code not in EXIT_CODES:
        raise BrokenRunError(f"effbench ended with {code}: {tail(work)}")
    if not proof:
        raise BrokenRunError("nothing shows that the fault was there; the run counts for nothing")
    return Run(name, number, folder.name, round(time.monotonic() - began, 1), proof)


def ended(words: Sequence[str], environment: dict[str, str], work: Path, log: int) -> int:
    """Run a command to its end, and end it when this process must leave."""
    process = subprocess.Popen(words, env=environment, cwd=work, stdout=log, stderr=log, preexec_fn=injectors.die_along)
    try:
        return process.wait(RUN_LIMIT_S)
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


@contextlib.contextmanager
def _log(work: Path) -> Iterator[int]:
    with (work / "last.log").open("wb") as file:
        yield file.fileno()


def tail(work: Path) -> str:
    """The last words of the last command."""
    return (work / "last.log").read_text(errors="replace").strip()[-600:]
