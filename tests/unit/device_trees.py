"""Small trees of /proc and /sys as four kinds of machine show them, for readers that take a root."""

from pathlib import Path

KIB = 1024
FLAGS_ZEN4 = "fpu sse2 hypervisor avx avx2 fma avx512f avx512bw avx512vl avx512_bf16 avx512_vnni"
FLAGS_XEON = "fpu sse2 avx avx2 fma avx512f avx512bw avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8"
CONTAINER = "/kubepods/burstable/pod7/c0ffee"
NO_LIMIT_V1 = "9223372036854771712"


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.endswith("\n") else text + "\n")
    return root


def x86(vendor: str, family: int, model: int, name: str, flags: str, mhz: str, cache: str, places) -> str:
    blocks = [
        f"processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n"
        f"cpu MHz\t\t: {mhz}\ncache size\t: {cache}\nphysical id\t: {package}\n"
        f"core id\t\t: {core}\nflags\t\t: {flags}\n"
        for cpu, package, core in places
    ]
    return "\n".join(blocks)


def cpu_folder(cpu: int, siblings: str, package: int, caches: list[tuple[int, str, str, str]]) -> dict[str, str]:
    here = f"sys/devices/system/cpu/cpu{cpu}"
    files = {
        f"{here}/topology/core_cpus_list": siblings,
        f"{here}/topology/physical_package_id": str(package),
    }
    for i, (level, kind, size, shared) in enumerate(caches):
        files |= {
            f"{here}/cache/index{i}/level": str(level),
            f"{here}/cache/index{i}/type": kind,
            f"{here}/cache/index{i}/size": size,
            f"{here}/cache/index{i}/shared_cpu_list": shared,
        }
    return files


def meminfo(total_kib: int, available_kib: int) -> str:
    return f"MemTotal:       {total_kib} kB\nMemFree:        {available_kib} kB\nMemAvailable:   {available_kib} kB\n"


def zen4_vm(root: Path) -> Path:
    """Two CPUs of an EPYC, as a guest sees them: nominal clock, no governor, version 1 control groups."""
    files = {
        "proc/cpuinfo": x86(
            "AuthenticAMD", 25, 17, "AMD EPYC", FLAGS_ZEN4, "2596.130", "1024 KB", [(0, 0, 0), (1, 0, 1)]
        ),
        "proc/meminfo": meminfo(24684084, 24164800),
        "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-127\n",
        "proc/self/cgroup": "4:memory:/jobs/1\n1:cpu,cpuacct:/\n0::/",
        "proc/self/mountinfo": (
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
        ),
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0",
        "sys/fs/cgroup/memory/jobs/1/memory.limit_in_bytes": NO_LIMIT_V1,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
        "sys/devices/system/cpu/online": "0-1",
        "sys/devices/system/node/node0/cpulist": "0-1",
    }
    for cpu in (0, 1):
        files |= cpu_folder(
            cpu,
            str(cpu),
            0,
            [(1, "Data", "32K", str(cpu)), (2, "Unified", "1024K", str(cpu)), (3, "Unified", "32768K", "0-1")],
        )
    return put(root, files)


