"""Ask a child process one question and wait for its answer, but never longer than a deadline."""

import selectors
import time
from collections.abc import Mapping

from effbench.launch import inline
from effbench.model.error import InputError, SiteError, WorkerError

# Enough for a refusal that lists every valid choice.
STDERR_CHARACTERS = 8000


def ask(module: str, question: bytes, environment: Mapping[str, str], deadline_s: float) -> bytes:
    """Start `module`, send it one line, and return the last line it answers.

    Raises:
        SiteError: the child did not answer in time (a sick driver blocks for ever), or could not be killed.
        InputError: the child refused the question (exit status 2); its words.
        WorkerError: the child ended without an answer; the message carries the end of its stderr.
    """
    handle = inline.start(inline.command(inline.Job(module)), environment)
    handle.send(question + b"\n")
    lines: list[bytes] = []
    end = time.monotonic() + deadline_s
    with selectors.DefaultSelector() as selector:
        selector.register(handle.fileno(), selectors.EVENT_READ)
        while not handle.ended and time.monotonic() < end:
            selector.select(max(0.0, min(0.5, end - time.monotonic())))
            lines += handle.lines()
    if not handle.ended:
        died = handle.kill()
        fate = "and was killed" if died else "and survives SIGKILL: it is stuck in the kernel, reboot the node"
        raise SiteError(f"{module} did not answer within {deadline_s:.0f} s {fate}; is a device driver hanging?")
    tail, code = handle.stderr_tail(STDERR_CHARACTERS), handle.returncode(1.0)
    handle.leave(1.0)
    if not lines and code == InputError.exit_code:
        raise InputError(tail)
    if not lines:
        raise WorkerError(f"{module} gave no answer: {tail or 'and wrote nothing to stderr'}")
    return lines[-1]
