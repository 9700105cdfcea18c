"""The ladder of grades: which grade a share of the reference earns, and how grades compare."""

from collections.abc import Sequence

from effbench.grade.shrink import score
from effbench.model.policy import Policy
from effbench.model.scorecard import Metric
from effbench.model.suite import DeviceClass


class Ladder:
    """The grades of a policy for a device class, best first. The last one is the policy's fail grade."""

    def __init__(self, policy: Policy, kind: DeviceClass) -> None:
        self._steps = sorted(((float(share), name) for name, share in policy.ladder.items()), reverse=True)
        self.names = [name for _, name in self._steps] + [policy.fail_grade]
        self._prior, self._kind = policy.prior, kind
        section = policy.gpu if kind == "gpu" else policy.cpu
        self.pass_share = float(policy.ladder[section.pass_grade or policy.pass_grade])

    def score(self, metric: Metric) -> float:
        """Return what a share counts for a grade; at most its low end, and less the less was measured."""
        return score(metric, self._prior, self._kind)

    def at(self, share: float) -> str:
        """Return the grade that `share` of the reference earns."""
        return next((name for least, name in self._steps if share >= least), self.names[-1])

    def earned(self, low: float, score: float) -> str:
        """Return the grade that `score` earns. What passes at its low end `low` stays a pass: scores judge nothing."""
        grade = self.at(min(low, score))
        if low < self.pass_share:
            return grade
        return self.names[min(self.rank(grade), self.rank(self.at(self.pass_share)))]

    def least(self, grade: str) -> float | None:
        """Return the share that `grade` needs; None for the fail grade."""
        return next((least for least, name in self._steps if name == grade), None)

    def rank(self, grade: str) -> int:
        """Return 0 for the best grade, counting up towards the worst."""
        return self.names.index(grade)

    def capped(self, grade: str, best_allowed: str) -> str:
        """Return the worse of `grade` and `best_allowed`."""
        return self.names[max(self.rank(grade), self.rank(best_allowed))]

    def above(self, grade: str, steps: int) -> str:
        """Return the grade `steps` better than `grade`, or the best one."""
        return self.names[max(0, self.rank(grade) - steps)]

    def worst(self, grades: Sequence[str]) -> str:
        """Return the worst of `grades`."""
        return max(grades, key=self.rank)
