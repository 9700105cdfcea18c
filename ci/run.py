"""`make run`: runs `effbench run` and ends with 0 whenever a whole scorecard was written.

make turns every failure into status 2, so a verdict cannot travel through it; it is named in the last line instead,
with the exit code of `effbench run`. Only a run that leaves no whole scorecard ends non-zero here, with that same code.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = (
    "journal.jsonl.gz",
    "record.json",
    "scorecard.json",
    "grade.json",
    "report.html",
    "report.md",
    "junit.xml",
    "metrics.prom",
)


def asked_folder(words: Sequence[str]) -> Path | None:
    """The run folder that the arguments name (`-o DIR`, `-oDIR`, `--resume RUN`, `--resume=RUN`), if they name one."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word in ("-o", "--resume") and following:
            return ROOT / following
        if word.startswith("--resume="):
            return ROOT / word.partition("=")[2]
        if word.startswith("-o") and len(word) > 2:
            return ROOT / word[2:]
    return None


def whole(folder: Path, since: float) -> dict[str, Any] | None:
    """The grade in a run folder that holds all eight artefacts, written after `since` (seconds since 1970).

    None when the folder is not whole, or was so before this run: one that is not empty is refused by `effbench run`.
    """
    if not all((folder / name).is_file() for name in ARTEFACTS) or (folder / "grade.json").stat().st_mtime < since:
        return None
    try:
        json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
        grade = json.loads((folder / "grade.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    return grade if isinstance(grade, dict) and "verdict" in grade else None


def newest(folder: Path) -> Path | None:
    """The run folder below `folder` whose grade was written last."""
    return max(((path.stat().st_mtime, path.parent) for path in folder.glob("*/grade.json")), default=(0.0, None))[1]


def closing(status: int, folder: Path | None, since: float) -> tuple[int, str]:
    """Decide how `make run` ends: its status, and the last line."""
    grade = whole(folder, since) if folder is not None else None
    if grade is None:
        why = f"effbench run ended with {status}" if status >= 0 else f"effbench run was ended by signal {-status}"
        return max(status, 1) if status >= 0 else 1, f"no whole scorecard: {why}"
    letter = f", grade {grade['grade']}" if grade.get("grade") else ""
    return 0, f"verdict {grade['verdict']}{letter} (effbench run ended with {status}); the scorecard is in {folder}"


def main(words: Sequence[str]) -> int:
    """Run `effbench run` with these arguments, let it see Ctrl-C first, and name its verdict."""
    since = time.time() - 2  # file systems round times, some to two seconds
    effbench = Path(sys.executable).parent / "effbench"
    signal.signal(signal.SIGINT, lambda *_: None)  # the child gets it too, saves what was measured, and ends
    status = subprocess.run([str(effbench), "run", *words], check=False, cwd=ROOT).returncode
    folder = asked_folder(words) or newest(ROOT / "reports" / "runs")
    folder = folder.parent if folder is not None and folder.is_file() else folder
    if any(word in ("--help", "-h") for word in words):
        return status
    result, line = closing(status, folder, since)
    print(line, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
