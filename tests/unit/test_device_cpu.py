"""The CPU's description: identity, cores that are ours, caches, memory; recorded trees and this machine."""

import os
from pathlib import Path

import device_trees as trees
import msgspec
import pytest

from effbench.device import cgroup, cpu, cpu_names
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator
from effbench.run import placement


def codes(findings):
    return [finding.code for finding in findings]


def test_zen4_guest(tmp_path):
    device, findings = cpu.describe(trees.zen4_vm(tmp_path))
    facts = device.cpu
    assert (device.key, device.kind, device.vendor, device.torch_device) == ("cpu", "cpu", "amd", "cpu")
    assert (facts.vendor, facts.family, facts.model) == ("AuthenticAMD", 25, 17)
    assert "avx512_bf16" in facts.flags
    assert facts.affinity == [0, 1], "CPUs that are allowed but not online do not count"
    assert (facts.cores_usable, facts.cores_physical, facts.threads_logical) == (2.0, 2, 2)
    assert facts.virtual
    assert facts.nominal_hz == pytest.approx(2.59613e9)
    assert facts.governor is None
    assert device.llc_bytes == 32 << 20
    assert device.memory_bytes == 24684084 * 1024
    assert device.numa == 0
    assert device.part is None
    assert codes(findings) == ["virtual-topology"]


def test_two_sockets_count_cores_not_threads(tmp_path):
    device, findings = cpu.describe(trees.xeon_two_sockets(tmp_path))
    facts = device.cpu
    assert (facts.cores_usable, facts.cores_physical, facts.threads_logical) == (8.0, 8, 16)
    assert device.llc_bytes == 2 * (105 << 20), "both sockets' caches hold the working set"
    assert device.numa is None
    assert (facts.nominal_hz, device.clock_max_hz) == (2.0e9, 3.8e9)
    assert facts.governor == "powersave"
    assert not facts.virtual
    assert findings == []


def test_siblings_of_one_core_are_one(tmp_path):
    root = trees.xeon_two_sockets(tmp_path)
    trees.put(root, {"proc/self/status": "Cpus_allowed_list:\t0,8\n"})
    device, _ = cpu.describe(root)
    assert device.cpu.cores_usable == 1.0
    assert device.llc_bytes == 105 << 20
    assert device.numa == 0


def test_ranks_never_share_a_core_however_its_threads_are_numbered(tmp_path):
    """Guests number the two threads of a core one after another, most bare machines half way apart."""
    root = trees.xeon_two_sockets(tmp_path)
    for number in range(0, 16, 2):
        for sibling in (number, number + 1):
            trees.put(root, {f"sys/devices/system/cpu/cpu{sibling}/topology/core_cpus_list": f"{number}-{number + 1}"})
    device, _ = cpu.describe(root)
    assert device.cpu.affinity == [*range(0, 16, 2), *range(1, 16, 2)]
    for team in placement.teams(None, [device]):
        cores = [number // 2 for own in team.placement.cores for number in own]
        assert len(cores) == len(set(cores)) == team.placement.ranks
    trees.put(root, {"proc/self/status": "Cpus_allowed_list:\t1-4\n"})
    assert cpu.describe(root)[0].cpu.affinity == [1, 2, 4, 3]


def test_grace_like(tmp_path):
    device, findings = cpu.describe(trees.grace(tmp_path))
    facts = device.cpu
    assert (facts.isa, facts.vendor, facts.family, facts.model) == ("aarch64", "ARM", 8, 0xD4F)
    assert (device.vendor, device.name) == ("arm", "Neoverse-V2")
    assert "svebf16" in facts.flags
    assert facts.nominal_hz is None
    assert facts.cores_usable == 4.0
    assert device.llc_bytes == 116736 << 10
    assert findings == []


def test_container_is_bounded_by_quota_and_memory_limit(tmp_path):
    root = trees.container(tmp_path)
    device, _ = cpu.describe(root)
    assert device.cpu.cgroup_quota_cores == 2.5, "the pod's quota, found on the way up"
    assert device.cpu.cores_usable == 2.5
    assert device.memory_bytes == 8 << 30
    memory = cpu.memory(root)
    assert memory.limit_bytes == 8 << 30
    assert memory.available_bytes == 4 << 30, "limit - used + page cache that can be dropped"


def test_quota_above_the_cores_does_not_add_any(tmp_path):
    root = trees.container(tmp_path)
    trees.put(root, {f"sys/fs/cgroup{Path(trees.CONTAINER).parent}/cpu.max": "2000000 100000"})
    assert cpu.describe(root)[0].cpu.cores_usable == 4.0


def test_version_1_limits(tmp_path):
    root = trees.zen4_vm(tmp_path)
    trees.put(
        root,
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/memory/jobs/1/memory.limit_in_bytes": str(4 << 30),
            "sys/fs/cgroup/memory/jobs/1/memory.usage_in_bytes": str(3 << 30),
            "sys/fs/cgroup/memory/jobs/1/memory.stat": f"cache 5\ntotal_inactive_file {1 << 29}",
        },
    )
    assert cgroup.quota_cores(root) == 1.5
    assert cgroup.memory_limit_bytes(root) == 4 << 30
    assert cgroup.memory_left_bytes(root) == (1 << 30) + (1 << 29)


