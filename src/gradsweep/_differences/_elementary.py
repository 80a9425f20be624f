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
arctan             angle of the point :math:`(1+zx,\ \delta)`
sinh, cosh         :math:`2\sinh\tfrac\delta2\cosh(z+\tfrac\delta2)`, :math:`2\sinh\tfrac\delta2\sinh(z+\tfrac\delta2)`
tanh               :math:`\sinh\delta\,/\,(\cosh z\cosh x)`, in exponentials that neither overflow nor cancel
arcsinh, arccosh   :math:`2\operatorname{artanh}\bigl(\delta/(\sqrt{x^2\pm1}+\sqrt{z^2\pm1})\bigr)`, and as a logarithm far out
arctanh            :math:`\pm\tfrac12\log\bigl(1+2|\delta|/((1\mp x)(1\pm z))\bigr)`
a·b, a/b           :math:`\delta_a(b+\delta_b)+a\delta_b`, :math:`(\delta_a-q\,\delta_b)/(b+\delta_b)` with :math:`q=a/b`
a^b                :math:`a^b\operatorname{expm1}\bigl((b+\delta_b)\log(1+\delta_a/a)+\delta_b\log a\bigr)`, or a product
logaddexp          :math:`\log(1+p_a\operatorname{expm1}\delta_a+p_b\operatorname{expm1}\delta_b)` with the shares p of a and b
hypot              :math:`(\delta_a(2a+\delta_a)+\delta_b(2b+\delta_b))/(h'+h)`
arctan2            the angle between the two points, seen from the origin, and a full turn where the cut is crossed
=================  ========================================================================================================

They follow from the addition theorems (Abramowitz and Stegun, Handbook of Mathematical Functions, 4.1, 4.3 to 4.6), the inverse
functions from those of the half angle. Tiny changes of functions that are dear are summed as power series, see `_series`: the
same numbers, at the price of a few multiplications a lane.

Proven in the tests against 50 digits: a relative error of at most 2e-15 of the change; where two terms of a form can oppose each
other by nature (sin and cos near an extremum, products, quotients), of the larger of them. Below the normal numbers the error is
at most the smallest of them. Where f(z+δ) or f(z) is not finite, neither is the change, with two exceptions. The change of a
value that leaves the range of numbers by less than a factor of two may itself still be in it, and is then given. And z+δ beyond
the end of a domain by less than rounding is taken for the end. Base values and changes are never modified. Warnings are the
caller's business.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gradsweep._differences._series import (
    Array,
    Mask,
    Series,
    by_pieces,
    is_shared,
    largest,
    own_series,
    periodic,
    shape_of,
    shared_series,
    sum_series,
    tangential,
    terms_for,
    ultraspherical,
    within,
)

#: Change of a function of one number: base z, its value f(z), change of z.
UnaryForm: TypeAlias = Callable[[Array, Array, Array], Array]

#: Change of a function of two: bases a and b, the value f(a, b), changes of a and of b, None for one that is not perturbed.
BinaryForm: TypeAlias = Callable[[Array, Array, Array, Array | None, Array | None], Array]

# Numbers below this lose digits when they are multiplied by a small one.
_SMALL = 1e-290

_LEAST = float(np.finfo(np.float64).smallest_subnormal)
_LOG_2 = 0.6931471805599453
_LOG_10 = 2.302585092994046


# ---- what forms have in common -------------------------------------------------------------------------------------------


def _smooth(ufunc: np.ufunc, series: Series, full: UnaryForm) -> UnaryForm:
    """Form that is a series for small changes, and the full form for others."""

    def piece(z: Array, value: Array, dz: Array) -> Array:
        change = own_series(series, z, value, dz)
        if change is None:
            change = full(z, value, dz)
            # At infinity, or where the moved value is beyond all numbers, the values are all that there is to subtract.
            moved = z + dz
            _replace(change, ~(np.isfinite(moved) & np.isfinite(value + change)), lambda: ufunc(moved) - value)
        return change

    def form(z: Array, value: Array, dz: Array) -> Array:
        change = shared_series(series, z, value, dz) if is_shared(z, dz) else None
        return by_pieces(piece, z, value, dz) if change is None else change

    return form


def _simple(piece: UnaryForm) -> UnaryForm:
    """Form that takes temporary arrays of the size of the base."""

    def form(z: Array, value: Array, dz: Array) -> Array:
        return piece(z, value, dz) if is_shared(z, dz) else by_pieces(piece, z, value, dz)

    return form


