"""Lines through the parameters, of which values of a cost are asked for as if they were parameters of their own."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._evaluation import Evaluator
from gradsweep._costs._numerics import Indices
from gradsweep._directions import Direction, matrix_shape
from gradsweep._monitor import current
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
        self._evaluator, self._length = evaluator, len(tree.values)
        sizes, shortest = [], []
        # Of each line the stretch where it is not 0, and where that begins in the flat vector and in the block: a bisection has
        # many lines at once, most of them short.
        self._lines: list[Array] = []
        self._starts: list[tuple[int, int]] = []
        for direction in directions:
            leaf, region = tree.blocks[direction.region.block], direction.region
            shape = matrix_shape(leaf.shape)
            first, last = (
                row * shape[1] + column for row, column in zip((region.rows[0], region.rows[1] - 1), region.columns, strict=True)
            )
            own = slice(leaf.start + first, leaf.start + last)
            part, spacing = direction.whole(shape).reshape(-1)[first:last], neighbourhood.spacing[own]
            moved = part != 0.0
            least = _SPACINGS * float((spacing[moved] / np.abs(part[moved])).max(initial=0.0))
            lowest = 2.0 ** math.ceil(math.log2(least))
            self._lines.append(exact_step(spacing, lowest * part) / lowest)
            self._starts.append((own.start, first))
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
        """J(θ + steps[k]·line indices[k]) for each k; NaN for the lines that are left after an interrupt."""
        costs = np.full(len(indices), np.nan)
        done = 0

        def lines() -> Iterator[tuple[NDArray[np.bool_], Array]]:
            for index in np.unique(indices).tolist():
                own = indices == index
                yield own, self._evaluator.direction_values(self._line(index), steps[own])

        def share(line: tuple[NDArray[np.bool_], Array]) -> float:
            return done / len(indices)

        for own, values in current().follow(lines(), share):
            costs[own] = values
            done += len(values)
        return costs

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """The same along a sum of lines."""
        together = np.zeros(self._length)
        for weight, line, (start, _) in zip(direction, self._lines, self._starts, strict=True):
            together[start : start + len(line)] += weight * line
        return self._evaluator.direction_values(together, steps)

    def explain(self, index: int, step: float) -> None:
        """Nothing: where the cost is not defined along a line, entries tell why."""
        del index, step

    def product(self, number: int, block: Array) -> tuple[float, float]:
        """Product of a line with a block, as it is perturbed, and the block's norm where the line is not 0."""
        line, first = self._lines[number], self._starts[number][1]
        values = np.asarray(block).reshape(-1)[first : first + len(line)].astype(np.float64)
        moved = line != 0.0  # a stretch of several rows has entries of other columns, too, which may be no numbers
        with np.errstate(all="ignore"):
            return float(np.vdot(line[moved], values[moved])), float(np.linalg.norm(values[moved]))

    def _line(self, index: int) -> Array:
        """A line: array of shape (parameters,)."""
        result, start = np.zeros(self._length), self._starts[index][0]
        result[start : start + len(self._lines[index])] = self._lines[index]
        return result


def _tree_of(directions: Sequence[Direction]) -> Tree:
    """A parameter for each direction, in a list of arrays, one for each block."""
    blocks = [direction.region.block for direction in directions]
    return read_tree([np.zeros(len(list(group))) for _, group in itertools.groupby(blocks)])
