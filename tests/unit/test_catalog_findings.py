"""Finding codes and driver events: explained, classed, and unknown ones handled."""

import pytest

from effbench.catalog.findings import codes, explain
from effbench.catalog.xids import OWN_KILL, classify, xids
from effbench.model.error import InputError


def test_every_code_is_explained_in_sentences() -> None:
    for code in codes():
        row = explain(code)
        for text in (row.what, row.why, row.do):
            assert text and text[0].isupper() | text.startswith(("`", "effbench")) and text.endswith("."), (code, text)
        assert row.title and not row.title.endswith(".")


def test_an_unknown_code_names_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean throttled-thermal"):
        explain("throttled-termal")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (13, "application"),
        (31, "application"),
        (43, "application"),
        (45, "application"),
        (48, "hardware"),
        (63, "informational"),
        (64, "hardware"),
        (74, "hardware"),
        (79, "hardware"),
        (94, "hardware"),
        (95, "hardware"),
    ],
)
def test_xids_have_a_class(code: int, kind: str) -> None:
    assert classify(code).kind == kind


def test_an_unknown_xid_must_be_looked_at() -> None:
    row = classify(9999)
    assert (row.kind, row.confidence) == ("hardware", "low") and "docs.nvidia.com" in row.text


def test_what_our_own_kill_provokes_is_never_of_the_hardware_class() -> None:
    assert {classify(code).kind for code in OWN_KILL} == {"application"}


def test_xids_are_unique_and_ascending() -> None:
    numbers = [row.code for row in xids()]
    assert numbers == sorted(set(numbers))
