"""The scorecard as the document that machines read: SI base units, fractions 0 to 1, absent figures absent."""

import msgspec

from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard

MEDIA_TYPE = "application/json"
FILENAME: str | None = "scorecard.json"


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write `effbench.scorecard/1`, indented, keys in the order of the schema. Grade and record are other documents."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
