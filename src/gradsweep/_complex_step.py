"""The complex step: exact derivatives of analytic costs, held against real differences before they are trusted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError, OracleError
from gradsweep._ladder import Behaviour, direction_ladder
from gradsweep._monitor import current
from gradsweep._neighbourhood import Indices, Neighbourhood
from gradsweep._noise import Noise, random_pattern
from gradsweep._quotients import relative_step
from gradsweep._schemes import CENTRAL
from gradsweep._types import Array

# Step, relative to a parameter's size: its square is lost beside 1 in any precision, and it is far from underflow in single.
_STEP = 2.0**-66

# Random directions in each block along which real differences are taken.
_DIRECTIONS = 2

# Rounding of complex quotients, relative to what they sum up to along a direction: so much at least, and so many times that of
# the cost.
_LEAST_ROUNDING, _ROUNDINGS = 2.0**-40, 64.0


@dataclass(frozen=True, eq=False)
class ComplexQuotients:
    """Derivatives by the complex step.

    Attributes
    ----------
    values : array of shape (n,)
        Im J(θ + iεe) / ε; NaN where it is not finite.
    finite : array of bool of shape (n,)
        Whether there is a value.
    proven : float
        How closely real differences agree: the largest bound of theirs along a direction, relative to the terms of the sum that
        it was held against. 1 or more says that they are too noisy to prove anything.
    evaluations : int
        Values of the cost that were asked for, complex and real.
    """

    values: Array
    finite: NDArray[np.bool_]
    proven: float
    evaluations: int


def complex_quotients(
    neighbourhood: Neighbourhood, noise: Noise, evaluate: Callable[[int, float], complex], indices: Indices, seed: int = 0
) -> ComplexQuotients:
    """Derivatives of a cost that accepts complex parameters.

    What is not analytic breaks them, silently: `abs`, `max`, comparisons, `conj`, `numpy.linalg.norm`, a conversion to `float`.
    So in each block the slopes along random directions are held against real differences.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The cost, of real parameters.
    noise : Noise
        Its noise.
    evaluate : callable
        ``evaluate(index, step)`` returns J(θ + i·step·e_index).
    indices : array of int of shape (n,)
        Parameters, all different.
    seed : int, default: 0
        Chooses the directions.

    Returns
    -------
    ComplexQuotients
        In the order of `indices`.

    Raises
    ------
    InputError
        The cost does not accept complex parameters.
    OracleError
        The complex step disagrees with real differences by more than their error.

    Notes
    -----
    Im J(θ + iε)/ε = J'(θ) − ε²J'''(θ)/6 + …, without a difference of nearly equal numbers. ε may be so small that the second
    term is 0; the noise of J then counts as it does in J', not as eps·|J|/ε.

    References
    ----------
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40(1), 1998.
    """
    own = _Quotients(neighbourhood, noise, evaluate, indices, np.random.default_rng(seed))
    own.run()
    return ComplexQuotients(own.values, np.isfinite(own.values), own.proven, own.evaluations)


class _Quotients:
    """Derivatives of some parameters, block by block, each of which is proven before the next one is begun.

    Attributes
    ----------
    values : array of shape (n,)
        What is proven; NaN elsewhere.
    proven : float
        As of `ComplexQuotients`.
    evaluations : int
        So far.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        noise: Noise,
        evaluate: Callable[[int, float], complex],
        indices: Indices,
        generator: np.random.Generator,
    ) -> None:
        self._neighbourhood, self._noise, self._evaluate = neighbourhood, noise, evaluate
        self._indices, self._generator = indices, generator
        self._costs = np.full(len(indices), complex(np.nan, np.nan))
        self.values = np.full(len(indices), np.nan)
        self.proven, self.evaluations = 0.0, 0

    def run(self) -> None:
        """Form all of them; after an interrupt those that can still be proven."""
        monitor, count = current(), len(self._indices)
        begun: list[NDArray[np.intp]] = []
        done = 0

        def steps() -> Iterator[int]:
            """How many values each step adds: one, or none if it proves those of a block."""
            for places in self._blocks():
                begun.append(places)
                for place in places.tolist():
                    yield self._step(place)
                self._prove(places)
                begun.pop()
                yield 0

        def share(added: int) -> float:
            nonlocal done
            done += added
            return done / max(count, 1)

        with monitor.counting(count):
            for _ in monitor.follow(steps(), share):
                pass
        if begun and monitor.interrupted:
            # The block that was cut off: in the little time that is left.
            monitor.close()
            self._prove(begun.pop())

    def _blocks(self) -> Iterator[NDArray[np.intp]]:
        """Places of the parameters of each block."""
        for block, _ in self._neighbourhood.blocks():
            yield np.flatnonzero((self._indices >= block.start) & (self._indices < block.stop))

    def _step(self, place: int) -> int:
        """Form one of them; 1, which is how many that is."""
        index = int(self._indices[place])
        try:
            self._costs[place] = complex(self._evaluate(index, float(_STEP * self._neighbourhood.scale[index])))
        except TypeError as error:
            raise InputError(
                f"scheme: 'complex' needs a cost that accepts complex parameters, but this one fails: {error}"
            ) from error
        self.evaluations += 1
        return 1

    def _prove(self, places: NDArray[np.intp]) -> None:
        """Hold what is known of a block against real differences along random directions."""
        costs, steps = self._costs[places], _STEP * self._neighbourhood.scale[self._indices[places]]
        with np.errstate(over="ignore", invalid="ignore"):
            values = costs.imag / steps
        finite = np.isfinite(values) & np.isfinite(costs.real)
        members = self._indices[places[finite]]
        slopes = np.zeros_like(self._neighbourhood.theta)
        slopes[members] = values[finite]
        for _ in range(_DIRECTIONS if members.size else 0):
            pattern = np.zeros_like(slopes)
            pattern[members] = random_pattern(self._generator, members.size)
            bound, evaluations = _compare(self._neighbourhood, self._noise, slopes, pattern)
            if current().lacks:
                return
            self.proven, self.evaluations = max(self.proven, bound), self.evaluations + evaluations
        self.values[places[finite]] = values[finite]


