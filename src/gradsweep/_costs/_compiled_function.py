"""A function that the user compiled with Numba: called in a loop without the interpreter, in threads."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._costs._evaluation import Points, gathered
from gradsweep._costs._numerics import Indices
from gradsweep._costs._reading import OUTSIDE
from gradsweep._errors import InputError
from gradsweep._execution import run
from gradsweep._journal import Values
from gradsweep._monitor import current
from gradsweep._trees import Tree
from gradsweep._types import Array

# Seconds that a chunk takes, roughly, and values in it: so many that handing it to a thread, and a look at whether the parameters
# are what they were, are nothing beside it.
_SECONDS, _FEWEST, _MOST = 0.02, 256, 2**18

# How many times longer than to copy the parameters it takes, at least: each chunk has some copies of its own.
_COPIES = 30.0

_SUPPORTED = (
    "a compiled cost is a Numba function of one vector of float64 that returns a number; gradsweep.plain(lambda params: f(...)) "
    "checks any other by plain calls"
)


def is_compiled(cost: Any) -> bool:
    """Whether it is a function that Numba compiles. Numba is not imported for that: whoever made one has done it."""
    if "numba" not in sys.modules:
        return False
    from numba.core.dispatcher import Dispatcher

    return isinstance(cost, Dispatcher)


@dataclass(frozen=True, eq=False)
class CompiledCost:
    """A compiled function, called with parameters as any other.

    Attributes
    ----------
    function : Dispatcher
        The user's.
    """

    function: Callable[[Any], Any]

    def __call__(self, params: Any) -> Any:
        """The cost of one vector; InputError if it is not one, or the function does not compile."""
        if not isinstance(params, np.ndarray) or params.ndim != 1:
            shape = f" of shape {params.shape}" if isinstance(params, np.ndarray) else ""
            raise InputError(f"params is of type {type(params).__name__}{shape}, but {_SUPPORTED}")
        return _compiling(self.function, np.asarray(params, dtype=np.float64))


def _compiling(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function, which may have to be compiled; InputError if it cannot be."""
    from numba.core.errors import NumbaError

    try:
        return function(*arguments)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(f"cost does not compile for a vector of float64 ({' '.join(lines[:3])}); {_SUPPORTED}") from error


class CompiledEvaluator:
    """A compiled function, called for chunks of perturbations in threads: it holds no interpreter lock, and keeps no state.

    Parameters
    ----------
    cost : CompiledCost
        The function.
    tree : Tree
        The point: one vector.
    jobs : int or None
        Workers.
    """

    kind = "compiled function"
    types: tuple[np.dtype[Any], ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, cost: CompiledCost, tree: Tree, jobs: int | None) -> None:
        self._function, self._tree, self._jobs = cost.function, tree, jobs
        # Compiled here, before there are threads.
        self._chunk(Points(np.zeros(1), np.zeros(1, dtype=np.intp)))
        self._length = current().decide(
            "values of a chunk", self._choose_length, lambda length: isinstance(length, int) and _FEWEST <= length <= _MOST
        )

    def _choose_length(self) -> int:
        begun = time.perf_counter()
        theta = self._tree.values.copy()
        copied = time.perf_counter() - begun
        seconds = []
        for _ in range(2):  # what is done once only is done at the first call
            begun = time.perf_counter()
            self._function(theta)
            seconds.append(time.perf_counter() - begun)
        return int(np.clip(max(_SECONDS, _COPIES * copied) / max(seconds[-1], 1e-9), _FEWEST, _MOST))

    def values(self, indices: Indices, steps: Array) -> Array:
        """J(θ + steps[k]·e_indices[k]) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, indices))

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """J(θ + steps[k]·direction) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, direction=direction))

    def explain(self, index: int, step: float) -> None:
        """Raise what the cost raises where this parameter has taken this step, if it does."""
        points = Points(np.array([step]), np.array([index], dtype=np.intp))
        try:
            self._loop(points)
        except InputError:
            raise
        except OUTSIDE as error:
            raise self._refusal(points, error) from error

    def _evaluate(self, points: Points) -> Array:
        # One at a time gains nothing from threads.
        jobs = self._jobs if len(points) > 2 * self._length else 1
        costs = current().recorded(points.parts(self._length), lambda parts, before: run(self._chunk, parts, jobs), Values())
        return gathered(costs, len(points))

    def _chunk(self, points: Points) -> Array:
        """Costs at some points; NaN where the function raises an error that says that it is not defined there."""
        try:
            return self._loop(points)
        except InputError:
            raise
        except Exception as error:
            if len(points) == 1:
                if isinstance(error, OUTSIDE):
                    return np.full(1, np.nan)
                raise self._refusal(points, error) from error
        half = len(points) // 2
        return np.concatenate([self._chunk(points.part(slice(0, half))), self._chunk(points.part(slice(half, None)))])

    def _loop(self, points: Points) -> Array:
        """Costs at some points; of single parameters by the compiled loop."""
        from gradsweep.kernels import evaluation

        theta = self._tree.values.copy()  # writable as the working copy, so that both have one type
        work, costs = theta.copy(), np.empty(len(points))
        if points.indices is not None:
            _compiling(evaluation.at_entries, self._function, theta, points.indices, points.steps, work, costs)
        else:
            # There are few, so that compiling a loop for them would take longer than they do.
            for place, step in enumerate(points.steps):
                costs[place] = self._function(theta + step * points.direction)
        if not np.array_equal(work, theta):
            raise InputError("cost modifies its parameters")
        return costs

    def _refusal(self, points: Points, error: Exception) -> InputError:
        return InputError(f"cost raises {type(error).__name__} {points.describe(0, self._tree)}: {error}")
