"""A campaign on Slurm: submit one task per node (or one job over nodes), follow them by `squeue`, name who is lost.

Does not measure, score or print. `close` cancels by id whatever has not ended, on every way out.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from effbench.launch import slurm_batch, slurm_queue
from effbench.launch.slurm_batch import FOLDER, Asked
from effbench.model.cluster import Campaign
from effbench.model.error import DocumentError, InputError, OutputError, SiteError
from effbench.run.task_fate import DONE, Limits, Signs, fate

__all__ = ["MANIFEST", "WHOLE", "Batch", "manifest", "usable"]

MANIFEST, WHOLE = "campaign.json", "run"
SQUEUE_SILENT_S = 300.0
POLL_MAX_S = 10.0


def manifest(root: Path) -> Campaign | None:
    """Return what is known of the campaign in `root`; None where there was none.

    Raises:
        DocumentError: it is damaged.
    """
    path = root / FOLDER / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Campaign)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{path}: cannot be read: {error}; remove it to score the folders that are there"
        ) from error


def usable(listed: str, partition: str, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Choose the nodes of a campaign: those of `listed` (or `all`) that can run a job, and why others cannot.

    Raises:
        InputError: a name is no node of the cluster; the message lists those that are.
    """
    known = {node.name: node for node in slurm_queue.nodes(environment, partition)}
    wanted = list(known) if listed == "all" else slurm_queue.hostnames(listed, environment)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        where = f"partition {partition}" if partition else "the cluster"
        shown = ", ".join(list(known)[:12]) + (" ..." if len(known) > 12 else "")
        raise InputError(f"--nodes: {', '.join(unknown[:5])} not in {where}, which has {shown}")
    barred = {
        name: f"not asked: Slurm has it as {known[name].state}"
        + (f" ({known[name].reason})" if known[name].reason else "")
        for name in wanted
        if not known[name].able
    }
    return [name for name in wanted if name not in barred], barred


