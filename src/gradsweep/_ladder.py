"""The ladder: what the difference quotients of a disputed entry tend to as the step falls, and how surely.

Everything here is blind to the gradient under test: it sees steps and costs, and neither tolerance nor gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._extrapolation import RATIO, Sequence, extrapolate
from gradsweep._neighbourhood import Indices, Neighbourhood
from gradsweep._noise import ROUNDING, Noise, direction_of, least_length
from gradsweep._types import Array

# Rungs above and below the step that was chosen, at first.
_ABOVE, _BELOW = 5, 6

#: How many there are at first.
RUNGS = _ABOVE + 1 + _BELOW

# How many rungs are added below where the quotients still move by more than their noise, or were not finite; and above where
# noise leaves no digits. Each is done once at most.
_DEEPER, _HIGHER = 11, 5

# Noise explains a bound of so many times that of the lowest rung. Of more, what happens within the steps explains it, and lower
# rungs tell more.
_EXPLAINED = 64.0

# Fewer rungs than the first of these tell nothing; with fewer than the second, lower ones are looked at.
_LEAST_RUNGS, _ENOUGH_RUNGS = 3, 6

# At a kink the one-sided quotients of the lowest rungs with no more noise than the first part of the jump differ by the jump, up
# to the second part of it and some standard deviations.
_CLEAR, _ALIKE, _DEVIATIONS = 0.125, 0.25, 3.0

# Truncation dominates where it is this many times as large as noise.
_CLEARLY = 4.0

# A value is resolved if its bound is below this part of it.
_RESOLVED = 2.0**-7

# The lowest rung is at least this many times the smallest step that perturbs the parameter, so that steps are nearly exact.
_ROOM = 4.0


class Behaviour(Enum):
    """How the quotients behave as the step falls."""

    FLAT = "flat"
    NOISE = "noise"
    TRUNCATION = "truncation"
    KINK = "kink"
    NON_FINITE = "non-finite"


@dataclass(frozen=True, eq=False)
class Limit:
    """What the quotients of an entry tend to.

    Attributes
    ----------
    behaviour : Behaviour
        FLAT: the value is known to two digits or more, or the cost does not change at all. NOISE, TRUNCATION: it is not known so
        well, and what dominates is noise, which grows as 1/ε, or truncation, which falls with ε. KINK: left and right limits
        differ. NON_FINITE: the cost is finite on neither side.
    value : float
        The two-sided limit: at a kink, the mean of the two slopes; where the cost is finite on one side, the limit on that side;
        NaN if there is none.
    bound : float
        How far the derivative may be from `value`; infinite if there is none.
    left, right : float
        One-sided limits at a kink; else `value`.
    side_bound : float
        How far each of the one-sided slopes may be from them; else `bound`.
    side : int
        1 or −1 where the cost is finite on this side alone; else 0.
    steps, rising, falling : arrays of shape (rungs,)
        The rungs from the highest to the lowest: ε, and the quotients to the right and to the left; NaN where there are none.
    evaluations : int
        Values of the cost that it took.
    """

    behaviour: Behaviour
    value: float
    bound: float
    left: float
    right: float
    side_bound: float
    side: int
    steps: Array
    rising: Array
    falling: Array
    evaluations: int

    @property
    def central(self) -> Array:
        """Two-sided quotients of the rungs."""
        result: Array = 0.5 * (self.rising + self.falling)
        return result


#: Costs at steps of some lines: lines and steps, (n,) each, to the steps that were taken and the costs, (n,) each.
_Evaluate: TypeAlias = Callable[[Indices, Array], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class _Rungs:
    """Costs on both sides, highest rungs first; NaN where they are not finite, or a rung was left out.

    Attributes
    ----------
    steps, right, left : arrays of shape (lines, rungs)
        ε, and the steps that were taken to either side, both positive.
    above, below : arrays of shape (lines, rungs)
        Costs to the right and to the left.
    """

    steps: Array
    right: Array
    left: Array
    above: Array
    below: Array

    def of(self, lines: Indices) -> "_Rungs":
        """Those of some lines."""
        return _Rungs(self.steps[lines], self.right[lines], self.left[lines], self.above[lines], self.below[lines])

    def followed_by(self, lower: "_Rungs") -> "_Rungs":
        """These and lower ones."""
        names = ("steps", "right", "left", "above", "below")
        return _Rungs(*(np.concatenate([getattr(self, name), getattr(lower, name)], axis=1) for name in names))

    def sequences(self, noise: Noise, base: float) -> "_Quotients":
        """Quotients of all kinds, with their noise."""
        rising, falling = (self.above - base) / self.right, (base - self.below) / self.left
        above, below = noise.of(self.above), noise.of(self.below)
        # The two-sided quotient is right to second order if the steps differ, too.
        weight = self.left / (self.right + self.left)
        central = weight * rising + (1.0 - weight) * falling
        of_base = noise.level * (weight / self.right - (1.0 - weight) / self.left)
        return _Quotients(
            falling=Sequence(falling, _noise(falling, below / self.left, noise.level / self.left), (1, 2, 3, 4)),
            rising=Sequence(rising, _noise(rising, above / self.right, noise.level / self.right), (1, 2, 3, 4)),
            central=Sequence(
                central, _noise(central, weight * above / self.right, (1.0 - weight) * below / self.left, of_base), (2, 4, 6, 8)
            ),
            jump=Sequence(
                rising - falling,
                _noise(
                    np.abs(rising) + np.abs(falling),
                    above / self.right,
                    below / self.left,
                    noise.level * (1.0 / self.right + 1.0 / self.left),
                ),
                (1, 3, 5, 7),
            ),
        )


def _noise(values: Array, *parts: Array) -> Array:
    """Standard deviation of quotients: of these parts, and of the rounding of the quotients themselves."""
    total = 4.0 * ROUNDING * np.abs(values)
    for part in parts:
        total = np.hypot(total, part)
    return total


@dataclass(frozen=True, eq=False)
class _Quotients:
    """Sequences of quotients.

    Attributes
    ----------
    falling, rising, central, jump : Sequence
        To the left, to the right, two-sided, and the difference of the one-sided ones.
    """

    falling: Sequence
    rising: Sequence
    central: Sequence
    jump: Sequence


def ladder(neighbourhood: Neighbourhood, noise: Noise, indices: Indices, steps: Array) -> list[Limit]:
    """Limits of the difference quotients of some entries.

    Quotients are formed at steps that fall by a factor of 4, from a thousand times the given step to a thousandth, and beyond
    where these do not settle it. Limits are extrapolated, and of all extrapolated values that with the least bound is taken,
    provided that it agrees with every lower rung: lower rungs are noisier, but nearer to the limit.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    noise : Noise
        Its noise. Where the lowest rungs of an entry scatter more than it explains, what they show counts.
    indices : array of int of shape (n,)
        Entries.
    steps : array of shape (n,)
        ε of each, as suits the central scheme.

    Returns
    -------
    list of Limit
        In the order of `indices`.

    Notes
    -----
    The central quotient differs from the derivative by even powers of ε, the difference of the one-sided quotients from their
    jump, 0 if there is no kink, by odd powers, and each one-sided quotient from its slope by all powers.

    References
    ----------
    C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4(2), 1982.
    O. V. Lepskii, "On a problem of adaptive estimation in Gaussian white noise", Theory of Probability and its Applications
    35(3), 1991: the largest step that agrees with all smaller ones.
    """

    def evaluate(lines: Indices, wanted: Array) -> tuple[Array, Array]:
        taken = neighbourhood.taken(indices[lines], wanted[:, np.newaxis])
        return taken[:, 0], neighbourhood.at(indices[lines], taken)[:, 0]

    least = _ROOM * neighbourhood.distinct(indices, np.zeros(len(indices)))
    most = np.maximum(neighbourhood.scale[indices], 1.0)
    # Rungs that there is no room for below are added above.
    first = np.exp2(np.rint(np.log2(np.maximum(steps, least * RATIO**-_BELOW))))
    return _Ladder(evaluate, noise, neighbourhood.base, least, most).climb(first)


def direction_ladder(neighbourhood: Neighbourhood, noise: Noise, pattern: Array, step: float) -> tuple[Array, Limit]:
    """The same along a direction.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    noise : Noise
        Its noise.
    pattern : array of shape (parameters,)
        Signed multiples of each parameter's size, of at most 1.
    step : float
        Length of the middle rung, relative to the parameters' sizes.

    Returns
    -------
    direction : array of shape (parameters,)
        The direction, of length 1 in those units.
    limit : Limit
        Of the quotients along it.
    """
    # Rungs that there is no room for below are added above. The direction is rounded once, for the lowest of them: multiples of
    # that are exact, and all rungs lie on one line.
    lowest = 2.0 ** round(math.log2(max(step * RATIO**_BELOW, least_length(neighbourhood, pattern))))
    direction = direction_of(neighbourhood, pattern, lowest) / lowest

    def evaluate(lines: Indices, wanted: Array) -> tuple[Array, Array]:
        del lines
        return wanted, neighbourhood.along(direction, wanted)

    bounds = np.array([lowest]), np.array([1.0])
    return direction, _Ladder(evaluate, noise, neighbourhood.base, *bounds).climb(np.array([lowest * RATIO**-_BELOW]))[0]


class _Ladder:
    """Ladders on some lines, all climbed at the same time."""

    def __init__(self, evaluate: _Evaluate, noise: Noise, base: float, least: Array, most: Array) -> None:
        self._evaluate, self._noise, self._base = evaluate, noise, base
        self._least, self._most = least, most

    def climb(self, first: Array) -> list[Limit]:
        """Limits on all lines, with rungs around a first step of each, a power of 2."""
        everything = np.arange(len(first))
        rungs = self._rungs(everything, first, range(-_ABOVE, _BELOW + 1))
        findings = _Findings(rungs, self._noise, self._base)
        limits = findings.limits()
        noisy = np.array([limit.behaviour is Behaviour.NOISE for limit in limits], dtype=np.bool_)
        bounds = np.array([limit.bound for limit in limits])
        deeper, higher = findings.moves | (bounds > _EXPLAINED * findings.lowest_noise), noisy & ~findings.moves
        for below, above in ((True, False), (False, True), (True, True)):
            lines = everything[(deeper == below) & (higher == above)]
            if lines.size:
                more = rungs.of(lines)
                if above:
                    more = self._rungs(lines, first[lines], range(-_ABOVE - _HIGHER, -_ABOVE)).followed_by(more)
                if below:
                    more = more.followed_by(self._rungs(lines, first[lines], range(_BELOW + 1, _BELOW + 1 + _DEEPER)))
                self._replace(limits, lines, more)
        return limits

    def _replace(self, limits: list[Limit], lines: Indices, rungs: _Rungs) -> None:
        """Put limits from more rungs in the place of those of some lines."""
        for line, limit in zip(lines, _Findings(rungs, self._noise, self._base).limits(), strict=True):
            limits[line] = limit

    def _rungs(self, lines: Indices, first: Array, exponents: range) -> _Rungs:
        """Costs of some rungs; what is too low to be exact, or so high that it exceeds the parameter's size, is left out."""
        steps = first[:, np.newaxis] * RATIO ** np.array(exponents, dtype=np.float64)
        present = (steps >= self._least[lines, np.newaxis]) & (steps <= self._most[lines, np.newaxis])
        tables = np.full((4, *steps.shape), np.nan)
        rows, columns = np.nonzero(present)
        wanted = steps[rows, columns]
        for number, sign in enumerate((1.0, -1.0)):
            taken, costs = self._evaluate(lines[rows], sign * wanted)
            tables[number, rows, columns], tables[2 + number, rows, columns] = sign * taken, costs
        return _Rungs(steps, *tables)


