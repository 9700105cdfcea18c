"""Damages files and reads them for a while: `python tests/fuzz/run.py [--minutes M] [--only WORD] [--keep DIR]`.

Anything but an InputError, an answer after more than 5 s of CPU, or an invariant that does not hold is a finding, made
small by hypothesis and kept in DIR. Prints executions and findings for each reader; exits with 1 when there are any.
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from effbench.model.error import InputError

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.edits import damaged
from tests.fuzz.targets import Target, targets

EXAMPLES, CPU_S_MAX, MEMORY_BYTES = 300, 5.0, 4 << 30


class Tally:
    """What one reader came to; lives as long as the program."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.longest_s = 0.0
        self.findings: dict[str, tuple[bytes, str]] = {}


def too_long(*_: Any) -> None:
    """End a reader that does not come back."""
    raise TimeoutError(f"no answer after {CPU_S_MAX:g} s of CPU")


def once(target: Target, path: Path, text: bytes, tally: Tally) -> None:
    """One execution."""
    path.write_bytes(text)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S_MAX)
    try:
        target.check(path)
        tally.counts["taken"] += 1
    except InputError as error:
        assert str(error), "an error without a word"
        tally.counts["refused"] += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        tally.counts["executions"] += 1
        tally.longest_s = max(tally.longest_s, time.process_time() - began)


def hunt(target: Target, path: Path, number: int, tally: Tally, examples: int = EXAMPLES) -> None:
    """So many executions from one seed; a finding ends them, small, and the next seed goes on."""
    last = b""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(target.texts, target.trees))
    def reads(text: bytes) -> None:
        nonlocal last
        last = text
        once(target, path, text, tally)

    try:
        reads()
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
        if place not in tally.findings:
            told = "".join(traceback.format_exception(error)[-12:])
            tally.findings[place] = (last, told)
            print(f"{target.name}: {place}: {str(error)[:200]}\n  {last[:300]!r}", flush=True)


def main() -> int:
    """Read damaged files in turns until the time is over."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=10.0)
    words.add_argument("--only", default="")
    words.add_argument("--seed", type=int, default=20261121)
    words.add_argument("--keep", type=Path)
    given_words = words.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGVTALRM, too_long)
    warnings.filterwarnings("ignore", "Generating overly large repr")
    chosen = [target for target in targets() if given_words.only in target.name]
    tallies = {target.name: Tally() for target in chosen}
    number, end = given_words.seed, time.monotonic() + 60 * given_words.minutes
    with tempfile.TemporaryDirectory() as scratch:
        while chosen and time.monotonic() < end:
            for at, target in enumerate(chosen):
                hunt(target, Path(scratch) / f"file{at}.yaml", number, tallies[target.name])
            number += 1
    print(f"{'reader':<20}{'executions':>12}{'taken':>9}{'refused':>9}{'longest s':>11}{'findings':>10}")
    for name, tally in tallies.items():
        counts = [tally.counts[word] for word in ("executions", "taken", "refused")]
        print(f"{name:<20}{counts[0]:>12}{counts[1]:>9}{counts[2]:>9}{tally.longest_s:>11.2f}{len(tally.findings):>10}")
        for at, (text, told) in enumerate(tally.findings.values()):
            if given_words.keep is not None:
                given_words.keep.mkdir(parents=True, exist_ok=True)
                stem = given_words.keep / f"{name.replace(' ', '-')}-{at}"
                stem.with_suffix(".case").write_bytes(text)
                stem.with_suffix(".txt").write_text(told)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"seeds {given_words.seed} to {number - 1}, {most:.0f} MiB of memory at most")
    return 1 if any(tally.findings for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
