"""A cost of which nothing is known but its values: a call for each perturbation."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._evaluation import Points, gathered
from gradsweep._costs._numerics import Indices
from gradsweep._costs._reading import OUTSIDE, read_cost
from gradsweep._deadlines import OutOfTime, in_time, out_of_time
from gradsweep._errors import GradsweepError, InputError
from gradsweep._journal import Fields, misfit
from gradsweep._monitor import current
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._workers import Workers

# Seconds that a chunk takes, roughly, and calls in it at most: so long that sending it to a worker is nothing beside it.
_CHUNK, _MOST_CALLS = 0.05, 4096

# How far all parameters move, of their size, where it is found out what the function sees: beyond the digits of half precision.
_MOVED = 2.0**-10

# What it sees is the same up to this part of its value, or this part of its change, whichever is less: a cost may have a large
# constant. And up to so many roundings: sums are rounded in another way where memory is aligned in another.
_SAME, _SEEN, _ROUNDINGS = 1e-9, 2.0**-7, 64.0


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Costs at some points.

    Attributes
    ----------
    costs : array of shape (n,)
        NaN where the cost raised an error that says that it is not defined there.
    refused : int
        How often it did.
    error : str
        The first such error.
    """

    costs: Array
    refused: int
    error: str


class _Outcomes:
    """Codec of outcomes."""

    kind = "costs"

    def describe(self, item: Points) -> Iterator[bytes | NDArray[Any]]:
        """The points."""
        return item.described

    def encode(self, result: _Outcome) -> Fields:
        """Costs, and what was raised."""
        error = np.frombuffer(result.error.encode("utf-8", "backslashreplace"), dtype=np.uint8)
        return {"costs": result.costs, "refused": np.array([result.refused]), "error": error}

    def decode(self, item: Points, fields: Fields) -> _Outcome:
        """The outcome of some points."""
        if len(fields["costs"]) != len(item) or len(fields["refused"]) != 1:
            raise misfit("costs", len(fields["costs"]), len(item))
        return _Outcome(fields["costs"], int(fields["refused"][0]), fields["error"].tobytes().decode("utf-8", "replace"))


