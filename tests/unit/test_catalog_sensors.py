"""Classes of power sensors: each row has a source, a date and sane figures, and each GPU falls into the right one."""

import re

import pytest

from effbench.catalog.parts import catalog
from effbench.catalog.sensors import as_class, sensor_class, sensor_classes
from effbench.model.energy import Sensor

ROWS = sensor_classes()
CARD = Sensor("gpu0.instant", "gpu0", "instant", "gpu", "W", "power_w", "field 186")


def test_ids_are_unique():
    assert len({row.id for row in ROWS}) == len(ROWS) >= 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_source_a_date_and_sane_figures(row):
    assert len(row.source) > 10
    assert len(row.uncertainty_source) > 10
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", row.as_of)
    assert row.quantities
    assert 0.05 <= row.uncertainty <= 0.2, "nothing is claimed to be better than 5 % without a meter"
    assert (row.capability is not None) == (row.family == "nvidia")
    if row.window_s is not None:
        assert 0.0005 <= row.window_s <= 2
    if row.update_s is not None:
        assert 0.0005 <= row.update_s <= 2
    if row.coverage is not None:
        assert row.window_s is not None
        assert row.coverage == pytest.approx(min(1.0, row.window_s / row.update_s))
    if "unverified" in row.source:
        assert row.confidence == "low"


def test_no_counter_of_a_gpu_claims_a_coverage():
    counters = [row for row in ROWS if row.family == "nvidia" and "counter" in row.quantities]
    assert counters
    assert all(row.coverage is None and row.window_s is None for row in counters)


def test_no_gpu_has_two_classes_for_one_quantity():
    for row in ROWS:
        for other in ROWS:
            if row is other or row.family != other.family or not set(row.quantities) & set(other.quantities):
                continue
            assert row.capability[1] < other.capability[0] or other.capability[1] < row.capability[0]


@pytest.mark.parametrize(
    ("capability", "instant", "average", "usage"),
    [
        ("6.0", (0.01, 0.02, 0.5), (0.01, 0.02, 0.5), (0.01, 0.02, 0.5)),
        ("7.0", (0.01, 0.02, 0.5), (0.01, 0.02, 0.5), (0.01, 0.02, 0.5)),
        ("7.5", (0.1, 0.1, 1), (0.1, 0.1, 1), (0.1, 0.1, 1)),
        ("8.0", (0.025, 0.1, 0.25), None, (0.025, 0.1, 0.25)),
        ("8.6", (0.1, 0.1, 1), (1, 0.1, 1), (1, 0.1, 1)),
        ("8.9", (0.1, 0.1, 1), (1, 0.1, 1), (1, 0.1, 1)),
        ("9.0", (0.025, 0.1, 0.25), (1, 0.1, 1), (1, 0.1, 1)),
        ("10.0", (0.025, 0.1, 0.25), (1, 0.1, 1), (1, 0.1, 1)),
        ("12.1", (0.025, 0.1, 0.25), (1, 0.1, 1), (1, 0.1, 1)),
    ],
)
def test_windows_by_generation(capability, instant, average, usage):
    for quantity, expected in (("instant", instant), ("average", average), ("usage", usage)):
        found = sensor_class("nvidia", quantity, capability)
        assert (found and (found.window_s, found.update_s, found.coverage)) == expected


def test_what_is_unknown_has_no_class():
    assert sensor_class("nvidia", "instant", "") is None
    assert sensor_class("nvidia", "instant", "x.y") is None
    assert sensor_class("nvidia", "instant", "5.2") is None
    assert sensor_class("nvidia", "counter", "6.1") is None
    assert sensor_class("rapl", "instant") is None
    assert as_class(CARD, None).window_s is None
    assert as_class(CARD, None).uncertainty is None
    assert "no class" in as_class(CARD, None).basis_source


def test_every_nvidia_part_of_the_catalogue_since_pascal_has_a_class():
    seen = {catalog().row(part_id).compute_capability for part_id in catalog().ids()} - {""}
    known = [capability for capability in seen if int(capability.partition(".")[0]) >= 6]
    assert len(known) > 5
    assert [c for c in known if sensor_class("nvidia", "instant", c) is None] == []


def test_weak_rows_are_marked_assumed_on_the_card():
    hopper, blackwell = (as_class(CARD, sensor_class("nvidia", "instant", c)) for c in ("9.0", "10.0"))
    assert (hopper.basis, blackwell.basis) == ("published", "assumed")
    assert "2312.02741" in hopper.basis_source
    assert "unverified" in blackwell.uncertainty_source
    assert "unverified" in hopper.uncertainty_source


def test_rapl_is_trusted_over_seconds():
    found = sensor_class("rapl", "counter")
    assert (found.update_s, found.coverage) == (0.001, 1)
    assert "seconds" in as_class(CARD, found).basis_source