def test_group_seen_through_a_mounted_subtree(tmp_path):
    """Without a namespace of its own a container sees the host's path, and only its own part of the tree."""
    trees.put(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/abc/inner",
            "proc/self/mountinfo": "29 22 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
            "sys/fs/cgroup/cpu.max": "300000 100000",
            "sys/fs/cgroup/inner/cpu.max": "max 100000",
        },
    )
    group = cgroup.find("cpu", tmp_path)
    assert group.folder == tmp_path / "sys/fs/cgroup/inner"
    assert cgroup.quota_cores(tmp_path) == 3.0


@pytest.mark.parametrize("path", ["/docker/other", "/../../elsewhere", "/gone/long/ago"])
def test_group_outside_the_mount_falls_back_to_its_top(tmp_path, path):
    trees.put(
        tmp_path,
        {
            "proc/self/cgroup": f"0::{path}",
            "proc/self/mountinfo": "29 22 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
            "sys/fs/cgroup/cpu.max": "100000 100000",
        },
    )
    assert cgroup.quota_cores(tmp_path) == 1.0


def test_no_control_groups_no_limits(tmp_path):
    assert cgroup.find("cpu", tmp_path) is None
    assert cgroup.quota_cores(tmp_path) is None
    assert cgroup.memory_limit_bytes(tmp_path) is None
    assert cgroup.memory_left_bytes(tmp_path) is None


def test_unknown_cache_is_a_finding(tmp_path):
    root = trees.zen4_vm(tmp_path)
    for path in root.glob("sys/devices/system/cpu/cpu*/cache/index*/size"):
        path.unlink()
    device, findings = cpu.describe(root)
    assert device.llc_bytes == 1 << 20
    assert "sensor-absent" in codes(findings)
    assert "1048576" in findings[0].message


def test_unknown_topology_falls_back_to_cpuinfo_then_to_a_finding(tmp_path):
    root = trees.xeon_two_sockets(tmp_path)
    for path in root.glob("sys/devices/system/cpu/cpu*/topology/core_cpus_list"):
        path.unlink()
    assert cpu.describe(root)[0].cpu.cores_physical == 8
    text = (root / "proc/cpuinfo").read_text()
    (root / "proc/cpuinfo").write_text("\n".join(line for line in text.split("\n") if "id\t" not in line[:12]))
    device, findings = cpu.describe(root)
    assert device.cpu.cores_physical == 16
    assert codes(findings) == ["sensor-absent"]


@pytest.mark.parametrize("missing", ["proc/cpuinfo", "proc/meminfo"])
def test_not_linux_is_said_plainly(tmp_path, missing):
    root = trees.zen4_vm(tmp_path)
    (root / missing).unlink()
    with pytest.raises(SiteError, match="Linux"):
        cpu.describe(root)


@pytest.mark.parametrize(
    ("files", "virtual"),
    [
        ({}, False),
        ({"sys/class/dmi/id/product_name": "KVM Virtual Machine"}, True),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "c8g.large"}, True),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "c8g.metal-24xl"}, False),
        ({"sys/hypervisor/type": "xen"}, True),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm"}, True),
    ],
)
def test_virtual_machines_without_a_flag(tmp_path, files, virtual):
    root = trees.put(trees.grace(tmp_path), files)
    assert cpu.describe(root)[0].cpu.virtual is virtual


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), (" 0-1\n", [0, 1]), ("0,2,4-5", [0, 2, 4, 5])],
)
def test_cpu_list(text, cpus):
    assert cpu.cpu_list(text) == cpus


def test_names_survive_odd_lines(tmp_path):
    trees.put(tmp_path, {"proc/cpuinfo": "processor\t: 0\ncpu family\t: ?\ncache size\t: big\nnonsense\n"})
    name = cpu_names.read(tmp_path)
    assert (name.vendor, name.family, name.cache_bytes, name.isa) == ("unknown", 0, None, "unknown")


def test_this_machine():
    device, _ = cpu.describe()
    assert set(device.cpu.affinity) == os.sched_getaffinity(0)
    assert 0 < device.cpu.cores_usable <= device.cpu.cores_physical <= device.cpu.threads_logical
    assert device.memory_bytes > 1 << 28
    assert 0 < cpu.memory().available_bytes <= cpu.memory().total_bytes
    assert msgspec.json.decode(msgspec.json.encode(device), type=Accelerator) == device
