"""Owns the capture of launches as a CUDA graph, so that a repetition costs one launch instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WARM_UPS = 3  # as PyTorch's notes on CUDA graphs do: libraries allocate workspaces and choose algorithms first


def capture(launch: Callable[[], None], pool: Any = None) -> Any:
    """Warm `launch` up on a side stream, record it, and return the graph; `graph.replay()` repeats it.

    Follows "CUDA semantics, CUDA Graphs" of the PyTorch documentation. `launch` must not wait for the device and must
    read and write the same addresses every time. `pool` is another graph's `pool()`, to share its memory: right only
    for graphs that never run at once.
    """
    import torch

    cuda: Any = torch.cuda
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(WARM_UPS):
            launch()
    cuda.current_stream().wait_stream(side)
    cuda.synchronize()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, pool=pool):
        launch()
    return graph
