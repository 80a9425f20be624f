r"""Difference forms of the smooth elementary functions, for changes that are stacked along the last axis.

A difference form is the exact change :math:`f(z+\delta)-f(z)` for a finite :math:`\delta`, written without a subtraction of
nearly equal numbers. It is an identity, not a derivative. The changes of all lanes (one perturbation each) lie along the last
axis; the base values have one lane, which all share, or as many of their own. With :math:`x = z+\delta`:

=================  ========================================================================================================
exp, expm1, exp2   :math:`e^z\operatorname{expm1}\delta`; the same to base 2
log, log2, log10   :math:`\log(1+\delta/z)`, as :math:`\log(x/z)` where x has lost most of z
log1p              the same of :math:`1+z`
sqrt, cbrt         :math:`\delta/(\sqrt x+\sqrt z)`, :math:`\delta/(\sqrt[3]x^2+\sqrt[3]x\sqrt[3]z+\sqrt[3]z^2)`
square             :math:`\delta\,(2z+\delta)`
reciprocal         :math:`-(\delta/x)/z`
sin, cos           :math:`2\sin\tfrac\delta2\cos(z+\tfrac\delta2)`, :math:`-2\sin\tfrac\delta2\sin(z+\tfrac\delta2)`, by the
                   sums of angles, since :math:`z+\tfrac\delta2` would be rounded
tan                :math:`\sin\delta\,/\,(\cos z\cos x)`, the same way
arcsin, arccos     :math:`\pm2\arctan\bigl(\delta/(\sqrt{1-x^2}+\sqrt{1-z^2})\bigr)`
arctan             angle of :math:`(1+zx,\ \delta)`
sinh, cosh         :math:`2\sinh\tfrac\delta2\cosh(z+\tfrac\delta2)`, :math:`2\sinh\tfrac\delta2\sinh(z+\tfrac\delta2)`
tanh               :math:`\sinh\delta\,/\,(\cosh z\cosh x)`, in exponentials that neither overflow nor cancel
arcsinh, arccosh   :math:`2\operatorname{artanh}\bigl(\delta/(\sqrt{x^2\pm1}+\sqrt{z^2\pm1})\bigr)`, and as a logarithm far out
arctanh            :math:`\pm\tfrac12\log\bigl(1+2|\delta|/((1\mp x)(1\pm z))\bigr)`
a·b, a/b           :math:`\delta_a(b+\delta_b)+a\delta_b`, :math:`(\delta_a-q\,\delta_b)/(b+\delta_b)`
a to the b         :math:`a^b\operatorname{expm1}\bigl((b+\delta_b)\log(1+\delta_a/a)+\delta_b\log a\bigr)`;
                   b = 2, 3, … as products
logaddexp          :math:`\log(1+p_a\operatorname{expm1}\delta_a+p_b\operatorname{expm1}\delta_b)`
hypot              :math:`(\delta_a(2a+\delta_a)+\delta_b(2b+\delta_b))/(h'+h)`
arctan2            angle between the two points as seen from the origin, and a full turn where the cut is crossed
=================  ========================================================================================================

Most changes are tiny. Where the largest of them is, and a form has transcendental functions of the change in it, the same
change is summed as its own power series. The coefficients belong to the base and are computed once for all lanes, so that each
lane costs a few multiplications and additions. The series are of three kinds, by the differential equation that gives the
recurrence of their coefficients (Abramowitz and Stegun, Handbook of Mathematical Functions, 4.3, 4.5, 22.9):
:math:`f''=\kappa f` (exponential, circular), :math:`f'=1\pm f^2` (tangents), and
:math:`f'(z+\delta)=f'(z)\,(1-2\alpha u-\beta u^2)^{-\nu}` with :math:`u` proportional to :math:`\delta` (logarithms, powers
and all inverse functions), whose coefficients are ultraspherical polynomials. As many terms are taken as leave out less than
2⁻⁵⁴.

Proven in the tests against 50 digits: a relative error of at most 4e-15 of the change; where two terms of a form can oppose each
other by nature (sin and cos near an extremum, products, quotients), of the larger of them. Below the normal numbers the error is
at most the smallest of them. Where f(z+δ) or f(z) is not finite, neither is the change; but the change of a value that leaves
the range of numbers by less than a factor of two may itself still be in it, and is then given. Base values and changes are never
modified. Warnings are the caller's business.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

#: Change of a function of one number: base z, its value f(z), change of z.
UnaryForm: TypeAlias = Callable[[Array, Array, Array], Array]

#: Change of a function of two: bases a and b, the value f(a, b), changes of a and of b, None for one that is not perturbed.
BinaryForm: TypeAlias = Callable[[Array, Array, Array, Array | None, Array | None], Array]

_Mask: TypeAlias = NDArray[np.bool_]

# Largest |u|, scaled so that coefficients do not grow, for 2, 3, 4 and 5 terms of a series: the rest is uⁿ at most.
_RADII = tuple(2.0 ** (-54.0 / terms) for terms in range(2, 6))

# Between these a first coefficient has all its digits, and a product with any change that the series is used for has, too.
_LEAST_SLOPE = 1e-290
_LARGEST_SLOPE = 1e290

_LEAST = float(np.finfo(np.float64).smallest_subnormal)
_LOG_2 = 0.6931471805599453
_LOG_10 = 2.302585092994046


# ---- what forms are made of ----------------------------------------------------------------------------------------------


class _Series(NamedTuple):
    """A change as a power series: δ·(c₁ + c₂·u + c₃·u² + …) with u = δ·stretch."""

    coefficients: Callable[[Array, Array, int], list[Array]]
    """c₁ … cₙ of a base z and its value."""
    stretch: Callable[[Array, Array], Array] | None = None
    """u/δ of a base z and its value; None: u is δ."""
    growth: float = 1.0
    """|cₖ₊₁| ≤ growthᵏ·|c₁|."""
    stationary: bool = False
    """c₁ may vanish while c₂ does not, which then rules: one more term is needed."""


def _largest(change: Array) -> float:
    """Largest absolute number; NaN if there is one. np.abs would take a temporary array."""
    if not change.size:
        return 0.0
    return max(float(change.max()), -float(change.min()))


def _terms(size: float) -> int:
    """Number of terms for |u| up to a size; 0 if it is too large, or NaN."""
    for terms, radius in enumerate(_RADII, start=2):
        if size <= radius:
            return terms
    return 0


def _sum_series(change: Array, scaled: Array, coefficients: list[Array], shape: tuple[int, ...]) -> Array:
    """change·(c₁ + scaled·(c₂ + …)), Horner's way, in place."""
    total = np.empty(shape)
    np.multiply(scaled, coefficients[-1], out=total)
    for coefficient in coefficients[-2:0:-1]:
        np.add(total, coefficient, out=total)
        np.multiply(total, scaled, out=total)
    np.add(total, coefficients[0], out=total)
    np.multiply(total, change, out=total)
    return total


