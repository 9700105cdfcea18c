"""Finds the last verdict of a node among its stored runs, and says whether it still holds; a doubtful one is not rated.

A site keeps one folder per node, `FOLDER/NODE`: a run folder itself, or one that holds run folders. Hidden ones are
runs that have not ended.
"""

import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from effbench.grade.expiry import reasons_to_rerate
from effbench.model.digest import digest
from effbench.model.error import DocumentError, InputError
from effbench.model.grade import Grade, Verdict
from effbench.model.scorecard import Scorecard
from effbench.store import documents

__all__ = ["Demands", "Last", "last_in", "last_of", "refuse_open", "same_node"]

# A clock that runs ahead by more than this is wrong: NTP keeps nodes within a second.
AHEAD = timedelta(minutes=5)
# Of a node's runs, so many of the newest files are read: a health check has no time for years of them.
READ_MAX = 50


class Demands(msgspec.Struct, frozen=True):
    """What a verdict must be to hold. `at` is now; `max_age` absent is any age; `policy` "" is any policy.

    `now` tells what the node that a scorecard names is made of today, by `score.identity`; empty when nobody can tell.
    """

    at: datetime
    max_age: timedelta | None
    policy: str
    now: Callable[[str], Mapping[str, str]]


class Last(msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdict that holds. `why` says why it is none (`not_rated`) where the stored grade does not decide it."""

    verdict: Verdict
    why: str = ""
    run: str = ""
    decided_at: str = ""
    grade: Grade | None = None


def last_of(folder: Path, names: Sequence[str], demands: Demands) -> Last:
    """Return the last verdict of the node that `names` are the names of; its runs lie in `folder`/the first of them.

    A fail stands until a pass: later runs that decide nothing (`not_rated`, `undecided`) do not clear it.

    Raises:
        InputError: there is no such folder of a site, it cannot be read, or the name is none.
    """
    node = names[0]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds one folder per node")
    if Path(node).name != node or node in ("", ".", ".."):
        raise InputError(f"{node!r} is no node's name")
    newest = None
    for run in _runs(folder / node):
        last = last_in(run, demands, names)
        newest = newest or last
        if last.verdict in ("pass", "fail"):
            return last if last.verdict == "fail" else newest
    return newest or Last("not_rated", f"no verdict of {node} in {folder}")


def last_in(run: Path, demands: Demands, names: Sequence[str] = ()) -> Last:
    """Return the verdict of the run folder `run`, as it holds; `names`, where given, is whose it must be."""
    try:
        grade = documents.read(run / documents.GRADE, Grade)
        card = documents.read(run / documents.SCORECARD, Scorecard)
    except DocumentError as error:
        return Last("not_rated", f"the last run has no whole verdict: {str(error).splitlines()[0]}", str(run))
    doubt = _doubt(grade, card, demands, names)
    if doubt:
        return Last("not_rated", doubt, str(run), grade.decided_at, grade)
    return Last(grade.verdict, "", str(run), grade.decided_at, grade)


def same_node(one: str, other: str) -> bool:
    """Are two names those of one node? A domain after the name does not count, nor does case."""
    return bool(one) and one.partition(".")[0].lower() == other.partition(".")[0].lower()


def refuse_open(folder: Path, node: str) -> None:
    """Refuse a folder in which anybody may put a verdict: whoever can write there could drain and undrain nodes.

    Raises:
        InputError: it, the folder of `node` in it, or a run in that may be written by everybody.
    """
    own = folder / node
    try:
        for place in (folder, own, *(own.iterdir() if own.is_dir() else ())):
            if place.exists() and place.stat().st_mode & stat.S_IWOTH:
                raise InputError(
                    f"{place}: everybody may write there, and so decide over nodes; chmod o-w, and let only the "
                    "account that qualifies nodes write"
                )
    except OSError as error:
        raise InputError(f"{own}: cannot be read: {error.strerror}") from error


def _runs(place: Path) -> list[Path]:
    """A node's run folders with a verdict in them, the last verdict first; of many, those written last."""
    if not place.is_dir():
        return []
    try:
        runs = [place, *(run for run in place.iterdir() if not run.name.startswith("."))]
        written = [((run / documents.GRADE).stat().st_mtime, run) for run in runs if (run / documents.GRADE).is_file()]
    except OSError as error:
        raise InputError(f"{place}: cannot be read: {error.strerror}") from error
    newest = sorted(written, reverse=True)[:READ_MAX]
    return [run for _, run in sorted(((_decided(run, at), run) for at, run in newest), reverse=True)]


def _decided(run: Path, written_s: float) -> datetime:
    """When a run's verdict was made; as old as its file is one that cannot be read or has no date: it still counts."""
    try:
        decided = _time(documents.read(run / documents.GRADE, Grade).decided_at)
    except DocumentError:
        decided = None
    return decided or datetime.fromtimestamp(written_s, UTC)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _doubt(grade: Grade, card: Scorecard, demands: Demands, names: Sequence[str]) -> str:
    """Why a stored verdict does not hold for this node today; empty when it does. A fail grows old like a pass."""
    decided = _time(grade.decided_at)
    told = f"the last verdict, {grade.verdict} of {grade.decided_at}"
    if grade.scorecard_digest != digest(card):
        return f"{told}, does not belong to the scorecard beside it"
    if names and not any(same_node(card.node, name) for name in names):
        return f"{told}, is of the node {card.node}"
    if card.simulated or card.imported:
        return f"{told}, rests on no measurement of this node"
    if decided is None:
        return f"the last verdict, {grade.verdict}, does not say when it was made"
    if decided > demands.at + AHEAD:
        return f"{told}, has not come yet: a clock is wrong, here or there"
    if demands.max_age is not None and demands.at - decided > demands.max_age:
        return f"{told}, is older than {demands.max_age.total_seconds() / 3600:g} hours"
    if demands.policy and grade.policy.name != demands.policy:
        return f"{told}, is under {grade.policy.name}, not {demands.policy}"
    if grade.verdict != "pass":
        return ""
    if names and card.subject != "node":
        return f"{told}, is of a {card.subject}, not of the whole node"
    now = demands.now(card.node) if grade.rerate_on else {}
    reasons = reasons_to_rerate(grade, demands.at.astimezone(UTC).date(), now)
    return f"{told}, holds no longer: {reasons[0]}" if reasons else ""
