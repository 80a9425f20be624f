"""The networks that are timed, and the textbook's loop on a sample of their parameters."""

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

    tanh hidden layers, one sigmoid output, binary cross-entropy, float64. The gradient is that of `gradsweep.scratch`.
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

    def textbook(self) -> TextbookRun:
        return run_textbook(self.params, self.gradient, self.x, self.y, self.layers, self.sample)


# Layers, examples, and how many parameters the textbook's loop is timed on: some hundred milliseconds.
_SHAPES = {
    "A": ([12288, 5, 5, 1], 1, 2000),
    "B": ([784, 64, 32, 1], 16, 1000),
    "C": ([784, 256, 128, 1], 32, 300),
}

NAMES = list(_SHAPES)


def build(name: str) -> Workload:
    """A workload: the post's initialisation for A, elsewhere one that saturates nothing and has biases."""
    layers, examples, sample = _SHAPES[name]
    generator = np.random.default_rng(0)
    x = generator.random((layers[0], examples))
    y = (generator.random((1, examples)) < 0.5).astype(np.float64)
    params = scratch.initialize_parameters(layers) if name == "A" else Network(layers).initialize(seed=0)
    al, caches = scratch.L_model_forward(x, params, "tanh")
    return Workload(name, layers, x, y, params, scratch.L_model_backward(al, y, caches, "tanh"), sample)
