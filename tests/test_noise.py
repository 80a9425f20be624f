"""Tests of the noise that is measured: against noise that was put in, rounding of known size, and costs that only look noisy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landscapes import Array, around, cost_of, hashed

from gradsweep import InputError
from gradsweep._neighbourhood import Neighbourhood
from gradsweep._noise import ROUNDING, direction_of, measure_noise, random_pattern

FLOAT32 = float(np.finfo(np.float32).eps)


def smooth(theta: Array) -> float:
    """Of order 1, and curved everywhere."""
    return 1.0 + math.tanh(float(theta.sum()) / math.sqrt(len(theta))) + 0.1 * math.sin(float(theta @ theta) / len(theta))


@pytest.mark.parametrize("parameters", [1, 30])
@pytest.mark.parametrize("exponent", [-15, -13, -11, -9, -7, -5, -3, -1])
def test_noise_that_was_put_in(exponent: int, parameters: int) -> None:
    """Within a factor of 10 of the true standard deviation, both ways; in the middle within 2."""
    true = 10.0**exponent
    ratios = []
    for seed in range(12):
        theta = np.random.default_rng(seed).standard_normal(parameters)
        noise = measure_noise(around(lambda t: smooth(t) + true * hashed(t), theta), seed)
        ratios.append(noise.level / true)
    assert 0.1 < min(ratios)
    assert max(ratios) < 10.0
    assert 0.5 < float(np.median(ratios)) < 2.0


def network(kind: type[np.floating[Any]]) -> Callable[[Array], float]:
    """A small network that computes in this type throughout."""
    x = np.random.default_rng(0).standard_normal((8, 20)).astype(kind)

    def cost(theta: Array) -> float:
        weights = theta.astype(kind)
        z = weights[128:].reshape(1, 16) @ np.tanh(weights[:128].reshape(16, 8) @ x)
        return float(np.mean(np.logaddexp(kind(0.0), z)))

    return cost


@pytest.mark.parametrize("kept", [np.float32, np.float64])
def test_single_precision(kept: type[np.floating[Any]]) -> None:
    """The rounding of a float32 network, against what it differs by from the same in float64, near the point."""
    narrow, wide = network(np.float32), network(np.float64)
    generator = np.random.default_rng(1)
    theta = generator.standard_normal(144).astype(np.float32).astype(np.float64)
    points = [(theta * (1.0 + 1e-4 * generator.standard_normal(144))).astype(np.float32).astype(np.float64) for _ in range(300)]
    true = float(np.std([narrow(point) - wide(point) for point in points]))
    for seed in range(5):
        level = measure_noise(around(narrow, theta, types=(np.dtype(kept),)), seed).level
        assert true / 4.0 < level < true * 4.0


#: With the constant of the lattice; 0 for that of single precision.
LATTICES: list[tuple[str, Callable[[Array], float], float]] = [
    ("six digits", lambda t: round(float(np.sin(t).sum()), 6), 1e-6),
    ("two digits", lambda t: round(float(np.sin(t).sum()), 2), 1e-2),
    ("offset that is taken off again", lambda t: float((1e9 + np.sin(t).sum()) - 1e9), 2.0**-23),
    ("linear, offset that is taken off again", lambda t: float((1e9 + t.sum()) - 1e9), 2.0**-23),
    ("result of single precision", lambda t: float(np.float32(np.sin(t).sum())), 0.0),
    ("six digits of little", lambda t: round(1e-2 * float(np.sin(t).sum()), 6), 1e-6),
]


@pytest.mark.parametrize(("cost", "constant"), [case[1:] for case in LATTICES], ids=[case[0] for case in LATTICES])
@pytest.mark.parametrize(
    "theta", [[0.3, 1.1], [1e-7, 2e-7, 0.0], list(np.linspace(-1.0, 1.5, 30))], ids=["two", "tiny", "thirty"]
)
def test_lattice(cost: Callable[[Array], float], constant: float, theta: list[float]) -> None:
    """Values that are rounded to multiples of a constant have the noise of that, also where steps could be commensurate."""
    neighbourhood = around(cost, np.array(theta))
    true = (constant or float(np.spacing(np.float32(neighbourhood.base)))) / math.sqrt(12.0)
    for seed in range(6):
        assert 0.3 < measure_noise(neighbourhood, seed).level / true < 5.0


@pytest.mark.parametrize("parameters", [1, 100, 5000])
def test_parameters_rounded_within(parameters: int) -> None:
    """A float64 cost that reads its parameters in float32 is a staircase of each."""
    theta = np.linspace(0.3, 0.49, parameters)
    neighbourhood = around(lambda t: float(np.sin(t.astype(np.float32).astype(np.float64)).sum()), theta)
    true = float(np.linalg.norm(np.cos(theta))) * 2.0**-25 / math.sqrt(12.0)
    for seed in range(6):
        assert true / 5.0 < measure_noise(neighbourhood, seed).level < true * 5.0


@pytest.mark.parametrize("frequency", [1e3, 1e6])
def test_rounding_of_a_large_argument(frequency: float) -> None:
    """The product with x is rounded far more coarsely than its sine, but at some spacings all points are rounded alike."""
    neighbourhood = cost_of(lambda x: math.sin(frequency * x), 0.7)
    true = abs(math.cos(0.7 * frequency)) * float(np.spacing(0.7 * frequency)) / math.sqrt(12.0)
    ratios = np.array([measure_noise(neighbourhood, seed).level / true for seed in range(150)])
    assert np.mean((ratios > 0.1) & (ratios < 10.0)) >= 0.98


def test_lattice_that_is_met_by_chance() -> None:
    """At some spacing all changes are the same multiple of its constant, as if there were no noise."""
    neighbourhood = cost_of(lambda x: round(0.2 * math.tanh(1.1 * x + 1.1), 6), 1.1)
    ratios = np.array([measure_noise(neighbourhood, seed).level / (1e-6 / math.sqrt(12.0)) for seed in range(100)])
    assert ratios.min() > 0.2
    assert ratios.max() < 5.0


def test_noise_at_the_edge_of_a_domain() -> None:
    """Measured on the side where there are values, whichever way the direction points."""
    neighbourhood = cost_of(lambda x: math.exp(x) + 1e-8 * hashed(x) if x >= 0.3 else math.nan, 0.3)
    for seed in range(12):
        assert 1e-9 < measure_noise(neighbourhood, seed).level < 1e-7


QUIET: list[tuple[str, Callable[[Array], float], list[float]]] = [
    ("constant", lambda t: 3.0, [1.0, 2.0]),
    ("identity", lambda t: float(t[0]), [1e-10]),
    ("quadratic", lambda t: float(t @ t), list(np.linspace(-1.0, 2.0, 30))),
    ("offset", lambda t: 1e9 + math.sin(t[0]), [0.7]),
    ("large parameter", lambda t: math.sin(t[0]), [1e10]),
    ("kink", lambda t: float(np.abs(t).sum()), [0.0, 0.3]),
    ("kink beside a constant", lambda t: 1.0 + max(0.0, 3.0 * float(t[0])), [0.0]),
    ("saturated", lambda t: math.tanh(t[0]), [25.0]),
    ("near saturation", lambda t: math.tanh(t[0]), [15.0]),
    ("near underflow", lambda t: 1e-200 * math.exp(-float(t @ t)), [1.0, 0.3]),
    ("near overflow", lambda t: 1e300 * math.exp(-float(t @ t)), [1.0, 0.3]),
    ("edge of a domain", lambda t: float(np.sqrt(t[0]) * t[0]) + 1.0 if t[0] >= 0.0 else math.nan, [0.0]),
    ("narrow domain", lambda t: float(np.log(t[0])) + float(t[1]) if t[0] > 0.0 else math.nan, [1e-10, 2.0]),
]


@pytest.mark.parametrize(("cost", "theta"), [case[1:] for case in QUIET], ids=[case[0] for case in QUIET])
def test_no_more_than_rounding(cost: Callable[[Array], float], theta: list[float]) -> None:
    """What is smooth, flat, steep, kinked, or a domain's edge is not taken for noise."""
    place = np.array(theta)
    rounding = ROUNDING * abs(cost(place))
    for seed in range(6):
        assert rounding <= measure_noise(around(cost, place), seed).level <= 30.0 * rounding


