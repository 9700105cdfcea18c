"""The units in which effbench stores numbers: SI base units without prefixes, fractions 0 to 1."""

import enum


class Unit(enum.StrEnum):
    """Every unit a stored quantity may carry. Prefixes (TFLOP/s, GB/s) exist only in `effbench.report.format`."""

    SECOND = "s"
    BYTE = "byte"
    FLOP = "flop"
    BYTE_PER_S = "byte/s"
    FLOP_PER_S = "flop/s"
    WATT = "W"
    JOULE = "J"
    HERTZ = "Hz"
    CELSIUS = "degC"
    TOKEN_PER_S = "token/s"
    FLOP_PER_J = "flop/J"
    J_PER_TOKEN = "J/token"
    BYTE_PER_J = "byte/J"
    TOKEN_PER_J = "token/J"
    JOULE_SECOND = "J*s"
    ONE = "1"
    KILOGRAM = "kg"
    PER_S = "1/s"
    CURRENCY = "currency"
