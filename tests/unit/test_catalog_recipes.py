"""Recipes: every mistake at its line, files beside a recipe are found, and nothing hostile gets through."""

from pathlib import Path

import pytest

from effbench.catalog.recipes import digest, load_recipe
from effbench.model.error import CatalogError

GOOD = """\
schema: effbench.recipe/1
name: site
purpose: for tests
suite: node/quick
policy: node-2026
launcher: inline
budget_s: {gpu: 60, cpu: 180.5}
on_undecided: stop
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load_recipe(written(folder, text))
    return [problem.split("r.yaml:", 1)[1] for problem in caught.value.problems]


def test_a_good_recipe_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD))
    assert (recipe.suite, recipe.policy, recipe.launcher, recipe.on_undecided) == (
        "node/quick",
        "node-2026",
        "inline",
        "stop",
    )
    assert recipe.budget_s == {"gpu": 60, "cpu": 180.5}
    same = load_recipe(written(tmp_path, "# a remark\n" + GOOD))
    assert digest(same) == digest(recipe) != digest(load_recipe(written(tmp_path, GOOD.replace("60", "61"))))


def test_the_digest_is_that_of_the_same_recipe_in_another_folder(tmp_path: Path) -> None:
    text = GOOD.replace("node-2026", "own.yaml") + "baseline: b.json\n"
    found = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        (folder / "own.yaml").touch()
        found.append(load_recipe(written(folder, text)))
    assert found[0].policy == str(tmp_path / "a" / "own.yaml") and found[0].baseline == str(tmp_path / "a" / "b.json")
    assert digest(found[0]) == digest(found[1]) != digest(load_recipe(written(tmp_path, GOOD)))


def test_what_is_left_out_has_a_meaning(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "\n".join(GOOD.splitlines()[:5])))
    assert (recipe.launcher, recipe.budget_s, recipe.on_undecided) == (None, {}, "more_rounds")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("policy: node-2026\n", "", "1:1: the field 'policy' is missing"),
        ("suite: node/quick", "suite: ''", "4:8: suite is empty"),
        ("suite: node/quick", "suite: 3", "4:8: expected text, got 3"),
        ("suite: node/quick", "suit: node/quick", "4:1: unknown field 'suit'; did you mean suite?"),
        ("launcher: inline", "launcher: mpi", "6:11: "),
        ("gpu: 60", "gpu: 0", "7:17: budget_s of a gpu must be above zero"),
        ("gpu: 60", "gpu: -1", "budget_s of a gpu must be above zero"),
        ("gpu: 60", "gpu: .nan", "7:17: `.nan`: a figure that is not finite has no place here"),
        ("gpu: 60", "gpu: 1.0e+999", "too large for a number"),
        ("gpu: 60", "gpu: 1:00", "base 60"),
        ("gpu: 60", "tpu: 60", "'tpu'"),
        ("{gpu: 60, cpu: 180.5}", "60", "7:11: expected a mapping, got 60"),
        ("on_undecided: stop", "on_undecided: pass", "8:15: "),
        ("name: site", "name: &a site", "2:7: &a: anchors and aliases are not supported"),
        ("name: site", "name: !!python/object/apply:os.system [x]", "YAML tags are not supported"),
        ("recipe/1", "recipe/2", "written for a newer effbench"),
        ("recipe/1", "policy/1", "is expected here"),
    ],
)
def test_every_mistake_is_told_at_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(tmp_path, GOOD.replace(old, new))), problems(
        tmp_path, GOOD.replace(old, new)
    )


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("inline", "mpi").replace("stop", "accept").replace("node-2026", "' '")
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == ["5", "6", "8"]


def test_files_beside_a_recipe_are_meant_by_their_names_with_suffix_only(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("x: 1\n")
    (tmp_path / "node-2026").write_text("x: 1\n")
    recipe = load_recipe(written(tmp_path, GOOD.replace("suite: node/quick", "suite: rules.yaml")))
    assert recipe.suite == str(tmp_path / "rules.yaml") and recipe.policy == "node-2026"
