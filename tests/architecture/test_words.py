"""Names that say nothing, calls that must not be there, and who may print, read the environment or exit."""

import ast
import re

import pytest
from sources import FILES, dotted, imports_of, is_entry, name_of, tree_of

EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "base", "common", "misc"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
# PyYAML 6 insists on a named loader, so whoever names none of these has a safe one.
UNSAFE_YAML = {"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "unsafe_load", "full_load"}
EDGE = {"cli", "pytest_plugin"}
EDGE_CALLS = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "os.getenv"}
EDGE_NAMES = {"os.environ", "os.environb"}


def words_of(name: str) -> set[str]:
    """The words in `load_suite` or `LoadSuite`, lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def calls_of(tree: ast.AST) -> list[tuple[int, str]]:
    """Every call by name, with its line."""
    return [(node.lineno, dotted(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def words_in(tree: ast.AST) -> list[str]:
    """Every name, attribute and string constant: a loader may be picked by any of them."""
    nodes = list(ast.walk(tree))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    names += [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    return names + [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def edges_of(tree: ast.AST) -> list[tuple[int, str]]:
    """Every place that prints, reads the environment or exits."""
    found = [(line, name) for line, name in calls_of(tree) if name in EDGE_CALLS]
    found += [
        (node.lineno, dotted(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and dotted(node) in EDGE_NAMES
    ]
    found += [
        (node.lineno, f"from os import {alias.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
        if alias.name in {"environ", "environb", "getenv", "_exit"}
    ]
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_say_something(path):
    assert not words_of(path.stem) & EMPTY_WORDS
    classes = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if words_of(name) & EMPTY_WORDS] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_runs_text_or_unpickles(path):
    tree = tree_of(path)
    assert [(line, name) for line, name in calls_of(tree) if name in UNSAFE_CALLS] == []
    assert imports_of(tree) & UNSAFE_MODULES == set()
    assert [word for word in words_in(tree) if word in UNSAFE_YAML] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_edge_prints_reads_the_environment_or_exits(path):
    if path.relative_to(FILES[0].parent).parts[0] in EDGE or is_entry(path):
        return
    assert edges_of(tree_of(path)) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_left_for_later(path):
    marks = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))
    assert marks == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_error_is_swallowed_blindly(path):
    bare = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or dotted(node.type) == "BaseException")
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert bare == []


def test_these_rules_can_fail():
    tree = ast.parse("import os, pickle\nprint(os.environ['X'])\neval('1')\nfrom os import getenv\n")
    assert edges_of(tree) == [(2, "os.environ"), (2, "print"), (4, "from os import getenv")]
    assert "pickle" in imports_of(tree)
    assert (3, "eval") in calls_of(tree)
    assert UNSAFE_YAML & set(words_in(ast.parse("yaml.load(x, Loader=getattr(yaml, 'CLoader', yaml.Loader))")))
    assert words_of("JournalManager") & EMPTY_WORDS
    assert words_of("test_utils") & EMPTY_WORDS
    assert not words_of("database") & EMPTY_WORDS
