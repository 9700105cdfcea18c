"""A rating ends at its date and with what its policy names; what cannot be told never keeps one alive."""

import datetime

import msgspec
import pytest

from effbench.grade.expiry import reasons_to_rerate
from effbench.model.grade import Grade, PolicyRef
from effbench.model.inventory import Accelerator, Inventory, NvLinks, Pcie
from effbench.score.identity import identity

TODAY = datetime.date(2026, 11, 25)
GPU = Accelerator(
    "gpu0",
    "gpu",
    "nvidia",
    "A GPU",
    "cuda:0",
    1,
    1,
    nvlink=NvLinks(18, 18),
    uuid="GPU-1",
    vbios="96.1",
    pcie=Pcie(1, 16, 5, 16),
)
NODE = Inventory("n", [GPU], driver="595.1", firmware="A Maker 1.2")
NOW = identity(NODE)
CHANGES = ["driver", "firmware", "vbios", "topology"]
RATED = Grade(
    schema="effbench.grade/1",
    verdict="pass",
    policy=PolicyRef("p", 1, "d"),
    scorecard_digest="d",
    gates=[],
    domains=[],
    summary="",
    decided_at="2026-11-21T10:03:00+00:00",
    grade="B",
    rated_until="2026-12-21",
    rerate_on=CHANGES,
    rated_for=NOW,
)


def test_a_rating_holds_on_its_last_day_and_no_longer():
    last = datetime.date(2026, 12, 21)
    assert reasons_to_rerate(RATED, TODAY, NOW) == []
    assert reasons_to_rerate(RATED, last, NOW) == []
    assert reasons_to_rerate(RATED, last + datetime.timedelta(days=1), NOW) == ["the rating held until 2026-12-21"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("driver", {"driver": "600.2"}),
        ("firmware", {"firmware": "A Maker 1.3"}),
        ("vbios", {"accelerators": [msgspec.structs.replace(GPU, vbios="96.2")]}),
        ("topology", {"accelerators": [msgspec.structs.replace(GPU, uuid="GPU-2")]}),
        ("topology", {"accelerators": [msgspec.structs.replace(GPU, pcie=Pcie(5, 8, 5, 8))]}),
        ("topology", {"accelerators": [msgspec.structs.replace(GPU, nvlink=NvLinks(18, 17))]}),
        ("topology", {"accelerators": []}),
    ],
)
def test_a_change_is_named_with_what_was_and_what_is(name, change):
    now = identity(msgspec.structs.replace(NODE, **change))
    reasons = reasons_to_rerate(RATED, TODAY, now)
    (reason,) = [r for r in reasons if r.startswith(f"the {name} changed")]
    assert NOW[name] in reason
    kept = msgspec.structs.replace(RATED, rerate_on=[n for n in CHANGES if n not in (name, "vbios")])
    assert reasons_to_rerate(kept, TODAY, now) == [], "what the policy does not name ends nothing"


def test_what_moves_by_itself_is_no_change():
    idle = msgspec.structs.replace(GPU, pcie=Pcie(5, 16, 5, 16), power_limit_w=300.0, other_pids=[7])
    now = identity(msgspec.structs.replace(NODE, accelerators=[idle], torch="2.9", host_memory_bytes=5))
    assert reasons_to_rerate(RATED, TODAY, now) == []


@pytest.mark.parametrize(
    ("changes", "now", "words"),
    [
        ({}, {}, "is not known"),
        ({}, {**NOW, "driver": None}, "cannot be told now"),
        ({"rated_for": {}}, NOW, "does not say for which"),
        ({"rated_for": {"topology": NOW["topology"]}}, NOW, "there was none at the rating"),
        ({"rated_until": None}, NOW, "does not say when"),
        ({"decided_at": "soon"}, NOW, "does not say when"),
        ({"decided_at": "2027-01-01T00:00:00+00:00"}, NOW, "a clock is wrong"),
    ],
)
def test_what_cannot_be_told_ends_a_rating(changes, now, words):
    now = {name: text for name, text in now.items() if text is not None}
    reasons = reasons_to_rerate(msgspec.structs.replace(RATED, **changes), TODAY, now)
    assert reasons and words in reasons[0]


def test_a_verdict_that_is_no_pass_has_no_rating_to_end():
    assert (
        reasons_to_rerate(
            msgspec.structs.replace(RATED, verdict="fail", rated_until=None), datetime.date(2099, 1, 1), {}
        )
        == []
    )
