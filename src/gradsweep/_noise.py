"""How noisy a cost is: the standard deviation of what rounding adds to its values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._monitor import NOISE, current
from gradsweep._neighbourhood import Neighbourhood
from gradsweep._types import Array
from gradsweep._verdict import root_mean_square

#: Standard deviation of rounding to nearest, at most, relative to the number: numbers of float64 are spaced by up to epsilon.
ROUNDING = float(np.finfo(np.float64).eps) / math.sqrt(12.0)

# Near underflow numbers are spaced by this, however small they are.
_SUBNORMAL = float(np.finfo(np.float64).smallest_subnormal)

# The same for numbers of single precision.
_SINGLE_ROUNDING = float(np.finfo(np.float32).eps) / math.sqrt(12.0)
_SINGLE_SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)

# Points of a table of differences. Moré and Wild advise at least seven.
_POINTS = 9

# Exponents of 2 of the spacing at first, relative to the parameters, for each direction along which noise is measured; the
# largest noise counts. They differ, since what parameters are rounded to within the cost shows at a wider spacing only; a spacing
# so wide that an oscillating cost looks like noise would be worse, since noise excuses more than it should then.
_FIRST = (-30, -22)

# The same at least and at most, and by how much they change while only one of the two bounds on the right spacing is known. Where
# parameters are smaller than 1, the most is relative to 1.
_LEAST, _MOST, _STRIDE = -44, -3, 10

# Tables of a direction, roughly, at most: it takes that many to find a spacing between the least and the most.
_TABLES = 10

# Three successive columns of the table that show noise differ by no more than this factor.
_PLATEAU = 4.0

# Noise of more than this many roundings of J(θ) itself may be something else; it is, if it drops by more than this factor when
# points are a thousand times as close. One such look is enough, unless the noise is this part of J(θ).
_SUSPICIOUS, _DROP, _ENORMOUS = 64.0, 8.0, 2.0**-10

# A step along a direction takes at least this many spacings of the numbers at each parameter, else parameters would be rounded
# more than the cost is.
_SPACINGS = 16.0


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of a cost.

    Attributes
    ----------
    level : float
        Standard deviation of the noise of J near θ, absolute.
    evaluations : int
        Values of the cost that it took to find out.
    """

    level: float
    evaluations: int

    def of(self, costs: Array) -> Array:
        """Noise of these values: no less than what rounding the result itself may add."""
        result: Array = np.maximum(max(self.level, _SUBNORMAL), ROUNDING * np.abs(costs))
        return result


@dataclass(frozen=True)
class _Table:
    """What a table of differences shows.

    Attributes
    ----------
    level : float
        Noise; where it is not seen, a bound on it: what the columns of high order show, where least is left of the cost itself.
    seen : bool
        Whether successive columns agree, as they do for noise.
    still : bool
        Whether the cost hardly changes from point to point, so that a wider spacing is needed; else a narrower one.
    quantum : float
        The least change from point to point: no less than the constant of a lattice on which the values lie. Infinite if none was
        seen.
    change : float
        The median change.
    """

    level: float
    seen: bool
    still: bool
    quantum: float = math.inf
    change: float = 0.0


def measure_noise(neighbourhood: Neighbourhood, seed: int = 0, epsilon: float = 0.0) -> Noise:
    """Noise of a cost, from tables of differences of its values at equally spaced points along random directions.

    The spacing is changed until three successive columns of a table agree. Where that does not happen at any spacing, the noise
    is the least bound that was found.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    seed : int, default: 0
        Chooses the directions.
    epsilon : float, default: 0.0
        Machine epsilon of the least precise type that the cost is known to compute in: where it merely rounds its parameters, its
        values lie on stairs that are wider than any spacing, and show no noise.

    Returns
    -------
    Noise
        The larger of two directions, and no less than the rounding of J(θ) itself.

    Notes
    -----
    The k-th differences of a smooth cost fall as the k-th power of the spacing, those of independent noise of variance ε² have
    the variance ε²·(2k)!/(k!)². Steps are random multiples of the spacing of floating-point numbers, so that parameters are
    perturbed exactly, and values that are rounded to a lattice do not happen to lie on it.

    References
    ----------
    J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM Journal on Scientific Computing 33(3), 2011, section 4.
    """
    size = abs(neighbourhood.base)
    generator = np.random.default_rng(seed)
    lines = [_Line(neighbourhood, random_pattern(generator, len(neighbourhood.theta))) for _ in _FIRST]
    with current().measuring(NOISE, len(lines) * _TABLES * (_POINTS - 1)):
        levels = [_measure_along(line, first, size) for line, first in zip(lines, _FIRST, strict=True)]
    floor = max(ROUNDING, epsilon / math.sqrt(12.0)) * size
    if all(line.single for line in lines):
        # Costs of single precision that never change show no lattice, and are rounded to one; but a constant such as 1 may be of
        # any type. And 0 may be what underflows.
        simple = _is_of(np.array(neighbourhood.base), np.float16)
        floor = max(floor if simple else _SINGLE_ROUNDING * size, _SINGLE_SUBNORMAL)
    return Noise(max(floor, *levels), sum(line.evaluations for line in lines))


