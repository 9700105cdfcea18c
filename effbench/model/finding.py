"""A finding: something a machine or a person should know about a run, with its evidence."""

from typing import Literal

import msgspec

Severity = Literal["info", "warning", "error"]


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One observation. `code` has a row in `catalog/findings.yaml`, which `effbench explain CODE` prints.

    `message` says what happened here in one sentence; `evidence` holds the figures behind it, in SI base units.
    """

    code: str
    severity: Severity
    message: str
    device: str | None = None
    trial: str | None = None
    evidence: dict[str, str | int | float | bool] = {}
