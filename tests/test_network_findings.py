"""What is said of wrong gradients of dense networks: the step of the backward pass, by trying it or by dA and dZ."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep import Network
from gradsweep import _network_checking as network_checking

Array = NDArray[np.float64]

EXAMPLES = 7

# f' of each activation, of z and a.
SLOPES: dict[str, Callable[[Array, Array], Any]] = {
    "tanh": lambda z, a: 1.0 - a**2,
    "sigmoid": lambda z, a: a * (1.0 - a),
    "relu": lambda z, a: (z > 0.0) * 1.0,
    "softplus": lambda z, a: 1.0 / (1.0 + np.exp(-z)),
}
VALUES: dict[str, Callable[[Array], Any]] = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0.0),
    "softplus": lambda z: np.logaddexp(0.0, z),
}


class Backprop:
    """A network 6-5-5-1 and its backward pass by hand, with a mistake or without."""

    def __init__(self, hidden: str = "tanh", mistake: str = "", *, kept: float | None = None, l2: float = 0.0) -> None:
        generator = np.random.default_rng(0)
        self.hidden, self.mistake, self.l2 = hidden, mistake, l2
        self.x, self.y = generator.standard_normal((6, EXAMPLES)), (generator.random((1, EXAMPLES)) < 0.5) * 1.0
        sizes = [6, 5, 5, 1]
        self.params = {}
        for number, (inputs, units) in enumerate(itertools.pairwise(sizes), start=1):
            self.params[f"W{number}"] = generator.standard_normal((units, inputs)) / np.sqrt(inputs)
            self.params[f"b{number}"] = 0.3 * generator.standard_normal((units, 1))
        self.mask = np.ones((5, EXAMPLES)) if kept is None else (generator.random((5, EXAMPLES)) < kept) / kept
        masks = None if kept is None else [None, self.mask]
        network = gradsweep.Network(sizes, hidden=hidden, l2=l2, dropout_masks=masks)
        self.cost = network.cost(self.x, self.y)

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """All gradients, those of activations and pre-activations among them."""
        value, slope = VALUES[self.hidden], SLOPES[self.hidden]
        p, mistake = params, self.mistake
        z1 = p["W1"] @ self.x + p["b1"]
        a1 = value(z1)
        z2 = p["W2"] @ a1 + p["b2"]
        a2 = value(z2) * self.mask
        al = 1.0 / (1.0 + np.exp(-(p["W3"] @ a2 + p["b3"])))
        dz3 = al - self.y
        if mistake == "output's slope twice":
            dz3 = dz3 * al * (1.0 - al)
        if mistake == "output's slope left out":
            dz3 = dz3 / (al * (1.0 - al))
        da2 = p["W3"].T @ dz3
        dz2 = da2 * slope(z2, value(z2)) * self.mask
        if mistake == "mask left out":
            dz2 = da2 * slope(z2, value(z2))
        if mistake == "slope left out":
            dz2 = da2 * self.mask
        if mistake == "slope at what goes in":
            dz2 = da2 * (1.0 - z2**2)
        if mistake == "slope of tanh":
            dz2 = da2 * (1.0 - a2**2)
        da1 = (p["W2"] if mistake == "not transposed" else p["W2"].T) @ dz2
        dz1 = da1 * slope(z1, a1)
        m = EXAMPLES
        dw2 = dz2 @ (np.tanh(a1) if mistake == "inputs of dW2" else a1).T / m
        db2 = dz2.mean(axis=1, keepdims=True) * (m if mistake == "mean forgotten" else 1)
        found = {"dW1": dz1 @ self.x.T / m, "db1": dz1.mean(axis=1, keepdims=True), "dW2": dw2, "db2": db2}
        found |= {"dW3": dz3 @ a2.T / m, "db3": dz3.mean(axis=1, keepdims=True)}
        for number in (1, 2, 3):
            found[f"dW{number}"] = found[f"dW{number}"] + self.l2 / m * p[f"W{number}"]
        return found | {"dA1": da1, "dA2": da2, "dZ1": dz1, "dZ2": dz2, "dZ3": dz3}

    def parameters_alone(self, params: Mapping[str, Array]) -> dict[str, Array]:
        return {name: block for name, block in self(params).items() if name[1] in "Wb"}

    def check(self, gradient: Any = None, **options: Any) -> gradsweep.Report:
        return gradsweep.check(self.cost, self.params, gradient or self.parameters_alone, **options)


modes = pytest.mark.parametrize("mode", ["sweep", "neurons", "screen"])


@modes
@pytest.mark.parametrize("hidden", list(SLOPES))
def test_right_gradients_have_no_findings(hidden: str, mode: str) -> None:
    report = Backprop(hidden, kept=0.8, l2=0.1).check(mode=mode)
    assert (report.verdict, report.findings) == ("pass", ())


@modes
@pytest.mark.parametrize(
    ("hidden", "mistake", "kind", "words"),
    [
        ("tanh", "slope left out", "activation_derivative", "the slope of layer 2's tanh is left out"),
        ("sigmoid", "slope left out", "activation_derivative", "the slope of layer 2's sigmoid is left out"),
        ("relu", "slope left out", "activation_derivative", "the slope of layer 2's relu is left out"),
        ("tanh", "slope at what goes in", "activation_derivative", "layer 2's tanh is taken as 1 - u²"),
        ("sigmoid", "slope of tanh", "activation_derivative", "layer 2's sigmoid is taken as that of tanh"),
        ("softplus", "slope of tanh", "activation_derivative", "layer 2's softplus is taken as that of tanh"),
        ("tanh", "output's slope twice", "activation_derivative", "is multiplied with once too often"),
        ("tanh", "output's slope left out", "activation_derivative", "is left out behind the derivative of the loss"),
        ("tanh", "not transposed", "from_above", "W2 stands where its transpose is meant"),
    ],
)
def test_the_step_is_named(hidden: str, mistake: str, kind: str, words: str, mode: str) -> None:
    report = Backprop(hidden, mistake, l2=0.1).check(mode=mode)
    assert report.verdict == "fail"
    first = report.findings[0]
    assert (first.kind, words in first.message) == (kind, True), first.message
    assert first.blocks[0] in ("b3", "b2", "b1")
    assert first.confidence > 0.9
    assert first.message in " ".join(str(report).split())


@modes
def test_a_dropout_mask_that_is_left_out(mode: str) -> None:
    report = Backprop("tanh", "mask left out", kept=0.6).check(mode=mode)
    assert "the dropout mask of layer 2 is left out" in report.findings[0].message


@pytest.mark.parametrize("scale", [1.0, 1.0 / EXAMPLES])
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("slope left out", "dA2 agrees with the numerical gradient, and dZ2 is wrong"),
        ("not transposed", "dZ2 agrees with the numerical gradient, and dA1 is wrong"),
        ("inputs of dW2", "dZ2 agrees with the numerical gradient, and dW2 is wrong"),
        ("mean forgotten", "dZ2 agrees with the numerical gradient, and db2 is wrong"),
    ],
)
def test_gradients_of_activations_tell_between_which_steps_it_is(mistake: str, words: str, scale: float) -> None:
    """They may be those of the mean over the examples, or of each example's own loss."""
    backprop = Backprop("tanh", mistake)

    def gradient(params: Mapping[str, Array]) -> dict[str, Array]:
        return {name: block * (scale if name[1] in "AZ" else 1.0) for name, block in backprop(params).items()}

    report = backprop.check(gradient)
    assert words in report.findings[0].message


