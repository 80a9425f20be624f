r"""Activations: value and difference form.

A difference form is the exact change :math:`f(z+\delta)-f(z)` for a finite :math:`\delta`, written without a subtraction of
nearly equal numbers. It is an identity, not a derivative. With :math:`\sigma(z) = 1/(1+e^{-z})` and
:math:`\Phi(z) = \tfrac12\operatorname{erfc}(-z/\sqrt2)`:

============  =============================================================================================================
identity      :math:`\delta`
relu          the true piecewise change; a lane whose sign changes is counted as a crossing
leaky_relu    the same with slope 0.01 on the left
tanh          :math:`2\,(\sigma(2z+2\delta) - \sigma(2z))`
sigmoid       :math:`\sigma(z)\sigma(-z)\,e \,/\, (1 + \sigma(z)\,e)`, :math:`e = e^\delta - 1`
softplus      :math:`\log(1 + \sigma(z)\,e)`
silu          :math:`\delta\,\sigma(z+\delta) + z\,(\sigma(z+\delta) - \sigma(z))`
gelu_tanh     the same with :math:`\sigma(2u)`, :math:`u = \sqrt{2/\pi}\,(z + 0.044715\,z^3)`, whose change is a polynomial
gelu          the same with :math:`\Phi`, whose change is :math:`\int_z^{z+\delta} e^{-x^2/2}/\sqrt{2\pi}\,dx`
============  =============================================================================================================

A dropout mask multiplies any of them by a factor that does not change: the change is multiplied by it, too.

How the file is laid out, and why:

(a) `_full` is the form for any δ, a point at a time, with the exponentials of libm; wherever the terms can have one sign, they
    have. (silu and gelu have a minimum, near which their two terms oppose each other by nature: the result is then exact to
    rounding of the larger one.)
(b) For small \|δ\| the same change is its own power series, :math:`c_1\delta + c_2\delta^2 + \dots`, cut off where the rest is
    below rounding, for *any* smooth activation. Its coefficients are the same for all lanes of a unit and example, so `evaluate`
    computes them once, from the recurrences of the functions' differential equations. c₁ = f'(z) is a product of positive
    numbers: 1 − tanh² has no digits left in saturation. This is where all the time goes: five packed FMA a value.
(c) `change` does a whole row of lanes that share their base. To add an activation: a number and a name below, a branch in
    `_value`, one in `evaluate` and one in `_full`; and a line in the table of `_dense`.

A row is given as the flat memory of its array, its first place there and its number of lanes, the last two unsigned. A slice
would be an object whose references are counted for every row, and a signed index might be negative, which Numba must
allow for: either keeps these loops from running at full speed (14 instead of 77 GFLOP/s in `dense`).
"""

import math

from ._compile import Array, Place, kernel, point

IDENTITY = 0
RELU = 1
LEAKY_RELU = 2
TANH = 3
SIGMOID = 4
SOFTPLUS = 5
SILU = 6
GELU_TANH = 7
GELU = 8

#: The number by which kernels know each activation.
CODES = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "softplus": SOFTPLUS,
    "silu": SILU,
    "gelu_tanh": GELU_TANH,
    "gelu": GELU,
}

#: Slope of leaky_relu on the left.
LEAK = 0.01

#: Numbers that a unit and example is known by: z, the largest |δ| of its power series, the series' five coefficients, and what
#: the activation is multiplied by, as by a dropout mask. The coefficients have that factor in them.
BASE = 8

#: Largest |δ| of the power series of a function whose coefficients fall as those of e^2δ: the first term left out is
#: 2⁵/6!·δ⁵ = 4e-17, relative. A function that is steeper by a factor has a limit smaller by that factor.
SMALL = 2.0**-10

# Beyond this |δ| the exponentials of the full forms come near to overflow.
_LARGE = 600.0

# Below this the slope σσ' comes near to the subnormal numbers, which have fewer digits; e⁻⁷⁰⁰ = 1e-304 is still above it.
_LEAST_SLOPE = 1e-306

_SQRT_2_OVER_PI = 0.7978845608028654
_CUBIC = 0.044715

# Beyond this |z| the normal density is 0 in double precision.
_NORMAL_END = 39.0

