"""`effbench energy -- COMMAND`: the command runs and keeps its status, and no figure appears without a sensor."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nvml.scripted import NEEDS_GCC, build, environment, h200, has_gcc

from effbench.catalog.site import load_site
from effbench.cli import energy_command
from effbench.model.energy import Energy
from effbench.model.quantity import Interval, Quantity
from effbench.model.unit import Unit
from effbench.run import metered
from tests.unit.command_line import ROOT, Outcome, call, ended, start

FIGURES = {"energy", "power"}


Run = Callable[..., Outcome]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, with a shorter look before and after it; what the command wrote comes first."""
    monkeypatch.setattr("effbench.run.vigil.BEFORE_S", 0.05)
    monkeypatch.setattr("effbench.run.vigil.AFTER_LEAST_S", 0.05)

    def run(*words: str | Path) -> Outcome:
        own = call("energy", *words)
        theirs = capfd.readouterr()
        return Outcome(own.code, theirs.out + own.out, theirs.err + own.err)

    return run


def test_without_a_sensor_every_device_has_a_reason_and_a_remedy(measured: Run) -> None:
    done = measured("--json", "--", "sleep", "0.3")
    assert done.code == 0, done.said
    document = done.document
    assert set(document) == {"command", "exit_status", "duration_s", "devices", "findings"}
    assert document["command"] == ["sleep", "0.3"]
    assert 0.3 <= document["duration_s"] < 30
    assert document["devices"]
    for device in document["devices"]:
        assert not FIGURES & set(device), "a sensor answered here; 0.3 s is too short for any figure all the same"
        assert device["reason"] and device["remedy"]
        assert device["sensor"].startswith(device["key"] + ".")


def test_the_whole_program_does_the_same() -> None:
    done = ended(start("energy", "--json", "--", "sh", "-c", "echo out; exit 7"))
    assert done.code == done.document["exit_status"] == 7
    assert "out" in done.err


def test_a_person_reads_why_there_is_no_figure(measured: Run) -> None:
    done = measured("--", "sh", "-c", "echo result; exit 7")
    assert done.code == 7
    assert done.out == "result\n"
    assert "ended with status 7" in done.err
    assert "cpu" in done.err and "do:" in done.err


def test_options_of_the_command_are_its_own(measured: Run) -> None:
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--json", "--require", "-h", "--", "--device=x"]
    assert measured(*words).out == "['--json', '--require', '-h', '--', '--device=x']\n"
    assert measured("--", *words).out == "['--json', '--require', '-h', '--', '--device=x']\n"


def test_under_json_the_commands_stdout_goes_to_stderr(measured: Run) -> None:
    done = measured("--json", "--", "sh", "-c", "echo to-stdout; echo to-stderr >&2; exit 3")
    assert done.code == done.document["exit_status"] == 3
    assert "to-stdout" in done.err and "to-stderr" in done.err


def test_stdin_is_the_commands() -> None:
    child = start("energy", "--", "cat", stdin=subprocess.PIPE)
    out, _ = child.communicate("typed\n", timeout=60)
    assert (child.returncode, out) == (0, "typed\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_a_signal_ends_gives_128_and_its_number(
    number: signal.Signals, status: int, measured: Run
) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
    try:
        done = measured("--json", "--", "sh", "-c", f"kill -{int(number)} $$")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.code == done.document["exit_status"] == status


def test_a_command_that_is_not_there_is_127_in_one_line(measured: Run) -> None:
    done = measured("--", "no-such-command-here")
    assert done.code == 127
    assert done.said.strip() == "effbench: no-such-command-here: command not found"
    document = measured("--json", "--", "no-such-command-here").document
    assert (document["exit_status"], document["devices"]) == (127, [])


def test_a_file_that_cannot_be_executed_is_126(tmp_path: Path, measured: Run) -> None:
    path = tmp_path / "plain"
    path.write_text("no program\n")
    done = measured("--", path)
    assert done.code == 126
    assert "not executable" in done.err
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    assert measured("--", path).code == 127


