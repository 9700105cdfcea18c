"""Matching devices to rows: exact names, cross-checks, slices, CPUs by flags, and the cost of it."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from effbench.catalog.accelerators import catalog, digest, match
from effbench.model.inventory import Accelerator, CpuFacts

H200_BYTES = 143_771 * 2**20
ZEN4_FLAGS = ["avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "hypervisor"]
AMX_FLAGS = ["avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8"]


def gpu(**changes: Any) -> Accelerator:
    whole = Accelerator(
        key="gpu0",
        kind="gpu",
        vendor="nvidia",
        name="NVIDIA H200",
        torch_device="cuda:0",
        memory_bytes=H200_BYTES,
        llc_bytes=0,
        sm_count=132,
        compute_capability="9.0",
    )
    return msgspec.structs.replace(whole, **changes)


def cpu(
    vendor: str = "AuthenticAMD",
    family: int = 25,
    model: int = 17,
    flags: list[str] = ZEN4_FLAGS,
    isa: str = "x86_64",
    name: str = "AMD EPYC",
) -> Accelerator:
    facts = CpuFacts(vendor, family, model, name, flags, 2, 2, 2, [0, 1], isa=isa)
    return Accelerator("cpu", "cpu", "x", name, "cpu", 8 << 30, 32 << 20, cpu=facts)


def codes(accelerator: Accelerator) -> list[str]:
    return [finding.code for finding in match(accelerator)[1]]


def test_a_whole_h200_is_known_with_its_peaks() -> None:
    part, findings = match(gpu())
    assert part is not None and part.id == "nvidia-h200-sxm" and findings == []
    assert part.peak_flops["bf16"] == 989.4e12 and part.peak_flops["fp64_tensor"] == 66.9e12
    assert part.memory_bandwidth == 4.8e12 and part.flops_per_clock["bf16"] == 4096
    assert part.peak_confidence["bf16"] == "high" and part.peak_confidence["fp16_vector"] == "low"
    assert part.clock_hz == 1.83e9 and part.power_w == 700 and part.sm_count == 132


def test_what_a_view_does_not_have_is_not_held_against_the_device() -> None:
    part, _ = match(gpu(sm_count=None, compute_capability=""))
    assert part is not None and part.id == "nvidia-h200-sxm"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sm_count": 114}, "132 units"),
        ({"compute_capability": "8.0"}, "capability 9.0"),
        ({"memory_bytes": 80 << 30}, "141 GB"),
        ({"memory_bytes": 200 << 30}, "141 GB"),
    ],
)
def test_a_contradiction_means_unknown(changes: dict[str, Any], said: str) -> None:
    part, (finding,) = match(gpu(**changes))
    assert part is None and finding.code == "identity-mismatch" and finding.severity == "error"
    assert said in finding.message and finding.device == "gpu0"


@pytest.mark.parametrize(
    "name",
    ["NVIDIA H100-80C", "GRID A100D-80C", "NVIDIA A40-12Q", "NVIDIA H100XM-4-40C", "NVIDIA A16-2B"],
)
def test_virtual_gpus_never_match(name: str) -> None:
    part, (finding,) = match(gpu(name=name))
    assert part is None and finding.code == "vgpu"


def test_slices_never_match() -> None:
    assert codes(gpu(name="NVIDIA H200 MIG 1g.18gb")) == ["mig-enabled"]
    assert codes(gpu(mig=True)) == ["mig-enabled"]
    assert match(gpu(mig=False))[0] is not None


@pytest.mark.parametrize("name", ["NVIDIA H20", "NVIDIA H2", "NVIDIA H200X", "H200", "nvidia h200", "", "Banana"])
def test_names_match_whole_or_not_at_all(name: str) -> None:
    assert match(gpu(name=name))[0] is None


def test_every_name_of_the_catalogue_finds_its_own_row() -> None:
    rows = catalog()
    for part_id in rows.ids():
        row = rows.row(part_id)
        for name in row.names:
            size = rows.part(part_id).memory_bytes
            device = gpu(
                name=name,
                memory_bytes=int(size or 0),
                sm_count=row.units,
                compute_capability=row.compute_capability,
            )
            part, findings = match(device)
            assert part is not None and part.id == part_id, (name, findings)
            assert ("part-low-confidence" in [f.code for f in findings]) == (row.confidence == "low")


def test_a_name_of_two_parts_needs_a_fact_that_decides() -> None:
    both = {"name": "AMD Instinct MI250X/MI250", "memory_bytes": 64 << 30, "compute_capability": ""}
    assert match(gpu(sm_count=104, **both))[0] == catalog().part("amd-mi250-gcd")
    assert match(gpu(sm_count=110, **both))[0] == catalog().part("amd-mi250x-gcd")
    part, (finding,) = match(gpu(sm_count=None, **both))
    assert part is None and finding.code == "part-unknown" and "amd-mi250x-gcd" in finding.message


def test_driver_totals_of_real_boards_agree_with_marketing() -> None:
    """Totals as drivers report them: GiB-based with ECC and driver taken off, or decimal on GDDR with ECC."""
    for name, mib, sm, capability in [
        ("NVIDIA H100 80GB HBM3", 81_559, 132, "9.0"),
        ("NVIDIA A100-SXM4-40GB", 40_536, 108, "8.0"),
        ("NVIDIA B300 SXM6 AC", 275_040, 148, "10.3"),
        ("Tesla T4", 15_109, 40, "7.5"),
        ("NVIDIA A10", 22_731, 72, "8.6"),
        ("NVIDIA GeForce RTX 4090", 24_564, 128, "8.9"),
    ]:
        assert match(gpu(name=name, memory_bytes=mib << 20, sm_count=sm, compute_capability=capability))[0], name


def test_a_weak_row_is_shown_and_says_so() -> None:
    device = gpu(name="NVIDIA A10G", memory_bytes=24 << 30, sm_count=80, compute_capability="8.6")
    part, (finding,) = match(device)
    assert part is not None and part.confidence == "low" and finding.code == "part-low-confidence"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (cpu(), "cpu-zen4"),
        (cpu(flags=["avx2", "fma"]), "cpu-avx2-zen4"),
        (cpu(model=1, flags=["avx2", "fma"]), "cpu-avx2-zen3"),
        (cpu(family=23, model=49, flags=["avx2", "fma"]), "cpu-avx2-zen2"),
        (cpu(family=23, model=1, flags=["avx2", "fma"]), None),
        (cpu(family=26, model=2, flags=ZEN4_FLAGS), "cpu-zen5-server"),
        (cpu(family=26, model=68, flags=ZEN4_FLAGS), None),
        (cpu("GenuineIntel", 6, 143, AMX_FLAGS), "cpu-amx"),
        (cpu("GenuineIntel", 6, 173, [*AMX_FLAGS, "amx_fp16"]), "cpu-amx-fp16"),
        (cpu("GenuineIntel", 6, 143, ["avx2", "avx512f", "avx512_bf16", "avx512_vnni"]), "cpu-avx512-bf16-intel"),
        (cpu("GenuineIntel", 6, 106, ["avx512f", "avx512_vnni"]), "cpu-avx512-2fma"),
        (cpu("GenuineIntel", 6, 85, ["avx512f"]), "cpu-skylake-sp"),
        (cpu("GenuineIntel", 6, 79, ["avx2", "fma"]), "cpu-avx2-intel"),
        (cpu("GenuineIntel", 6, 151, ["avx2", "fma"]), None),
        (cpu("ARM", 8, 0xD4F, ["asimd", "sve"], "aarch64"), "cpu-neoverse-v"),
        (cpu("ARM", 8, 0xD0C, ["asimd"], "aarch64"), "cpu-neoverse-n"),
        (cpu("ARM", 8, 0xD0C, ["asimd"], "x86_64"), None),
        (cpu("AuthenticAMD", 25, 17, ZEN4_FLAGS, name="anything at all"), "cpu-zen4"),
    ],
)
def test_cpus_match_by_vendor_family_model_and_flags(device: Accelerator, expected: str | None) -> None:
    part, findings = match(device)
    assert (part.id if part else None) == expected, findings
    if expected is None:
        assert [f.code for f in findings] == ["part-unknown"]


def test_no_cpu_fits_two_rows() -> None:
    from effbench.catalog.accelerators import _fits

    rows = [catalog().row(part_id) for part_id in catalog().ids()]
    for vendor, isa in (("AuthenticAMD", "x86_64"), ("GenuineIntel", "x86_64"), ("ARM", "aarch64")):
        for family in (6, 8, 23, 25, 26):
            for model in (*range(256), 0xD0C, 0xD40, 0xD49, 0xD4F):
                for flags in (["avx2", "fma"], ZEN4_FLAGS, AMX_FLAGS, [*AMX_FLAGS, "amx_fp16"], ["avx512f"], ["asimd"]):
                    facts = cpu(vendor, family, model, flags, isa).cpu
                    assert facts is not None
                    fitting = [row.id for row in rows if _fits(row, facts)]
                    assert len(fitting) <= 1, (fitting, vendor, family, model, flags)


def test_the_one_fma_row_is_never_found_by_itself() -> None:
    row = catalog().row("cpu-avx512-1fma")
    assert row.match is not None and not row.match.automatic


def test_a_cpu_that_nobody_described_is_unknown() -> None:
    assert codes(msgspec.structs.replace(cpu(), cpu=None)) == ["part-unknown"]


def test_zen4_emulates_what_it_has_no_unit_for() -> None:
    part, _ = match(cpu())
    assert part is not None and set(part.emulated) == {"fp16", "fp8"} and "tf32" not in part.flops_per_clock
    assert (part.flops_per_clock["bf16"], part.flops_per_clock["int8"]) == (64, 128)


def test_firmware_capped_parts_have_no_rate() -> None:
    rows = catalog()
    assert rows.part("nvidia-h20-96gb").flops_per_clock == {}
    assert rows.part("nvidia-rtx-5090-d").flops_per_clock == {}
    assert "fp64" not in rows.part("nvidia-h800-sxm").flops_per_clock
    assert "bf16" in rows.part("nvidia-h800-sxm").flops_per_clock


def test_the_row_digest_names_figures_and_not_sentences(tmp_path: Any) -> None:
    from effbench.catalog import parts

    text = parts._FILE.read_text()
    copy = tmp_path / "a.yaml"
    copy.write_text(text.replace("H200 datasheet via", "The H200 datasheet by way of"))
    assert parts.Catalog(copy).part("nvidia-h200-sxm").row_digest == catalog().part("nvidia-h200-sxm").row_digest
    copy.write_text(text.replace('bandwidth: "4.8 TB/s"', 'bandwidth: "4.9 TB/s"'))
    assert parts.Catalog(copy).part("nvidia-h200-sxm").row_digest != catalog().part("nvidia-h200-sxm").row_digest
    assert parts.Catalog(copy).digest != digest() and digest().startswith("sha256:")


def test_a_lookup_parses_no_more_rows_than_it_must() -> None:
    program = (
        "from effbench.catalog.parts import catalog\n"
        "rows = catalog(); rows.part('nvidia-h200-sxm'); print(len(rows._rows), len(rows.ids()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    parsed, known = map(int, done.stdout.split())
    assert parsed == 1 and known >= 135