# Beyond this |z| the tanh form of gelu is z or 0, to the last digit by far.
_GELU_END = 1e3

# Nodes and weights of Gauss-Legendre quadrature with eight points, on [-1, 1]; those on the left are their mirror images.
_NODES = (0.18343464249564980, 0.52553240991632899, 0.79666647741362674, 0.96028985649753623)
_WEIGHTS = (0.36268378337836198, 0.31370664587788729, 0.22238103445337447, 0.10122853629037626)


@point
def logistic(z: float) -> float:
    """σ(z) to the last digits on both sides: e^z/(1+e^z) has no 1 − … in it."""
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    u = math.exp(z)
    return u / (1.0 + u)


@point
def _logistic_slope(z: float) -> float:
    """σ(z)·σ(−z) = u/(1+u)² with u = e^−|z|."""
    u = math.exp(-abs(z))
    return u / ((1.0 + u) * (1.0 + u))


@point
def _logistic_change(z: float, delta: float) -> float:
    """σ(z+δ) − σ(z) for any finite z and δ, by σσ'·e/(1+q·e).

    With e = expm1|δ| and q = σ(z·sign δ) every term is positive: for negative δ, 1 + σ(z)·expm1 δ would cancel where σ is near 1.
    """
    size = abs(delta)
    slope = _logistic_slope(z)
    if size < _LARGE and slope > _LEAST_SLOPE:
        e = math.expm1(size)
        change = slope * e / (1.0 + logistic(math.copysign(1.0, delta) * z) * e)
        return math.copysign(change, delta)
    # The slope has underflown, or δ is enormous: the change is a value, or the difference of two tails.
    if z > 0.0:
        return logistic(-z) - logistic(-(z + delta))
    return logistic(z + delta) - logistic(z)


@point
def softplus_change(z: float, delta: float) -> float:
    """s(z+δ) − s(z) for s(z) = log(1 + e^z), any finite z and δ."""
    if abs(delta) > 30.0:
        # The two values are far apart; only where the function is a straight line at both could they cancel.
        moved = z + delta
        straight = delta if z > 0.0 and moved > 0.0 else max(moved, 0.0) - max(z, 0.0)
        return straight + (_softplus_tail(moved) - _softplus_tail(z))
    grown = logistic(z) * math.expm1(delta)
    if grown > -0.5:
        return math.log1p(grown)
    # 1 + σ(z)·expm1 δ would cancel; the same number as a sum of positive terms does not.
    return math.log(logistic(-z) + logistic(z) * math.exp(delta))


@point
def _softplus_tail(z: float) -> float:
    """How far log(1 + e^z) lies above max(z, 0)."""
    return math.log1p(math.exp(-abs(z)))


@point
def softplus(z: float) -> float:
    """log(1 + e^z)."""
    return max(z, 0.0) + _softplus_tail(z)


@point
def _normal_density(z: float) -> float:
    """e^(−z²/2)/√(2π), to the last digits: z² is split, since its rounding would be magnified by the exponential."""
    if abs(z) > _NORMAL_END:
        return 0.0
    short = math.floor(z * 1024.0) / 1024.0  # so few digits that its square is exact
    return 0.3989422804014327 * math.exp(-0.5 * short * short) * math.exp(-0.5 * (z - short) * (z + short))


@point
def _normal(z: float) -> float:
    """Φ(z)."""
    return 0.5 * math.erfc(-0.7071067811865476 * z)


@point
def _normal_change(z: float, delta: float) -> float:
    """Φ(z+δ) − Φ(z), by quadrature of the density: all terms are positive, whereas values of Φ would be subtracted."""
    if math.isnan(z) or math.isnan(delta):
        return z + delta
    start = min(max(z, -_NORMAL_END), _NORMAL_END)
    stop = min(max(z + delta, -_NORMAL_END), _NORMAL_END)
    # Where z is within the density's range, δ itself is exact and stop − start is not.
    length = delta if start == z and stop == z + delta else stop - start
    pieces = math.ceil(2.0 * abs(length) * (1.0 + max(abs(start), abs(stop)))) + 1.0
    half = 0.5 * length / pieces
    total = 0.0
    for piece in range(int(pieces)):
        middle = start + (2.0 * piece + 1.0) * half
        for index in range(4):
            step = half * _NODES[index]
            total += _WEIGHTS[index] * (_normal_density(middle - step) + _normal_density(middle + step))
    return half * total


