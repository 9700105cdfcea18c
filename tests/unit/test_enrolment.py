"""A claim is met only by evidence, and the enrolment report says the same in every language and format."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.catalog.claim import load_claim, read_claim
from effbench.grade.claim import enrolment, judge
from effbench.grade.verdict import grade
from effbench.model.claim import VERDICTS, Claim, ClaimCheck, Enrolment
from effbench.model.error import CatalogError, InputError
from effbench.model.inventory import Accelerator
from effbench.report import enrolment_view
from effbench.report.enrolment import FORMATS, render
from effbench.report.language import languages, load
from tests.factory import Case, cases, cpu_node, gpu_node, hostile_node
from tests.unit.command_line import ROOT, call
from tests.unit.test_grade import POLICY
from tests.unit.test_grade import card as graded_card

BF16, TRIAD, H2D = "compute.gemm.bf16.flops", "memory.stream.triad.bandwidth", "host.copy.h2d.pinned.bandwidth"
PUBLISHED = ROOT / "reports/published/cpu-zen4-2core/2026-11-21-c403f277"


def two() -> Claim:
    return read_claim("2x NVIDIA H200")


def with_devices(case: Case, *gpus: Accelerator) -> Case:
    """The case with other devices, the same before and after the run."""
    assert case.record is not None
    before = msgspec.structs.replace(case.record.inventory_before, accelerators=list(gpus))
    return case._replace(record=msgspec.structs.replace(case.record, inventory_before=before, inventory_after=before))


def changed(case: Case, **facts: object) -> Case:
    """The case with facts of its first device changed."""
    assert case.record is not None
    first, *rest = case.record.inventory_before.accelerators
    return with_devices(case, msgspec.structs.replace(first, **facts), *rest)


def slowed(case: Case, key: str, factor: float, **more: object) -> Case:
    """The case with every figure under `key` times `factor`."""
    metrics = []
    for m in case.card.metrics:
        if m.key == key:
            interval = m.interval
            assert interval is not None
            interval = msgspec.structs.replace(interval, low=interval.low * factor, high=interval.high * factor)
            value = msgspec.structs.replace(m.quantity, value=m.quantity.value * factor)
            m = msgspec.structs.replace(m, quantity=value, interval=interval)
            m = msgspec.structs.replace(m, **more)
        metrics.append(m)
    return case._replace(card=msgspec.structs.replace(case.card, metrics=metrics))


def said(case: Case, claim: Claim | None = None) -> dict[str, ClaimCheck]:
    """The checks that are not met, by subject or metric."""
    found = judge(claim or two(), case.card, case.record)
    return {c.metric or c.subject: c for c in found.checks if c.outcome != "met"}


def decided(case: Case, claim: Claim | None) -> Enrolment:
    return enrolment(case.card, case.grade or grade(case.card, POLICY), case.record, claim)


def test_a_node_that_delivers_what_was_claimed_is_met() -> None:
    case = gpu_node(simulated=False)
    assert said(case) == {}
    assert decided(case, two()).verdict == "pass"


@pytest.mark.parametrize(
    ("facts", "subject"),
    [
        ({"sm_count": 66}, "units"),
        ({"memory_bytes": 70_000_000_000}, "memory"),
        ({"mig": True, "part": None}, "part"),
        ({"name": "NVIDIA H100 PCIe", "part": None}, "part"),
    ],
)
def test_any_shortfall_of_an_exact_fact_rejects(facts: dict[str, object], subject: str) -> None:
    case = changed(gpu_node(simulated=False), **facts)
    assert said(case)[subject].outcome == "reject"
    document = decided(case, two())
    assert (document.verdict, document.rated_until) == ("fail", None)


def test_half_the_lanes_reject() -> None:
    case = gpu_node(simulated=False)
    assert case.record is not None
    link = case.record.inventory_before.accelerators[0].pcie
    assert link is not None
    half = changed(case, pcie=msgspec.structs.replace(link, width=8))
    assert said(half)["link_width"].outcome == "reject"


@pytest.mark.parametrize("facts", [{"sm_count": None}, {"memory_bytes": 0}, {"pcie": None}, {"part": None}])
def test_what_is_not_known_meets_nothing_and_rejects_nothing(facts: dict[str, object]) -> None:
    case = changed(gpu_node(simulated=False), **facts)
    found = judge(two(), case.card, case.record)
    assert found.verdict == "not_rated", said(case)


def test_missing_lost_and_doubled_devices_are_not_counted() -> None:
    case = gpu_node(simulated=False)
    assert case.record is not None
    first, second = case.record.inventory_before.accelerators
    assert said(case, read_claim("8x NVIDIA H200"))["count"].outcome == "reject"
    assert said(with_devices(case, first))["count"].reason == "count"
    twice = with_devices(case, first, msgspec.structs.replace(second, uuid=first.uuid or "same"))
    if first.uuid:
        assert said(twice)["count"].outcome == "reject"
    after = msgspec.structs.replace(case.record.inventory_before, accelerators=[first])
    lost = case._replace(record=msgspec.structs.replace(case.record, inventory_after=after))
    assert said(lost)["count"].reason == "lost"


def test_a_provisional_reference_warns_and_never_rejects() -> None:
    check = said(slowed(gpu_node(simulated=False), BF16, 0.4))[BF16]
    assert (check.outcome, check.reason, check.provisional) == ("warn", "slow_provisional", True)


@pytest.mark.parametrize(
    ("factor", "outcome", "reason"),
    [(0.5, "reject", "slow"), (0.87, "warn", "reclass"), (0.812, "undecided", "straddles")],
)
def test_speed_against_a_firm_reference(factor: float, outcome: str, reason: str) -> None:
    check = said(slowed(gpu_node(simulated=False), H2D, factor))[H2D]
    assert (check.outcome, check.reason) == (outcome, reason), (check.share_low, check.share_high)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "suspect"}, "disturbed"),
        ({"interval": None}, "no_interval"),
        ({"status": "invalid"}, "not_measured"),
    ],
)
def test_weak_evidence_of_speed_decides_nothing(change: dict[str, object], reason: str) -> None:
    check = said(slowed(gpu_node(simulated=False), H2D, 0.3, **change))[H2D]
    assert (check.outcome, check.reason) == ("unknown", reason)


def test_a_device_without_a_figure_leaves_the_speed_unknown() -> None:
    case = gpu_node(simulated=False)
    left = [m for m in case.card.metrics if not (m.key == BF16 and m.device == "gpu1")]
    case = case._replace(card=msgspec.structs.replace(case.card, metrics=left))
    assert said(case)[BF16].reason == "not_measured"


def test_more_devices_than_claimed_do_not_make_up_for_slow_ones() -> None:
    case = slowed(gpu_node(simulated=False), H2D, 0.5)
    assert said(case, read_claim("1x NVIDIA H200"))[H2D].outcome == "reject"


def test_faster_than_the_part_can_be_is_for_a_person_to_look_at() -> None:
    found = said(slowed(gpu_node(simulated=False), TRIAD, 1.5))
    assert found[TRIAD].outcome == "review"
    assert decided(slowed(gpu_node(simulated=False), TRIAD, 1.5), two()).verdict == "not_rated"


def test_simulated_devices_and_bare_scorecards_prove_nothing() -> None:
    case = gpu_node(simulated=True)
    found = judge(two(), case.card, case.record)
    assert {c.outcome for c in found.checks} == {"unknown"}
    bare = judge(two(), gpu_node(simulated=False).card, None)
    assert bare.verdict == "not_rated"


def test_a_claim_can_only_make_a_verdict_worse() -> None:
    case = gpu_node(simulated=False)
    assert case.grade is not None
    for verdict in ("fail", "not_rated", "undecided"):
        grade_of = msgspec.structs.replace(case.grade, verdict=verdict)
        assert enrolment(case.card, grade_of, case.record, two()).verdict == verdict


@pytest.mark.parametrize("text", ["NVIDIA H200", "0x NVIDIA H200", "8x", "8x NVIDIA H2000", "1x cpu-zen4", "-1x a", ""])
def test_a_claim_that_says_too_little_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_claim(text)


@pytest.mark.parametrize("text", ["8x " + "y" * 5000, "z" * 5000, "8x \0", "no/such/claim.yaml"])
def test_no_text_reaches_the_file_system_as_a_crash(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_claim(text)
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=40))
def test_any_text_is_a_claim_or_one_clear_error(text: str) -> None:
    try:
        assert read_claim(text).count >= 1
    except InputError as error:
        assert str(error)


def claim_file(folder: Path, body: str) -> Path:
    path = folder / "claim.yaml"
    path.write_text(f"schema: effbench.claim/1\n{body}", encoding="utf-8")
    return path


def test_a_claim_file_names_every_mistake_with_its_place(tmp_path: Path) -> None:
    good = load_claim(claim_file(tmp_path, "count: 8\npart: NVIDIA H200\nmemory: 141 GB\nlink_width: 8\n"))
    assert (good.part, good.count, good.link_width) == ("nvidia-h200-sxm", 8, 8)
    bad = "count: 8\npart: NVIDIA H200\nunits: 66\nmemory: 80 GB\nlink_width: 32\n"
    with pytest.raises(CatalogError) as caught:
        load_claim(claim_file(tmp_path, bad))
    assert [re.findall(r":(\d+):\d+: ", p)[0] for p in caught.value.problems] == ["4", "5", "6"]


@pytest.mark.parametrize(
    "body", ["count: 0\npart: NVIDIA H200\n", "count: 8\npart: !!python/name:os.system\n", "count: 8\n"]
)
def test_a_hostile_or_empty_claim_file_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(CatalogError):
        load_claim(claim_file(tmp_path, body))


def shape(value: object) -> object:
    """Keys and {places} of a message catalogue: all that a translation may not change."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "name"}
    return (bool(value), sorted(re.findall(r"\{\w*\}", str(value))))