def _try_series(series: _Series, z: Array, value: Array, change: Array, growth: float = 1.0) -> Array | None:
    """Sum of a series, or None where it would not be right: a change or slope out of its range, a base that is not finite."""
    if not (np.isfinite(value).all() and np.isfinite(z).all()):
        return None
    stretch = None if series.stretch is None else series.stretch(z, value)
    scaled = change if stretch is None else np.multiply(change, stretch)
    terms = _terms(series.growth * growth * _largest(scaled))
    if not terms:
        return None
    coefficients = series.coefficients(z, value, terms + series.stationary)
    if stretch is not None and coefficients[0].size:
        # A slope that has overflown or underflown says nothing of a change that is large or small in the same measure.
        slope = np.abs(coefficients[0])
        if not (slope.min() >= _LEAST_SLOPE and slope.max() <= _LARGEST_SLOPE):
            return None
    return _sum_series(change, scaled, coefficients, np.broadcast_shapes(value.shape, change.shape))


def _smooth(ufunc: np.ufunc, series: _Series, full: UnaryForm) -> UnaryForm:
    """Form that is a series for small changes, and the full form for others."""

    def form(z: Array, value: Array, dz: Array) -> Array:
        change = _try_series(series, z, value, dz)
        if change is None:
            change = full(z, value, dz)
            strange = ~(np.isfinite(z) & np.isfinite(value) & np.isfinite(dz))
            if strange.any():
                # At infinity the values themselves are all that there is to subtract.
                np.copyto(change, ufunc(z + dz) - value, where=strange)
        return change

    return form


def _linear(factor: float) -> UnaryForm:
    """Form of a multiple of z; not a number where z is not finite."""

    def form(z: Array, value: Array, dz: Array) -> Array:
        change: Array = np.multiply(dz, factor + 0.0 * z)
        return change

    return form


def _sum_exactly(z: Array, dz: Array) -> tuple[Array, Array]:
    """The sum z + δ, and by how much it was rounded (Knuth's two-sum)."""
    moved = z + dz
    part = moved - z
    return moved, (z - (moved - part)) + (dz - part)


def _replace(change: Array, where: _Mask, other: Callable[[], Array]) -> Array:
    """Entries of a change by another form, which is evaluated only if there are any."""
    if where.any():
        np.copyto(change, other(), where=where)
    return change


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient by a sum of numbers that are not negative; 0/0, where nothing has changed, is 0."""
    quotient: Array = np.divide(numerator, np.maximum(denominator, _LEAST))
    return quotient


def _mend(change: Array, value: Array, plain: Callable[[], Array]) -> Array:
    """Where a form has overflown on its way, or value or change is not finite: the values themselves, subtracted."""
    if not np.isfinite(value).all():
        np.copyto(change, np.nan, where=~np.isfinite(value))
    finite = np.isfinite(change)
    if not finite.all():
        np.copyto(change, plain(), where=~finite)
    return change


# ---- coefficients of series ----------------------------------------------------------------------------------------------


def _periodic(slope: Array, bend: Array, kappa: float, terms: int) -> list[Array]:
    """c₁ … of a function with f'' = κf, from f' and f''/2."""
    coefficients = [slope, bend]
    for k in range(3, terms + 1):
        coefficients.append(coefficients[-2] * (kappa / (k * (k - 1.0))))
    return coefficients


