"""`effbench grade FILE.jsonl`: scorecards of many nodes, one a line, each graded; exits with the gravest verdict."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from effbench.cli import options
from effbench.importers.text import LINE_MAX, lines
from effbench.model.error import DocumentError, InputError
from effbench.model.grade import EXIT_CODES, PRECEDENCE, Verdict
from effbench.model.policy import Policy
from effbench.store import documents
from effbench.store.scorecard_lines import LostLine, graded_lines

__all__ = ["are_lines", "grade_lines"]


def are_lines(path: Path) -> bool:
    """Whether `path` is called a file of JSON lines, and is no run folder of that name."""
    return path.suffix == ".jsonl" and not path.is_dir()


def grade_lines(path: Path, policy: Policy, output: Path | None) -> int:
    """Write `{line, node, grade}` for every scorecard, to `output` or stdout, and the lost lines and counts to stderr.

    A lost line is a node that is not rated; a scorecard that was there before counts once.

    Raises:
        InputError: the file cannot be read, has not one scorecard, or would be overwritten by its own grades.
    """
    if output is not None and output.exists() and path.exists() and output.samefile(path):
        raise click.UsageError("-o names the file of the scorecards themselves; name another for their grades.")
    counts = Counter[str]()
    found = _encoded(path, policy, counts)
    if output is None:
        for line in found:
            options.emit(line)
    else:
        documents.write(output, found)
    verdict: Verdict = next(v for v in PRECEDENCE if counts[v] or (v == "not_rated" and counts["lost"]))
    told = ", ".join(f"{counts[v]} {v}" for v in PRECEDENCE if counts[v])
    lost = f"{counts['lost']} lines lost, {counts['twice']} there before"
    options.say(f"Scorecards: {told}; {lost}. Verdict: {verdict}, exit code {EXIT_CODES[verdict]}")
    return EXIT_CODES[verdict]


def _encoded(path: Path, policy: Policy, counts: Counter[str]) -> Iterator[bytes]:
    """The grades as lines; counts the verdicts, and tells of lost lines as they come.

    Raises:
        InputError: the file cannot be read.
        DocumentError: there was not one scorecard, so that nothing comes of the file.
    """
    encoder = msgspec.json.Encoder()
    try:
        for one in graded_lines(lines(path), policy, path):
            if isinstance(one, LostLine):
                counts["twice" if one.duplicate else "lost"] += 1
                options.say(f"  lost  {path}:{one.line}: {options.plain(one.problem)}")
                continue
            counts[one.grade.verdict] += 1
            yield encoder.encode(one) + b"\n"
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    if not any(counts[word] for word in PRECEDENCE):
        raise DocumentError(f"{path}: not one scorecard in it; a line holds one, of at most {LINE_MAX >> 20} MiB")
