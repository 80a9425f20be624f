"""Tests of difference quotients from values: their accuracy by scheme, their steps, their noise, and the edges of domains."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landscapes import LANDSCAPES, Array, Landscape, around, cost_of, hashed

from gradsweep._neighbourhood import Neighbourhood
from gradsweep._noise import Noise, measure_noise
from gradsweep._quotients import Quotients, _alike, choose_steps, quotients, relative_step, weights_at
from gradsweep._schemes import BACKWARD, CENTRAL, FIVE_POINT, FORWARD, Scheme

SCHEMES = [FORWARD, CENTRAL, FIVE_POINT]
NAMES = [scheme.name for scheme in SCHEMES]


def form(neighbourhood: Neighbourhood, scheme: Scheme = CENTRAL, step: float | None = None, seed: int = 0) -> Quotients:
    """Quotients of all parameters, with steps and noise as they are found."""
    noise = measure_noise(neighbourhood, seed)
    choice = choose_steps(neighbourhood, noise, scheme, step, seed)
    return quotients(neighbourhood, noise, scheme, np.arange(len(neighbourhood.theta)), choice.steps)


# ---- weights -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [*SCHEMES, BACKWARD], ids=lambda scheme: scheme.name)
def test_weights_of_schemes(scheme: Scheme) -> None:
    """At the scheme's own offsets they are the scheme's own."""
    step = 2.0**-10
    np.testing.assert_allclose(weights_at(scheme.steps(step)[np.newaxis])[0], scheme.coefficients(step), rtol=1e-14)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.integers(-30, 30).filter(bool), min_size=1, max_size=4, unique=True),
    coefficients=st.lists(st.floats(-10.0, 10.0), min_size=4, max_size=4),
)
def test_weights_are_exact_for_polynomials(steps: list[int], coefficients: list[float]) -> None:
    """Of as many powers as there are steps, however unequal these are."""
    points = np.array([steps], dtype=np.float64) / 16.0
    powers = range(1, len(steps) + 1)
    changes = sum(coefficients[power - 1] * points**power for power in powers)
    weights = weights_at(points)
    scale = float(np.sum(np.abs(weights * changes)))
    assert abs(float(np.sum(weights * changes)) - coefficients[0]) <= 1e-13 * (scale + 1.0)


def test_five_point_is_of_fourth_order() -> None:
    """Its error falls by 16 where the step is halved."""
    errors = [abs(FIVE_POINT.quotient(lambda d: math.expm1(d), step) - 1.0) for step in (0.2, 0.1)]
    assert errors[0] / errors[1] == pytest.approx(16.0, rel=0.05)


# ---- accuracy ------------------------------------------------------------------------------------------------------------

#: What a quotient may be off, as a multiple of (noise over variation)^(p/(p + 1)): noise and truncation in equal parts, for steps
#: that are right within a power of 2 or two.
MARGIN = 40.0


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_accuracy(landscape: Landscape, scheme: Scheme) -> None:
    """The order of the scheme decides: eps^½, eps^⅔, eps^⅘."""
    result = form(cost_of(landscape.value, landscape.place), scheme)
    error = abs(result.values[0] / landscape.slope - 1.0)
    # No step is shorter than the spacing of numbers: at 1e10, some 4e-6 for a function that varies over 1.
    least = 4.0 * np.spacing(landscape.place) / landscape.length
    allowed = MARGIN * landscape.noise ** (scheme.order / (scheme.order + 1)) + least**scheme.order
    # The search starts at small steps where parameters are small, and ends where noise does not matter any more.
    assert error <= max(allowed, 2.0**-30 if landscape.place < 1e-3 * landscape.length else 0.0)


def test_better_schemes_are_better() -> None:
    """By the median over the table, at least a power of 10 each."""
    medians = []
    for scheme in SCHEMES:
        results = [form(cost_of(each.value, each.place), scheme) for each in LANDSCAPES]
        medians.append(np.median([abs(r.values[0] / each.slope - 1.0) for r, each in zip(results, LANDSCAPES, strict=True)]))
    assert medians[0] > 10.0 * medians[1] > 100.0 * medians[2]


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("level", [1e-13, 1e-7])
def test_noise_of_quotients(scheme: Scheme, level: float) -> None:
    """As large as the errors are, where there is no truncation: for a linear cost, whose noise is known."""
    theta = np.linspace(0.1, 1.0, 200)
    neighbourhood = around(lambda t: 1.0 + float(t.sum()) + level * hashed(t), theta)
    result = quotients(neighbourhood, Noise(level, 0), scheme, np.arange(200), np.full(200, 2.0**-10))
    ratio = np.sqrt(np.mean(np.square((result.values - 1.0) / result.noise)))
    # The noise of the base is the same in all forward quotients, whose mean it moves.
    assert 0.5 < ratio < 2.0


def test_noise_counts_the_size_of_costs() -> None:
    """What is evaluated far above the base is rounded as such."""
    neighbourhood = cost_of(lambda x: 1e20 * x * x, 0.0)
    result = quotients(neighbourhood, Noise(0.0, 0), CENTRAL, np.array([0]), np.array([1.0]))
    assert result.values[0] == 0.0
    assert 1e20 * 2.0**-56 < result.noise[0] < 1e20 * 2.0**-50


def test_noise_of_the_base_counts_where_it_is_used() -> None:
    """In one-sided quotients, not in symmetrical ones."""
    neighbourhood, step = cost_of(lambda x: 0.0, 1.0), 2.0**-10
    expected = {"forward": math.sqrt(2.0), "central": math.sqrt(0.5), "five-point": math.sqrt(2.0 * (4.0 / 9.0 + 1.0 / 144.0))}
    for scheme in SCHEMES:
        result = quotients(neighbourhood, Noise(1e-10, 0), scheme, np.array([0]), np.array([step]))
        assert result.noise[0] == pytest.approx(expected[scheme.name] * 1e-10 / step)


# ---- steps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_steps_are_exact(landscape: Landscape, scheme: Scheme) -> None:
    """Powers of 2, or a few spacings: all that is asked for is what is taken, and no point is θ."""
    asked: list[float] = []
    neighbourhood = cost_of(landscape.value, landscape.place)

    def values(indices: Any, steps: Array) -> Any:
        asked.extend(steps)
        return neighbourhood.values(indices, steps)

    watched = Neighbourhood(neighbourhood.theta, neighbourhood.base, values, neighbourhood.direction_values)
    noise = measure_noise(watched)
    choose_steps(watched, noise, scheme)
    form(watched, scheme)
    place = landscape.place
    for step in asked:
        assert place + step != place
        assert (place + step) - place == step


def test_step_of_the_caller() -> None:
    """As it is, for all parameters alike."""
    theta = np.array([0.0, 0.3, -70.0, 1e9])
    neighbourhood = around(lambda t: float(t @ t), theta)
    choice = choose_steps(neighbourhood, Noise(1e-16, 0), CENTRAL, step=1e-3)
    assert choice.steps.tolist() == [1e-3] * 4
    assert choice.evaluations == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(place=st.floats(-1e15, 1e15), step=st.floats(1e-12, 1e3), scheme=st.sampled_from(SCHEMES))
def test_linear_costs_are_exact(place: float, step: float, scheme: Scheme) -> None:
    """Steps that are rounded, swallowed or unequal do not show: quotients count what is taken."""
    neighbourhood = cost_of(lambda x: x, place)
    choice = choose_steps(neighbourhood, Noise(0.0, 0), scheme, step)
    result = quotients(neighbourhood, Noise(0.0, 0), scheme, np.array([0]), choice.steps)
    assert result.values[0] == pytest.approx(1.0, rel=1e-15)
    assert place + result.steps[0] != place
    assert place - result.steps[0] != place


def test_swallowed_steps_are_enlarged() -> None:
    """θ + ε would be θ."""
    neighbourhood = cost_of(math.sin, 1e10)
    choice = choose_steps(neighbourhood, Noise(1e-16, 0), CENTRAL, 1e-7)
    assert choice.steps[0] == 2.0 * np.spacing(1e10)


def test_single_precision_parameters() -> None:
    """A cost that keeps its parameter in float32 sees steps of float32, and quotients count those."""
    place = float(np.float32(0.7))
    kind = np.dtype(np.float32)
    for step in (1e-7, 3.3e-7, 1e-5, None):
        result = form(cost_of(lambda x: x, place, types=(kind,)), CENTRAL, step)
        assert result.values[0] == 1.0
        assert np.float32(place + result.steps[0]) != np.float32(place)
    # float64 would take steps that float32 does not know.
    result = form(cost_of(math.exp, place, types=(kind,)), CENTRAL, 1e-5)
    assert abs(result.values[0] / math.exp(place) - 1.0) < 1e-9


def bump(x: float, place: float, length: float) -> float:
    """On the slope of a bump of this length, beside 2."""
    return 2.0 + 1.0 / (1.0 + ((x - place) / length + 0.7) ** 2)


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
def test_steps_follow_the_length_of_the_cost(scheme: Scheme) -> None:
    """Over which it varies, not the size of the parameter; smaller ones only where noise does not matter."""
    for place in (0.0, 1e-10, 0.01, 1.0, 100.0):
        for length in (1e-4, 1e-2, 1.0):
            neighbourhood = cost_of(functools.partial(bump, place=place, length=length), place)
            result = form(neighbourhood, scheme)
            best = max(length * 1e-16 ** (1.0 / (scheme.order + 1)), 2.0 * np.spacing(place))
            assert result.steps[0] < 10.0 * best
            assert result.steps[0] > best / 10.0 or result.noise[0] < 2.0**-29 * abs(result.values[0])


@pytest.mark.parametrize(("scheme", "share"), [(CENTRAL, 0.97), (FIVE_POINT, 0.75)], ids=["central", "five-point"])
def test_steps_far_beyond_a_period(scheme: Scheme, share: float) -> None:
    """At which an oscillating cost may look regular: seldom twice, though the first look is trusted."""
    found = []
    for seed in range(100):
        frequency = float(10.0 ** np.random.default_rng(seed).uniform(3, 7))
        neighbourhood = cost_of(functools.partial(wave, frequency=frequency), 0.7)
        found.append(form(neighbourhood, scheme, seed=seed).steps[0] * frequency < 0.5)
    assert np.mean(found) >= share


def wave(x: float, frequency: float) -> float:
    """A sine of this frequency."""
    return math.sin(frequency * x)


def test_blocks_and_sizes_have_steps_of_their_own() -> None:
    """Parameters of very unequal size in one block, a block of zeros, and one of small numbers."""
    theta = np.array([1e10, 1e-3, 5.0, 0.0, 0.0, 0.0, 1e-6, -2e-6])
    lengths = np.array([1e10, 1e-3, 5.0, 1.0, 1.0, 1.0, 1e-6, 1e-6])

    def cost(point: Array) -> float:
        return 1.0 + float(np.sum(np.tanh((point - theta) / lengths + 0.3)))

    result = form(around(cost, theta, sizes=(3, 3, 2)))
    exact = 1.0 / np.cosh(0.3) ** 2 / lengths
    np.testing.assert_allclose(result.values, exact, rtol=1e-6)
    # Those that are looked at take the steps that suit them best, in spite of what others of their block take.
    assert np.all(result.steps / lengths > 1e-7)


def test_one_of_many_tells_the_step_of_all() -> None:
    """Three of a block are looked at, dead ones do not count, and the whole takes few evaluations."""
    generator = np.random.default_rng(0)
    weights = 0.01 * generator.standard_normal((30, 40))
    x = generator.standard_normal((40, 8))
    x[::2] = 0.0

    def cost(theta: Array) -> float:
        return float(np.sum(np.tanh(theta.reshape(30, 40) @ x + 0.5)))

    neighbourhood = around(cost, weights.ravel())
    noise = measure_noise(neighbourhood)
    choice = choose_steps(neighbourhood, noise, CENTRAL)
    assert choice.evaluations <= 100
    result = quotients(neighbourhood, noise, CENTRAL, np.arange(1200), choice.steps)
    exact = (1.0 - np.tanh(weights @ x + 0.5) ** 2) @ x.T
    error = np.linalg.norm(result.values - exact.ravel()) / np.linalg.norm(exact)
    # The rule of thumb takes steps that are a hundred times as small, since these weights are small.
    thumb = quotients(
        neighbourhood, noise, CENTRAL, np.arange(1200), neighbourhood.scale * relative_step(neighbourhood, noise, CENTRAL)
    )
    assert error < 3e-9
    assert error < 0.1 * np.linalg.norm(thumb.values - exact.ravel()) / np.linalg.norm(exact)


def test_no_larger_steps_than_needed() -> None:
    """Of a cost without truncation the steps grow until noise does not matter, and no further: it may have kinks farther off."""
    neighbourhood = cost_of(lambda x: 1.0 + x * x, 1e-3)
    result = form(neighbourhood)
    assert result.noise[0] < 1e-9 * result.values[0]
    assert result.steps[0] < 1e-3


def test_search_starts_between_the_size_and_one() -> None:
    """From either it would take more looks."""
    for place, value in ((1e-10, math.exp), (1e-10, lambda x: math.sin(1e10 * x)), (1e-4, math.exp)):
        neighbourhood = cost_of(value, place)
        assert choose_steps(neighbourhood, measure_noise(neighbourhood), CENTRAL).evaluations <= 16


@pytest.mark.parametrize("sizes", [(5e-324, 5e-324), (1e-320, 3e-310), (1e-200, 1e150), (5e-324, 1e300)])
def test_ends_of_the_number_range(sizes: tuple[float, float]) -> None:
    """Steps have reciprocals, noise is measured, and each parameter is of a group."""
    large = max(1.0, sizes[1])
    neighbourhood = around(lambda t: 2.0 + math.sin(t[1] / large), np.array(sizes), sizes=(1, 1))
    result = form(neighbourhood)
    assert result.finite.all()
    assert np.isfinite(result.noise).all()
    np.testing.assert_allclose(result.values[1], math.cos(sizes[1] / large) / large, atol=5.0 * float(result.noise[1]))
    together = around(lambda t: 2.0 + math.sin(t[1] / large), np.array(sizes), sizes=(2,))
    assert form(together).finite.all()
    groups = np.concatenate(list(_alike(replace(together, given_scale=np.array([1e-200, 1e200]), given_spacing=np.ones(2)))))
    assert sorted(groups.tolist()) == [0, 1]


def test_dead_cost_takes_the_rule_of_thumb() -> None:
    neighbourhood = around(lambda t: 3.0, np.array([2.0, -2.0]))
    noise = Noise(3e-16, 0)
    choice = choose_steps(neighbourhood, noise, CENTRAL)
    expected = 2.0 * relative_step(neighbourhood, noise, CENTRAL)
    assert np.all((choice.steps >= expected / 1.5) & (choice.steps <= 1.5 * expected))
    assert form(neighbourhood).values.tolist() == [0.0, 0.0]


def test_evaluations_and_seed() -> None:
    """As many values as are reported; the same for the same seed."""
    count = 0
    plain = around(lambda t: float(np.sum(np.sin(t))), np.linspace(0.1, 3.0, 40))

    def values(indices: Any, steps: Any) -> Any:
        nonlocal count
        count += len(indices)
        return plain.values(indices, steps)

    neighbourhood = Neighbourhood(plain.theta, plain.base, values, plain.direction_values)
    noise = measure_noise(neighbourhood)
    choice = choose_steps(neighbourhood, noise, FIVE_POINT, seed=1)
    assert choice.evaluations == count
    assert choose_steps(neighbourhood, noise, FIVE_POINT, seed=1).steps.tobytes() == choice.steps.tobytes()
    count = 0
    assert quotients(neighbourhood, noise, FIVE_POINT, np.arange(40), choice.steps).evaluations == count == 160


# ---- the edges of domains ------------------------------------------------------------------------------------------------

Edge = tuple[str, Callable[[float], float], float, float, int]

EDGES: list[Edge] = [
    ("right side only", lambda x: math.exp(x) if x >= 0.3 else math.nan, 0.3, math.exp(0.3), 1),
    ("left side only", lambda x: math.exp(x) if x <= 0.3 else math.nan, 0.3, math.exp(0.3), -1),
    ("infinite on the left", lambda x: math.exp(x) if x >= 0.0 else math.inf, 0.0, 1.0, 1),
    ("power at 0", lambda x: 1.0 + x**4.5 + x if x >= 0.0 else math.nan, 0.0, 1.0, 1),
    ("narrow domain", lambda x: math.exp(x) if abs(x - 0.3) < 1e-9 else math.nan, 0.3, math.exp(0.3), 0),
    ("overflow", lambda x: math.exp(min(x, 709.0)) if x < 709.0 else math.inf, 708.9999999, math.exp(708.9999999), 0),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: str(edge[0]))
def test_edges(edge: Edge, scheme: Scheme) -> None:
    """A smaller step, or one side: of the scheme's order, with the noise that belongs to it."""
    _, value, place, slope, side = edge
    result = form(cost_of(value, place), scheme)
    assert result.finite[0]
    assert abs(result.values[0] / slope - 1.0) < 1e-5
    # The right-hand scheme has no need of the left side.
    assert result.sides[0] == (side if scheme is not FORWARD or side < 0 else 0)


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
def test_not_finite_is_flagged(scheme: Scheme, lost: float) -> None:
    """Never an exception, never a number, and the other entries are what they are without."""

    def cost(theta: Array) -> float:
        return lost if theta[1] != 0.5 else float(np.exp(theta[0]) + np.sin(theta[2]))

    theta = np.array([0.3, 0.5, 0.7])
    steps, noise = np.full(3, 2.0**-14), Noise(1e-16, 0)
    result = quotients(around(cost, theta), noise, scheme, np.arange(3), steps)
    assert result.finite.tolist() == [True, False, True]
    assert math.isnan(result.values[1])
    assert result.noise[1] == math.inf
    kept = quotients(around(lambda t: float(np.exp(t[0]) + np.sin(t[2])), theta), noise, scheme, np.arange(3), steps)
    assert result.values[[0, 2]].tobytes() == kept.values[[0, 2]].tobytes()


def test_order_of_entries_does_not_matter() -> None:
    """Nor does what else is asked for."""
    theta = np.linspace(0.1, 2.0, 12)
    neighbourhood = around(lambda t: float(np.sum(np.log(t))) if t.min() > 0.0 else math.nan, theta)
    steps, noise = np.linspace(1e-6, 2.0, 12), Noise(1e-16, 0)
    whole = quotients(neighbourhood, noise, FIVE_POINT, np.arange(12), steps)
    for index in range(12):
        alone = quotients(neighbourhood, noise, FIVE_POINT, np.array([index]), steps[index : index + 1])
        assert alone.values.tobytes() == whole.values[index : index + 1].tobytes()


def test_nothing_is_asked_for_nothing() -> None:
    neighbourhood = around(lambda t: float(t @ t), np.ones(3))
    result = quotients(neighbourhood, Noise(1e-16, 0), CENTRAL, np.zeros(0, dtype=np.intp), np.zeros(0))
    assert result.values.size == 0
    assert result.evaluations == 0
