"""The CPU's telemetry: strangers told from our own processes, wraps counted, reasons for what is absent."""

import os
import subprocess
import sys
import time

import device_trees as trees
import pytest

from effbench.device import cpu_sensors, cpu_time
from effbench.device.contract import Observer
from effbench.device.cpu_telemetry import CpuObserver
from effbench.device.files import OpenFile

TICK = cpu_time.TICK_S
SECOND = 10**9


def stat(busy=(0, 0), steal=(0, 0)):
    lines = [f"cpu  {sum(busy)} 0 0 900 0 0 0 {sum(steal)} 0 0"]
    lines += [f"cpu{cpu} {busy[cpu]} 0 0 900 7 0 0 {steal[cpu]} 0 0" for cpu in (0, 1)]
    return "\n".join([*lines, "intr 1 2 3"])


def process(pid, ticks, parent=1, started=0, children="", reaped=0):
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", str(reaped), "0", "20", "0", "1", "0", str(started), "0"]
    return {
        f"proc/{pid}/stat": f"{pid} (a (very) odd name) {' '.join(fields)}",
        f"proc/{pid}/task/{pid}/children": children,
    }


@pytest.fixture
def machine(tmp_path):
    root = trees.zen4_vm(tmp_path)
    return trees.put(root, {"proc/stat": stat(), "proc/pressure/cpu": "some avg10=0.00 total=0\nfull total=0"})


class Machine:
    """A CpuTime over a tree, with the time of each look given in seconds after its making."""

    def __init__(self, root, pids=()):
        self.root = root
        self.time = cpu_time.CpuTime([0, 1], list(pids), root)
        self.start = self.time._t_ns

    def look(self, at_s, files):
        trees.put(self.root, files)
        return self.time.look(self.start + int(at_s * SECOND))


def test_busy_time_that_is_not_ours_is_foreign(machine):
    trees.put(machine, process(50, 1000))
    m = Machine(machine, [50])
    shares = m.look(1, {"proc/stat": stat((100, 60), (0, 4))} | process(50, 1100))
    assert shares.utilisation == pytest.approx(160 * TICK / 2)
    assert shares.foreign == pytest.approx(60 * TICK / 2)
    assert shares.steal == pytest.approx(4 * TICK / 2)


def test_only_cores_we_may_use_count(machine):
    only = cpu_time.CpuTime([1], [], machine)
    trees.put(machine, {"proc/stat": stat((100, 10))})
    assert only.look(only._t_ns + SECOND).foreign == pytest.approx(10 * TICK)


def test_rounding_is_carried_not_cut_off(machine):
    trees.put(machine, process(50, 0))
    m = Machine(machine, [50])
    # Our process's ticks arrive one look before the machine's: below zero, then above, on average nothing.
    first = m.look(0.1, {"proc/stat": stat((9, 9))} | process(50, 20))
    second = m.look(0.2, {"proc/stat": stat((20, 20))} | process(50, 40))
    assert (first.foreign, second.foreign) == (0.0, 0.0)


def test_the_carry_cannot_hide_real_load(machine):
    trees.put(machine, process(50, 0))
    m = Machine(machine, [50])
    m.look(1, process(50, 100_000))
    shares = m.look(2, {"proc/stat": stat((100, 100))})
    assert shares.foreign > 0.9


def test_children_are_ours_from_birth(machine):
    trees.put(machine, process(50, 100, children="51"))
    trees.put(machine, process(51, 400, parent=50))
    m = Machine(machine, [50])
    assert m.time.tree.pids() == [50, 51]
    newborn = process(52, 30, parent=50, started=2**50)
    trees.put(machine, process(50, 100, children="51 52") | newborn)
    m.time.tree.find_children()
    shares = m.look(1, {"proc/stat": stat((30, 50))} | process(51, 450, parent=50))
    assert shares.foreign == 0.0
    assert shares.utilisation == pytest.approx(80 * TICK / 2)


