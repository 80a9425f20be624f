"""The networks that are timed, and the textbook's loop on a sample of their parameters."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradsweep import Network, scratch
from gradsweep._costs._network import NetworkCost
from gradsweep._textbook import TextbookRun, run_textbook

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """A network, data and a backpropagated gradient.

    tanh hidden layers, one sigmoid output, binary cross-entropy, float64. The gradient is that of `backprop`. Small workloads are
    built once and shared, so nobody may write into the arrays.
    """

    name: str
    layers: list[int]
    x: Array
    y: Array
    params: dict[str, Array]
    gradient: dict[str, Array]
    sample: int

    @property
    def size(self) -> int:
        return sum(block.size for block in self.params.values())

    def cost(self) -> NetworkCost:
        return Network(self.layers).cost(self.x, self.y)

    def textbook(self, sample: int | None = None) -> TextbookRun:
        """The post's loop on a sample, at least one parameter of each block."""
        return run_textbook(self.params, self.gradient, self.x, self.y, self.layers, sample or self.sample)

    def backprop(self) -> dict[str, Array]:
        """One forward and one backward pass, as one writes them by hand: dW1, db1, dW2, …"""
        return _backpropagate(self.params, self.x, self.y)


def _backpropagate(params: dict[str, Array], x: Array, y: Array) -> dict[str, Array]:
    al, caches = scratch.L_model_forward(x, params, "tanh")
    # Not scratch.L_model_backward, which evaluates tanh a second time, goes on to the gradient of the inputs, and takes the mean
    # of each dW: half a gigabyte more for F. The mean is taken here once, of the errors of the output.
    dz = (al - y) / y.shape[1]
    gradient: dict[str, Array] = {}
    for number in range(len(caches), 0, -1):
        (a, w, _), _ = caches[number - 1]
        gradient[f"dW{number}"] = dz @ a.T
        gradient[f"db{number}"] = dz.sum(axis=1, keepdims=True)
        if number > 1:
            dz = (w.T @ dz) * (1.0 - a * a)
    return gradient


# Layers, examples, and how many parameters the textbook's loop is timed on: some hundred milliseconds. It takes at least one of
# each block, though, which is ten seconds for F: the loop copies 92 million parameters twice for each.
_SHAPES = {
    "A": ([12288, 5, 5, 1], 1, 2000),
    "B": ([784, 64, 32, 1], 16, 1000),
    "C": ([784, 256, 128, 1], 32, 300),
    "D": ([64] * 21 + [1], 8, 500),
    "E": ([3072, 1024, 512, 1], 8, 24),
    "F": ([3072, 8192, 8192, 1], 2, 6),
}

NAMES = list(_SHAPES)

# Workloads of more parameters are built anew each time: F takes 1.5 GB, which would stay for the rest of the process.
_CACHED_PARAMETERS = 10_000_000


def build(name: str) -> Workload:
    """A workload: the post's initialisation for A, elsewhere one that saturates nothing and has biases."""
    return _build_once(name) if size(name) <= _CACHED_PARAMETERS else _build(name)


def size(name: str) -> int:
    """How many parameters a workload has, without building it."""
    layers, _, _ = _SHAPES[name]
    return sum(units * (inputs + 1) for inputs, units in itertools.pairwise(layers))


def _build(name: str) -> Workload:
    layers, examples, sample = _SHAPES[name]
    return make(name, layers, examples, sample, scratch.initialize_parameters(layers) if name == "A" else None)


def make(name: str, layers: list[int], examples: int, sample: int, params: dict[str, Array] | None = None) -> Workload:
    """A workload of any shape, at parameters that saturate nothing if none are given."""
    generator = np.random.default_rng(0)
    x = generator.random((layers[0], examples))
    y = (generator.random((1, examples)) < 0.5).astype(np.float64)
    if params is None:
        params = Network(layers).initialize(seed=0)
    return Workload(name, layers, x, y, params, _backpropagate(params, x, y), sample)


_build_once = functools.cache(_build)