def _in_pieces(piece: UnaryForm) -> UnaryForm:
    """Form that takes temporary arrays of the size of the change."""
    return lambda z, value, dz: by_pieces(piece, z, value, dz)


def _linear(factor: float) -> UnaryForm:
    """Form of a multiple of z; not a number where z is not finite."""
    return _simple(lambda z, value, dz: np.multiply(dz, factor + 0.0 * z))


def _sum_exactly(z: Array, dz: Array) -> tuple[Array, Array]:
    """The sum z + δ, and by how much it was rounded (Knuth's two-sum)."""
    moved = z + dz
    part = moved - z
    return moved, (z - (moved - part)) + (dz - part)


def _replace(change: Array, where: Mask, other: Callable[[], Array]) -> Array:
    """Entries of a change by another form, which is evaluated only if there are any."""
    if where.any():
        np.copyto(change, other(), where=where)
    return change


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient by a sum of numbers that are not negative; 0/0, where nothing has changed, is 0."""
    quotient: Array = np.divide(numerator, np.maximum(denominator, _LEAST))
    return quotient


def _void(change: Array, value: Array) -> Array:
    """A change, not a number where the value is not finite."""
    finite = np.isfinite(value)
    if not finite.all():
        np.copyto(change, np.nan, where=~finite)
    return change


def _mend(change: Array, value: Array, plain: Callable[[], Array]) -> Array:
    """The values themselves, subtracted, where a form overflows on its way, or its value or change is not finite."""
    finite = np.isfinite(_void(change, value))
    if not finite.all():
        np.copyto(change, plain(), where=~finite)
    return change


def _given(da: Array | None, db: Array | None) -> Array:
    """The one change that there is."""
    change = db if da is None else da
    assert change is not None
    return change


def _moved(base: Array, change: Array | None) -> Array:
    """A base after its change, if there is one."""
    return base if change is None else base + change


# ---- exponential functions -----------------------------------------------------------------------------------------------


def _exp(z: Array, value: Array, dz: Array) -> Array:
    """e^z·expm1 δ; where e^z has few digits, or expm1 δ is out of range, the values, which do not cancel for δ > 1."""
    change: Array = value * np.expm1(dz)

    def far() -> Array:
        moved, rest = _sum_exactly(z, dz)
        return np.exp(moved) * (1.0 + rest) - value

    return _replace(change, (dz > 700.0) | ((dz > 1.0) & (value < _SMALL)), far)


def _expm1(z: Array, value: Array, dz: Array) -> Array:
    """That of e^z, which is computed as such: 1 + expm1 z has no digits left."""
    return _exp(z, np.exp(z), dz)


def _exp2(z: Array, value: Array, dz: Array) -> Array:
    """2^z·(2^δ − 1), which cancels for small δ only."""
    change: Array = value * np.where(np.abs(dz) < 1.0, np.expm1(_LOG_2 * dz), np.exp2(dz) - 1.0)

    def far() -> Array:
        moved, rest = _sum_exactly(z, dz)
        return np.exp2(moved) * (1.0 + _LOG_2 * rest) - value

    return _replace(change, (dz > 1000.0) | ((dz > 1.0) & (value < _SMALL)), far)


# ---- logarithms and roots ------------------------------------------------------------------------------------------------


def _log_ratio(z: Array, dz: Array, rest: Array | float = 0.0) -> Array:
    """log((z+δ)/z) for numbers of one sign; `rest` is what z itself was rounded by."""
    ratio = dz / z
    change: Array = np.log1p(ratio)
    # Where 1 + ratio would cancel, z + δ is exact.
    return _replace(change, ratio < -0.5, lambda: np.log(((z + dz) + rest) / z))


def _log(z: Array, value: Array, dz: Array) -> Array:
    """log(1 + δ/z)."""
    return _log_ratio(z, dz)


def _log2(z: Array, value: Array, dz: Array) -> Array:
    """log(1 + δ/z)/log 2."""
    return np.multiply(_log_ratio(z, dz), 1.0 / _LOG_2)


def _log10(z: Array, value: Array, dz: Array) -> Array:
    """log(1 + δ/z)/log 10."""
    return np.multiply(_log_ratio(z, dz), 1.0 / _LOG_10)


def _log1p(z: Array, value: Array, dz: Array) -> Array:
    """log(1 + δ/(1 + z))."""
    shifted, rest = _sum_exactly(np.ones_like(z), z)
    return _log_ratio(shifted, dz, rest)


def _sqrt(z: Array, value: Array, dz: Array) -> Array:
    """δ/(√(z+δ) + √z)."""
    return _ratio(dz, np.sqrt(z + dz) + value)


def _cbrt(z: Array, value: Array, dz: Array) -> Array:
    """δ/(r² + r·s + s²) with the two cube roots."""
    root = np.cbrt(z + dz)
    return _ratio(dz, root * root + root * value + value * value)


# ---- circular functions and their inverses -------------------------------------------------------------------------------


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


def _leg(z: Array, rest: Array | float = 0.0) -> Array:
    """√(1 − z²), for z that was rounded by `rest`; what was rounded to ±1 from beyond is taken for it."""
    square = ((1.0 - z) - rest) * ((1.0 + z) + rest)
    leg: Array = np.sqrt(np.where(np.abs(z) == 1.0, np.maximum(square, 0.0), square))
    return leg


def _arcsin(z: Array, value: Array, dz: Array) -> Array:
    """2 arctan(δ/(√(1−x²) + √(1−z²)))."""
    moved, rest = _sum_exactly(z, dz)
    legs = _leg(moved, rest) + _leg(z)
    change: Array = 2.0 * np.arctan(_ratio(np.where((legs == 0.0) & (moved == z), 0.0, dz), legs))
    return change


def _arccos(z: Array, value: Array, dz: Array) -> Array:
    """−2 arctan(δ/(√(1−x²) + √(1−z²)))."""
    return np.negative(_arcsin(z, value, dz))


def _arctan(z: Array, value: Array, dz: Array) -> Array:
    """Angle of (1 + z·x, δ), both over max(1, |z|), since z·x might overflow."""
    scale = np.maximum(1.0, np.abs(z))
    change: Array = np.arctan2(dz / scale, 1.0 / scale + (z / scale) * (z + dz))
    return change


def _tan_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients in δ/cos z."""
    slope = 1.0 + value * value
    secant = np.sqrt(slope)
    return [slope * (ratio / secant**k) for k, ratio in enumerate(tangential(slope, value, 1.0, terms))]