def _measure_along(line: "_Line", exponent: int, size: float) -> float:
    """Noise along one direction of a cost of this size, by tables of which the first has the spacing of this exponent."""
    floor = ROUNDING * size
    most = _MOST + line.octaves
    too_narrow, too_wide = _LEAST - 1, most + 1
    bound = quantum = math.inf
    while too_wide - too_narrow > 1:
        table = line.tabulate(exponent)
        quantum = min(quantum, table.quantum)
        known = too_narrow >= _LEAST
        if table.still:
            too_narrow = exponent
        # What changes here should have changed at the spacing that was too narrow, too, unless it lies on a lattice: where all
        # points happen to meet this, it looks as if there were no noise.
        elif known and table.change * 2.0 ** (too_narrow - exponent) > _PLATEAU * max(table.level, floor):
            too_wide = exponent
        elif table.seen or table.level <= floor:
            return _confirm(line, exponent, table.level, size)
        else:
            too_wide, bound = exponent, min(bound, table.level)
        if too_wide > most:
            exponent = min(exponent + _STRIDE, most)
        elif too_narrow < _LEAST:
            exponent = max(exponent - _STRIDE, _LEAST)
        else:
            exponent = (too_narrow + too_wide) // 2
    # A cost that stays the same, and then changes, lies on a lattice, and is rounded to it.
    level = quantum / math.sqrt(12.0) if too_narrow >= _LEAST else bound
    # One that never changes shows no noise; one that is not finite anywhere shows nothing.
    return level if math.isfinite(level) else floor


