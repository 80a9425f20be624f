"""Difference quotients of everything, chunk by chunk, kinks resolved: of each parameter, or of each unit and example."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._protocol import Chunk, Problem, Run
from gradsweep._execution import run
from gradsweep._journal import Fields, misfit
from gradsweep._matrices import BlockMatrix, Matrix
from gradsweep._monitor import current
from gradsweep._schemes import BACKWARD, FORWARD, Scheme
from gradsweep._types import Array

# How much smaller the step is at which disputed parameters are looked at again. Difference forms have no rounding that grows
# as the step shrinks, so it may be so small that only a kink at the very point is still crossed, and no truncation is left.
FINER = 2.0**-30


@dataclass(frozen=True)
class Steps:
    """How a quotient is formed.

    Attributes
    ----------
    scheme : Scheme
        Steps and weights.
    step : float
        ε.
    finer : float
        The step that is taken where ε crosses a kink.
    """

    scheme: Scheme
    step: float
    finer: float

    def shrunk(self) -> "Steps":
        """The same with the finer step from the beginning."""
        return Steps(self.scheme, self.finer, self.finer)


@dataclass(frozen=True)
class _Crossed:
    """What came of the parameters of a chunk whose step crossed a kink.

    Attributes
    ----------
    count : int
        How many there were.
    evaluations : int
        Changes of the cost that it took to look at them again.
    rows, positions : arrays of int of shape (kinks,)
        Those that lie at a kink: two one-sided slopes, no derivative. The row of the chunk's values, and the parameter.
    rising, falling : arrays of shape (kinks,)
        The slopes on the right and on the left.
    """

    count: int
    evaluations: int
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    rising: Array
    falling: Array


@dataclass(frozen=True)
class _Part:
    """What a worker returns for a chunk."""

    chunk: Chunk
    values: Array
    crossed: _Crossed | None


class _Parts:
    """Codec of parts, of these steps."""

    kind = "quotients"

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def describe(self, item: Chunk) -> Iterator[bytes]:
        """What is perturbed, and how far."""
        yield repr((self._steps.scheme.name, self._steps.step, self._steps.finer, item)).encode()

    def encode(self, result: _Part) -> Fields:
        """Quotients, and what crossed a kink."""
        fields: dict[str, NDArray[Any]] = {"values": result.values.reshape(-1)}
        crossed = result.crossed
        empty = np.empty(0)
        fields["counts"] = np.array([] if crossed is None else [crossed.count, crossed.evaluations], dtype=np.int64)
        for name in ("rows", "positions"):
            fields[name] = np.asarray(empty if crossed is None else getattr(crossed, name), dtype=np.int64)
        for name in ("rising", "falling"):
            fields[name] = empty if crossed is None else getattr(crossed, name)
        return fields

    def decode(self, item: Chunk, fields: Fields) -> _Part:
        """The part of a chunk."""
        rows = 1 if item.examples is None else item.examples[1] - item.examples[0]
        at_kinks = {len(fields[name]) for name in ("rows", "positions", "rising", "falling")}
        if len(fields["values"]) != rows * item.size or len(fields["counts"]) not in (0, 2) or len(at_kinks) != 1:
            raise misfit("quotients", len(fields["values"]), rows * item.size)
        values = fields["values"].reshape(rows, item.size)
        if not len(fields["counts"]):
            return _Part(item, values, None)
        count, evaluations = fields["counts"].tolist()
        crossed = _Crossed(count, evaluations, *(fields[name] for name in ("rows", "positions", "rising", "falling")))
        return _Part(item, values, crossed)


@dataclass
class _Layer:
    """Quotients of a layer, as they come in.

    Attributes
    ----------
    values : array of shape (rows, parameters)
        Quotients: in one row, or one for each example.
    crossed, evaluations : int
        Quotients whose step crossed a kink, and changes of the cost that were computed.
    kinks : list of tuple
        Rows, parameters, rising and falling slopes of what lies at a kink.
    """

    values: Array
    crossed: int = 0
    evaluations: int = 0
    kinks: list[tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]] = field(default_factory=list)

    def slopes(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Rising and falling slopes of everything, and where they are those at a kink."""
        rising, falling, at_kink = self.values.copy(), self.values.copy(), np.zeros(self.values.shape, dtype=bool)
        for rows, positions, right, left in self.kinks:
            rising[rows, positions], falling[rows, positions], at_kink[rows, positions] = right, left, True
        return rising, falling, at_kink


