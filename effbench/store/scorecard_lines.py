"""Scorecards as JSON lines: one a line, each read and graded for itself; a bad line costs only itself.

Never holds more than one scorecard, and of those before only their digests: 10,000 of 200 metrics are 1 GB of text.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from effbench.grade.verdict import grade
from effbench.model.error import DocumentError
from effbench.model.grade import Grade
from effbench.model.policy import Policy
from effbench.model.scorecard import Scorecard
from effbench.store import documents

__all__ = ["GradedLine", "LostLine", "graded_lines"]


class GradedLine(msgspec.Struct, frozen=True):
    """The grade of the scorecard in line `line` (from 1), exactly as `effbench grade` gives it for that one."""

    line: int
    node: str
    grade: Grade


class LostLine(msgspec.Struct, frozen=True):
    """A line that gave no grade. A `duplicate` is what an earlier line was; of others nobody knows what was there."""

    line: int
    problem: str
    duplicate: bool = False


def graded_lines(
    lines: Iterable[tuple[int, bytes | None]], policy: Policy, file: Path
) -> Iterator[GradedLine | LostLine]:
    """Grade the scorecard of each numbered line; None stands for a line beyond the limit of whoever reads `file`.

    A second run of a node is graded like the first: only the very same scorecard is a duplicate.
    """
    decoder = msgspec.json.Decoder(Scorecard)
    first: dict[bytes, int] = {}
    for number, data in lines:
        if data is None:
            yield LostLine(number, "longer than any scorecard")
            continue
        try:
            card = decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield LostLine(number, _problem(data, file, error))
            continue
        verdict = grade(card, policy)
        name = bytes.fromhex(verdict.scorecard_digest.removeprefix("sha256:"))
        if name in first:
            yield LostLine(number, f"the same scorecard of {card.node} as in line {first[name]}", duplicate=True)
            continue
        first[name] = number
        yield GradedLine(number, card.node, verdict)


def _problem(data: bytes, file: Path, error: Exception) -> str:
    """What is wrong, in the words for a document in a file of its own: damaged, another kind, of a newer effbench."""
    try:
        documents.decode(data, Scorecard, file)
    except DocumentError as told:
        return str(told).removeprefix(f"{file}: ")
    return str(error)