def _tangential(slope: Array, value: Array, sign: float, terms: int) -> list[Array]:
    """c₁ … of a function with f' = 1 ± f², over f': (k+1)·hₖ₊₁ = ±(2f·hₖ + f'·Σ hᵢhₖ₋ᵢ)."""
    ratios = [np.ones_like(slope)]
    for k in range(1, terms):
        inner = 2.0 * value * ratios[-1]
        for i in range(1, k):
            inner = inner + slope * ratios[i - 1] * ratios[k - i - 1]
        ratios.append(inner * (sign / (k + 1.0)))
    return ratios


def _ultraspherical(slope: Array, alpha: Array | float, beta: Array | float, nu: Array | float, terms: int) -> list[Array]:
    """c₁ … of a function with f'(z+δ) = f'(z)·(1 − 2αu − βu²)^(−ν), by the polynomials' recurrence, integrated."""
    previous: Array | float = 0.0
    current: Array | float = 1.0
    coefficients = [slope]
    for k in range(1, terms):
        following = (2.0 * alpha * (k - 1.0 + nu) * current + beta * (k - 2.0 + 2.0 * nu) * previous) / k
        previous, current = current, following
        coefficients.append(slope * (current / (k + 1.0)))
    return coefficients


# ---- exponential functions -----------------------------------------------------------------------------------------------


def _exponential(level: Callable[[Array, Array], Array], rate: float) -> _Series:
    """Series of level·expm1(rate·δ)."""

    def coefficients(z: Array, value: Array, terms: int) -> list[Array]:
        slope = rate * level(z, value)
        return _periodic(slope, (0.5 * rate) * slope, rate * rate, terms)

    return _Series(coefficients)


def _of_value(z: Array, value: Array) -> Array:
    """e^z where that is the value itself."""
    return value


def _of_base(z: Array, value: Array) -> Array:
    """e^z."""
    level: Array = np.exp(z)
    return level


def _grow(z: Array, level: Array, dz: Array) -> Array:
    """e^(z+δ) − e^z = e^z·expm1 δ; where e^z has no digits, or expm1 δ is out of range, δ > 1 and the values do not cancel."""
    change: Array = level * np.expm1(dz)

    def far() -> Array:
        moved, rest = _sum_exactly(z, dz)
        return np.exp(moved) * (1.0 + rest) - level

    return _replace(change, (dz > 700.0) | ((dz > 1.0) & (level < _LEAST_SLOPE)), far)


def _exp(z: Array, value: Array, dz: Array) -> Array:
    """e^z·expm1 δ."""
    return _grow(z, value, dz)


def _expm1(z: Array, value: Array, dz: Array) -> Array:
    """e^z·expm1 δ; e^z as such, not as 1 + expm1 z."""
    return _grow(z, np.exp(z), dz)


def _exp2(z: Array, value: Array, dz: Array) -> Array:
    """2^z·(2^δ − 1), which cancels for small δ only."""
    factor = np.where(np.abs(dz) < 1.0, np.expm1(_LOG_2 * dz), np.exp2(dz) - 1.0)
    change: Array = value * factor

    def far() -> Array:
        moved, rest = _sum_exactly(z, dz)
        return np.exp2(moved) * (1.0 + _LOG_2 * rest) - value

    return _replace(change, (dz > 1000.0) | ((dz > 1.0) & (value < _LEAST_SLOPE)), far)


# ---- logarithms and roots ------------------------------------------------------------------------------------------------


def _power_series(exponent: float, slope: Callable[[Array, Array], Array]) -> _Series:
    """Series of functions with the slope of z^exponent, up to a factor; 0 stands for the logarithm."""

    def coefficients(z: Array, value: Array, terms: int) -> list[Array]:
        return _ultraspherical(slope(z, value), -0.5, 0.0, 1.0 - exponent, terms)

    return _Series(coefficients, _inverse)


def _inverse(z: Array, value: Array) -> Array:
    """1/z."""
    inverse: Array = 1.0 / z
    return inverse


def _log_ratio(z: Array, dz: Array, rest: Array | float = 0.0) -> Array:
    """log((z+δ)/z) for numbers of one sign; `rest` is what z itself was rounded by."""
    ratio = dz / z
    change: Array = np.log1p(ratio)
    # 1 + ratio would cancel, where z + δ is exact.
    _replace(change, ratio < -0.5, lambda: np.log(((z + dz) + rest) / z))
    return _replace(change, ratio > 1e300, lambda: np.log(np.abs(z + dz)) - np.log(np.abs(z)))


def _log(factor: float) -> UnaryForm:
    """Full form of a logarithm: factor·log(1 + δ/z)."""

    def full(z: Array, value: Array, dz: Array) -> Array:
        change = _log_ratio(z, dz)
        change *= factor
        return change

    return full


def _log_series(factor: float) -> _Series:
    """Series of a logarithm."""
    return _power_series(0.0, lambda z, value: factor / z)