def xeon_two_sockets(root: Path) -> Path:
    """Two sockets of four cores with two threads each; CPU n and n + 8 share a core. Bare metal, RAPL, hwmon."""
    places = [(cpu, cpu // 4 % 2, cpu % 4) for cpu in range(16)]
    name = "Intel(R) Xeon(R) Platinum 8480+ @ 2.00GHz"
    files = {
        "proc/cpuinfo": x86("GenuineIntel", 6, 143, name, FLAGS_XEON, "3412.007", "107520 KB", places),
        "proc/meminfo": meminfo(1056000000, 1000000000),
        "proc/self/status": "Cpus_allowed_list:\t0-15\n",
        "proc/self/cgroup": "0::/user.slice/session-3.scope",
        "proc/self/mountinfo": "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        "sys/fs/cgroup/user.slice/session-3.scope/cpu.stat": "usage_usec 5\nnr_throttled 0\nthrottled_usec 0",
        "sys/devices/system/cpu/online": "0-15",
        "sys/devices/system/node/node0/cpulist": "0-3,8-11",
        "sys/devices/system/node/node1/cpulist": "4-7,12-15",
    }
    for cpu, package, _ in places:
        shared = "0-3,8-11" if package == 0 else "4-7,12-15"
        caches = [(1, "Data", "48K", str(cpu)), (2, "Unified", "2048K", str(cpu)), (3, "Unified", "105M", shared)]
        files |= cpu_folder(cpu, f"{cpu % 8},{cpu % 8 + 8}", package, caches)
        freq = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        files |= {
            f"{freq}/scaling_governor": "powersave",
            f"{freq}/base_frequency": "2000000",
            f"{freq}/cpuinfo_max_freq": "3800000",
            f"{freq}/scaling_cur_freq": "3000000",
        }
    for package in (0, 1):
        zone = f"sys/class/powercap/intel-rapl:{package}"
        files |= {
            f"{zone}/name": f"package-{package}",
            f"{zone}/energy_uj": "1000000",
            f"{zone}/max_energy_range_uj": "262143328850",
            f"sys/class/powercap/intel-rapl:{package}:0/name": "core",
            f"sys/class/powercap/intel-rapl:{package}:0/energy_uj": "500000",
            f"sys/class/powercap/intel-rapl:{package}:0/max_energy_range_uj": "262143328850",
            f"sys/class/hwmon/hwmon{package}/name": "coretemp",
            f"sys/class/hwmon/hwmon{package}/temp1_label": f"Package id {package}",
            f"sys/class/hwmon/hwmon{package}/temp1_input": str(51000 + 4000 * package),
            f"sys/class/hwmon/hwmon{package}/temp2_label": "Core 0",
            f"sys/class/hwmon/hwmon{package}/temp2_input": "99000",
        }
    files |= {
        "sys/class/hwmon/hwmon2/name": "nvme",
        "sys/class/hwmon/hwmon2/temp1_input": "80000",
        "sys/devices/system/edac/mc/mc0/ce_count": "3",
        "sys/devices/system/edac/mc/mc0/ue_count": "0",
    }
    return put(root, files)


def grace(root: Path) -> Path:
    """Four cores of an Arm server in the manner of Grace: no cpuinfo place, power behind the ACPI meter's label."""
    block = (
        "BogoMIPS\t: 2000.00\nFeatures\t: fp asimd sve sve2 bf16 i8mm svebf16\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd4f\nCPU revision\t: 0\n"
    )
    files = {
        "proc/cpuinfo": "\n".join(f"processor\t: {cpu}\n{block}" for cpu in range(4)),
        "proc/meminfo": meminfo(491000000, 480000000),
        "proc/self/status": "Cpus_allowed_list:\t0-3\n",
        "proc/self/cgroup": "0::/",
        "proc/self/mountinfo": "29 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/cgroup.procs": "1",
        "sys/devices/system/cpu/online": "0-3",
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/class/dmi/id/product_name": "Grace CPU Superchip",
        "sys/class/hwmon/hwmon0/name": "power_meter",
        "sys/class/hwmon/hwmon0/device/power1_average": "90000000",
        "sys/class/hwmon/hwmon0/device/power1_oem_info": "Module Power Socket 0",
        "sys/class/hwmon/hwmon1/name": "power_meter",
        "sys/class/hwmon/hwmon1/device/power1_average": "61000000",
        "sys/class/hwmon/hwmon1/device/power1_oem_info": "CPU Power Socket 0",
        "sys/class/thermal/thermal_zone0/type": "acpitz",
        "sys/class/thermal/thermal_zone0/temp": "40000",
        "sys/class/thermal/thermal_zone1/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone1/temp": "47500",
    }
    for cpu in range(4):
        files |= cpu_folder(cpu, str(cpu), 0, [(2, "Unified", "1024K", str(cpu)), (3, "Unified", "116736K", "0-3")])
    return put(root, files)


def container(root: Path) -> Path:
    """The two-socket Xeon from inside a container: 2.5 cores, 8 GiB, eight CPUs on both sockets, version 2."""
    xeon_two_sockets(root)
    here = f"sys/fs/cgroup{CONTAINER}"
    pod = str(Path(here).parent)
    return put(
        root,
        {
            "proc/self/status": "Cpus_allowed_list:\t2-5,10-13\n",
            "proc/self/cgroup": f"0::{CONTAINER}",
            f"{here}/cpu.max": "max 100000",
            f"{pod}/cpu.max": "250000 100000",
            f"{here}/memory.max": str(8 << 30),
            f"{here}/memory.current": str(5 << 30),
            f"{here}/memory.stat": f"anon {4 << 30}\nfile {1 << 30}\ninactive_file {1 << 30}",
            f"{pod}/memory.max": "max",
            f"{here}/cpu.stat": "nr_periods 10\nnr_throttled 2\nthrottled_usec 150000",
        },
    )