@point
def _full(code: int, z: float, delta: float) -> float:
    """f(z+δ) − f(z) for any δ; tanh z = 2σ(2z) − 1."""
    if code == TANH:
        return 2.0 * _logistic_change(2.0 * z, 2.0 * delta)
    if code == SIGMOID:
        return _logistic_change(z, delta)
    if code == SOFTPLUS:
        return softplus_change(z, delta)
    if code == GELU:
        change = _normal_change(z, delta)
        level = _normal(z + delta)
    elif code == GELU_TANH and max(abs(z), abs(delta)) > _GELU_END:
        # The cube would overflow; this far out the function is one of two straight lines at one of the points at least.
        moved = z + delta
        return delta if z > _GELU_END and moved > _GELU_END else _value(code, moved) - _value(code, z)
    elif code == SILU:
        change = _logistic_change(z, delta)
        level = logistic(z + delta)
    else:
        # (z+δ)³ − z³ = 3δ(z + δ/2)² + δ³/4, of one sign.
        centre = z + 0.5 * delta
        inner = 2.0 * _SQRT_2_OVER_PI * (z + _CUBIC * z * z * z)
        cubes = delta * (3.0 * centre * centre + 0.25 * delta * delta)
        inner_change = 2.0 * _SQRT_2_OVER_PI * (delta + _CUBIC * cubes)
        change = _logistic_change(inner, inner_change)
        level = logistic(inner + inner_change)
    return delta * level + z * change


@point
def _logistic_series(z: float, q1: float, q2: float, q3: float) -> tuple[float, float, float, float, float]:
    """Coefficients c₁ … c₅ of σ(z + q₁δ + q₂δ² + q₃δ³), from σ' = (σ − σ²)·q'."""
    # By one exponential: σ on both sides and σσ' are what `logistic` and `_logistic_slope` make of it.
    u = math.exp(-abs(z))
    upper, lower = 1.0 / (1.0 + u), u / (1.0 + u)
    doubled = lower - upper if z >= 0.0 else upper - lower  # 1 − 2σ
    p0 = u / ((1.0 + u) * (1.0 + u))
    c1 = q1 * p0
    p1 = c1 * doubled
    c2 = (q1 * p1 + 2.0 * q2 * p0) / 2.0
    p2 = c2 * doubled - c1 * c1
    c3 = (q1 * p2 + 2.0 * q2 * p1 + 3.0 * q3 * p0) / 3.0
    p3 = c3 * doubled - 2.0 * c1 * c2
    c4 = (q1 * p3 + 2.0 * q2 * p2 + 3.0 * q3 * p1) / 4.0
    p4 = c4 * doubled - 2.0 * c1 * c3 - c2 * c2
    c5 = (q1 * p4 + 2.0 * q2 * p3 + 3.0 * q3 * p2) / 5.0
    return c1, c2, c3, c4, c5


@point
def _normal_series(z: float) -> tuple[float, float, float, float, float]:
    """Coefficients of Φ(z + δ), from the density's φ' = −z·φ."""
    d0 = _normal_density(z)
    d1 = -z * d0
    d2 = -(z * d1 + d0) / 2.0
    d3 = -(z * d2 + d1) / 3.0
    d4 = -(z * d3 + d2) / 4.0
    return d0, d1 / 2.0, d2 / 3.0, d3 / 4.0, d4 / 5.0


@point
def softplus_series(z: float) -> tuple[float, float, float, float, float]:
    """Coefficients of log(1 + e^(z+δ)), whose derivative is σ."""
    c1, c2, c3, c4, _ = _logistic_series(z, 1.0, 0.0, 0.0)
    return logistic(z), c1 / 2.0, c2 / 3.0, c3 / 4.0, c4 / 5.0


