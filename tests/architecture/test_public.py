"""The names that users may depend on: the six verbs of `effbench.api`."""

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


def test_the_package_itself_costs_nothing():
    """`run`, `score` and `grade` are packages, so the verbs of the same names live in `effbench.api` alone."""
    child(
        "import sys, effbench\nassert effbench.__all__ == ['__version__']\nassert 'effbench.api' not in sys.modules\n"
    )


def test_the_api_loads_no_torch():
    child("import sys, effbench.api\nassert 'torch' not in sys.modules\n")


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