class ParameterQuotients:
    """Numeric gradient of a layer, each parameter perturbed on its own.

    Parameters
    ----------
    problem : Problem
        The cost.
    layer : int
        Which layer.
    quotients : _Layer
        Of its parameters.
    """

    def __init__(self, problem: Problem, layer: int, quotients: _Layer) -> None:
        self._problem = problem
        shape = problem.layer_shapes[layer]
        quotients.values.flags.writeable = False  # a report will hand it out
        self.crossed, self.evaluations = quotients.crossed, quotients.evaluations
        self.values = quotients.values.reshape(shape)
        self.kinked = bool(quotients.kinks)
        if self.kinked:
            rising, falling, at_kink = (part.reshape(shape) for part in quotients.slopes())
            self._below, self._above = np.minimum(rising, falling), np.maximum(rising, falling)
            # Where both slopes are the same it is a kink all the same: of several units that open to either side.
            self._above[at_kink] = np.maximum(self._above, np.nextafter(self._below, np.inf))[at_kink]

    def block(self, name: str) -> BlockMatrix:
        """Quotients of a block."""
        return self._problem.block(name, Matrix(dense=self.values))

    def interval(self, name: str, rows: slice) -> tuple[Array, Array]:
        """The smaller and the larger one-sided slope of some rows of a block; the quotient, twice, where there is no kink."""
        below, above = (self._problem.block(name, Matrix(dense=bound)).rows(rows) for bound in (self._below, self._above))
        return below, above


class UnitQuotients:
    """Numeric gradient of a layer, each pre-activation perturbed on its own and multiplied with the layer's inputs.

    z = W·a + b is linear in W and b, so that the change of every entry of dW and db is that of one pre-activation an example,
    times the input. Nothing of the size of W is held: rows are formed when they are asked for.

    Parameters
    ----------
    problem : Problem
        The cost.
    layer : int
        Which layer.
    quotients : _Layer
        Of its units, with a row for each example.
    steps : Steps
        How they were formed, for the penalty.
    """

    def __init__(self, problem: Problem, layer: int, quotients: _Layer, steps: Steps) -> None:
        self._problem, self._layer, self._steps = problem, layer, steps
        self.crossed, self.evaluations = quotients.crossed, quotients.evaluations
        self._matrix = Matrix(left=np.ascontiguousarray(quotients.values.T), right=problem.inputs(layer))
        self.kinked = bool(quotients.kinks)
        if self.kinked:
            rising, falling, at_kink = quotients.slopes()
            self._slopes, self._at_kink = (rising.T, falling.T), at_kink.T

    def block(self, name: str) -> BlockMatrix:
        """Quotients of a block, as a product."""
        return self._problem.penalised(name, self._matrix, self._steps.scheme, self._steps.step)

    def of_unit(self, unit: int) -> Array:
        """Quotients of one unit's pre-activation: array of shape (examples,)."""
        assert self._matrix.left is not None
        slopes: Array = self._matrix.left[unit]
        return slopes

    def interval(self, name: str, rows: slice) -> tuple[Array, Array]:
        """The smaller and the larger one-sided slope of some rows of a block; the quotient, twice, where there is no kink.

        A step to the right moves an example whose input is negative to the left.
        """
        plain = self.block(name).rows(rows)
        at_kink = self._at_kink[rows].astype(np.float64)
        if not at_kink.any():
            return plain, plain.copy()
        slopes = [self._split_block(name, right, left).rows(rows) for right, left in itertools.permutations(self._slopes)]
        # An input of 0 does not move its unit off the kink.
        inputs = np.abs(self._problem.inputs(self._layer))
        touched = self._problem.block(name, Matrix(left=at_kink, right=inputs)).rows(slice(None)) > 0.0
        below, above = np.minimum(*slopes), np.maximum(*slopes)
        above = np.maximum(above, np.nextafter(below, np.inf))
        # Without a kink both are the quotient itself, to the bit.
        return np.where(touched, below, plain), np.where(touched, above, plain)

    def _split_block(self, name: str, right: Array, left: Array) -> BlockMatrix:
        """Slope of a block where units move to the right by positive inputs and to the left by negative ones, or the reverse."""
        matrix = Matrix(left=np.hstack([right, left]), right=self._split)
        return self._problem.penalised(name, matrix, self._steps.scheme, self._steps.step)

    @functools.cached_property
    def _split(self) -> Array:
        return self._problem.split_inputs(self._layer)


LayerQuotients = ParameterQuotients | UnitQuotients


