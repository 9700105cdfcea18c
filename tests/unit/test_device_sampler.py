"""The telemetry child and the inventory child: their protocol, their end, and that one bad sensor ends nothing."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time

import device_trees as trees
import msgspec
import pytest

from effbench.device import inspect, sampler
from effbench.model.error import InputError
from effbench.model.event import Telemetry
from effbench.model.inventory import Inventory

FAKE = {"devices": ["gpu0", "gpu1"], "source": "fake", "spec": "nvidia-h200-sxm*2", "hz": 50}
MODULE = [sys.executable, "-m", "effbench.device.sampler"]


class Child:
    """A running sampler and its lines."""

    def __init__(self, config):
        self.process = subprocess.Popen(
            MODULE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = b""
        self.telemetry = []
        self.say(config)

    def say(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, key, timeout=10.0):
        """Wait for the answer that has `key`; telemetry on the way is kept."""
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < end:
                selector.select(0.1)
                *lines, self.rest = (self.rest + (self.process.stdout.read() or b"")).split(b"\n")
                answers = []
                for line in lines:
                    if b'"type"' in line:
                        self.telemetry.append(msgspec.json.decode(line, type=Telemetry))
                    else:
                        answers.append(json.loads(line))
                for answer in answers:
                    if key in answer:
                        return answer
        raise AssertionError(f"no {key!r} within {timeout} s")

    def end(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


@pytest.fixture
def start():
    children = []

    def make(config):
        children.append(Child(config))
        return children[-1]

    yield make
    for child in children:
        child.end()


def test_protocol(start):
    child = start(FAKE)
    time.sleep(0.3)
    child.say({"watch": [os.getpid()]})
    child.say({"counters": True})
    answer = child.answer("counters")
    assert answer.keys() == {"counters", "absent"}
    assert answer["counters"]["gpu0"]["ecc_uncorrected"] == 0.0
    assert answer["counters"]["gpu1"]["bad_readings"] == 0.0
    assert "memory_temperature_degc" in answer["absent"]["gpu0"]
    assert {t.device for t in child.telemetry} == {"gpu0", "gpu1"}
    child.say({"flush": True})
    assert child.answer("flushed") == {"flushed": True}
    times = [t.t_ns for t in child.telemetry]
    assert times == sorted(times)
    child.say({"stop": True})
    assert child.process.wait(5) == 0


def test_lines_come_in_batches(start):
    child = start(FAKE | {"hz": 20})
    arrivals = []
    with selectors.DefaultSelector() as selector:
        selector.register(child.process.stdout, selectors.EVENT_READ)
        end = time.monotonic() + 2.6
        while time.monotonic() < end:
            if selector.select(0.1):
                arrivals.append(child.process.stdout.read())
    assert sum(data.count(b"\n") for data in arrivals) > 40
    assert len(arrivals) <= 5, "a parent that wakes up at every reading would disturb what it measures"


def test_end_of_stdin_ends_it(start):
    child = start(FAKE)
    child.process.stdin.close()
    assert child.process.wait(5) == 0
    child.process.stdin = open(os.devnull, "wb")  # noqa: SIM115, PTH123 - the fixture closes it


def test_death_of_the_parent_ends_it():
    """The parent is killed while it still holds the pipe's other end in a sibling, so that stdin does not end."""
    code = (
        "import subprocess, sys, time, os\n"
        "r, w = os.pipe()\n"
        "os.set_inheritable(w, True)\n"
        "keep = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'], pass_fds=[w])\n"
        f"child = subprocess.Popen({MODULE!r}, stdin=r, stdout=subprocess.DEVNULL)\n"
        f"os.write(w, {json.dumps(FAKE).encode()!r} + b'\\n')\n"
        "time.sleep(0.5)\n"
        "print(child.pid, keep.pid, flush=True)\n"
        "time.sleep(20)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child, keep = map(int, parent.stdout.readline().split())
    try:
        assert alive(child)
        parent.kill()
        parent.wait()
        end = time.monotonic() + 5
        while alive(child) and time.monotonic() < end:
            time.sleep(0.05)
        assert not alive(child)
    finally:
        os.kill(keep, signal.SIGKILL)
        parent.stdout.close()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def test_ctrl_c_is_the_parents(start):
    child = start(FAKE)
    child.say({"flush": True})
    child.answer("flushed")
    child.process.send_signal(signal.SIGINT)
    child.say({"flush": True})
    assert child.answer("flushed") == {"flushed": True}


def test_a_sensor_that_fails_costs_its_reading_only(start):
    child = start(FAKE | {"faults": {"gpu1": {"raise_every": 2}}})
    time.sleep(0.6)
    child.say({"counters": True})
    answer = child.answer("counters")
    bad = answer["counters"]["gpu1"]["bad_readings"]
    counts = {key: sum(t.device == key for t in child.telemetry) for key in ("gpu0", "gpu1")}
    assert bad > 3
    assert counts["gpu0"] == counts["gpu1"] + bad
    assert "told to fail" in answer["absent"]["gpu1"]["reading"]
    assert answer["counters"]["gpu0"]["bad_readings"] == 0.0


def test_nonsense_is_ignored(start):
    child = start(FAKE)
    child.process.stdin.write(b'{"watch": "all"}\nnot json\n\n{"unknown": 1}\n')
    child.say({"flush": True})
    assert child.answer("flushed")


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"not json", b'{"devices": [], "hz": 0}', b'{"devices": [], "color": "red"}', b"\xff\xfe"]
)
def test_unusable_configuration_is_said(line):
    done = subprocess.run(MODULE, input=line + b"\n", capture_output=True, timeout=20)
    assert done.returncode == 2
    assert b"configuration" in done.stderr
    assert b"Traceback" not in done.stderr


