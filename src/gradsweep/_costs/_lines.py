"""Lines through the parameters, of which values of a cost are asked for as if they were parameters of their own."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradsweep._costs._evaluation import Evaluator
from gradsweep._costs._numerics import Indices
from gradsweep._directions import Direction, matrix_shape
from gradsweep._neighbourhood import Neighbourhood
from gradsweep._noise import exact_step
from gradsweep._trees import Tree, read_tree
from gradsweep._types import Array

# The shortest step along a line moves each parameter by so many spacings of numbers: rounding it to what parameters can take
# then hardly turns the direction.
_SPACINGS = 2.0**8

# What counts as spacing of numbers along a line is so many times shorter than that: a ladder's lowest rung is eight of these.
_ROOM = 8.0


class Lines:
    """Directions of unit norm, each rounded so that parameters take some multiples of it exactly.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        Values around the point.
    tree : Tree
        The parameters there.
    evaluator : Evaluator
        What evaluates the cost.
    directions : sequence of Direction
        By the numbers of their blocks, ascending.

    Attributes
    ----------
    tree : Tree
        A parameter for each direction, 0, in a block for each block in which there are some.
    neighbourhood : Neighbourhood
        Values around it.
    """

    def __init__(self, neighbourhood: Neighbourhood, tree: Tree, evaluator: Evaluator, directions: Sequence[Direction]) -> None:
        self._evaluator = evaluator
        sizes, shortest = [], []
        self._lines: list[Array] = []
        self._places: list[slice] = []
        for direction in directions:
            leaf = tree.blocks[direction.region.block]
            own = slice(leaf.start, leaf.stop)
            part, spacing = direction.whole(matrix_shape(leaf.shape)).reshape(-1), neighbourhood.spacing[own]
            moved = part != 0.0
            least = _SPACINGS * float((spacing[moved] / np.abs(part[moved])).max(initial=0.0))
            lowest = 2.0 ** math.ceil(math.log2(least))
            line = np.zeros(len(tree.values))
            line[own] = exact_step(spacing, lowest * part) / lowest
            self._places.append(own)
            self._lines.append(line)
            # A step of this length moves each entry by its size, the larger half of them by less.
            sizes.append(float(np.median(neighbourhood.scale[own][moved])) * math.sqrt(direction.region.size))
            shortest.append(lowest)
        self.tree = _tree_of(directions)
        self.neighbourhood = Neighbourhood(
            self.tree.values,
            neighbourhood.base,
            self.values,
            self.direction_values,
            given_scale=np.array(sizes),
            given_spacing=np.array(shortest) / _ROOM,
        )

    @property
    def kind(self) -> str:
        """What evaluates the cost."""
        return self._evaluator.kind

    @property
    def types(self) -> tuple[np.dtype[Any], ...]:
        """Steps along lines are of float64."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """What the caller should know of how it was evaluated."""
        return self._evaluator.notes

    def values(self, indices: Indices, steps: Array) -> Array:
        """J(θ + steps[k]·line indices[k]) for each k."""
        costs = np.empty(len(indices))
        for index in np.unique(indices).tolist():
            own = indices == index
            costs[own] = self._evaluator.direction_values(self._lines[index], steps[own])
        return costs

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """The same along a sum of lines."""
        together = np.sum([weight * line for weight, line in zip(direction, self._lines, strict=True)], axis=0)
        return self._evaluator.direction_values(together, steps)

    def explain(self, index: int, step: float) -> None:
        """Nothing: where the cost is not defined along a line, entries tell why."""
        del index, step

    def product(self, number: int, block: Array) -> tuple[float, float]:
        """Product of a line with a block, as it is perturbed, and the block's norm where the line is not 0."""
        line = self._lines[number][self._places[number]]
        values = np.asarray(block, dtype=np.float64).reshape(-1)
        own = np.flatnonzero(line)
        with np.errstate(all="ignore"):
            return float(np.vdot(line[own], values[own])), float(np.linalg.norm(values[own]))


def _tree_of(directions: Sequence[Direction]) -> Tree:
    """A parameter for each direction, in a list of arrays, one for each block."""
    blocks = [direction.region.block for direction in directions]
    return read_tree([np.zeros(len(list(group))) for _, group in itertools.groupby(blocks)])
