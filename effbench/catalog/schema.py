"""Writes workloads/schema.json from the Suite struct, for editors; `--check` says whether the file is current.

`python -m effbench.catalog.schema [--check]` in a checkout; the file is generated and never edited.
"""

import sys
from pathlib import Path

import msgspec

from effbench.model.suite import Suite

__all__ = ["main", "render"]

_TARGET = Path(__file__).resolve().parents[2] / "workloads" / "schema.json"


def render() -> bytes:
    """Return the JSON schema of a suite document, indented, with a final newline."""
    schema = msgspec.json.schema(Suite)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "effbench suite",
        **schema,
    }
    return msgspec.json.format(msgspec.json.encode(schema, order="deterministic"), indent=2) + b"\n"


def main(arguments: list[str], target: Path = _TARGET) -> int:
    """Write the schema, or with `--check` compare it. Returns the exit status: 1 when the file is not current."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m effbench.catalog.schema [--check]\n")
        return 2
    wanted = render()
    if not arguments:
        target.write_bytes(wanted)
        sys.stdout.write(f"wrote {target}\n")
        return 0
    if target.is_file() and target.read_bytes() == wanted:
        return 0
    sys.stderr.write(f"{target} is not current; run: python -m effbench.catalog.schema\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