def test_cpu_of_this_machine(start):
    child = start({"devices": ["cpu"], "source": "cpu", "hz": 20, "watch": [os.getpid()]})
    time.sleep(0.5)
    child.say({"flush": True})
    child.answer("flushed")
    readings = [t for t in child.telemetry if t.device == "cpu"]
    assert len(readings) >= 4
    assert any(t.foreign is not None and t.steal is not None for t in readings)
    now = time.monotonic_ns()
    assert all(now - 10**10 < t.t_ns <= now for t in readings)


def test_devices_that_do_not_open_have_a_reason():
    config = sampler.Config(devices=["gpu0", "gpu9"], source="fake", spec="nvidia-h200-sxm")
    observers, failed = sampler.open_observers(config)
    assert list(observers) == ["gpu0"]
    assert failed == {"gpu9": "no such device here"}
    observers, failed = sampler.open_observers(sampler.Config(devices=["gpu0"], source="fake", spec="nonsense"))
    assert observers == {}
    assert "no accelerator 'nonsense'" in failed["gpu0"]


def test_nvml_that_is_not_there_leaves_the_cpu(monkeypatch):
    from effbench.device import nvml
    from effbench.model.error import SiteError

    def refuse():
        raise SiteError("no library here")

    monkeypatch.setattr(nvml, "observe", refuse)
    observers, failed = sampler.open_observers(sampler.Config(devices=["gpu0", "cpu"], source="nvml"))
    assert list(observers) == ["cpu"]
    assert failed == {"gpu0": "no library here"}
    written = []
    one = sampler.Sampler(observers, failed, written.append)
    one.obey(sampler.Control(counters=True))
    answer = json.loads(written[-1])
    assert answer["absent"]["gpu0"] == {"device": "no library here"}
    assert "gpu0" not in answer["counters"]
    one.close()


def test_replay_of_a_recording(tmp_path):
    from effbench.device.fake import accelerators

    device = accelerators("nvidia-h200-sxm")[0]
    lines = [msgspec.json.encode(Telemetry(i * 10**8, "gpu0", power_w=100.0 + i)) for i in range(5)]
    path = tmp_path / "telemetry.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    config = sampler.Config(devices=["gpu0"], source="replay", recording=str(path), accelerators=[device])
    observers, failed = sampler.open_observers(config)
    assert failed == {}
    assert observers["gpu0"].read(5).power_w == 100.0
    missing = msgspec.structs.replace(config, recording=str(tmp_path / "none"))
    assert "none" in sampler.open_observers(missing)[1]["gpu0"]


