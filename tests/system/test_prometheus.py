"""`metrics.prom` before the real promtool: nodes, clusters, and runs that gave nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from effbench.report import prometheus
from tests import factory, factory_power, factory_scaling
from tests.factory import Case
from tests.system.sandboxes import PROGRAMS, PYTHON, ROOT, need

PUBLISHED = sorted((ROOT / "reports" / "published").glob("*/*/record.json"))


def checked(text: bytes) -> subprocess.CompletedProcess[bytes]:
    """What promtool says of an exposition: 0 well, 1 unreadable, 3 readable and against a rule of its own."""
    program = shutil.which("promtool", path=PROGRAMS)
    assert program is not None
    words = [program, "check", "metrics"]
    return subprocess.run(words, input=text, capture_output=True, check=False, timeout=30)


def documents() -> dict[str, Case]:
    """Every synthetic node and cluster: passed, failed, without a figure, with names that try to break out."""
    return {**factory.cases(), **factory_power.power_cases(), **factory_scaling.scaling_cases()}


@pytest.mark.parametrize("name", sorted(documents()))
def test_promtool_takes_every_scorecard(name: str) -> None:
    need("promtool")
    done = checked(prometheus.render(*documents()[name]))
    # `hostile` has a metric of its own whose name abbreviates a unit: readable, though promtool would not call it so.
    taken = (3, b"metric names should not contain abbreviated units") if name == "hostile" else (0, b"")
    assert (done.returncode, done.stderr.strip().partition(b" ")[2]) == taken, done.stderr


def test_promtool_can_refuse() -> None:
    need("promtool")
    text = prometheus.render(*factory.gpu_node())
    assert checked(text + b"effbench_verdict{verdict=pass} 1\n").returncode == 1
    assert checked(text + b"effbench_total_without_help_bytes_total 1\n").returncode == 3


@pytest.mark.parametrize("record", PUBLISHED, ids=lambda path: path.parent.name)
def test_promtool_takes_a_real_run_as_node_exporter_gets_it(record: Path, tmp_path: Path) -> None:
    need("promtool")
    target = tmp_path / "effbench.prom"
    words = [PYTHON, "-m", "effbench", "report", record.parent, "--format", "prometheus", "-o", target]
    subprocess.run(words, check=True, timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["effbench.prom"]
    done = checked(target.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'effbench_verdict{verdict="pass"}' in target.read_bytes()