def _log1p(z: Array, value: Array, dz: Array) -> Array:
    """log(1 + δ/(1 + z))."""
    shifted, rest = _sum_exactly(np.ones_like(z), z)
    return _log_ratio(shifted, dz, rest)


def _log1p_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of log1p: those of the logarithm at 1 + z."""
    return _ultraspherical(1.0 / (1.0 + z), -0.5, 0.0, 1.0, terms)


def _log1p_stretch(z: Array, value: Array) -> Array:
    """1/(1 + z)."""
    inverse: Array = 1.0 / (1.0 + z)
    return inverse


def _sqrt(z: Array, value: Array, dz: Array) -> Array:
    """δ/(√(z+δ) + √z)."""
    return _ratio(dz, np.sqrt(z + dz) + value)


def _cbrt(z: Array, value: Array, dz: Array) -> Array:
    """δ/(r² + r·s + s²) with the two cube roots."""
    root = np.cbrt(z + dz)
    return _ratio(dz, root * root + root * value + value * value)


def _square(z: Array, value: Array, dz: Array) -> Array:
    """δ·(2z + δ)."""
    change: Array = np.add(2.0 * z, dz)
    change *= dz
    return change


def _reciprocal(z: Array, value: Array, dz: Array) -> Array:
    """−(δ/(z+δ))/z."""
    change: Array = np.add(z, dz)
    np.divide(dz, change, out=change)
    change *= -value
    return _mend(change, value, lambda: np.reciprocal(z + dz) - value)


# ---- circular functions --------------------------------------------------------------------------------------------------


def _sin(z: Array, value: Array, dz: Array) -> Array:
    """2 sin(δ/2)·(cos z·cos(δ/2) − sin z·sin(δ/2))."""
    half = 0.5 * dz
    sine = np.sin(half)
    change: Array = (2.0 * sine) * (np.cos(z) * np.cos(half) - value * sine)
    return change


def _cos(z: Array, value: Array, dz: Array) -> Array:
    """−2 sin(δ/2)·(sin z·cos(δ/2) + cos z·sin(δ/2))."""
    half = 0.5 * dz
    sine = np.sin(half)
    change: Array = (-2.0 * sine) * (np.sin(z) * np.cos(half) + value * sine)
    return change


def _tan(z: Array, value: Array, dz: Array) -> Array:
    """The quotient sin δ/(cos z·(cos z·cos δ − sin z·sin δ))."""
    sine, cosine = np.sin(dz), np.cos(z)
    change: Array = sine / (cosine * (cosine * np.cos(dz) - np.sin(z) * sine))
    return change


def _sin_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the sine."""
    return _periodic(np.cos(z), -0.5 * value, -1.0, terms)


def _cos_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the cosine."""
    return _periodic(-np.sin(z), -0.5 * value, -1.0, terms)


def _tan_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the tangent in δ/cos z."""
    slope = 1.0 + value * value
    secant = np.sqrt(slope)
    ratios = _tangential(slope, value, 1.0, terms)
    return [slope * ratio / secant**k for k, ratio in enumerate(ratios)]


def _tan_stretch(z: Array, value: Array) -> Array:
    """|1/cos z|."""
    stretch: Array = np.hypot(1.0, value)
    return stretch


# ---- inverse circular functions ------------------------------------------------------------------------------------------


def _leg(z: Array, rest: Array | float = 0.0) -> Array:
    """√(1 − z²), for z that was rounded by `rest`; a number that was rounded to ±1 itself is taken for it."""
    square = ((1.0 - z) - rest) * ((1.0 + z) + rest)
    leg: Array = np.sqrt(np.where(np.abs(z) == 1.0, np.maximum(square, 0.0), square))
    return leg


def _arcsin(z: Array, value: Array, dz: Array) -> Array:
    """2 arctan(δ/(√(1−x²) + √(1−z²)))."""
    change: Array = np.arctan(_ratio(dz, _leg(*_sum_exactly(z, dz)) + _leg(z)))
    change *= 2.0
    return change


def _arccos(z: Array, value: Array, dz: Array) -> Array:
    """−2 arctan(δ/(√(1−x²) + √(1−z²)))."""
    return np.negative(_arcsin(z, value, dz))


def _arctan(z: Array, value: Array, dz: Array) -> Array:
    """Angle of (1 + z·x, δ), both over max(1, |z|), since z·x might overflow."""
    scale = np.maximum(1.0, np.abs(z))
    change: Array = np.arctan2(dz / scale, 1.0 / scale + (z / scale) * (z + dz))
    return change


def _room(z: Array, value: Array) -> Array:
    """One over the distance to the nearer end of [−1, 1]."""
    room: Array = 1.0 / (1.0 - np.abs(z))
    return room


def _arcsin_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the arc sine in δ/(1 − |z|)."""
    size = np.abs(z)
    return _ultraspherical(1.0 / _leg(z), z / (1.0 + size), (1.0 - size) / (1.0 + size), 0.5, terms)


def _arccos_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the arc cosine: those of the arc sine, negative."""
    return [-coefficient for coefficient in _arcsin_coefficients(z, value, terms)]


