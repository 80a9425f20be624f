"""Difference quotients of a cost of which only values can be had: their steps, their noise, and the edges of domains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._monitor import STEPS, current
from gradsweep._neighbourhood import Indices, Neighbourhood
from gradsweep._noise import ROUNDING, Noise
from gradsweep._schemes import Scheme
from gradsweep._types import Array

# Parameters of a block whose absolute values lie within this power of 2 share a step relative to their size.
_ALIKE = 5

#: How many of such parameters are looked at to choose their step.
SAMPLES = 3

# Truncation counts as seen where a quotient and that of twice the step differ by this many times their noise.
_RESOLVED = 4.0

# Where it is not seen, or the step was far too large, another step is looked at; so often at most.
_ROUNDS = 9

# By how much a step grows in which no truncation was seen, or shrinks in which the cost is not finite. From truncation that is
# seen within this distance the best step is taken to follow.
_FAR = 64.0

# A step that is far too large is replaced by this many times the one that seems best, where truncation is still to be seen.
_ABOVE = 8.0

# A step that looks right by chance is looked at again, times this: no simple fraction, so that what oscillates looks different.
_NEARBY = 0.618

# Where no truncation is seen, noise of this part of a quotient, a hundredth of the least tolerance, is no reason to look at
# larger steps: they cross more kinks.
_NEGLIGIBLE = 2.0**-30

# Truncation follows a power of the step where it is no more than this part of the quotient.
_REGULAR = 2.0**-5

# The largest step that is looked at, relative to the parameter, or to 1 where that is more; and the least, relative to the
# parameter's size, also where the parameter is 0 and the spacing of numbers sets no limit.
_LARGEST, _LEAST = 0.125, 2.0**-60

# Parameters whose quotients are formed together: there are some twenty numbers for each on the way, 20 MB.
_TOGETHER = 2**17

# By how much a step shrinks, and how often, where the cost is not finite.
_SHRINK, _RETRIES = 2.0**-7, 3


@dataclass(frozen=True, eq=False)
class Choice:
    """Steps that suit a cost.

    Attributes
    ----------
    steps : array of shape (parameters,)
        ε of each parameter.
    evaluations : int
        Values of the cost that it took to choose them.
    """

    steps: Array
    evaluations: int


@dataclass(frozen=True, eq=False)
class Quotients:
    """Difference quotients of some parameters.

    Attributes
    ----------
    values : array of shape (n,)
        The quotients; NaN where there is none.
    noise : array of shape (n,)
        Standard deviation of what the noise of the cost adds to them; infinite where there is no quotient.
    steps : array of shape (n,)
        ε of each, smaller than asked for where the cost was not finite, larger where θ + ε was θ.
    sides : array of int8 of shape (n,)
        1 or −1 where the cost is finite on this side of θ alone, also at much smaller steps; else 0.
    finite : array of bool of shape (n,)
        Whether there is a quotient.
    evaluations : int
        Values of the cost that were asked for.
    """

    values: Array
    noise: Array
    steps: Array
    sides: NDArray[np.int8]
    finite: NDArray[np.bool_]
    evaluations: int


def weights_at(steps: Array) -> Array:
    r"""What each change of a function counts in the derivative at 0 of the polynomial through 0 and these points.

    .. math:: w_k = \frac{1}{s_k} \prod_{j \ne k} \frac{s_j}{s_j - s_k}

    At the multiples of ε that a `Scheme` has for its offsets these are its weights, over ε. For steps that rounding has made a
    little unequal they are right still.

    Parameters
    ----------
    steps : array of shape (n, steps)
        Distinct, and not 0.

    Returns
    -------
    array of shape (n, steps)
        The weights.
    """
    count = steps.shape[1]
    weights: Array = 1.0 / steps
    for k in range(count):
        for j in range(count):
            if j != k:
                weights[:, k] *= steps[:, j] / (steps[:, j] - steps[:, k])
    return weights


def choose_steps(
    neighbourhood: Neighbourhood,
    noise: Noise,
    scheme: Scheme,
    step: float | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Choice:
    """Steps for which noise and truncation of the quotients are alike.

    Of each block some parameters are looked at, with steps at which truncation can be told from noise. The other parameters of
    the block take the steps of the middle one, relative to their size.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    noise : Noise
        Its noise.
    scheme : Scheme
        How quotients are formed.
    step : float, optional
        ε of all parameters, absolute; nothing is chosen then.
    seed : int, default: 0
        Chooses the parameters that are looked at.
    samples : int, default: 3
        How many of each block they are.

    Returns
    -------
    Choice
        Steps, powers of 2 unless `step` is given, at least so large that θ + ε is not θ.

    Notes
    -----
    The truncation T of a scheme of order p grows as εᵖ, its noise N falls as 1/ε. So from both at any ε where T is seen, they
    are equal at ε·(N/T)^(1/(p + 1)). Where the cost varies by |J| over the size of the parameter, that is the rule of thumb
    size·(noise/|J|)^(1/(p + 1)), which is the default where none of the parameters that are looked at changes the cost.
    """
    everything = np.arange(len(neighbourhood.theta))
    if step is not None:
        return Choice(neighbourhood.distinct(everything, np.full(len(everything), step)), 0)
    steps = neighbourhood.scale * relative_step(neighbourhood, noise, scheme)
    groups = list(_alike(neighbourhood))
    chosen = list(_samples(groups, samples, np.random.default_rng(seed)))
    pilot = _Pilot(neighbourhood, noise, scheme, np.concatenate([*chosen, np.empty(0, dtype=np.intp)]))
    with current().measuring(STEPS, pilot.most):
        pilot.run()
    start = 0
    for group, members in zip(groups, chosen, strict=True):
        relative = pilot.relative[start : start + len(members)]
        start += len(members)
        known = np.isfinite(relative)
        if known.any():  # of two the smaller: noise is accounted for, truncation is not
            steps[group] = neighbourhood.scale[group] * np.sort(relative[known])[(np.count_nonzero(known) - 1) // 2]
            steps[members[known]] = neighbourhood.scale[members[known]] * relative[known]
    return Choice(neighbourhood.distinct(everything, np.exp2(np.rint(np.log2(steps)))), pilot.evaluations)


def relative_step(neighbourhood: Neighbourhood, noise: Noise, scheme: Scheme) -> float:
    """The step by the rule of thumb, relative to a parameter's size.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    noise : Noise
        Its noise.
    scheme : Scheme
        How quotients are formed.

    Returns
    -------
    float
        (noise/|J|)^(1/(p + 1)) for a scheme of order p, at most ⅛.
    """
    size = abs(neighbourhood.base)
    relative = min(max(noise.level / size, ROUNDING), 1.0) if size else ROUNDING
    return float(min(relative ** (1.0 / (scheme.order + 1)), _LARGEST))


def _alike(neighbourhood: Neighbourhood) -> Iterator[Indices]:
    """Parameters of the same block and of similar size."""
    for block, _ in neighbourhood.blocks():
        sizes = neighbourhood.scale[block]
        if sizes.size:
            # Differences of logarithms: a quotient may overflow, and a parameter without an octave would be of no group.
            octaves = (np.log2(sizes) - np.log2(sizes.min())) // _ALIKE
            for octave in np.unique(octaves):
                yield block.start + np.flatnonzero(octaves == octave)


def _samples(groups: list[Indices], count: int, generator: np.random.Generator) -> Iterator[Indices]:
    """Some members of each group."""
    for group in groups:
        yield generator.choice(group, min(len(group), count), replace=False)


class _Pilot:
    """The search for the best steps of some parameters, all at the same time.

    Attributes
    ----------
    relative : array of shape (n,)
        The best steps, relative to the parameters' sizes; NaN as long as it is not known.
    evaluations : int
        Values of the cost that were asked for.
    """

    def __init__(self, neighbourhood: Neighbourhood, noise: Noise, scheme: Scheme, indices: Indices) -> None:
        self._neighbourhood, self._noise, self._scheme, self._indices = neighbourhood, noise, scheme, indices
        self._sizes = neighbourhood.scale[indices]
        # A cost may vary over the size of a parameter or, where that is small, over 1: the search starts in between.
        start = self._sizes / np.sqrt(np.minimum(self._sizes, 1.0))
        self._steps = _ABOVE * start * relative_step(neighbourhood, noise, scheme)
        self._most = _LARGEST * np.maximum(self._sizes, 1.0)
        # Noise of this part of a quotient is that of a well-scaled cost, or need not be less.
        self._negligible = max(relative_step(neighbourhood, noise, scheme) ** scheme.order, _NEGLIGIBLE)
        # The least step that is known to be too large, and the noise of the quotient before.
        self._too_large, self._noise_before = np.full(len(indices), np.inf), np.full(len(indices), np.inf)
        # Whether truncation was seen at the last look, and a quotient in which it looked regular.
        self._seen, self._regular = np.zeros(len(indices), dtype=np.bool_), np.full(len(indices), np.nan)
        self.relative = np.full(len(indices), np.nan)
        self.evaluations = 0

    @property
    def most(self) -> int:
        """Values of the cost that it takes at most."""
        return 2 * _ROUNDS * len(self._indices) * len(self._scheme.offsets)

    def run(self) -> None:
        """Look at steps until those of all parameters are known, or are not to be known."""
        active = np.arange(len(self._indices))
        for _ in range(_ROUNDS):
            if not active.size:
                return
            active = self._look(active)
        # Truncation seen in the end, however small the step: at a kink, or where the derivative is zero.
        self.relative[active] = np.where(self._seen, self._steps / self._sizes, np.nan)[active]

    def _look(self, active: Indices) -> Indices:
        """Look at some parameters once; those of which more is to be learnt."""
        indices, order = self._indices[active], self._scheme.order
        least = self._neighbourhood.distinct(indices, _LEAST * self._sizes[active])
        steps = np.maximum(least, np.minimum(self._steps, self._most)[active])
        values, noise = self._quotients(indices, steps)
        doubled, noise_of_doubled = self._quotients(indices, 2.0 * steps)
        gap = np.abs(doubled - values)
        finite = np.isfinite(gap)
        seen = finite & (gap > _RESOLVED * np.hypot(noise, noise_of_doubled))
        truncation = np.where(seen, gap, 1.0) / (2.0**order - 1.0)
        best = np.maximum(least, steps * (noise / truncation) ** (1.0 / (order + 1)))
        # A gap as large as the quotient itself follows no power of the step.
        regular = seen & (steps <= _FAR * best) & (gap <= _REGULAR * np.abs(values))
        # Where it was as large before, the cost oscillates within the step, and may look regular by chance, but not twice alike.
        alike = np.abs(values - self._regular[active]) <= _RESOLVED * (gap + noise)
        settled = (regular & (np.isinf(self._too_large[active]) | alike)) | (seen & (steps <= least))
        self._too_large[active] = np.where((seen & ~settled) | ~finite, steps, self._too_large[active])
        ended = finite & ~seen & self._at_end(active, steps, values, noise)
        # A parameter that changes the cost by noise only says nothing of others.
        alive = ended & (np.abs(values) > _RESOLVED * noise)
        self.relative[active] = np.where(settled, best, np.where(alive, steps, np.nan)) / self._sizes[active]
        self._seen[active], self._regular[active] = seen, np.where(regular, values, np.nan)
        self._noise_before[active] = np.where(finite, noise, np.inf)
        smaller = np.where(regular, _NEARBY * steps, np.minimum(_ABOVE * best, steps / _ABOVE))
        self._steps[active] = np.where(seen, smaller, np.where(finite, _FAR, 1.0 / _FAR) * steps)
        result: Indices = active[~(settled | ended)]
        return result

    def _at_end(self, active: Indices, steps: Array, values: Array, noise: Array) -> NDArray[np.bool_]:
        """Whether larger steps than these, in which no truncation is seen, would be too large, or no better."""
        result: NDArray[np.bool_] = (steps * _FAR >= self._too_large[active]) | (steps >= self._most[active])
        result |= (noise <= self._negligible * np.abs(values)) | (noise >= self._noise_before[active])
        return result

    def _quotients(self, indices: Indices, steps: Array) -> tuple[Array, Array]:
        """Quotients and their noise; NaN where a cost is not finite."""
        self.evaluations += len(indices) * len(self._scheme.offsets)
        values, noise, _ = _attempt(self._neighbourhood, self._noise, indices, self._scheme.steps(1.0) * steps[:, np.newaxis])
        return values, noise


def quotients(neighbourhood: Neighbourhood, noise: Noise, scheme: Scheme, indices: Indices, steps: Array) -> Quotients:
    """Difference quotients of some parameters.

    Where the cost is not finite at one of the points, a smaller step is taken, and then quotients of the same order are tried on
    one side of θ, first the right one.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost.
    noise : Noise
        Its noise.
    scheme : Scheme
        Where the cost is evaluated. What counts are the steps that are actually taken.
    indices : array of int of shape (n,)
        Parameters.
    steps : array of shape (n,)
        ε of each.

    Returns
    -------
    Quotients
        In the order of `indices`.
    """
    parts = [
        _some_quotients(neighbourhood, noise, scheme, indices[start : start + _TOGETHER], steps[start : start + _TOGETHER])
        for start in range(0, max(len(indices), 1), _TOGETHER)
    ]
    if len(parts) == 1:
        return parts[0]

    def whole(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    evaluations = sum(part.evaluations for part in parts)
    return Quotients(whole("values"), whole("noise"), whole("steps"), whole("sides"), whole("finite"), evaluations)


def _some_quotients(neighbourhood: Neighbourhood, noise: Noise, scheme: Scheme, indices: Indices, steps: Array) -> Quotients:
    """The same of so many that what is needed for each of them on the way takes little room."""
    count = len(indices)
    values, errors, sides = np.full(count, np.nan), np.full(count, np.inf), np.zeros(count, dtype=np.int8)
    final = neighbourhood.distinct(indices, steps)
    left, evaluations = np.arange(count), 0
    with current().counting(count):
        for offsets, factor, side in _attempts(scheme):
            if not left.size or current().interrupted:
                break
            tried = neighbourhood.distinct(indices[left], factor * steps[left])
            attempt, spread, finite = _attempt(neighbourhood, noise, indices[left], offsets * tried[:, np.newaxis])
            evaluations += offsets.size * len(left)
            done = left[finite]
            values[done], errors[done], final[done], sides[done] = attempt[finite], spread[finite], tried[finite], side
            left = left[~finite]
    return Quotients(values, errors, final, sides, np.isfinite(values), evaluations)


def _attempts(scheme: Scheme) -> Iterator[tuple[Array, float, int]]:
    """What is tried in turn: steps in units of ε, by how much ε shrinks, and the side on which all steps lie, if that matters."""
    factors = [_SHRINK**retry for retry in range(_RETRIES + 1)]
    for factor in factors:
        yield scheme.steps(1.0), factor, 0
    for factor in factors:
        for side in (1, -1):
            yield side * np.arange(1.0, scheme.order + 1), factor, side


def _attempt(
    neighbourhood: Neighbourhood, noise: Noise, indices: Indices, steps: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Quotients from costs at these steps, their noise, and which of them are finite."""
    taken = neighbourhood.taken(indices, steps)
    costs = neighbourhood.at(indices, taken)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        weights = weights_at(taken)
        values = np.sum(weights * (costs - neighbourhood.base), axis=1)
        of_base = np.sum(weights, axis=1) * noise.level
        # The quotient is rounded, too, some times. Not by squares, which underflow.
        errors = np.hypot(of_base, steps.shape[1] * ROUNDING * np.abs(values))
        for column in (weights * noise.of(costs)).T:
            errors = np.hypot(errors, column)
    finite = np.isfinite(values) & np.isfinite(errors)
    values[~finite], errors[~finite] = np.nan, np.inf
    return values, errors, finite
