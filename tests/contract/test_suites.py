"""Every suite and policy that travels with effbench: valid, within its budget, and every figure it yields explained."""

import itertools
from typing import Any

import msgspec
import pytest

from effbench import kernels, resources
from effbench.catalog import schema
from effbench.catalog.accelerators import catalog
from effbench.catalog.metrics import lookup
from effbench.catalog.policies import load_policy
from effbench.catalog.suites import load_suite
from effbench.model.inventory import Accelerator, CpuFacts, Inventory
from effbench.model.suite import Suite
from effbench.run.plan import make

SUITES = resources.names("workloads")
POLICIES = resources.names("policies")
GPU = Accelerator(
    key="gpu0",
    kind="gpu",
    vendor="nvidia",
    name="NVIDIA H200",
    torch_device="cuda:0",
    memory_bytes=143_771 << 20,
    llc_bytes=50 << 20,
    sm_count=132,
    compute_capability="9.0",
    part=catalog().part("nvidia-h200-sxm"),
)
CPU = Accelerator(
    key="cpu",
    kind="cpu",
    vendor="amd",
    name="AMD EPYC",
    torch_device="cpu",
    memory_bytes=16 << 30,
    llc_bytes=32 << 20,
    cpu=CpuFacts(
        "AuthenticAMD", 25, 17, "AMD EPYC", ["avx512_bf16", "avx512_vnni"], 4, 4, 4, [0, 1, 2, 3], virtual=True
    ),
    part=catalog().part("cpu-zen4"),
)
DEVICES = [GPU, CPU]


def load(name: str) -> Suite:
    return load_suite(resources.find("workloads", name), kernels.params())


def trials(suite: Suite, device: Accelerator) -> list[tuple[str, Any, Any, Any]]:
    """(workload id, kernel, fitted params, procedure) of every trial that is applicable on `device`."""
    found = []
    for workload in suite.workloads:
        if workload.on is not None and device.kind not in workload.on:
            continue
        kernel = kernels.load(workload.kernel)
        for values in itertools.product(*workload.axes.values()):
            asked = {**workload.params, **dict(zip(workload.axes, values, strict=True))}
            params = kernel.fit(msgspec.convert(asked, kernel.Params), device)
            if kernel.support(params, device).skip is None:
                found.append((workload.id, kernel, params, workload.procedure or suite.procedure))
    return found


CASES = [pytest.param(name, device, id=f"{name}-{device.key}") for name in SUITES for device in DEVICES]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_is_valid_and_named_after_its_file(name: str) -> None:
    suite = load(name)
    assert suite.name == name and set(suite.rounds) == set(suite.budget_s)


@pytest.mark.parametrize(("name", "device"), CASES)
def test_every_suite_plans_within_its_budget(name: str, device: Accelerator) -> None:
    """Its least number of rounds, with starting workers, building buffers and verifying results, as the plan counts."""
    plan = make(load(name), Inventory("node", [device]), [device], "sha256:0")
    assert 0 < plan.expected_s <= plan.budget_s, f"{plan.expected_s:.0f} s planned, {plan.budget_s:.0f} s allowed"
    assert len({trial.id for trial in plan.trials}) == len(plan.trials)


@pytest.mark.parametrize(("name", "device"), CASES)
def test_every_figure_that_a_suite_yields_is_explained(name: str, device: Accelerator) -> None:
    missing = set()
    for _, kernel, params, _ in trials(load(name), device):
        for output in kernel.outputs(params):
            keys = [output.key, *([output.headline] if output.headline else [])]
            if output.fractions:
                keys += [
                    f"{key.rsplit('.', 1)[0]}.{share}"
                    for key in list(keys)
                    for share in ("fraction_of_rated_peak", "fraction_at_held_clock", "fraction_of_reference")
                    if not (share == "fraction_at_held_clock" and output.peak == "bandwidth")
                    and not (share != "fraction_of_reference" and output.peak is None)
                ]
            missing.update(key for key in keys if lookup(key) is None)
    assert not missing


@pytest.mark.parametrize(("name", "device"), CASES)
def test_no_figure_comes_from_two_trials(name: str, device: Accelerator) -> None:
    """Only headlines repeat the best of several trials; every other key names one trial.

    A workload with an energy window of its own runs once, beside the one that is measured in every round: its speed is
    left out of the scorecard in favour of the other's.
    """
    if name.startswith("selftest/"):
        pytest.skip("a self-test measures one metric at several known times, and is never scored")
    owners: dict[str, str] = {}
    once = {w.id for w in load(name).workloads if w.rounds == 1 and w.procedure is not None and w.procedure.energy}
    for workload, kernel, params, _ in trials(load(name), device):
        if workload in once:
            continue
        for output in kernel.outputs(params):
            assert owners.setdefault(output.key, workload) == workload
            owners[output.key] = f"{workload}, taken"


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.key)
def test_quick_measures_what_the_node_policy_requires(device: Accelerator) -> None:
    policy = load_policy(resources.find("policies", "node-2026"))
    section = policy.gpu if device.kind == "gpu" else policy.cpu
    made = set()
    for _, kernel, params, _ in trials(load("node/quick"), device):
        for output in kernel.outputs(params):
            made |= {key.rsplit(".", 1)[0] for key in (output.key, output.headline) if key}
    for domain in section.domains:
        for rule in domain.metrics:
            if rule.required:
                assert any(key.rsplit(".", 1)[0] in made for key in rule.any_of), rule.any_of


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_is_valid_and_named_after_its_file(name: str) -> None:
    policy = load_policy(resources.find("policies", name))
    assert policy.name == name


def test_the_levels_of_the_contract() -> None:
    """INTERFACES section 7."""
    quick, standard, full = (load(f"node/{level}") for level in ("quick", "standard", "full"))
    assert (quick.budget_s, quick.rounds["gpu"].min, quick.rounds["cpu"].min) == ({"gpu": 60, "cpu": 180}, 2, 3)
    assert standard.budget_s == {"gpu": 300, "cpu": 600} and min(r.min for r in standard.rounds.values()) >= 3
    assert full.budget_s == {"gpu": 1800, "cpu": 1800}
    soak = next(w for w in full.workloads if w.id == "gemm-bf16")
    assert soak.procedure is not None and soak.procedure.duration_s * full.rounds["gpu"].min >= 600


def test_the_generated_schema_is_current() -> None:
    target = resources.folder("workloads") / "schema.json"
    assert schema.main(["--check"], target) == 0