def _arctan_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the arc tangent in δ/√(1 + z²)."""
    root = np.hypot(1.0, z)
    return _ultraspherical(1.0 / (root * root), -z / root, -1.0, 1.0, terms)


def _over_hypotenuse(z: Array, value: Array) -> Array:
    """1/√(1 + z²)."""
    inverse: Array = 1.0 / np.hypot(1.0, z)
    return inverse


# ---- hyperbolic functions ------------------------------------------------------------------------------------------------


def _sinh(z: Array, value: Array, dz: Array) -> Array:
    """2 sinh(δ/2)·cosh(z + δ/2); what the sum was rounded by is put back."""
    half = 0.5 * dz
    middle, rest = _sum_exactly(z, half)
    change: Array = (2.0 * np.sinh(half)) * (np.cosh(middle) + rest * np.sinh(middle))
    return change


def _cosh(z: Array, value: Array, dz: Array) -> Array:
    """2 sinh(δ/2)·sinh(z + δ/2); what the sum was rounded by is put back."""
    half = 0.5 * dz
    middle, rest = _sum_exactly(z, half)
    change: Array = (2.0 * np.sinh(half)) * (np.sinh(middle) + rest * np.cosh(middle))
    return change


def _tanh(z: Array, value: Array, dz: Array) -> Array:
    """2·sign δ·m·(1 − e^(−2|δ|))/((1 + e^(−2|x|))(1 + e^(−2|z|))).

    m is e^(−2·min(|x|, |z|)) if x and z have one sign, else 1: that is sinh δ/(cosh z·cosh x) with every growing exponential
    cancelled by hand.
    """
    moved, rest = _sum_exactly(z, dz)
    there = np.exp(-2.0 * np.abs(moved)) * (1.0 - 2.0 * np.sign(moved) * rest)
    here = np.exp(-2.0 * np.abs(z))
    nearer = np.where((moved > 0.0) == (z > 0.0), np.maximum(there, here), 1.0)
    change: Array = -2.0 * np.sign(dz) * nearer * np.expm1(-2.0 * np.abs(dz)) / ((1.0 + there) * (1.0 + here))
    return change


def _sinh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the hyperbolic sine."""
    return _periodic(np.cosh(z), 0.5 * value, 1.0, terms)


def _cosh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the hyperbolic cosine."""
    return _periodic(np.sinh(z), 0.5 * value, 1.0, terms)


def _tanh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the hyperbolic tangent; sech² z = 4e/(1 + e)² with e = e^(−2|z|), since 1 − tanh² has no digits left."""
    tail = np.exp(-2.0 * np.abs(z))
    slope = 4.0 * tail / ((1.0 + tail) * (1.0 + tail))
    return [slope * ratio for ratio in _tangential(-slope, value, -1.0, terms)]


def _inverse_hyperbolic(dz: Array, lengths: tuple[Array, Array], sums: tuple[Array, Array]) -> tuple[Array, _Mask]:
    """2 artanh(δ/(cx + cz)), and where it is far out, log of the two sums instead."""
    half = 0.5 * lengths[0] + 0.5 * lengths[1]
    ratio = _ratio(0.5 * dz, half)
    change: Array = 2.0 * np.arctanh(ratio)
    far = np.abs(ratio) > 0.5
    _replace(change, far, lambda: np.log(sums[0] / sums[1]))
    return change, far


def _arcsinh(z: Array, value: Array, dz: Array) -> Array:
    """2 artanh(δ/(√(1+x²) + √(1+z²))); far out ±log((|x| + √(1+x²))/(|z| + √(1+z²))), or the values if of two signs."""
    moved = z + dz
    there, here = np.hypot(1.0, moved), np.hypot(1.0, z)
    sums = 0.5 * np.abs(moved) + 0.5 * there, 0.5 * np.abs(z) + 0.5 * here
    change, far = _inverse_hyperbolic(dz, (there, here), sums)
    negative = (moved < 0.0) | ((moved == 0.0) & (z < 0.0))
    np.negative(change, out=change, where=far & negative)
    return _replace(change, far & ((moved > 0.0) != (z > 0.0)), lambda: np.arcsinh(moved) - value)


def _arccosh(z: Array, value: Array, dz: Array) -> Array:
    """2 artanh(δ/(√(x²−1) + √(z²−1))); far out log((x + √(x²−1))/(z + √(z²−1)))."""
    moved, rest = _sum_exactly(z, dz)
    rise = (moved - 1.0) + rest
    rise = np.where(moved == 1.0, np.maximum(rise, 0.0), rise)
    there = np.sqrt(rise) * np.sqrt(moved + 1.0)
    here = np.sqrt(z - 1.0) * np.sqrt(z + 1.0)
    sums = 0.5 * moved + 0.5 * there, 0.5 * z + 0.5 * here
    return _inverse_hyperbolic(dz, (there, here), sums)[0]


def _arctanh(z: Array, value: Array, dz: Array) -> Array:
    """±½ log(1 + 2|δ|/((1 ∓ x)(1 ± z))), upper signs for δ > 0."""
    sign = np.where(dz < 0.0, -1.0, 1.0)
    moved, rest = _sum_exactly(z, dz)
    room = ((1.0 - sign * moved) - sign * rest) * (1.0 + sign * z)
    change: Array = (0.5 * sign) * np.log1p((2.0 * np.abs(dz)) / room)
    return change


