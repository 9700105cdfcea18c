"""Whole fleets through the command line, by pytest-benchmark: 10,000 nodes of 200 figures, once, in real children.

Times and MB/s are printed, never judged; memory and exit codes are. The files are read from the page cache.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.overhead._fleet import Done, timed, write_cards, write_summary

NODES, FIGURES = 10_000, 200
MEMORY_MAX_BYTES = 300e6
IMPORT = ("import", "superbench", "--accelerator", "nvidia-h200-sxm")
Words = tuple[str | Path, ...]


class Fleet:
    """One benchmark of commands over one file; lives for one test."""

    def __init__(self, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self._benchmark, self._capsys = benchmark, capsys

    def judged(self, source: Path, *commands: Words) -> list[int]:
        """Run the commands once, say what they took, hold the memory of each to the limit, return the exit codes."""
        found: list[Done] = self._benchmark.pedantic(lambda: [timed(*words) for words in commands], rounds=1)
        wall, cpu = (sum(times) for times in zip(*((done.wall_s, done.cpu_s) for done in found), strict=True))
        size, most = source.stat().st_size, max(done.memory_bytes for done in found)
        told = {"file_bytes": size, "bytes_per_s": size / wall, "cpu_s": cpu, "memory_bytes": most}
        self._benchmark.extra_info.update(told)
        with self._capsys.disabled():
            text = f"{size / 1e6:.0f} MB in {wall:.1f} s ({cpu:.1f} s of CPU), {size / 1e6 / wall:.0f} MB/s"
            print(f"\n{' + '.join(str(words[0]) for words in commands)}: {text}, {most / 1e6:.0f} MB held")
        assert most <= MEMORY_MAX_BYTES
        return [done.code for done in found]


@pytest.fixture
def fleet(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> Fleet:
    return Fleet(benchmark, capsys)


def test_import_and_judge(fleet: Fleet, tmp_path: Path) -> None:
    """SuperBench's kind of file: at most 5 s."""
    path, out = tmp_path / "results-summary.jsonl", tmp_path / "out"
    write_summary(path, NODES, FIGURES)
    assert fleet.judged(path, (*IMPORT, path, "-o", out), ("grade", out)) == [0, 3]


def test_baseline_of_an_import(fleet: Fleet, tmp_path: Path) -> None:
    """Of the file's 10,000 nodes, from what the import wrote: at most 5 s."""
    path, out = tmp_path / "results-summary.jsonl", tmp_path / "out"
    write_summary(path, NODES, FIGURES)
    assert timed(*IMPORT, path, "-o", out).code == 0
    assert fleet.judged(out / "records.jsonl", ("baseline", out, "-o", tmp_path / "baseline.json")) == [0]


def test_scorecards_as_json_lines(fleet: Fleet, tmp_path: Path) -> None:
    """At most 15 s; a tenth of the nodes is slow and fails."""
    path, grades = tmp_path / "cards.jsonl", tmp_path / "grades.jsonl"
    write_cards(path, NODES, FIGURES)
    try:
        assert fleet.judged(path, ("grade", path, "-o", grades)) == [1]
    finally:
        path.unlink()  # 1 GB that pytest would keep
        grades.unlink(missing_ok=True)
