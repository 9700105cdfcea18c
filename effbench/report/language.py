"""The messages of the enrolment report by language: one file each in messages/, all with the same keys."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.yaml import rows
from effbench.model.error import InputError

__all__ = ["Messages", "Words", "languages", "load"]

_FOLDER = Path(__file__).with_name("messages")


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words for one thing: a title, why it matters, what to do; for a verdict a word, a short one, a sentence."""

    title: str = ""
    why: str = ""
    do: str = ""
    word: str = ""
    short: str = ""
    sentence: str = ""


class Messages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One language. Keys are those of en.yaml; metric titles have `{0}` for each star of the pattern."""

    schema: Literal["effbench.messages/1"]
    name: str
    text: dict[str, str]
    verdicts: dict[str, Words]
    outcomes: dict[str, str]
    severities: dict[str, str]
    doubts: dict[str, Words]
    reasons: dict[str, str]
    remedies: dict[str, str]
    checks: dict[str, Words]
    domains: dict[str, Words]
    missing: Words
    gates: dict[str, Words]
    metrics: dict[str, str]


def languages() -> list[str]:
    """Return the tags of all languages, sorted: `en`, `zh-Hant`."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@functools.cache
def load(tag: str) -> Messages:
    """Read one language.

    Raises:
        InputError: there is no such language; the message lists the ones there are.
    """
    if tag not in languages():
        raise InputError(f"no language {tag!r}; there are: {', '.join(languages())}")
    return msgspec.convert(rows(_FOLDER / f"{tag}.yaml"), Messages)
