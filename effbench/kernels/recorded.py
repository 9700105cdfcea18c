"""A recorded trial played back as a step: its samples, its verification and its figures, without any hardware."""

import time

from effbench.model.event import Closed, Sample, Verify


class RecordedStep:
    """Gives what a journal holds of one trial in one round. It works on nothing and times nothing."""

    def __init__(self, samples: list[Sample], closed: Closed) -> None:
        self._samples, self._closed = samples, closed

    def run(self, i: int) -> None:
        """There is nothing to launch."""

    def verify(self) -> Verify:
        """Return the recorded verification; a trial without one has not been verified."""
        return self._closed.verify or Verify(False, 1.0, 0.0, "the recording holds no verification")

    def fingerprint(self) -> int | None:
        """The bits themselves were not recorded, only their checksum: it travels with `verify`."""
        return None

    def facts(self) -> dict[str, float]:
        """Return the recorded figures."""
        return self._closed.facts

    def texts(self) -> dict[str, str]:
        """Return the recorded words."""
        return self._closed.texts

    def samples(self, deadline_s: float) -> list[Sample]:
        """Return the recorded samples, stamped with the time at which they are played back."""
        now = time.monotonic_ns()
        stamped = []
        for sample in self._samples:
            now += int(sample.host_s * 1e9)
            stamped.append(
                Sample(now, sample.device_s, sample.host_s, sample.inner_steps, sample.clock_hz, sample.accepted)
            )
        return stamped

    def close(self) -> None:
        """There is nothing to let go of."""