def test_every_language_has_the_same_keys_and_places() -> None:
    assert languages() == ["en", "zh-Hant"]
    first, *rest = (shape(msgspec.to_builtins(load(tag))) for tag in languages())
    assert all(other == first for other in rest)


def test_every_outcome_reason_and_doubt_has_words() -> None:
    m = load("en")
    assert set(m.outcomes) == set(VERDICTS)
    source = "".join((ROOT / f"effbench/grade/{name}.py").read_text() for name in ("claim", "claim_speed"))
    used = {c for c in re.findall(r'"([a-z_]+)"', source) if c in m.reasons}
    assert used == set(m.reasons), "a reason that nothing gives, or one without words"
    doubtful = graded_card(simulated=True, subject="device", outcome="interrupted", coverage=0.1)
    doubts = grade(doubtful, POLICY).reasons
    keys = [key for text in doubts for begin, key in enrolment_view.DOUBTS if text.startswith(begin)]
    assert keys == ["simulated", "subject", "outcome", "coverage"]


@pytest.mark.parametrize("tag", ["en", "zh-Hant"])
@pytest.mark.parametrize("name", cases())
def test_every_case_renders_in_every_format(name: str, tag: str) -> None:
    case = cases()[name]
    document = decided(case, two())
    for form in FORMATS:
        data = render(form, document, case.card, case.record, tag)
        assert data == render(form, document, case.card, case.record, tag)
        text = data.decode()
        assert form == "json" or not re.search(r"(?<!\\)<script", text)
        assert not re.search(r"\bNone\b(?! seen)", text)


