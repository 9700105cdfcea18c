"""Damage for files: hypothesis draws edits of bytes and of JSON trees, so that what it finds can be made small."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

__all__ = ["damaged"]

# What breaks readers: of YAML, of JSON, of numbers, of text.
WORDS = [
    *(
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!!python/object/apply:os.system ['true']",
        b"!!binary ",
        b"? ",
        b"|",
        b"---\n",
        b"%A\n",
    ),
    *(b"{", b"}", b"[", b"]", b":", b": ", b"- ", b",", b"#", b'"', b"'", b"\\", b"\\ud800", b"\n", b"\t", b" "),
    *(b"null", b"true", b"yes", b"0", b"-0.0", b"-1", b".nan", b"NaN", b".inf", b"-Infinity", b"1e999", b"1e-999"),
    *(b"9" * 400, b"0x1F", b"1_000", b"12:30:00", b"2026-02-30", b'"0 GB/s"', b'"-1 TB/s"', b'"1e308 EB/s"', b'"50 %"'),
    *(
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
        b"\x1b[2J",
        b"\xef\xbb\xbf",
        b"\r",
        b"[" * 3000,
        b"{a: " * 300,
    ),
]
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.0,
        -0.0,
        1e-320,
        1e308,
        -1e308,
        2**53,
        2**63,
        -(2**70),
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        " ",
        "0",
        "-1",
        "nan",
        "inf",
        "1e400",
        "0.0",
        "2",
        "1e-9",
        "0 GB/s",
        "1 s",
        "50 %",
        "\x00",
        "\u202e",
        "x" * 5000,
    ),
    *(
        "0.85",
        "0.99",
        "1 TB/s",
        "900 GFLOP/s",
        "F",
        "S",
        "gpu",
        "ignore",
        "memory.stream.triad.bandwidth",
        "gpu0",
        "2026-11-01",
    ),
    *([], {}, [[]], [None], {"": None}, {"schema": None}, "effbench.policy/2", "2026-02-30", "9999-12-31", "../../etc"),
]


class Cut(NamedTuple):
    """Put `word` in the place of `length` bytes at the share `at` of the text."""

    at: float
    length: int
    word: bytes


class Change(NamedTuple):
    """Do `how` to the `at`-th value of the tree; `value` is put there, or the `other`-th value."""

    at: int
    how: str
    value: Any
    other: int


_SHARES = st.floats(0, 1, exclude_max=True)
_LENGTHS = st.sampled_from([0, 0, 0, 1, 2, 5, 20, 100, 10_000])
_CUTS = st.builds(Cut, _SHARES, _LENGTHS, st.sampled_from([b"", *WORDS]) | st.binary(max_size=4))
_VALUES = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=6)
_PLACES = st.integers(0, 4000)
_COUNTS = st.sampled_from([1, 1, 2, 5])
_HOWS = st.sampled_from(["put", "like", "like", "drop", "double", "copy", "name"])
_CHANGES = st.builds(Change, _PLACES, _HOWS, _VALUES, _PLACES)


@st.composite
def damaged(draw: st.DrawFn, texts: Sequence[bytes], trees: Sequence[Any]) -> bytes:
    """Return one of the texts with bytes changed, or one of the trees with values changed, as JSON."""
    at = draw(st.integers(0, len(texts) + len(trees) - 1))
    if at >= len(texts):
        tree = json.loads(json.dumps(trees[at - len(texts)]))
        for change in draw(st.lists(_CHANGES, min_size=1, max_size=draw(_COUNTS))):
            tree = _changed(tree, change)
        text = json.dumps(tree).encode()
        return text if draw(st.integers(0, 3)) else _cut(text, draw(_CUTS))
    text = texts[at]
    for cut in draw(st.lists(_CUTS, min_size=1, max_size=draw(_COUNTS))):
        text = _cut(text, cut)
    return text


def _cut(text: bytes, cut: Cut) -> bytes:
    start = int(cut.at * (len(text) + 1))
    return text[:start] + cut.word + text[start + cut.length :]


def _changed(tree: Any, change: Change) -> Any:
    """The tree after one change; one without any value in it stays as it is."""
    places = list(_places(tree))
    if not places:
        return tree
    holder, key = places[change.at % len(places)]
    value = json.loads(json.dumps(change.value))  # a copy: what is in ODD must stay as it is
    if change.how == "put":
        holder[key] = value
    elif change.how == "like":
        kin = [odd for odd in ODD if type(odd) is type(holder[key]) and not isinstance(odd, list | dict)]
        holder[key] = kin[change.other % len(kin)] if kin else value
    elif change.how == "copy":
        other, name = places[change.other % len(places)]
        holder[key] = json.loads(json.dumps(other[name]))
    elif change.how == "drop":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[str(change.value)] = holder.pop(key) if change.how == "name" else holder[key]
    return tree


def _places(tree: Any) -> Any:
    """Every value below the root with what holds it."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)
