"""Storage through fio on tiny files: direct I/O proven, buffered figures named, nothing left behind, clear refusals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench.kernels import checkpoint_write, fio, scratch, storage_io, storage_read, storage_write
from effbench.model.error import InputError, SiteError
from tests.unit.command_line import call
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

pytest.importorskip("torch")

needs_fio = pytest.mark.skipif(fio.find() is None, reason=fio.REMEDY)
MEBI = 1 << 20


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_io, "BURST_S", 0.25)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder on a file system that is not memory."""
    if scratch.direct_refusal(scratch.look(str(tmp_path))):
        pytest.skip("the folder of temporary files takes no direct I/O")
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    yield from mounted(tmp_path / "small", "size=8m")


def mounted(target: Path, options: str) -> Iterator[Path]:
    target.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True, capture_output=True)


def fitted(module: Any, folder: Path, **params: Any) -> Any:
    return module.fit(module.Params(file_bytes=4 * MEBI, folder=str(folder), **params), cpu())


def keys(module: Any, **params: Any) -> set[str]:
    return {output.key for output in module.outputs(module.fit(module.Params(**params), cpu()))}


@needs_fio
@pytest.mark.parametrize("module", [storage_read, storage_write])
@pytest.mark.parametrize(("pattern", "depth"), [("sequential", 4), ("random", 1)])
def test_direct_io_is_timed_verified_and_leaves_nothing(module: Any, pattern: str, depth: int, disk: Path) -> None:
    params = fitted(module, disk, pattern=pattern, depth=depth)
    step = module.build(params, cpu_rig())
    try:
        assert list(disk.iterdir()) == [], "the file has a name"
        samples = step.samples(0.3)
        assert len(samples) == storage_io.BURSTS_MIN
        assert all(sample.inner_steps > 0 and sample.device_s >= 0.2 for sample in samples)
        assert step.verify().ok
        facts, texts = step.facts(), step.texts()
        assert facts["cached_share"] <= storage_io.CACHED_SHARE
        assert facts["moved_bytes"] >= sum(sample.inner_steps for sample in samples) * params.block_bytes
        assert 0 < facts["p99_s"] < 10
        assert texts["io"].startswith("direct") and texts["file_system"] not in scratch.MEMORY_FS
    finally:
        step.close()
    assert list(disk.iterdir()) == []


@needs_fio
def test_buffered_figures_say_so_wherever_they_are_shown(tmp_path: Path) -> None:
    params = fitted(storage_read, tmp_path, direct=False)
    step = storage_read.build(params, cpu_rig())
    step.samples(0.3)
    assert step.texts()["io"].startswith("buffered: through the host's page cache")
    step.close()
    for module in (storage_read, storage_write):
        for pattern in ("sequential", "random"):
            direct, buffered = keys(module, pattern=pattern), keys(module, pattern=pattern, direct=False)
            assert not direct & buffered and all("_buffered." in key for key in buffered)


@needs_fio
def test_direct_io_on_memory_is_refused_when_planned_and_when_run(small: Path) -> None:
    params = fitted(storage_read, small)
    skip = storage_read.support(params, cpu()).skip
    assert skip is not None and "keeps files in memory" in skip and "direct: false" in skip
    with pytest.raises(SiteError, match="keeps files in memory"):
        storage_read.build(params, cpu_rig())
    assert list(small.iterdir()) == []


