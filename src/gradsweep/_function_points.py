"""A point at which the gradient of a function is tested: what is asked of both there, and how entries are decided."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._cancellation import usual_size
from gradsweep._costs._functions import Function
from gradsweep._costs._numerics import Indices, Numerics, Slopes
from gradsweep._differences._departure import Departure
from gradsweep._entries import BlockGradients, Closer, Examined, Judge
from gradsweep._errors import GradsweepError, InputError
from gradsweep._monitor import DISPUTES, current
from gradsweep._parameters import Precision, precision
from gradsweep._second_point import AWAY, DISPLACEMENTS, describe_raised, displaced_tree
from gradsweep._settings import Settings
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._verdict import Status

# Points beside the given ones, some last digits away, at which a gradient that seems wrong is looked at for its own rounding;
# and how many standard deviations of it count as that.
_ROUNDED, _LAST_DIGITS, _DEVIATIONS = 8, 16, 16.0


@dataclass(frozen=True)
class Given:
    """A point, the gradient under test there, and which entries of each block are compared."""

    tree: Tree
    analytic: list[NDArray[Any]]
    indices: list[Indices]
    rounding: list[Array] | None = None


@dataclass(frozen=True)
class Point:
    """What was found at one point."""

    given: Given
    numerics: Numerics
    slopes: Slopes
    examined: list[Examined]
    evaluations: int
    exactness: Precision
    tolerance: float
    closer: Closer


def gradient_at(function: Function, gradient: Any, tree: Tree) -> list[NDArray[Any]]:
    """The gradient under test at a point, copied: its arrays may be buffers that another call overwrites."""
    given = gradient
    if callable(gradient):
        # A backward pass may use what the forward pass left behind.
        function.call(tree)
        given = function.gradient(gradient, tree.build(tree.typed_arrays()))
    return [np.array(block) for block in tree.match(given)]


def gradient_nearby(function: Function, gradient: Callable[[Any], Any], tree: Tree) -> list[NDArray[Any]] | Exception:
    """The gradient under test at a point that was chosen here, which may be none of its domain: then what it raises."""
    try:
        return gradient_at(function, gradient, tree)
    except GradsweepError as error:
        raise InputError(f"{error} ({AWAY})") from error
    except Exception as error:  # whatever a user's code says of parameters that it does not take
        return error


def with_rounding(function: Function, gradient: Any, point: Point, settings: Settings, *, measures: bool) -> Point:
    """The same after a look at how the gradient under test is rounded, if it seems wrong and can be called.

    A backward pass that sums what cancels, as that of a bias before a batch norm, is rounded by far more than any change that is
    propagated forward: what is left of the sum is nothing but rounding, and changes with the last digits of the parameters.
    """
    if not callable(gradient) or all(examined.block.status is not Status.WRONG for examined in point.examined):
        return point
    tree, analytic = point.given.tree, point.given.analytic
    again = gradient_at(function, gradient, tree)
    if not all(np.array_equal(one, other, equal_nan=True) for one, other in zip(again, analytic, strict=True)):
        return point  # another one at each call, which is no rounding
    epsilons = np.concatenate(
        [np.full(leaf.size, precision([np.empty(0, dtype=leaf.dtype)]).epsilon) for leaf in tree.blocks] or [np.empty(0)]
    )
    epsilons = np.maximum(epsilons, point.numerics.precision.epsilon)
    generator = np.random.default_rng(settings.seed)
    found = []
    for _ in range(_ROUNDED):
        values = tree.values * (1.0 + epsilons * generator.integers(-_LAST_DIGITS, _LAST_DIGITS + 1, len(epsilons)))
        values.flags.writeable = False
        nearby = gradient_nearby(function, gradient, Tree(tree.blocks, values, tree.root))
        if isinstance(nearby, Exception):
            return point
        found.append(nearby)
    rounding = []
    with np.errstate(all="ignore"):
        for place in range(len(tree.blocks)):
            spread = np.std([np.asarray(each[place], dtype=np.float64).reshape(-1) for each in found], axis=0)
            # Entries of a block are rounded alike: a few runs may happen to miss it in one of them.
            level = np.sqrt(np.mean(np.square(spread))) if spread.size else 0.0
            rounding.append(
                _DEVIATIONS * np.nan_to_num(np.maximum(spread, min(level, np.median(spread)) if spread.size else 0.0))
            )
    given = replace(point.given, rounding=rounding)
    judged = _judge(point.numerics, given, point.slopes, settings, measures=measures, closer=point.closer)
    return replace(judged, evaluations=judged.evaluations + point.evaluations - point.slopes.evaluations)


def examine_or_depart(
    function: Function, base: float, numerics: Numerics, given: Given, settings: Settings, *, measures: bool = True
) -> Point:
    """Judge some entries of each block; by values if only now the cost does what difference arrays cannot follow."""
    try:
        return _examine(numerics, given, settings, measures=measures)
    except Departure as departure:
        by_values = function.numerics_by_values(given.tree, base, settings, departure)
        return _examine(by_values, given, settings, measures=measures)


def _examine(numerics: Numerics, given: Given, settings: Settings, *, measures: bool = True) -> Point:
    """Judge some entries of each block. The numeric side is complete before the gradient is looked at.

    Unless it is interrupted: then it is fixed as far as it is known, and what is missing is left out.
    """
    monitor = current()
    slopes = numerics.quotients(np.concatenate(given.indices))
    if monitor.interrupted:
        given, slopes = _known(given, slopes)
        monitor.close()
    late = monitor.interrupted
    with monitor.phase(DISPUTES):
        point = _judge(numerics, given, slopes, settings, measures=measures and not late)
        if monitor.interrupted and not late:  # now: once more, as far as there is time
            monitor.close()
            point = _judge(numerics, given, slopes, settings, measures=False)
    return point


def _known(given: Given, slopes: Slopes) -> tuple[Given, Slopes]:
    """Entries that there are quotients of, and these."""
    there = np.isfinite(slopes.values)
    edges = np.cumsum([0, *map(len, given.indices)])
    own = [indices[there[start:stop]] for indices, start, stop in zip(given.indices, edges[:-1], edges[1:], strict=True)]
    unclear = slopes.unclear and (slopes.unclear[0][there], slopes.unclear[1][there])
    arrays = {name: getattr(slopes, name)[there] for name in ("values", "low", "high", "noise")}
    evaluations = slopes.evaluations * np.count_nonzero(there) // max(len(there), 1)
    return replace(given, indices=own), replace(slopes, **arrays, unclear=unclear, evaluations=int(evaluations))


def _judge(
    numerics: Numerics, given: Given, slopes: Slopes, settings: Settings, *, measures: bool, closer: Closer | None = None
) -> Point:
    """Judge them by quotients that are known, and perhaps closer looks at some of them."""
    exactness = exactness_of(given.analytic, given.tree, numerics)
    tolerance = settings.tolerance_for(exactness)
    closer = closer or Closer(numerics, exactness)
    usual = usual_size(given.analytic, exactness)
    judge = Judge(numerics, tolerance, exactness, replaces=settings.step is None, measures=measures, closer=closer, usual=usual)
    blocks: list[BlockGradients] = []
    start = 0
    for leaf, indices, block in zip(given.tree.blocks, given.indices, given.analytic, strict=True):
        part = slice(start, start + len(indices))
        unclear = None if slopes.unclear is None else (slopes.unclear[0][part], slopes.unclear[1][part])
        own = Slopes(slopes.values[part], slopes.low[part], slopes.high[part], slopes.noise[part], unclear=unclear)
        with np.errstate(over="ignore"):
            tested = np.asarray(block, dtype=np.float64).reshape(-1)[indices - leaf.start]
        rounding = None if given.rounding is None else given.rounding[len(blocks)][indices - leaf.start]
        blocks.append(BlockGradients(leaf, indices, tested, own, rounding))
        start = part.stop
    examined, extra = judge.examine(blocks)
    evaluations = slopes.evaluations + extra + sum(each.evaluations for each in examined)
    return Point(given, numerics, slopes, examined, evaluations, exactness, tolerance, closer)


def of_types(tree: Tree) -> Precision:
    """Precision of the least precise of the parameters."""
    return precision(np.empty(0, dtype=leaf.dtype) for leaf in tree.blocks)


def exactness_of(analytic: Sequence[NDArray[Any]], tree: Tree, numerics: Numerics) -> Precision:
    """Precision of the least precise of gradient, parameters and what the cost computes."""
    return precision(analytic).or_less(of_types(tree)).or_less(numerics.precision)


@dataclass(frozen=True)
class Another:
    """A second point.

    Attributes
    ----------
    tree : Tree
        Its parameters.
    base : float
        The cost there.
    analytic : list of array
        The gradient under test there.
    size : float
        How far it is away.
    generator : numpy.random.Generator
        What drew it, for what else is drawn there.
    """

    tree: Tree
    base: float
    analytic: list[NDArray[Any]]
    size: float
    generator: np.random.Generator


def another_point(
    function: Function, gradient: Callable[[Any], Any], tree: Tree, before: list[NDArray[Any]], seed: int
) -> Another | None:
    """A point beside the given one; None if there is none, or the gradient does not depend on its argument."""
    generator = np.random.default_rng(seed)
    raised: Exception | None = None
    for size in DISPLACEMENTS:
        other = displaced_tree(tree, size, generator)
        base = function.value_or_nan(other)
        found = gradient_nearby(function, gradient, other) if math.isfinite(base) else None
        if isinstance(found, Exception):
            raised = found
        elif found is not None:
            analytic = found
            break
    else:
        function.notes += [describe_raised(raised)] if raised else []
        return None
    if all(np.array_equal(own, first, equal_nan=True) for own, first in zip(analytic, before, strict=True)):
        return None
    return Another(other, base, analytic, size, generator)