def _arcsin_coefficients(z: Array, sign: float, terms: int) -> list[Array]:
    """Coefficients of ± the arc sine in δ/(1 − |z|)."""
    size = np.abs(z)
    return ultraspherical(sign / _leg(z), z / (1.0 + size), (1.0 - size) / (1.0 + size), 0.5, terms)


def _arctan_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients in δ/√(1 + z²)."""
    inverse = _over_root(z)
    return ultraspherical(inverse * inverse, -z * inverse, -1.0, 1.0, terms)


def _over_root(z: Array) -> Array:
    """1/√(1 + z²)."""
    inverse: Array = 1.0 / np.sqrt(1.0 + z * z)
    return inverse


# ---- hyperbolic functions and their inverses -----------------------------------------------------------------------------


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
    """±2m·(1 − e^(−2|δ|))/((1 + e^(−2|x|))(1 + e^(−2|z|))), m = e^(−2·min(|x|, |z|)), or 1 where x and z have two signs.

    That is sinh δ/(cosh z·cosh x) with all growing exponentials cancelled by hand.
    """
    moved, rest = _sum_exactly(z, dz)
    there = np.exp(-2.0 * np.abs(moved)) * (1.0 - 2.0 * np.sign(moved) * rest)
    here = np.exp(-2.0 * np.abs(z))
    nearer = np.where((moved > 0.0) == (z > 0.0), np.maximum(there, here), 1.0)
    change: Array = (-2.0 * np.sign(dz)) * nearer * np.expm1(-2.0 * np.abs(dz)) / ((1.0 + there) * (1.0 + here))
    return change


def _long_leg(z: Array) -> Array:
    """√(1 + z²), also where z² overflows."""
    leg: Array = np.sqrt(1.0 + z * z)
    return _replace(leg, np.isinf(leg), lambda: np.abs(z))


def _arcsinh(z: Array, value: Array, dz: Array) -> Array:
    """2 artanh(δ/(√(1+x²) + √(1+z²))); far out ±log((|x| + √(1+x²))/(|z| + √(1+z²))), or the values if of two signs."""
    moved = z + dz
    there, here = _long_leg(moved), _long_leg(z)
    ratio = 0.5 * dz / (0.5 * there + 0.5 * here)
    change: Array = 2.0 * np.arctanh(ratio)

    def far() -> Array:
        logs = np.log((0.5 * np.abs(moved) + 0.5 * there) / (0.5 * np.abs(z) + 0.5 * here))
        return np.where((moved > 0.0) == (z > 0.0), np.copysign(logs, dz), np.arcsinh(moved) - value)

    return _replace(change, np.abs(ratio) > 0.5, far)


def _arccosh(z: Array, value: Array, dz: Array) -> Array:
    """2 artanh(δ/(√(x²−1) + √(z²−1))); far out log((x + √(x²−1))/(z + √(z²−1)))."""
    moved, rest = _sum_exactly(z, dz)
    rise = (moved - 1.0) + rest
    # What was rounded to 1 from below is taken for it.
    rise = np.where(moved == 1.0, np.maximum(rise, 0.0), rise)
    there = np.sqrt(rise) * np.sqrt(moved + 1.0)
    here = np.sqrt(z - 1.0) * np.sqrt(z + 1.0)
    ratio = _ratio(0.5 * dz, 0.5 * there + 0.5 * here)
    change: Array = 2.0 * np.arctanh(ratio)
    return _replace(change, np.abs(ratio) > 0.5, lambda: np.log((0.5 * moved + 0.5 * there) / (0.5 * z + 0.5 * here)))


def _arctanh(z: Array, value: Array, dz: Array) -> Array:
    """±½ log(1 + 2|δ|/((1 ∓ x)(1 ± z))), upper signs for δ > 0."""
    sign = np.where(dz < 0.0, -1.0, 1.0)
    moved, rest = _sum_exactly(z, dz)
    room = ((1.0 - sign * moved) - sign * rest) * (1.0 + sign * z)
    ratio = 2.0 * np.abs(dz) / room
    change: Array = (0.5 * sign) * np.log1p(ratio)
    return _replace(change, np.isinf(ratio) & (room > 0.0), lambda: (0.5 * sign) * (_LOG_2 - np.log(room)))


def _tanh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients by sech² z as such: 1 − tanh² z has no digits left in saturation."""
    slope = 1.0 / np.square(np.cosh(z))
    return [slope * ratio for ratio in tangential(slope, value, -1.0, terms)]


