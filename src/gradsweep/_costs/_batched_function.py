"""A function of many parameters at once: stacked along a first axis, a lane for each perturbation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._costs._evaluation import Points, gathered
from gradsweep._costs._numerics import Indices
from gradsweep._costs._reading import OUTSIDE
from gradsweep._errors import InputError
from gradsweep._journal import Values
from gradsweep._monitor import current
from gradsweep._trees import Tree, read_tree
from gradsweep._types import Array
from gradsweep._workers import Workers

# Numbers in the stacked parameters of a chunk: 64 MB. And lanes in it at most.
_NUMBERS, _MOST = 2**23, 1024

# Lanes that are evaluated alone and in company, how far they are from the parameters, relative to these, and what their values
# may differ by: the order of sums within a matrix product depends on its size.
_COMPARED, _APART, _SAME = 4, 2.0**-5, 1e-10


@dataclass(frozen=True, eq=False)
class BatchedCost:
    """What `gradsweep.batched` makes of a function; it can be called with parameters as they are, too.

    Attributes
    ----------
    function : callable
        The user's.
    """

    function: Callable[[Any], Any]

    def __call__(self, params: Any) -> float:
        """The cost of one set of parameters."""
        return _Stacks(self.function, read_tree(params)).unperturbed()


class _Stacks:
    """Function and parameters: all that a worker needs.

    Parameters
    ----------
    function : callable
        The user's.
    tree : Tree
        Its parameters.
    """

    def __init__(self, function: Callable[[Any], Any], tree: Tree) -> None:
        self._function, self._tree = function, tree

    def describe(self, points: Points) -> str:
        """Where a chunk evaluates the function."""
        return points.describe_all(self._tree)

    def unperturbed(self) -> float:
        """Its value at the parameters, one lane of them; what it raises there is the caller's to see."""
        return float(_read_lanes(self._call(Points(np.zeros(1))), 1)[0])

    def __call__(self, points: Points) -> Array:
        """Evaluate the function once for all points. Where it raises an error that says that it is not defined, for fewer."""
        try:
            result = self._call(points)
        except OUTSIDE:
            if len(points) == 1:
                return np.full(1, np.nan)
            half = len(points) // 2
            return np.concatenate([self(points.part(slice(0, half))), self(points.part(slice(half, None)))])
        except Exception as error:
            raise InputError(
                f"cost raises {type(error).__name__} on a stack of {len(points)} perturbations, the first of them "
                f"{points.describe(0, self._tree)}: {error}"
            ) from error
        return _read_lanes(result, len(points))

    def explain(self, points: Points) -> None:
        """Raise what the function raises at a point, if it does."""
        try:
            self._call(points)
        except OUTSIDE as error:
            raise InputError(f"cost raises {type(error).__name__} {points.describe(0, self._tree)}: {error}") from error

    def _call(self, points: Points) -> Any:
        """What the function returns for all points."""
        with np.errstate(all="ignore"):
            return self._function(self._tree.build([self._stack(leaf, points) for leaf in self._tree.blocks]))

    def _stack(self, leaf: Any, points: Points) -> Array:
        """A block with a first axis of lanes."""
        stacked = np.tile(self._tree.values[leaf.start : leaf.stop], (len(points), 1))
        if points.indices is not None:
            own = np.flatnonzero((leaf.start <= points.indices) & (points.indices < leaf.stop))
            stacked[own, points.indices[own] - leaf.start] += points.steps[own]
        elif points.direction is not None:
            stacked += np.multiply.outer(points.steps, points.direction[leaf.start : leaf.stop])
        return stacked.reshape(len(points), *leaf.shape)


def _read_lanes(result: Any, lanes: int) -> Array:
    """A cost for each lane; InputError if that is not what it is."""
    try:
        costs = np.asarray(result)
    except (ValueError, TypeError) as error:
        raise InputError(f"cost returns no numbers: {error}") from error
    if result is None:
        raise InputError("cost returns None; it must return a number for each lane")
    if costs.dtype.kind not in "biuf":
        raise InputError(f"cost returns a value of type {type(result).__name__}, dtype {costs.dtype}, but costs are real numbers")
    if costs.shape != (lanes,):
        raise InputError(
            f"cost returns an array of shape {costs.shape} for parameters stacked {lanes} times; gradsweep.batched(f) needs "
            f"one cost for each, shape {(lanes,)}"
        )
    return costs.astype(np.float64)


class BatchedEvaluator:
    """A function that is called for stacks of perturbations, in worker processes where that is worth it.

    Parameters
    ----------
    cost : BatchedCost
        The function.
    tree : Tree
        The point.
    jobs : int or None
        Workers.

    Raises
    ------
    InputError
        The value of a lane depends on the others.
    """

    kind = "batched function"
    types: tuple[np.dtype[Any], ...] = ()

    def __init__(self, cost: BatchedCost, tree: Tree, jobs: int | None) -> None:
        self._stacks = _Stacks(cost.function, tree)
        self._workers = Workers(self._stacks, jobs, _same)
        self._length = int(np.clip(_NUMBERS // len(tree.values), 1, _MOST))
        self._require_independence(tree)

    @property
    def notes(self) -> list[str]:
        """Why there was one worker."""
        return list(self._workers.notes)

    def values(self, indices: Indices, steps: Array) -> Array:
        """J(θ + steps[k]·e_indices[k]) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, indices))

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """J(θ + steps[k]·direction) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, direction=direction))

    def explain(self, index: int, step: float) -> None:
        """Raise what the cost raises where this parameter has taken this step, if it does."""
        self._stacks.explain(Points(np.array([step]), np.array([index], dtype=np.intp)))

    def _evaluate(self, points: Points) -> Array:
        count = -(-len(points) // self._length)
        costs = current().recorded(
            points.parts(self._length), lambda parts, before: self._workers.run(parts, count - before), Values()
        )
        return gathered(costs, len(points))

    def _require_independence(self, tree: Tree) -> None:
        """Raise InputError unless a lane's value is the same alone and in company, as far as rounding allows."""
        count = min(_COMPARED, self._length)
        sizes = np.maximum(np.abs(tree.values), 1.0)
        direction = _APART * sizes * np.random.default_rng(0).choice([-1.0, 1.0], len(sizes))
        points = Points(np.arange(count) / count, direction=direction)
        together = self._stacks(points)
        for lane in range(count):
            alone = float(self._stacks(points.part(slice(lane, lane + 1)))[0])
            allowed = _SAME * max(abs(alone), float(np.max(np.abs(together), initial=0.0, where=np.isfinite(together))))
            # Of values that are not finite those that are alike agree.
            alike = np.array_equal(together[lane], alone, equal_nan=True)
            if not (alike or abs(together[lane] - alone) <= allowed < math.inf):
                raise InputError(
                    f"cost: a lane of gradsweep.batched(f) has the value {alone!r} alone and {float(together[lane])!r} beside "
                    f"{count - 1} others; lanes must not depend on each other (is there a mean or a sum over the first axis?)"
                )


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=True)