class _Calls:
    """Function and parameters, with a working copy of these that is perturbed in place: all that a worker needs.

    Parameters
    ----------
    function : callable
        The user's.
    tree : Tree
        Its parameters.
    """

    def __init__(self, function: Callable[[Any], Any], tree: Tree) -> None:
        self._function, self._tree = function, tree
        # Numbers cannot be changed within a container.
        self._builds, self._copies = any(leaf.is_scalar for leaf in tree.blocks), False
        self._copy()

    def __getstate__(self) -> tuple[Callable[[Any], Any], Tree, bool, bool]:
        """Without the working copy: each process makes its own."""
        return self._function, self._tree, self._builds, self._copies

    def __setstate__(self, state: tuple[Callable[[Any], Any], Tree, bool, bool]) -> None:
        self._function, self._tree, self._builds, self._copies = state
        self._copy()

    def __call__(self, points: Points) -> _Outcome:
        """Evaluate the function at some points, one after the other."""
        outcome = None
        try:
            outcome = self._evaluate_all(points)
        except Exception:
            if not self._is_spoilt():
                raise
        if not np.array_equal(self._working, self._tree.values):
            self._copy()
            raise InputError("cost modifies its parameters")
        if outcome is None or self._is_spoilt():
            self._builds = True
            self._copy()
            return self(points)
        return outcome

    def describe(self, points: Points) -> str:
        """Where a chunk evaluates the function."""
        return points.describe_all(self._tree)

    def explain(self, points: Points) -> None:
        """Raise what the function raises at a point, if it does."""
        try:
            with np.errstate(all="ignore"):
                self._evaluate(points, 0)
        except InputError:
            raise
        except OUTSIDE as error:
            raise self._refusal(points, 0, error) from error

    def look_for_memory(self, here: Points) -> None:
        """Find out whether the function sees what changes within arrays that it knows; else it gets new ones at each call.

        One that keeps what it has computed as long as its argument is the same object, or equals the array that it was given
        last and holds on to, takes a working copy that is perturbed in place for what it was before.
        """
        away = _moved(self._tree)
        before, changed, after = (self._value_or_nan(points) for points in (here, away, here))
        self._copies = True
        self._copy()  # of whose memory the function has seen nothing
        afresh = self._value_or_nan(away)
        self._copies = not (_agree(after, before, before) and _agree(changed, afresh, before))

    def _value_or_nan(self, points: Points) -> float:
        """Value at the first point; NaN if there is none. Nobody has asked for this point, and nobody is told what is raised."""
        try:
            with np.errstate(all="ignore"), in_time(lambda: points.describe(0, self._tree)):
                return self._value(points, 0)
        except GradsweepError:
            raise
        except Exception:  # also what is raised nowhere near the points that are asked for
            return np.nan

    def _is_spoilt(self) -> bool:
        """Whether the function has put things into the containers that it was given, or taken some out of them."""
        return not self._builds and not _alike(self._argument, self._tree.build(self._tree.arrays(self._working)))

    def _copy(self) -> None:
        self._working = self._tree.values.copy()
        self._arrays = self._tree.arrays(self._working)
        self._argument = self._tree.build(self._arrays)

    def _evaluate_all(self, points: Points) -> _Outcome:
        costs, refused, first, steady = np.empty(len(points)), 0, "", True
        with np.errstate(all="ignore"):
            for place in range(len(points)):
                try:
                    costs[place] = self._evaluate(points, place)
                except InputError:
                    raise
                except OUTSIDE as error:
                    costs[place] = np.nan
                    refused, first = refused + 1, first or f"{type(error).__name__}: {error}"
                if steady and not np.isfinite(costs[place]):
                    # Once in a chunk: where a cost is not defined, that may be half of the points.
                    steady = False
                    self._require_again(points, place, f"raises {first}" if first else f"is {costs[place]}")
        return _Outcome(costs, refused, first)

    def _evaluate(self, points: Points, place: int) -> float:
        """Value at a point. What the function raises is an InputError, if it does not say that it is not defined there."""
        try:
            return self._value(points, place)
        except (GradsweepError, *OUTSIDE):
            raise
        except Exception as error:
            self._require_again(points, place, f"raises {type(error).__name__}: {error}")
            raise self._refusal(points, place, error) from error

    def _require_again(self, points: Points, place: int, before: str) -> None:
        """Raise InputError if a cost that was of no use at a point is fine at the next call."""
        try:
            again = self._value(points, place)
        except GradsweepError:
            raise
        except Exception:  # as before
            return
        if np.isfinite(again):
            where = points.describe(place, self._tree)
            raise InputError(
                f"cost is not the same at each call, for the same parameters ({where}): at one it {before}, at the next it is "
                f"{again!r}. What is random, or runs out, must be made once, outside of it"
            )

    def _value(self, points: Points, place: int) -> float:
        """Value at a point. The working copy is restored by assignment, since what was added cannot be subtracted exactly."""
        theta, working, step = self._tree.values, self._working, float(points.steps[place])
        where: Any = slice(None) if points.indices is None else int(points.indices[place])
        added: Any = step if points.direction is None else step * points.direction
        try:
            working[where] = theta[where] + added
            return self._call(points, place)
        finally:
            working[where] = theta[where]

    def _call(self, points: Points, place: int) -> float:
        # Containers of its own for each call would take as long as a layer of a network does; only who changes them gets them.
        argument = self._argument
        if self._builds or self._copies:
            argument = self._tree.build(self._tree.arrays(self._working.copy() if self._copies else self._working))
        try:
            result = self._function(argument)
        except OutOfTime:
            raise out_of_time(points.describe(place, self._tree)) from None
        try:
            return read_cost(result)
        except InputError as error:
            raise InputError(f"{error} ({points.describe(place, self._tree)})") from error

    def _refusal(self, points: Points, place: int, error: Exception) -> InputError:
        return InputError(f"cost raises {type(error).__name__} {points.describe(place, self._tree)}: {error}")


