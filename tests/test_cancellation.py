"""Gradients that vanish, of which a backward pass leaves rounding: no false alarm, and no wrong gradient that passes for one."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._cancellation import usual_size, with_cancelled
from gradsweep._parameters import Precision, precision

DOUBLE = precision([np.zeros(1)])


class Normalised:
    """A layer, a batch norm in the usual compact form, and another layer. Its first bias does not matter."""

    def __init__(self, seed: int, mean: float, dtype: Any = np.float64, examples: int = 64, scale: float = 1.0) -> None:
        generator = np.random.default_rng(seed)
        self.scale = scale
        self.x = (generator.standard_normal((examples, 20)) + mean).astype(dtype)
        self.y = generator.standard_normal((examples, 1)).astype(dtype)
        params = {
            "W1": generator.standard_normal((20, 16)) / np.sqrt(20.0),
            "b1": np.zeros(16),
            "gamma": np.ones(16),
            "beta": np.zeros(16),
            "W2": generator.standard_normal((16, 1)) / 4.0,
        }
        self.params = {name: block.astype(dtype) for name, block in params.items()}

    def forward(self, params: Any) -> tuple[Any, ...]:
        z = self.x @ params["W1"] + params["b1"]
        inverse = 1.0 / np.sqrt(z.var(axis=0) + 1e-5)
        normal = (z - z.mean(axis=0)) * inverse
        a = np.tanh(params["gamma"] * normal + params["beta"])
        return inverse, normal, a, a @ params["W2"] - self.y

    def __call__(self, params: Any) -> Any:
        return self.scale * 0.5 * np.mean(self.forward(params)[-1] ** 2)

    def gradient(self, params: Any, *, forgets_mean: bool = False) -> dict[str, NDArray[Any]]:
        inverse, normal, a, off = self.forward(params)
        off = self.scale * off / len(off)
        slope = (off @ params["W2"].T) * (1.0 - a**2)
        inner = slope * params["gamma"]
        centre = 0.0 if forgets_mean else inner.mean(axis=0)
        slope_z = inverse * (inner - centre - normal * (inner * normal).mean(axis=0))
        return {
            "W1": self.x.T @ slope_z,
            "b1": slope_z.sum(axis=0),
            "gamma": (slope * normal).sum(axis=0),
            "beta": slope.sum(axis=0),
            "W2": a.T @ off,
        }


class Attention:
    """One head, whose bias of the keys does not matter: it adds the same to all scores of a query."""

    def __init__(self, seed: int, mean: float) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((7, 5)) + mean
        self.out = generator.standard_normal((7, 5))
        self.params = {name: generator.standard_normal((5, 5)) / 5.0 for name in ("Wq", "Wk", "Wv")}
        self.params |= {name: generator.standard_normal(5) / 5.0 for name in ("bq", "bk", "bv")}

    def forward(self, params: Any) -> tuple[Any, ...]:
        q, k, v = (self.x @ params["W" + name] + params["b" + name] for name in "qkv")
        scores = q @ k.T / np.sqrt(5.0)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights = weights / weights.sum(axis=1, keepdims=True)
        return q, k, v, weights

    def __call__(self, params: Any) -> Any:
        _, _, v, weights = self.forward(params)
        return np.sum((weights @ v) * self.out)

    def gradient(self, params: Any) -> dict[str, NDArray[Any]]:
        q, k, v, weights = self.forward(params)
        slope = self.out @ v.T
        slope = weights * (slope - (slope * weights).sum(axis=1, keepdims=True)) / np.sqrt(5.0)
        slopes = {"q": slope @ k, "k": slope.T @ q, "v": weights.T @ self.out}
        return {"W" + name: self.x.T @ each for name, each in slopes.items()} | {
            "b" + name: each.sum(axis=0) for name, each in slopes.items()
        }


class Spread:
    """A penalty on the variances of a layer's outputs, on which its bias has no influence, and which has no other parameters."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((500, 5)) + 1.0
        self.params = {"W": generator.standard_normal((5, 4)), "b": generator.standard_normal(4)}

    def __call__(self, params: Any) -> Any:
        return np.sum(((self.x @ params["W"] + params["b"]).var(axis=0) - 1.0) ** 2)

    def gradient(self, params: Any) -> dict[str, NDArray[Any]]:
        z = self.x @ params["W"] + params["b"]
        slope = 4.0 * (z.var(axis=0) - 1.0) * (z - z.mean(axis=0)) / len(z)
        return {"W": self.x.T @ slope, "b": slope.sum(axis=0)}


