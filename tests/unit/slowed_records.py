"""Variants of one simulated run for tests: the same trials on the same node, every step so many times as long."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from effbench.model.digest import digest
from effbench.model.quantity import Quantity
from effbench.model.record import Measurement, Record, Status
from effbench.store import documents


def slowed(
    record: Record,
    factor: float,
    name: str,
    status: Mapping[str, Status] = {},
    trial_key: str = "",
    without: str = "",
) -> Record:
    """A record of its own named `name`. `status` and `without` go by the kernel at the start of a trial's id."""
    kernels = {t.id: t.kernel for t in record.plan.trials}
    kept = [m for m in record.measurements if kernels[m.trial] != without]
    changed = [_slower(m, factor, status.get(kernels[m.trial], m.status)) for m in kept]
    plan = record.plan
    if trial_key:
        plan = msgspec.structs.replace(
            plan,
            trials=[
                msgspec.structs.replace(t, trial_key=trial_key, params={**t.params, "op": "other"}) for t in plan.trials
            ],
        )
    made = msgspec.structs.replace(
        record, digest="", plan=plan, measurements=changed, journal_digest=digest([record.journal_digest, name])
    )
    return msgspec.structs.replace(made, digest=digest(made))


def _slower(m: Measurement, factor: float, status: Status) -> Measurement:
    if m.step_s is None or m.interval is None:
        return msgspec.structs.replace(m, status=status)
    return msgspec.structs.replace(
        m,
        status=status,
        step_s=Quantity(m.step_s.value * factor, m.step_s.unit),
        interval=msgspec.structs.replace(m.interval, low=m.interval.low * factor, high=m.interval.high * factor),
        quantiles_s={name: value * factor for name, value in m.quantiles_s.items()},
    )


def undisturbed(record: Record) -> Record:
    """The record as on a quiet machine: what somebody else's load on this one made suspect is taken for valid."""
    quiet = [msgspec.structs.replace(m, status="valid") if m.status == "suspect" else m for m in record.measurements]
    return msgspec.structs.replace(record, measurements=quiet)


def write(folder: Path, record: Record) -> Path:
    """Store the record alone, without a journal, as a run folder."""
    folder.mkdir()
    (folder / documents.RECORD).write_bytes(documents.encode(record))
    return folder
