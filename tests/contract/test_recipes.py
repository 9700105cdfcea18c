"""Every recipe that travels with effbench: valid, with a suite and a policy that exist, and the contract's budgets."""

import pytest

from effbench import api, resources
from effbench.catalog.recipes import load_recipe
from effbench.model.inventory import Accelerator
from tests.contract.test_suites import DEVICES, load, trials

RECIPES = resources.names("recipes")
# INTERFACES section 7: s, start to report, on one GPU and on a CPU of up to four cores.
BUDGETS = {
    "node/quick": {"gpu": 60, "cpu": 180},
    "node/standard": {"gpu": 300, "cpu": 600},
    "node/full": {"gpu": 1800, "cpu": 1800},
}


def test_the_levels_have_a_recipe_each() -> None:
    assert {"node-quick", "node-standard", "node-full", "burn-in", "enrolment"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_named_after_its_file_and_leads_somewhere(name: str) -> None:
    recipe = load_recipe(resources.find("recipes", name))
    assert recipe.name == name
    assert api.load_suite(recipe.suite).name == recipe.suite
    assert api.load_policy(recipe.policy).name == recipe.policy
    assert recipe.budget_s == BUDGETS[recipe.suite]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.key)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_measures_what_its_policy_requires(name: str, device: Accelerator) -> None:
    """Else no node could ever pass by it. What is scored of a soak belongs to the figure of the soak's kernel."""
    recipe = load_recipe(resources.find("recipes", name))
    policy = api.load_policy(recipe.policy)
    section = policy.gpu if device.kind == "gpu" else policy.cpu
    made = set()
    for _, kernel, params, _ in trials(load(recipe.suite), device):
        for output in kernel.outputs(params):
            made |= {key.rsplit(".", 1)[0] for key in (output.key, output.headline) if key}
    for domain in section.domains:
        for rule in domain.metrics:
            if rule.required:
                assert any(key.replace(".soak.", ".").rsplit(".", 1)[0] in made for key in rule.any_of), rule.any_of
    for gate in section.gates:
        if gate.on_missing == "not_rated" and not gate.metric.startswith("health."):
            assert gate.metric.replace(".soak.", ".").rsplit(".", 1)[0] in made, gate.metric
