"""How fast this machine is: a few constants, measured once and kept beside the compiled kernels."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradsweep import _dense, kernels
from gradsweep._costs._protocol import Problem, Workload
from gradsweep._matrices import BlockMatrix, Matrix
from gradsweep._parameters import precision
from gradsweep._schemes import CENTRAL
from gradsweep._verdict import Sides, compare

# The number is raised when the constants come to mean something else.
_FILE = "machine-1.json"

# ε of the measurements, small enough for the power series.
_STEP = 1e-7

# Runs of each measurement, of which the fastest counts: others were disturbed.
_REPEATS = 5

# Seconds between which each constant lies on any machine.
_LEAST, _MOST = 1e-13, 1e-1

# Plain passes over all weights that any check takes: two forward passes, one back, norms, and a look at what was given.
_PASSES = 6


# What else a check does in Python, all told and for each layer, in calls of a kernel on a handful of numbers.
_CALLS = 12
_CALLS_OF_LAYER = 12


@dataclass(frozen=True)
class Machine:
    """Seconds that each part of a workload takes, on one core.

    Attributes
    ----------
    change, product, row, chunk, comparison, weight : float
        Seconds for each of what `Workload` counts.
    """

    change: float
    product: float
    row: float
    chunk: float
    comparison: float
    weight: float

    def numeric_seconds(self, workload: Workload) -> float:
        """Predicted duration of forming all quotients."""
        return (
            self.change * workload.changes
            + self.product * workload.products
            + self.row * workload.rows
            + self.chunk * workload.chunks
        )

    def seconds(self, workload: Workload) -> float:
        """Predicted duration of a whole check."""
        others = self.comparison * workload.comparisons + _PASSES * self.weight * workload.weights
        # What Python does for each layer and each check, however small, is as many calls as these.
        calls = _CALLS + _CALLS_OF_LAYER * workload.layers
        return self.numeric_seconds(workload) + others + self.chunk * calls


def machine() -> Machine:
    """Constants of this machine, from the folder of the compiled kernels; measured and written there if they are not yet."""
    with _lock:  # one measurement at a time: several at once would measure each other
        return _known_machine()


_lock = threading.Lock()


@functools.cache
def _known_machine() -> Machine:
    folder = kernels.cache_folder()
    if folder is None:
        return _measure()
    # Not there, or not what this version writes.
    with contextlib.suppress(OSError, ValueError, TypeError, ArithmeticError, RecursionError):
        kept = Machine(**{name: float(value) for name, value in dict(json.loads((folder / _FILE).read_text())).items()})
        if all(_LEAST <= value <= _MOST for value in dataclasses.astuple(kept)):
            return kept
    measured = _measure()
    with contextlib.suppress(OSError):  # a full disk costs the next process a tenth of a second
        with tempfile.TemporaryDirectory(dir=folder) as own:
            written = pathlib.Path(own) / _FILE
            written.write_text(json.dumps(dataclasses.asdict(measured)))
            os.replace(written, folder / _FILE)
    return measured


def _measure() -> Machine:
    """Time small networks in which one kind of work outweighs the others, each less what the ones before it account for."""
    chunk = _fastest(functools.partial(_sweep_all, _problem([1, 1], 1)))
    wide = _problem([3000, 2, 512, 1], 4)
    counted = wide.workload(2, _STEP)
    # Nothing takes less than the least, however the measurements were disturbed.
    change = max((_fastest(functools.partial(_sweep_all, wide)) - chunk * counted.chunks) / counted.changes, _LEAST)
    narrow = _problem([3] * 40, 2)
    counted = narrow.workload(2, _STEP)
    rest = _fastest(functools.partial(_sweep_all, narrow)) - chunk * counted.chunks - change * counted.changes
    row = max(rest / counted.rows, _LEAST)
    deep = _problem([48] * 6, 2)
    counted = deep.workload(2, _STEP)
    rest = _fastest(functools.partial(_sweep_all, deep)) - chunk * counted.chunks - change * counted.changes - row * counted.rows
    product = rest / counted.products
    values = np.random.default_rng(0).standard_normal((256, 1024))
    weight = _fastest(lambda: values @ values[:2].T) / values.size
    left, right = np.full((256, 8), 1e-3), np.full((8, 1024), 1e-3)
    block = BlockMatrix(Matrix(left=left, right=right), 0, 1024)
    comparison = _fastest(lambda: compare(Sides("W", values, block, block), 0.5)) / (values.size * (8.0 + 16.0))
    return Machine(*(min(max(value, _LEAST), _MOST) for value in (change, product, row, chunk, comparison, weight)))


def _problem(layers: list[int], examples: int) -> Problem:
    from gradsweep._costs._network_problem import NetworkProblem

    generator = np.random.default_rng(0)
    stack = []
    for before, units in itertools.pairwise(layers):
        weights = generator.standard_normal((units, before)) / np.sqrt(before)
        stack.append(_dense.Layer(weights, np.zeros((units, 1)), "tanh"))
    x, y = generator.random((layers[0], examples)), np.zeros((layers[-1], examples))
    return NetworkProblem(stack, x, y, "squared_error", 0.0, precision([]))


def _sweep_all(problem: Problem) -> None:
    for chunk in problem.chunks(2, range(len(problem.layer_shapes))):
        problem.quotients(chunk, CENTRAL, _STEP)


# The time of this thread alone: what others do meanwhile says nothing of this machine. Some systems count it in hundredths.
_clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter


def _fastest(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(_REPEATS):
        begun = _clock()
        call()
        seconds.append(_clock() - begun)
    return min(seconds)
