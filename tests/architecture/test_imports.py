"""What may be imported where, and what must not be loaded by `effbench --help`."""

import ast
import subprocess
import sys

import pytest
from sources import FILES, ROOT, imports_of, module_of, name_of, tree_of

HEAVY = ("torch", "numpy", "yaml", "rich", "msgspec", "matplotlib", "jinja2", "pynvml")
# With torch and its drivers out of reach, everything but the inside of a kernel must still import.
BLOCKED = ("torch", "matplotlib", "pynvml", "scipy")


def child(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter in the checkout, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def loaded(code: str) -> set[str]:
    """Which heavy packages are loaded after the code has run."""
    result = child(f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules], sep=',', file=sys.stderr)")
    assert result.returncode == 0, result.stderr
    return set(filter(None, result.stderr.strip().splitlines()[-1].split(","))) if result.stderr.strip() else set()


def test_help_imports_nothing_heavy():
    code = "from effbench.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded(code) == set()


def test_every_help_page_imports_no_torch_and_draws_nothing():
    code = (
        "import click, sys\n"
        "from effbench.cli.main import main\n"
        "group = main if isinstance(main, click.Group) else None\n"
        "import effbench.cli.main as module\n"
        "group = group or next(v for v in vars(module).values() if isinstance(v, click.Group))\n"
        "for name in group.list_commands(click.Context(group)):\n"
        "    with click.Context(group) as context:\n"
        "        group.get_command(context, name).get_help(click.Context(group.get_command(context, name)))\n"
    )
    assert loaded(code) & {"torch", "matplotlib", "pynvml"} == set()


def test_the_package_itself_is_weightless():
    assert loaded("import effbench; effbench.__version__") == set()


def test_the_check_sees_what_is_loaded():
    assert loaded("import yaml, msgspec") == {"yaml", "msgspec"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_torch_is_imported_in_kernels_alone_and_late(path):
    tree = tree_of(path)
    if path.parent.name != "kernels":
        assert "torch" not in imports_of(tree)
    late = (ast.FunctionDef, ast.AsyncFunctionDef)
    at_import = [node for node in tree.body if not isinstance(node, late)]
    early = set().union(*(imports_of(node) for node in at_import if not isinstance(node, ast.If | ast.ClassDef)))
    assert early & {"torch", "matplotlib", "pynvml"} == set()


def test_everything_imports_without_torch_and_without_drivers():
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
    )
    result = child(code, *[module_of(path) for path in FILES])
    assert result.returncode == 0, result.stderr
    assert result.stdout == "", "importing a module must not print"
