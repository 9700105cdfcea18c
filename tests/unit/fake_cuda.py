"""A `torch.cuda` that only writes down what it was asked for, so that stream and graph code runs without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class FakeStream:
    """A stream that logs whom it waits for."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: "FakeStream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


def install(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the parts of `torch.cuda` that kernels use; return the log of calls."""
    import torch

    log: list[str] = []
    main = FakeStream(log, "main")
    made: list[FakeStream] = []

    def stream(*_: Any) -> FakeStream:
        made.append(FakeStream(log, f"side{len(made)}"))
        return made[-1]

    @contextmanager
    def on(chosen: FakeStream) -> Iterator[None]:
        log.append(f"on {chosen.name}")
        yield
        log.append(f"off {chosen.name}")

    @contextmanager
    def recording(graph: Any, pool: Any = None) -> Iterator[None]:
        log.append(f"capture pool={pool}")
        yield
        log.append("captured")

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: main)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: log.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return log
