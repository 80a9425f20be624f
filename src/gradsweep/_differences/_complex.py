"""Difference forms of complex numbers: of the few functions that Fourier transforms and their users need.

The forms of real numbers are written for speed, into arrays of float64. These are the same identities, as plain expressions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._lanes import Lanes
from gradsweep._differences._varying import ElementForm
from gradsweep._types import Array

_Numbers = Sequence[NDArray[Any]]
_Changes = Sequence[NDArray[Any] | None]


def _zero(change: NDArray[Any] | None) -> Any:
    return 0.0 if change is None else change


def _add(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """δa + δb."""
    return _zero(changes[0]) + _zero(changes[1])


def _subtract(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """δa − δb."""
    return _zero(changes[0]) - _zero(changes[1])


def _multiply(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """δa·(b + δb) + a·δb."""
    return _zero(changes[0]) * (bases[1] + _zero(changes[1])) + bases[0] * _zero(changes[1])


def _divide(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """(δa − q·δb)/(b + δb)."""
    return (_zero(changes[0]) - value * _zero(changes[1])) / (bases[1] + _zero(changes[1]))


def _square(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """δ·(2z + δ)."""
    return _zero(changes[0]) * (2.0 * bases[0] + _zero(changes[0]))


def _exp(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """e^z·expm1 δ."""
    return value * np.expm1(_zero(changes[0]))


def _absolute(lanes: Lanes, bases: _Numbers, value: Array, changes: _Changes) -> Any:
    """Of |z|² = x² + y² it is δx(2x + δx) + δy(2y + δy), which is the product of the moduli's difference and their sum."""
    z, change = bases[0], _zero(changes[0])
    squares = change.real * (2.0 * z.real + change.real) + change.imag * (2.0 * z.imag + change.imag)
    sums = np.abs(z + change) + value
    return np.divide(squares, sums, out=np.zeros_like(squares), where=sums > 0.0)


#: By the function of elements; where an operand is complex, all others take the general form.
FORMS: dict[Any, ElementForm] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.square: _square,
    np.exp: _exp,
    np.absolute: _absolute,
    np.negative: lambda lanes, bases, value, changes: -_zero(changes[0]),
    np.positive: lambda lanes, bases, value, changes: _zero(changes[0]),
    np.conjugate: lambda lanes, bases, value, changes: np.conjugate(_zero(changes[0])),
}
