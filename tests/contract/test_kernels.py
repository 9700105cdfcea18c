"""Every kernel of the folder, found by walking it, keeps the contract: pure counts, known metrics, a simulated run."""

import importlib
import math
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import kernels
from effbench.kernels.contract import is_team
from effbench.kernels.virtual import VirtualRig, fake_step
from effbench.model.error import InputError, SiteError
from effbench.model.inventory import Accelerator, CpuFacts, Part
from effbench.model.plan import Placement, Trial
from effbench.model.suite import Procedure

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"(compute|memory|train|infer|host|link|scale|storage|power|health|quality)(\.[a-z0-9_]+){1,6}")
MADE_OF = {
    "flop",
    "hardware_flop",
    "memory_bytes",
    "link_bytes",
    "payload_bytes",
    "items",
    "time",
    "p50",
    "p99",
    "fraction",
    "hardware_fraction",
    "memory_fraction",
}
PEAKS = {None, "bandwidth", "fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"}


def cpu(*flags: str, **more: Any) -> Accelerator:
    facts = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", list(flags), 2.0, 2, 2, [0, 1])
    return Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", 24 << 30, 32 << 20, cpu=facts, **more)


def gpu(capability: str, **more: Any) -> Accelerator:
    return Accelerator(
        "gpu0", "gpu", "nvidia", "a GPU", "fake", 141 << 30, 50 << 20, compute_capability=capability, **more
    )


HOPPER = Part(
    "nvidia-h200-sxm",
    "H200",
    "high",
    "datasheet",
    "2024-11-18",
    "0",
    peak_flops={"bf16": 989.4e12, "fp8": 1978.9e12, "int8": 1978.9e12, "tf32": 494.7e12, "fp32": 66.9e12},
    memory_bandwidth=4.8e12,
)
ZEN4 = Part(
    "cpu-zen4",
    "Zen 4",
    "medium",
    "measured",
    "2026-11-10",
    "0",
    flops_per_clock={"fp64": 16, "fp32": 32, "bf16": 64},
    emulated=["fp16", "fp8"],
)
DEVICES = {
    "zen4": cpu("avx512_bf16", "avx512_vnni", part=ZEN4),
    "plain-cpu": cpu("avx2"),
    "hopper": gpu("9.0", part=HOPPER, sm_count=132),
    "volta": gpu("7.0"),
    "nameless-gpu": gpu(""),
}


def module(name: str) -> Any:
    return kernels.load(name)


def trial_of(name: str, params: Any, accelerator: Accelerator) -> Trial:
    kernel = module(name)
    return Trial(
        id=f"{name}@{accelerator.key}",
        workload=name,
        kernel=name,
        kernel_version=kernel.VERSION,
        params=msgspec.to_builtins(params),
        placement=Placement([accelerator.key]),
        procedure=Procedure(),
        work=kernel.work(params),
        outputs=kernel.outputs(params),
        trial_key="",
        deadline_s=10.0,
        expected_s=1.0,
    )


def variants(name: str) -> list[Any]:
    """The default parameters, and each enumerated field at each of its values."""
    kernel = module(name)
    found = [kernel.Params()]
    for field in msgspec.structs.fields(kernel.Params):
        for value in values_of(field.type):
            try:
                found.append(msgspec.convert({field.name: value}, kernel.Params))
            except msgspec.ValidationError:
                continue
    return found


def values_of(type_: Any) -> list[Any]:
    options = [type_, *getattr(type_, "__args__", ())]
    return [value for option in options for value in getattr(option, "__args__", ()) if isinstance(value, (str, int))]


each_kernel = pytest.mark.parametrize("name", kernels.names())
each_device = pytest.mark.parametrize("device", DEVICES)


