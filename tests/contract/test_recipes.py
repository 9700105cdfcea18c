"""Every recipe that travels with effbench: valid, with a suite and a policy that exist, and the contract's budgets."""

import pytest

from effbench import api, resources
from effbench.catalog.recipes import load_recipe

RECIPES = resources.names("recipes")
# INTERFACES section 7: s, start to report, on one GPU and on a CPU of up to four cores.
BUDGETS = {
    "node/quick": {"gpu": 60, "cpu": 180},
    "node/standard": {"gpu": 300, "cpu": 600},
    "node/full": {"gpu": 1800, "cpu": 1800},
}


def test_the_levels_have_a_recipe_each() -> None:
    assert {"node-quick", "node-standard", "node-full"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_named_after_its_file_and_leads_somewhere(name: str) -> None:
    recipe = load_recipe(resources.find("recipes", name))
    assert recipe.name == name
    assert api.load_suite(recipe.suite).name == recipe.suite
    assert api.load_policy(recipe.policy).name == recipe.policy
    assert recipe.budget_s == BUDGETS[recipe.suite]