def test_require_without_a_figure_is_3(measured: Run) -> None:
    done = measured("--require", "--", "sh", "-c", "exit 7")
    assert done.code == 3
    assert "status 7" in done.err
    assert measured("--json", "--require", "--", "true").document["exit_status"] == 0


@pytest.mark.parametrize("words", [["energy"], ["energy", "--"], ["energy", "--jason", "true"]])
def test_wrong_options_are_2_and_start_nothing(words: list[str]) -> None:
    assert call(*words).code == 2


def test_an_unknown_device_is_2_and_starts_nothing(tmp_path: Path, measured: Run) -> None:
    done = measured("--device", "gpu9", "--", "touch", tmp_path / "started")
    assert done.code == 2
    assert "no device 'gpu9'" in done.err
    assert not (tmp_path / "started").exists()


COUNTS = """
import signal, sys, time
seen = []
def note(number, frame):
    seen.append(number)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
print("ready", flush=True)
end = time.monotonic() + 0.6
while time.monotonic() < end:
    time.sleep(0.02)
print(seen, flush=True)
sys.exit(9)
"""


@pytest.mark.parametrize(
    ("number", "to_group"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)]
)
def test_a_signal_reaches_the_command_once_and_the_report_still_comes(number: signal.Signals, to_group: bool) -> None:
    child = start("energy", "--", sys.executable, "-c", COUNTS, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    (os.killpg if to_group else os.kill)(child.pid, number)
    done = ended(child)
    assert done.out == f"[{int(number)}]\n"
    assert done.code == 9
    assert "ended with status 9" in done.err


def test_ctrl_c_on_a_terminal_reaches_the_command_once() -> None:
    import pty

    leader, follower = pty.openpty()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child is another program
        os.setsid()
        os.close(os.open(os.ttyname(follower), os.O_RDWR))  # the first terminal a session opens controls it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for descriptor in (0, 1, 2):
            os.dup2(follower, descriptor)
        os.execv(sys.executable, [sys.executable, "-m", "effbench", "energy", "--", sys.executable, "-c", COUNTS])
    os.close(follower)
    said = b""
    sent = False
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:
            break
        said += data
        if b"ready" in said and not sent:
            os.write(leader, b"\x03")
            sent = True
    _, status = os.waitpid(pid, 0)
    os.close(leader)
    assert b"[2]" in said, said
    assert os.waitstatus_to_exitcode(status) == 9
    assert b"ended with status 9" in said


def test_a_command_runs_when_the_telemetry_dies(measured: Run) -> None:
    kill = "import os, signal, pathlib, time\n" + (
        "me = os.getppid()\n"
        "for task in pathlib.Path(f'/proc/{me}/task').iterdir():\n"
        "    for pid in (task / 'children').read_text().split():\n"
        "        words = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()\n"
        "        if int(pid) != os.getpid() and b'device.sampler' in words:\n"
        "            os.kill(int(pid), signal.SIGKILL); print('killed', flush=True)\n"
        "time.sleep(0.5)\nraise SystemExit(5)\n"
    )
    done = measured("--", sys.executable, "-c", kill)
    assert (done.out, done.code) == ("killed\n", 5)
    assert "telemetry-lost" in done.err


def test_a_driver_that_does_not_answer_costs_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def hung(*words: object) -> bytes:
        raise metered.EffbenchError("did not answer within 30 s")

    monkeypatch.setattr(metered, "ask", hung)
    done = call("energy", "--json", "--", "sh", "-c", "exit 4")
    assert done.code == 4
    assert done.document["devices"] == []
    assert "did not answer" in done.document["findings"][0]["message"]


def test_a_bug_of_ours_costs_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **more: object) -> Energy:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("effbench.energy.figure.figure", broken)
    done = call("energy", "--json", "--", "sh", "-c", "exit 4")
    assert done.code == 4
    assert not FIGURES & set(done.document["devices"][0])
    assert "internal-error" in {finding["code"] for finding in done.document["findings"]}


