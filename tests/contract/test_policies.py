"""Every policy that travels with effbench can be met by the suite of its recipe: no evidence is asked in vain."""

import functools

import pytest
from test_suites import DEVICES, load, trials

from effbench import resources
from effbench.catalog.policies import load_policy
from effbench.model.inventory import Accelerator

# The lightest suite that gives all of the required evidence.
SUITE_OF = {
    "node-2026": "node/quick",
    "ci-qualification": "node/quick",
    "enrolment-2026": "node/standard",
    "burn-in": "node/full",
}


def stem(key: str) -> str:
    return key.rsplit(".", 1)[0]


@functools.cache
def made(suite: str, device: int) -> set[str]:
    """The stems of all figures that a suite gives on a device, those of its soaks included."""
    found = set()
    for _, kernel, params, procedure in trials(load(suite), DEVICES[device]):
        for output in kernel.outputs(params):
            found |= {stem(key) for key in (output.key, output.headline) if key}
            if procedure.soaks:
                found.add(stem(output.headline or output.key) + ".soak")
    return found


def test_each_shipped_policy_has_its_suite() -> None:
    assert set(SUITE_OF) == set(resources.names("policies"))


@pytest.mark.parametrize("name", SUITE_OF)
@pytest.mark.parametrize("device", range(len(DEVICES)), ids=[d.key for d in DEVICES])
def test_the_suite_gives_what_the_policy_requires(name: str, device: int) -> None:
    kind: Accelerator = DEVICES[device]
    policy = load_policy(resources.find("policies", name))
    section = policy.gpu if kind.kind == "gpu" else policy.cpu
    have = made(SUITE_OF[name], device)
    for domain in section.domains:
        for rule in domain.metrics:
            assert any(stem(key) in have for key in rule.any_of), rule.any_of
    for gate in section.gates:
        asked = gate.on_missing == "not_rated" and not gate.metric.startswith("health.")
        assert not asked or stem(gate.metric) in have, gate.metric


def test_only_a_soak_satisfies_burn_in() -> None:
    policy = load_policy(resources.find("policies", "burn-in"))
    for section, device in ((policy.gpu, 0), (policy.cpu, 1)):
        asked = {stem(gate.metric) for gate in section.gates if ".soak." in gate.metric}
        assert asked and not asked & made("node/standard", device)


def test_a_soak_is_held_to_the_same_limits_by_every_policy() -> None:
    burn, node = (load_policy(resources.find("policies", name)) for name in ("burn-in", "node-2026"))
    for wanted, asked in ((burn.gpu, node.gpu), (burn.cpu, node.cpu)):
        limits = {g.metric: g.threshold for g in asked.gates if ".soak." in g.metric}
        assert limits and limits.items() <= {g.metric: g.threshold for g in wanted.gates}.items()


@pytest.mark.parametrize("name", SUITE_OF)
def test_no_shipped_policy_rates_what_was_not_measured(name: str) -> None:
    policy = load_policy(resources.find("policies", name))
    assert not policy.accepts_simulated and float(policy.coverage_min) >= 0.75
    for section in (policy.gpu, policy.cpu):
        assert {"health.wrong_results", "health.memory_errors"} <= {g.metric for g in section.gates}
        assert all(g.metric.startswith("health.") for g in section.gates if g.on_missing == "ignore")
        assert all(domain.required for domain in section.domains)