def test_oscillation_is_not_noise() -> None:
    """Seen at points a thousand times as close."""
    frequency = 1e8
    level = measure_noise(cost_of(lambda x: math.sin(frequency * x), 0.7), 0).level
    assert level < 1e-7  # some 5e-9, the rounding of 1e8·x, where a table of too wide a spacing shows 0.7


def test_single_precision_that_never_changes() -> None:
    """Costs of float32 that no perturbation changes are rounded as float32 is; 1 may be of any type, and is exact."""
    base = float(np.float32(5744376.15))
    assert measure_noise(cost_of(lambda x: float(np.float32(base + 1e-3 * math.sin(x))), 0.3)).level == pytest.approx(
        base * FLOAT32 / math.sqrt(12.0)
    )
    assert measure_noise(cost_of(lambda x: 1.0, 0.3)).level == ROUNDING


def test_zero_cost_is_exact_there() -> None:
    """At J = 0 noise comes from what is evaluated, not from the base."""
    noise = measure_noise(cost_of(lambda x: x * x, 0.0))
    assert noise.level < 1e-30
    assert noise.of(np.array([1.0, -4.0])).tolist() == [ROUNDING, 4.0 * ROUNDING]


def test_not_finite_anywhere() -> None:
    assert measure_noise(cost_of(lambda x: 2.0 if x == 0.5 else math.nan, 0.5)).level == 2.0 * ROUNDING
    assert measure_noise(cost_of(lambda x: 2.0 if x == 0.5 else math.inf, 0.5)).level == 2.0 * ROUNDING


