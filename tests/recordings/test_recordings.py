"""Journals of real hardware, replayed through record, score, grade and every report, without that hardware."""

from pathlib import Path

import pytest

from effbench import api, report
from effbench.score.derive import ABOVE_PEAK

JOURNALS = sorted(Path(__file__).parent.glob("*/journal.jsonl.gz"))


def test_there_are_recordings() -> None:
    assert JOURNALS


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.parent.name)
def test_a_recording_goes_all_the_way(path: Path) -> None:
    record = api.record_of(path)
    assert not record.simulated
    card = api.score(record)
    verdict = api.grade(card, api.load_policy("node-2026"))
    assert card.coverage > 0.9
    for name in report.names():
        assert len(api.render(name, card, verdict, record)) > 500


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.parent.name)
def test_no_recording_beats_its_peak(path: Path) -> None:
    card = api.score(api.record_of(path))
    shares = [m for m in card.metrics if m.key.endswith("fraction_at_held_clock")]
    assert shares
    assert all(m.quantity.value <= ABOVE_PEAK for m in shares), [(m.key, m.quantity.value) for m in shares]


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.parent.name)
def test_every_result_in_a_recording_was_verified(path: Path) -> None:
    for measurement in api.record_of(path).measurements:
        if measurement.status in ("valid", "suspect"):
            assert measurement.verify is not None, measurement.trial
            assert measurement.verify.ok, measurement.trial
            assert measurement.verify.error <= measurement.verify.tolerance, measurement.trial