def test_what_is_no_gradient_of_activations_is_left_alone() -> None:
    backprop = Backprop("tanh", "slope left out")

    def gradient(params: Mapping[str, Array]) -> dict[str, Any]:
        found: dict[str, Any] = backprop(params)
        return found | {"dZ2": np.zeros((3, 4)), "dA2": "nothing", "dZ9": np.ones((5, EXAMPLES)), "dZ1": None}

    report = backprop.check(gradient)
    assert report.verdict == "fail"
    assert "slope of layer 2's tanh is left out" in report.findings[0].message


@modes
def test_the_number_of_examples_is_known(mode: str) -> None:
    report = Backprop("tanh", "mean forgotten").check(mode=mode)
    first = report.findings[0]
    assert first.kind == "bias_sum"
    assert f"{EXAMPLES} examples" in first.message


def test_a_gradient_that_adds_up_over_calls() -> None:
    backprop = Backprop()
    buffers: dict[str, Array] = {}

    def gradient(params: Mapping[str, Array]) -> dict[str, Array]:
        for name, block in backprop.parameters_alone(params).items():
            buffers[name] = buffers.get(name, 0.0) + block
        return dict(buffers)

    report = backprop.check(gradient)
    assert report.verdict == "fail"
    assert report.findings[0].kind == "accumulated"


@pytest.mark.parametrize("adds", [True, False])
def test_buffers_that_every_call_returns(adds: bool) -> None:
    """A gradient may hand out the same arrays each time: what they hold later is not what they held."""
    backprop = Backprop()
    buffers = {name: np.zeros_like(block) for name, block in backprop.parameters_alone(backprop.params).items()}

    def gradient(params: Mapping[str, Array]) -> dict[str, Array]:
        for name, block in backprop.parameters_alone(params).items():
            buffers[name][...] = block + (buffers[name] if adds else 0.0)
        return buffers

    report = backprop.check(gradient)
    assert report.displaced is not None  # the gradient is another one there
    assert report.verdict == ("fail" if adds else "pass"), str(report)
    assert [finding.kind for finding in report.findings[:1]] == (["accumulated"] if adds else [])


def test_random_errors_have_no_step() -> None:
    backprop, generator = Backprop(), np.random.default_rng(1)
    gradient = {
        name: block * (1.0 + generator.standard_normal(block.shape))
        for name, block in backprop.parameters_alone(backprop.params).items()
    }
    report = backprop.check(gradient)
    assert report.findings[0].kind == "from_above"
    assert all(finding.confidence < 0.6 for finding in report.findings)


@pytest.mark.parametrize("mode", ["sweep", "neurons"])
def test_one_entry_of_a_block_that_is_too_large_to_look_at(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large block the diagnosis sees a sample, and what the verdict found beside it: a sample alone would show nothing."""
    monkeypatch.setattr(network_checking, "_SEEN", 100)
    monkeypatch.setattr(network_checking, "_SAMPLED", 64)
    network = Network([50, 40, 1])
    params = network.initialize(0)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 6)), (rng.random((1, 6)) < 0.5).astype(np.float64)
    gradient = {name: np.array(value) for name, value in network.gradient(params, X, Y).items()}
    gradient["dW1"][23, 31] *= 1.5
    first = gradsweep.check(network.cost(X, Y), params, gradient, mode=mode).findings[0]
    assert first.kind == "entries"
    assert "only entry [23, 31]" in first.message
