"""Which library and which instruction set a CPU kernel really ran on, from the libraries' own verbose output.

oneDNN and oneMKL print a line per call to the C library's stdout when asked, so descriptor 1 is pointed at a memory
file around one untimed call. What neither of them reports ran in torch's own loops, and the answer says so.
"""

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

UNKNOWN = "unknown: neither oneDNN nor oneMKL reported the call, so torch ran a loop of its own"


def what_ran(call: Callable[[], None]) -> str:
    """Run `call` once, untimed, and name what it ran on, for example `oneDNN matmul brg_matmul:avx512_core_bf16`."""
    try:
        with _captured() as taken, _verbose():
            call()
    except (OSError, AssertionError, AttributeError):
        return "unknown: the libraries' verbose output could not be read here"
    return parse("".join(taken))


def parse(printed: str) -> str:
    """Read oneDNN's and oneMKL's verbose lines; several different calls are joined by ` + `."""
    found: list[str] = []
    for line in printed.splitlines():
        name = _onednn(line) if line.startswith("onednn_verbose") else _onemkl(line)
        if name and name not in found:
            found.append(name)
    return " + ".join(found) if found else UNKNOWN


def _onednn(line: str) -> str:
    """`onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core_bf16,...` -> the primitive and its code."""
    fields = line.split(",")
    if "exec" not in fields:
        return ""
    rest = fields[fields.index("exec") + 1 :]
    if len(rest) < 3 or rest[0] != "cpu":
        return ""
    return f"oneDNN {rest[1]} {rest[2]}".strip()


def _onemkl(line: str) -> str:
    """`MKL_VERBOSE SGEMM(N,N,...)` -> the routine. The header line names the library and is skipped."""
    routine = re.match(r"MKL_VERBOSE ([A-Za-z_0-9]+)\(", line)
    return f"oneMKL {routine.group(1)}" if routine else ""


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Collect what is written to descriptor 1 meanwhile; the list is filled when the block ends."""
    taken: list[str] = []
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    kept, file = os.dup(1), os.memfd_create("effbench-verbose")
    os.dup2(file, 1)
    try:
        yield taken
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        length = os.lseek(file, 0, os.SEEK_END)
        taken.append(os.pread(file, length, 0).decode("utf-8", errors="replace"))
        os.close(file)


@contextlib.contextmanager
def _verbose() -> Iterator[None]:
    """Ask both libraries to report, where this torch was built with them."""
    import torch

    libraries: list[Any] = [torch.backends.mkldnn, torch.backends.mkl]
    with contextlib.ExitStack() as stack:
        for library in libraries:
            if library.is_available():
                stack.enter_context(library.verbose(library.VERBOSE_ON))
        yield
