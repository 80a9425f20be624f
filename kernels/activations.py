r"""Activations: value and difference form.

A difference form is the exact change :math:`f(z+\delta)-f(z)` for a finite :math:`\delta`, written without a subtraction of
nearly equal numbers. It is an identity, not a derivative. With :math:`\sigma(z) = 1/(1+e^{-z})`:

=========  =============================================================================
identity   :math:`\delta`
relu       the true piecewise change; a lane whose sign changes is counted as a crossing
tanh       :math:`\operatorname{sech}^2 z\,\tanh\delta \,/\, (1 + \tanh z\,\tanh\delta)`
sigmoid    :math:`\sigma(z)\sigma(-z)\,e \,/\, (1 + \sigma(z)\,e)`, :math:`e = e^\delta - 1`
=========  =============================================================================

How the file is laid out, and why:

(a) `evaluate` turns pre-activations into the activation and three numbers per unit and example, the *base*: z, slope, level.
    It runs once per check, so it calls the exact functions of libm. The slope is sech² or σσ' computed as a product of
    positive numbers: 1 − tanh² has no digits left in saturation.
(b) `_small_*` are the forms for \|δ\| ≤ `SMALL`: short polynomials and one division, which LLVM turns into packed FMA. This is
    where all the time goes: 0.2 ns a value, against 8 ns for a library tanh.
(c) `_full` is the form for any δ, a point at a time: exponentials of libm, every sum of terms of one sign.
(d) `change` picks one for a whole row of lanes that share their base. To add an activation: a number and a name below, a branch
    in `evaluate`, `_full` and `change`.

A row is given as the flat memory of its array, its first place there and its number of lanes, the last two unsigned. A slice
would be an object whose references are counted for every row, and a signed index might be negative, which Numba must
allow for: either keeps these loops from running at full speed (14 instead of 77 GFLOP/s in `dense`).
"""

import math

import numpy as np

from ._compile import Array, Place, kernel, point

IDENTITY = 0
RELU = 1
TANH = 2
SIGMOID = 3

#: The number by which kernels know each activation.
CODES = {"identity": IDENTITY, "relu": RELU, "tanh": TANH, "sigmoid": SIGMOID}

#: Largest |δ| of the polynomial forms. At 2⁻⁹ the first term left out of tanh δ is 17/315·δ⁶ = 3e-18, relative.
SMALL = 2.0**-9

# Beyond this |δ| the exponentials of the full forms come near to overflow.
_LARGE = 600.0

# Below this the slope σσ' comes near to the subnormal numbers, which have fewer digits; e⁻⁷⁰⁰ = 1e-304 is still above it.
_LEAST_SLOPE = 1e-306


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
def _full(code: int, z: float, delta: float) -> float:
    """f(z+δ) − f(z) for any δ; tanh z = 2σ(2z) − 1."""
    if code == TANH:
        return 2.0 * _logistic_change(2.0 * z, 2.0 * delta)
    return _logistic_change(z, delta)


@point
def _small_tanh(slope: float, level: float, deltas: Array, first: Place, lanes: Place) -> None:
    for lane in range(lanes):
        delta = deltas[first + lane]
        square = delta * delta
        t = delta + delta * square * (-1.0 / 3.0 + square * (2.0 / 15.0))
        deltas[first + lane] = slope * t / (1.0 + level * t)


@point
def _small_sigmoid(slope: float, level: float, deltas: Array, first: Place, lanes: Place) -> None:
    for lane in range(lanes):
        e = small_expm1(deltas[first + lane])
        deltas[first + lane] = slope * e / (1.0 + level * e)


@point
def small_expm1(delta: float) -> float:
    """e^δ − 1 for |δ| ≤ SMALL; the first term left out is δ⁵/720 = 4e-17, relative."""
    return delta + delta * delta * (0.5 + delta * (1.0 / 6.0 + delta * (1.0 / 24.0 + delta * (1.0 / 120.0))))