@needs_fio
def test_a_file_system_that_refuses_direct_io_is_named(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def refusing(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return really(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    params = fitted(storage_write, disk)
    assert "refuses direct I/O" in str(storage_write.support(params, cpu()).skip)
    with pytest.raises(SiteError, match="refuses direct I/O"):
        storage_write.build(params, cpu_rig())
    assert list(disk.iterdir()) == []


@needs_fio
def test_direct_io_that_was_cached_all_the_same_is_no_figure(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = storage_read.build(fitted(storage_read, disk), cpu_rig())
    monkeypatch.setattr(fio, "resident_share", lambda fd, size: 0.5)
    with pytest.raises(SiteError, match="50% of the file is in the page cache"):
        step.samples(0.3)
    step.close()


def test_the_share_in_the_page_cache_is_seen(disk: Path) -> None:
    fd = os.open(disk / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(2 * MEBI), 0)
    assert fio.resident_share(fd, 4 * MEBI) is None or fio.resident_share(fd, 2 * MEBI) == 1.0
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert fio.resident_share(fd, 2 * MEBI) == 0.0
    os.close(fd)


@needs_fio
@pytest.mark.parametrize("direct", [True, False])
def test_a_wrong_block_is_found(direct: bool, disk: Path) -> None:
    step: Any = storage_read.build(fitted(storage_read, disk, direct=direct), cpu_rig())
    os.pwrite(step._fd, b"\xa5" * 4096, 2 * MEBI)
    os.fsync(step._fd)
    verdict = step.verify()
    step.close()
    assert not verdict.ok and "differs" in verdict.detail


@needs_fio
def test_too_little_space_is_said_before_anything_is_written(small: Path) -> None:
    params = storage_write.Params(file_bytes=16 * MEBI, block_bytes=MEBI, direct=False, folder=str(small))
    with pytest.raises(SiteError, match=f"{small} has .* bytes free; {16 * MEBI} are needed"):
        storage_write.build(params, cpu_rig())
    checkpoint = checkpoint_write.Params(parameters=1_600_000, folder=str(small))
    with pytest.raises(SiteError, match="bytes free"):
        checkpoint_write.build(checkpoint, cpu_rig())
    assert list(small.iterdir()) == []


@needs_fio
def test_a_disk_that_fills_up_meanwhile_ends_the_trial_and_leaves_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "look", lying(scratch.look))
    params = storage_write.Params(file_bytes=16 * MEBI, block_bytes=MEBI, direct=False, folder=str(small))
    with pytest.raises(SiteError, match="No space left on device"):
        storage_write.build(params, cpu_rig())
    for writer in ("torch_save", "raw"):
        step = checkpoint_write.build(
            checkpoint_write.Params(writer, parameters=1_600_000, folder=str(small)), cpu_rig()
        )
        with pytest.raises(SiteError, match=f"checkpoint in {small}"):
            step.run(0)
        step.close()
    assert list(small.iterdir()) == []


def lying(look: Any) -> Any:
    return lambda folder: msgspec.structs.replace(look(folder), free_bytes=1 << 40)


def test_a_folder_that_is_missing_or_read_only_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: No such file"):
        scratch.Scratch(str(tmp_path / "nowhere"), 0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        scratch.Scratch(str(tmp_path / "file"), 0)
    for folder in mounted(tmp_path / "sealed", "size=8m,ro"):
        with pytest.raises(InputError, match="sealed: Read-only file system"):
            scratch.Scratch(str(folder), 0)


def test_without_fio_the_trial_is_left_out_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fio, "find", lambda: None)
    params = fitted(storage_read, tmp_path, direct=False)
    assert storage_read.support(params, cpu()).skip == (
        "not applicable: fio is not installed; install fio: apt-get install fio"
    )
    with pytest.raises(SiteError, match="apt-get install fio"):
        storage_read.build(params, cpu_rig())
    assert list(tmp_path.iterdir()) == []


def test_one_device_of_the_node_measures_it() -> None:
    second = msgspec.structs.replace(gpu(), key="gpu1", simulated=True)
    first = msgspec.structs.replace(gpu(), simulated=True)
    for module in (storage_read, checkpoint_write):
        params = module.fit(module.Params(), first)
        assert module.support(params, first).skip is None
        assert "measured once, with gpu0" in str(module.support(params, second).skip)


def test_a_label_names_no_path_and_tells_folders_apart() -> None:
    for module in (storage_read, checkpoint_write):
        names = [module.label(module.fit(module.Params(folder=at), cpu())) for at in ("", "/home/alice", "/home/bob")]
        assert len(set(names)) == 3 and not any("alice" in name for name in names)


SUITE = """\
schema: effbench.suite/1
name: test/storage
purpose: storage in memory and nowhere
rounds: {cpu: {min: 1, max: 1}}
budget_s: {cpu: 120}
procedure: {mode: once, duration_s: 0.5}
workloads:
  - {id: direct, kernel: storage_read, params: {file_bytes: 4194304, folder: FOLDER}}
  - {id: buffered, kernel: storage_read, params: {file_bytes: 4194304, folder: FOLDER, direct: false}}
  - {id: nowhere, kernel: checkpoint_write, params: {parameters: 16000, folder: FOLDER/nowhere}}
"""


@needs_fio
def test_a_run_on_memory_has_buffered_figures_alone_and_says_why(small: Path, tmp_path: Path) -> None:
    suite = tmp_path / "storage.yaml"
    suite.write_text(SUITE.replace("FOLDER", str(small)))
    call("run", suite, "--device", "cpu", "-o", tmp_path / "run")
    record = msgspec.json.decode((tmp_path / "run" / "record.json").read_bytes())
    found = {m["trial"].split(":")[0]: m for m in record["measurements"]}
    assert found["direct"]["status"] == "skipped" and "keeps files in memory" in found["direct"]["detail"]
    assert found["buffered"]["status"] in ("valid", "suspect")
    assert found["nowhere"]["status"] == "failed" and "No such file" in found["nowhere"]["detail"]
    card = msgspec.json.decode((tmp_path / "run" / "scorecard.json").read_bytes())
    keys = {metric["key"] for metric in card["metrics"] if metric["key"].startswith("storage")}
    assert keys == {"storage.read.sequential_buffered.q1.bandwidth"}
    assert list(small.iterdir()) == []


JOB = fio.Job("read", 4096, MEBI, 1, True, "libaio", seconds=0.5)


def answer(**read: Any) -> bytes:
    whole = {"io_bytes": 8192, "total_ios": 2, "runtime": 500, **read}
    return msgspec.json.encode({"jobs": [{"error": 0, "read": whole, "write": {}}]})


def test_what_fio_says_is_read_and_what_it_cannot_have_done_is_refused() -> None:
    burst = fio.read(b"note: a warning\n" + answer(clat_ns={"percentile": {"99.000000": 5e6}}), b"", 0, JOB)
    assert burst == fio.Burst(2, 8192, 0.5, 0.005)
    assert fio.read(answer(), b"", 0, JOB).p99_s is None
    for data, code, why in (
        (b"", 1, "gave no result: it broke"),
        (b"{nonsense", 0, "gave no result"),
        (answer(), 1, "status 1"),
        (answer(total_ios=0), 0, "moved nothing"),
        (answer(runtime=3), 0, "3 ms, too short"),
        (b'{"jobs": []}', 0, "failed"),
    ):
        with pytest.raises(fio.FioError, match=why):
            fio.read(data, b"it broke", code, JOB)
    failed = msgspec.json.encode({"jobs": [{"error": 28, "read": {}, "write": {}}]})
    with pytest.raises(fio.FioError, match="No space left") as caught:
        fio.read(failed, b"", 1, JOB)
    assert caught.value.number == 28


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"block_bytes": 1000}, "multiple of 4096"),
        ({"file_bytes": MEBI + 4096}, "multiple of"),
        ({"engine": "psync", "depth": 2}, "depth 1"),
    ],
)
def test_parameters_that_cannot_be_are_refused(params: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        storage_read.Params(**params)


def test_the_mount_that_holds_a_folder_is_found(tmp_path: Path) -> None:
    (inner := tmp_path / "a b").mkdir()
    table = tmp_path / "mountinfo"
    escaped = str(inner).replace(" ", "\\040")
    table.write_text(
        f"1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n2 1 0:9 / {escaped} ro,noatime shared:1 - nfs4 host:/x rw\nbad\n"
    )
    assert scratch.look(str(inner), table).fs_type == "nfs4"
    assert scratch.look(str(tmp_path), table).fs_type == "ext4"
    assert scratch.look(str(inner), tmp_path / "absent").fs_type == "unknown"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom effbench.kernels.scratch import Scratch\n"
        "s = Scratch(sys.argv[1], 0)\n(s.path / 'data').write_bytes(b'x')\nprint(s.path, flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child:
        left = Path(child.stdout.readline().strip())
        mine = scratch.Scratch(str(tmp_path), 0)
        assert (left / "data").exists() and mine.path.exists(), "a folder in use was removed"
        child.send_signal(signal.SIGKILL)
    again = scratch.Scratch(str(tmp_path), 0)
    assert not left.exists() and mine.path.exists()
    mine.close()
    again.close()
    again.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["torch_save", "raw"])
