"""Memory fill: every word is checked, errors are counted, and it takes less when less can be had."""

import msgspec
import pytest

from effbench.kernels import memory_fill
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

CHUNK = 1 << 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(memory_fill, "BLOCK_BYTES", {"cpu": 1 << 14, "gpu": 1 << 14})
    monkeypatch.setattr(memory_fill, "HEADROOM_BYTES", 0)
    monkeypatch.setattr(memory_fill, "HEADROOM_SHARE", 0.0)


def built(free=10 * CHUNK, chunk=CHUNK, **params):
    rig = cpu_rig()
    rig.free_bytes = lambda: free
    return memory_fill.build(memory_fill.Params(share=0.9, chunk_bytes=chunk, **params), rig)


def test_the_whole_share_is_verified_and_read_under_the_clock():
    step = built()
    assert step.verify().ok
    assert "verified_bytes" not in step.facts()
    samples = step.samples(30.0)
    facts = step.facts()
    assert facts["verified_bytes"] == 9 * CHUNK
    assert facts["memory_errors"] == 0
    assert facts["patterns_done"] == 2
    assert sum(sample.inner_steps for sample in samples) >= 9
    assert len(samples) >= memory_fill.SAMPLES_MIN
    assert [s.t_ns for s in samples] == sorted(s.t_ns for s in samples)
    assert all(sample.device_s > 0 for sample in samples)
    assert step.verify().ok
    step.close()


@pytest.mark.parametrize("pattern", [0, 1])
def test_one_flipped_bit_anywhere_is_one_error(pattern):
    step = built()
    compare = step._compare

    def corrupting(chunk, number):
        if (chunk, number) == (5, pattern):
            step._chunks[5][777] ^= 1 << 40
        return compare(chunk, number)

    step._compare = corrupting
    step.samples(30.0)
    assert step.facts()["memory_errors"] == 1
    assert step.facts()["verified_bytes"] == 9 * CHUNK - 8
    verdict = step.verify()
    assert not verdict.ok
    assert "1 words" in verdict.detail


def test_aliased_addresses_show():
    step = built()
    write = step._write

    def aliased(chunk, pattern):
        write(chunk, pattern)
        if chunk == 8:
            step._chunks[2].copy_(step._chunks[8])

    step._write = aliased
    step.samples(30.0)
    assert step.facts()["memory_errors"] == 2 * CHUNK // 8


def test_swapped_words_within_a_block_show():
    step = built(patterns=1)
    compare = step._compare

    def swapping(chunk, number):
        words = step._chunks[chunk]
        if chunk == 6:
            words[[3, 900]] = words[[900, 3]]
        return compare(chunk, number)

    step._compare = swapping
    step.samples(30.0)
    assert step.facts()["memory_errors"] == 2


def test_every_word_differs_and_the_second_pattern_is_the_complement_of_the_first():
    step = built()
    step._fill(0, 1e18)
    first = torch.cat(step._chunks).clone()
    assert first.unique().numel() == first.numel()
    step._fill(1, 1e18)
    assert torch.equal(torch.cat(step._chunks), ~first)
    step._fill(2, 1e18)
    assert int((torch.cat(step._chunks) == first).sum()) == 0


def test_chunks_need_not_be_whole_blocks():
    step = built(chunk=3 * 4096, free=40 * 4096)
    step.samples(30.0)
    assert step.facts()["verified_bytes"] == 12 * 3 * 4096
    assert step.facts()["memory_errors"] == 0


def test_an_allocation_that_fails_shrinks_the_share_and_says_so(monkeypatch):
    real, made = torch.empty, []

    def scarce(*args, **kwargs):
        if args == (CHUNK // 8,):
            made.append(1)
            if len(made) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 65536 bytes")
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", scarce)
    step = built()
    step.samples(30.0)
    assert step.facts()["verified_bytes"] == 4 * CHUNK
    assert "can't allocate memory" in step.texts()["extent"]


def test_memory_that_others_need_is_given_up_while_filling():
    step = built()
    step._headroom = 1 << 20
    left = iter([2 << 20, 2 << 20, 2 << 20, 0])
    step._rig.free_bytes = lambda: next(left)
    step._fill(0, 1e18)
    assert len(step._chunks) == 4
    step._rig.free_bytes = lambda: 0
    assert "ran short" in step.texts()["extent"]


def test_headroom_is_left_on_shared_memory(monkeypatch):
    monkeypatch.setattr(memory_fill, "HEADROOM_BYTES", 8 * CHUNK)
    assert built().facts()["asked_bytes"] == 2 * CHUNK
    assert memory_fill._headroom(type("Rig", (), {"accelerator": gpu()})) == 0


def test_nothing_to_be_had_is_a_sentence():
    with pytest.raises(SiteError, match="cannot have one chunk"):
        built(free=100)


def ticking(step, seconds):
    """Let every look at the clock take this long."""
    now = [0.0]

    def later():
        now[0] += seconds
        return now[0]

    step._rig.monotonic = later
    return step


def test_time_that_runs_out_leaves_patterns_out_and_says_so():
    step = ticking(built(patterns=16), 0.05)
    step.samples(5.0)
    assert 1 <= step.facts()["patterns_done"] < 16
    assert step.facts()["verified_bytes"] == 9 * CHUNK
    assert step.facts()["memory_errors"] == 0
    assert "left out for lack of time" in step.texts()["patterns"]


@pytest.mark.parametrize(("seconds", "doing"), [(1.0, "filling"), (0.27, "comparing")])
def test_slow_memory_ends_with_what_was_compared(seconds, doing):
    step = ticking(built(), seconds)
    if doing == "comparing":
        step._fill = lambda pattern, until: [step._write(chunk, pattern) for chunk in range(len(step._chunks))]
    samples = step.samples(20.0 if doing == "filling" else 2.0)
    assert 0 < step.facts()["verified_bytes"] < 9 * CHUNK
    assert step.facts()["memory_errors"] == 0
    assert f"time ran short while {doing}" in step.texts()["extent"]
    assert samples
    assert step.verify().ok


def test_an_error_found_by_a_pattern_that_did_not_end_counts():
    step = built()
    looks = iter([0.0] * 20 + [0.0] * 9 + [0.0] * 4 + [100.0] * 99)
    step._rig.monotonic = lambda: next(looks)
    compare = step._compare
    step._compare = lambda chunk, number: compare(chunk, number) + (number == 1 and chunk == 0)
    step.samples(10.0)
    assert step.facts()["patterns_done"] == 1
    assert step.facts()["memory_errors"] == 1


@pytest.mark.parametrize(
    ("accelerator", "share", "chunk"),
    [
        (gpu(), 0.25, 1 << 30),
        (gpu(8e9), 0.25, 1 << 27),
        (cpu(memory_bytes=24 << 30), 0.25, 1 << 28),
        (cpu(memory_bytes=4 << 30), 0.25, 1 << 27),
    ],
)
def test_the_chunk_goes_by_device_class_and_size(accelerator, share, chunk):
    assert memory_fill.fit(memory_fill.Params(share=share), accelerator).chunk_bytes == chunk


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.0}, {"patterns": 0}, {"chunk_bytes": 1000}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, memory_fill.Params)