def test_the_page_shows_each_failed_check_with_what_to_do() -> None:
    case = changed(gpu_node(simulated=False), sm_count=66)
    document = decided(case, two())
    for tag in languages():
        m = load(tag)
        page = render("html", document, case.card, case.record, tag).decode()
        assert f'lang="{tag}"' in page and m.verdicts["fail"].word in page
        assert m.checks["units"].why in page and m.checks["units"].do in page
        assert m.text["self_reported"] in page


def test_an_acceptance_with_a_warning_says_so() -> None:
    case = slowed(gpu_node(simulated=False), BF16, 0.4)
    document = decided(case, two())
    assert document.verdict == "pass"
    page = enrolment_view.build(document, case.card, case.record, "en")
    assert page.sentence == load("en").text["accept_warned"]
    assert [check.title for check in page.failed if BF16.split(".")[2] in check.title]


def test_an_acceptance_that_a_domain_carries_does_not_say_that_every_check_is_met() -> None:
    case = gpu_node(simulated=False)
    document = decided(case, None)
    first, *rest = document.grade.domains
    reason = msgspec.structs.replace(first.reasons[0], outcome="undecided")
    domains = [msgspec.structs.replace(first, reasons=[reason, *first.reasons[1:]]), *rest]
    carried = msgspec.structs.replace(document, grade=msgspec.structs.replace(document.grade, domains=domains))
    said = [enrolment_view.build(x, case.card, case.record, "en").sentence for x in (document, carried)]
    assert said == [load("en").verdicts["pass"].sentence, load("en").text["accept_carried"]]


def test_hostile_names_stay_text() -> None:
    case = hostile_node()
    page = render("html", decided(case, two()), case.card, case.record).decode()
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page


def test_the_json_has_codes_and_no_language() -> None:
    case = cpu_node()
    document = decided(case, two())
    english, chinese = (render("json", document, case.card, case.record, tag) for tag in languages())
    assert english == chinese
    said = json.loads(english)
    assert (said["schema"], said["evidence_level"], said["verdict"]) == (
        "effbench.enrolment/1",
        "self-reported",
        "fail",
    )


def test_the_command_answers_with_the_verdict(tmp_path: Path) -> None:
    rejected = call("report", PUBLISHED, "--for", "enrolment", "--claim", "8x NVIDIA H200", "--format", "json")
    assert rejected.code == 1, rejected.said
    file = tmp_path / "e.html"
    written = call("report", PUBLISHED, "--for", "enrolment", "--lang", "zh-Hant", "--format", "html", "-o", file)
    assert "入網評定報告" in file.read_text(encoding="utf-8"), written.said
    for wrong in (
        ["--lang", "xx", "--for", "enrolment"],
        ["--claim", "8x NVIDIA H200"],
        ["--for", "enrolment", "--claim", "eight"],
        ["--for", "enrolment", "--format", "junit"],
    ):
        refused = call("report", PUBLISHED, *wrong)
        assert refused.code == 2, refused.said
        assert "Traceback" not in refused.said


def test_the_page_names_what_ends_a_rating_only_where_something_does() -> None:
    case = gpu_node(simulated=False)
    document = decided(case, two())
    grade = msgspec.structs.replace(document.grade, rerate_on=["driver"])
    for of, said in ((document, False), (msgspec.structs.replace(document, grade=grade), True)):
        page = enrolment_view.build(of, case.card, case.record, "en")
        assert (load("en").text["rerate"] in dict(page.facts)[load("en").text["valid_until"]]) is said