def test_an_old_process_that_is_watched_late_brings_no_past(machine):
    m = Machine(machine)
    trees.put(machine, process(60, 5000, started=0))
    m.time.tree.watch([60])
    shares = m.look(1, {"proc/stat": stat((50, 50))} | process(60, 5010))
    assert shares.foreign == pytest.approx(90 * TICK / 2)


class Gone:
    """A file of /proc whose process is no more."""

    def read(self):
        raise ProcessLookupError(3, "No such process")

    def close(self):
        pass


def test_a_reaped_child_moves_into_its_parent(machine):
    trees.put(machine, process(50, 100, children="51") | process(51, 400, parent=50))
    m = Machine(machine, [50])
    m.time.tree._processes[51].stat = Gone()
    shares = m.look(1, {"proc/stat": stat((60, 60))} | process(50, 100, reaped=520))
    assert m.time.tree.pids() == [50]
    assert shares.foreign == pytest.approx(0.0)


def test_a_dead_process_without_a_watched_parent_takes_its_past_along(machine):
    trees.put(machine, process(50, 100))
    m = Machine(machine, [50])
    m.time.tree._processes[50].stat = Gone()
    shares = m.look(1, {"proc/stat": stat((10, 10))})
    assert shares.foreign == pytest.approx(20 * TICK / 2)


def test_counters_that_run_backwards_are_no_reading(machine):
    trees.put(machine, {"proc/stat": stat((100, 100))})
    m = Machine(machine)
    assert m.look(1, {"proc/stat": stat((0, 0))}) is None


def test_a_look_too_soon_counts_with_the_next(machine):
    m = Machine(machine)
    assert m.look(0.001, {"proc/stat": stat((50, 50))}) is None
    assert m.look(1, {}).foreign == pytest.approx(100 * TICK / 2)


def test_cut_off_stat_line_is_refused():
    with pytest.raises(ValueError, match="cut off"):
        cpu_time._stat(b"5 (x) S 1 2 3")


def test_observer_reads_pressure_and_quota_throttling(machine):
    folder = machine / "sys/fs/cgroup/cpu"
    trees.put(folder, {"cpu.cfs_quota_us": "150000"})
    observer = CpuObserver([], machine)
    assert isinstance(observer, Observer)
    start = observer._last_ns
    trees.put(machine, {"proc/pressure/cpu": "some avg10=0.00 total=250000\nfull total=0"})
    trees.put(folder, {"cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 40000000"})
    reading = observer.read(start + SECOND)
    assert reading.psi_some == pytest.approx(0.25)
    assert reading.throttled_s == pytest.approx(0.04)
    assert observer.counters()["cgroup_throttled_periods"] == 3
    again = observer.read(start + 2 * SECOND)
    assert (again.psi_some, again.throttled_s) == (0.0, 0.0)
    observer.close()
    observer.close()


def test_what_is_absent_has_a_reason_and_no_value(machine):
    (machine / "proc/pressure/cpu").unlink()
    observer = CpuObserver([], machine)
    reading = observer.read(observer._last_ns + SECOND)
    absent = observer.absent()
    for name in ("psi_some", "energy_j", "power_w", "temperature_degc"):
        assert getattr(reading, name) is None
        assert absent[name]
    assert reading.throttled_s is None, "without a quota nothing can be held back, so there is nothing to read"
    assert reading.clock_hz is None
    assert {"ecc_corrected", "ecc_uncorrected"} <= absent.keys()
    assert observer.counters() == {}
    observer.close()


def xeon(tmp_path):
    return trees.put(trees.xeon_two_sockets(tmp_path), {"proc/stat": stat(), "proc/pressure/cpu": "some total=0"})


