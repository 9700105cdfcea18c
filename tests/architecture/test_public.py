"""The names that users may depend on: the six verbs, and where they live."""

import importlib
import inspect
import subprocess
import sys

import pytest
from sources import FILES, ROOT, module_of

VERBS = {"load_suite", "plan", "run", "score", "grade", "render"}


def child(code: str) -> None:
    """Run code in a fresh interpreter in the checkout; its traceback is in the failure."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_verbs_are_named_by_the_package():
    import effbench

    assert set(effbench.__all__) == VERBS | {"__version__"}
    assert set(dir(effbench)) >= VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_stays_a_verb(verb):
    """`run`, `score` and `grade` are packages too: importing one must not put it in the verb's place."""
    touches = f"assert effbench.{verb} is effbench.api.{verb}, effbench.{verb}\n"
    code = f"import effbench\neffbench.{verb}\n" + touches * 2 + "import effbench.cli.run_command\n" + touches
    child(code)


@pytest.mark.parametrize("module", ["effbench.run.engine", "effbench.grade.verdict", "effbench.score.node"])
def test_a_package_behind_a_verb_is_still_imported(module):
    parent, _, name = module.rpartition(".")
    child(f"import effbench\neffbench.run\nfrom {parent} import {name} as it\nassert it.__name__ == {module!r}")


def test_a_name_that_is_not_there_is_an_attribute_error():
    import effbench

    with pytest.raises(AttributeError, match="no_such_verb"):
        _ = effbench.no_such_verb


def test_touching_a_verb_loads_the_api_and_not_before():
    code = (
        "import sys, effbench\n"
        "assert 'effbench.api' not in sys.modules\n"
        "effbench.plan\n"
        "assert 'effbench.api' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    child(code)


def test_the_api_is_the_verbs_and_each_is_explained():
    api = importlib.import_module("effbench.api")
    assert set(api.__all__) >= VERBS
    for name in api.__all__:
        found = getattr(api, name)
        assert inspect.getdoc(found), f"effbench.api.{name} has no docstring"
        if inspect.isfunction(found):
            assert inspect.signature(found).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("module", [module_of(path) for path in FILES])
def test_what_a_module_lists_exists(module):
    found = importlib.import_module(module)
    for name in getattr(found, "__all__", []):
        assert hasattr(found, name), f"{module}.__all__ lists {name}, which is not there"
