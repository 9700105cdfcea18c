"""The kernels of this installation: found in this folder and through the entry points `effbench.kernels`.

A module is a kernel when it defines `Params` and `build`; the others in this folder (rig, verify, inputs ...) serve
them. Nothing here imports torch, and neither does loading a kernel.
"""

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from effbench.kernels.contract import Kernel
from effbench.model.error import InputError

__all__ = ["digest", "load", "names", "params"]

GROUP = "effbench.kernels"


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of all kernels, sorted. A kernel of this folder hides an entry point of the same name."""
    return tuple(sorted({*_own(), *_foreign()}))


def load(name: str) -> Kernel:
    """Import one kernel, and no other.

    Raises:
        InputError: there is no kernel of that name; the message lists the ones that exist.
    """
    if name in _own():
        return cast(Kernel, importlib.import_module(f"{__name__}.{name}"))
    if name in _foreign():
        module: ModuleType = _foreign()[name].load()
        missing = [needed for needed in ("Params", "build", "work", "outputs") if not hasattr(module, needed)]
        if missing:
            raise InputError(
                f"kernel {name} ({module.__name__}) lacks {', '.join(missing)}; see effbench.kernels.contract"
            )
        return cast(Kernel, module)
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"no kernel {name!r}.{hint} There are: {', '.join(names())}")


def params() -> Mapping[str, Any]:
    """Return every kernel's `Params` type by name, so that a suite can be checked field by field."""
    return {name: load(name).Params for name in names()}


def digest(name: str) -> str:
    """Return `sha256:<hex>` over the source of a kernel and of the effbench kernel modules that it imports.

    Raises:
        InputError: there is no kernel of that name.
    """
    kernel = load(name)
    pending, seen = [str(cast(Any, kernel).__name__)], dict[str, bytes]()
    while pending:
        module = pending.pop()
        if module not in seen:
            seen[module] = _source(module)
            pending += _siblings(seen[module])
    total = hashlib.sha256()
    for module in sorted(seen):
        total.update(module.encode() + b"\0" + seen[module] + b"\0")
    return f"sha256:{total.hexdigest()}"


@functools.cache
def _own() -> frozenset[str]:
    """Names of this folder's modules that define `Params` and `build`, read from their source without importing."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return frozenset(name for name in found if _is_kernel(_source(f"{__name__}.{name}")))


@functools.cache
def _foreign() -> Mapping[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def _is_kernel(source: bytes) -> bool:
    if b"Params" not in source or b"def build" not in source:
        return False
    top = ast.parse(source).body
    classes = {node.name for node in top if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in top if isinstance(node, ast.FunctionDef)}
    return "Params" in classes and "build" in functions


@functools.cache
def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return b""
    return Path(spec.origin).read_bytes()


def _siblings(source: bytes) -> list[str]:
    """Modules of this package that a source imports anywhere, also inside functions."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == __name__:
                found += [f"{__name__}.{alias.name}" for alias in node.names]
            elif node.module.startswith(f"{__name__}."):
                found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith(f"{__name__}.")]
    return [name for name in found if _source(name)]