@point
def _relu(z: float, deltas: Array, first: Place, lanes: Place, crossings: Array, first_crossing: Place) -> None:
    # z + δ is rounded, its sign is not: the comparison is exact (gradual underflow).
    if z > 0.0:
        for lane in range(lanes):
            delta = deltas[first + lane]
            crossed = z + delta <= 0.0
            deltas[first + lane] = -z if crossed else delta
            crossings[first_crossing + lane] += 1.0 if crossed else 0.0
    else:
        # At the kink itself a step to either side counts: the quotient of one side is not the derivative.
        at_kink = z == 0.0
        for lane in range(lanes):
            moved = z + deltas[first + lane]
            active = moved > 0.0
            # 0·moved keeps a NaN; max(moved, 0) would swallow it.
            deltas[first + lane] = moved if active else 0.0 * moved
            crossings[first_crossing + lane] += 1.0 if active or (at_kink and moved < 0.0) else 0.0


@point
def any_larger(deltas: Array, first: Place, lanes: Place, limit: float) -> bool:
    """Whether any |δ| is above the limit; an `or` of flags vectorises, a maximum would need the flag nnan."""
    found = False
    for lane in range(lanes):
        found |= abs(deltas[first + lane]) > limit
    return found


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
    base : array of shape (examples, units, 3)
        z, slope and level.
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
        Whether every |δ| is known to be at most `SMALL`; otherwise it is looked for.
    """
    if code == IDENTITY:
        return
    z = base[example, unit, 0]
    if code == RELU:
        _relu(z, deltas, first, lanes, crossings, first_crossing)
    elif not known_small and any_larger(deltas, first, lanes, SMALL):
        for lane in range(lanes):
            deltas[first + lane] = _full(code, z, deltas[first + lane])
    elif code == TANH:
        _small_tanh(base[example, unit, 1], base[example, unit, 2], deltas, first, lanes)
    else:
        _small_sigmoid(base[example, unit, 1], base[example, unit, 2], deltas, first, lanes)


@point
def change_layer(code: int, base: Array, deltas: Array, crossings: Array) -> None:
    """`change` for every unit and example of a layer, with the shapes of `change_all`."""
    units, examples, lanes = deltas.shape
    flat, flat_crossings = deltas.reshape(-1), crossings.reshape(-1)
    for unit in range(units):
        for example in range(examples):
            first = np.uint64((unit * examples + example) * lanes)
            first_crossing = np.uint64(example * lanes)
            change(code, base, example, unit, flat, first, np.uint64(lanes), flat_crossings, first_crossing, False)


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
    base : array of shape (examples, units, 3)
        Receives z, slope and level, as `change` wants them.
    """
    for example in range(z.shape[0]):
        for unit in range(z.shape[1]):
            x = z[example, unit]
            value = x
            slope = 1.0
            level = x
            if code == RELU:
                value = x if x > 0.0 else 0.0 * x
            elif code == TANH:
                value = math.tanh(x)
                slope = 4.0 * _logistic_slope(2.0 * x)
                level = value
            elif code == SIGMOID:
                value = logistic(x)
                slope = _logistic_slope(x)
                level = value
            activation[example, unit] = value
            base[example, unit, 0] = x
            base[example, unit, 1] = slope
            base[example, unit, 2] = level


@kernel("i A3 M3 M2")
def change_all(code: int, base: Array, deltas: Array, crossings: Array) -> None:
    """`change` for every unit and example.

    Parameters
    ----------
    code : int
        One of `CODES`.
    base : array of shape (examples, units, 3)
        As made by `evaluate`.
    deltas : array of shape (units, examples, lanes)
        Changes of pre-activations, replaced by changes of activations.
    crossings : array of shape (examples, lanes)
        Raised by one for each crossing of a kink.
    """
    change_layer(code, base, deltas, crossings)
