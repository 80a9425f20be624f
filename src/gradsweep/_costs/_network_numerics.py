"""Some entries of a network's gradient, or directions in its blocks: what a screen looks at."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._numerics import Indices, Slopes
from gradsweep._costs._protocol import Chunk, Problem, Quotients
from gradsweep._directions import Direction, Region, product
from gradsweep._matrices import BlockMatrix
from gradsweep._monitor import current
from gradsweep._parameters import Precision
from gradsweep._schemes import BACKWARD, FORWARD, Scheme
from gradsweep._sweep import Steps
from gradsweep._trees import Leaf
from gradsweep._types import Array

# Doubles that the changes of the widest layer may fill, of all directions that go through the network together: 32 MB.
_TOGETHER = 2**22

# What is left at the finer step of all that shrinks with the step, times what two quotients differ by; as in a sweep.
_CAUTION = 4.0


def leaves_of(problem: Problem) -> tuple[Leaf, ...]:
    """The blocks of a network in the order of the layers, as if their entries were one flat vector."""
    result, start = [], 0
    for name, shape in problem.shapes.items():
        stop = start + math.prod(shape)
        result.append(Leaf(name, (), shape, np.dtype(np.float64), start, stop))
        start = stop
    return tuple(result)


class _Lines(Protocol):
    """Lines through the parameters, along which the cost is differentiated."""

    def quotients(self, chosen: Indices, scheme: Scheme, step: float) -> tuple[Array, Array]:
        """Difference quotients along some lines, and how many kinks the steps crossed."""

    def conventions(self, chosen: Indices) -> list[Array]:
        """What the usual backward passes give, which take the same slope at all kinks."""

    def bounds(self, chosen: Indices) -> tuple[Array, Array] | None:
        """What any backward pass may give, if that is known."""

    def rounding(self, chosen: Indices, precision: Precision, least: float) -> Array:
        """Rounding that a gradient of this precision, and the quotients, may carry."""


@dataclass(eq=False)
class NetworkNumerics:
    """The numeric side of a screen of a network: entries of its gradient, or directions.

    Attributes
    ----------
    problem : Problem
        The cost.
    steps : Steps
        How quotients are formed.
    lines : _Lines
        What is perturbed.
    """

    problem: Problem
    steps: Steps
    lines: _Lines
    kind: str = field(default="kernels", init=False)
    sample: int = field(default=64, init=False)
    notes: Sequence[str] = field(default=(), init=False)

    @property
    def step(self) -> float:
        """ε."""
        return self.steps.step

    @property
    def precision(self) -> Precision:
        """Of the parameters."""
        return self.problem.precision

    @property
    def dispute(self) -> int:
        """About how many evaluations a closer look at an entry takes: at two steps."""
        return 2 * len(self.steps.scheme.offsets)

    def along(self, directions: Sequence[Direction]) -> "NetworkDirections":
        """The same of directions in the place of parameters."""
        return NetworkDirections(self.problem, self.steps, _Directions(self.problem, directions))

    def order(self) -> list[str]:
        """Names of the blocks, from the first layer to the last."""
        return list(self.problem.shapes)

    def quotients(self, indices: Indices) -> Slopes:
        """Difference quotients; where a step crosses a kink, with the finer one; at a kink, what is accepted there.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Which lines.

        Returns
        -------
        Slopes
            In their order.
        """
        return self._quotients(indices, self.steps)

    def settle(self, indices: Indices, precision: Precision) -> Slopes:
        """Quotients with the finer step, and the rounding of a gradient of this precision.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Which lines.
        precision : Precision
            Of the gradient.

        Returns
        -------
        Slopes
            Between `low` and `high` lies what is left of what vanishes with the step.
        """
        coarse, fine = self._quotients(indices, self.steps), self._quotients(indices, self.steps.shrunk())
        with np.errstate(invalid="ignore"):
            vanishing = _CAUTION * self.steps.finer / self.steps.step * np.abs(coarse.values - fine.values)
        vanishing = np.where(fine.at_kink, 0.0, np.nan_to_num(vanishing))
        noise, _ = self.noise(indices, precision)
        evaluations = coarse.evaluations + fine.evaluations
        return Slopes(
            fine.values, fine.low - vanishing, fine.high + vanishing, noise, coarse.crossed, evaluations, unclear=fine.unclear
        )

    def noise(self, indices: Indices, precision: Precision) -> tuple[Array, int]:
        """Rounding that quotients and a gradient of this precision may carry: it takes no evaluations."""
        least = precision.tiny + float(np.finfo(np.float64).tiny) / self.steps.finer
        return self.lines.rounding(indices, precision, least), 0

    def _quotients(self, indices: Indices, steps: Steps) -> Slopes:
        if not len(indices):
            return Slopes(*np.zeros((4, 0)))
        values, crossings = self.lines.quotients(indices, steps.scheme, steps.step)
        crossed = np.flatnonzero(crossings)
        counts = len(steps.scheme.offsets) * len(indices)
        low, high = values.copy(), values.copy()
        unclear = None
        if len(crossed):
            again, still = self.lines.quotients(indices[crossed], steps.scheme, steps.finer)
            counts += len(steps.scheme.offsets) * len(crossed)
            for target in (values, low, high):
                target[crossed] = again
            # The crossing may lie on one side only, and a scheme may look at the other: both sides are asked.
            sides = [self.lines.quotients(indices[crossed], scheme, steps.finer) for scheme in (FORWARD, BACKWARD)]
            counts += 2 * len(crossed)
            kinked = (still + sides[0][1] + sides[1][1]) > 0
            places = crossed[kinked]
            candidates = [slopes[kinked] for slopes, _ in sides] + self.lines.conventions(indices[places])
            low[places] = np.min(candidates, axis=0)
            high[places] = np.maximum(np.max(candidates, axis=0), np.nextafter(low[places], np.inf))
            bounds = self.lines.bounds(indices[places])
            if bounds is not None:
                unclear = values.copy(), values.copy()
                unclear[0][places] = np.minimum(bounds[0], low[places])
                unclear[1][places] = np.maximum(bounds[1], high[places])
        return Slopes(values, low, high, np.zeros(len(values)), len(crossed), counts, unclear=unclear)


class NetworkDirections(NetworkNumerics):
    """The same along directions."""

    def quotients(self, indices: Indices) -> Slopes:
        """The same of directions; NaN of those that are left after an interrupt."""
        with current().counting(len(indices)):
            return super().quotients(indices)

    def product(self, number: int, block: NDArray[Any]) -> tuple[float, float]:
        """Product of a direction with a block, and the norm of the block in its region."""
        assert isinstance(self.lines, _Directions)
        return product(self.lines.directions[number], block)


class Entries:
    """The parameters themselves.

    Parameters
    ----------
    problem : Problem
        The cost.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, self._blocks = problem, leaves_of(problem)
        self._starts = np.array([leaf.start for leaf in self._blocks])

    def quotients(self, chosen: Indices, scheme: Scheme, step: float) -> tuple[Array, Array]:
        """Difference quotients of some parameters, and how many kinks the steps crossed."""
        stacks = tuple(self._problem.chunk_of(*place).stacks[0] for place in self._places(chosen))
        done = self._problem.quotients(Chunk(stacks), scheme, step)
        return done.values[0], _counted(done)

    def conventions(self, chosen: Indices) -> list[Array]:
        """What the usual backward passes give for them."""
        each = [self._problem.conventions(leaf.name) for leaf in self._blocks]
        result = []
        for matrices in zip(*each, strict=True):
            by_name = {leaf.name: matrix for leaf, matrix in zip(self._blocks, matrices, strict=True)}
            result.append(self._look_up(chosen, by_name.__getitem__))
        return result

    def bounds(self, chosen: Indices) -> tuple[Array, Array]:
        """What any backward pass may give for them."""
        low = self._look_up(chosen, lambda name: self._problem.subgradients(name)[0])
        return low, self._look_up(chosen, lambda name: self._problem.subgradients(name)[1])

    def rounding(self, chosen: Indices, precision: Precision, least: float) -> Array:
        """Rounding of their gradient."""
        return self._look_up(chosen, lambda name: self._problem.rounding(name, precision, least))

    def _places(self, chosen: Indices) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name of the block, row and column."""
        for index in chosen.tolist():
            leaf = self._blocks[int(np.searchsorted(self._starts, index, side="right")) - 1]
            row, column = divmod(index - leaf.start, leaf.shape[1])
            yield leaf.name, (row, column)

    def _look_up(self, chosen: Indices, matrix_of: Callable[[str], BlockMatrix]) -> Array:
        """Entries of matrices that are given by factors."""
        values = np.empty(len(chosen))
        for leaf in self._blocks:
            own = (leaf.start <= chosen) & (chosen < leaf.stop)
            if own.any():
                values[own] = matrix_of(leaf.name).at(*np.divmod(chosen[own] - leaf.start, leaf.shape[1]))
        return values


class _Directions:
    """Directions in blocks.

    Parameters
    ----------
    problem : Problem
        The cost.
    directions : sequence of Direction
        In regions of the blocks, by their numbers in the order of the layers.
    """

    def __init__(self, problem: Problem, directions: Sequence[Direction]) -> None:
        self._problem, self.directions = problem, directions
        self._blocks = leaves_of(problem)
        self._layers = [problem.layer_of(self._name(direction)) for direction in directions]
        self._products: dict[int, Array] = {}

    def quotients(self, chosen: Indices, scheme: Scheme, step: float) -> tuple[Array, Array]:
        """Difference quotients along some directions, and how many kinks the steps crossed."""
        widest = max(units for units, _ in self._problem.layer_shapes) * self._problem.examples
        length = max(_TOGETHER // (widest * len(scheme.offsets)), 1)
        values, crossings = np.full(len(chosen), np.nan), np.zeros(len(chosen))
        # By layer, as they enter.
        order = sorted(range(len(chosen)), key=lambda place: self._layers[chosen[place]])
        finished = 0

        def pieces() -> Iterator[tuple[list[int], Array, Array]]:
            for start in range(0, len(order), length):
                places = order[start : start + length]
                products = [(self._layers[chosen[place]], self._product(int(chosen[place]))) for place in places]
                done = self._problem.along(products, scheme, step)
                penalties = [self._of_penalty(self.directions[chosen[place]], scheme, step) for place in places]
                yield places, done.values[0] + penalties, _counted(done)

        def share(piece: tuple[list[int], Array, Array]) -> float:
            return finished / len(order)

        for places, slopes, counts in current().follow(pieces(), share):
            values[places], crossings[places] = slopes, counts
            finished += len(places)
        return values, crossings

    def conventions(self, chosen: Indices) -> list[Array]:
        """What the usual backward passes give along them."""
        each = [
            [self._along(int(number), matrix) for matrix in self._problem.conventions(self._name(self.directions[number]))]
            for number in chosen
        ]
        return list(np.array(each).T) if each else []

    def bounds(self, chosen: Indices) -> None:
        """What any backward pass may give is known of entries only."""
        del chosen

    def rounding(self, chosen: Indices, precision: Precision, least: float) -> Array:
        """Rounding along directions whose signs are random: that of all entries, as if each were rounded on its own."""
        values = []
        for number in chosen:
            direction = self.directions[number]
            values.append(_root_mean_square(self._problem.rounding(self._name(direction), precision, least), direction.region))
        return np.array(values)

    def _name(self, direction: Direction) -> str:
        return self._blocks[direction.region.block].name

    def _product(self, number: int) -> Array:
        """Product of a direction with its layer's inputs: array of shape (units, examples)."""
        if number not in self._products:
            direction = self.directions[number]
            leaf = self._blocks[direction.region.block]
            inputs = self._problem.inputs(self._layers[number]).T  # (inputs and 1, examples)
            own = inputs[-1:] if leaf.name[0] == "b" else inputs[slice(*direction.region.columns)]
            result = np.zeros((leaf.shape[0], inputs.shape[1]))
            for rows, values in direction.parts():
                np.dot(values, own, out=result[rows])
            self._products[number] = result / direction.norm
        return self._products[number]

    def _along(self, number: int, matrix: BlockMatrix) -> float:
        """A direction's product with what a backward pass gives: a product of the inputs, and of the weights."""
        assert matrix.matrix.left is not None
        value = float(np.vdot(self._product(number), matrix.matrix.left))
        if matrix.weights is not None:
            value += matrix.slope * product(self.directions[number], matrix.weights)[0]
        return value

    def _of_penalty(self, direction: Direction, scheme: Scheme, step: float) -> float:
        """Quotient of the penalty, whose change is that of a sum of squares."""
        return self._problem.penalty_along(self._name(direction), scheme, step, lambda weights: product(direction, weights)[0])


def _counted(done: Quotients) -> Array:
    """How many kinks each line crossed; none were counted where there can be none."""
    if not done.crossings.size:
        return np.zeros(done.values.shape[1])
    result: Array = done.crossings[0]
    return result


def _root_mean_square(block: BlockMatrix, region: Region) -> float:
    """Root mean square of a block's entries, none of which is negative, in a region; at most, where there are several terms."""
    rows = slice(*region.rows)
    columns = slice(block.first_column + region.columns[0], block.first_column + region.columns[1])
    if block.matrix.dense is not None:
        value = float(np.linalg.norm(block.matrix.dense[rows, columns]))
    else:
        assert block.matrix.left is not None
        assert block.matrix.right is not None
        left, right = block.matrix.left[rows], block.matrix.right[:, columns]
        value = math.sqrt(float(np.sum((left.T @ left) * (right @ right.T))))
    value += abs(block.constant) * math.sqrt(region.size)
    if block.weights is not None and block.slope:
        value += abs(block.slope) * float(np.linalg.norm(block.weights[rows, slice(*region.columns)]))
    return value / math.sqrt(region.size)