class Batch:
    """Tasks that were handed to Slurm. Submit, `follow` to the end, and `close` in any case."""

    def __init__(
        self,
        root: Path,
        asked: Asked,
        environment: Mapping[str, str],
        tell: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self.root, self.asked, self._tell = root, asked, tell
        self._environment, self._limits = dict(environment), limits or Limits()
        self._names: dict[tuple[str, int | None], str] = {}
        self._fates: dict[str, str] = {}
        self._signs: dict[str, Signs] = {}
        self._jobs: list[str] = []
        self._token = f"{os.getpid():x}{time.time_ns():x}"
        self._suite, self._started_at = "", datetime.now(UTC).isoformat(timespec="seconds")

    def prepare(self, suite: str, barred: Mapping[str, str]) -> None:
        """Make the campaign's own folder; `barred` nodes are in its list from the start, with their reason.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._suite = suite
        self._fates |= barred
        try:
            for name in ("started", "ended", "logs"):
                (self.root / FOLDER / name).mkdir(parents=True, exist_ok=True)
                for stale in (self.root / FOLDER / name).iterdir():
                    if name != "logs":
                        stale.unlink()
            (self.root / FOLDER / "token").write_text(self._token + "\n", "ascii")
        except OSError as error:
            raise OutputError(f"{self.root}: cannot write there: {error.strerror}; choose another with -o") from error
        self._note()

    def each(self, names: Sequence[str], called: Sequence[str], at_once: int | None = None) -> None:
        """Submit one task per node, pinned to it: an array, or several where Slurm limits their length.

        Raises:
            InputError: sbatch refuses. SiteError: the tasks cannot be pinned to their nodes.
        """
        limit = slurm_queue.array_limit(self._environment)
        text = slurm_batch.script(self._token, self.root, called, each=True)
        for first in range(0, len(names), limit):
            part = names[first : first + limit]
            throttle = f"%{at_once}" if at_once else ""
            options = [*slurm_batch.words(self.asked, self._token), "--nodes=1", "--ntasks=1", "--hold"]
            job = slurm_queue.submit([*options, f"--array=0-{len(part) - 1}{throttle}"], text, self._environment)
            self._jobs.append(job)
            self._names |= {(job, i): name for i, name in enumerate(part)}
            self._note()
            slurm_queue.pin(job, part, self._environment)
        self._tell(f"Slurm job {', '.join(self._jobs)}: {len(names)} nodes, one task each, in {self.root}")

    def whole(self, called: Sequence[str], placed: Sequence[str]) -> None:
        """Submit one job over several nodes; `placed` are the words that say which (`--nodes=4`).

        `--no-kill`: the run outlives the loss of a node and writes its record.

        Raises:
            InputError: sbatch refuses.
        """
        text = slurm_batch.script(self._token, self.root, called, each=False)
        options = [*slurm_batch.words(self.asked, self._token), *placed, "--no-kill"]
        job = slurm_queue.submit(options, text, self._environment)
        self._jobs.append(job)
        self._names[(job, None)] = WHOLE
        self._note()
        self._tell(f"Slurm job {job}: one run over nodes, in {self.root}")

    def follow(self) -> dict[str, str]:
        """Poll until every task has ended or is given up. Returns what became of each: `done`, or a sentence.

        Raises:
            SiteError: squeue is silent for minutes, or no task can write where we read: storage is not shared.
        """
        began = answered = time.monotonic()
        shown = ""
        while self._open():
            try:
                seen = slurm_queue.tasks(self._jobs, self._environment)
                unable = self._unable(seen)
                answered = time.monotonic()
            except SiteError:
                if time.monotonic() - answered > SQUEUE_SILENT_S:
                    raise
            else:
                self._judge(seen, unable)
                if (line := self._counted(seen)) != shown:
                    self._tell(shown := line)
            if self._open():
                time.sleep(min(POLL_MAX_S, self._limits.poll_s + (time.monotonic() - began) / 60))
        return dict(self._fates)

    def close(self) -> None:
        """Cancel by id what has not ended, and note how it stands. Safe to call twice."""
        for name in self._open():
            self._fates[name] = "cancelled: the campaign was ended before this node reported"
        slurm_queue.cancel(self._jobs, self._environment)
        # sbatch may have been interrupted before it told the id: the name holds the token and is nobody else's
        slurm_queue.cancel([f"--name={slurm_batch.job_name(self._token)}"], self._environment)
        self._note(ended=True)

    def log_tail(self, name: str, lines: int = 3) -> str:
        """Return the last lines that the run on a node printed; empty when there are none."""
        try:
            text = (self.root / FOLDER / "logs" / name).read_text("utf-8", "replace")
        except OSError:
            return ""
        return " / ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    def _open(self) -> list[str]:
        return [name for name in self._names.values() if name not in self._fates]

    def _unable(self, seen: Sequence[slurm_queue.Task]) -> dict[str, str]:
        """Return the nodes that cannot run a job now and why, asked for only while something waits."""
        if not any(task.state == "PENDING" and task.wanted for task in seen):
            return {}
        return {
            node.name: f"{node.state}{f', {node.reason}' if node.reason else ''}"
            for node in slurm_queue.nodes(self._environment)
            if not node.able
        }

    def _judge(self, seen: Sequence[slurm_queue.Task], unable: Mapping[str, str]) -> None:
        by_key = {(task.job, task.index): task for task in seen}
        folder = self.root / FOLDER
        started, ended = _names_in(folder / "started"), _names_in(folder / "ended")
        for key, name in self._names.items():
            if name in self._fates:
                continue
            task = by_key.get(key)
            signs = self._signs.setdefault(name, Signs())
            verdict = fate(task, name in started, name in ended, unable.get(name, ""), signs, self._limits)
            if verdict is None:
                continue
            if verdict == DONE:
                verdict = self._status(name)
            elif task is not None and task.state not in slurm_queue.ENDED:
                slurm_queue.cancel([f"{key[0]}_{key[1]}" if key[1] is not None else key[0]], self._environment)
            self._fates[name] = verdict
            self._note()
            self._tell(f"{name}: {verdict}")

    def _status(self, name: str) -> str:
        """Say how the run of a node ended; every verdict is `done`, anything else is told with its last words."""
        try:
            code = (self.root / FOLDER / "ended" / name).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            code = "?"
        if code in ("0", "1", "3", "4"):
            return DONE
        return f"effbench ended with status {code} there: {self.log_tail(name) or 'it printed nothing'}"

    def _counted(self, seen: Sequence[slurm_queue.Task]) -> str:
        running = sum(task.state in ("RUNNING", "COMPLETING") for task in seen)
        done = sum(self._fates.get(name) == DONE for name in self._names.values())
        gone = sum(name in self._fates for name in self._names.values()) - done
        waits = [task.reason for task in seen if task.state == "PENDING"]
        why = f" ({', '.join(sorted(set(waits))[:2])})" if waits else ""
        lost = f", {gone} without a result" if gone else ""
        return f"{done} of {len(self._names)} done, {running} running, {len(waits)} waiting{why}{lost}"

    def _note(self, ended: bool = False) -> None:
        """Keep the list of what was asked and what became of it: a campaign that is cut off can be scored by hand."""
        known = {name: self._fates.get(name, "asked") for name in [*self._names.values(), *self._fates]}
        now = datetime.now(UTC).isoformat(timespec="seconds") if ended else ""
        document = Campaign("effbench.campaign/1", self._suite, self._token, known, self._jobs, self._started_at, now)
        path = self.root / FOLDER / MANIFEST
        temporary = path.with_name(f".{MANIFEST}.{os.getpid()}")
        try:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot write: {error.strerror}") from error


def _names_in(folder: Path) -> frozenset[str]:
    """List a folder anew: opening it makes NFS look (close-to-open), where a path's own cache may lag."""
    try:
        return frozenset(entry.name for entry in os.scandir(folder))
    except OSError:
        return frozenset()
