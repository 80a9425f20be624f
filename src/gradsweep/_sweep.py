"""The sweep: every parameter's difference quotient, chunk by chunk, kinks resolved."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradsweep._costs._protocol import Chunk, Problem
from gradsweep._execution import run
from gradsweep._schemes import BACKWARD, FORWARD, Scheme
from gradsweep._types import Array

# Changes of an activation in one chunk: some milliseconds of work, which makes the hand-over to a worker negligible.
_WORK = 2**24

# How much smaller the step is at which disputed parameters are looked at again. Difference forms have no rounding that grows
# as the step shrinks, so it may be so small that only a kink at the very point is still crossed, and no truncation is left.
FINER = 2.0**-30

# Neighbouring parameters that are looked at again together, even if some between them need not be.
_GAP = 64


@dataclass(frozen=True)
class _Crossed:
    """What came of the parameters of a chunk whose step crossed a kink.

    Attributes
    ----------
    count : int
        How many there were.
    evaluations : int
        Changes of the cost that it took to look at them again.
    positions : array of int of shape (kinks,)
        Those that lie at a kink: two one-sided slopes, no derivative. Counted row by row in the layer.
    below, above : arrays of shape (kinks,)
        The smaller and the larger of the two slopes.
    """

    count: int
    evaluations: int
    positions: np.ndarray[tuple[int], np.dtype[np.int64]]
    below: Array
    above: Array


@dataclass(frozen=True)
class _Part:
    """What a worker returns for a chunk."""

    chunk: Chunk
    values: Array
    crossed: _Crossed | None


@dataclass(frozen=True)
class LayerQuotients:
    """Numeric gradient of a layer.

    Attributes
    ----------
    values : array of shape (units, inputs + 1)
        Difference quotients: the layer's weights with the bias as last column.
    below, above : arrays of the same shape
        At a kink, the smaller and the larger one-sided slope; at all other entries, the quotient. The very array `values` where
        the layer has no kink.
    kinks : int
        Entries at a kink.
    crossed : int
        Entries whose step crossed a kink, and which were looked at again with a smaller one.
    evaluations : int
        Changes of the cost that were computed.
    """

    values: Array
    below: Array
    above: Array
    kinks: int
    crossed: int
    evaluations: int


def sweep(problem: Problem, scheme: Scheme, step: float, finer: float, jobs: int | None) -> list[LayerQuotients]:
    """Numeric gradient of every parameter.

    Parameters
    ----------
    problem : Problem
        Cost and parameters.
    scheme : Scheme
        Steps and weights.
    step : float
        ε.
    finer : float
        The step that is taken where ε crosses a kink.
    jobs : int or None
        Workers.

    Returns
    -------
    list of LayerQuotients
        Of every layer; the same bits for any number of workers.
    """
    layers = range(len(problem.layer_shapes))
    arrays = [np.empty(shape) for shape in problem.layer_shapes]
    crossed: list[list[_Crossed]] = [[] for _ in layers]
    evaluate = functools.partial(_evaluate, problem, scheme, step, finer)
    for part in run(evaluate, problem.chunks(_WORK, layers), jobs, problem.work * len(scheme.offsets)):
        _take(part, arrays[part.chunk.layer], crossed[part.chunk.layer])
    return [_assemble(problem, layer, arrays[layer], crossed[layer], scheme) for layer in layers]


def sweep_layer(problem: Problem, layer: int, scheme: Scheme, step: float, finer: float) -> LayerQuotients:
    """The same for a single layer, in the caller."""
    values = np.empty(problem.layer_shapes[layer])
    crossed: list[_Crossed] = []
    for chunk in problem.chunks(_WORK, [layer]):
        _take(_evaluate(problem, scheme, step, finer, chunk), values, crossed)
    return _assemble(problem, layer, values, crossed, scheme)


def _take(part: _Part, values: Array, crossed: list[_Crossed]) -> None:
    values.reshape(-1)[part.chunk.start : part.chunk.stop] = part.values
    if part.crossed:
        crossed.append(part.crossed)


def _assemble(problem: Problem, layer: int, values: Array, crossed: list[_Crossed], scheme: Scheme) -> LayerQuotients:
    below = above = values
    kinks = sum(len(part.positions) for part in crossed)
    if kinks:
        below, above = values.copy(), values.copy()
        for part in crossed:
            below.reshape(-1)[part.positions] = part.below
            # Where both slopes are the same it is a kink all the same: of several units that open to either side.
            above.reshape(-1)[part.positions] = np.maximum(part.above, np.nextafter(part.below, np.inf))
    evaluations = values.size * len(scheme.offsets) + sum(part.evaluations for part in crossed)
    return LayerQuotients(values, below, above, kinks, sum(part.count for part in crossed), evaluations)


def _evaluate(problem: Problem, scheme: Scheme, step: float, finer: float, chunk: Chunk) -> _Part:
    """Quotients of a chunk; where a step crossed a kink, those of a much smaller step."""
    done = problem.quotients(chunk, scheme, step)
    if not done.crossings.any():
        return _Part(chunk, done.values, None)
    evaluations = 0
    positions, below, above = [], [], []
    for start, stop in _runs(done.crossings):
        part = Chunk(chunk.layer, chunk.start + start, chunk.start + stop)
        retried = problem.quotients(part, scheme, finer)
        again = done.crossings[start:stop] > 0
        done.values[start:stop][again] = retried.values[again]
        evaluations += (stop - start) * len(scheme.offsets)
        if not retried.crossings.any():
            continue
        rising = problem.quotients(part, FORWARD, finer)
        falling = problem.quotients(part, BACKWARD, finer)
        evaluations += (stop - start) * 2
        # The crossing may lie on one side only, and a scheme may look at the other: both sides are asked.
        at = np.flatnonzero((rising.crossings + falling.crossings) > 0)
        positions.append(at + part.start)
        below.append(np.minimum(rising.values[at], falling.values[at]))
        above.append(np.maximum(rising.values[at], falling.values[at]))
    places = np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)
    count = int(np.count_nonzero(done.crossings))
    return _Part(chunk, done.values, _Crossed(count, evaluations, places, _concatenate(below), _concatenate(above)))


def _runs(crossings: Array) -> Iterator[tuple[int, int]]:
    """Stretches that hold all places with a crossing, with no gap of more than `_GAP` inside."""
    places = np.flatnonzero(crossings)
    breaks = np.flatnonzero(np.diff(places) > _GAP)
    starts = places[np.concatenate([[0], breaks + 1])]
    stops = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    yield from zip(starts.tolist(), stops.tolist(), strict=True)


def _concatenate(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.empty(0)
