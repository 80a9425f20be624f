"""The complex step: exact derivatives of analytic costs, held against real differences before they are trusted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError, OracleError
from gradsweep._ladder import Behaviour, direction_ladder
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
    steps = _STEP * neighbourhood.scale[indices]
    try:
        costs = [complex(evaluate(int(index), float(step))) for index, step in zip(indices, steps, strict=True)]
    except TypeError as error:
        raise InputError(
            f"scheme: 'complex' needs a cost that accepts complex parameters, but this one fails: {error}"
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array([cost.imag for cost in costs], dtype=np.float64) / steps
    finite = np.isfinite(values) & np.isfinite([cost.real for cost in costs])
    values[~finite] = np.nan
    slopes = np.zeros_like(neighbourhood.theta)
    slopes[indices[finite]] = values[finite]
    proven, evaluations = 0.0, len(indices)
    for pattern in _patterns(neighbourhood, indices[finite], np.random.default_rng(seed)):
        bound, count = _compare(neighbourhood, noise, slopes, pattern)
        proven, evaluations = max(proven, bound), evaluations + count
    return ComplexQuotients(values, finite, proven, evaluations)


def _patterns(neighbourhood: Neighbourhood, indices: Indices, generator: np.random.Generator) -> Iterator[Array]:
    """Random directions among these parameters, block by block."""
    for block, _ in neighbourhood.blocks():
        members = indices[(indices >= block.start) & (indices < block.stop)]
        for _ in range(_DIRECTIONS if members.size else 0):
            pattern = np.zeros_like(neighbourhood.theta)
            pattern[members] = random_pattern(generator, members.size)
            yield pattern


def _compare(neighbourhood: Neighbourhood, noise: Noise, slopes: Array, pattern: Array) -> tuple[float, int]:
    """Hold the slope along a direction against real differences; their bound, relative to its terms, and evaluations."""
    direction, limit = direction_ladder(neighbourhood, noise, pattern, relative_step(neighbourhood, noise, CENTRAL))
    if limit.behaviour is Behaviour.NON_FINITE:
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