class PlainEvaluator:
    """A function that is called for each perturbation, in worker processes where that is worth it.

    Parameters
    ----------
    function : callable
        Of the parameters.
    tree : Tree
        The point.
    jobs : int or None
        Workers.

    Attributes
    ----------
    types : tuple of dtype
        Floating type in which the function keeps each block; empty where all are float64.
    """

    kind = "plain function"

    def __init__(self, function: Callable[[Any], Any], tree: Tree, jobs: int | None) -> None:
        self.types: tuple[np.dtype[Any], ...] = ()
        self._calls = _Calls(function, tree)
        self._workers = Workers(self._calls, jobs, _same)
        self._refused, self._error = 0, ""
        here = Points(np.zeros(1), np.zeros(1, dtype=np.intp))
        self._calls(here)  # what the function does to its containers is known then
        self._calls.look_for_memory(here)
        begun = time.perf_counter()
        self._calls.explain(here)
        spent = max(time.perf_counter() - begun, 1e-9)
        self._length = current().decide(
            "calls of a chunk",
            lambda: int(np.clip(_CHUNK / spent, 1, _MOST_CALLS)),
            lambda length: isinstance(length, int) and 1 <= length <= _MOST_CALLS,
        )

    @property
    def notes(self) -> list[str]:
        """Why there was one worker, and what the function raised that counts as not finite."""
        notes = list(self._workers.notes)
        if self._refused:
            times = "once" if self._refused == 1 else f"{self._refused:,} times"
            notes.append(f"the cost raised an error beside the parameters {times}, which counts as not finite ({self._error})")
        return notes

    def values(self, indices: Indices, steps: Array) -> Array:
        """J(θ + steps[k]·e_indices[k]) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, indices))

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """J(θ + steps[k]·direction) for each k: array of shape (n,)."""
        return self._evaluate(Points(steps, direction=direction))

    def explain(self, index: int, step: float) -> None:
        """Raise what the cost raises where this parameter has taken this step, if it does."""
        self._calls.explain(Points(np.array([step]), np.array([index], dtype=np.intp)))

    def _evaluate(self, points: Points) -> Array:
        count = -(-len(points) // self._length)
        outcomes = current().recorded(
            points.parts(self._length), lambda parts, before: self._workers.run(parts, count - before), _Outcomes()
        )
        return gathered(map(self._take, outcomes), len(points))

    def _take(self, outcome: _Outcome) -> Array:
        """Costs, and a note of what was raised."""
        self._refused += outcome.refused
        self._error = self._error or outcome.error
        return outcome.costs


def _moved(tree: Tree) -> Points:
    """A point at which all parameters are a little off, none of them in proportion to another."""
    sizes = np.abs(tree.values)
    # Zeros move in proportion to the others, but not far beside huge ones, whose unit need not be theirs.
    usual = min(float(sizes.max(initial=0.0)) or 1.0, 1.0)
    signs = np.random.default_rng(0).uniform(0.5, 1.0, len(sizes)) * np.where(np.arange(len(sizes)) % 2, 1.0, -1.0)
    return Points(np.array([_MOVED]), direction=signs * np.where(sizes, sizes, usual))


def _agree(one: float, other: float, before: float) -> bool:
    """Whether two values are the same but for rounding, where the cost was this before."""
    if not (np.isfinite(one) and np.isfinite(other) and np.isfinite(before)):
        return np.array_equal(one, other, equal_nan=True)
    size, change = max(abs(one), abs(other)), max(abs(one - before), abs(other - before))
    allowed = max(min(_SAME * size, _SEEN * change), _ROUNDINGS * np.finfo(np.float64).eps * size)
    return bool(abs(one - other) <= allowed)


def _alike(one: Any, other: Any) -> bool:
    """Whether two structures are nested alike and hold views of the same memory."""
    if isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and one.shape == other.shape and one.ctypes.data == other.ctypes.data
    if type(one) is not type(other):
        return False
    if isinstance(other, Mapping):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


def _same(one: _Outcome, other: _Outcome) -> bool:
    return np.array_equal(one.costs, other.costs, equal_nan=True)
