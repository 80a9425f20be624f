"""What difference forms on stacked changes are made of: power series, summed in place, and pieces that keep temporaries small.

Most changes are tiny. Where the largest of them is, a change f(z+δ) − f(z) is summed as its own power series in δ. The
coefficients belong to the base and are computed once for all lanes, so that each lane costs a few multiplications and additions,
and no transcendental function.

The series are of three kinds, by the differential equation that gives the recurrence of their coefficients:

`periodic`         f'' = κ·f: exponential, circular and hyperbolic functions
`tangential`       f' = 1 ± f²: tangents
`ultraspherical`   f'(z+δ) = f'(z)·(1 − 2αu − βu²)^(−ν), u proportional to δ: logarithms, powers, all inverse functions. The
                   coefficients of f' are the ultraspherical polynomials (Abramowitz and Stegun, Handbook of Mathematical
                   Functions, 22.7.3 and 22.9.3)

In units of u, no coefficient is larger than the first. As many terms are taken as leave out less than half a unit in the last
place.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

# Largest |u| for 2, 3, 4 and 5 terms: what is left out is |u|ⁿ of the first term at most.
_RADII = tuple(2.0 ** (-54.0 / terms) for terms in range(2, 6))

# Terms of which a kernel has a choice.
_FEW, _MANY = 3, 5

# Between these a power may be whose series has all its digits.
_LEAST_POWER, _LARGEST_POWER = 1e-100, 1e100

# What a change may be beside the base, where a polynomial in it might cancel otherwise.
_SMALL_PART = 2.0**-6

#: Largest number of entries that are worked on at once where that takes temporary arrays of their number.
PIECE = 1 << 16

# Between these a slope has all its digits, and so has its product with any change that the series is used for.
_LEAST_SLOPE = 1e-290
_LARGEST_SLOPE = 1e290

# Between these the stretch of a shared base may be, and so may its changes be at most.
_LEAST_STRETCH = 1e-30
_LARGEST_STRETCH = 1e30


class Series(NamedTuple):
    """A change as a power series: δ·(c₁ + c₂·u + c₃·u² + …) with u = δ·stretch and |cₖ| ≤ |c₁|."""

    coefficients: Callable[[Array, Array, int], list[Array]]
    """c₁ … cₙ, from a base z, its value and n. Where there is a stretch, c₁ is between 1e-150 and 1e150 for all between 1e-30 and
    1e30."""
    stretch: Callable[[Array], Array] | None = None
    """u/δ, from a base z; None: u is δ."""
    stationary: bool = False
    """c₁ may vanish while c₂ does not, which then rules: one more term is needed."""


# ---- coefficients --------------------------------------------------------------------------------------------------------


def periodic(slope: Array, bend: Array, kappa: float, terms: int) -> list[Array]:
    """Coefficients of a function with f'' = κ·f.

    Parameters
    ----------
    slope, bend : array
        f' and f''/2 at the base.
    kappa : float
        κ.
    terms : int
        How many; at least two.

    Returns
    -------
    list of array
        c₁ … cₙ.
    """
    coefficients = [slope, bend]
    for k in range(3, terms + 1):
        coefficients.append(coefficients[-2] * (kappa / (k * (k - 1.0))))
    return coefficients


def tangential(slope: Array, value: Array, sign: float, terms: int) -> list[Array | float]:
    """Coefficients of a function with f' = 1 ± f², over the first: (k+1)·hₖ₊₁ = ±(2f·hₖ + f'·(h₁hₖ₋₁ + … + hₖ₋₁h₁)).

    Parameters
    ----------
    slope, value : array
        f' and f at the base; f' is asked for since 1 − f² may have no digits left.
    sign : float
        1 or -1.
    terms : int
        How many.

    Returns
    -------
    list of array or float
        h₁ … hₙ, where cₖ = f'·hₖ.
    """
    ratios: list[Array | float] = [1.0, value * sign]
    for k in range(2, terms):
        products = sum(ratios[i] * ratios[k - 2 - i] for i in range(k - 1))
        ratios.append((value * ratios[-1] * 2.0 + slope * products) * (sign / (k + 1.0)))
    return ratios


def ultraspherical(slope: Array, alpha: Array | float, beta: Array | float, nu: Array | float, terms: int) -> list[Array]:
    """Coefficients of a function with f'(z+δ) = f'(z)·(1 − 2αu − βu²)^(−ν), by the polynomials' recurrence.

    Parameters
    ----------
    slope : array
        f' at the base.
    alpha, beta, nu : array or float
        α, β and ν.
    terms : int
        How many.

    Returns
    -------
    list of array
        c₁ … cₙ.
    """
    previous: Array | float = 0.0
    current: Array | float = 1.0
    coefficients = [slope]
    for k in range(1, terms):
        following = (alpha * current * (2.0 * (k - 1.0 + nu)) + beta * previous * (k - 2.0 + 2.0 * nu)) * (1.0 / k)
        previous, current = current, following
        coefficients.append(slope * (current * (1.0 / (k + 1.0))))
    return coefficients


# ---- sums ----------------------------------------------------------------------------------------------------------------


def largest(numbers: Array) -> float:
    """Largest absolute number.

    Parameters
    ----------
    numbers : array
        Any numbers, or none.

    Returns
    -------
    float
        0 of no numbers; NaN if there is one.
    """
    if not numbers.size:
        return 0.0
    # np.abs would take a temporary array.
    return max(float(numbers.max()), -float(numbers.min()))


def terms_for(size: float) -> int:
    """Number of terms that a series needs.

    Parameters
    ----------
    size : float
        Largest |u|.

    Returns
    -------
    int
        2 to 5; 0 if the size is too large for a series, or NaN.
    """
    for terms, radius in enumerate(_RADII, start=2):
        if size <= radius:
            return terms
    return 0


def within(numbers: Array, least: float, most: float) -> bool:
    """Whether absolute values lie between two limits.

    Parameters
    ----------
    numbers : array
        Any numbers, or none.
    least, most : float
        The limits.

    Returns
    -------
    bool
        False if there is a NaN.
    """
    if not numbers.size:
        return True
    sizes = np.abs(numbers)
    return bool(sizes.min() >= least and sizes.max() <= most)


def sum_series(change: Array, scaled: Array, coefficients: Sequence[Array | float], shape: tuple[int, ...]) -> Array:
    """δ·(c₁ + u·(c₂ + …)), Horner's way, in place.

    Parameters
    ----------
    change, scaled : array of shape (..., lanes)
        δ and u.
    coefficients : sequence of array or float
        c₁ … cₙ, two at least.
    shape : tuple of int
        What all of them are broadcast to.

    Returns
    -------
    array of the given shape
        The sum.
    """
    total = np.empty(shape)
    np.multiply(scaled, coefficients[-1], out=total)
    for coefficient in coefficients[-2:0:-1]:
        np.add(total, coefficient, out=total)
        np.multiply(total, scaled, out=total)
    np.add(total, coefficients[0], out=total)
    np.multiply(total, change, out=total)
    return total


def shared_series(series: Series, z: Array, value: Array, change: Array, growth: float = 1.0) -> Array | None:
    """Sum of a series in δ itself, its stretch moved into the coefficients.

    Beside the result no array of its size is needed. The largest u is taken to be the largest δ times the largest stretch, which
    is more than it is where bases differ much.

    Parameters
    ----------
    series : Series
        The series.
    z, value : array of shape (..., 1 or lanes)
        Base and f(z).
    change : array of shape (..., lanes)
        δ.
    growth : float
        The coefficients may grow by this factor each.

    Returns
    -------
    array of shape (..., lanes) or None
        The change; None if a series so summed is not known to be right.
    """
    size, reach = largest(change), 1.0
    stretch = None if series.stretch is None else series.stretch(z)
    if stretch is not None and stretch.size:
        reaches = np.abs(stretch)
        reach = float(reaches.max())
        # Within these limits no coefficient that counts overflows or underflows.
        if not (reaches.min() >= _LEAST_STRETCH and reach <= _LARGEST_STRETCH and size <= _LARGEST_STRETCH):
            return None
    terms = terms_for(size * reach * growth)
    if not terms:
        return None
    coefficients = series.coefficients(z, value, terms + series.stationary)
    if stretch is not None:
        power = stretch
        coefficients[1] = coefficients[1] * power
        for k in range(2, len(coefficients)):
            power = power * stretch
            coefficients[k] = coefficients[k] * power
    return sum_series(change, change, coefficients, np.broadcast(value, change).shape)


class Coefficients:
    """Coefficients of a series in δ at bases that are known beforehand, for as many terms as are asked for.

    Parameters
    ----------
    series : Series
        The series.
    z, value : array
        Base and f(z).
    """

    def __init__(self, series: Series, z: Array, value: Array) -> None:
        self._series, self._z, self._value = series, z, value
        with np.errstate(all="ignore"):
            stretch = None if series.stretch is None else np.asarray(series.stretch(z))
        self._stretch, self._reach, self._usable = stretch, 1.0, bool(z.size)
        if stretch is not None and stretch.size:
            reaches = np.abs(stretch)
            self._reach = float(reaches.max())
            self._usable = bool(reaches.min() >= _LEAST_STRETCH and self._reach <= _LARGEST_STRETCH)
        self._known: dict[int, Array] = {}
        # No coefficient is larger than the one before by more than `_growth`, and changes may be as large as `_largest`.
        self._growth, self._largest = 1.0, np.inf if stretch is None else _LARGEST_STRETCH

    @classmethod
    def of_quotients(cls, divisor: Array, quotient: Array) -> "Coefficients":
        """Those of the quotient in the change of the divisor: −q/b, q/b², −q/b³ and so on."""

        def coefficients(z: Array, value: Array, terms: int) -> list[Array]:
            slope = value / z
            return [-slope if k % 2 == 0 else slope for k in range(terms)]

        made = cls(Series(coefficients, lambda z: 1.0 / z), np.broadcast_to(divisor, quotient.shape), quotient)
        sizes = np.abs(quotient)
        made._usable = made._usable and bool(((sizes == 0.0) | ((sizes >= 1e-100) & (sizes <= 1e100))).all())
        return made

    @classmethod
    def of_powers(cls, z: Array, exponent: float, value: Array) -> "Coefficients":
        """Those of a power of z."""

        def coefficients(z: Array, value: Array, terms: int) -> list[Array]:
            return ultraspherical(exponent * (value / z), -0.5, 0.0, 1.0 - exponent, terms)

        made = cls(Series(coefficients, lambda z: 1.0 / z), z, value)
        made._usable = made._usable and within(value, _LEAST_POWER, _LARGEST_POWER)
        made._growth = max(1.0, abs(exponent - 1.0))
        return made

    @classmethod
    def of_cubes(cls, z: Array, value: Array) -> "Coefficients":
        """Those of a cube, which end: 3z², 3z, 1. For changes that are small beside z: others may cancel there."""

        def coefficients(z: Array, value: Array, terms: int) -> list[Array]:
            return [3.0 * z * z, 3.0 * z, np.ones_like(z)]

        made = cls(Series(coefficients), z, value)
        made._largest = _SMALL_PART * float(np.abs(z).min(initial=np.inf))
        return made

    def of(self, size: float) -> Array | None:
        """Coefficients for changes up to this size, of shape (terms, …); None if their series is not known to be right."""
        if not self._usable or not size <= self._largest:
            return None
        terms = terms_for(size * self._reach * self._growth)
        return self._of_terms(terms) if terms else None

    def _of_terms(self, terms: int) -> Array:
        known = self._known.get(terms)
        if known is None:
            found = self._series.coefficients(self._z, self._value, terms + self._series.stationary)
            if self._stretch is not None:
                found = [found[0], *(each * self._stretch**k for k, each in enumerate(found[1:], start=1))]
            known = self._known[terms] = np.array([np.broadcast_to(each, self._z.shape) for each in found])
        return known

    def table(self) -> tuple[Array, int, int] | None:
        """What a kernel needs to sum the series at each base: with few terms, or with many.

        Returns
        -------
        constants : array of shape (bases, 8)
            The largest change for which few terms do, that for which many do, and up to six coefficients.
        few, many : int
            How many coefficients these are.
        None
            If the series is not known to be right.
        """
        if not self._usable:
            return None
        with np.errstate(all="ignore"):
            found = self._of_terms(_MANY).reshape(-1, self._z.size)
            reach = self._growth * (np.ones(self._z.size) if self._stretch is None else np.abs(self._stretch).reshape(-1))
        constants = np.zeros((self._z.size, 8))
        for column, terms in enumerate((_FEW, _MANY)):
            constants[:, column] = np.minimum(_RADII[terms - 2] / reach, self._largest)
        constants[:, 2 : 2 + len(found)] = found.T
        if not np.isfinite(found).all():
            return None
        return constants, _FEW + self._series.stationary, _MANY + self._series.stationary


def own_series(series: Series, z: Array, value: Array, change: Array, growth: float = 1.0) -> Array | None:
    """Sum of a series in u, for bases that differ much.

    Parameters
    ----------
    series : Series
        The series.
    z, value : array of shape (..., 1 or lanes)
        Base and f(z).
    change : array of shape (..., lanes)
        δ.
    growth : float
        The coefficients may grow by this factor each.

    Returns
    -------
    array of shape (..., lanes) or None
        The change; None if it is too large for a series, or a slope has too few digits.
    """
    scaled = change if series.stretch is None else np.multiply(change, series.stretch(z))
    terms = terms_for(largest(scaled) * growth)
    if not terms:
        return None
    coefficients = series.coefficients(z, value, terms + series.stationary)
    # A slope that has overflown or underflown says nothing of a change that is large or small in the same measure.
    if series.stretch is not None and not within(coefficients[0], _LEAST_SLOPE, _LARGEST_SLOPE):
        return None
    return sum_series(change, scaled, coefficients, np.broadcast(value, change).shape)


# ---- pieces --------------------------------------------------------------------------------------------------------------


def shape_of(*arrays: Array | None) -> tuple[int, ...]:
    """Common shape of arrays.

    Parameters
    ----------
    *arrays : array or None
        What is None does not count.

    Returns
    -------
    tuple of int
        What they are broadcast to.
    """
    return np.broadcast(*[array for array in arrays if array is not None]).shape


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Pieces of an array of at most `PIECE` entries each, in order."""
    axis, inner = len(shape) - 1, 1
    while inner * shape[axis] <= PIECE:
        inner *= shape[axis]
        axis -= 1
    rows = max(1, PIECE // inner)
    for outer in np.ndindex(shape[:axis]):
        ahead = [slice(index, index + 1) for index in outer]
        for first in range(0, shape[axis], rows):
            yield (*ahead, slice(first, first + rows), *[slice(None)] * (len(shape) - axis - 1))


def _part(array: Array | None, piece: tuple[slice, ...]) -> Array | None:
    """What of an array is broadcast to a piece."""
    if array is None:
        return None
    own = piece[len(piece) - array.ndim :]
    return array[tuple(slice(None) if length == 1 else part for length, part in zip(array.shape, own, strict=True))]


def by_pieces(form: Callable[..., Array], *arrays: Array | None) -> Array:
    """A form, piece by piece.

    Its temporary arrays stay small: one of a megabyte can cost more than what is computed in it, where its memory comes from
    the system and goes back there with each use. And a change that is too large for a series spoils one piece only.

    Parameters
    ----------
    form : callable
        Takes the arrays, or parts of them, and returns an array of the shape that they are broadcast to.
    *arrays : array or None
        None stays None.

    Returns
    -------
    array
        The form of all.
    """
    shape = shape_of(*arrays)
    if math.prod(shape) <= PIECE:
        return form(*arrays)
    change = np.empty(shape)
    for piece in _pieces(shape):
        change[piece] = form(*(_part(array, piece) for array in arrays))
    return change


def is_shared(base: Array, *changes: Array | None) -> bool:
    """Whether arrays of the size of a base are small, or small beside the changes.

    Parameters
    ----------
    base : array of shape (..., 1 or lanes)
        The base.
    *changes : array of shape (..., lanes) or None
        Its changes.

    Returns
    -------
    bool
        True for a base that lanes share.
    """
    return base.size <= PIECE or 2 * base.size <= math.prod(shape_of(base, *changes))
