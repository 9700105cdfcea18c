"""A redacted run names no node, device, process, path or person, and replays like any other run."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.model.event import Noted, Started
from effbench.model.finding import Finding
from effbench.run import journal
from effbench.run.redact import redact
from tests.unit.command_line import ARTEFACTS, call, contents

NODE, USER = "gpu-17.cluster.example.com", "alice"
UUID, OTHER_UUID = "GPU-11111111-2222-3333-4444-555555555555", "MIG-99999999-2222-3333-4444-555555555555"
SERIAL, CONTAINER, PID = "1650024012345", "sha256:feedc0ffee", 424242
SENTENCES = [
    f"the job of {USER} on {NODE} wrote /home/{USER}/secret-model/weights.pt",
    f"PATH=/usr/bin:/home/{USER}/bin and ../{USER}-data/x/y at gpu-17",
    f"process {PID} uses {UUID}; PIDs {PID}, {PID + 1} use {OTHER_UUID}",
    f"board {SERIAL} in file:/srv/{USER}/notes.txt, mounted at '/secretplace'",
]
SECRETS = [
    NODE,
    "gpu-17",
    "cluster.example",
    UUID,
    UUID[4:],
    OTHER_UUID,
    SERIAL,
    CONTAINER,
    str(PID),
    str(PID + 1),
    "secret",
    USER,
    "weights.pt",
]


def with_identities(source: Path, target: Path, node: str = NODE) -> None:
    """Copy a journal and put a known identity into every place that can hold one."""
    events = []
    for event in journal.read(source / "journal.jsonl.gz").events:
        if isinstance(event, Started):
            parts = [
                msgspec.structs.replace(a, uuid=UUID, serial=SERIAL, other_pids=[PID])
                for a in event.inventory.accelerators
            ]
            inventory = msgspec.structs.replace(
                event.inventory,
                node=node,
                accelerators=parts,
                container_digest=CONTAINER,
                env={"SLURM_JOB_USER": USER, "CUDA_VISIBLE_DEVICES": UUID},
                findings=SENTENCES,
            )
            event = msgspec.structs.replace(event, inventory=inventory)
        events.append(event)
        if isinstance(event, Started):
            t_ns = event.t_ns
            events += [
                Noted(t_ns, Finding("sensor-absent", "info", text, "gpu0", evidence={"path": text}))
                for text in SENTENCES
            ]
    target.mkdir()
    writer = journal.JournalWriter(target / "journal.jsonl.gz")
    for member in journal.members(events):
        writer.write(member)
    writer.close()


def texts(folder: Path) -> dict[str, str]:
    files = contents(folder)
    return {name: (gzip.decompress(data) if name.endswith(".gz") else data).decode() for name, data in files.items()}


@pytest.fixture
def redacted(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    with_identities(finished, tmp_path / "named")
    done = call("redact", tmp_path / "named", "-o", tmp_path / "redacted")
    assert done.code == 0, done.said
    return tmp_path / "redacted"


def test_the_test_itself_would_find_every_identity(finished: Path, tmp_path: Path) -> None:
    with_identities(finished, tmp_path / "named")
    text = texts(tmp_path / "named")["journal.jsonl.gz"]
    assert [secret for secret in SECRETS if secret not in text] == []


def test_no_artefact_names_anything(redacted: Path) -> None:
    assert set(contents(redacted)) == ARTEFACTS
    for name, text in texts(redacted).items():
        assert [secret for secret in SECRETS if secret in text] == [], name


def test_a_redacted_run_replays_byte_for_byte(redacted: Path, tmp_path: Path) -> None:
    assert call("replay", redacted, "-o", tmp_path / "again").code == 0
    assert contents(tmp_path / "again") == contents(redacted)


def test_only_names_are_lost(redacted: Path, finished: Path) -> None:
    before, after = api.record_of(finished), api.record_of(redacted)
    assert after.measurements == before.measurements
    assert "redacted" in {f.code for f in after.findings}
    assert after.inventory_before.node.startswith("redacted-")
    assert api.score(after).metrics == api.score(before).metrics


def test_two_redactions_share_no_hash(finished: Path, tmp_path: Path) -> None:
    names = set()
    for number in "12":
        call("redact", finished, "-o", tmp_path / number)
        names.add(api.record_of(tmp_path / number).inventory_before.node)
    assert len(names) == 2


@pytest.mark.parametrize("node", ["gpu", "gpu0", "cpu", "valid", "gemm", "done", "complete", "fake", "bf16"])
def test_a_node_with_an_ordinary_word_for_a_name_breaks_nothing(finished: Path, tmp_path: Path, node: str) -> None:
    with_identities(finished, tmp_path / "named", node)
    done = call("redact", tmp_path / "named", "-o", tmp_path / "r")
    assert done.code == 0, done.said
    record = api.record_of(tmp_path / "r")
    assert record.inventory_before.node.startswith("redacted-")
    assert record.measurements == api.record_of(finished).measurements


def test_a_user_without_a_name_redacts_too(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert call("redact", finished, "-o", tmp_path / "r").code == 0


def test_damage_is_not_redacted_away(copied: Path, tmp_path: Path) -> None:
    path = copied / "journal.jsonl.gz"
    data = bytearray(path.read_bytes())
    second = data.index(b"\x1f\x8b\x08", len(data) // 2)
    data[second + 20] ^= 0xFF
    path.write_bytes(bytes(data))
    assert call("redact", copied, "-o", tmp_path / "r").code == 0
    found = [f for f in api.record_of(tmp_path / "r").findings if f.code == "record-truncated"]
    assert any("damaged" in f.message for f in found)


def test_addresses_and_units_are_no_paths(finished: Path) -> None:
    text = "see https://docs.example.org/a/b/c for 3 GB/s and flop/s, 1/2 of it"
    first = next(e for e in journal.read(finished / "journal.jsonl.gz").events if isinstance(e, Started))
    changed = msgspec.structs.replace(first, inventory=msgspec.structs.replace(first.inventory, findings=[text]))
    (again,) = redact([changed], b"salt")
    assert json.loads(msgspec.json.encode(again))["inventory"]["findings"] == [text]
