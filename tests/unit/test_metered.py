"""The parts of a measured command: which devices, what spoils a figure, whose processes, which status."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from effbench.launch import foreground
from effbench.model.energy import Sensor
from effbench.model.error import InputError, SiteError
from effbench.model.event import Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.run import metered, vigil

S = 1_000_000_000
GPUS = [Accelerator(f"gpu{i}", "gpu", "nvidia", "NVIDIA H200", f"cuda:{i}", 1, 0, uuid=f"GPU-{i}") for i in (0, 1)]
CPU = Accelerator("cpu", "cpu", "amd", "a CPU", "cpu", 1, 0)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = Inventory("node", [*GPUS, CPU], findings=["the node has an NVIDIA driver, but it cannot be asked: x"])
    monkeypatch.setattr(metered, "ask", lambda *words: msgspec.json.encode(inventory))


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("wanted", "keys"), [("all", ["gpu0", "gpu1", "cpu"]), ("cuda:1,cpu,gpu1", ["gpu1", "cpu"]), ("cpu", ["cpu"])]
)
def test_devices_are_chosen_by_key_and_each_once(wanted: str, keys: list[str]) -> None:
    found = metered.look({}, wanted)
    assert [a.key for a in found.devices] == keys
    assert "cannot be asked" in found.findings[0].message
    with pytest.raises(InputError, match="it has: gpu0, gpu1, cpu"):
        metered.look({}, "gpu0,tpu")


def test_a_node_that_cannot_be_asked_has_no_device_and_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def hung(*words: object) -> bytes:
        raise SiteError("did not answer")

    monkeypatch.setattr(metered, "ask", hung)
    found = metered.look({}, "gpu0")
    assert found.devices == []
    assert [f.code for f in found.findings] == ["telemetry-lost"]


def power(gap: bool = False) -> list[Telemetry]:
    """Twenty seconds of 400 W by counter and by instant power, ten a second; a gap of three seconds in the middle."""
    times = [i / 10 for i in range(-20, 220) if not (gap and 80 <= i < 110)]
    return [Telemetry(round((100 + t) * S), "gpu0", power_w=400.0, energy_j=5000 + 400 * t) for t in times]


CARDS = [
    Sensor("gpu0.counter", "gpu0", "counter", "gpu", "J", "energy_j", "made up", update_s=0.1, granularity_j=0.001),
    Sensor("gpu0.instant", "gpu0", "instant", "gpu", "W", "power_w", "made up", update_s=0.1, coverage=1.0),
]


def done(**changes: object) -> metered.Metered:
    plain = metered.Metered(0, 20.0, [GPUS[0]], [], [], window=(100 * S, 120 * S), sensors=CARDS)
    return msgspec.structs.replace(plain, **{"readings": {"gpu0": power()}, **changes})


def test_a_figure_rests_on_the_window_alone() -> None:
    (energy,) = metered.figures(done())
    assert energy.energy is not None and energy.energy_interval is not None
    assert energy.energy.value == pytest.approx(8000, rel=1e-3)
    assert energy.energy_interval.low < 8000 < energy.energy_interval.high
    assert "spread" not in energy.components  # a single execution


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faults": {"gpu0": "the device was lost"}}, "the device was lost"),
        ({"readings": {}}, "no reading"),
        ({"readings": {"gpu0": power()[:100]}}, ""),
        ({"window": (100 * S, 102 * S)}, "window 2.0 s < 10 s"),
        ({"sensors": []}, "named no sensor"),
        ({"devices": [GPUS[1]]}, "named no sensor"),
    ],
)
def test_no_figure_without_evidence(changes: dict[str, object], words: str) -> None:
    (energy,) = metered.figures(done(**changes))
    assert energy.energy is None and energy.power is None and energy.net is None
    assert words in energy.reason and energy.reason
    assert energy.remedy
    assert "effbench run" not in energy.remedy


def test_processes_of_the_command_are_found() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        found = foreground.descendants(child.pid)
        child.stdin.close()
    assert len(found) == 1
    assert child.pid not in found
    assert foreground.descendants(child.pid) == []


def test_statuses_are_a_shells() -> None:
    assert [foreground.status(code) for code in (0, 7, -signal.SIGKILL)] == [0, 7, 137]
    assert foreground.refusal(["x"], FileNotFoundError(2, "no")).exit_status == 127
    assert foreground.refusal(["x"], PermissionError(13, "no")).exit_status == 126
    assert foreground.refusal(["x"], OSError(8, "Exec format error")).exit_status == 126


def test_signals_are_ours_again_after_a_command(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(FileNotFoundError):
        foreground.Command([str(tmp_path / "none")], os.environ)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    command = foreground.Command(["true"], os.environ)
    assert {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert command.exit_status() == 0
    command.close()
    command.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_readings_of_an_endless_command_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "READINGS_MAX", 10)
    watcher = vigil.Vigil([], {})
    watcher._keep([Telemetry(i, "cpu") for i in range(100)])
    assert len(watcher.readings["cpu"]) == 11
    assert [(f.code, f.device) for f in watcher.findings] == [("telemetry-lost", "cpu")]
    assert isinstance(watcher.findings[0], Finding)
