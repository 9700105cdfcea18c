"""A recipe: a suite, a policy, a launcher and a budget, which together are one qualification; and how one went."""

from typing import Literal

import msgspec

from effbench.model.grade import Verdict
from effbench.model.quantity import finite
from effbench.model.suite import DeviceClass

# Why a qualification took no further rounds.
Stopped = Literal["decided", "recipe", "looks", "bounded", "budget", "interrupted"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `effbench qualify` runs. Names are those of `effbench list`, or files beside the recipe.

    `budget_s` (s, start to report, per device measured by itself) replaces the suite's own for a device class.
    `launcher` starts the ranks of teams; absent, it is chosen as `effbench run` does. `on_undecided`: `more_rounds`
    measures what is undecided again while the budget lasts, `stop` leaves the verdict undecided at once. `baseline` is
    a file beside the recipe to hold the run against; `report` names a report for a reader to write too.
    """

    schema: Literal["effbench.recipe/1"]
    name: str
    purpose: str
    suite: str
    policy: str
    launcher: Literal["inline", "torchrun", "slurm"] | None = None
    budget_s: dict[DeviceClass, float] = {}
    on_undecided: Literal["more_rounds", "stop"] = "more_rounds"
    baseline: str | None = None
    report: Literal["enrolment"] | None = None

    def __post_init__(self) -> None:
        for name, seconds in self.budget_s.items():
            finite("Recipe", budget_s=seconds)
            if seconds <= 0:
                raise ValueError(f"budget_s of a {name} must be above zero")


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One look at the evidence: after how many rounds, what the verdict was then, and after how many seconds."""

    rounds: int
    verdict: Verdict
    summary: str
    after_s: float


class Qualification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a qualification came to its verdict, that of its last look. `stopped` says why there was no further one.

    More looks make a verdict by chance likelier: all of them are listed. Times in seconds.
    """

    schema: Literal["effbench.qualification/1"]
    recipe: str
    recipe_digest: str
    verdict: Verdict
    looks: list[Look]
    stopped: Stopped
    budget_s: float
    spent_s: float