def test_base_must_be_finite() -> None:
    with pytest.raises(InputError, match="finite"):
        cost_of(lambda x: math.nan, 0.5)


def test_evaluations_and_seed() -> None:
    """As many values as are reported, the same for the same seed."""
    count = 0

    def cost(theta: Array) -> float:
        nonlocal count
        count += 1
        return smooth(theta) + 1e-7 * hashed(theta)

    neighbourhood = around(cost, np.linspace(0.0, 1.0, 7))
    count = 0
    first = measure_noise(neighbourhood, 3)
    assert first.evaluations == count
    assert measure_noise(neighbourhood, 3) == first
    assert measure_noise(neighbourhood, 4).level != first.level


def test_smooth_costs_take_two_tables() -> None:
    assert measure_noise(around(smooth, np.linspace(0.1, 1.0, 50))).evaluations == 16


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    theta=st.lists(st.floats(-1e12, 1e12).filter(lambda x: x == 0.0 or abs(x) > 1e-12), min_size=1, max_size=6),
    exponent=st.integers(-44, -3),
    seed=st.integers(0, 2**32),
)
def test_directions_perturb_exactly(theta: list[float], exponent: int, seed: int) -> None:
    """θ + k·step is representable for all k of a table, unless numbers are spaced more widely there than at θ."""
    neighbourhood = Neighbourhood(np.array(theta), 0.0, lambda i, s: s, lambda d, s: s)
    step = direction_of(neighbourhood, random_pattern(np.random.default_rng(seed), len(theta)), 2.0**exponent)
    for multiple in range(1, 9):
        for sign in (1.0, -1.0):
            points = neighbourhood.theta + sign * multiple * step
            wider = np.spacing(np.abs(points)) > neighbourhood.spacing
            lost = np.abs(points - neighbourhood.theta - sign * multiple * step)
            assert np.all(np.where(wider, lost <= np.spacing(np.abs(points)), lost == 0.0))
    assert np.all(step != 0.0)