def _arcsinh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients in δ/√(1 + z²)."""
    inverse = _over_root(z)
    return ultraspherical(inverse, -z * inverse, -1.0, 0.5, terms)


def _arccosh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients in δ/(z − 1)."""
    less, more = z - 1.0, z + 1.0
    return ultraspherical(1.0 / (np.sqrt(less) * np.sqrt(more)), -z / more, -less / more, 0.5, terms)


def _arctanh_coefficients(z: Array, value: Array, terms: int) -> list[Array]:
    """Coefficients in δ/(1 − |z|); not numbers where the value is not finite."""
    size = np.abs(z)
    less, more = 1.0 - size, 1.0 + size
    return ultraspherical(1.0 / (less * more) + 0.0 * value, z / more, less / more, 1.0, terms)


# ---- sums, products, quotients -------------------------------------------------------------------------------------------


def _add(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa + δb."""
    change = np.empty(shape_of(value, da, db))
    if da is None or db is None:
        np.copyto(change, _given(da, db))
    else:
        np.add(da, db, out=change)
    return _void(change, value)


def _subtract(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa − δb."""
    change = np.empty(shape_of(value, da, db))
    if da is None:
        np.negative(_given(da, db), out=change)
    elif db is None:
        np.copyto(change, da)
    else:
        np.subtract(da, db, out=change)
    return _void(change, value)


def _product(a: Array, b: Array, value: Array, da: Array, db: Array) -> Array:
    """δa·(b + δb) + a·δb."""
    change: Array = da * (b + db)
    return _void(np.add(change, a * db), value)


def _multiply(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """δa·(b + δb) + a·δb."""
    if da is not None and db is not None:
        return by_pieces(_product, a, b, value, da, db)
    change = np.empty(shape_of(value, da, db))
    np.multiply(_given(da, db), b if db is None else a, out=change)
    return _void(change, value)


def _quotient(a: Array, b: Array, value: Array, da: Array, db: Array) -> Array:
    """(δa − q·δb)/(b + δb) with q = a/b."""
    moved = b + db
    change: Array = np.divide(da - value * db, moved)
    return _mend(change, value, lambda: (a + da) / moved - value)


def _divide(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """(δa − q·δb)/(b + δb) with q = a/b."""
    if da is not None and db is not None:
        return by_pieces(_quotient, a, b, value, da, db)
    change = np.empty(shape_of(value, da, db))
    if db is None:
        np.divide(_given(da, db), b, out=change)
        return _void(change, value)
    # −q·(δb/(b + δb)): the quotient in brackets is never far out, whereas q·δb might be.
    np.add(b, db, out=change)
    np.divide(db, change, out=change)
    np.multiply(change, value, out=change)
    np.negative(change, out=change)
    return _mend(change, value, lambda: a / (b + db) - value)


def _square(z: Array, value: Array, dz: Array) -> Array:
    """δ·(2z + δ)."""
    change: Array = np.add(2.0 * z, dz)
    return np.multiply(change, dz, out=change)


def _reciprocal(z: Array, value: Array, dz: Array) -> Array:
    """−(δ/(z+δ))/z."""
    change: Array = np.add(z, dz)
    np.divide(dz, change, out=change)
    np.multiply(change, -value, out=change)
    return _mend(change, value, lambda: np.reciprocal(z + dz) - value)


# ---- powers --------------------------------------------------------------------------------------------------------------


def _zeroth(z: Array, value: Array, dz: Array) -> Array:
    """0; NaN stays NaN."""
    change: Array = np.multiply(dz, 0.0 * z)
    return change


def _cube(z: Array, value: Array, dz: Array) -> Array:
    """δ·(3(2z + δ)² + δ²)/4, a sum of squares."""
    change: Array = 0.25 * dz * (3.0 * np.square(2.0 * z + dz) + np.square(dz))
    return change


def _fourth(z: Array, value: Array, dz: Array) -> Array:
    """δ·(2z + δ)·(z² + (z + δ)²)."""
    change: Array = _square(z, value, dz) * (np.square(z) + np.square(z + dz))
    return change


def _inverse_square(z: Array, value: Array, dz: Array) -> Array:
    """−(δ/x)·((2z + δ)/x)/z²."""
    moved = z + dz
    change: Array = (dz / moved) * ((2.0 * z + dz) / moved) * -value
    return _mend(change, value, lambda: 1.0 / np.square(moved) - value)


def _inverse(z: Array) -> Array:
    """1/z."""
    inverse: Array = 1.0 / z
    return inverse


def _power_of_base(a: Array, b: Array, value: Array, da: Array) -> Array:
    """Change of a^b by a change of a alone: a rule for the exponent, or a series, or the full form."""
    if b.size == 1:
        rule = _POWERS.get(float(b.reshape(-1)[0]))
        if rule is not None:
            return rule(np.broadcast_to(a, value.shape), value, da)

    def series(b: Array, value: Array) -> Series:
        return Series(lambda z, level, terms: ultraspherical(b * (value / z), -0.5, 0.0, 1.0 - b, terms), _inverse)

    def piece(a: Array, b: Array, value: Array, da: Array) -> Array:
        change = own_series(series(b, value), a, value, da, max(1.0, largest(b - 1.0)))
        return _power_in_full(a, b, value, da, np.zeros_like(da)) if change is None else change

    change = None
    if is_shared(value, da) and within(value, 1e-100, 1e100):
        change = shared_series(series(b, value), a, value, da, max(1.0, largest(b - 1.0)))
    return by_pieces(piece, a, b, value, da) if change is None else change


def _power_of_both(a: Array, b: Array, value: Array, da: Array | None, db: Array) -> Array:
    """a^b·expm1((b + δb)·log(1 + δa/a) + δb·log a), both functions as series if that is known to be right."""
    logarithm = np.log(a)
    inner: Array | None = db * logarithm
    if da is not None:
        series = Series(lambda z, level, terms: ultraspherical(1.0 / z + 0.0 * level, -0.5, 0.0, 1.0, terms), _inverse)
        part = own_series(series, a, logarithm, da)
        inner = None if part is None or inner is None else (b + db) * part + inner
    if inner is not None:
        terms = terms_for(largest(inner))
        if terms and np.isfinite(value).all():
            factors = [value / factorial for factorial in (1.0, 2.0, 6.0, 24.0, 120.0)[:terms]]
            return sum_series(inner, inner, factors, shape_of(value, da, db))
    return _power_in_full(a, b, value, np.zeros_like(db) if da is None else da, db)


def _power_in_full(a: Array, b: Array, value: Array, da: Array, db: Array) -> Array:
    """The same with the functions themselves; where the values are far apart and do not cancel, their difference."""
    exponent, exponent_rest = _sum_exactly(b, db)
    # An even power does not know the sign: across zero the mirror image of the moved base is nearer.
    even = (db == 0.0) & (np.remainder(b, 2.0) == 0.0)
    nearer = np.where(even & (da / a < -1.0), -(2.0 * a + da), da)
    inner = exponent * _log_ratio(a, nearer) + np.where(db == 0.0, 0.0, db * np.log(a))
    inner = np.where((a == 0.0) & (b == 0.0) & (db != 0.0), db * np.log(da), inner)
    change: Array = np.multiply(value, np.expm1(inner))

    def far() -> Array:
        moved, rest = _sum_exactly(a, da)
        correction = exponent * rest / moved + np.where(exponent_rest == 0.0, 0.0, exponent_rest * np.log(np.abs(moved)))
        level = np.power(moved, exponent) * np.exp(np.where(np.isfinite(correction), correction, 0.0))
        return level - value

    return _void(_replace(change, ~(np.abs(inner) <= 1.0), far), value)


def _power(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """Change of a^b."""
    return _power_of_base(a, b, value, _given(da, db)) if db is None else by_pieces(_power_of_both, a, b, value, da, db)


# ---- logarithms of sums of exponentials ----------------------------------------------------------------------------------


def _tail(gap: Array, rest: Array, rate: float) -> Array:
    """e^(−rate·|a − b|) with the difference and what it was rounded by."""
    tail = (np.exp if rate == 1.0 else np.exp2)(-np.abs(gap))
    tail *= 1.0 - rate * np.sign(gap) * np.where(np.isfinite(rest), rest, 0.0)
    return tail


def _shares(a: Array, b: Array, rate: float) -> tuple[Array, Array]:
    """Shares of e^(rate·a) and e^(rate·b) in their sum, the smaller one to the last digits, too."""
    gap, rest = _sum_exactly(a, -b)
    tail = _tail(gap, rest, rate)
    upper, lower = 1.0 / (1.0 + tail), tail / (1.0 + tail)
    return np.where(gap >= 0.0, upper, lower), np.where(gap >= 0.0, lower, upper)


def _log_sum_series(p: Array, q: Array, rate: float, terms: int) -> list[Array]:
    """Coefficients of δa in the change of log(e^(rate·a) + e^(rate·b))/rate, from the shares of a and b."""
    pq, tilt = p * q, q - p
    coefficients = [p, (rate / 2.0) * pq, (rate**2 / 6.0) * (pq * tilt), (rate**3 / 24.0) * (pq * (1.0 - 6.0 * pq))]
    coefficients.append((rate**4 / 120.0) * (pq * tilt * (1.0 - 12.0 * pq)))
    return coefficients[:terms]


def series_of_log_sum(a: Array, b: Array, *, of_second: bool) -> Series:
    """The series of log(e^a + e^b) in the change of one of them."""
    p, q = _shares(a, b, 1.0)
    return Series(lambda z, value, terms: _log_sum_series(*((q, p) if of_second else (p, q)), 1.0, terms))


def _log_sum(rate: float) -> BinaryForm:
    """Form of log(e^(rate·a) + e^(rate·b))/rate."""

    def full(a: Array, b: Array, shares: tuple[Array, Array], da: Array, db: Array) -> Array:
        """log(1 + p·expm1 δa + q·expm1 δb); for larger changes that of the larger number, and of how far the sum is above it."""
        change = np.log1p(shares[0] * np.expm1(rate * da) + shares[1] * np.expm1(rate * db)) / rate

        def far() -> Array:
            gap, gap_rest = _sum_exactly(a, -b)
            shift, shift_rest = _sum_exactly(da, -db)
            moved, moved_rest = _sum_exactly(gap, shift)
            of_a = np.where(gap >= 0.0, da, (da + gap) + gap_rest)
            of_b = np.where(gap >= 0.0, (db - gap) - gap_rest, db)
            tails = np.log1p(_tail(moved, moved_rest + gap_rest + shift_rest, rate)) - np.log1p(_tail(gap, gap_rest, rate))
            return np.where(moved >= 0.0, of_a, of_b) + tails / rate

        return _replace(change, ~(np.maximum(np.abs(da), np.abs(db)) <= 0.5 / rate), far)

    def piece(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
        p, q = _shares(a, b, rate)
        gap = _given(da, db) if da is None or db is None else da - db
        terms = terms_for(rate * largest(gap))
        if not terms:
            none = np.zeros_like(_given(da, db))
            change = full(a, b, (p, q), none if da is None else da, none if db is None else db)
        elif da is None or db is None:
            first, second = (p, q) if db is None else (q, p)
            change = sum_series(gap, gap, _log_sum_series(first, second, rate, terms), shape_of(value, gap))
        else:
            # p·δa + q·δb instead of p·(δa − δb) + δb, which would cancel where q is small.
            curved = [np.zeros_like(p), *_log_sum_series(p, q, rate, terms)[1:]]
            change = sum_series(gap, gap, curved, shape_of(value, gap))
            change += p * da
            change += q * db
        return _void(change, value)

    return lambda a, b, value, da, db: by_pieces(piece, a, b, value, da, db)


# ---- distances and angles ------------------------------------------------------------------------------------------------


def _hypot(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """h·(√(1 + t) − 1) with t = (δa·(2a + δa) + δb·(2b + δb))/h², as a series; in full the same terms over h' + h."""
    shape = shape_of(value, da, db)
    if within(value, _SMALL**0.5, _SMALL**-0.5):
        inverse = 1.0 / value
        growth = np.zeros(shape)
        for base, part in ((a, da), (b, db)):
            if part is not None:
                growth += (2.0 * base + part) * inverse * part
        scaled = growth * inverse
        terms = terms_for(largest(scaled))
        if terms:
            return sum_series(growth, scaled, ultraspherical(np.full_like(value, 0.5), -0.5, 0.0, 0.5, terms), shape)
    moved = np.hypot(_moved(a, da), _moved(b, db))
    half = 0.5 * moved + 0.5 * value
    change = np.zeros(shape)
    for base, part in ((a, da), (b, db)):
        if part is not None:
            change += part * _ratio(base + 0.5 * part, half)
    return _mend(change, value, lambda: moved - value)


def _arctan2(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """Angle of (h² + b·δb + a·δa, b·δa − a·δb) as a series."""
    square = a * a + b * b
    if within(square, _SMALL, 1.0 / _SMALL):
        sine, cosine = a / square, b / square
        shape = shape_of(value, da, db)
        across, along = np.zeros(shape), np.ones(shape)
        if da is not None:
            across += cosine * da
            along += sine * da
        if db is not None:
            across -= sine * db
            along += cosine * db
        # Where b < 0 and a changes its sign, the cut may be crossed.
        cut = (b < 0.0) & (np.abs(a) <= (0.0 if da is None else largest(da)))
        np.divide(across, along, out=across)
        terms = terms_for(largest(across) ** 2)
        if terms and along.min(initial=1.0) > 0.5 and not cut.any():
            odd = [(-1.0) ** k / (2.0 * k + 1.0) for k in range(terms)]
            return sum_series(across, across * across, odd, shape)
    return _arctan2_in_full(a, b, value, da, db)


def _arctan2_in_full(a: Array, b: Array, value: Array, da: Array | None, db: Array | None) -> Array:
    """Angle of (b·(b + δb) + a·(a + δa), b·δa − a·δb), over the distance; a full turn more or less where the cut is crossed."""
    length = np.hypot(a, b)
    sine, cosine = a / length, b / length
    moved_a, moved_b = _moved(a, da), _moved(b, db)
    across = np.zeros(shape_of(value, da, db))
    if da is not None:
        across += cosine * da
    if db is not None:
        across -= sine * db
    along = cosine * moved_b + sine * moved_a
    change: Array = np.arctan2(across, along)
    plain = np.arctan2(moved_a, moved_b) - value
    turns = np.rint((plain - change) / (2.0 * np.pi))
    _replace(change, turns != 0.0, lambda: change + turns * (2.0 * np.pi))
    # At the origin and at infinity there is no angle but by convention.
    strange = (length == 0.0) | ((moved_a == 0.0) & (moved_b == 0.0)) | ~(np.isfinite(across) & np.isfinite(along))
    return _replace(change, strange, lambda: plain)


# ---- the tables ----------------------------------------------------------------------------------------------------------


def _log_series(factor: float) -> Series:
    """Series of factor·log z; its slope is not a number where the value is not finite."""
    return Series(lambda z, f, n: ultraspherical(factor / z + 0.0 * f, -0.5, 0.0, 1.0, n), _inverse)


def _room(z: Array) -> Array:
    """One over the distance to the nearer end of [−1, 1]."""
    room: Array = 1.0 / (1.0 - np.abs(z))
    return room


#: Functions with a series for small changes, and their full forms; f is the value at z, n the number of terms.
_SMOOTH: dict[np.ufunc, tuple[Series, UnaryForm]] = {
    np.exp: (Series(lambda z, f, n: periodic(f, 0.5 * f, 1.0, n)), _exp),
    np.exp2: (Series(lambda z, f, n: periodic(_LOG_2 * f, (0.5 * _LOG_2**2) * f, _LOG_2**2, n)), _exp2),
    np.expm1: (Series(lambda z, f, n: periodic(np.exp(z), 0.5 * np.exp(z), 1.0, n)), _expm1),
    np.log: (_log_series(1.0), _log),
    np.log2: (_log_series(1.0 / _LOG_2), _log2),
    np.log10: (_log_series(1.0 / _LOG_10), _log10),
    np.log1p: (
        Series(lambda z, f, n: ultraspherical(1.0 / (1.0 + z) + 0.0 * f, -0.5, 0.0, 1.0, n), lambda z: 1.0 / (1.0 + z)),
        _log1p,
    ),
    np.sqrt: (Series(lambda z, f, n: ultraspherical(0.5 / f, -0.5, 0.0, 0.5, n), _inverse), _sqrt),
    np.cbrt: (Series(lambda z, f, n: ultraspherical(f / (3.0 * z), -0.5, 0.0, 2.0 / 3.0, n), _inverse), _cbrt),
    np.sin: (Series(lambda z, f, n: periodic(np.cos(z), -0.5 * f, -1.0, n), stationary=True), _sin),
    np.cos: (Series(lambda z, f, n: periodic(-np.sin(z), -0.5 * f, -1.0, n), stationary=True), _cos),
    np.tan: (Series(_tan_coefficients, lambda z: 1.0 / np.abs(np.cos(z))), _tan),
    np.arcsin: (Series(lambda z, f, n: _arcsin_coefficients(z, 1.0, n), _room), _arcsin),
    np.arccos: (Series(lambda z, f, n: _arcsin_coefficients(z, -1.0, n), _room), _arccos),
    np.arctan: (Series(_arctan_coefficients, _over_root), _arctan),
    np.sinh: (Series(lambda z, f, n: periodic(np.cosh(z), 0.5 * f, 1.0, n)), _sinh),
    np.cosh: (Series(lambda z, f, n: periodic(np.sinh(z), 0.5 * f, 1.0, n), stationary=True), _cosh),
    np.tanh: (Series(_tanh_coefficients), _tanh),
    np.arcsinh: (Series(_arcsinh_coefficients, _over_root), _arcsinh),
    np.arccosh: (Series(_arccosh_coefficients, lambda z: 1.0 / (z - 1.0)), _arccosh),
    np.arctanh: (Series(_arctanh_coefficients, _room), _arctanh),
}

#: The series of those that have one.
SERIES: dict[np.ufunc, Series] = {ufunc: series for ufunc, (series, _) in _SMOOTH.items()}

#: Forms of functions of one number.
UNARY: dict[np.ufunc, UnaryForm] = {
    **{ufunc: _smooth(ufunc, series, full) for ufunc, (series, full) in _SMOOTH.items()},
    np.square: _simple(_square),
    np.reciprocal: _simple(_reciprocal),
    np.negative: _linear(-1.0),
    np.positive: _linear(1.0),
    np.conjugate: _linear(1.0),
    np.deg2rad: _linear(np.pi / 180.0),
    np.radians: _linear(np.pi / 180.0),
    np.rad2deg: _linear(180.0 / np.pi),
    np.degrees: _linear(180.0 / np.pi),
}

# Powers with one plain exponent.
_POWERS: dict[float, UnaryForm] = {
    0.0: _simple(_zeroth),
    0.5: UNARY[np.sqrt],
    1.0: _linear(1.0),
    2.0: UNARY[np.square],
    3.0: _in_pieces(_cube),
    4.0: _in_pieces(_fourth),
    -1.0: UNARY[np.reciprocal],
    -2.0: _in_pieces(_inverse_square),
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
    np.hypot: lambda a, b, value, da, db: by_pieces(_hypot, a, b, value, da, db),
    np.arctan2: lambda a, b, value, da, db: by_pieces(_arctan2, a, b, value, da, db),
}
