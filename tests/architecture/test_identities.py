"""Recordings and published reports name no real machine: no UUID, serial, host, address, user or path."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sources import ROOT

from effbench.model.event import Started
from effbench.run.redact import redact
from tests.factory import gpu_node

PUBLISHED = [
    path
    for folder in ("tests/recordings", "reports/published")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file()
]

# A field of a document whose value identifies: absent, empty, or a word and a short salted hash, as `effbench redact`
# writes it.
FIELDS = {
    "node",
    "uuid",
    "serial",
    "board_serial",
    "hostname",
    "user",
    "vbios_serial",
    "mac",
    "pci_serial",
    "container_digest",
}
HASHED = re.compile(r"^$|^(?:[a-z]+-)+[0-9a-f]{6,16}$|^(?:redacted|simulated|fake)\b.*$", re.IGNORECASE)
PIDS = {"other_pids", "pid", "pids"}

PATTERNS = {
    "a device UUID": re.compile(
        r"\b(?:GPU-|MIG-)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I
    ),
    "a home directory": re.compile(r"(?<![\w.])/(?:home|Users|root|export/home|work|scratch)/[\w.-]+"),
    "an e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", re.I),
    "a MAC address": re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b", re.I),
    "an IP address": re.compile(r"(?<![\w.])(?:10|127|172|192)(?:\.\d{1,3}){3}(?![\w.])"),
    "a host in a domain": re.compile(r"\b[\w-]+\.(?:internal|local|lan|corp|compute)\b(?!\()", re.I),
    "a container id": re.compile(r"\b(?:docker|cri-containerd|libpod)-[0-9a-f]{12,}"),
}


def texts_of(path: Path) -> str:
    """A file's text; a gzip file is read as far as it is whole."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace")


def documents_of(text: str) -> Iterator[object]:
    """The JSON documents in a text: the whole of it, or one in each line."""
    try:
        yield json.loads(text)
    except ValueError:
        for line in text.splitlines():
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


def named(value: object) -> Iterator[str]:
    """What identifies in a decoded document: `field=value` for every field that holds a real name or a process."""
    if isinstance(value, dict):
        for key, inner in value.items():
            named_here = key in FIELDS and isinstance(inner, str) and not HASHED.match(inner)
            if named_here or (key in PIDS and inner):
                yield f"{key}={inner}"
            else:
                yield from named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from named(inner)


def identities(text: str) -> list[str]:
    """Everything in a text that would tell whose machine it was."""
    found = [f"{what}: {match[0]}" for what, pattern in PATTERNS.items() for match in pattern.finditer(text)]
    for document in documents_of(text):
        found += named(document)
    return found


def test_what_is_published_names_no_machine():
    found = {}
    for path in PUBLISHED:
        text = "" if path.suffix in {".png", ".pdf"} else texts_of(path)
        found[path.relative_to(ROOT).as_posix()] = identities(path.relative_to(ROOT).as_posix()) + identities(text)
    leaks = {name: leaks for name, leaks in found.items() if leaks}
    assert leaks == {}, "run `effbench redact` before it is committed"


@pytest.mark.parametrize(
    "leak",
    [
        "GPU-5b2f7a0c-11d2-4c3e-9f00-0123456789ab",
        "ran in /home/alice/effbench",
        "ran in /root/effbench",
        '{"inventory": {"node": "gpu-node-17"}}',
        '{"accelerators": [{"serial": "1654923000123"}]}',
        '{"t_ns": 1}\n{"accelerators": [{"other_pids": [4711]}]}',
        "reached 10.1.2.3",
        "ops@example.org",
        "00:1b:21:3c:9d:f8",
        "node7.cluster.internal",
    ],
)
def test_a_leak_is_found(leak):
    assert identities(leak) != []


@pytest.mark.parametrize(
    "harmless",
    [
        '{"node": "node-3fa9c17e", "uuid": "", "serial": "serial-3fa9c17e0b", "other_pids": []}',
        '{"pci_bus_id": "00000000:3B:00.0", "driver": "580.65.06", "torch": "2.13.0+cpu", "cuda": "13.0"}',
        '{"text": "5.2.1.4 of 10.5 GB/s at 3.66 GHz, see work/shared", "kernel": "6.1.0-30-amd64"}',
    ],
)
def test_a_figure_is_no_leak(harmless):
    assert identities(harmless) == []


def test_what_redact_writes_passes_and_what_it_was_given_does_not():
    record = gpu_node().record
    assert record is not None
    gpu = msgspec.structs.replace(
        record.inventory_before.accelerators[0],
        uuid="GPU-5b2f7a0c-11d2-4c3e-9f00-0123456789ab",
        serial="1654923000123",
        other_pids=[4711],
    )
    inventory = msgspec.structs.replace(
        record.inventory_before, node="gpu-node-17", accelerators=[gpu], findings=["read /home/alice/nvml.log"]
    )
    started = Started("effbench.journal/1", 0, record.started_at, record.tool, record.plan, inventory)
    leaks = identities(msgspec.json.encode(started).decode())
    for identity in ("gpu-node-17", "GPU-5b2f7a0c", "1654923000123", "4711", "/home/alice"):
        assert any(identity in leak for leak in leaks), identity
    clean = redact([started], b"salt" * 8, ["alice"])
    assert identities(msgspec.json.encode(clean).decode()) == []