def test_a_checkpoint_is_durable_read_back_and_removed(writer: Any, tmp_path: Path) -> None:
    params = checkpoint_write.Params(writer, parameters=16_000, folder=str(tmp_path))
    step: Any = checkpoint_write.build(params, cpu_rig())
    samples = step.samples(0.1)
    assert len(samples) >= 2 and checkpoint_write.work(params).link_bytes == 16_000 * 14
    assert step.verify().ok
    assert step.facts()["checkpoint_bytes"] >= step.facts()["state_bytes"] == 16_000 * 14
    assert [path.name for path in step._scratch.path.iterdir()].count("checkpoint") == 1
    step.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["torch_save", "raw"])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_checkpoint_that_reads_back_wrong_is_found(
    writer: Any, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])

    step = checkpoint_write.build(checkpoint_write.Params(writer, parameters=16_000, folder=str(tmp_path)), cpu_rig())
    monkeypatch.setattr(checkpoint_write, "_forget", spoil)
    verdict = step.verify()
    step.close()
    assert not verdict.ok and "differ" in verdict.detail


def test_a_checkpoint_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = checkpoint_write.build(checkpoint_write.Params("raw", parameters=1600, folder=str(tmp_path)), cpu_rig())
    order: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    step.run(0)
    step.close()
    assert order == ["sync", "rename", "sync"]


def test_on_memory_a_checkpoint_is_said_to_be_durable_never(small: Path) -> None:
    step = checkpoint_write.build(checkpoint_write.Params("raw", parameters=1600, folder=str(small)), cpu_rig())
    assert step.texts()["durable"].startswith("never")
    step.close()


@needs_fio
def test_a_killed_process_takes_its_fio_and_its_file_with_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom effbench.kernels import storage_io, storage_read\n"
        "from tests.unit.kernel_devices import cpu_rig\n"
        "storage_io.BURST_S = 30.0\n"
        "p = storage_read.Params(file_bytes=1 << 22, block_bytes=4096, direct=False, folder=sys.argv[1])\n"
        "step = storage_read.build(p, cpu_rig())\nprint('built', flush=True)\nstep.samples(1.0)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    with child:
        assert child.stdout.readline().strip() == "built"
        assert wait_for(lambda: bool(children(child.pid))), "fio was not started"
        tool = children(child.pid)[0]
        child.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not Path(f"/proc/{tool}").exists() or state(tool) == "Z"), "fio outlived its parent"
    assert list(tmp_path.iterdir()) == []


def wait_for(seen: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
