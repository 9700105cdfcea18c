"""What people see, pinned: a change of any report shows up as a diff to look at. Update with `--snapshot-update`."""

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension

from effbench import report
from effbench.report import terminal
from tests.factory import cases

CASES = cases()
SHORT = ("gpu-simulated", "gpu-pass", "cpu", "failed", "undecided", "empty")


class Html(SingleFileSnapshotExtension):
    """Pages as files that a browser opens."""

    file_extension = "html"


@pytest.mark.parametrize("case", SHORT)
def test_terminal_at_80_columns(case: str, snapshot: SnapshotAssertion) -> None:
    assert terminal.text(*CASES[case], 80, False) == snapshot


def test_terminal_in_colour_at_120_columns(snapshot: SnapshotAssertion) -> None:
    assert terminal.text(*CASES["failed"], 120, True) == snapshot


def test_terminal_in_plain_ascii(snapshot: SnapshotAssertion) -> None:
    assert terminal.text(*CASES["undecided"], 80, False, unicode=False) == snapshot


@pytest.mark.parametrize("case", SHORT)
def test_markdown(case: str, snapshot: SnapshotAssertion) -> None:
    assert report.load("markdown").render(*CASES[case]).decode() == snapshot


@pytest.mark.parametrize("name", ["junit", "prometheus"])
@pytest.mark.parametrize("case", ["failed", "empty"])
def test_machine_formats(name: str, case: str, snapshot: SnapshotAssertion) -> None:
    assert report.load(name).render(*CASES[case]).decode() == snapshot


@pytest.mark.parametrize("case", ["gpu-simulated", "cpu", "empty"])
def test_page(case: str, snapshot: SnapshotAssertion) -> None:
    assert report.load("html").render(*CASES[case]) == snapshot(extension_class=Html)
