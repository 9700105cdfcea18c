"""A worker that computes wrongly: from one product on, one bit of one element of every GEMM result is flipped.

Python imports this file by itself when its folder is on PYTHONPATH, so nothing of the program under test is changed.
It acts in workers only, by EFFBENCH_TEST_FLIP: `first product, element, bit, file to touch at the first flip`.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path

TARGET, WORKER = "effbench.kernels.gemm", "effbench.run.worker"


class Finder(importlib.abc.MetaPathFinder):
    """Lets the usual finders find the kernel, and changes it once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        loaded = spec.loader.exec_module

        def exec_module(module):
            loaded(module)
            spoil(module.GemmStep)

        spec.loader.exec_module = exec_module
        return spec


def spoil(step):
    """Make `step.run` flip a bit of what it has just multiplied, counted over the worker's life."""
    first, element, bit, mark = os.environ["EFFBENCH_TEST_FLIP"].split(",", 3)
    multiply, done = step.run, [0]

    def run(self, i):
        multiply(self, i)
        done[0] += 1
        if done[0] < int(first):
            return
        import torch

        words = self._sets[i % len(self._sets)][2].view(torch.int32).view(-1)
        place = int(element) % words.numel()
        flipped = (int(words[place]) ^ (1 << int(bit))) & 0xFFFFFFFF
        words[place] = flipped - (1 << 32) if flipped >> 31 else flipped
        Path(mark).touch()

    step.run = run


if "EFFBENCH_TEST_FLIP" in os.environ and WORKER in sys.orig_argv:
    sys.meta_path.insert(0, Finder())
