"""Stream: the byte convention, the ladder by cache size, and every operation for real with wrong results seen."""

import msgspec
import pytest

from effbench.kernels import stream
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

OPS = ["copy", "triad", "read", "write"]


def small(op, dtype="fp32", elements=1 << 16):
    return stream.Params(op=op, dtype=dtype, array_bytes=elements * stream.ELEMENT_BYTES[dtype])


@pytest.mark.parametrize(("op", "arrays", "flop"), [("copy", 2, 0), ("triad", 3, 2), ("read", 1, 1), ("write", 1, 0)])
def test_bytes_follow_the_stream_convention(op, arrays, flop):
    work = stream.work(stream.Params(op=op, array_bytes=1 << 20))
    assert work.memory_bytes == arrays << 20
    assert work.flop == flop * (1 << 18)


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("op", OPS)
def test_every_operation_is_right_and_repeats_its_bits(op, dtype):
    step = stream.build(small(op, dtype, 100_000 // 16 * 16), cpu_rig())
    verdict = step.verify()
    assert verdict.ok, verdict
    assert step.fingerprint() == step.fingerprint()
    step.run(1)
    assert step.verify() == verdict
    assert "STREAM convention" in step.texts()["bytes"]
    step.close()


@pytest.mark.parametrize("op", ["copy", "triad", "write"])
@pytest.mark.parametrize("place", [0, 12_345, (1 << 16) - 1])
def test_one_wrong_element_is_seen(op, place):
    step = stream.build(small(op), cpu_rig())
    run = step.run
    step.run = lambda i: (run(i), step._out[place].mul_(1.001))
    verdict = step.verify()
    assert not verdict.ok
    assert verdict.detail


@pytest.mark.parametrize("op", OPS)
def test_an_operation_that_does_nothing_is_seen(op):
    step = stream.build(small(op), cpu_rig())
    step.run = lambda i: None
    verdict = step.verify()
    assert not verdict.ok


def test_a_sum_over_half_of_the_array_is_seen():
    step = stream.build(small("read"), cpu_rig())
    step.run = lambda i: torch.sum(step._sources[0][: 1 << 15], dim=0, keepdim=True, out=step._out)
    assert not step.verify().ok


@pytest.mark.parametrize(
    ("accelerator", "size"),
    [
        (cpu(llc_bytes=32 << 20, memory_bytes=24 << 30), 128 << 20),
        (cpu(llc_bytes=33 << 20, memory_bytes=24 << 30), 256 << 20),
        (cpu(llc_bytes=0, memory_bytes=24 << 30), 64 << 20),
        (cpu(llc_bytes=1152 << 20, memory_bytes=512 << 30), 8 << 30),
        (cpu(llc_bytes=1152 << 20, memory_bytes=16 << 30), 1 << 30),
        (gpu(), 1 << 30),
        (msgspec.structs.replace(gpu(288e9), llc_bytes=256 << 20), 1 << 30),
        (gpu(8e9), 256 << 20),
    ],
)
def test_arrays_are_four_times_the_cache_within_a_sixteenth_of_the_memory(accelerator, size):
    params = stream.fit(stream.Params(), accelerator)
    assert params.array_bytes == size
    assert stream.support(params, accelerator).skip is None


def test_what_does_not_fit_is_said(monkeypatch):
    assert "half of the memory" in stream.support(stream.Params(array_bytes=4 << 30), cpu()).skip
    rig = cpu_rig()
    monkeypatch.setattr(rig, "free_bytes", lambda: 4096)
    with pytest.raises(SiteError, match="4096 are free"):
        stream.build(small("copy"), rig)


@pytest.mark.parametrize("wrong", [{"op": "scale"}, {"array_bytes": 0}, {"array_bytes": 100}, {"dtype": "bf16"}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, stream.Params)
