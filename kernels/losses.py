r"""Losses on logits: value and difference form, by the same plan as `activations`.

Binary cross-entropy of a sigmoid output is taken on the logit z, so that neither log(0) nor a clipped probability can occur:

.. math::

    \ell(z, y) = (1-y)\,s(z) + y\,s(-z), \qquad s(z) = \log(1 + e^z)

    s(z+\delta) - s(z) = \log\bigl(1 + \sigma(z)(e^\delta - 1)\bigr)

Each label's own term is used with the sign that keeps it small: for y = 1 the textbook's
:math:`\log(1+\sigma(z)(e^\delta-1)) - \delta` subtracts two nearly equal numbers where the network is right, while
:math:`s(-z-\delta) - s(-z)` does not. For labels strictly between 0 and 1 the two terms oppose each other by nature; the result
is then exact to rounding of the larger one.
"""

import math

import numpy as np

from ._compile import Array, Place, kernel, point
from .activations import SMALL, any_larger, logistic, small_expm1

BINARY_CROSS_ENTROPY = 0

# Lanes that are turned into changes of the loss before they are added up: 16 KB, which are still in L1 then.
_STRETCH = 2048

#: The number by which kernels know each loss.
CODES = {"binary_cross_entropy": BINARY_CROSS_ENTROPY}


@point
def square_change(x: float, delta: float) -> float:
    """(x+δ)² − x² = δ(2x+δ)."""
    return delta * (2.0 * x + delta)


@point
def _tail(z: float) -> float:
    """How far s(z) lies above max(z, 0)."""
    return math.log1p(math.exp(-abs(z)))


@point
def _softplus(z: float) -> float:
    return max(z, 0.0) + _tail(z)


@point
def _softplus_change(z: float, delta: float) -> float:
    """s(z+δ) − s(z) for any finite z and δ."""
    if abs(delta) > 30.0:
        # The two values are far apart; only where the loss is a straight line at both could they cancel.
        moved = z + delta
        straight = delta if z > 0.0 and moved > 0.0 else max(moved, 0.0) - max(z, 0.0)
        return straight + (_tail(moved) - _tail(z))
    grown = logistic(z) * math.expm1(delta)
    if grown > -0.5:
        return math.log1p(grown)
    # 1 + σ(z)·expm1 δ would cancel; the same number as a sum of positive terms does not.
    return math.log(logistic(-z) + logistic(z) * math.exp(delta))


@point
def _small_log1p(x: float) -> float:
    """log(1+x) for |x| ≤ SMALL; the first term left out is x⁶/7 = 8e-18, relative."""
    return x - x * x * (0.5 - x * (1.0 / 3.0 - x * (0.25 - x * (0.2 - x * (1.0 / 6.0)))))


@point
def _small_softplus(level: float, sign: float, deltas: Array, first: Place, lanes: Place) -> None:
    """s(sign·(z+δ)) − s(sign·z) for rows of small δ; level = σ(sign·z)."""
    for lane in range(lanes):
        deltas[first + lane] = _small_log1p(level * small_expm1(sign * deltas[first + lane]))


@point
def _small_cross_entropy(
    rising_level: float, falling_level: float, label: float, deltas: Array, first: Place, lanes: Place
) -> None:
    for lane in range(lanes):
        delta = deltas[first + lane]
        rising = _small_log1p(rising_level * small_expm1(delta))
        falling = _small_log1p(falling_level * small_expm1(-delta))
        deltas[first + lane] = (1.0 - label) * rising + label * falling


@point
def _full(z: float, label: float, delta: float) -> float:
    rising = 0.0
    falling = 0.0
    if label != 1.0:
        rising = (1.0 - label) * _softplus_change(z, delta)
    if label != 0.0:
        falling = label * _softplus_change(-z, -delta)
    return rising + falling


@point
def _change(base: Array, example: int, output: int, label: float, deltas: Array, first: Place, lanes: Place) -> None:
    """Replace changes of one logit by changes of its loss, in place; rows as in `activations`."""
    if any_larger(deltas, first, lanes, SMALL):
        for lane in range(lanes):
            deltas[first + lane] = _full(base[example, output, 0], label, deltas[first + lane])
    elif label == 0.0:
        _small_softplus(base[example, output, 1], 1.0, deltas, first, lanes)
    elif label == 1.0:
        _small_softplus(base[example, output, 2], -1.0, deltas, first, lanes)
    else:
        _small_cross_entropy(base[example, output, 1], base[example, output, 2], label, deltas, first, lanes)


@kernel("A2 A2 M1 M3")
def evaluate(z: Array, labels: Array, losses: Array, base: Array) -> None:
    """Loss of every example and base of every logit.

    Parameters
    ----------
    z, labels : arrays of shape (examples, outputs)
        Logits, and labels in [0, 1].
    losses : array of shape (examples,)
        Receives the loss, summed over the outputs.
    base : array of shape (examples, outputs, 3)
        Receives z, σ(z) and σ(−z), as `change` wants them.
    """
    for example in range(z.shape[0]):
        total = 0.0
        for output in range(z.shape[1]):
            x = z[example, output]
            y = labels[example, output]
            total += (1.0 - y) * _softplus(x) + y * _softplus(-x)
            base[example, output, 0] = x
            base[example, output, 1] = logistic(x)
            base[example, output, 2] = logistic(-x)
        losses[example] = total


@point
def _add(factor: float, values: Array, first: Place, lanes: Place, out: Array, first_out: Place) -> None:
    for lane in range(lanes):
        out[first_out + lane] += factor * values[first + lane]


@kernel("A3 A2 M3 A1 M1")
def add_change(base: Array, labels: Array, deltas: Array, coefficients: Array, quotient: Array) -> None:
    """Add each lane's part of the difference quotient.

    Parameters
    ----------
    base : array of shape (examples, outputs, 3)
        As made by `evaluate`.
    labels : array of shape (examples, outputs)
        Labels in [0, 1].
    deltas : array of shape (outputs, examples, steps * parameters)
        Changes of logits; all parameters of the first step stand first. Overwritten.
    coefficients : array of shape (steps,)
        What each step's change of the loss counts: its weight over ε and the number of examples.
    quotient : array of shape (parameters,)
        Receives the sum.
    """
    outputs, examples, lanes = deltas.shape
    parameters = quotient.shape[0]
    flat = deltas.reshape(-1)
    for example in range(examples):
        for output in range(outputs):
            for step in range(coefficients.shape[0]):
                for start in range(0, parameters, _STRETCH):
                    stretch = np.uint64(min(_STRETCH, parameters - start))
                    first = np.uint64((output * examples + example) * lanes + step * parameters + start)
                    _change(base, example, output, labels[example, output], flat, first, stretch)
                    _add(coefficients[step], flat, first, stretch, quotient, np.uint64(start))
