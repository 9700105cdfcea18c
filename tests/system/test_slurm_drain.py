"""The hooks of ci/pipelines/slurm on a real Slurm: what they drain, what they undrain, and what they leave alone."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from effbench.model.grade import Verdict
from tests.system.sandboxes import PYTHON, ROOT, Sandbox, need
from tests.unit.stored_verdicts import METRIC, stored

SUITES = Path(__file__).with_name("suites")
HOOKS = ROOT / "ci" / "pipelines" / "slurm"
EFFBENCH = Path(PYTHON).with_name("effbench")
POLICY = """\
schema: effbench.policy/1
name: system-drain
version: 1
effective_from: "2026-11-01"
purpose: "One figure of one node"
ladder: {{B: "0.85", C: "0.75"}}
coverage_min: "0.5"
cpu: {{gates: [{{metric: compute.gemm.fp32.flops, threshold: "{flops:.0f} FLOP/s"}}], domains: []}}
gpu: {{gates: [{{metric: compute.gemm.fp32.flops, threshold: "{flops:.0f} FLOP/s"}}], domains: []}}
"""


# What stands in for effbench in site.conf where a test wants it to fail, or to answer some hooks only.
CRASHES = "#!/bin/sh\necho Traceback: boom >&2\nexit 1\n"
ONLY = """#!/bin/sh
case $1/${{SLURM_JOB_ID:+job}} in {what}) exec {effbench} "$@" ;; esac
exit 1
"""


class Site:
    """A Slurm of two nodes with all three hooks, and the site's folders. Its nodes are undrained before each test."""

    def __init__(self, folder: Path) -> None:
        self.hooks, self.runs, self.log = folder / "hooks", folder / "runs", folder / "log"
        self.slurm = Sandbox("slurm", "drain")
        shutil.copytree(HOOKS, self.hooks)
        self.runs.mkdir()
        self.log.touch()
        for path in (SUITES / "node.yaml", SUITES / "drain-recipe.yaml"):
            shutil.copy(path, folder)
        self.recipe, self.policy = folder / "drain-recipe.yaml", folder / "drain-policy.yaml"
        self.configure()

    def configure(self, **changes: object) -> None:
        """Write site.conf in one step, for hooks read it all the time."""
        known: dict[str, object] = {
            "EFFBENCH": EFFBENCH,
            "FOLDER": self.runs,
            "LOG": self.log,
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": self.slurm.folder / "slurm.conf",
            "MAX_AGE_H": 24,
            "ON_NOT_RATED": "keep",
            "ON_UNDECIDED": "keep",
            "BUDGET_S": 60,
            "EVERY_H": 1,
        }
        lines = [f"{name}='{value}'" for name, value in (known | changes).items()]
        (self.hooks / ".site.conf").write_text("\n".join([*lines, ""]))
        (self.hooks / ".site.conf").replace(self.hooks / "site.conf")

    def standing_in(self, text: str) -> Path:
        """A program with this text, to be named as EFFBENCH; each a file of its own, for one that runs is busy."""
        program = self.hooks / f"stand-in-{len(list(self.hooks.iterdir()))}"
        program.write_text(text)
        program.chmod(0o755)
        return program

    def says(self, node: str) -> str:
        """State and reason of a node, as sinfo has them."""
        return self.slurm.must("run", "sinfo", "-h", "-N", "-n", node, "-o", "%T %E").strip()

    def reasons(self) -> str:
        """What an administrator sees of drained nodes."""
        return self.slurm.must("run", "sinfo", "-h", "-R", "-o", "%E|%N")

    def until(self, done: Callable[[], bool], what: str, within_s: float = 45) -> None:
        """Wait until `done`; a check comes every few seconds."""
        end = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end, f"{what}: not after {within_s:g} s\n{self.told()}"
            time.sleep(0.2)

    def told(self) -> str:
        """What the hooks logged and what Slurm has."""
        return f"{self.log.read_text()}\n{self.slurm.must('run', 'sinfo', '-N', '-o', '%N %T %E')}"

    def checked(self, node: str) -> None:
        """Wait until a health check of `node` that began from now on has logged something."""
        seen = self.entries(node)
        self.until(lambda: self.entries(node) >= seen + 2, f"two more checks of {node}")

    def entries(self, node: str) -> int:
        """How many lines the health checks of a node have logged."""
        return self.log.read_text().count(f" {node} healthcheck: ")

    def verdict(self, node: str, verdict: Verdict, minutes_ago: int = 0) -> Path:
        """Leave a verdict of `node` in the site's folder, under a name that shows it whole at once."""
        at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        hidden = stored(self.runs / node / f".{at.timestamp()}", verdict, at, node)
        return hidden.rename(hidden.with_name(hidden.name[1:]))


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, up; ended after the tests of this file."""
    need("slurmctld", "slurmd", "srun", "sbatch", "scontrol", "munged", "ip", "nsenter", "timeout")
    site = Site(tmp_path_factory.mktemp("site"))
    hooks = [word for name in ("prolog", "epilog") for word in (f"--{name}", site.hooks / f"{name}.sh")]
    health = ("--health", site.hooks / "healthcheck.sh", "--health-interval", 2)
    site.slurm.must("up", "--nodes", 2, *hooks, *health)
    yield site
    site.slurm.must("down")


@pytest.fixture
def site(hooked: Site) -> Site:
    """The site with no verdict, an empty log and both nodes idle."""
    hooked.configure()
    shutil.rmtree(hooked.runs)
    hooked.runs.mkdir()
    hooked.log.write_text("")
    for node in ("n1", "n2"):
        hooked.slurm.do("run", "scontrol", "update", f"nodename={node}", "state=undrain")
    hooked.until(lambda: all("idle" in hooked.says(node) for node in ("n1", "n2")), "both nodes idle")
    return hooked


def undisturbed(site: Site, node: str) -> tuple[int, float]:
    """Qualify a node by a job; its exit code and its speed, flop/s. Tried again for a minute while other programs use
    this machine's cores: such a run can condemn no node, and its speed says nothing. Then nothing can be tested."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        known = set((site.runs / node).glob("[0-9]*"))
        words = ("sbatch", "-W", "-w", node, "-o", "/dev/null", site.hooks / "qualify.sbatch", site.hooks, site.recipe)
        done = site.slurm.do("run", *words, timeout_s=150)
        (run,) = set((site.runs / node).glob("[0-9]*")) - known or [None]
        assert run is not None, f"{done.returncode}: {done.stdout}{done.stderr}{site.told()}"
        metrics = json.loads((run / "scorecard.json").read_text())["metrics"]
        (speed,) = [m for m in metrics if m["key"] == "compute.gemm.fp32.flops" and "device" not in m]
        if speed["status"] == "valid":
            return done.returncode, float(speed["quantity"]["value"])
    pytest.skip(f"{node} was never measured undisturbed: other programs use this machine's cores")