# ---- a scripted GPU ---------------------------------------------------------------------------------------------

gpu = pytest.mark.skipif(not has_gcc(), reason=NEEDS_GCC)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    return build(tmp_path_factory.mktemp("nvml"))


def scripted(library: Path, folder: Path, lines: list[str], *words: str) -> Outcome:
    script = folder / "scenario.txt"
    script.write_text("\n".join(["driver 580.65.06", "nvml 13.580.65", "cuda 13000", *h200(), *lines]) + "\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "effbench", "energy", "--json", *words],
        env=environment(library, script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return ended(child)


def entry(done: Outcome, key: str = "gpu0") -> dict[str, object]:
    return next(device for device in done.document["devices"] if device["key"] == key)


@gpu
def test_a_window_shorter_than_the_sensor_resolves_has_no_figure(library: Path, tmp_path: Path) -> None:
    done = scripted(library, tmp_path, [], "--", "sleep", "0.4")
    assert done.code == 0, done.said
    found = entry(done)
    assert not FIGURES & set(found)
    assert "window 0.4 s < 10 s" in str(found["reason"])
    assert "longer" in str(found["remedy"])
    assert "node/full" not in done.out
    assert json.loads(done.out)["devices"][0]["key"] == "gpu0"


@gpu
@pytest.mark.slow
def test_scripted_gpus_give_their_joules_each_with_its_calibration(library: Path, tmp_path: Path) -> None:
    second = [*h200(1, "00000000:1B:00.0"), "gpu 1 power_mw 300000"]
    site = str(ROOT / "tests" / "data" / "site.yaml")
    done = scripted(library, tmp_path, second, "--require", "--site", site, "--", "sleep", "10.3")
    assert done.code == 0, done.said
    took = done.document["duration_s"]
    for key, watts in (("gpu0", 1.05 * 412 - 2), ("gpu1", 300.0)):
        found = entry(done, key)
        joules, interval = found["energy"]["quantity"], found["energy"]["interval"]  # type: ignore[index]
        assert joules == {"value": pytest.approx(watts * took, rel=0.01), "unit": "J"}
        assert interval["low"] < watts * took < interval["high"]
        assert found["power"]["quantity"]["value"] == pytest.approx(watts, rel=0.01)  # type: ignore[index]
        assert found["sensor"] == f"{key}.counter"
    assert not FIGURES & set(entry(done, "cpu"))


def test_a_person_reads_the_figure_its_sensor_and_what_it_costs() -> None:
    energy = Energy(
        "gpu0",
        "suspect",
        "another process held the GPU",
        "stop it",
        sensor="gpu0.counter",
        trust="B",
        energy=Quantity(3.6e6, Unit.JOULE),
        energy_interval=Interval(3.4e6, 3.8e6),
        power=Quantity(400.0, Unit.WATT),
        power_interval=Interval(380.0, 420.0),
    )
    done = metered.Metered(0, 9000.0, [], [energy, energy], [])
    text = "\n".join(energy_command._lines(("train",), done, [], load_site(ROOT / "tests" / "data" / "site.yaml")))
    assert "gpu0: 3.6 ± 0.2 MJ, mean 400 ± 20 W, by gpu0.counter (gpu), trust B" in text
    assert "suspect: another process held the GPU" in text
    assert "do: stop it" in text
    assert "electricity: 0.177 to 0.396 XTS (gpu at the facility by PUE 1.25" in text
    assert "carbon: 472 to 528 gCO2e" in text
    assert "not added up" in text


def test_a_site_with_mistakes_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("schema: effbench.site/1\nname: x\ncurrency: XTS\npue: {value: 0.5}\n")
    done = call("energy", "--site", tmp_path / "site.yaml", "--", "touch", tmp_path / "started")
    assert done.code == 2
    assert "site.yaml:4" in done.err
    assert not (tmp_path / "started").exists()
