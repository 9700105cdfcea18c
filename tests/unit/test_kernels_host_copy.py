"""Copies over the host link: the logic of lanes and streams on a fake `torch.cuda`, skipped honestly on a CPU."""

from typing import Any

import msgspec
import pytest

from effbench.kernels import host_copy
from effbench.kernels.host_copy import Params
from tests.unit import fake_cuda
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

DIRECTIONS = ["h2d", "d2h", "duplex"]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(host_copy, "host_buffer", lambda words, pinned: torch.zeros(words, dtype=torch.int64))
    return fake_cuda.install(monkeypatch)


def built(direction: str, size: int = 4096, memory: str = "pinned") -> host_copy.HostCopy:
    return host_copy.build(Params(direction=direction, memory=memory, bytes=size), cpu_rig())  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", [8, 4096])
def test_copies_arrive_and_verify(direction: str, size: int, log: list[str]) -> None:
    step = built(direction, size)
    for i in range(4):
        step.run(i)
    verdict = step.verify()
    assert verdict.ok, verdict.detail
    assert verdict.error == 0
    assert step.fingerprint() == step.fingerprint()
    assert step.facts() == {"bytes": size}
    assert step.texts()["memory"] == "pinned"
    step.close()
    assert step.lanes == []


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_wrong_bit_is_seen(direction: str, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    step = built(direction)
    before = step.fingerprint()
    real = step.run

    def flip(i: int) -> None:
        real(i)
        step.lanes[-1].targets[0][77] ^= 1 << 40

    monkeypatch.setattr(step, "run", flip)
    verdict = step.verify()
    assert not verdict.ok
    assert verdict.detail.startswith("1 of ")
    assert step.fingerprint() != before


def test_a_copy_that_never_happens_is_seen(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    step = built("h2d")
    step.run(0)
    monkeypatch.setattr(step, "run", lambda i: None)
    verdict = step.verify()
    assert verdict.error == 1.0
    assert not verdict.ok


def test_sets_rotate(log: list[str]) -> None:
    lane = built("h2d").lanes[0]
    assert not torch.equal(lane.sources[0], lane.sources[1])
    lane.copy(1)
    assert torch.equal(lane.targets[1], lane.sources[1])
    assert not bool(lane.targets[0].any())


def test_directions_are_what_they_say(log: list[str]) -> None:
    assert [lane.upward for lane in built("h2d").lanes] == [True]
    assert [lane.upward for lane in built("d2h").lanes] == [False]
    assert [lane.upward for lane in built("duplex").lanes] == [True, False]


def test_duplex_uses_two_streams_joined_with_the_timed_one(log: list[str]) -> None:
    step = built("duplex")
    log.clear()
    step.run(0)
    assert log == [
        "side0 waits for main",
        "on side0",
        "off side0",
        "side1 waits for main",
        "on side1",
        "off side1",
        "main waits for side0",
        "main waits for side1",
    ]


def test_one_direction_stays_on_the_timed_stream(log: list[str]) -> None:
    step = built("h2d")
    log.clear()
    step.run(0)
    assert log == []


@pytest.mark.parametrize(("memory", "asynchronous"), [("pinned", True), ("pageable", False)])
def test_only_pinned_copies_are_asynchronous(memory: str, asynchronous: bool, log: list[str]) -> None:
    lane = built("h2d", memory=memory).lanes[0]
    asked: list[bool] = []

    class Target:
        def copy_(self, source: Any, non_blocking: bool) -> None:
            asked.append(non_blocking)

    lane.targets = [Target(), Target()]
    lane.copy(0)
    assert asked == [asynchronous]


def test_host_buffers_ask_for_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = torch.empty

    def empty(words: int, dtype: Any, pin_memory: bool) -> Any:
        asked.append(pin_memory)
        return real(words, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    host_copy.host_buffer(4, True)
    host_copy.host_buffer(4, False)
    assert asked == [True, False]


def test_support() -> None:
    assert host_copy.support(Params(), cpu()).skip == "not applicable: a CPU has no host link; a memcpy is not H2D"
    assert host_copy.support(Params(), gpu()).skip is None
    both = Params(direction="duplex", memory="pageable")
    assert str(host_copy.support(both, gpu()).skip).startswith("not applicable: a pageable copy blocks the host")


def test_fit_work_outputs_label() -> None:
    bandwidth = host_copy.fit(Params(direction="duplex"), gpu())
    assert bandwidth.bytes == 256 << 20
    assert host_copy.work(bandwidth).link_bytes == 2 * (256 << 20)
    assert host_copy.label(bandwidth) == "duplex-pinned-268435456"
    (output,) = host_copy.outputs(bandwidth)
    assert (output.key, output.of, output.fractions) == ("host.copy.duplex.pinned.bandwidth", "link_bytes", True)
    latency = host_copy.fit(Params(direction="d2h", memory="pageable", measure="latency"), gpu())
    assert latency.bytes == 8
    assert host_copy.work(latency).link_bytes == 8
    assert [(o.key, o.of) for o in host_copy.outputs(latency)] == [("host.copy.d2h.pageable.latency", "time")]
    assert host_copy.fit(Params(bytes=64), gpu()).bytes == 64
    with pytest.raises(ValueError, match="must be fitted"):
        host_copy.work(Params())


@pytest.mark.parametrize("wrong", [{"bytes": 12}, {"bytes": 0}, {"direction": "sideways"}, {"measure": "both"}])
def test_bad_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Params)


def test_patterns_are_made_independently_and_differ() -> None:
    one, two = host_copy.pattern(1000, "cpu", 0), host_copy.pattern(1000, "cpu", 1)
    assert torch.equal(one, host_copy.pattern(1000, "cpu", 0))
    assert one.unique().numel() == 1000
    assert not torch.equal(one, two)
    assert int(one[2]) == (3 * host_copy.SPREAD + 2**63) % 2**64 - 2**63