def test_a_slowed_node_is_drained_and_undrained_after_and_a_good_one_stays(site: Site) -> None:
    # A check's time on these cores is foreign load to a measurement beside it, so it waits until there are verdicts.
    site.configure(EFFBENCH=site.standing_in(ONLY.format(what="qualify/*", effbench=EFFBENCH)))
    site.policy.write_text(POLICY.format(flops=1))
    code, here = undisturbed(site, "n1")
    assert code == 0
    site.policy.write_text(POLICY.format(flops=0.9 * here))
    site.slurm.must("slow", "n2", 0.7)
    try:
        assert undisturbed(site, "n2")[0] == 1
    finally:
        site.slurm.must("slow", "n2", 0)
    site.until(lambda: site.says("n2") == "idle none", "n2 idle, its job over")  # nothing drained it so far
    site.configure()
    site.until(lambda: "drained" in site.says("n2"), "n2 drained")
    assert "effbench: compute.gemm.fp32.flops " in site.reasons() and site.reasons().strip().endswith("|n2")
    assert "FLOP/s on cpu, required at least " in site.reasons()
    assert site.says("n1") == "idle none"
    # Slurm gives no job to a drained node: the same script, on the node itself.
    site.policy.write_text(POLICY.format(flops=1))
    site.slurm.must("on", "n2", "sh", site.hooks / "qualify.sbatch", site.hooks, site.recipe, timeout_s=150)
    site.until(lambda: site.says("n2") == "idle none", "n2 idle")
    assert site.log.read_text().count("drain: n2") == 2  # once each way, however many checks there were


def test_a_fail_drains_with_its_reason_and_a_pass_undrains(site: Site) -> None:
    site.verdict("n2", "fail", minutes_ago=5)
    site.until(lambda: "drained" in site.says("n2"), "n2 drained")
    assert site.reasons().strip() == f"effbench: {METRIC} 61.0 % on gpu3, required at least 75.0 %|n2"
    site.verdict("n2", "pass")
    site.until(lambda: site.says("n2") == "idle none", "n2 idle")
    assert site.says("n1") == "idle none"


