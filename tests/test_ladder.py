"""Tests of the ladder: values within their bounds, kinks with both slopes, and what cannot be told said so."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from landscapes import LANDSCAPES, Array, Landscape, Scalar, Wave, around, cost_of, draw_wave, hashed

from gradsweep._ladder import Behaviour, Limit, _Rungs, direction_ladder, ladder
from gradsweep._neighbourhood import Neighbourhood
from gradsweep._noise import Noise, measure_noise, random_pattern
from gradsweep._quotients import choose_steps
from gradsweep._schemes import CENTRAL


def climb(neighbourhood: Neighbourhood, seed: int = 0) -> list[Limit]:
    """Limits of all entries, with noise and steps as they are found."""
    noise = measure_noise(neighbourhood, seed)
    steps = choose_steps(neighbourhood, noise, CENTRAL, seed=seed).steps
    return ladder(neighbourhood, noise, np.arange(len(neighbourhood.theta)), steps)


def covers(limit: Limit, slope: float) -> bool:
    """Whether a slope is between the one-sided limits, each within its bound."""
    low, high = sorted((limit.left, limit.right))
    return low - limit.side_bound <= slope <= high + limit.side_bound


# ---- smooth costs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_hard_cases(landscape: Landscape) -> None:
    """The derivative is within the bound, and the bound within what noise allows."""
    limit = climb(cost_of(landscape.value, landscape.place))[0]
    assert abs(limit.value - landscape.slope) <= limit.bound
    assert limit.left == limit.right == limit.value
    least = (4.0 * np.spacing(landscape.place) / landscape.length) ** 2
    assert limit.bound <= abs(landscape.slope) * (1e4 * landscape.noise + 1e-8 + least)
    assert limit.behaviour is (Behaviour.NOISE if limit.bound > 2.0**-7 * abs(limit.value) else Behaviour.FLAT)


def noisy(wave: Wave, kind: str, generator: np.random.Generator) -> tuple[Scalar, float]:
    """The same with noise, and how much that is."""
    size = abs(wave.value(wave.place))
    if kind == "single precision":
        return lambda x: float(np.float32(wave.value(x))), 2.0**-24 * size
    if kind == "hashed":
        level = float(10.0 ** generator.uniform(-14, -3)) * size
        return lambda x: wave.value(x) + level * hashed(x), level
    return wave.value, 2.0**-53 * size


@pytest.mark.parametrize("kind", ["double precision", "single precision", "hashed"])
def test_coverage(kind: str) -> None:
    """Random functions at random places, of which something is to be seen: at least 99 in 100 within bounds that are not vast."""
    covered, excess, kinks = [], [], 0
    for seed in range(400):
        generator = np.random.default_rng([seed, len(kind)])
        wave = draw_wave(generator)
        value, level = noisy(wave, kind, generator)
        variation = max(abs(wave.value(wave.place + s) - wave.value(wave.place)) for s in (-1.0, -1e-2, 1e-2, 1.0))
        if not variation > 1e4 * level:
            continue
        limit = climb(cost_of(value, wave.place), seed)[0]
        covered.append(abs(limit.value - wave.slope) <= limit.bound)
        kinks += limit.behaviour is Behaviour.KINK
        excess.append(limit.bound / (abs(wave.slope) + level))
    assert len(covered) > 150
    assert np.mean(covered) >= 0.99
    assert kinks <= len(covered) // 200
    assert np.median(excess) < {"double precision": 1e-9, "single precision": 3e-2, "hashed": 3e-2}[kind]


def test_behaviours() -> None:
    """What dominates is named."""
    flat = climb(cost_of(math.exp, 0.3))[0]
    assert flat.behaviour is Behaviour.FLAT
    noise = climb(cost_of(lambda x: math.sin(x) + 0.1 * hashed(x), 0.3))[0]
    assert noise.behaviour is Behaviour.NOISE
    assert covers(noise, math.cos(0.3))
    # On each rung another wave, of a frequency that grows without end; in the second the central quotients agree by symmetry.
    wild = climb(cost_of(lambda x: abs(x) * math.sin(1.0 / x) if x else 0.0, 0.0))[0]
    assert wild.behaviour is Behaviour.TRUNCATION
    assert wild.bound > 0.1
    even = climb(cost_of(lambda x: x * math.sin(1.0 / x) if x else 0.0, 0.0))[0]
    assert even.behaviour is Behaviour.TRUNCATION
    assert even.bound > 0.1
    lost = climb(cost_of(lambda x: 1.0 if x == 0.3 else math.nan, 0.3))[0]
    assert lost.behaviour is Behaviour.NON_FINITE
    assert math.isnan(lost.value)
    assert lost.bound == lost.side_bound == math.inf


def test_constant_cost_is_flat() -> None:
    limit = climb(cost_of(lambda x: 2.0, 0.3))[0]
    assert (limit.behaviour, limit.value) == (Behaviour.FLAT, 0.0)
    assert 0.0 < limit.bound < 1e-9


def test_noise_that_was_underrated() -> None:
    """What the lowest rungs show counts: the bound grows with it."""
    neighbourhood = cost_of(lambda x: math.sin(x) + 1e-8 * hashed(x), 0.3)
    covered = []
    for seed in range(40):
        place = 0.3 + 1e-3 * seed
        neighbourhood = cost_of(lambda x: math.sin(x) + 1e-8 * hashed(x), place)
        limit = ladder(neighbourhood, Noise(1e-11, 0), np.array([0]), np.array([2.0**-12]))[0]
        covered.append(abs(limit.value - math.cos(place)) <= limit.bound)
    assert np.mean(covered) >= 0.95


def test_steps_far_from_the_best() -> None:
    """Rungs are added below and above."""
    for step in (2.0**-45, 2.0**-30, 2.0**-4, 1.0, 16.0):
        neighbourhood = cost_of(lambda x: math.sin(50.0 * x), 0.3)
        limit = ladder(neighbourhood, Noise(1e-15, 0), np.array([0]), np.array([step]))[0]
        assert abs(limit.value - 50.0 * math.cos(15.0)) <= limit.bound
        if 2.0**-20 <= step <= 1.0:
            assert limit.bound < 1e-6


def test_noise_is_overcome_by_higher_rungs() -> None:
    """Where a thousand times the step does not suffice."""
    neighbourhood = cost_of(lambda x: 1.0 + math.sin(x) + 1e-6 * hashed(x), 0.3)
    limit = ladder(neighbourhood, Noise(1e-6, 0), np.array([0]), np.array([2.0**-20]))[0]
    assert limit.steps.max() > 0.1
    assert abs(limit.value - math.cos(0.3)) <= limit.bound < 0.1


def test_unequal_steps() -> None:
    """Where rounding has made the steps to the two sides unequal quotients are right to second order still."""
    right, left = np.array([[0.3, 0.07, 0.02]]), np.array([[0.29, 0.075, 0.025]])
    above, below = (2.0 + 5.0 * s + 3.0 * s**2 for s in (right, -left))
    quotients = _Rungs(right, right, left, above, below).sequences(Noise(1e-6, 0), 2.0)
    np.testing.assert_allclose(quotients.central.values, 5.0, rtol=1e-14)
    np.testing.assert_allclose(quotients.rising.values, 5.0 + 3.0 * right)
    np.testing.assert_allclose(quotients.falling.values, 5.0 - 3.0 * left)
    np.testing.assert_allclose(quotients.jump.values, 3.0 * (right + left))
    np.testing.assert_allclose(quotients.jump.noise, 1e-6 * np.sqrt(right**-2 + left**-2 + (1 / right + 1 / left) ** 2))
    np.testing.assert_allclose(quotients.central.noise, 1e-6 / np.sqrt(2.0) / right, rtol=0.2)


# ---- kinks ---------------------------------------------------------------------------------------------------------------

KINKS: list[tuple[str, Scalar, float, float, float]] = [
    ("absolute value", abs, 0.0, -1.0, 1.0),
    ("relu", lambda x: max(x, 0.0), 0.0, 0.0, 1.0),
    ("relu beside 1", lambda x: max(3.0 * x, 0.0) + 1.0, 0.0, 0.0, 3.0),
    ("leaky relu at 0.3", lambda x: (x - 0.3) * (1.0 if x > 0.3 else 0.01) + 2.0, 0.3, 0.01, 1.0),
    (
        "curved",
        lambda x: math.sin(3.0 * x + 1.0) + max(x, 0.0) * math.exp(x),
        0.0,
        3.0 * math.cos(1.0),
        3.0 * math.cos(1.0) + 1.0,
    ),
    ("small beside curvature", lambda x: math.cos(30.0 * x) + 1e-4 * abs(x), 0.0, -1e-4, 1e-4),
    ("offset", lambda x: 1e6 + abs(x - 2.0), 2.0, -1.0, 1.0),
    ("single precision", lambda x: float(np.float32(math.sin(x) + 1.0 + max(x, 0.0))), 0.0, 1.0, 2.0),
    ("noisy", lambda x: abs(x - 1.0) + math.exp(x) + 1e-7 * hashed(x), 1.0, math.e - 1.0, math.e + 1.0),
    ("downward", lambda x: -abs(x) + 1.0, 0.0, 1.0, -1.0),
    ("maximum", lambda x: max(math.exp(x), 1.0 - 2.0 * x), 0.0, -2.0, 1.0),
]


@pytest.mark.parametrize("kink", KINKS, ids=lambda kink: str(kink[0]))
def test_kinks(kink: tuple[str, Scalar, float, float, float]) -> None:
    """Both slopes, each within the bound, which is far less than the jump."""
    _, value, place, left, right = kink
    for seed in range(3):
        limit = climb(cost_of(value, place), seed)[0]
        assert limit.behaviour is Behaviour.KINK
        assert abs(limit.left - left) <= limit.side_bound
        assert abs(limit.right - right) <= limit.side_bound
        assert limit.side_bound < 0.1 * abs(right - left)
        assert abs(limit.value - 0.5 * (left + right)) <= limit.bound


@pytest.mark.parametrize("kind", ["double precision", "single precision", "hashed"])
def test_near_kinks(kind: str) -> None:
    """A kink at any distance: the derivative is accepted, whether the ladder sees past the kink or not; at no distance, both."""
    accepted, exact = [], []
    for seed in range(250):
        generator = np.random.default_rng([seed, len(kind)])
        jump, place = float(10.0 ** generator.uniform(-3, 1)), float(generator.standard_normal())
        distance = float(generator.choice([0.0, -1.0, 1.0]) * 10.0 ** generator.uniform(-14, -1))
        corner = place + distance

        def plain(x: float, jump: float = jump, corner: float = corner) -> float:
            return 2.0 + math.sin(2.0 * x) + jump * (max(x - corner, 0.0) + max(x - corner, 0.0) ** 2)

        value, _ = noisy(Wave(plain, place, 0.0), kind, generator)
        limit = climb(cost_of(value, place), seed)[0]
        smooth, beyond = 2.0 * math.cos(2.0 * place), max(place - corner, 0.0)
        if corner == place:
            exact.append(covers(limit, smooth) and covers(limit, smooth + jump))
        else:
            accepted.append(covers(limit, smooth + jump * (1.0 + 2.0 * beyond) if place > corner else smooth))
    assert min(len(accepted), len(exact)) > 50
    assert np.mean(accepted) >= 0.99
    assert np.mean(exact) >= 0.99


@pytest.mark.parametrize("distance", [1e-9, 2e-9, 4e-9, 1e-8])
@pytest.mark.parametrize("slope", [0.0, 1e-3])
def test_a_kink_below_the_first_rungs(distance: float, slope: float) -> None:
    """Where two or three are nearer than the kink, which tell nothing, lower ones are looked at."""

    def value(x: float) -> float:
        return 0.1 + slope * x - 1.1 * max(x - 0.3 - distance, 0.0)

    (limit,) = ladder(cost_of(value, 0.3), Noise(1e-17, 0), np.zeros(1, dtype=np.intp), np.array([2.0**-19]))
    assert limit.behaviour is not Behaviour.KINK
    assert abs(limit.value - slope) <= limit.bound < 1e-4


def test_peak_is_no_kink() -> None:
    """A smooth peak looks like one to steps that are wider than it."""
    for width in (1e-1, 1e-3, 1e-5):
        limit = climb(cost_of(lambda x, w=width: 1.0 / (1.0 + (x / w + 0.3) ** 2), 0.0))[0]  # type: ignore[misc]
        assert limit.behaviour is Behaviour.FLAT
        assert covers(limit, -0.6 / (1.09**2 * width))


def test_second_derivative_that_jumps() -> None:
    """No kink, and central quotients that are off by ε: as in the squared hinge, at its hinge."""
    limit = climb(cost_of(lambda x: 1.0 + 3.0 * x + x * abs(x), 0.0))[0]
    assert limit.behaviour is Behaviour.FLAT
    assert abs(limit.value - 3.0) <= limit.bound < 1e-7


# ---- the edges of domains ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "place", "slope", "side"),
    [
        (lambda x: math.exp(x) if x >= 0.3 else math.nan, 0.3, math.exp(0.3), 1),
        (lambda x: math.exp(x) if x <= 0.3 else math.inf, 0.3, math.exp(0.3), -1),
        (lambda x: x**2.5 + 3.0 * x + 1.0 if x >= 0.0 else math.nan, 0.0, 3.0, 1),
        (lambda x: math.log(x) if x > 0.0 else math.nan, 1e-300, 1e300, 0),
    ],
    ids=["right", "left", "power", "near the end of the numbers"],
)
def test_edges(value: Scalar, place: float, slope: float, side: int) -> None:
    limit = climb(cost_of(value, place))[0]
    assert limit.side == side
    assert limit.behaviour is Behaviour.FLAT
    assert abs(limit.value - slope) <= limit.bound < 1e-6 * slope


# ---- many entries --------------------------------------------------------------------------------------------------------


def mixed(theta: Array) -> float:
    """Smooth, kinked, dead and lost entries."""
    if theta[3] != 0.25:
        return math.nan
    return float(np.exp(theta[0]) + abs(theta[1]) + math.sin(40.0 * theta[4]) + theta[5] ** 2)


MIXED = np.array([0.3, 0.0, 1.0, 0.25, 0.7, 1e3])


def test_many_entries_at_once() -> None:
    """To the bit as one by one, in any order, and no more evaluations than are reported."""
    count = 0
    plain = around(mixed, MIXED)

    def values(indices: Any, steps: Any) -> Any:
        nonlocal count
        count += len(indices)
        return plain.values(indices, steps)

    neighbourhood = Neighbourhood(plain.theta, plain.base, values, plain.direction_values)
    noise, steps = Noise(1e-13, 0), np.full(6, 2.0**-16)
    whole = ladder(neighbourhood, noise, np.arange(6), steps)
    assert sum(limit.evaluations for limit in whole) == count
    expected = [Behaviour.FLAT, Behaviour.KINK, Behaviour.FLAT, Behaviour.NON_FINITE, Behaviour.FLAT, Behaviour.FLAT]
    assert [limit.behaviour for limit in whole] == expected
    for index in reversed(range(6)):
        alone = ladder(neighbourhood, noise, np.array([index]), steps[:1])[0]
        assert repr((alone.value, alone.bound, alone.left, alone.right)) == repr(
            (whole[index].value, whole[index].bound, whole[index].left, whole[index].right)
        )
    assert ladder(neighbourhood, noise, np.zeros(0, dtype=np.intp), np.zeros(0)) == []


def test_rungs_are_recorded() -> None:
    """From the highest to the lowest, with both one-sided quotients."""
    limit = ladder(cost_of(math.exp, 0.0), Noise(1e-16, 0), np.array([0]), np.array([2.0**-16]))[0]
    assert np.all(np.diff(limit.steps) < 0.0)
    np.testing.assert_allclose(limit.steps[1:] / limit.steps[:-1], 0.25)
    np.testing.assert_allclose(limit.rising, np.expm1(limit.steps) / limit.steps, rtol=1e-5)
    np.testing.assert_allclose(limit.falling, -np.expm1(-limit.steps) / limit.steps, rtol=1e-5)
    np.testing.assert_allclose(limit.central, np.sinh(limit.steps) / limit.steps, rtol=1e-5)
    assert limit.evaluations == 2 * len(limit.steps)


def test_single_precision_parameters() -> None:
    """Rungs that float32 would not tell apart are left out."""
    place = float(np.float32(0.7))
    limit = climb(cost_of(math.exp, place, types=(np.dtype(np.float32),)))[0]
    assert limit.steps.min() >= 4.0 * np.spacing(np.float32(0.7))
    assert abs(limit.value - math.exp(place)) <= limit.bound < 1e-6


# ---- a network ----------------------------------------------------------------------------------------------------------


def relu_network(kind: type[np.floating[Any]], examples: int, seed: int) -> tuple[Neighbourhood, Array]:
    """A small network of relu units, all in this type, and its gradient: kinks at all distances, the more the more examples."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((8, examples)).astype(kind)
    labels = (generator.random((1, examples)) < 0.5).astype(kind)
    theta = np.concatenate(
        [generator.standard_normal(48) / 3.0, 0.1 * generator.standard_normal(6), generator.standard_normal(7)]
    )
    theta = theta.astype(kind).astype(np.float64)

    def forward(point: Array) -> tuple[Any, Any]:
        weights = point.astype(kind)
        z = weights[:48].reshape(6, 8) @ x + weights[48:54, np.newaxis]
        return z, weights[54:60] @ np.maximum(z, 0) + weights[60]

    def cost(point: Array) -> float:
        _, out = forward(point)
        return float(np.mean(np.logaddexp(kind(0), out) - labels * out))

    z, out = forward(theta)
    d_out = (1 / (1 + np.exp(-out)) - labels[0]) / kind(examples)
    d_z = np.outer(theta[54:60].astype(kind), d_out) * (z > 0)
    parts = [(d_z @ x.T).ravel(), d_z.sum(axis=1), np.maximum(z, 0) @ d_out, [d_out.sum()]]
    gradient = np.concatenate(parts).astype(np.float64)
    return around(cost, theta, sizes=(48, 6, 6, 1), types=(np.dtype(kind),) * 4), gradient


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("examples", [8, 256])
def test_network_with_many_kinks(kind: type[np.floating[Any]], examples: int) -> None:
    """Its right gradient is accepted, and what is off by five bounds is not."""
    accepted, caught, bounds = [], [], []
    for seed in range(4):
        neighbourhood, gradient = relu_network(kind, examples, seed)
        rounding = 10.0 * float(np.finfo(kind).eps) * np.abs(gradient).max()
        for limit, right in zip(climb(neighbourhood, seed), gradient, strict=True):
            accepted.append(any(covers(limit, right + shift) for shift in (-rounding, 0.0, rounding)))
            if limit.behaviour is not Behaviour.KINK:
                caught.append(not covers(limit, right + 5.0 * limit.bound))
            bounds.append(limit.side_bound / np.abs(gradient).max())
    assert np.mean(accepted) >= 0.99
    assert all(caught)
    assert np.median(bounds) < (1e-7 if kind is np.float64 else 0.1)


