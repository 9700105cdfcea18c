"""Owns the meaning of NVML's clock-event bits: why a GPU runs slower than it could.

Values are those of `nvmlClocksEventReason*` in NVIDIA's nvml.h ("NvmlClocksEventReasons" in the NVML API reference;
the older name for the same bits is `nvmlClocksThrottleReason*`). A mask may hold several bits, so it is only ever
tested with AND: comparing it for equality misses every combination.
"""

GPU_IDLE = 0x1
APPLICATIONS_CLOCKS_SETTING = 0x2
SW_POWER_CAP = 0x4
HW_SLOWDOWN = 0x8
SYNC_BOOST = 0x10
SW_THERMAL_SLOWDOWN = 0x20
HW_THERMAL_SLOWDOWN = 0x40
HW_POWER_BRAKE_SLOWDOWN = 0x80
DISPLAY_CLOCK_SETTING = 0x100
BOARD_LIMIT = 0x200
RELIABILITY = 0x400

NAMES: dict[int, str] = {
    GPU_IDLE: "gpu_idle",
    APPLICATIONS_CLOCKS_SETTING: "applications_clocks_setting",
    SW_POWER_CAP: "sw_power_cap",
    HW_SLOWDOWN: "hw_slowdown",
    SYNC_BOOST: "sync_boost",
    SW_THERMAL_SLOWDOWN: "sw_thermal_slowdown",
    HW_THERMAL_SLOWDOWN: "hw_thermal_slowdown",
    HW_POWER_BRAKE_SLOWDOWN: "hw_power_brake_slowdown",
    DISPLAY_CLOCK_SETTING: "display_clock_setting",
    BOARD_LIMIT: "board_limit",
    RELIABILITY: "reliability",
}

# The power cap is how a data-centre GPU of the H100 generation and later ordinarily runs a GEMM (it is part of the
# node and is named); board limit and reliability are the voltage and current bounds behind the same kind of capping.
POWER = SW_POWER_CAP | BOARD_LIMIT | RELIABILITY
# The driver or the chip holds clocks down because it is too hot: cooling is failing or was not ready.
THERMAL = SW_THERMAL_SLOWDOWN | HW_THERMAL_SLOWDOWN
# Clocks cut by a factor of two or more by the board: over-temperature, external power brake, fast over-power
# protection. nvml.h adds that HW_SLOWDOWN may also show for a moment at a change of performance state.
HARDWARE = HW_SLOWDOWN | HW_POWER_BRAKE_SLOWDOWN
# Somebody's setting, or nothing to do: no sign of trouble.
BENIGN = GPU_IDLE | APPLICATIONS_CLOCKS_SETTING | SYNC_BOOST | DISPLAY_CLOCK_SETTING


def clock_reasons(mask: int) -> list[str]:
    """Name every bit set in `mask`, lowest first. A bit that NVIDIA added later reads `unknown_0x800`."""
    bits = (1 << position for position in range(mask.bit_length()))
    return [NAMES.get(bit, f"unknown_{bit:#x}") for bit in bits if mask & bit]
