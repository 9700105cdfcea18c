"""`pytest --effbench=RECIPE`: what is not proven is red, a crash is an error, and nobody else is disturbed."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from effbench.catalog.policies import load_policy
from effbench.model.grade import DomainGrade, Grade, Reason
from effbench.model.plan import Trial
from effbench.pytest_plugin import judged, replay
from effbench.pytest_plugin.items import item_name
from effbench.qualification import Result
from effbench.run import journal
from tests.factory import gpu_node
from tests.unit.command_line import ARTEFACTS, FAKE, PATIENT_SUITE, ROOT, recipe

BENCHMARK = ("-p", "pytest_benchmark.plugin")
NODE = ("--effbench=site.yaml", f"--effbench-fake={FAKE}")
TRIAD = "effbench::site::stream:triad-fp32-1024MiB[gpu0]"
GATE = "effbench::site::gate memory.stream.triad.bandwidth"


class Ended:
    """How a pytest of its own ended: exit status, what it said, and the outcome of each test from its JUnit file."""

    def __init__(self, folder: Path, *words: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "EFFBENCH"))}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT}:{folder}", "OMP_NUM_THREADS": "1"}
        asked = [sys.executable, "-m", "pytest", "-p", "effbench.pytest_plugin", "-W", "error", "--junitxml=j.xml"]
        done = subprocess.run(
            [*asked, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        self.code, self.said, self.errors = done.returncode, done.stdout + done.stderr, done.stderr
        assert "INTERNALERROR" not in self.said, self.said
        self.tests: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        if (folder / "j.xml").is_file():
            for case in ElementTree.parse(folder / "j.xml").iter("testcase"):
                name = f"{case.get('classname', '').replace('.', '::')}::{case.get('name')}"
                found = [child for child in case if child.tag in ("failure", "error", "skipped")]
                self.tests[name] = found[0].tag if found else "passed"
                self.texts[name] = f"{found[0].get('message')} {found[0].text}" if found else ""

    def folder(self) -> Path:
        """The run folder that the last lines name."""
        line = next(line for line in self.said.splitlines() if line.startswith("Run:"))
        return Path(line.split(maxsplit=1)[1])


def test_a_good_node_passes_and_its_samples_are_in_the_benchmark_json(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s")
    done = Ended(tmp_path, *BENCHMARK, *NODE, "--effbench-dir=r", "--benchmark-json=x.json")
    assert done.code == 0, done.said
    assert set(done.tests.values()) == {"passed"} and len(done.tests) == 7
    assert {TRIAD, GATE, "effbench::site::domain memory", "effbench::site::verdict"} <= set(done.tests)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {*ARTEFACTS, "qualification.json"}
    assert done.folder() == tmp_path / "r" and "SIMULATED" in done.said
    rows = {row["fullname"]: row for row in json.loads((tmp_path / "x.json").read_text())["benchmarks"]}
    recorded = {
        f"effbench::site::{item_name(name)}": [s.device_s / s.inner_steps for s in samples]
        for name, samples in replay.samples_of(tmp_path / "r").items()
    }
    assert {name: row["stats"]["data"] for name, row in rows.items()} == recorded
    extra = rows[TRIAD]["extra_info"]
    figure = extra["metrics"]["memory.stream.triad.bandwidth"]
    assert figure["unit"] == "byte/s" and extra["GB/s"] == figure["value"] / 1e9
    assert 0 < extra["fraction_of_rated_peak"] < 1 and extra["W (telemetry)"] > 0 and extra["simulated"] is True
    assert "W" not in extra, "no energy was measured in a window this short"
    assert "TFLOP/s" in rows["effbench::site::gemm:bf16-m8192n8192k8192[gpu0]"]["extra_info"]
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "x.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert compared.returncode == 0 and "stream:triad-fp32-1024MiB[gpu0]" in compared.stdout, compared.stderr


def test_a_missed_gate_fails_it_and_the_verdict_without_pytest_benchmark(tmp_path: Path) -> None:
    recipe(tmp_path, "9 TB/s")
    done = Ended(tmp_path, *NODE, "-v")
    assert done.code == 1, done.said
    failed = {name for name, outcome in done.tests.items() if outcome == "failure"}
    assert failed == {GATE, "effbench::site::verdict"}
    assert "required ≥ 9.00 TB/s" in done.texts[GATE] and "Traceback" not in done.said
    assert f"{TRIAD} PASSED" in done.said and f"{GATE} FAILED" in done.said
    assert (tmp_path / done.folder() / "report.html").is_file(), "every artefact is there whatever the verdict"


def test_not_rated_fails_and_only_what_does_not_apply_is_skipped(tmp_path: Path) -> None:
    path = recipe(tmp_path, "1 TB/s", suite=PATIENT_SUITE.replace("[bf16, fp32]", "[bf16, fp8]"))
    path.write_text(path.read_text().replace("lenient.yaml", "node-2026"))
    done = Ended(tmp_path, "--effbench=site.yaml", "--effbench-fake=nvidia-a100-sxm4-80gb", "-rs")
    assert done.code == 1, done.said
    assert done.tests["effbench::site::verdict"] == "failure" and "simulated" in done.texts["effbench::site::verdict"]
    skipped = {name: done.texts[name] for name, outcome in done.tests.items() if outcome == "skipped"}
    fp8 = [text for name, text in skipped.items() if "gemm:fp8" in name]
    assert len(fp8) == 1 and "not applicable" in fp8[0] and "fp8" in fp8[0]
    for name, text in skipped.items():
        assert "not applicable" in text or "not required by the policy" in text, (name, text)
    assert done.tests["effbench::site::domain compute"] == "failure"


def test_undecided_is_red(tmp_path: Path) -> None:
    recipe(tmp_path, "4.318 TB/s", "on_undecided: stop\n")
    done = Ended(tmp_path, *NODE, "-q")
    assert done.code == 1 and done.tests[GATE] == "failure" and "is undecided" in done.texts[GATE], done.said
    assert "Stays undecided" in done.said


@pytest.mark.parametrize(
    ("what", "raises", "code", "expected"),
    [
        ("effbench.api.run", "RuntimeError('boom')", 1, "error"),
        ("effbench.api.run", "SiteError('the driver is gone')", 1, "error"),
        ("effbench.api.look", "SiteError('torch is missing')", 2, "error"),
        ("effbench.api.run", "KeyboardInterrupt", 2, None),
    ],
)
def test_a_crash_is_an_error_and_never_a_verdict(
    tmp_path: Path, what: str, raises: str, code: int, expected: str | None
) -> None:
    recipe(tmp_path, "1 TB/s")
    module, _, name = what.rpartition(".")
    (tmp_path / "breaks.py").write_text(
        f"import {module}\nfrom effbench.model.error import SiteError\n"
        f"def broken(*words, **more):\n    raise {raises}\n{module}.{name} = broken\n"
    )
    done = Ended(tmp_path, *NODE, "-p", "breaks")
    assert done.code == code, done.said
    assert set(done.tests.values()) == ({expected} if expected else set())
    if expected:
        assert all(raises.split("'")[1] in text for text in done.texts.values()), done.texts


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--effbench=node-quik",), "Did you mean node-quick?"),
        (("--effbench=site.yaml", "--effbench-dir=full"), "is not empty; choose another with --effbench-dir"),
        (("--effbench=site.yaml", "--effbench-device=gpu7"), "no device 'gpu7'"),
        (("--effbench=site.yaml", "-p", "xdist_like", "--dist=load"), "leave out -n"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_4(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    recipe(tmp_path, "1 TB/s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "xdist_like.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--dist', default='no')\n"
    )
    done = Ended(tmp_path, *words)
    assert done.code == 4 and expected in done.errors, done.said
    assert len(done.errors.strip().splitlines()) == 1 and not (tmp_path / "reports").exists()


def test_collecting_measures_nothing(tmp_path: Path) -> None:
    recipe(tmp_path, "1 TB/s")
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    done = Ended(tmp_path, *NODE, "--collect-only", "-q")
    assert done.code == 0 and TRIAD in done.said and not (tmp_path / "reports").exists(), done.said
    assert "test_other" not in done.said, "without paths it is about the node alone"
    both = Ended(tmp_path, *NODE, "--collect-only", "-q", "test_other.py")
    assert TRIAD in both.said and "test_other.py::test_other" in both.said


def test_what_is_not_asked_for_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\ndef test_light():\n    loaded = [m for m in sys.modules if m.startswith('effbench')]\n"
        "    assert sorted(loaded) == ['effbench', 'effbench.pytest_plugin']\n"
        "    assert not {'msgspec', 'numpy', 'torch', 'yaml'} & set(sys.modules)\n"
    )
    done = Ended(tmp_path)
    assert done.code == 0 and "effbench" not in done.said.replace(str(tmp_path), ""), done.said


def test_a_test_of_ones_own_asks_for_the_node_and_for_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "def test_node(effbench_node):\n"
        "    assert [a.key for a in effbench_node.accelerators] == ['gpu0']\n"
        "def test_gemm(effbench_kernel):\n"
        "    found = effbench_kernel('gemm', dtype='bf16', duration_s=0.05)\n"
        "    assert 1e14 < found.value('compute.gemm.bf16.flops') < 989.5e12\n"
        "    assert found.measurement.verify.ok and len(found.measurement.rounds) == 2\n"
        "def test_absent(effbench_kernel):\n    effbench_kernel('gemm', dtype='fp8', device='gpu0', rounds=1)\n"
        "def test_typo(effbench_kernel):\n    effbench_kernel('gemm', dtpye='bf16')\n"
        "def test_value(effbench_kernel):\n    effbench_kernel('gemm', dtype='bf17')\n"
        "def test_kernel(effbench_kernel):\n    effbench_kernel('gem')\n"
        "def test_team(effbench_kernel):\n    effbench_kernel('collective')\n"
        "def test_rounds(effbench_kernel):\n    effbench_kernel('gemm', rounds=0)\n"
        "def test_device(effbench_kernel):\n    effbench_kernel('gemm', device='gpu9')\n"
    )
    done = Ended(tmp_path, "--effbench-fake=nvidia-a100-sxm4-80gb", "test_own.py")
    outcomes = {name.rpartition("::test_")[2]: outcome for name, outcome in done.tests.items()}
    assert outcomes.pop("node") == outcomes.pop("gemm") == "passed", done.said
    assert outcomes.pop("absent") == "skipped" and set(outcomes.values()) == {"failure"}
    texts = {name.rpartition("::test_")[2]: text for name, text in done.texts.items()}
    assert "did you mean dtype?" in texts["typo"] and "did you mean bf16?" in texts["value"]
    assert "Did you mean gemm?" in texts["kernel"] and "team of ranks" in texts["team"]
    assert "from 1 up" in texts["rounds"] and "no device 'gpu9'" in texts["device"]
    assert "Traceback" not in done.said and "During handling" not in done.said


def test_a_kernel_is_not_measured_beside_other_tests(tmp_path: Path) -> None:
    (tmp_path / "xdist_like.py").write_text("def pytest_configure(config):\n    config.workerinput = {}\n")
    (tmp_path / "test_own.py").write_text("def test_gemm(effbench_kernel):\n    effbench_kernel('gemm')\n")
    done = Ended(tmp_path, "-p", "xdist_like", "test_own.py")
    assert done.code == 1 and "leave out -n" in done.said and "1 error" in done.said, done.said


@pytest.fixture(scope="module")
def result() -> Result:
    """A GPU node as if it had been measured."""
    made = gpu_node()
    assert made.record is not None and made.grade is not None
    return Result(made.card, made.grade, made.record, "complete")


def with_status(result: Result, status: str) -> tuple[Result, Trial]:
    """The result with its first measured trial in another status, and that trial."""
    measured = result.record.measurements
    index = next(i for i, m in enumerate(measured) if m.status == "valid")
    changed = [*measured]
    changed[index] = msgspec.structs.replace(measured[index], status=status, detail="because")
    record = msgspec.structs.replace(result.record, measurements=changed)
    trial = next(t for t in record.plan.trials if t.id == measured[index].trial)
    return msgspec.structs.replace(result, record=record), trial


@pytest.mark.parametrize(
    ("status", "kind"),
    [("valid", "passed"), ("suspect", "passed"), ("invalid", "failed"), ("failed", "failed"), ("skipped", "skipped")],
)
def test_a_trial_passes_with_usable_evidence_only(result: Result, status: str, kind: str) -> None:
    changed, trial = with_status(result, status)
    found = judged.trial(changed, trial)
    assert found.kind == kind and (kind == "passed" or "because" in found.text)


def test_what_the_result_does_not_hold_fails(result: Result) -> None:
    _, trial = with_status(result, "valid")
    gone = msgspec.structs.replace(result, record=msgspec.structs.replace(result.record, measurements=[]))
    assert judged.trial(gone, trial).kind == "failed"
    empty = msgspec.structs.replace(result.verdict, gates=[], domains=[])
    section = load_policy(ROOT / "ci" / "policies" / "node-2026.yaml").gpu
    needed = next(rule.metric for rule in section.gates if rule.on_missing == "not_rated")
    let_be = next(rule.metric for rule in section.gates if rule.on_missing != "not_rated")
    assert judged.gate(empty, section, needed).kind == "failed"
    assert judged.gate(empty, section, "no.such.metric").kind == "failed"
    assert judged.gate(empty, section, let_be).kind == "skipped"
    assert judged.domain(empty, "compute").kind == "failed"


@pytest.mark.parametrize("outcome", ["pass", "fail", "not_rated", "undecided"])
@pytest.mark.parametrize("required", [True, False])
def test_only_what_the_policy_does_not_require_may_be_open(result: Result, outcome: Any, required: bool) -> None:
    reason = Reason("compute.gemm.bf16.fraction_of_reference", outcome, "text")
    mine = DomainGrade("compute", outcome, [reason], required, False, share=0.9, share_low=0.8, share_high=1.0)
    verdict: Grade = msgspec.structs.replace(result.verdict, domains=[mine], gates=[reason], verdict=outcome)
    found = judged.domain(verdict, "compute").kind
    open_ = outcome in ("not_rated", "undecided") and not required
    assert found == ("passed" if outcome == "pass" else "skipped" if open_ else "failed")
    section = load_policy(ROOT / "ci" / "policies" / "node-2026.yaml").gpu
    for other in (judged.gate(verdict, section, reason.metric), judged.verdict(verdict)):
        assert other.kind == ("passed" if outcome == "pass" else "failed")


def test_the_worst_of_two_gates_on_one_metric_counts(result: Result) -> None:
    section = load_policy(ROOT / "ci" / "policies" / "node-2026.yaml").gpu
    pair = [Reason("health.wrong_results", outcome, outcome) for outcome in ("pass", "fail")]
    verdict = msgspec.structs.replace(result.verdict, gates=pair)
    assert judged.gate(verdict, section, "health.wrong_results").kind == "failed"


def test_figures_that_are_absent_are_absent_in_extra_info(result: Result) -> None:
    changed, trial = with_status(result, "suspect")
    measured = [msgspec.structs.replace(m, power_w=None, energy=None) for m in changed.record.measurements]
    record = msgspec.structs.replace(changed.record, measurements=measured)
    card = msgspec.structs.replace(changed.card, metrics=[])
    info = replay.extra_info(msgspec.structs.replace(changed, record=record, card=card), trial)
    assert info["status"] == "suspect" and info["metrics"] == {}
    assert not {"W", "W (telemetry)", "TFLOP/s", "GB/s", "fraction_of_reference"} & set(info)


def test_samples_of_rounds_that_did_not_end_well_are_left_out(tmp_path: Path, finished: Path) -> None:
    events = journal.read(finished / "journal.jsonl.gz").events
    whole = replay.samples_of(finished)
    name = next(iter(whole))
    closed = next(i for i, e in enumerate(events) if type(e).__name__ == "Closed" and e.trial == name)  # type: ignore[union-attr]
    events[closed] = msgspec.structs.replace(events[closed], status="failed")
    journal.copy(tmp_path / "journal.jsonl.gz", events)
    fewer = replay.samples_of(tmp_path)
    assert 0 < len(fewer[name]) < len(whole[name])
    assert {k: v for k, v in fewer.items() if k != name} == {k: v for k, v in whole.items() if k != name}


def test_it_is_found_by_pytest_and_comes_with_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"effbench": "effbench.pytest_plugin"}
    needed = {line.partition(">")[0] for line in project["optional-dependencies"]["pytest"]}
    assert needed == {"pytest", "pytest-benchmark"}
