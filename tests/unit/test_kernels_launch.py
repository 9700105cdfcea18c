"""Launch latency: its counter proves every launch; graph capture keeps the documented order on a fake `torch.cuda`."""

from typing import Any

import msgspec
import pytest

from effbench.kernels import cuda_graph, launch_latency
from effbench.kernels.launch_latency import Params
from effbench.model.error import SiteError
from tests.unit import fake_cuda
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")


class Graph:
    """A replay launches again."""

    def __init__(self, launch: Any) -> None:
        self.replay = launch


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "capture", lambda launch, pool=None: Graph(launch))


@pytest.mark.parametrize("how", ["async", "sync", "graph"])
def test_every_launch_is_counted(how: Any) -> None:
    step = launch_latency.build(Params(how=how), cpu_rig())
    for i in range(3):
        step.run(i)
    assert int(step.counter) == 3
    verdict = step.verify()
    assert verdict.ok
    assert verdict.error == 0
    assert step.fingerprint() == 10
    assert step.facts() == {}
    assert "launch" in step.texts()
    step.close()


@pytest.mark.parametrize(("how", "waits"), [("async", 0), ("sync", 5), ("graph", 0)])
def test_only_sync_waits(how: Any, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = launch_latency.build(Params(how=how), cpu_rig())
    seen: list[int] = []
    monkeypatch.setattr(step.rig, "synchronize", lambda: seen.append(1))
    for i in range(5):
        step.run(i)
    assert len(seen) == waits


def test_a_lost_launch_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    step = launch_latency.build(Params(), cpu_rig())
    real = step.run
    monkeypatch.setattr(step, "run", lambda i: real(i) if i != 50 else None)
    verdict = step.verify()
    assert not verdict.ok
    assert verdict.detail == "100 launches counted as 99"
    assert verdict.error == pytest.approx(0.01)


def test_a_graph_that_cannot_be_captured_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(launch: Any) -> Any:
        raise RuntimeError("capture is not supported\ntrace")

    monkeypatch.setattr(cuda_graph, "capture", refuse)
    with pytest.raises(SiteError, match=r"^CUDA graphs unavailable: capture is not supported$"):
        launch_latency.build(Params(how="graph"), cpu_rig())


def test_support_work_outputs_label() -> None:
    assert str(launch_latency.support(Params(), cpu()).skip).startswith("not applicable: nothing is launched on a CPU")
    assert launch_latency.support(Params(), gpu()).skip is None
    assert launch_latency.work(Params()).items == 1
    assert launch_latency.fit(Params(how="sync"), gpu()) == Params(how="sync")
    for how in ("async", "sync", "graph"):
        (output,) = launch_latency.outputs(Params(how=how))  # type: ignore[arg-type]
        assert (output.key, output.of) == (f"host.launch.{how}.latency", "time")
    assert launch_latency.label(Params(how="graph")) == "graph"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"how": "eager"}, Params)


def test_capture_warms_up_on_a_side_stream_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    log = fake_cuda.install(monkeypatch)
    cuda_graph.capture(lambda: log.append("launch"), pool="shared")
    assert log == [
        "side0 waits for main",
        "on side0",
        *["launch"] * cuda_graph.WARM_UPS,
        "off side0",
        "main waits for side0",
        "synchronize",
        "capture pool=shared",
        "launch",
        "captured",
    ]