def test_the_walk_finds_exactly_the_modules_that_define_params_and_build():
    found = set()
    for info in pkgutil.iter_modules(kernels.__path__):
        loaded = importlib.import_module(f"effbench.kernels.{info.name}")
        if hasattr(loaded, "Params") and hasattr(loaded, "build"):
            found.add(info.name)
    assert found == set(kernels.names())
    assert not found & {"contract", "rig", "group", "virtual", "verify", "probe", "inputs", "transformer"}
    assert {"gemm", "stream", "known_truth"} <= found


def test_an_unknown_kernel_is_answered_with_the_nearest_name_and_all_of_them():
    with pytest.raises(InputError, match=r"no kernel 'gem'\. Did you mean gemm\?.*stream"):
        kernels.load("gem")


def test_a_kernel_of_another_package_is_found_by_its_entry_point(monkeypatch):
    good, bad = types.ModuleType("elsewhere_good"), types.ModuleType("elsewhere_bad")
    for needed in ("Params", "build", "work", "outputs"):
        setattr(good, needed, object())

    class Point:
        def __init__(self, loaded):
            self._loaded = loaded

        def load(self):
            return self._loaded

    monkeypatch.setattr(kernels, "_foreign", lambda: {"elsewhere": Point(good), "broken": Point(bad)})
    kernels.names.cache_clear()
    try:
        assert {"elsewhere", "gemm"} <= set(kernels.names())
        assert kernels.load("elsewhere") is good
        with pytest.raises(InputError, match="lacks Params, build, work, outputs"):
            kernels.load("broken")
    finally:
        kernels.names.cache_clear()


def test_everything_but_building_runs_without_torch():
    code = (
        "import sys\n"
        "from tests.contract import test_kernels as t\n"
        "for name in t.kernels.names():\n"
        "    kernel = t.kernels.load(name)\n"
        "    for device in t.DEVICES.values():\n"
        "        p = kernel.fit(kernel.Params(), device)\n"
        "        kernel.work(p), kernel.outputs(p), kernel.label(p), kernel.support(p, device)\n"
        "    t.kernels.digest(name)\n"
        "print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@each_kernel
def test_a_kernel_describes_itself_and_has_strict_parameters(name):
    kernel = module(name)
    assert len(kernel.__doc__.strip()) > 80
    assert isinstance(kernel.VERSION, int) and kernel.VERSION >= 1
    assert issubclass(kernel.Params, msgspec.Struct)
    assert kernel.Params.__struct_config__.frozen
    assert kernel.Params.__struct_config__.forbid_unknown_fields
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"no_such_field": 1}, kernel.Params)
    for needed in ("fit", "work", "support", "outputs", "label", "build"):
        assert getattr(kernel, needed).__doc__, f"{name}.{needed} has no docstring"


@each_kernel
def test_a_team_kernel_says_so_takes_ranks_and_refuses_to_be_built_alone(name):
    kernel = module(name)
    assert is_team(kernel) == ("ranks" in kernel.Params.__struct_fields__)
    if not is_team(kernel):
        return
    accelerator = DEVICES["zen4"]
    params = kernel.fit(kernel.Params(), accelerator)
    with pytest.raises(SiteError, match="team"):
        kernel.build(params, VirtualRig(accelerator, 1))


@each_kernel
def test_the_digest_names_the_source(name):
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", kernels.digest(name))
    assert kernels.digest(name) == kernels.digest(name)


@each_device
@each_kernel
def test_fit_fills_everything_and_fitting_again_changes_nothing(name, device):
    kernel, accelerator = module(name), DEVICES[device]
    for params in variants(name):
        fitted = kernel.fit(params, accelerator)
        open_fields = [field for field in fitted.__struct_fields__ if getattr(fitted, field) is None]
        assert open_fields == []
        assert kernel.fit(fitted, accelerator) == fitted == kernel.fit(params, accelerator)
        assert msgspec.convert(msgspec.to_builtins(fitted), kernel.Params) == fitted
        asked = {f: getattr(params, f) for f in params.__struct_fields__ if getattr(params, f) is not None}
        assert {f: getattr(fitted, f) for f in asked} == asked, "fit changed what was asked for"