def _arcsinh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the inverse hyperbolic sine in δ/√(1 + z²)."""
    root = np.hypot(1.0, z)
    return _ultraspherical(1.0 / root, -z / root, -1.0, 0.5, terms)


def _arccosh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the inverse hyperbolic cosine in δ/(z − 1)."""
    less, more = z - 1.0, z + 1.0
    return _ultraspherical(1.0 / (np.sqrt(less) * np.sqrt(more)), -z / more, -less / more, 0.5, terms)


def _arccosh_stretch(z: Array, value: Array) -> Array:
    """1/(z − 1)."""
    inverse: Array = 1.0 / (z - 1.0)
    return inverse


def _arctanh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients of the inverse hyperbolic tangent in δ/(1 − |z|)."""
    size = np.abs(z)
    less, more = 1.0 - size, 1.0 + size
    return _ultraspherical(1.0 / (less * more), z / more, less / more, 1.0, terms)


# ---- sums, products, quotients -------------------------------------------------------------------------------------------


def _shape(value: Array, *changes: Array | None) -> tuple[int, ...]:
    """Common shape of a value and the changes that are given."""
    return np.broadcast_shapes(value.shape, *(change.shape for change in changes if change is not None))


def _void(change: Array, value: Array) -> Array:
    """A change, not a number where the value is not finite."""
    finite = np.isfinite(value)
    if not finite.all():
        np.copyto(change, np.nan, where=~finite)
    return change


def _add(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa + δb."""
    change = np.empty(_shape(value, da, db))
    if da is not None and db is not None:
        np.add(da, db, out=change)
    else:
        np.copyto(change, _given(da, db))
    return _void(change, value)


