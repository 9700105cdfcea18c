"""Suite documents to `Suite`: every mistake at once, each with its line and the valid choices."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import inspect

from effbench.catalog.shape import Mistake, choices, conclude, mistakes, open_as, place
from effbench.catalog.yaml import Document, Where
from effbench.model.digest import digest as digest_of
from effbench.model.suite import DeviceClass, Suite

__all__ = ["SCHEMA", "digest", "load_suite"]

SCHEMA = "effbench.suite/1"

Kernels = Mapping[str, type[msgspec.Struct]]

_CLASSES: tuple[DeviceClass, ...] = get_args(DeviceClass)

# A suite with more trials than this in one workload is not checked further; the budget will say so.
_COMBINATIONS_MAX = 10_000

_ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


def load_suite(path: Path | str, kernels: Kernels | None = None) -> Suite:
    """Read and check a suite.

    Args:
        path: the YAML document.
        kernels: the `Params` struct of every kernel by name. With it, kernel names, parameters and axes are checked
            against the kernels themselves; without it, they are taken as they are.

    Raises:
        CatalogError: every mistake in the document, one line each: `file:line:column: what is wrong; valid: ...`.
    """
    document, suite, problems = open_as(str(path), Suite, SCHEMA)
    found = list(_suite(document.value)) + list(_workloads(document, kernels))
    conclude(_merged(problems, place(document, found)))
    if suite is None:  # pragma: no cover - conclude has raised
        raise AssertionError("a suite without problems was not decoded")
    return suite


def digest(suite: Suite) -> str:
    """Return the digest of what a suite asks for; comments and layout do not count."""
    return digest_of(suite)


def _merged(first: list[str], second: list[str]) -> list[str]:
    """Both lists without repetitions, in the order of the lines."""

    def line(problem: str) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r":(\d+):(\d+): ", problem)[:1][0])

    return sorted(dict.fromkeys(first + second), key=line)


def _suite(value: dict[str, Any]) -> Iterator[Mistake]:
    rounds, budgets = value.get("rounds"), value.get("budget_s")
    for name, table in (("rounds", rounds), ("budget_s", budgets)):
        if isinstance(table, dict) and not table:
            yield Mistake((name,), f"{name} is empty; give it for gpu, cpu or both")
    if isinstance(budgets, dict):
        for kind, seconds in budgets.items():
            if isinstance(seconds, int | float) and seconds <= 0:
                yield Mistake(("budget_s", kind), "the budget must be above zero seconds")
    if isinstance(rounds, dict) and isinstance(budgets, dict):
        for kind in sorted(set(rounds) ^ set(budgets)):
            where = "rounds" if kind in rounds else "budget_s"
            other = "budget_s" if where == "rounds" else "rounds"
            yield Mistake((where, kind), f"{kind} has {where} but no {other}; give both or neither", key=True)
    if isinstance(value.get("workloads"), list) and not value["workloads"]:
        yield Mistake(("workloads",), "the suite has no workloads")


def _workloads(document: Document, kernels: Kernels | None) -> Iterator[Mistake]:
    workloads = document.value.get("workloads")
    seen: dict[tuple[str, str], int] = {}
    classes = set(document.value["rounds"]) if isinstance(document.value.get("rounds"), dict) else None
    for number, workload in enumerate(workloads if isinstance(workloads, list) else []):
        where: Where = ("workloads", number)
        if not isinstance(workload, dict):
            continue
        yield from _identity(workload, where, seen, document)
        yield from _classes(workload, where, classes)
        yield from _axes(workload, where)
        name = workload.get("kernel")
        if kernels is None or not isinstance(name, str):
            continue
        if name not in kernels:
            yield Mistake((*where, "kernel"), f"there is no kernel {name!r}{choices(name, sorted(kernels))}")
            continue
        yield from _parameters(workload, where, name, kernels[name])


def _identity(
    workload: dict[str, Any], where: Where, seen: dict[tuple[str, str], int], document: Document
) -> Iterator[Mistake]:
    """An id is unique on each device class, so that the same work may be timed longer on a slower class."""
    name, wanted = workload.get("id"), workload.get("on")
    if not isinstance(name, str):
        return
    if not _ID.fullmatch(name):
        yield Mistake((*where, "id"), f"{name!r}: an id is lower-case letters, digits and . _ - between them")
        return
    classes = [kind for kind in _CLASSES if not isinstance(wanted, list) or kind in wanted]
    taken = [seen[name, kind] for kind in classes if (name, kind) in seen]
    if taken:
        yield Mistake((*where, "id"), f"the id {name!r} is taken by the workload on line {taken[0]}")
    line = document.marks.get((*where, "id"), (0, 0))[0]
    seen.update({(name, kind): line for kind in classes if (name, kind) not in seen})


def _classes(workload: dict[str, Any], where: Where, classes: set[str] | None) -> Iterator[Mistake]:
    wanted = workload.get("on")
    if not isinstance(wanted, list):
        return
    if not wanted:
        yield Mistake((*where, "on"), "`on` is empty, so the workload would never run; leave it out to run everywhere")
    for number, kind in enumerate(wanted):
        if classes is not None and kind in _CLASSES and kind not in classes:
            yield Mistake((*where, "on", number), f"the suite has no rounds for {kind}")


def _axes(workload: dict[str, Any], where: Where) -> Iterator[Mistake]:
    axes, params = workload.get("axes"), workload.get("params")
    for name, values in (axes if isinstance(axes, dict) else {}).items():
        if isinstance(params, dict) and name in params:
            yield Mistake((*where, "axes", name), f"{name!r} is both a parameter and an axis; keep one", key=True)
        if isinstance(values, list):
            if not values:
                yield Mistake((*where, "axes", name), f"the axis {name!r} has no values, so nothing would run")
            for number, item in enumerate(values):
                if any(item is other or item == other for other in values[:number]):
                    yield Mistake((*where, "axes", name, number), f"{item!r} is given twice on this axis")


def _parameters(workload: dict[str, Any], where: Where, kernel: str, params: type[msgspec.Struct]) -> Iterator[Mistake]:
    info = inspect.type_info(params)
    assert isinstance(info, inspect.StructType)
    fields = {field.encode_name: field.type for field in info.fields}
    sound = True
    for part in ("params", "axes"):
        given = workload.get(part)
        for name, value in (given if isinstance(given, dict) else {}).items():
            for mistake in _parameter(fields, name, value, part == "axes", (*where, part, name), kernel):
                sound = False
                yield mistake
    if sound:
        yield from _combinations(workload, where, kernel, params)


def _parameter(
    fields: dict[str, inspect.Type], name: str, value: Any, axis: bool, at: Where, kernel: str
) -> Iterator[Mistake]:
    if name not in fields:
        yield Mistake(at, f"{kernel} has no parameter {name!r}{choices(name, sorted(fields))}", key=True)
    elif not axis:
        yield from mistakes(fields[name], value, at)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from mistakes(fields[name], item, (*at, number))


def _combinations(
    workload: dict[str, Any], where: Where, kernel: str, params: type[msgspec.Struct]
) -> Iterator[Mistake]:
    """Ask the kernel's own struct about every trial that the workload stands for; tell the first that it refuses."""
    fixed, axes = workload.get("params") or {}, workload.get("axes") or {}
    if not (isinstance(fixed, dict) and isinstance(axes, dict) and all(isinstance(v, list) for v in axes.values())):
        return
    for values in itertools.islice(itertools.product(*axes.values()), _COMBINATIONS_MAX):
        chosen = {**fixed, **dict(zip(axes, values, strict=True))}
        try:
            msgspec.convert(chosen, params)
        except msgspec.ValidationError as error:
            said = ", ".join(f"{name}={value}" for name, value in chosen.items())
            text = str(error).replace(" - at `$", " (`").replace("`$", "`")
            yield Mistake((*where, "axes" if axes else "params"), f"{kernel} refuses {said}: {_plain(text)}")
            return


def _plain(text: str) -> str:
    """msgspec's path "(`.bytes`" as words."""
    return re.sub(r" \(`\.?([^`]*)`", lambda found: f" (for {found[1]})" if found[1] else "", text)
