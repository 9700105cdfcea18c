"""Files stay within one sitting, functions within one screen, and each file says what it owns."""

import ast

import pytest
from sources import FILES, name_of, tree_of

FILE_LINES = 300
FUNCTION_LINES = 40

# Exceptions: what, how many lines it may have, why. A row may shrink or go; a new one needs a better reason than haste.
LONG_FILES: dict[str, tuple[int, str]] = {}
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, its docstring not counted: explaining must cost nothing."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def functions() -> dict[str, int]:
    """Every function of the package, `effbench/x.py:name`, with its length."""
    found: dict[str, int] = {}
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                key = f"{name_of(path)}:{node.name}"
                found[key] = max(found.get(key, 0), length(node))
    return found


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    allowed = {name: LONG_FILES.get(name, (FILE_LINES, ""))[0] for name in lengths}
    assert {name: n for name, n in lengths.items() if n > allowed[name]} == {}, f"files are at most {FILE_LINES} lines"


def test_functions_are_short():
    lengths = functions()
    allowed = {name: LONG_FUNCTIONS.get(name, (FUNCTION_LINES, ""))[0] for name in lengths}
    long = {name: n for name, n in lengths.items() if n > allowed[name]}
    assert long == {}, f"functions are at most {FUNCTION_LINES} lines without their docstring"


def test_exceptions_only_shrink():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    for table, real, limit in ((LONG_FILES, lengths, FILE_LINES), (LONG_FUNCTIONS, functions(), FUNCTION_LINES)):
        for name, (allowed, reason) in table.items():
            assert len(reason) > 20, f"{name}: an exception needs a reason"
            assert name in real, f"{name} is gone: remove its row"
            assert real[name] > limit, f"{name} needs no exception any more: remove its row"
            assert allowed == real[name], f"{name} has {real[name]} lines: lower its row from {allowed}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_says_what_it_owns(path):
    text = ast.get_docstring(tree_of(path))
    assert text, "a file opens with one sentence that says what it owns"
    assert text.strip().split("\n\n")[0].rstrip().endswith((".", ":", "?")), "the first paragraph is a whole sentence"


def test_the_length_of_a_function_leaves_its_docstring_out():
    body = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    x = 1\n    return x\n').body[0]
    assert isinstance(body, ast.FunctionDef)
    assert length(body) == 3