@each_device
@each_kernel
def test_work_outputs_support_and_label_are_well_formed(name, device):
    kernel, accelerator = module(name), DEVICES[device]
    labels = []
    for params in variants(name):
        fitted = kernel.fit(params, accelerator)
        work = kernel.work(fitted)
        counts = msgspec.structs.asdict(work).values()
        assert all(math.isfinite(count) and count >= 0 for count in counts)
        support = kernel.support(fitted, accelerator)
        assert support.skip is None or support.skip.startswith("not applicable: ")
        labels.append(kernel.label(fitted))
        assert re.fullmatch(r"[A-Za-z0-9_.+-]+", labels[-1])
        outputs = kernel.outputs(fitted)
        assert outputs
        for output in outputs:
            check_output(output, work)
    assert len(set(labels)) > 1 or len(variants(name)) == 1


def check_output(output: Any, work: Any) -> None:
    assert KEY.fullmatch(output.key), output.key
    assert output.of in MADE_OF or re.fullmatch(r"fact:[a-z0-9_]+", output.of), output.of
    assert output.peak in PEAKS
    if output.of in ("flop", "hardware_flop", "memory_bytes", "link_bytes", "payload_bytes", "items"):
        assert getattr(work, output.of) > 0, f"{output.key} is made of {output.of}, of which there is none"
    if output.fractions:
        assert output.key.rsplit(".", 1)[1] in ("flops", "bandwidth")
    if output.headline is not None:
        assert KEY.fullmatch(output.headline)
        assert output.headline.rsplit(".", 1)[1] == output.key.rsplit(".", 1)[1]


@each_device
@each_kernel
def test_every_metric_has_a_row_with_a_unit(name, device):
    metrics = pytest.importorskip("effbench.catalog.metrics")
    kernel, accelerator = module(name), DEVICES[device]
    for params in variants(name):
        for output in kernel.outputs(kernel.fit(params, accelerator)):
            for key in filter(None, (output.key, output.headline)):
                assert metrics.lookup(key) is not None, f"{key} has no row in metrics.yaml"


@each_device
@each_kernel
def test_a_simulated_device_runs_every_kernel(name, device):
    kernel = module(name)
    accelerator = msgspec.structs.replace(DEVICES[device], simulated=True, torch_device="fake")
    for params in variants(name):
        fitted = kernel.fit(params, accelerator)
        if kernel.support(fitted, accelerator).skip:
            continue
        trial = trial_of(name, fitted, accelerator)
        rig = VirtualRig(accelerator, 1, 0, real_share=0.0)
        step = fake_step(kernel, fitted, trial, rig, 0, {})
        timing = rig.time(step.run, 0, 3)
        assert math.isfinite(timing.device_s) and timing.device_s > 0
        assert step.verify().ok
        assert step.fingerprint() == step.fingerprint()
        facts = step.facts()
        assert all(math.isfinite(value) for value in facts.values())
        wanted = {o.of.removeprefix("fact:") for o in trial.outputs if o.of.startswith("fact:")}
        assert wanted <= set(facts)
        step.close()


@each_kernel
def test_simulated_times_repeat_and_differ_between_rounds(name):
    kernel = module(name)
    accelerator = msgspec.structs.replace(DEVICES["hopper"], simulated=True)
    params = kernel.fit(kernel.Params(), accelerator)
    trial = trial_of(name, params, accelerator)

    def times(round_number: int) -> list[float]:
        rig = VirtualRig(accelerator, 7, round_number, real_share=0.0)
        step = fake_step(kernel, params, trial, rig, round_number, {})
        return [rig.time(step.run, i, 1).device_s for i in range(5)]

    assert times(0) == times(0)
    assert times(0) != times(1)


def test_every_parameter_type_is_listed_for_whoever_checks_suites():
    listed = kernels.params()
    assert set(listed) == set(kernels.names())
    assert listed["gemm"] is module("gemm").Params