def test_a_missed_turn_is_not_made_up_for():
    """A reading of 0.2 s at 20 Hz: some five in a second, not twenty one after another."""

    class Slow:
        def __init__(self):
            self.reads = 0

        def accelerator(self):
            raise NotImplementedError

        def read(self, t_ns):
            self.reads += 1
            time.sleep(0.2)
            return Telemetry(t_ns, "slow")

        def counters(self):
            return {}

        def absent(self):
            return {}

        def close(self):
            pass

    slow = Slow()
    inbox, outbox = os.pipe()
    one = sampler.Sampler({"slow": slow}, {}, lambda data: None)
    config = sampler.Config(devices=["slow"], hz=20)
    thread = threading.Thread(target=sampler.serve, args=(config, one, inbox))
    thread.start()
    time.sleep(1.0)
    os.write(outbox, b'{"stop": true}\n')
    thread.join(5)
    assert not thread.is_alive()
    assert 2 <= slow.reads <= 6
    os.close(inbox)
    os.close(outbox)


def ask(request, **environment):
    return subprocess.run(
        [sys.executable, "-m", "effbench.device.inspect"],
        input=request,
        capture_output=True,
        timeout=30,
        env=os.environ | environment,
    )


def test_inventory_of_this_machine():
    done = ask(b"{}\n", OMP_NUM_THREADS="1", SECRET_TOKEN="hush")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
    found = msgspec.json.decode(done.stdout, type=Inventory)
    assert found.accelerators[-1].key == "cpu"
    assert found.env["OMP_NUM_THREADS"] == "1"
    assert b"hush" not in done.stdout
    assert found.host_memory_available_bytes <= found.host_memory_bytes
    assert all(a.part is None for a in found.accelerators)


def test_simulated_inventory():
    done = ask(b'{"fake": "nvidia-h200-sxm*2"}\n')
    found = msgspec.json.decode(done.stdout, type=Inventory)
    assert [a.key for a in found.accelerators] == ["gpu0", "gpu1"]
    assert all(a.simulated for a in found.accelerators)


@pytest.mark.parametrize("request_line", [b'{"fake": "no-such-part"}\n', b"[]\n", b'{"rack": 1}\n', b"\xff\n"])
def test_requests_that_cannot_be_met(request_line):
    done = ask(request_line)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr
    assert b"Traceback" not in done.stderr


def test_inspect_reads_a_tree(tmp_path):
    root = trees.put(
        trees.container(tmp_path), {"etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13"\n'}
    )
    environment = {"PYTORCH_CUDA_ALLOC_CONF": "x", "HOME": "/root", inspect.DIGEST_VARIABLE: "sha256:abc"}
    found = inspect.inspect(inspect.Request(), environment, root)
    assert found.os == "Debian GNU/Linux 13 in a kubernetes container"
    assert found.env == {"PYTORCH_CUDA_ALLOC_CONF": "x"}
    assert found.container_digest == "sha256:abc"
    assert found.host_memory_bytes == 8 << 30
    assert found.accelerators[-1].cpu.cores_usable == 2.5
    assert found.firmware == ""
    trees.put(tmp_path, {"sys/class/dmi/id/bios_vendor": "A Maker", "sys/class/dmi/id/bios_version": "1.2"})
    assert inspect.inspect(inspect.Request(), environment, root).firmware == "A Maker 1.2"


@pytest.mark.parametrize(
    ("files", "environment", "kind"),
    [
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({"proc/self/cgroup": "0::/docker/abc"}, {}, "docker"),
        ({}, {}, ""),
    ],
)
def test_kinds_of_container(tmp_path, files, environment, kind):
    assert inspect._container(trees.put(tmp_path, files), environment) == kind


def test_a_driver_that_cannot_be_asked_is_a_finding(tmp_path, monkeypatch):
    from effbench.device import nvml
    from effbench.model.error import SiteError

    def refuse():
        raise SiteError("the versions of library and driver differ")

    monkeypatch.setattr(nvml, "driver_facts", refuse)
    root = trees.zen4_vm(tmp_path)
    assert inspect.inspect(inspect.Request(), {}, root).findings == []
    trees.put(root, {"proc/driver/nvidia/version": "NVRM version: 595"})
    (finding,) = inspect.inspect(inspect.Request(), {}, root).findings
    assert "versions of library and driver differ" in finding


def test_simulated_request_in_process():
    with pytest.raises(InputError):
        inspect.inspect(inspect.Request(fake="x y"), {})