def _confirm(line: "_Line", exponent: int, level: float, size: float) -> float:
    """Noise, after a look at narrower spacings where it is so large that it may not be noise.

    A cost that oscillates between the points looks noisy, and one with a kink, too, but less so the narrower the spacing is.
    """
    while level > _SUSPICIOUS * ROUNDING * size and exponent > _LEAST:
        exponent = max(exponent - _STRIDE, _LEAST)
        # Two of them: at one spacing the rounding of intermediate results may happen to grow evenly, and not to show.
        tables = [line.tabulate(exponent + wider) for wider in (0, _STRIDE // 3)]
        found = max(table.level for table in tables)
        drops = found * _DROP < level
        if any(table.still for table in tables) or (not drops and level < _ENORMOUS * size):
            break
        level = found if drops else level
    return level


def random_pattern(generator: np.random.Generator, size: int) -> Array:
    """Entries of random sign and of absolute values between ½ and 1: none is so small that its parameter does not count."""
    result: Array = generator.uniform(0.5, 1.0, size) * generator.choice([-1.0, 1.0], size)
    return result


def direction_of(neighbourhood: Neighbourhood, pattern: Array, length: float) -> Array:
    """A step along a direction that perturbs every parameter exactly, in proportion to its size.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    pattern : array of shape (parameters,)
        Signed multiples of each parameter's size, of at most 1; entries of 0 stay 0.
    length : float
        Norm of the step in units of the parameters' sizes, were all entries of the pattern ±1. No parameter takes a step that is
        large beside both its size and 1.

    Returns
    -------
    array of shape (parameters,)
        The step: a multiple of the spacing of numbers at θ, and at what several steps lead to.
    """
    lengths = np.minimum(length * neighbourhood.scale, 2.0**_MOST * np.maximum(neighbourhood.scale, 1.0))
    return exact_step(neighbourhood.spacing, pattern * lengths / math.sqrt(max(1, int(np.count_nonzero(pattern)))))


def exact_step(spacing: Array, steps: Array) -> Array:
    """A step much like the given one that perturbs every parameter exactly, and so do some multiples of it.

    Parameters
    ----------
    spacing : array of shape (n,)
        Distance of each parameter from the next number of its type.
    steps : array of shape (n,)
        The step; entries of 0 stay 0.

    Returns
    -------
    array of shape (n,)
        Odd multiples of the spacing of numbers at θ, and at what several steps lead to.
    """
    # Twice as much: a sum may lie beyond the next power of two, where numbers are spaced twice as widely.
    units = 2.0 * np.maximum(spacing, np.spacing(_POINTS * np.abs(steps)))
    # Odd ones, since what is scaled by a power of 2 may be rounded alike at all points.
    halves = np.floor(np.maximum(np.abs(steps) / units, _SPACINGS) / 2.0)
    multiples = np.where(steps == 0.0, 0.0, 2.0 * halves + 1.0)
    result: Array = np.copysign(multiples * units, steps)
    return result


def least_length(neighbourhood: Neighbourhood, pattern: Array) -> float:
    """Length of a step along a direction below which rounding would change the direction."""
    moved = pattern != 0.0
    spacing = float((neighbourhood.spacing[moved] / neighbourhood.scale[moved]).max(initial=0.0))
    # Entries of the pattern may be as small as ½, and steps are multiples of two spacings.
    return 4.0 * _SPACINGS * spacing * math.sqrt(int(np.count_nonzero(moved)))


class _Line:
    """Tables of differences along one direction.

    Attributes
    ----------
    evaluations : int
        Values of the cost that they took.
    single : bool
        Whether all of them are numbers of single precision.
    octaves : int
        Powers of 2 between the smallest parameter's size and 1.
    """

    def __init__(self, neighbourhood: Neighbourhood, pattern: Array) -> None:
        self._neighbourhood, self._pattern = neighbourhood, pattern
        self.evaluations, self.single = 0, True
        self.octaves = max(0, -math.floor(math.log2(float(neighbourhood.scale.min(initial=1.0)))))

    def tabulate(self, exponent: int) -> _Table:
        """Table of θ and points on one side of it, so that a kink at θ is at its end; on the other where this has no values."""
        step = direction_of(self._neighbourhood, self._pattern, 2.0**exponent)
        costs = np.full(_POINTS, self._neighbourhood.base)
        for sign in (1.0, -1.0):
            costs[1:] = self._neighbourhood.along(step, sign * np.arange(1.0, _POINTS))
            self.evaluations += _POINTS - 1
            if not np.isnan(costs).any():
                break
        self.single = self.single and _is_of(costs, np.float32)
        return _read(costs)


def _is_of(costs: Array, kind: type[np.floating[Any]]) -> bool:
    """Whether all costs are numbers of this type."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(costs.astype(kind), costs, equal_nan=True))


def _read(costs: Array) -> _Table:
    """Read the table of differences of a row of costs."""
    if np.isnan(costs).any():
        return _Table(math.inf, seen=False, still=False)
    levels, signs = [], []
    differences = costs
    for order in range(1, len(costs)):
        with np.errstate(over="ignore"):  # infinite is no noise
            differences = np.diff(differences)
            levels.append(root_mean_square(differences) / math.sqrt(math.comb(2 * order, order)))
        signs.append(bool(differences.min() < 0.0 < differences.max()))
    changes = np.abs(np.diff(costs))
    quantum, change = float(changes[changes > 0.0].min(initial=math.inf)), float(np.median(changes))
    if 2 * np.count_nonzero(changes) < len(changes):
        return _Table(max(levels[-3:]), seen=False, still=True, quantum=quantum, change=change)
    for order, both in enumerate(signs[:-2]):
        least, most = min(levels[order : order + 3]), max(levels[order : order + 3])
        if both and most <= _PLATEAU * least:
            return _Table(levels[order], seen=True, still=False, quantum=quantum, change=change)
    return _Table(max(levels[-3:]), seen=False, still=False, quantum=quantum, change=change)