# ---- directions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "slope"),
    [
        (lambda t: float(np.sum(np.exp(t))), lambda t, d: float(np.exp(t) @ d)),
        (lambda t: 1e6 + float(np.sum(np.sin(t))), lambda t, d: float(np.cos(t) @ d)),
    ],
    ids=["exp", "offset"],
)
def test_directions(cost: Callable[[Array], float], slope: Callable[[Array, Array], float]) -> None:
    """The slope along a direction, of the length that it is said to have."""
    theta = np.concatenate([np.linspace(-1.0, 1.0, 20), np.full(5, 1e-3), np.zeros(5)])
    neighbourhood = around(cost, theta, sizes=(20, 5, 5))
    noise = measure_noise(neighbourhood)
    pattern = random_pattern(np.random.default_rng(0), 30)
    pattern[20:25] = 0.0
    direction, limit = direction_ladder(neighbourhood, noise, pattern, 1e-5)
    assert np.all((direction == 0.0) == (pattern == 0.0))
    np.testing.assert_allclose(np.linalg.norm(direction / neighbourhood.scale), 0.76, rtol=0.15)
    assert abs(limit.value - slope(theta, direction)) <= limit.bound < 1e-4
    assert limit.behaviour is Behaviour.FLAT


def test_directions_in_single_precision() -> None:
    """Where the lowest rung that was asked for would be rounded into another direction."""
    theta = np.linspace(-1.0, 1.5, 400).astype(np.float32).astype(np.float64)
    neighbourhood = around(lambda t: float(np.sum(np.exp(t))), theta, types=(np.dtype(np.float32),))
    noise = measure_noise(neighbourhood)
    direction, limit = direction_ladder(neighbourhood, noise, random_pattern(np.random.default_rng(0), 400), 1e-5)
    np.testing.assert_allclose(np.linalg.norm(direction / neighbourhood.scale), 0.76, rtol=0.1)
    slope = float(np.exp(theta) @ direction)
    assert abs(limit.value - slope) <= limit.bound < 1e-3 * np.linalg.norm(np.exp(theta) * direction)


def test_direction_with_a_kink() -> None:
    theta = np.array([0.3, 0.0, -0.7])
    neighbourhood = around(lambda t: float(np.abs(t).sum()), theta)
    direction, limit = direction_ladder(neighbourhood, Noise(1e-16, 0), np.array([0.5, -1.0, 0.7]), 1e-5)
    smooth = direction[0] - direction[2]
    assert limit.behaviour is Behaviour.KINK
    assert abs(limit.right - (smooth + abs(direction[1]))) <= limit.side_bound
    assert abs(limit.left - (smooth - abs(direction[1]))) <= limit.side_bound
