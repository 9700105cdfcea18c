"""The driver's view and torch's view of a GPU are joined by UUID or bus id, in the very form that the probe answers."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from effbench.kernels import probe
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator, Inventory
from effbench.run import site

UUID = "GPU-11111111-2222-3333-4444-555555555555"


def driver_gpu(**changes: Any) -> Accelerator:
    plain = Accelerator("gpu0", "gpu", "nvidia", "NVIDIA H200", "cuda:0", 0, 0, uuid=UUID, pci_bus_id="0000:c1:00.0")
    return msgspec.structs.replace(plain, **changes)


def torch_answer(uuid: str | None = UUID.removeprefix("GPU-"), bus: int = 0xC1) -> bytes:
    """What the probe says of one H200, made by the probe's own code from torch's properties."""
    properties = SimpleNamespace(
        name="NVIDIA H200",
        major=9,
        minor=0,
        multi_processor_count=132,
        total_memory=150 << 30,
        L2_cache_size=60 << 20,
        uuid=uuid,
        pci_bus_id=bus,
        pci_device_id=0,
        pci_domain_id=0,
    )
    cuda = SimpleNamespace(
        get_device_properties=lambda index: properties, mem_get_info=lambda index: (140 << 30, 150 << 30)
    )
    device = probe._device(SimpleNamespace(cuda=cuda), 0)
    return msgspec.json.encode({"torch": "2.13.0", "cuda_built": "13.0", "nccl": "2.28", "devices": [device]})


@pytest.mark.parametrize("answer", [torch_answer(), torch_answer(uuid=None)], ids=["by uuid", "by bus id"])
def test_what_only_torch_knows_is_added(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(site, "ask", lambda *_: answer)
    inventory, (gpu,) = site._cross_checked(Inventory("n", [driver_gpu()]), [driver_gpu()], {})
    assert (gpu.sm_count, gpu.compute_capability, gpu.llc_bytes) == (132, "9.0", 60 << 20)
    assert gpu.memory_bytes == 150 << 30
    assert (inventory.cuda, inventory.nccl) == ("13.0", "2.28")


def test_another_gpu_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch_answer(uuid="99999999-2222-3333-4444-555555555555", bus=0xC2)
    monkeypatch.setattr(site, "ask", lambda *_: other)
    with pytest.raises(SiteError, match=r"the driver lists NVIDIA H200 \(0000:c1:00.0\), but torch 2.13.0"):
        site._cross_checked(Inventory("n", [driver_gpu()]), [driver_gpu()], {})


def test_torchs_own_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    view = {"torch": "2.13.0+cpu", "cuda_absent": "this torch was built without CUDA", "devices": []}
    monkeypatch.setattr(site, "ask", lambda *_: msgspec.json.encode(view))
    with pytest.raises(SiteError, match="built without CUDA"):
        site._cross_checked(Inventory("n", [driver_gpu()]), [driver_gpu()], {})
