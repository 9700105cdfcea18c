"""Until when a rating holds: its date, and the changes that its policy names. Pure; what cannot be told ends it."""

from collections.abc import Mapping
from datetime import date, timedelta

from effbench.model.grade import Grade

__all__ = ["reasons_to_rerate"]

# Dates are UTC days; a reader's own day may lie one behind.
DAY = timedelta(days=1)


def reasons_to_rerate(grade: Grade, today: date, now: Mapping[str, str]) -> list[str]:
    """Say why a rating holds no longer, one sentence without a full stop each; empty while it does.

    Empty too for a verdict that is no pass: it rated nothing, and says so itself.

    Args:
        grade: the rating.
        today: the day it is looked at, UTC.
        now: the node as it is now, by `score.identity.identity`; what is not known is absent.
    """
    if grade.verdict != "pass":
        return []
    return [*_by_date(grade, today), *_by_change(grade, now)]


def _by_date(grade: Grade, today: date) -> list[str]:
    decided, until = _day(grade.decided_at), _day(grade.rated_until)
    if decided is None or until is None:
        return ["the rating does not say when it was made and until when it holds"]
    if decided > today + DAY:
        return [f"the rating was made on {decided}, which has not come yet: a clock is wrong, here or there"]
    return [f"the rating held until {until}"] if today > until else []


def _by_change(grade: Grade, now: Mapping[str, str]) -> list[str]:
    if not grade.rerate_on:
        return []
    if not grade.rated_for:
        return ["the rating does not say for which driver, firmware and devices it was made"]
    if not now:
        return ["what the node is made of now is not known"]
    reasons = []
    for name in grade.rerate_on:
        then, here = grade.rated_for.get(name), now.get(name)
        if then == here:
            continue
        if here is None:
            reasons.append(f"the {name} cannot be told now; it was {then} at the rating")
        elif then is None:
            reasons.append(f"the {name} is {here} now; there was none at the rating")
        else:
            reasons.append(f"the {name} changed from {then} to {here}")
    return reasons


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
