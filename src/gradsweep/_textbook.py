"""The textbook's loop, on a sample of the parameters: what the demo and the benchmarks compare with."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gradsweep import scratch
from gradsweep._types import Array


@dataclass(frozen=True)
class TextbookRun:
    """What the loop takes and finds on a sample.

    Attributes
    ----------
    parameters : int
        How many were perturbed.
    seconds_each : float
        Time for one parameter: copies, two forward passes, two costs.
    difference : float
        Formula 3 over the sample.
    """

    parameters: int
    seconds_each: float
    difference: float


def run_textbook(
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    X: Array,
    Y: Array,
    layers_dims: list[int],
    sample: int,
    hidden: str = "tanh",
    epsilon: float = 1e-7,
    seed: int = 0,
) -> TextbookRun:
    """Two-sided differences of some parameters, the way the post computes them.

    Parameters
    ----------
    parameters, gradients : mapping of str to array
        As in `gradsweep.scratch`.
    X, Y : arrays of shape (features, examples), (1, examples)
        Data.
    layers_dims : list of int
        Sizes of the layers.
    sample : int
        How many parameters to perturb, spread over all blocks alike.
    hidden : str, default: "tanh"
        Activation of the hidden layers.
    epsilon : float, default: 1e-7
        Step.
    seed : int, default: 0
        Chooses the sample.

    Returns
    -------
    TextbookRun
        Time and agreement.
    """
    ordered = {f"{kind}{number}": parameters[f"{kind}{number}"] for number in range(1, len(layers_dims)) for kind in "Wb"}
    vector = scratch.dictionary_to_vector(ordered)
    tested = scratch.gradients_to_vector(gradients)
    indices = _stratified([block.size for block in ordered.values()], sample, np.random.default_rng(seed))
    numeric = np.zeros((len(indices), 1))
    begun = time.perf_counter()
    for row, index in enumerate(indices):
        plus = np.copy(vector)
        plus[index] = plus[index] + epsilon
        cost_plus = scratch.forward_prop_cost(X, scratch.vector_to_dictionary(plus, layers_dims), Y, hidden)
        minus = np.copy(vector)
        minus[index] = minus[index] - epsilon
        cost_minus = scratch.forward_prop_cost(X, scratch.vector_to_dictionary(minus, layers_dims), Y, hidden)
        numeric[row] = (cost_plus - cost_minus) / (2 * epsilon)
    seconds = time.perf_counter() - begun
    sampled = tested[indices]
    size = np.linalg.norm(sampled) + np.linalg.norm(numeric)
    difference = float(np.linalg.norm(sampled - numeric) / size) if size else 0.0
    return TextbookRun(len(indices), seconds / len(indices), difference)


def _stratified(sizes: list[int], sample: int, generator: np.random.Generator) -> list[int]:
    """Indices into the joint vector, as many of each block as there are to be had."""
    indices: list[int] = []
    start, left = 0, sample
    order = np.argsort(sizes)
    share: dict[int, int] = {}
    for rank, block in enumerate(order):
        share[int(block)] = min(sizes[block], max(1, left // (len(sizes) - rank)))
        left -= share[int(block)]
    for block, size in enumerate(sizes):
        chosen = generator.choice(size, share[block], replace=False)
        indices += sorted(int(index) + start for index in chosen)
        start += size
    return indices
