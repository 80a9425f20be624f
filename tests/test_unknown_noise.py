"""Where jitter leads to where a function is not defined: less of it tells the noise, and what nobody knows does not pass."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._costs._guard import JITTER, LESS, RUNS, Jittered, deviations
from gradsweep._costs._runs import Conditions, Outcome

MODES = ("sweep", "screen")


class Confident:
    """A logistic regression on features that are not scaled, with 1e-12 in its logarithms: units are saturated.

    Where a is 1 but for 2^-40, jitter of that size makes 1 - a + 1e-12 negative.
    """

    def __init__(self, seed: int, deviation: float) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((16, 4)) * deviation
        self.y = (generator.random(16) < 0.5) * 1.0
        self.params = {"w": np.full(4, 0.5), "b": np.array(0.1)}

    def __call__(self, params: Any) -> Any:
        a = 1.0 / (1.0 + np.exp(-(self.x @ params["w"] + params["b"])))
        return -np.mean(self.y * np.log(a + 1e-12) + (1.0 - self.y) * np.log(1.0 - a + 1e-12))

    def gradient(self, params: Any) -> dict[str, NDArray[Any]]:
        a = 1.0 / (1.0 + np.exp(-(self.x @ params["w"] + params["b"])))
        slope = ((1.0 - self.y) / (1.0 - a + 1e-12) - self.y / (a + 1e-12)) * a * (1.0 - a) / len(a)
        return {"w": self.x.T @ slope, "b": slope.sum()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("deviation", [10.0, 20.0, 30.0, 60.0])
@pytest.mark.parametrize("seed", range(4))
def test_less_jitter_where_the_function_is_not_defined(seed: int, deviation: float, mode: Any) -> None:
    model = Confident(seed, deviation)
    gradient = model.gradient(model.params)
    assert gradsweep.check(model, model.params, gradient, mode=mode).verdict != "fail"
    for name in model.params:
        wrong = gradient | {name: -gradient[name]}
        report = gradsweep.check(model, model.params, wrong, mode=mode)
        assert report.verdict == "fail", report
        assert [block.name for block in report.blocks if block.status.value == "wrong"] == [name]


def overflowing(params: Any) -> Any:
    """Logits so large that their rounding moves exponents by more than they can hold: nobody knows what it does."""
    logits = 1e19 * params["w"]
    largest = logits.max()
    return 1e-19 * (np.log(np.sum(np.exp(logits - largest))) + largest) + np.sum(params["v"] ** 2)


@pytest.mark.parametrize("mode", MODES)
def test_what_nobody_knows_is_not_vacuous(mode: Any) -> None:
    generator = np.random.default_rng(1)
    params = {"w": generator.standard_normal(5), "v": generator.standard_normal(3)}
    chosen = (params["w"] == params["w"].max()) * 1.0
    gradient = {"w": chosen, "v": 2.0 * params["v"]}
    assert gradsweep.check(overflowing, params, gradient, mode=mode).ok
    for wrong in (-chosen, 0.5 * chosen, np.roll(chosen, 1)):
        report = gradsweep.check(overflowing, params, gradient | {"w": wrong}, mode=mode)
        assert report.verdict == "inconclusive", report
        assert {block.name: block.status.value for block in report.blocks} == {"w": "noisy", "v": "agrees"}


def test_one_entry_that_nobody_knows() -> None:
    """It is too small to be seen in the norms of its block, and yet the block does not agree."""
    generator = np.random.default_rng(1)
    params = {"w": generator.standard_normal(5), "v": generator.standard_normal(3)}
    gradient = {"w": (params["w"] == params["w"].max()) * 1.0, "v": 2.0 * params["v"]}
    gradient["w"][np.argmin(params["w"])] = 1e-9
    report = gradsweep.check(overflowing, params, gradient)
    assert report.verdict == "inconclusive", report


@pytest.mark.parametrize("place", [1.0 + 1e-7, 1.0 - 1e-7])
def test_two_levels_of_which_nobody_knows_the_right_one(place: float) -> None:
    """By values a kink a little beside the point gives quotients two levels: neither is small, so that nothing vanishes."""

    def leaky(params: Any) -> float:
        z = params["x"] - 1.0
        return float(np.sum(np.where(z > 0.0, z, 0.3 * z)) + np.sum(params["y"] ** 2))

    params = {"x": np.array([place]), "y": np.array([1.0, 2.0, 3.0])}
    slope = 1.0 if place > 1.0 else 0.3
    for given in (slope, 1.01 * slope, 0.5 * slope, 0.0, -slope, 0.65, 1.3 - slope):
        report = gradsweep.check(gradsweep.plain(leaky), params, {"x": np.array([given]), "y": 2.0 * params["y"]})
        assert (report.verdict == "pass") == (given == slope), report
    wrong = {"x": np.array([-slope]), "y": 2.0 * params["y"]}
    if place > 1.0:  # so far off both levels that neither can be meant
        assert gradsweep.check(gradsweep.plain(leaky), params, wrong).verdict == "fail"


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_deviations_do_not_depend_on_units(scale: float) -> None:
    values = np.random.default_rng(0).standard_normal((6, 3)) * 1e-6 + 1.0
    about = np.mean(values, axis=0)
    expected = np.std(values, axis=0)
    assert np.allclose(deviations(scale * values, scale * about) / scale, expected, rtol=1e-6, atol=0.0)
    values[2, 1] = np.inf
    assert np.isnan(deviations(values, np.ones(3))[1])


def test_less_jitter_only_where_it_is_needed() -> None:
    """Each lane has the rounding that the largest jitter shows of it, by which it is not led out of the domain."""

    def run(conditions: Conditions) -> Outcome:
        away = conditions.jitter * np.random.default_rng(conditions.seed).standard_normal(3)
        away[1] = away[1] if conditions.jitter < JITTER else np.nan
        away[2] = np.nan
        return Outcome(1.0 + away[0], 1.0 + away, np.zeros(3, dtype=np.int64), 3, 3, False, {})

    asked: list[float] = []

    def asking(conditions: Conditions) -> Outcome:
        asked.append(conditions.jitter)
        return run(conditions)

    found = Jittered(asking, None).of_changes
    assert np.all((found[:2] > 1e-16) & (found[:2] < 1e-13))
    assert found[2] == 0.0
    assert (asked.count(JITTER), asked.count(LESS * JITTER)) == (RUNS, RUNS)
    asked.clear()
    assert 1e-16 < Jittered(asking, None).of_value < 1e-13
    assert asked == [JITTER] * RUNS


@pytest.mark.parametrize("size", [1e-37, 1e-40, 1e-60, 1e-150, 1e-200])
def test_no_step_is_small_beside_the_parameters(size: float) -> None:
    """What oscillates over the size of such parameters is not known, and no mistake; what is smooth there is known."""
    w = size * np.array([1.0, 1.3])

    def check(cost: Any, gradient: Any) -> str:
        return gradsweep.check(cost, w, gradient).verdict

    right = np.cos(w / size) / size
    assert check(lambda w: np.sum(np.sin(w / size)), right) == "inconclusive"
    assert check(lambda w: np.sum(np.sin(w / size)), 1.01 * right) == "inconclusive"
    for smooth, slopes in ((np.tanh, np.ones(2)), (np.square, np.zeros(2)), (lambda w: w**3, np.zeros(2))):
        assert check(lambda w, smooth=smooth: np.sum(smooth(w)), slopes) != "fail"
        assert check(lambda w, smooth=smooth: np.sum(smooth(w)), slopes + np.array([0.0, 0.5])) == "fail"