class Saturated:
    """A layer of logistic units, and a linear one: some units have nothing but large negative inputs."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((16, 3)) + 100.0
        self.y = generator.standard_normal((16, 1))
        self.params = {"W1": np.array([0.01, -0.02, 0.005, -1.25]) * np.ones((3, 1)), "W2": generator.standard_normal((4, 1))}

    def __call__(self, params: Any) -> Any:
        return 0.5 * np.mean((1.0 / (1.0 + np.exp(-self.x @ params["W1"])) @ params["W2"] - self.y) ** 2)

    def gradient(self, params: Any) -> dict[str, NDArray[Any]]:
        z = self.x @ params["W1"]
        a = 1.0 / (1.0 + np.exp(-z))
        off = (a @ params["W2"] - self.y) / len(z)
        with np.errstate(over="ignore"):
            derivative = np.exp(-z) / (1.0 + np.exp(-z)) ** 2
        return {"W1": self.x.T @ (off @ params["W2"].T * derivative), "W2": a.T @ off}


# ---- no false alarm ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_bias_before_a_batch_norm(seed: int, mean: float, mode: Any) -> None:
    model = Normalised(seed, mean)
    report = gradsweep.check(model, model.params, model.gradient(model.params), mode=mode)
    assert report.verdict == "pass", report
    assert {block.name: block.status.value for block in report.blocks}["b1"] == "vacuous"


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("seed", range(3))
def test_a_bias_of_many_examples(seed: int, mode: Any) -> None:
    """All of them change alike: added up one after the other such changes are rounded alike, too."""
    model = Normalised(seed, 1.0, examples=3000)
    for gradient in (model.gradient, model.gradient(model.params)):
        report = gradsweep.check(model, model.params, gradient, mode=mode)
        assert report.verdict == "pass", report


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("seed", range(6))
def test_where_one_of_two_blocks_vanishes(seed: int, mode: Any) -> None:
    model = Spread(seed)
    report = gradsweep.check(model, model.params, model.gradient(model.params), mode=mode)
    assert report.verdict == "pass", report


@pytest.mark.parametrize("scale", [1e-150, 1e-170])
def test_where_squares_underflow(scale: float) -> None:
    model = Normalised(0, 1.0, scale=scale)
    report = gradsweep.check(model, model.params, model.gradient(model.params))
    assert report.verdict == "pass", report


def test_where_squares_overflow() -> None:
    model = Saturated(0)
    gradient = model.gradient(model.params)
    assert not gradient["W1"][:, 3].any()
    report = gradsweep.check(model, model.params, gradient)
    assert report.verdict == "pass", report
    assert np.all(report.numeric["W1"][:, 3] != 0.0)


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_in_single_precision(mean: float) -> None:
    model = Normalised(0, mean, np.float32)
    assert gradsweep.check(model, model.params, model.gradient(model.params)).verdict == "pass"


@pytest.mark.parametrize("mean", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_bias_of_keys(seed: int, mean: float) -> None:
    model = Attention(seed, mean)
    report = gradsweep.check(model, model.params, model.gradient(model.params))
    assert report.verdict == "pass", report


# ---- and none that is wrong passes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
def test_a_backward_pass_that_forgets_the_mean(mean: float, mode: Any) -> None:
    model = Normalised(0, mean)
    report = gradsweep.check(model, model.params, model.gradient(model.params, forgets_mean=True), mode=mode)
    assert report.verdict == "fail"
    assert {block.name for block in report.blocks if block.status.value == "wrong"} == {"W1", "b1"}


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("size", [1e-8, 1e-5, 1e-2])
def test_what_should_vanish_and_does_not(size: float, mode: Any) -> None:
    model = Normalised(0, 0.0)
    gradient = model.gradient(model.params)
    gradient["b1"][3] = size * np.abs(gradient["beta"]).max()
    report = gradsweep.check(model, model.params, gradient, mode=mode)
    assert report.verdict == "fail"
    (wrong,) = (block for block in report.blocks if block.status.value == "wrong")
    assert (wrong.name, wrong.differing, wrong.worst[0].index) == ("b1", 1, (3,))


@pytest.mark.parametrize("mode", ["sweep", "screen"])
def test_mistakes_in_the_same_models(mode: Any) -> None:
    for model, wrong in (
        (Normalised(0, 1.0, examples=3000), {"W1", "b1"}),
        (Normalised(0, 1.0, scale=1e-170), {"W1", "b1"}),
    ):
        report = gradsweep.check(model, model.params, model.gradient(model.params, forgets_mean=True), mode=mode)
        assert report.verdict == "fail"
        assert {block.name for block in report.blocks if block.status.value == "wrong"} == wrong
    for other in (Spread(0), Saturated(0)):
        for name in other.params:
            gradient = other.gradient(other.params)
            gradient[name].flat[2] += 1e-8 * np.abs(other.gradient(other.params)[next(iter(other.params))]).max()
            report = gradsweep.check(other, other.params, gradient, mode=mode, tolerance=1e-9)
            assert report.verdict == "fail", report


def test_a_small_gradient_that_does_not_vanish() -> None:
    """However small it is beside the others: a quotient that has digits decides."""
    x = np.linspace(0.5, 1.5, 8)
    params = {"large": x, "small": x.copy(), "medium": x.copy()}

    def cost(params: Any) -> Any:
        return 1e6 * np.sum(params["large"] ** 3) + 1e-6 * np.sum(np.sin(params["small"])) + np.sum(params["medium"] ** 2)

    gradient = {"large": 3e6 * x**2, "small": 1e-6 * np.cos(x), "medium": 2.0 * x}
    assert gradsweep.check(cost, params, gradient).ok
    gradient["small"] = 1e-6 * np.cos(x) * (1.0 + 1e-3)
    report = gradsweep.check(cost, params, gradient)
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.status.value == "wrong"] == ["small"]


# ---- what is said of slight gaps -----------------------------------------------------------------------------------------


def test_arrays_that_are_slightly_off() -> None:
    """Whose rounding is not known: the same gradient as a function passes."""
    model = Normalised(0, 1e4)
    for mode in ("sweep", "screen"):
        report = gradsweep.check(model, model.params, model.gradient(model.params), mode=mode)
        assert report.verdict == "fail"
        assert any("of a gradient that is given as a function it is measured" in note for note in report.notes)
    assert gradsweep.check(model, model.params, model.gradient).verdict == "pass"


def test_nothing_of_it_where_more_is_wrong() -> None:
    model = Normalised(0, 0.0)
    gradient = model.gradient(model.params)
    gradient["W1"][2, 3] *= 1.01
    assert not gradsweep.check(model, model.params, gradient).notes
    model = Normalised(0, 1e4)
    gradient = model.gradient(model.params)
    gradient["W2"] *= 1.01
    assert not any("is measured" in note for note in gradsweep.check(model, model.params, gradient).notes)


# ---- the rule ------------------------------------------------------------------------------------------------------------


def test_the_usual_entry() -> None:
    """That of the block in the middle; one that is much larger, zero or not finite does not matter."""
    blocks = [np.array([1.0, -3.0]), np.array([[1e9]]), np.zeros(4), np.array([0.5]), np.array([np.nan, 7.0]), np.array([np.inf])]
    assert usual_size(blocks, DOUBLE) == 3.0
    assert usual_size(blocks[:2], DOUBLE) == 3.0
    assert usual_size([np.full(3, 1e-16), np.array([5.0])], DOUBLE) == 5.0  # there is only rounding left of the first
    assert usual_size([np.full(3, 1e-11), np.array([5.0])], DOUBLE) == 1e-11
    assert usual_size([np.zeros(3), np.empty(0)], DOUBLE) == 0.0


@pytest.mark.parametrize(
    ("value", "noise", "expected"),
    [
        (1e-16, 1e-15, 2.0**-32),  # vanishes
        (1e-15, 1e-15, 2.0**-32),
        (2e-15, 1e-15, 1e-15),  # has digits
        (0.0, 1e-3, 1e-3),  # nobody knows whether it vanishes
        (0.0, 2.0**-40, 2.0**-32),
        (np.nan, 1e-15, 1e-15),
        (0.0, np.inf, np.inf),
    ],
)
def test_where_quotients_vanish(value: float, noise: float, expected: float) -> None:
    (found,) = with_cancelled(np.array([value]), np.array([noise]), 1.0, DOUBLE, 1e-7)
    assert found == expected


def test_no_more_than_the_tolerance() -> None:
    single = Precision(float(np.finfo(np.float32).eps), 0.0)
    (found,) = with_cancelled(np.zeros(1), np.array([1e-6]), 2.0, single, 1e-3)
    assert found == 2e-3
