"""The package's own source as the architecture tests see it: files, names, syntax trees."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "effbench").rglob("*.py"))


def name_of(path: Path) -> str:
    """A file's path inside the checkout, `effbench/model/plan.py`."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """A file's module, `effbench.model.plan`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def is_entry(path: Path) -> bool:
    """Is it started as `python -m`? Only such a module (a child process) and the cli may print, read the environment
    or exit; it shows in its `if __name__ == "__main__"`.
    """
    for node in tree_of(path).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
            left = node.test.left
            if isinstance(left, ast.Name) and left.id == "__name__":
                return True
    return False


def dotted(node: ast.AST) -> str:
    """`os.environ.get` for the expression that spells it, "" for anything that is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def imports_of(tree: ast.AST) -> set[str]:
    """Top-level packages that a tree imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value.split(".")[0])
    return found
