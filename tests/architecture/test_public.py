"""The names that users may depend on: the six verbs, and where they live."""

import importlib
import inspect
import subprocess
import sys

import pytest
from sources import FILES, ROOT, module_of

VERBS = {"load_suite", "plan", "run", "score", "grade", "render"}


def test_the_verbs_are_on_the_package():
    import effbench

    assert set(effbench.__all__) == VERBS | {"__version__"}
    assert set(dir(effbench)) >= VERBS
    for verb in VERBS:
        assert callable(getattr(effbench, verb))


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
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


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