def sweep(
    problem: Problem, steps: Steps, jobs: int | None, layers: Sequence[int], *, stacked: bool = False
) -> dict[int, ParameterQuotients]:
    """Numeric gradient, every parameter perturbed on its own.

    Parameters
    ----------
    problem : Problem
        Cost and parameters.
    steps : Steps
        Scheme and steps.
    jobs : int or None
        Workers.
    layers : sequence of int
        Of which layers, ascending.
    stacked : bool, default: False
        Whether perturbations of several layers go through the network together.

    Returns
    -------
    dict of int to ParameterQuotients
        For each layer; the same bits for any number of workers.
    """
    found = {layer: _Layer(np.full((1, math.prod(problem.layer_shapes[layer])), np.nan)) for layer in layers}
    _gather(problem, steps, problem.chunks(len(steps.scheme.offsets), layers, stacked=stacked), jobs, found)
    return {layer: ParameterQuotients(problem, layer, found[layer]) for layer in layers}


def sweep_units(problem: Problem, steps: Steps, jobs: int | None, layers: Sequence[int]) -> dict[int, UnitQuotients]:
    """Numeric gradient, every pre-activation perturbed on its own; arguments and result as for `sweep`."""
    found = {layer: _Layer(np.full((problem.examples, problem.layer_shapes[layer][0]), np.nan)) for layer in layers}
    _gather(problem, steps, problem.chunks(len(steps.scheme.offsets), layers, stacked=True, units=True), jobs, found)
    return {layer: UnitQuotients(problem, layer, found[layer], steps) for layer in layers}


def _gather(problem: Problem, steps: Steps, chunks: Iterable[Chunk], jobs: int | None, found: dict[int, _Layer]) -> None:
    total = sum(problem.work(layer) * quotients.values.size for layer, quotients in found.items())
    worked = 0.0

    def share(part: _Part) -> float:
        nonlocal worked
        worked += len(part.values) * sum(problem.work(run.layer) * run.size for run in part.chunk.runs)
        return worked / total

    function = functools.partial(_evaluate, problem, steps)
    parts = current().recorded(chunks, lambda left, before: run(function, left, jobs), _Parts(steps))
    for part in current().follow(parts, share):
        first = part.chunk.examples[0] if part.chunk.examples else 0
        done = 0
        for piece in part.chunk.runs:
            own = slice(done, done + piece.size)
            layer = found[piece.layer]
            layer.values[first : first + len(part.values), piece.start : piece.stop] = part.values[:, own]
            layer.evaluations += part.values[:, own].size * len(steps.scheme.offsets)
            if part.crossed:
                _take_kinks(part.crossed, layer, piece, own, first)
            done += piece.size
        if part.crossed:
            # Of the chunk as a whole, whose runs may be of several layers: only their sum over all layers is reported.
            some = found[next(part.chunk.runs).layer]
            some.crossed += part.crossed.count
            some.evaluations += part.crossed.evaluations


def _take_kinks(crossed: _Crossed, layer: _Layer, piece: Run, own: slice, first: int) -> None:
    chosen = (crossed.positions >= own.start) & (crossed.positions < own.stop)
    if chosen.any():
        positions = crossed.positions[chosen] - own.start + piece.start
        layer.kinks.append((crossed.rows[chosen] + first, positions, crossed.rising[chosen], crossed.falling[chosen]))


def _evaluate(problem: Problem, steps: Steps, chunk: Chunk) -> _Part:
    """Quotients of a chunk; where a step crossed a kink, those of a much smaller step."""
    done = problem.quotients(chunk, steps.scheme, steps.step)
    crossed = done.crossings > 0
    positions = np.flatnonzero(crossed.any(axis=0))
    if not len(positions):
        return _Part(chunk, done.values, None)
    narrow, places = chunk.narrow(positions)
    retried = problem.quotients(narrow, steps.scheme, steps.finer)
    again = crossed[:, places]
    done.values[:, places] = np.where(again, retried.values, done.values[:, places])
    evaluations = retried.values.size * len(steps.scheme.offsets)
    rows = at = np.empty(0, dtype=np.int64)
    right = left = np.empty(0)
    if retried.crossings.any():
        rising = problem.quotients(narrow, FORWARD, steps.finer)
        falling = problem.quotients(narrow, BACKWARD, steps.finer)
        evaluations += retried.values.size * 2
        # The crossing may lie on one side only, and a scheme may look at the other: both sides are asked.
        rows, at = np.nonzero((rising.crossings + falling.crossings) > 0)
        right, left = rising.values[rows, at], falling.values[rows, at]
    count = int(np.count_nonzero(crossed))
    return _Part(chunk, done.values, _Crossed(count, evaluations, rows, places[at], right, left))
