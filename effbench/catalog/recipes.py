"""Recipe documents to `Recipe`: every mistake at once, with its line and column; files beside a recipe are found."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from effbench.catalog.shape import Mistake, conclude, open_as, place
from effbench.model.digest import digest as digest_of
from effbench.model.recipe import Recipe

__all__ = ["SCHEMA", "digest", "load_recipe"]

SCHEMA = "effbench.recipe/1"
_NAMED = ("suite", "policy")
_FILES = (".yaml", ".yml", ".json")


def load_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe. Whether its suite and policy exist is for their own loaders to say.

    A suite or policy that ends in `.yaml` and lies beside the recipe becomes the path of that file, and the baseline
    always does.

    Raises:
        CatalogError: every mistake in the document, one line each: `file:line:column: what is wrong; valid: ...`.
    """
    document, recipe, problems = open_as(str(path), Recipe, SCHEMA)
    own = list(_mistakes(document.value))
    told = {mistake.text for mistake in own}
    # A struct's own sentence, which has no place, gives way to the same one with its place.
    rest = [problem for problem in problems if problem.split(": ", 1)[1] not in told]
    conclude(sorted({*rest, *place(document, own)}, key=_place))
    if recipe is None:  # pragma: no cover - conclude has raised
        raise AssertionError("a recipe without problems was not decoded")
    found = {name: _beside(Path(path), getattr(recipe, name)) for name in _NAMED}
    baseline = str(Path(path).parent / recipe.baseline) if recipe.baseline else None
    return msgspec.structs.replace(recipe, **found, baseline=baseline)


def digest(recipe: Recipe) -> str:
    """Return the digest of what a recipe asks for; comments, layout and the folder that it lies in do not count."""
    named = {name: getattr(recipe, name) for name in (*_NAMED, "baseline")}
    files = {name: Path(path).name for name, path in named.items() if path and path.endswith(_FILES)}
    return digest_of(msgspec.structs.replace(recipe, **files))


def _place(problem: str) -> tuple[int, int]:
    line, column = re.findall(r":(\d+):(\d+): ", problem)[0]
    return int(line), int(column)


def _mistakes(value: dict[str, Any]) -> Iterator[Mistake]:
    for name in ("name", "baseline", *_NAMED):
        if isinstance(value.get(name), str) and not value[name].strip():
            yield Mistake((name,), f"{name} is empty")
    budgets = value.get("budget_s")
    for name, seconds in budgets.items() if isinstance(budgets, dict) else ():
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds <= 0:
            yield Mistake(("budget_s", name), f"budget_s of a {name} must be above zero")


def _beside(path: Path, name: str) -> str:
    """Return the path of the file beside the recipe that `name` means, else `name` itself."""
    file = path.parent / name
    return str(file) if name.endswith(_FILES) and file.is_file() else name
