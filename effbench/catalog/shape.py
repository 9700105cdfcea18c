"""Does a parsed document have the shape of a struct? Finds every mistake, where msgspec alone reports the first.

Walks the types of the msgspec structs themselves, so a new field needs no change here. Whether the values make sense
together is left to the struct's own `__post_init__`, which is called once its parts are sound.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from msgspec import inspect

from effbench.catalog.yaml import Document, Where, read
from effbench.model.error import CatalogError

__all__ = ["Mistake", "ask_schema", "choices", "conclude", "mistakes", "open_as"]

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

_WORDS: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.ListType: "a list",
    inspect.DictType: "a mapping",
    inspect.StructType: "a mapping",
    inspect.NoneType: "nothing",
}


class Mistake(msgspec.Struct, frozen=True):
    """One mistake: the path of the value, what is wrong, and whether its key is meant rather than its value."""

    where: Where
    text: str
    key: bool = False


def open_as(path: str, kind: type[_Struct], schema: str) -> tuple[Document, _Struct | None, list[str]]:
    """Read `path` and return the document, its struct (None when there are mistakes), and the mistakes so far.

    Raises:
        CatalogError: the file cannot be read as one mapping, or `schema` says that it is not what is expected.
    """
    document = read(path)
    ask_schema(document, schema)
    problems = place(document, mistakes(inspect.type_info(kind), document.value, ()))
    value = None if problems else msgspec.convert(document.value, kind)
    return document, value, problems


def place(document: Document, found: Iterable[Mistake]) -> list[str]:
    """Return the document's own problems and `found`, each `file:line:column: text`, in the order of the lines.

    A value that YAML itself made a problem of is not reported a second time.
    """
    problems = list(document.problems)
    places = {_position(problem, document) for problem in problems}
    for mistake in found:
        text = document.at(mistake.where, mistake.text, mistake.key)
        if _position(text, document) not in places or mistake.key:
            problems.append(text)
    return sorted(dict.fromkeys(problems), key=lambda problem: _position(problem, document))


def _position(problem: str, document: Document) -> tuple[int, int]:
    line, column = problem.removeprefix(f"{document.path}:").split(":", 2)[:2]
    return int(line), int(column)


def conclude(problems: list[str]) -> None:
    """Raise one CatalogError with every problem, when there are any."""
    if problems:
        raise CatalogError(problems)


def ask_schema(document: Document, schema: str) -> None:
    """Refuse a document that says it is something else, or newer, before any field of it is judged.

    Raises:
        CatalogError: `schema` is missing, of another family, or of a newer version.
    """
    family, _, version = schema.rpartition("/")
    said = document.value.get("schema")
    if said == schema:
        return
    if not isinstance(said, str):
        raise CatalogError([document.at((), f"the first line must be `schema: {schema}`")])
    said_family, _, said_version = said.rpartition("/")
    if said_family == family and said_version.isdigit() and int(said_version) > int(version):
        text = f"{said} was written for a newer effbench; this one reads {schema}. Upgrade effbench."
    elif said_family == family:
        text = f"{said} is not a version that effbench ever wrote; it reads {schema}"
    else:
        text = f"this is {said!r}, and {schema} is expected here"
    raise CatalogError([document.at(("schema",), text)])


def choices(wrong: object, valid: Iterable[object]) -> str:
    """Return `; did you mean X? Valid: A, B, C`, the closest first where one is close."""
    names = [str(v) for v in valid]
    close = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"{hint} valid: {', '.join(names) or '(none)'}"


def mistakes(info: inspect.Type, value: object, where: Where) -> Iterator[Mistake]:
    """Yield every mistake of `value` against a msgspec type, each with its path."""
    if isinstance(info, inspect.AnyType):
        return
    if isinstance(info, inspect.UnionType):
        yield from _union(info, value, where)
    elif isinstance(info, inspect.StructType):
        yield from _struct(info, value, where)
    elif isinstance(info, inspect.ListType):
        yield from _list(info, value, where)
    elif isinstance(info, inspect.DictType):
        yield from _dict(info, value, where)
    elif isinstance(info, inspect.LiteralType):
        if value not in info.values or isinstance(value, bool):
            yield Mistake(where, f"{_shown(value)} is not allowed here{choices(value, info.values)}")
    elif isinstance(info, inspect.EnumType):
        valid = [member.value for member in info.cls]
        if value not in valid:
            yield Mistake(where, f"{_shown(value)} is not allowed here{choices(value, valid)}")
    elif not _is(info, value):
        yield Mistake(where, f"expected {_words(info)}, got {_shown(value)}")


def _is(info: inspect.Type, value: object) -> bool:
    """Whether a plain value is of a simple type. true is no number, and a whole number is a number."""
    kinds: dict[type[inspect.Type], tuple[type, ...]] = {
        inspect.StrType: (str,),
        inspect.IntType: (int,),
        inspect.FloatType: (int, float),
        inspect.BoolType: (bool,),
        inspect.NoneType: (type(None),),
    }
    expected = kinds.get(type(info), (object,))
    if isinstance(value, bool):
        return bool in expected or object in expected
    return isinstance(value, expected)


def _union(info: inspect.UnionType, value: object, where: Where) -> Iterator[Mistake]:
    rest = [t for t in info.types if not isinstance(t, inspect.NoneType)]
    if value is None and len(rest) < len(info.types):
        return
    found = [list(mistakes(option, value, where)) for option in rest]
    if all(found):
        told = f"expected {' or '.join(_words(t) for t in rest)}, got {_shown(value)}"
        yield from found[0] if len(rest) == 1 else [Mistake(where, told)]


def _struct(info: inspect.StructType, value: object, where: Where) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield Mistake(where, f"expected a mapping with {', '.join(f.encode_name for f in info.fields)}")
        return
    fields = {f.encode_name: f for f in info.fields}
    sound = True
    for name in value:
        if name not in fields:
            sound = False
            yield Mistake((*where, name), f"unknown field {name!r}{choices(name, fields)}", key=True)
    for name, field in fields.items():
        if name not in value:
            if field.required:
                sound = False
                yield Mistake(where, f"the field {name!r} is missing")
            continue
        for mistake in mistakes(field.type, value[name], (*where, name)):
            sound = False
            yield mistake
    if sound:
        yield from _whole(info, value, where)


def _whole(info: inspect.StructType, value: object, where: Where) -> Iterator[Mistake]:
    """Ask the struct's own `__post_init__` about parts that are each sound."""
    try:
        msgspec.convert(value, info.cls)
    except msgspec.ValidationError as error:
        yield Mistake(where, str(error).split(" - at `$")[0])


def _list(info: inspect.ListType, value: object, where: Where) -> Iterator[Mistake]:
    if not isinstance(value, list):
        yield Mistake(where, f"expected a list, got {_shown(value)}; write `- item` lines or [a, b]")
        return
    for number, item in enumerate(value):
        yield from mistakes(info.item_type, item, (*where, number))


def _dict(info: inspect.DictType, value: object, where: Where) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield Mistake(where, f"expected a mapping, got {_shown(value)}")
        return
    for name, item in value.items():
        for mistake in mistakes(info.key_type, name, (*where, name)):
            yield msgspec.structs.replace(mistake, key=True)
        yield from mistakes(info.value_type, item, (*where, name))


def _words(info: inspect.Type) -> str:
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(str(v) for v in info.values)
    return _WORDS.get(type(info), "another value")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"text {value!r}" if isinstance(value, str) else f"{value}"
