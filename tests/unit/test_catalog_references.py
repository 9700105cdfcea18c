"""References: like protocols only, shares times peaks, the most particular row, and nothing out of nothing."""

from typing import Any

import msgspec
import pytest

from effbench.catalog import references as module
from effbench.catalog.accelerators import catalog
from effbench.catalog.references import PartClass, ReferenceRow, assumed_tau, practical_margin, reference
from effbench.model.inventory import Accelerator, CpuFacts, Pcie
from effbench.model.unit import Unit

ROWS = catalog()
GPU = Accelerator("gpu0", "gpu", "nvidia", "NVIDIA H200", "cuda:0", 143_771 << 20, 0, pcie=Pcie(5, 16, 5, 16))
CPU = Accelerator(
    "cpu",
    "cpu",
    "amd",
    "AMD EPYC",
    "cpu",
    8 << 30,
    32 << 20,
    cpu=CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", [], 2, 2, 2, [0, 1], virtual=True),
)
H200, ZEN4 = ROWS.part("nvidia-h200-sxm"), ROWS.part("cpu-zen4")


def test_a_burst_figure_stands_beside_a_burst_only() -> None:
    key = "compute.gemm.bf16.achievable.flops"
    burst = reference(H200, GPU, key, "burst")
    assert burst is not None and burst.value == 794.5e12 and burst.unit is Unit.FLOP_PER_S
    assert "stas00/ml-engineering @744d01e" in burst.source and not burst.provisional and burst.protocol == "burst"
    assert reference(H200, GPU, key, "sustained") is None
    assert reference(H200, GPU, "compute.gemm.bf16.flops", "burst") is None


def test_a_gpus_share_is_of_its_own_rated_peak() -> None:
    found = reference(H200, GPU, "compute.gemm.bf16.flops", "sustained")
    assert found is not None and found.value == pytest.approx(0.803 * 989.4e12)
    assert found.provisional and found.unit is Unit.FLOP_PER_S


def test_fp64_is_held_against_the_tensor_peak_where_there_is_one() -> None:
    a100 = ROWS.part("nvidia-a100-sxm4-80gb")
    found = reference(a100, GPU, "compute.gemm.fp64.flops", "sustained")
    assert found is not None and found.value == pytest.approx(0.913 * a100.peak_flops["fp64_tensor"])


def test_a_cpus_share_stands_for_itself() -> None:
    found = reference(ZEN4, CPU, "compute.gemm.fp64.flops", "sustained")
    assert found is not None and (found.value, found.unit, found.provisional) == (0.77, Unit.ONE, True)


def test_hbm_has_a_typical_share_and_gddr_has_none() -> None:
    key = "memory.stream.triad.bandwidth"
    found = reference(H200, GPU, key, "sustained")
    assert found is not None and found.value == pytest.approx(0.9 * 4.8e12) and found.provisional
    assert reference(ROWS.part("nvidia-l40s"), GPU, key, "sustained") is None


def test_a_link_is_known_by_its_own_generation() -> None:
    key = "host.copy.h2d.pinned.bandwidth"
    own, other = reference(H200, GPU, key, "sustained"), reference(ROWS.part("nvidia-b200-sxm"), GPU, key, "sustained")
    assert own is not None and not own.provisional
    assert other is not None and other.provisional and other.value == own.value
    narrow = msgspec.structs.replace(GPU, pcie=Pcie(3, 8, 4, 8))
    assert reference(ROWS.part("nvidia-b200-sxm"), narrow, key, "sustained") is None
    unknown = msgspec.structs.replace(GPU, pcie=None)
    assert reference(ROWS.part("nvidia-b200-sxm"), unknown, key, "sustained") is None


def test_a_share_of_a_weak_peak_is_weak() -> None:
    weak = msgspec.structs.replace(H200, peak_confidence={"tf32": "low"})
    found = reference(weak, GPU, "compute.gemm.tf32.flops", "sustained")
    assert found is not None and found.confidence == "low"


def test_nobody_said_means_none() -> None:
    assert reference(ZEN4, CPU, "compute.attention.fwd.d128.flops", "sustained") is None
    assert reference(H200, GPU, "train.step.hfu", "sustained") is None
    no_peak = msgspec.structs.replace(H200, peak_flops={})
    assert reference(no_peak, GPU, "compute.gemm.bf16.flops", "sustained") is None


def _row(**fields: Any) -> ReferenceRow:
    given = {"metric": "memory.stream.triad.bandwidth", "protocol": "sustained", "source": "s", "as_of": "2026-11"}
    return msgspec.convert({**given, "confidence": "medium", **fields}, ReferenceRow)


def test_the_most_particular_row_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        _row(any={"kind": "cpu"}, value="10 GB/s"),
        _row(parts=["cpu-zen4"], share="0.5"),
        _row(parts=["cpu-zen4"], value="20 GB/s"),
        _row(parts=["cpu-zen4"], value="30 GB/s", cores=2, virtual=True),
        _row(parts=["cpu-zen4"], value="40 GB/s", cores=64),
    ]
    monkeypatch.setattr(module, "references", lambda: rows)
    monkeypatch.setattr(module, "_about", module._about.__wrapped__)
    key = "memory.stream.triad.bandwidth"
    found = reference(ZEN4, CPU, key, "sustained")
    assert found is not None and found.value == 30e9 and not found.provisional
    del rows[3]
    found = reference(ZEN4, CPU, key, "sustained")
    assert found is not None and found.value == 20e9
    del rows[2]
    found = reference(ZEN4, CPU, key, "sustained")
    assert found is not None and found.unit is Unit.ONE
    del rows[1]
    found = reference(ZEN4, CPU, key, "sustained")
    assert found is not None and found.value == 10e9


@pytest.mark.parametrize("fields", [{"parts": ["x"]}, {"parts": ["x"], "value": "1", "share": "1"}, {"value": "1"}])
def test_a_row_needs_one_figure_and_one_kind_of_part(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="needs either"):
        _row(**fields)


def test_a_class_fits_by_every_field_given() -> None:
    assert module._in_class(PartClass("gpu", arch="hopper"), H200, GPU)
    assert not module._in_class(PartClass("gpu", arch="ampere"), H200, GPU)
    assert not module._in_class(PartClass("cpu"), H200, GPU)
    assert not module._in_class(PartClass("gpu", vendor="amd"), H200, GPU)


def test_assumed_spreads_are_those_of_the_contract() -> None:
    assert assumed_tau("gpu")[0] == 0.015 and assumed_tau("cpu")[0] == 0.05
    assert (practical_margin("gpu"), practical_margin("cpu")) == (0.03, 0.10)
    assert all(assumed_tau("gpu")[1:])