def test_energy_wraps_are_counted_and_cores_are_not_added_to_packages(tmp_path):
    root = xeon(tmp_path)
    zone = "sys/class/powercap/intel-rapl:0"
    trees.put(root, {f"{zone}/energy_uj": "262143000000"})
    observer = CpuObserver([], root)
    start = observer._last_ns
    first = observer.read(start)
    assert first.energy_j == pytest.approx(262143.0 + 1.0)
    trees.put(root, {f"{zone}/energy_uj": "171150"})
    second = observer.read(start + SECOND)
    assert second.energy_j - first.energy_j == pytest.approx(262143.32885 - 262143.0 + 0.17115)
    assert second.power_w == pytest.approx(0.5)
    assert observer.counters()["rapl_wraps"] == 1
    assert observer.counters()["ecc_corrected"] == 3
    observer.close()


def test_hottest_package_and_no_other_sensor(tmp_path):
    observer = CpuObserver([], xeon(tmp_path))
    reading = observer.read(observer._last_ns + SECOND)
    assert reading.temperature_degc == 55.0
    assert observer.counters()["scaling_cur_hz"] == 3.0e9
    assert reading.clock_hz is None, "the governor's figure is a hint, never the held clock"
    assert reading.counters == {}
    assert observer.read(observer._last_ns + 1).temperature_degc is None, "slow sensors wait half a second"
    observer.close()


def test_throttling_is_told_once(tmp_path):
    root = xeon(tmp_path)
    path = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    trees.put(root, {path: "7"})
    observer = CpuObserver([], root)
    start = observer._last_ns
    assert observer.read(start).counters == {}
    trees.put(root, {path: "9"})
    assert observer.read(start + SECOND).counters == {"thermal_throttle_new": 2.0}
    assert observer.read(start + 2 * SECOND).counters == {}
    assert observer.counters()["thermal_throttle"] == 9
    observer.close()


def test_grace_meters_the_socket_not_the_module(tmp_path):
    root = trees.put(trees.grace(tmp_path), {"proc/stat": stat()})
    observer = CpuObserver([], root)
    reading = observer.read(observer._last_ns + SECOND)
    assert reading.power_w == pytest.approx(61.0)
    assert reading.temperature_degc == 47.5
    assert "energy_j" in observer.absent()
    assert "power_w" not in observer.absent()
    observer.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_energy_that_only_root_may_read(tmp_path):
    root = xeon(tmp_path)
    (root / "sys/class/powercap/intel-rapl:1/energy_uj").chmod(0)
    sensors = cpu_sensors.find([0], root)
    assert sensors.power.packages == []
    assert "root only" in sensors.absent["energy_j"]


def test_permission_is_told_apart(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("effbench.device.files.os.open", refuse)
    sensors = cpu_sensors.find([0], xeon(tmp_path))
    assert "root only" in sensors.absent["energy_j"]
    assert sensors.absent["power_w"] == sensors.absent["energy_j"]


def test_open_file_is_read_afresh_and_closed_once(tmp_path):
    path = tmp_path / "number"
    path.write_text("5\n")
    file = OpenFile(path)
    path.write_text("6\n")
    assert file.integer() == 6
    path.write_text("<odd>\n")
    assert file.integer() is None
    file.close()
    file.close()
    assert file.integer() is None


def test_a_stranger_is_seen_on_this_machine():
    """A busy loop in a process that nobody named is foreign; named, it is ours."""
    spin = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    observer = CpuObserver([])
    child = subprocess.Popen([sys.executable, "-c", spin])
    try:
        time.sleep(0.5)
        observer.read(time.monotonic_ns())
        time.sleep(0.8)
        strange = observer.read(time.monotonic_ns())
        before = observer._time.tree.spent_s()
        observer.watch([child.pid])
        time.sleep(0.8)
        own_s = observer._time.tree.spent_s() - before
    finally:
        child.kill()
        child.wait()
        observer.close()
    cores = observer.accelerator().cpu.cores_usable
    assert strange.foreign * cores > 0.2
    assert own_s > 0.1