@point
def _gated_series(code: int, z: float) -> tuple[float, float, float, float, float, float]:
    """Largest |δ| and coefficients of (z+δ)·g(z+δ), from those of g."""
    if code == GELU_TANH and abs(z) > _GELU_END:
        return abs(z) - _GELU_END, 1.0 if z > 0.0 else 0.0, 0.0, 0.0, 0.0, 0.0
    if code == GELU:
        level, steepness = _normal(z), max(1.0, abs(z))
        c1, c2, c3, c4, c5 = _normal_series(z)
    else:
        scale, cubic = (1.0, 0.0) if code == SILU else (2.0 * _SQRT_2_OVER_PI, _CUBIC)
        inner = scale * (z + cubic * z * z * z)
        steepness = scale * (1.0 + 3.0 * cubic * z * z)
        level = logistic(inner)
        c1, c2, c3, c4, c5 = _logistic_series(inner, steepness, 3.0 * scale * cubic * z, scale * cubic)
    return SMALL / steepness, level + z * c1, c1 + z * c2, c2 + z * c3, c3 + z * c4, c4 + z * c5


@point
def _value(code: int, z: float) -> float:
    """f(z)."""
    if code == RELU or code == LEAKY_RELU:
        leak = LEAK if code == LEAKY_RELU else 0.0
        return z if z > 0.0 else leak * z
    if code == TANH:
        return math.tanh(z)
    if code == SIGMOID:
        return logistic(z)
    if code == SOFTPLUS:
        return softplus(z)
    if code == SILU:
        return z * logistic(z)
    if code == GELU_TANH:
        return z * logistic(2.0 * _SQRT_2_OVER_PI * (z + _CUBIC * z * z * z))
    if code == GELU:
        return z * _normal(z)
    return z


# Not inlined: it is long, slow anyway, and would be compiled anew wherever a row is changed (14 s instead of 5 for `dense`).
@kernel("i d d M1 u u")
def _full_row(code: int, z: float, factor: float, deltas: Array, first: Place, lanes: Place) -> None:
    """Replace each δ by its exact change, whatever its size."""
    for lane in range(lanes):
        deltas[first + lane] = factor * _full(code, z, deltas[first + lane])


@point
def store(
    base: Array, example: int, unit: int, z: float, limit: float, c1: float, c2: float, c3: float, c4: float, c5: float
) -> None:
    """Write a unit's base, in the order in which `change` reads it."""
    base[example, unit, 0] = z
    base[example, unit, 1] = limit
    base[example, unit, 2] = c1
    base[example, unit, 3] = c2
    base[example, unit, 4] = c3
    base[example, unit, 5] = c4
    base[example, unit, 6] = c5
    base[example, unit, 7] = 1.0


@kernel("i A2 M2 M3")
def evaluate(code: int, z: Array, activation: Array, base: Array) -> None:
    """Value and base of every unit and example.

    Parameters
    ----------
    code : int
        One of `CODES`.
    z : array of shape (examples, units)
        Pre-activations.
    activation : array of shape (examples, >= units)
        Receives f(z); further columns are left alone.
    base : array of shape (examples, units, BASE)
        Receives what `change` wants to know.
    """
    for example in range(z.shape[0]):
        for unit in range(z.shape[1]):
            x = z[example, unit]
            activation[example, unit] = _value(code, x)
            # What has no series is done otherwise by `change`, which asks for none of this.
            limit, c1, c2, c3, c4, c5 = math.inf, 1.0, 0.0, 0.0, 0.0, 0.0
            if code == TANH:
                limit = SMALL
                c1, c2, c3, c4, c5 = _logistic_series(2.0 * x, 2.0, 0.0, 0.0)
                c1, c2, c3, c4, c5 = 2.0 * c1, 2.0 * c2, 2.0 * c3, 2.0 * c4, 2.0 * c5
            elif code == SIGMOID:
                limit = SMALL
                c1, c2, c3, c4, c5 = _logistic_series(x, 1.0, 0.0, 0.0)
            elif code == SOFTPLUS:
                limit = SMALL
                c1, c2, c3, c4, c5 = softplus_series(x)
            elif code >= SILU:
                limit, c1, c2, c3, c4, c5 = _gated_series(code, x)
            store(base, example, unit, x, limit, c1, c2, c3, c4, c5)