class _Findings:
    """What rungs say of some lines.

    Attributes
    ----------
    moves : array of bool of shape (lines,)
        Whether the lowest rungs still move by more than their noise, or few are finite: lower ones would tell more.
    lowest_noise : array of shape (lines,)
        The largest standard deviation of a two-sided quotient, which is that of the lowest rung; 0 if there is none.
    """

    def __init__(self, rungs: _Rungs, noise: Noise, base: float) -> None:
        self._rungs = rungs
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._quotients = quotients = rungs.sequences(noise, base)
            scatter = quotients.central.scatter()
            self._central, self._jump = (extrapolate(each.scaled(scatter)) for each in (quotients.central, quotients.jump))
            self._left, self._right = (extrapolate(each.scaled(each.scatter())) for each in (quotients.falling, quotients.rising))
        self._counts = {0: quotients.central.counts, 1: quotients.rising.counts, -1: quotients.falling.counts}
        self.lowest_noise = np.fmax.reduce(quotients.central.noise, axis=1, initial=0.0)
        self.moves: NDArray[np.bool_] = quotients.central.moves() | quotients.jump.moves() | (self._counts[0] < _ENOUGH_RUNGS)

    def limits(self) -> list[Limit]:
        """What the quotients tend to, by line."""
        return [self._limit(line) for line in range(len(self.moves))]

    def _limit(self, line: int) -> Limit:
        """What the quotients of one line tend to."""
        side = next((side for side, counts in self._counts.items() if counts[line] >= _LEAST_RUNGS), None)
        if side is None:
            nothing = math.nan, math.inf
            return self._record(line, Behaviour.NON_FINITE, 0, nothing, (nothing, nothing))
        if side == 0 and self._jumps(line):
            left, right = float(self._left.values[line]), float(self._right.values[line])
            bound = float(max(self._left.bounds[line], self._right.bounds[line]))
            return self._record(line, Behaviour.KINK, 0, (0.5 * (left + right), bound), ((left, bound), (right, bound)))
        limits = {0: self._central, 1: self._right, -1: self._left}[side]
        value, noise, truncation = (float(each[line]) for each in (limits.values, limits.noise, limits.truncation))
        bound = noise + truncation
        if side == 0:
            # A kink that is too small to be told from noise may be here, and puts either slope at half its jump from the mean.
            bound += 0.5 * float(self._jump.bounds[line] + abs(self._jump.values[line]))
            noise += 0.5 * float(self._jump.noise[line])
            truncation += 0.5 * float(self._jump.truncation[line])
        if bound <= _RESOLVED * abs(value) or self._unmoved(line):
            behaviour = Behaviour.FLAT
        else:
            # Truncation is told from differences that have noise, too, so that it must be clearly more.
            behaviour = Behaviour.NOISE if _CLEARLY * noise >= truncation else Behaviour.TRUNCATION
        known = value, bound
        return self._record(line, behaviour, side, known, (known, known))

    def _jumps(self, line: int) -> bool:
        """Whether the one-sided quotients keep apart.

        On the lowest rungs that stand out of the noise, that is, not in the limit alone: of a peak that is narrower than these no
        quotient says whether it has a corner.
        """
        jump, size = self._jump.values[line], abs(self._jump.values[line])
        if not size > self._jump.bounds[line]:
            return False
        values, noise = self._quotients.jump.values[line], self._quotients.jump.noise[line]
        clear = np.flatnonzero(noise <= _CLEAR * size)[-_LEAST_RUNGS:]
        alike = np.abs(values[clear] - jump) <= _ALIKE * size + _DEVIATIONS * noise[clear]
        return len(clear) == _LEAST_RUNGS and bool(alike.all())

    def _unmoved(self, line: int) -> bool:
        """Whether the cost is the same on all rungs."""
        rising, falling = self._quotients.rising.values[line], self._quotients.falling.values[line]
        return not (np.nan_to_num(rising).any() or np.nan_to_num(falling).any())

    def _record(self, line: int, behaviour: Behaviour, side: int, value: "_Known", slopes: tuple["_Known", "_Known"]) -> Limit:
        """The outcome for one line."""
        present = np.isfinite(self._rungs.right[line])
        left, right = slopes
        return Limit(
            behaviour=behaviour,
            value=value[0],
            bound=value[1],
            left=left[0],
            right=right[0],
            side_bound=max(left[1], right[1]),
            side=side,
            steps=self._rungs.steps[line, present],
            rising=self._quotients.rising.values[line, present],
            falling=self._quotients.falling.values[line, present],
            evaluations=2 * int(np.count_nonzero(present)),
        )


#: A value, and how far the truth may be from it.
_Known: TypeAlias = tuple[float, float]
