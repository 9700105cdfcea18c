"""Puts verdicts into a site's folder for tests: documents of the synthetic nodes, as a run would leave them."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from effbench.model.digest import digest
from effbench.model.grade import DomainGrade, Grade, Reason, Verdict
from effbench.model.scorecard import Scorecard
from effbench.store import documents
from tests import factory

METRIC = "memory.stream.triad.fraction_of_reference"
SLOW = Reason(METRIC, "fail", "too slow", "look at it", device="gpu3", observed=0.61, bound=0.6, threshold=0.75)


def stored(
    place: Path, verdict: Verdict, at: datetime, node: str, card: Mapping[str, Any] | None = None, **more: Any
) -> Path:
    """Write the scorecard and the grade of one run into `place`; `card` and `more` replace fields of the two."""
    case = factory.gpu_node(simulated=False)
    assert case.grade is not None
    stamp = at.isoformat(timespec="seconds")
    whole: Scorecard = msgspec.structs.replace(case.card, **{"node": node, "ended_at": stamp, **(card or {})})
    domains = [DomainGrade("memory", verdict, [SLOW] if verdict == "fail" else [], True, True)]
    until = "2999-01-01" if verdict == "pass" else None
    fields: dict[str, Any] = {"verdict": verdict, "scorecard_digest": digest(whole), "domains": domains, "reasons": []}
    fields |= {"decided_at": stamp, "rated_until": until, "gates": [], "summary": f"It is {verdict}.", **more}
    grade: Grade = msgspec.structs.replace(case.grade, **fields)
    place.mkdir(parents=True)
    documents.write(place / documents.SCORECARD, documents.encode(whole))
    documents.write(place / documents.GRADE, documents.encode(grade))
    os.utime(place / documents.GRADE, (at.timestamp(), at.timestamp()))
    return place
