"""Where the documents that travel with effbench are: suites, templates, recipes and policies, in a wheel or a checkout.

A wheel carries them beside the package in `_data/<kind>`; a checkout and an editable install have them in the folders
of the source tree. `_data` wins where it exists, because a wheel has no source tree around it.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from effbench.model.error import InputError

__all__ = ["Kind", "find", "folder", "names"]

Kind = Literal["workloads", "templates", "recipes", "policies"]

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT: dict[Kind, str] = {
    "workloads": "workloads",
    "templates": "reports/templates",
    "recipes": "ci/recipes",
    "policies": "ci/policies",
}
_NOUN: dict[Kind, str] = {
    "workloads": "suite",
    "templates": "template",
    "recipes": "recipe",
    "policies": "policy",
}


def folder(kind: Kind, package: Path = _PACKAGE) -> Path:
    """Return the built-in folder of `kind`.

    Raises:
        InputError: neither the package nor a checkout around it has the folder.
    """
    if kind not in _CHECKOUT:
        raise InputError(f"there is no resource kind {kind!r}; choose one of {', '.join(get_args(Kind))}")
    packaged = package / "_data" / kind
    if packaged.is_dir():
        return packaged
    checkout = package.parent / _CHECKOUT[kind]
    if checkout.is_dir():
        return checkout
    raise InputError(
        f"the built-in {kind} are missing: neither {packaged} nor {checkout} exists. "
        "Install effbench again, or run it from a whole checkout."
    )


def names(kind: Kind, extra: Sequence[Path | str] = ()) -> list[str]:
    """Return the sorted names of every document of `kind` (`node/quick`), those of the `extra` folders included.

    YAML documents are named without their suffix; templates keep it.
    """
    found: set[str] = set()
    for place in [*(Path(p) for p in extra), folder(kind)]:
        if place.is_dir():
            found.update(_name(kind, place, path) for path in place.rglob("*") if _counts(kind, path))
    return sorted(found)


def find(kind: Kind, name_or_path: str | Path, extra: Sequence[Path | str] = ()) -> Path:
    """Return the file for a name or a path. A path that exists wins, then `extra` in order, then the built-in folder.

    Raises:
        InputError: nothing has that name; the message lists the valid names and the closest one.
    """
    text = str(name_or_path)
    given = Path(text).expanduser()
    if given.is_file():
        return given
    if not text or ".." in given.parts or given.is_absolute():
        raise InputError(f"{text or '(empty name)'}: no such {_NOUN[kind]} file.{_choices(kind, text, extra)}")
    for place in [*(Path(p) for p in extra), folder(kind)]:
        for candidate in (place / text, place / f"{text}.yaml"):
            if candidate.is_file() and _counts(kind, candidate):
                return candidate
    if given.is_dir():
        raise InputError(f"{text} is a folder, not a {_NOUN[kind]}.{_choices(kind, text, extra)}")
    raise InputError(f"there is no {_NOUN[kind]} {text!r}.{_choices(kind, text, extra)}")


def _name(kind: Kind, place: Path, path: Path) -> str:
    relative = path.relative_to(place)
    return (relative if kind == "templates" else relative.with_suffix("")).as_posix()


def _counts(kind: Kind, path: Path) -> bool:
    """Whether a file is a document of `kind`: templates are Jinja and CSS, everything else is YAML."""
    suffixes = {".j2", ".css"} if kind == "templates" else {".yaml"}
    return path.is_file() and path.suffix in suffixes


def _choices(kind: Kind, text: str, extra: Sequence[Path | str]) -> str:
    valid = names(kind, extra)
    close = difflib.get_close_matches(text, valid, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{hint} Choose one of: {', '.join(valid) or '(none)'}, or give the path of a file."
