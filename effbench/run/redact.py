"""Redaction: a copy of a journal in which what identifies a node or a person is a salted hash.

The same value gives the same hash within one redaction, so joins survive; the salt is thrown away, so nobody can
guess back from the hash.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from effbench.model.event import Event, Noted, Started, Window
from effbench.model.finding import Finding

_UUID = re.compile(r"\b(?:GPU|MIG)-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
# A path of two or more steps, wherever it begins (`./x/y`, `a:/x/y`), or of one behind a space, a quote or `=`. The
# host of an address (`https://host/page`) is no path.
_PATH = re.compile(r"(?<![\w/])/(?:[\w.+@~-]+/)+[\w.+@~-]*|(?<=[\s'\"=(])/[\w.+@~-]{2,}")
_PID = re.compile(r"\b(pids?|process(?:es)?)( |=|: ?)(\d[\d, ]*)", re.IGNORECASE)
# Fields of the inventory that hold nothing but an identity. PIDs become small numbers, the rest hashes.
_IDENTITY_FIELDS = ("node", "uuid", "serial", "container_digest")
# Fields of a closed vocabulary, or effbench's own names: a node that happens to be called `cpu` must not break them.
_OWN_FIELDS = {
    "type",
    "schema",
    "kind",
    "status",
    "mode",
    "throttle",
    "severity",
    "code",
    "confidence",
    "unit",
    "of",
    "peak",
    "key",
    "headline",
    "device",
    "devices",
    "torch_device",
    "kernel",
    "trial",
    "id",
    "workload",
    "outcome",
    "digest",
    "suite_digest",
    "catalog_digest",
    "inventory_digest",
    "source_digest",
    "row_digest",
    "trial_key",
    "started_at",
    "ended_at",
    "as_of",
    "version",
    "vendor",
    "isa",
    "emulated",
    "fingerprint",
    "params",
    "scope",
    "basis",
    "reading",
}
_FREE_FIELDS = ("texts", "evidence")  # what their keys are called says nothing of what is in them


def redact(events: Iterable[Event], salt: bytes, words: Iterable[str] = (), damage: Iterable[str] = ()) -> list[Event]:
    """Return the events with node name, UUIDs, serials, PIDs, paths, and `words` (user names) hashed.

    Args:
        events: the journal's events.
        salt: secret bytes; use fresh random ones and forget them.
        words: further strings to hide wherever they stand as a word.
        damage: what could not be read of the journal; the copy is whole, so it says so in findings.
    """
    listed = list(events)
    hide = _Hider(salt, {*_identities(listed), *(word for word in words if len(word) > 2)})
    rebuilt = [_rebuilt(event, hide) for event in listed]
    lost = [
        Noted(rebuilt[0].t_ns, Finding("record-truncated", "error", f"the journal was damaged ({text}) when redacted"))
        for text in damage
        if rebuilt
    ]
    return [*rebuilt[:1], *lost, *rebuilt[1:]]


class _Hider:
    """Replaces identities in any JSON-like value."""

    def __init__(self, salt: bytes, known: set[str]) -> None:
        self._salt = salt
        ordered = sorted((re.escape(k) for k in known if k), key=len, reverse=True)
        self._known = re.compile(r"(?<![\w-])(?:" + "|".join(ordered) + r")(?![\w-])") if ordered else None

    def name(self, text: str) -> str:
        """Return the hash that stands for `text`."""
        return "redacted-" + hashlib.blake2s(text.encode(), key=self._salt[:32], digest_size=4).hexdigest()

    def text(self, text: str) -> str:
        """Return `text` with every identity in it replaced."""
        swap: Callable[[re.Match[str]], str] = lambda match: self.name(match.group(0))  # noqa: E731
        if self._known is not None:
            text = self._known.sub(swap, text)
        text = _PATH.sub(swap, _UUID.sub(swap, text))
        return _PID.sub(lambda m: f"{m.group(1)}{m.group(2)}{self.name(m.group(3))}", text)

    def value(self, value: Any, field: str = "") -> Any:
        """Walk a decoded JSON value."""
        if field in _OWN_FIELDS:
            return value
        if isinstance(value, str):
            return self.name(value) if field in _IDENTITY_FIELDS and value else self.text(value)
        if isinstance(value, list):
            return [] if field == "other_pids" else [self.value(item) for item in value]
        if isinstance(value, dict):
            if field == "env":
                return {name: self.name(str(item)) for name, item in value.items()}
            return {name: self.value(item, "" if field in _FREE_FIELDS else name) for name, item in value.items()}
        return value


def _identities(events: Iterable[Event]) -> set[str]:
    known: set[str] = set()
    for event in events:
        if isinstance(event, Started):
            known |= {event.inventory.node, event.inventory.node.split(".")[0]}
            for accelerator in event.inventory.accelerators:
                known |= {accelerator.uuid, accelerator.serial}
    return known - {""}


def _rebuilt(event: Event, hide: _Hider) -> Event:
    if isinstance(event, Window):
        return event  # effbench's own words and numbers alone
    plain = msgspec.to_builtins(event)
    if not isinstance(plain, dict):
        raise TypeError("an event is always an object")
    clean = {name: item if name == "type" else hide.value(item, name) for name, item in plain.items()}
    rebuilt: Event = msgspec.convert(clean, type=Event)
    if isinstance(rebuilt, Started):
        note = Finding("redacted", "info", "names, serials, process ids and paths were replaced by salted hashes")
        plan = msgspec.structs.replace(rebuilt.plan, findings=[*rebuilt.plan.findings, note])
        rebuilt = msgspec.structs.replace(rebuilt, plan=plan)
    return rebuilt