@kernel("A2 M2 M3")
def scale(factors: Array, activation: Array, base: Array) -> None:
    """Multiply activations, and all changes of them, by a factor each: a dropout mask.

    Parameters
    ----------
    factors : array of shape (examples, units)
        At least 0.
    activation, base : arrays
        As made by `evaluate`; changed in place.
    """
    for example in range(factors.shape[0]):
        for unit in range(factors.shape[1]):
            factor = factors[example, unit]
            activation[example, unit] *= factor
            for index in range(2, BASE):
                base[example, unit, index] *= factor


@point
def any_larger(deltas: Array, first: Place, lanes: Place, limit: float) -> bool:
    """Whether any |δ| is above the limit; an `or` of flags vectorises, a maximum would need the flag nnan."""
    found = False
    for lane in range(lanes):
        found |= abs(deltas[first + lane]) > limit
    return found


@point
def small_change(base: Array, example: int, unit: int, deltas: Array, first: Place, lanes: Place) -> None:
    """Replace each δ by c₁δ + … + c₅δ⁵."""
    c1, c2, c3 = base[example, unit, 2], base[example, unit, 3], base[example, unit, 4]
    c4, c5 = base[example, unit, 5], base[example, unit, 6]
    for lane in range(lanes):
        delta = deltas[first + lane]
        deltas[first + lane] = delta * (c1 + delta * (c2 + delta * (c3 + delta * (c4 + delta * c5))))


@point
def _piecewise(
    leak: float, z: float, factor: float, deltas: Array, first: Place, lanes: Place, crossings: Array, first_crossing: Place
) -> None:
    # z + δ is rounded, its sign is not: the comparison is exact (gradual underflow). A unit that is masked has no kink.
    counted = 1.0 if factor != 0.0 else 0.0
    if z > 0.0:
        for lane in range(lanes):
            delta = deltas[first + lane]
            moved = z + delta
            crossed = moved <= 0.0
            deltas[first + lane] = factor * (leak * moved - z if crossed else delta)
            crossings[first_crossing + lane] += counted if crossed else 0.0
    else:
        # At the kink itself a step to either side counts: the quotient of one side is not the derivative.
        at_kink = z == 0.0
        for lane in range(lanes):
            delta = deltas[first + lane]
            moved = z + delta
            active = moved > 0.0
            # 0·moved keeps a NaN of z, which leak·δ does not know of.
            deltas[first + lane] = factor * (moved - leak * z if active else leak * delta + 0.0 * moved)
            crossings[first_crossing + lane] += counted if active or (at_kink and moved < 0.0) else 0.0


@point
def change(
    code: int,
    base: Array,
    example: int,
    unit: int,
    deltas: Array,
    first: Place,
    lanes: Place,
    crossings: Array,
    first_crossing: Place,
    known_small: bool,
) -> None:
    """Replace changes of one unit's pre-activation by changes of its activation, in place.

    Parameters
    ----------
    code : int
        One of `CODES`.
    base : array of shape (examples, units, BASE)
        As made by `evaluate`.
    example, unit : int
        Whose.
    deltas : array of shape (all,)
        Changes δ, replaced by f(z+δ) − f(z) from `first` on.
    first, lanes : unsigned int
        Which.
    crossings : array of shape (all,)
        Raised by one from `first_crossing` on in each lane that crosses a kink.
    first_crossing : unsigned int
        Where.
    known_small : bool
        Whether every |δ| is known to be within the limit of the power series; otherwise it is looked for.
    """
    z, factor = base[example, unit, 0], base[example, unit, 7]
    if code == IDENTITY:
        if factor != 1.0:
            for lane in range(lanes):
                deltas[first + lane] *= factor
    elif code == RELU or code == LEAKY_RELU:
        leak = LEAK if code == LEAKY_RELU else 0.0
        _piecewise(leak, z, factor, deltas, first, lanes, crossings, first_crossing)
    elif not known_small and any_larger(deltas, first, lanes, base[example, unit, 1]):
        _full_row(code, z, factor, deltas, first, lanes)
    else:
        small_change(base, example, unit, deltas, first, lanes)
