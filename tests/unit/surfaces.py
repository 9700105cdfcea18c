"""Synthetic speed surfaces over (m, n, k) grids for the shape search: three like real GEMM, and adversarial ones.

Each maker takes a seed and returns axes and the noiseless speed of every point as one array in the axes' order.
"""

import numpy as np
from numpy.typing import NDArray

Surface = tuple[dict[str, list[int]], NDArray[np.float64]]


def _mesh(axes: dict[str, list[int]]) -> list[NDArray[np.float64]]:
    return list(np.meshgrid(*[np.array(values, dtype=float) for values in axes.values()], indexing="ij"))


def _ceil(a: NDArray[np.float64], b: float) -> NDArray[np.float64]:
    return np.ceil(a / b)


def _waves(m: NDArray[np.float64], n: NDArray[np.float64], tile_m: int, tile_n: int, units: int) -> NDArray[np.float64]:
    """Useful share of the work that whole waves of whole tiles over `units` processors do."""
    tiles = _ceil(m, tile_m) * _ceil(n, tile_n)
    return m * n / (np.ceil(tiles / units) * units * tile_m * tile_n)


def gpu_waves(seed: int) -> Surface:
    """A 132-processor part: 128 x 256 tiles in waves, a ramp over K, an L2 cliff, dips at powers of two, power."""
    rng = np.random.default_rng(seed)
    axes = {"m": list(range(1024, 16385, 1024)), "n": list(range(1024, 16385, 1024)), "k": list(range(512, 8193, 512))}
    m, n, k = _mesh(axes)
    speed = 900e12 * _waves(m, n, 128, 256, 132) * k / (k + rng.uniform(300, 900))
    speed *= np.where((m * k + n * k) * 2 > rng.uniform(40, 80) * 2**20, rng.uniform(0.88, 0.95), 1.0)
    for axis in (m, n, k):
        speed *= np.where(axis % 4096 == 0, rng.uniform(0.90, 0.97), 1.0)
    speed *= 1 - rng.uniform(0.05, 0.15) * (m * n * k) / (m * n * k).max()
    return axes, speed


def gpu_kernels(seed: int) -> Surface:
    """A library that picks one of four tiles by rule, at times the wrong one, and splits K where tiles are few."""
    rng = np.random.default_rng(seed)
    axes = {"m": list(range(256, 4097, 256)), "n": list(range(512, 8193, 512)), "k": list(range(1024, 16385, 1024))}
    m, n, k = _mesh(axes)
    tiles = [(128, 256, 1.0), (256, 128, 0.99), (128, 128, 0.93), (64, 256, 0.88)]
    options = np.stack([peak * _waves(m, n, a, b, 132) for a, b, peak in tiles])
    picked = np.argmax(options * rng.uniform(0.93, 1.07, options.shape), axis=0)
    speed = np.take_along_axis(options, picked[None], axis=0)[0]
    split = np.where(_ceil(m, 128) * _ceil(n, 256) < 66, 0.75 + 0.1 * np.minimum(1, k / 8192), 1.0)
    speed *= split * k / (k + rng.uniform(200, 1500)) * np.where(k % 8192 == 0, 0.95, 1.0)
    return axes, 1900e12 * speed * rng.uniform(0.985, 1.0, speed.shape)


def cpu_blocks(seed: int) -> Surface:
    """Cores with register blocks of 48 x 8 and cache blocks: ragged ends, leading dimensions that alias, a K ramp."""
    rng = np.random.default_rng(seed)
    axes = {name: list(range(128, 2561, 128)) for name in "mnk"}
    m, n, k = _mesh(axes)
    speed = 210e9 * k / (k + rng.uniform(40, 160))
    for axis, block in ((m, 192), (n, 384), (k, 384)):
        speed *= axis / (_ceil(axis, block) * block) * 0.35 + 0.65
    speed *= np.where(n % 1024 == 0, rng.uniform(0.85, 0.95), 1.0) * np.where(k % 512 == 0, 0.96, 1.0)
    cache = (m * k + k * n + m * n) * 4 / 2**20
    speed *= 1 - rng.uniform(0.05, 0.2) / (1 + np.exp(-(cache - 24) / 4))
    return axes, speed * (1 - 0.15 * np.exp(-m * n / 400_000))


def deceptive(seed: int) -> Surface:
    """A broad hill in one corner, and 6 % above it a narrow one far away."""
    rng = np.random.default_rng(seed)
    axes = {name: list(range(1, 17)) for name in "mnk"}
    grid = _mesh(axes)
    broad, narrow = rng.uniform(2, 5, 3), rng.uniform(11, 14, 3)
    far = sum((g - c) ** 2 for g, c in zip(grid, broad, strict=True))
    near = sum((g - c) ** 2 for g, c in zip(grid, narrow, strict=True))
    return axes, np.maximum(np.exp(-far / 900), 1.06 * np.exp(-near / 60)) + 0.2


def diagonal(seed: int) -> Surface:
    """Fast only along a thin ridge on which every axis moves with the others: no single-axis move stays on it."""
    rng = np.random.default_rng(seed)
    axes = {name: list(range(1, 17)) for name in "mnk"}
    i, j, k = _mesh(axes)
    top = rng.uniform(4, 13)
    return axes, 0.5 + 0.5 * np.exp(-((i - j) ** 2 + (j - k) ** 2) / 4) * np.exp(-((i - top) ** 2) / 50)


def parity(seed: int) -> Surface:
    """Every second point in three dimensions loses 12 %, which no single axis and no pair of axes shows."""
    rng = np.random.default_rng(seed)
    axes = {name: list(range(1, 17)) for name in "mnk"}
    i, j, k = _mesh(axes)
    smooth = sum(
        -((g - c) ** 2) / rng.uniform(600, 1500) for g, c in zip((i, j, k), rng.uniform(3, 14, 3), strict=True)
    )
    return axes, np.exp(smooth) * np.where((i + j + k) % 2 == 0, 1.0, 0.88)


def plateau(seed: int) -> Surface:
    """Nearly flat, with one row of shapes that cannot run at all."""
    rng = np.random.default_rng(seed)
    axes = {name: list(range(1, 17)) for name in "mnk"}
    i, j, k = _mesh(axes)
    return axes, np.where(i == rng.integers(1, 17), 0.0, 1.0 + 0.001 * (j + k))


REAL = {"gpu_waves": gpu_waves, "gpu_kernels": gpu_kernels, "cpu_blocks": cpu_blocks}
ADVERSARIAL = {"deceptive": deceptive, "diagonal": diagonal, "parity": parity, "plateau": plateau}
