"""Real faults injected on this machine's CPU, around real runs: what is caught, what is named, and how often wrongly.

`python tests/faults/inject.py [--runs 10] [--healthy 20] [--only FAULT] [-o FILE]`. It needs root for control groups,
gcc for the clock, fio for the disk, and a quiet machine; what cannot be injected is said. Every run is kept when it is
whole, so the same command goes on where one was ended. It takes about half an hour, so `make bench` does not run it.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from real.campaign import FAULTS, BrokenRunError, Journal, carry_out, healthy
from real.table import table


def main() -> None:
    """Make the missing runs, judge all, and write the table."""
    asked = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked.work.mkdir(parents=True, exist_ok=True)
    journal = Journal(asked.work)
    names = [healthy(asked.only), asked.only] if asked.only else list(FAULTS)
    counts = {name: asked.healthy if FAULTS[name].healthy else asked.runs for name in names}
    refused = []
    try:
        for line in carry_out(journal, counts):
            print(line, flush=True)
            refused += [line.partition("] ")[2]] if "cannot be injected" in line else []
    except KeyboardInterrupt:
        sys.exit("ended; the same command goes on")
    except BrokenRunError:
        sys.exit("too many runs count for nothing")
    try:
        text = table(journal, names, refused, "python tests/faults/inject.py " + " ".join(sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(f"the runs are kept, but make no table: {error}")
    print(text)
    if asked.output is not None:
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        asked.output.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="of each fault")
    parser.add_argument("--healthy", type=int, default=20, help="without a fault; at least 3")
    parser.add_argument("--only", choices=[n for n in FAULTS if not FAULTS[n].healthy], help="this fault alone")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "effbench-real-faults")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write the table here too")
    asked = parser.parse_args()
    if asked.healthy < 3 or asked.runs < 1:
        parser.error("a baseline needs at least 3 healthy runs, a fault at least 1")
    return asked


if __name__ == "__main__":
    main()
