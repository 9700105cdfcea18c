"""`make run`: runs `effbench run` and ends with 0 whenever a whole scorecard was written.

make turns every failure into status 2, so a verdict cannot travel through it; it is named in the last line instead,
with the exit code of `effbench run`. Only a run that leaves no whole scorecard ends non-zero here, with that same code.
"""

import json
import signal
import subprocess
import sys
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


def stamps(words: Sequence[str]) -> dict[Path, tuple[int, int]]:
    """The grades that a run with these arguments may write, each with its inode and time: what differs later is new."""
    asked = asked_folder(words)
    if asked is None:
        grades = list((ROOT / "reports" / "runs").glob("*/grade.json"))
    else:
        grades = [(asked.parent if asked.is_file() else asked) / "grade.json"]
    found = {path: path.stat() for path in grades if path.is_file()}
    return {path: (state.st_ino, state.st_mtime_ns) for path, state in found.items()}


def written(before: dict[Path, tuple[int, int]], after: dict[Path, tuple[int, int]]) -> Path | None:
    """The folder whose grade was written between two looks, the last one if there are several."""
    new = [path for path, state in after.items() if before.get(path) != state]
    return max(new, key=lambda path: after[path][1]).parent if new else None


def whole(folder: Path) -> dict[str, Any] | None:
    """The grade in a run folder that holds all eight artefacts, None when it is not whole."""
    if not all((folder / name).is_file() for name in ARTEFACTS):
        return None
    try:
        json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
        grade = json.loads((folder / "grade.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    return grade if isinstance(grade, dict) and "verdict" in grade else None


def closing(status: int, folder: Path | None) -> tuple[int, str]:
    """Decide how `make run` ends: its status, and the last line."""
    grade = whole(folder) if folder is not None else None
    if grade is None:
        why = f"effbench run ended with {status}" if status >= 0 else f"effbench run was ended by signal {-status}"
        return max(status, 1) if status >= 0 else 1, f"no whole scorecard: {why}"
    letter = f", grade {grade['grade']}" if grade.get("grade") else ""
    return 0, f"verdict {grade['verdict']}{letter} (effbench run ended with {status}); the scorecard is in {folder}"


def main(words: Sequence[str]) -> int:
    """Run `effbench run` with these arguments, let it see Ctrl-C first, and name its verdict."""
    effbench = Path(sys.executable).parent / "effbench"
    before = stamps(words)
    signal.signal(signal.SIGINT, lambda *_: None)  # the child gets it too, saves what was measured, and ends
    status = subprocess.run([str(effbench), "run", *words], check=False, cwd=ROOT).returncode
    if any(word in ("--help", "-h") for word in words):
        return status
    result, line = closing(status, written(before, stamps(words)))
    print(line, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