def _subtract(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa − δb."""
    change = np.empty(_shape(value, da, db))
    if da is None:
        np.negative(_given(da, db), out=change)
    elif db is None:
        np.copyto(change, da)
    else:
        np.subtract(da, db, out=change)
    return _void(change, value)


def _given(da: Array | None, db: Array | None) -> Array:
    """The one change that there is."""
    change = db if da is None else da
    if change is None:
        raise ValueError("neither of two numbers is perturbed")
    return change


def _multiply(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa·(b + δb) + a·δb."""
    change = np.empty(_shape(value, da, db))
    if da is None:
        np.multiply(_given(da, db), a, out=change)
    elif db is None:
        np.multiply(da, b, out=change)
    else:
        np.add(b, db, out=change)
        np.multiply(change, da, out=change)
        np.add(change, a * db, out=change)
    return _void(change, value)


def _divide(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """(δa − q·δb)/(b + δb) with q = a/b."""
    change = np.empty(_shape(value, da, db))
    if db is None:
        np.divide(_given(da, db), b, out=change)
        return _void(change, value)
    np.add(b, db, out=change)
    if da is None:
        np.divide(db, change, out=change)
        np.multiply(change, -value, out=change)
    else:
        np.divide(da - value * db, change, out=change)
    return _mend(change, value, lambda: (a if da is None else a + da) / (b + db) - value)


# ---- powers --------------------------------------------------------------------------------------------------------------


def _zeroth(z: Array, value: Array, dz: Array) -> Array:
    """0; NaN stays NaN."""
    change: Array = np.multiply(dz, 0.0 * z)
    return change


def _cube(z: Array, value: Array, dz: Array) -> Array:
    """δ·(3(2z + δ)² + δ²)/4, a sum of squares."""
    change: Array = np.add(2.0 * z, dz)
    np.square(change, out=change)
    change *= 3.0
    change += dz * dz
    change *= 0.25
    change *= dz
    return change


def _fourth(z: Array, value: Array, dz: Array) -> Array:
    """δ·(2z + δ)·(z² + (z + δ)²)."""
    moved: Array = np.add(z, dz)
    np.square(moved, out=moved)
    moved += z * z
    moved *= _square(z, value, dz)
    return moved


def _inverse_square(z: Array, value: Array, dz: Array) -> Array:
    """−(δ/x)·((2z + δ)/x)/z²."""
    moved = z + dz
    change: Array = np.add(2.0 * z, dz)
    change /= moved
    change *= dz / moved
    change *= -value
    return _mend(change, value, lambda: 1.0 / np.square(z + dz) - value)


def _power_coefficients(a: Array, b: Array, value: Array) -> Callable[[Array, Array, int], list[Array]]:
    """Coefficients of a^b as a function of a, in δ/a."""

    def coefficients(z: Array, level: Array, terms: int) -> list[Array]:
        return _ultraspherical(b * (value / a), -0.5, 0.0, 1.0 - b, terms)

    return coefficients


def _power_of_base(a: Array, b: Array, value: Array, da: Array) -> Array:
    """Change of a^b by a change of a alone."""
    if b.size == 1:
        rule = _POWERS.get(float(b.reshape(-1)[0]))
        if rule is not None:
            change = rule(np.broadcast_to(a, value.shape), value, da)
            return change
    if np.isfinite(b).all():
        series = _Series(_power_coefficients(a, b, value), _inverse)
        growth = max(1.0, _largest(b - 1.0))
        change_or_none = _try_series(series, np.broadcast_to(a, value.shape), value, da, growth)
        if change_or_none is not None:
            return change_or_none
    return _power_in_full(a, b, value, da, np.zeros_like(da))


def _power_of_exponent(a: Array, b: Array, value: Array, db: Array) -> Array:
    """Change of a^b by a change of b alone: a^b·expm1(δb·log a)."""

    def coefficients(z: Array, level: Array, terms: int) -> list[Array]:
        slope = value * np.log(a)
        return [slope / divisor for divisor in (1.0, 2.0, 6.0, 24.0, 120.0)[:terms]]

    if bool((a > 0.0).all()) and bool((a != 1.0).all()):
        series = _Series(coefficients, lambda z, level: np.log(a))
        change = _try_series(series, np.broadcast_to(a, value.shape), value, db)
        if change is not None:
            return change
    return _power_in_full(a, b, value, np.zeros_like(db), db)


def _power_in_full(a: Array, b: Array, value: Array, da: Array, db: Array) -> Array:
    """a^b·expm1((b + δb)·log(1 + δa/a) + δb·log a); the values where they are far apart and do not cancel."""
    exponent, exponent_rest = _sum_exactly(b, db)
    # An even power does not know the sign: across zero the mirror image of the moved base is nearer.
    even = (db == 0.0) & (np.remainder(b, 2.0) == 0.0)
    near = np.where(even & (da / a < -1.0), -(2.0 * a + da), da)
    inner = exponent * _log_ratio(a, near) + np.where(db == 0.0, 0.0, db * np.log(a))
    change: Array = np.multiply(value, np.expm1(inner))

    def far() -> Array:
        moved, rest = _sum_exactly(a, da)
        correction = exponent * rest / moved + np.where(exponent_rest == 0.0, 0.0, exponent_rest * np.log(np.abs(moved)))
        level = np.power(moved, exponent) * np.exp(np.where(np.isfinite(correction), correction, 0.0))
        return level - value

    change = _replace(change, ~(np.abs(inner) <= 1.0), far)
    return _void(change, value)


def _power(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """Change of a^b."""
    if db is None:
        return _power_of_base(a, b, value, _given(da, db))
    if da is None:
        return _power_of_exponent(a, b, value, db)
    return _power_in_full(a, b, value, da, db)


# ---- sums of exponentials, distances, angles -----------------------------------------------------------------------------


def _shares(a: Array, b: Array, rate: float) -> tuple[Array, Array]:
    """Shares of e^(rate·a) and e^(rate·b) in their sum, the smaller one to the last digits, too."""
    gap, rest = _sum_exactly(a, -b)
    rest = np.where(np.isfinite(rest), rest, 0.0)
    tail = (np.exp if rate == 1.0 else np.exp2)(-np.abs(gap)) * (1.0 - rate * np.sign(gap) * rest)
    upper, lower = 1.0 / (1.0 + tail), tail / (1.0 + tail)
    return np.where(gap >= 0.0, upper, lower), np.where(gap >= 0.0, lower, upper)


def _tail_of_sum(gap: Array, rate: float) -> Array:
    """How far log(e^(rate·a) + e^(rate·b))/rate lies above the larger of a and b."""
    tail: Array = np.log1p((np.exp if rate == 1.0 else np.exp2)(-np.abs(gap))) / rate
    return tail


def _log_sum(rate: float) -> BinaryForm:
    """Form of log(e^(rate·a) + e^(rate·b))/rate."""

    def small(shares: tuple[Array, Array], da: Array | None, db: Array | None, shape: tuple[int, ...]) -> Array | None:
        """p·δa + q·δb + the rest of the series in δa − δb."""
        p, q = shares
        gap = _given(da, db) if da is None or db is None else da - db
        terms = _terms(rate * _largest(gap))
        if not terms:
            return None
        pq, tilt = p * q, q - p if db is None or da is not None else p - q
        higher = [pq * (rate / 2.0), pq * tilt * (rate**2 / 6.0), pq * (1.0 - 6.0 * pq) * (rate**3 / 24.0)]
        higher.append(pq * tilt * (1.0 - 12.0 * pq) * (rate**4 / 120.0))
        change = _sum_series(gap, gap, [np.zeros_like(p), *higher[: terms - 1]], shape)
        for share, part in ((p, da), (q, db)):
            if part is not None:
                change += share * part
        return change

    def form(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
        shares = _shares(a, b, rate)
        change = small(shares, da, db, _shape(value, da, db))
        if change is None:
            left = np.zeros_like(_given(da, db)) if da is None else da
            right = np.zeros_like(left) if db is None else db
            grown = shares[0] * np.expm1(rate * left) + shares[1] * np.expm1(rate * right)
            change = np.log1p(grown) / rate

            def far() -> Array:
                gap = a - b
                moved = gap + (left - right)
                first = np.where(gap >= 0.0, left, left + gap)
                second = np.where(gap >= 0.0, right - gap, right)
                return np.where(moved >= 0.0, first, second) + (_tail_of_sum(moved, rate) - _tail_of_sum(gap, rate))

            change = _replace(change, ~(np.maximum(np.abs(left), np.abs(right)) <= 0.5 / rate), far)
        return _void(change, value)

    return form


def _hypot(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa·(2a + δa)/(h' + h) + δb·(2b + δb)/(h' + h)."""
    moved = np.hypot(a if da is None else a + da, b if db is None else b + db)
    half = 0.5 * moved + 0.5 * value
    change = np.zeros(_shape(value, da, db))
    for base, part in ((a, da), (b, db)):
        if part is not None:
            change += part * _ratio(base + 0.5 * part, half)
    return _mend(change, value, lambda: moved - value)


def _arctan2(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """Angle of (1 + (b·δb + a·δa)/h², (b·δa − a·δb)/h²); a full turn is added where the cut is crossed."""
    length = np.hypot(a, b)
    across = np.zeros(_shape(value, da, db))
    along = np.ones(across.shape)
    sine, cosine = a / length, b / length
    if da is not None:
        part = da / length
        across += cosine * part
        along += sine * part
    if db is not None:
        part = db / length
        across -= sine * part
        along += cosine * part
    change: Array = np.arctan2(across, along)
    plain = np.arctan2(a if da is None else a + da, b if db is None else b + db) - value
    turns = np.rint((plain - change) / (2.0 * np.pi))
    _replace(change, turns != 0.0, lambda: change + turns * (2.0 * np.pi))
    strange = ~((length > 0.0) & np.isfinite(length) & np.isfinite(across) & np.isfinite(along))
    return _replace(change, strange, lambda: plain)


# ---- the tables ----------------------------------------------------------------------------------------------------------

_COMPLETE = {
    np.exp: (_exponential(_of_value, 1.0), _exp),
    np.exp2: (_exponential(_of_value, _LOG_2), _exp2),
    np.expm1: (_exponential(_of_base, 1.0), _expm1),
    np.log: (_log_series(1.0), _log(1.0)),
    np.log2: (_log_series(1.0 / _LOG_2), _log(1.0 / _LOG_2)),
    np.log10: (_log_series(1.0 / _LOG_10), _log(1.0 / _LOG_10)),
    np.log1p: (_Series(_log1p_coefficients, _log1p_stretch), _log1p),
    np.sqrt: (_power_series(0.5, lambda z, value: 0.5 / value), _sqrt),
    np.cbrt: (_power_series(1.0 / 3.0, lambda z, value: value / (3.0 * z)), _cbrt),
    np.sin: (_Series(_sin_coefficients, stationary=True), _sin),
    np.cos: (_Series(_cos_coefficients, stationary=True), _cos),
    np.tan: (_Series(_tan_coefficients, _tan_stretch), _tan),
    np.arcsin: (_Series(_arcsin_coefficients, _room, 2.0), _arcsin),
    np.arccos: (_Series(_arccos_coefficients, _room, 2.0), _arccos),
    np.arctan: (_Series(_arctan_coefficients, _over_hypotenuse), _arctan),
    np.sinh: (_Series(_sinh_coefficients), _sinh),
    np.cosh: (_Series(_cosh_coefficients, stationary=True), _cosh),
    np.tanh: (_Series(_tanh_coefficients, growth=2.0), _tanh),
    np.arcsinh: (_Series(_arcsinh_coefficients, _over_hypotenuse), _arcsinh),
    np.arccosh: (_Series(_arccosh_coefficients, _arccosh_stretch, 2.0), _arccosh),
    np.arctanh: (_Series(_arctanh_coefficients, _room, 2.0), _arctanh),
}

#: Forms of functions of one number.
UNARY: dict[np.ufunc, UnaryForm] = {
    **{ufunc: _smooth(ufunc, series, full) for ufunc, (series, full) in _COMPLETE.items()},
    np.square: _square,
    np.reciprocal: _reciprocal,
    np.negative: _linear(-1.0),
    np.positive: _linear(1.0),
    np.conjugate: _linear(1.0),
    np.deg2rad: _linear(np.pi / 180.0),
    np.radians: _linear(np.pi / 180.0),
    np.rad2deg: _linear(180.0 / np.pi),
    np.degrees: _linear(180.0 / np.pi),
}

_POWERS: dict[float, UnaryForm] = {
    0.0: _zeroth,
    0.5: UNARY[np.sqrt],
    1.0: _linear(1.0),
    2.0: _square,
    3.0: _cube,
    4.0: _fourth,
    -1.0: _reciprocal,
    -2.0: _inverse_square,
}

#: Forms of functions of two numbers.
BINARY: dict[np.ufunc, BinaryForm] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.power: _power,
    np.float_power: _power,
    np.logaddexp: _log_sum(1.0),
    np.logaddexp2: _log_sum(_LOG_2),
    np.hypot: _hypot,
    np.arctan2: _arctan2,
}