def test_a_crash_drains_nothing_and_is_logged(site: Site) -> None:
    site.configure(EFFBENCH=site.standing_in(CRASHES), ON_NOT_RATED="drain", ON_UNDECIDED="drain")
    site.verdict("n1", "fail")
    site.until(lambda: "n2 healthcheck: effbench verdict ended with 1" in site.log.read_text(), "a crash in the log")
    site.log.write_text("")
    site.checked("n1")
    assert "Traceback: boom" in site.log.read_text()
    assert site.says("n1") == site.says("n2") == "idle none"
    # Nor does it end a job: neither Prolog nor Epilog fails, on which Slurm would drain the node.
    assert site.slurm.must("run", "srun", "-w", "n1", "hostname").strip() == "n1"
    site.until(lambda: "n1 epilog: effbench verdict ended with 1" in site.log.read_text(), "the epilog in the log")
    site.until(lambda: site.says("n1") == "idle none", "n1 idle")


def test_what_an_administrator_drained_stays(site: Site) -> None:
    site.slurm.must("run", "scontrol", "update", "nodename=n1", "state=drain", "reason=fan replaced")
    site.verdict("n1", "fail", minutes_ago=5)
    site.checked("n1")
    assert site.says("n1") == "drained fan replaced"
    site.verdict("n1", "pass")
    site.until(lambda: _quiet(site, "n1"), "n1 passes")
    assert site.says("n1") == "drained fan replaced"


def _quiet(site: Site, node: str) -> bool:
    """Has a check of the node seen its pass? It logs nothing then, so it is asked as the check asks."""
    words = (sys.executable, "-m", "effbench", "verdict", "--folder", site.runs, "--node", node, "--slurm")
    return "left as it is: drained, by somebody else: fan replaced" in site.slurm.do("run", *words).stdout


def test_no_verdict_does_what_the_site_chose(site: Site) -> None:
    site.checked("n1")
    assert "the site keeps such a node" in site.log.read_text() and site.says("n1") == "idle none"
    site.configure(ON_NOT_RATED="drain")
    site.until(lambda: "drained effbench: not rated: no verdict of n1" in site.says("n1"), "n1 drained")
    site.verdict("n1", "pass")
    site.until(lambda: site.says("n1") == "idle none", "n1 idle")


def test_a_job_does_not_start_on_a_node_that_failed(site: Site) -> None:
    """The Prolog comes before any health check: the job is requeued, and the reason stays effbench's."""
    site.configure(EFFBENCH=site.standing_in(ONLY.format(what="verdict/job", effbench=EFFBENCH)))
    site.verdict("n1", "fail")
    job = site.slurm.must("run", "sbatch", "--parsable", "-w", "n1", "-o", "/dev/null", "--wrap", "true").strip()
    site.until(lambda: "drained" in site.says("n1"), "n1 drained")
    assert site.says("n1").startswith(f"drained effbench: {METRIC} ")
    assert "drain: n1" in site.log.read_text().partition(" n1 prolog: ")[2]
    assert site.slurm.must("run", "squeue", "-h", "-j", job, "-o", "%T").strip() == "PENDING"
    site.slurm.must("run", "scancel", job)


def test_the_epilog_qualifies_a_node_whose_verdict_is_old(site: Site) -> None:
    site.policy.write_text(POLICY.format(flops=1))
    site.configure(EPILOG_RECIPE=site.recipe)
    site.verdict("n2", "pass", minutes_ago=30)
    assert sorted(site.slurm.must("run", "srun", "-N2", "hostname").split()) == ["n1", "n2"]
    site.until(lambda: len(list((site.runs / "n1").glob("[0-9]*"))) == 1, "n1 qualified", 60)
    assert len(list((site.runs / "n2").glob("*"))) == 1  # that of half an hour ago
    site.until(lambda: site.says("n1") == "idle none", "n1 idle")


def test_hooks_without_their_settings_say_so_and_touch_nothing(site: Site) -> None:
    (site.hooks / "site.conf").rename(site.hooks / "away")
    try:
        for hook, status in (("healthcheck", 2), ("prolog", 0), ("epilog", 0)):
            done = site.slurm.do("on", "n1", "env", "-i", "SLURMD_NODENAME=n1", site.hooks / f"{hook}.sh")
            assert done.returncode == status and "site.conf is missing" in done.stderr, done.stderr
    finally:
        (site.hooks / "away").rename(site.hooks / "site.conf")
    assert site.says("n1") == "idle none"
