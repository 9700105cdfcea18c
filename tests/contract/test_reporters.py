"""Every reporter, found by folder walk: deterministic, whole on an empty scorecard, deaf to hostile names."""

import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from effbench import report
from effbench.model.error import InputError
from effbench.report import format, view
from tests.factory import HOSTILE, cases
from tests.factory_power import power_cases
from tests.factory_scaling import scaling_cases

CASES = cases() | power_cases() | scaling_cases()
ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "br", "img", "hr", "input"}
CHILD = """
import hashlib, json, sys
from effbench import report
from tests.factory import cases
from tests.factory_power import power_cases
from tests.factory_scaling import scaling_cases
every = cases() | power_cases() | scaling_cases()
print(json.dumps({f"{name}/{case}": hashlib.sha256(report.load(name).render(*documents)).hexdigest()
                  for name in report.names() for case, documents in every.items()}))
"""


@pytest.fixture(params=report.names())
def reporter(request: pytest.FixtureRequest) -> report.Reporter:
    return report.load(request.param)


def test_the_formats_of_the_contract_are_there() -> None:
    files = {report.load(name).FILENAME for name in report.names()}
    assert {"report.html", "report.md", "junit.xml", "metrics.prom", "scorecard.json", None} <= files
    assert "terminal" in report.names()
    assert not {"format", "view", "charts", "words"} & set(report.names())


def test_artefacts_have_different_names() -> None:
    files = [file for name in report.names() if (file := report.load(name).FILENAME)]
    assert len(files) == len(set(files))


def test_an_unknown_format_names_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"htm.*Did you mean html\?.*markdown"):
        report.load("htm")
    with pytest.raises(InputError, match="view"):
        report.load("view")


@pytest.mark.parametrize("case", CASES)
def test_renders_utf8_without_control_characters(reporter: report.Reporter, case: str) -> None:
    text = reporter.render(*CASES[case]).decode("utf-8")
    assert text.endswith("\n") and len(text) > 100
    assert re.search(r"/", reporter.MEDIA_TYPE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    if reporter.FILENAME != "scorecard.json":  # a document keeps what was said, escaped; the others show it
        assert "\u202e" not in text


def test_the_scorecard_alone_is_enough(reporter: report.Reporter) -> None:
    card, grade, _ = CASES["gpu-pass"]
    assert reporter.render(card, None, None)
    assert reporter.render(card, grade, None)


def test_a_simulated_scorecard_says_so_in_every_format(reporter: report.Reporter) -> None:
    card, grade, record = CASES["gpu-simulated"]
    for documents in ((card, grade, record), (card, grade, None), (card, None, None)):
        assert b'"simulated": true' in reporter.render(*documents) or b"SIMULATED" in reporter.render(*documents)


@pytest.mark.parametrize("name", [name for name in report.names() if name not in ("json", "html", "prometheus")])
def test_a_measured_scorecard_does_not_say_simulated(name: str) -> None:
    assert b"SIMULATED" not in report.load(name).render(*CASES["gpu-pass"])


def test_same_bytes_in_every_process_and_under_every_hash_seed() -> None:
    seen = []
    for seed in ("0", "4711"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(ROOT),
            "TZ": "Asia/Tokyo" if seed == "0" else "UTC",
        }
        done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, env=environment, cwd=ROOT, check=True)
        seen.append(json.loads(done.stdout))
    assert seen[0] == seen[1]
    here = hashlib.sha256(report.load("html").render(*CASES["cpu"])).hexdigest()
    assert seen[0]["html/cpu"] == here


def test_documents_are_not_changed_by_rendering(reporter: report.Reporter) -> None:
    reporter.render(*CASES["hostile"])
    assert CASES["hostile"].card.node == HOSTILE


class Page(HTMLParser):
    """Checks that a page is balanced, has no script, no handler and no reference to the outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href", "action", "data") and value != "data:,"):
                self.problems.append(f"<{tag} {name}={value}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_whole_and_asks_for_nothing(case: str) -> None:
    text = report.load("html").render(*CASES[case]).decode()
    page = Page()
    page.feed(text)
    page.close()
    assert page.problems == [] and page.open == []
    assert not page.tags & {"script", "iframe", "object", "embed", "img", "base", "form"}
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text
    assert re.findall(r"https?://", text.replace("http://evil", "")) == []


def test_charts_are_named_for_screen_readers() -> None:
    text = report.load("html").render(*CASES["gpu-pass"]).decode()
    assert text.count("<svg") > 20
    assert len(re.findall(r'<svg class="[^"]*" role="img" aria-label="[^"]+"', text)) == text.count("<svg")


def test_hostile_names_stay_text_in_markdown() -> None:
    text = report.load("markdown").render(*CASES["hostile"]).decode()
    outside = re.sub(r"\\.|`[^`\n]*`", "", text)
    assert not re.search(r"<(?!/?(details|summary)>)", outside)
    assert "](http" not in outside and "http://" not in outside
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_hostile_names_stay_text_in_the_terminal() -> None:
    text = report.load("terminal").render(*CASES["hostile"]).decode()
    assert "\x1b" not in text and "[red]" in text


def test_json_is_the_scorecard_itself() -> None:
    import msgspec

    from effbench.model.scorecard import Scorecard

    for case in CASES.values():
        assert msgspec.json.decode(report.load("json").render(*case), type=Scorecard) == case.card


def test_cleaning_leaves_honest_text_alone() -> None:
    card = CASES["gpu-pass"].card
    assert view.scrubbed(card) == card
    assert format.clean("Zürich 2 × H200 – µs") == "Zürich 2 × H200 – µs"
    assert format.clean("a\x1b[31m\nb\u202e") == "a�[31m b�"
