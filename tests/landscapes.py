"""Functions with exact derivatives, what makes them noisy, and neighbourhoods in which they are costs."""

import hashlib
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import mpmath  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from gradsweep._neighbourhood import Neighbourhood

Array: TypeAlias = NDArray[np.float64]
Scalar: TypeAlias = Callable[[float], float]

#: Digits of the exact derivatives, far beyond float64.
mpmath.mp.dps = 50


@dataclass(frozen=True)
class Landscape:
    """A function of one number, at a point.

    Attributes
    ----------
    name : str
        What it is, or why it is hard.
    value : callable
        The function, in float64; NaN outside its domain.
    place : float
        The point.
    slope : float
        Its derivative there, to the last digit.
    noise : float
        Rounding of its values over its own variation, roughly: what decides how precise a quotient can be.
    length : float
        Over what distance it varies.
    """

    name: str
    value: Scalar
    place: float
    slope: float
    noise: float = 1e-16
    length: float = 1.0


def exact(function: Callable[[Any], Any], place: float) -> float:
    """Derivative of a function written with mpmath."""
    return float(mpmath.diff(function, mpmath.mpf(place)))


def _logarithm(x: float) -> float:
    return math.log(x) if x > 0.0 else math.nan


LANDSCAPES = [
    Landscape("exp", math.exp, 0.7, exact(mpmath.exp, 0.7)),
    Landscape("at 0", math.exp, 0.0, 1.0),
    Landscape("at 1e-10, varying over 1", math.exp, 1e-10, exact(mpmath.exp, 1e-10)),
    Landscape("at 1e-10, varying over it", lambda x: math.sin(1e10 * x), 1e-10, 1e10 * math.cos(1.0), 1e-16, 1e-10),
    Landscape("small weight", lambda x: math.log1p(math.exp(0.3 + 2 * x)), 0.01, 2 / (1 + math.exp(-0.32))),
    Landscape("at 1e10", math.sin, 1e10, exact(mpmath.sin, 1e10)),
    Landscape("offset of 1e6", lambda x: 1e6 + math.sin(x), 0.7, math.cos(0.7), 1e-10),
    Landscape("offset of 1e9", lambda x: 1e9 + math.sin(x), 0.7, math.cos(0.7), 1e-7),
    Landscape("gradient of 1e-12", lambda x: 1e-12 * math.sin(x), 0.7, 1e-12 * math.cos(0.7)),
    Landscape("gradient of 1e-12 beside 1", lambda x: 1.0 + 1e-12 * math.sin(x), 0.7, 1e-12 * math.cos(0.7), 1e-4),
    Landscape("saturated tanh", math.tanh, 12.0, exact(mpmath.tanh, 12.0), 1e-6),
    Landscape("saturated logistic loss", lambda x: math.log1p(math.exp(-x)), 30.0, -1 / (1 + math.exp(30.0))),
    Landscape("oscillating", lambda x: math.sin(1e3 * x), 0.7, exact(lambda x: mpmath.sin(1000 * x), 0.7), 3e-14, 1e-3),
    Landscape("oscillating fast", lambda x: math.sin(1e6 * x), 0.7, exact(lambda x: mpmath.sin(10**6 * x), 0.7), 2e-10, 1e-6),
    Landscape("logarithm near its bound", _logarithm, 1e-10, 1e10, 1e-15, 1e-10),
    Landscape("pole", lambda x: x**-2.0, 1e-3, exact(lambda x: x**-2, 1e-3), 1e-16, 1e-3),
    Landscape("single precision", lambda x: float(np.float32(math.sin(x))), 0.7, math.cos(0.7), 1e-7),
]


def cost_of(value: Scalar, place: float, **options: Any) -> Neighbourhood:
    """A cost of one parameter."""
    return around(lambda theta: value(float(theta[0])), np.array([place]), **options)


def around(cost: Callable[[Array], float], theta: Array, **options: Any) -> Neighbourhood:
    """Neighbourhood of a plain cost function; its parameters are rounded to the types in which they are kept."""
    types = options.get("types", ())
    sizes = options.get("sizes", (len(theta),))

    def kept(point: Array) -> Array:
        edges = np.cumsum((0, *sizes))
        for number, kind in enumerate(types):
            part = slice(edges[number], edges[number + 1])
            point[part] = point[part].astype(kind)
        return point

    def values(indices: Any, steps: Any) -> Array:
        points = (kept(theta + np.eye(1, len(theta), index)[0] * step) for index, step in zip(indices, steps, strict=True))
        return np.array([cost(point) for point in points])

    def along(direction: Array, steps: Array) -> Array:
        return np.array([cost(kept(theta + step * direction)) for step in steps])

    return Neighbourhood(theta, float(cost(theta)), values, along, **options)


def hashed(theta: Array | float, seed: int = 0) -> float:
    """A standard normal number that is the same for the same bits of the parameters, and another for all others."""
    digest = hashlib.blake2b(np.asarray(theta).tobytes() + seed.to_bytes(4, "little"), digest_size=8).digest()
    return statistics.NormalDist().inv_cdf((int.from_bytes(digest, "little") + 0.5) / 2.0**64)


@dataclass(frozen=True)
class Wave:
    """A smooth function drawn at random, in the middle of its variation, and its derivative.

    Attributes
    ----------
    value : callable
        The function.
    place : float
        The point.
    slope : float
        Its derivative there.
    """

    value: Scalar
    place: float
    slope: float


def draw_wave(generator: np.random.Generator) -> Wave:
    """One of several functions of a·x + c, with a size between 1e-6 and 1e3, perhaps beside an offset."""
    place = float(generator.choice([0.0, generator.standard_normal(), generator.standard_normal() * 1e4]))
    a = float(10.0 ** generator.uniform(-2, 2)) / max(1.0, abs(place))
    size, offset = float(10.0 ** generator.uniform(-6, 3)), float(10.0 ** generator.uniform(-3, 6))
    middle = float(generator.uniform(-2.0, 2.0))
    c = middle - a * place
    offset = offset if generator.random() < 0.4 and offset < 1e10 * size else 0.0
    forms: list[tuple[Callable[[float], float], Callable[[Any], Any]]] = [
        (math.sin, mpmath.cos),
        (math.tanh, lambda u: mpmath.sech(u) ** 2),
        (lambda u: math.log1p(math.exp(u)), lambda u: 1 / (1 + mpmath.exp(-u))),
        (lambda u: 0.5 * u * u, lambda u: u),
        (lambda u: math.exp(-u * u), lambda u: -2 * u * mpmath.exp(-u * u)),
        (lambda u: 1.0 / (1.0 + u * u), lambda u: -2 * u / (1 + u * u) ** 2),
    ]
    form, slope = forms[generator.integers(len(forms))]

    def value(x: float) -> float:
        u = a * x + c
        return offset + size * form(u) if u < 300.0 else math.nan

    return Wave(value, place, float(size * mpmath.mpf(a) * slope(mpmath.mpf(a) * mpmath.mpf(place) + mpmath.mpf(c))))
