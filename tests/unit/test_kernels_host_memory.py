"""Bandwidth per NUMA node: placement read back, every element compared, and trees of machines that this one is not."""

import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from effbench.kernels import host_memory, numa
from effbench.kernels.host_memory import Params
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

SIZE = 1 << 20
HERE = numa.nodes()[0].number


def built(**params: Any) -> Any:
    return host_memory.build(Params(**{"node": HERE, "array_bytes": SIZE, **params}), cpu_rig())


@pytest.mark.parametrize("op", ["triad", "copy", "read"])
def test_the_nodes_memory_is_used_verified_and_given_back(op: str) -> None:
    threads, masks = torch.get_num_threads(), numa.threads()
    step = built(op=op)
    step.run(0)
    assert step.verify().ok
    assert step.facts()["array_bytes"] == SIZE
    there = numa.spread(array.data_ptr() for array in step._arrays)
    assert not there or set(there) == {HERE}
    if len(numa.nodes()) == 1:
        assert "a single NUMA node" in step.texts()["numa"]
    step.close()
    assert torch.get_num_threads() == threads
    assert {t: m for t, m in numa.threads().items() if t in masks} == masks


@pytest.mark.parametrize("op", ["triad", "copy", "read"])
def test_one_wrong_element_is_found(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = built(op=op)
    right = step.run

    def wrong(i: int) -> None:
        right(i)
        step._arrays[0][0 if op == "read" else 77_777] += 1

    monkeypatch.setattr(step, "run", wrong)
    verdict = step.verify()
    step.close()
    assert not verdict.ok and verdict.detail.startswith("1 of ")


def test_pages_on_another_node_are_no_figure_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, threads = numa.threads(), torch.get_num_threads()
    monkeypatch.setattr(numa, "spread", lambda addresses: {HERE: 60 * SIZE, HERE + 1: 40 * SIZE})
    with pytest.raises(SiteError, match=f"40% of the arrays lie outside NUMA node {HERE}"):
        built()
    assert {t: m for t, m in numa.threads().items() if t in masks} == masks
    assert torch.get_num_threads() == threads


def test_where_memory_lies_unseen_several_nodes_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sorted(os.sched_getaffinity(0))
    both = [numa.Node(HERE, own, True), numa.Node(HERE + 1, own, True)]
    monkeypatch.setattr(numa, "spread", lambda addresses: {})
    monkeypatch.setattr(numa, "nodes", lambda: both)
    with pytest.raises(SiteError, match="does not say on which NUMA node"):
        built()
    monkeypatch.setattr(numa, "nodes", lambda: both[:1])
    step = built()
    assert "does not list pages" in step.texts()["memory"]
    step.close()


def test_a_container_that_forbids_mbind_gets_first_touch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numa, "bind", lambda region, number: "mbind: Operation not permitted")
    step = built()
    assert step.texts()["memory"].startswith("first touched from the node's cores (mbind: Operation not permitted)")
    assert step.verify().ok
    step.close()


def test_nodes_that_cannot_be_measured_say_why() -> None:
    known = [numa.Node(0, [0, 1], True), numa.Node(1, [2, 3], True), numa.Node(2, [], True), numa.Node(3, [4], False)]
    assert host_memory._lacking(0, known, {0}) == ""
    assert "may use none of the cores" in host_memory._lacking(1, known, {0, 1})
    assert "no cores of its own" in host_memory._lacking(2, known, {0})
    assert "has no memory" in host_memory._lacking(3, known, {4})
    assert host_memory._lacking(4, known, {0}) == "this machine has no NUMA node 4; it has 0, 1, 2, 3"
    assert host_memory._lacking(1, known[:1], {0}).endswith("it has 0 alone")


def test_the_nodes_of_another_machine_are_read(tmp_path: Path) -> None:
    for number, cpus in ((0, "0-1,4"), (1, "2-3"), (8, "")):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}" / "cpulist").write_text(cpus + "\n")
    (tmp_path / "online").write_text("0-1,8\n")
    (tmp_path / "has_memory").write_text("0,8\n")
    assert numa.nodes(tmp_path) == [
        numa.Node(0, [0, 1, 4], True),
        numa.Node(1, [2, 3], False),
        numa.Node(8, [], True),
    ]
    assert [node.number for node in numa.nodes(tmp_path / "absent")] == [0]


def test_pages_are_counted_on_the_node_that_has_them(tmp_path: Path) -> None:
    table = tmp_path / "numa_maps"
    table.write_text(
        "7f0000000000 bind:1 anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=2048\n7f0010000000 default anon=5 N0=5\n"
    )
    assert numa.spread([0x7F0000000100], table) == {0: 2 << 20, 1: 4 << 20}
    assert numa.spread([0x7F0010000000], table) == {0: 5 * 4096}
    assert numa.spread([0x10], table) == {}
    assert numa.spread([0x10], tmp_path / "absent") == {}


def test_binding_to_a_node_that_is_not_there_says_why() -> None:
    with mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region:
        assert numa.bind(region, 999).startswith(("mbind: ", "no system call"))


def test_sizes_follow_the_cache_and_the_class() -> None:
    assert host_memory.fit(Params(), cpu(llc_bytes=32 << 20)).array_bytes == 128 << 20
    assert host_memory.fit(Params(), cpu(memory_bytes=1 << 30)).array_bytes == 64 << 20
    assert host_memory.fit(Params(), gpu()).array_bytes == 2 << 30
    with pytest.raises(SiteError, match=r"bytes, .* are available"):
        built(array_bytes=1 << 50)