def _compare(neighbourhood: Neighbourhood, noise: Noise, slopes: Array, pattern: Array) -> tuple[float, int]:
    """Hold the slope along a direction against real differences; their bound, relative to its terms, and evaluations."""
    direction, limit = direction_ladder(neighbourhood, noise, pattern, relative_step(neighbourhood, noise, CENTRAL))
    # A ladder that was cut off shows neither that they agree nor that they do not.
    if limit.behaviour is Behaviour.NON_FINITE or current().lacks:
        return 1.0, limit.evaluations
    terms = slopes * direction
    slope, size = float(terms.sum()), float(np.abs(terms).sum())
    low, high = min(limit.left, limit.right) - limit.side_bound, max(limit.left, limit.right) + limit.side_bound
    relative = noise.level / abs(neighbourhood.base) if neighbourhood.base else 0.0
    allowed = max(_LEAST_ROUNDING, _ROUNDINGS * relative) * size
    if not low - allowed <= slope <= high + allowed:
        moved = np.flatnonzero(pattern)
        raise OracleError(
            f"scheme: 'complex' gives the slope {slope!r} along a random direction of parameters {moved[0]} to {moved[-1]}, but "
            f"real differences give {limit.value!r} within {limit.side_bound:.1e}; the cost is not analytic there: abs, max, "
            "comparisons, conj, numpy.linalg.norm or a conversion to float break the complex step"
        )
    # Slopes that are all 0 are proven only where the real ones are, to the bit.
    proven = limit.side_bound / size if size else float(limit.side_bound > 0.0)
    return proven, limit.evaluations
